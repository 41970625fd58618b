//! The calendar jumps, back and forth by years: nothing waits by it, so nothing but dates changes.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::upstream::{Act, DONE, STREAM, Upstream, chunk, ok, token};
use common::{CHAT, Gateway, PATIENCE, chat, inputs, post, streamed};
use routerwise_types::decisions::DecisionRecord;
use routerwise_types::serve::{DecisionLog, Key};
use tokio::time::timeout;

const YEAR: u64 = 365 * 86_400;
/// The calendar at the start, in seconds since 1970.
const START: u64 = 50 * YEAR;

#[derive(Clone)]
struct Jumping(Arc<AtomicU64>);

impl Jumping {
    fn new() -> Self {
        Self(Arc::new(AtomicU64::new(START)))
    }

    fn jump(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    fn calendar(&self) -> routerwise_gateway::Calendar {
        let now = Arc::clone(&self.0);
        Box::new(move || -> SystemTime { UNIX_EPOCH + Duration::from_secs(now.load(Ordering::Relaxed)) })
    }
}

#[tokio::test]
async fn requests_under_way_and_after_it_do_not_notice() {
    let pieces = vec![
        format!("{STREAM}{}", chunk(&token("a"))).into_bytes(),
        chunk(&token("b")).into_bytes(),
        chunk(&token("c")).into_bytes(),
        format!("{}0\r\n\r\n", chunk(DONE)).into_bytes(),
    ];
    let slow = Upstream::start(vec![Act::Pieces(pieces, Duration::from_millis(60))]).await;
    let mut inputs = inputs(&[slow.at], &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("decisions.jsonl");
    inputs.settings.log = Some(DecisionLog {
        file: file.clone(),
        size: 1 << 20,
        keep: 1,
        prompts: false,
    });
    inputs.settings.health.every = Some(Duration::from_millis(20));
    inputs.settings.timeouts.stall = Duration::from_secs(2);
    let clock = Jumping::new();
    let mut gateway = Gateway::start_with(inputs, clock.calendar()).await.unwrap();
    let address = gateway.address;
    let n = 6;
    let asking: Vec<_> = (0..n)
        .map(|_| tokio::spawn(async move { post(address, CHAT, &streamed("small", "x")).await }))
        .collect();
    gateway.metric_becomes("routerwise_in_flight", f64::from(n)).await;
    for to in [START + 20 * YEAR, 0, START - 20 * YEAR, START] {
        clock.jump(to);
        let body = streamed("small", "x");
        let answer = timeout(PATIENCE, post(address, CHAT, &body)).await.unwrap();
        assert!(answer.body.ends_with(DONE), "{answer:?}");
    }
    for answer in asking {
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert!(answer.body.ends_with(DONE), "{answer:?}");
    }
    gateway.metric_becomes("routerwise_request_failures_total", 0.0).await;
    timeout(PATIENCE, gateway.stop()).await.unwrap().unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<DecisionRecord> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 10);
    for line in &lines {
        // Dates are the calendar's, times are not.
        assert!(
            0.0 < line.duration && line.duration < PATIENCE.as_secs_f64(),
            "{line:?}"
        );
        assert!(line.first_byte.unwrap() <= line.duration, "{line:?}");
    }
    let dates: Vec<f64> = lines.iter().map(|line| (line.at / YEAR as f64).round()).collect();
    for year in [0.0, 30.0, 50.0, 70.0] {
        let found = dates.iter().any(|date| (date - year).abs() < 0.5);
        assert!(found, "{year} is not in {dates:?}");
    }
}

#[tokio::test]
async fn keys_expire_by_it_and_limits_do_not() {
    let small = Upstream::start(vec![ok(r#"{"choices":[]}"#)]).await;
    let mut inputs = inputs(&[small.at], &[]);
    let (secret, sha256) = routerwise_gateway::new_key().unwrap();
    inputs.keys = vec![Key {
        name: "team".to_owned(),
        sha256,
        models: Vec::new(),
        requests_per_minute: Some(3),
        tokens_per_minute: None,
        expires: Some(START + YEAR),
        admin: false,
    }];
    let clock = Jumping::new();
    let gateway = Gateway::start_with(inputs, clock.calendar()).await.unwrap();
    let bearer = format!("Bearer {secret}");
    let headers = [("authorization", bearer.as_str())];
    let body = chat("small", "x");
    let ask = || async { common::post_with(gateway.address, CHAT, &headers, &body).await.status };
    assert_eq!(ask().await, 200);
    clock.jump(START + 2 * YEAR);
    assert_eq!(ask().await, 401);
    clock.jump(0);
    assert_eq!(ask().await, 200);
    assert_eq!(ask().await, 200);
    // A jump of a year is no minute.
    clock.jump(START);
    assert_eq!(ask().await, 429);
}
