//! Second copies of slow streams: the first to begin is passed on, and the other one costs nobody anything.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use std::time::Duration;

use common::upstream::{Act, Upstream, error, ok, stream};
use common::{CHAT, Gateway, Inputs, PATIENCE, chat, inputs, post, streamed};
use routerwise_types::decisions::DecisionRecord;
use routerwise_types::hash::mix;
use routerwise_types::serve::{DecisionLog, Hedging};
use tokio::time::timeout;

/// Streams that make the model's usual time known.
const USUAL: usize = 64;

fn fine() -> Act {
    Act::Say(stream(&["fine"]))
}

/// Later than any stream so far: what takes long by chance on a busy machine is not copied.
fn late() -> Hedging {
    Hedging {
        predicted: false,
        quantile: Some(1.0),
    }
}

/// A replica whose first stream takes a tenth of a second, which is how late the later ones must be.
async fn replica() -> Upstream {
    Upstream::start(vec![after(100, stream(&["fine"])), fine()]).await
}

/// A gateway with hedging that knows what streams usually take.
async fn warm(inputs: Inputs) -> Gateway {
    let gateway = Gateway::start(inputs).await;
    for nth in 0..USUAL {
        let answer = post(gateway.address, CHAT, &streamed("small", &format!("warm {nth}"))).await;
        assert_eq!(answer.status, 200);
    }
    gateway
}

/// Sends quick streams until the next request goes to this replica first: of two equal ones, the one that the request's number hashes to.
#[expect(clippy::cast_possible_truncation, reason = "a count of requests")]
async fn until_it_goes_to(replica: u64, gateway: &Gateway) {
    loop {
        let number = gateway.metric("routerwise_requests_total").await.round() as u64;
        if mix(number) % 2 == replica {
            return;
        }
        assert_eq!(
            post(gateway.address, CHAT, &streamed("small", "quick")).await.status,
            200
        );
        let counted = number as f64 + 1.0;
        gateway.metric_becomes("routerwise_requests_total", counted).await;
    }
}

#[tokio::test]
async fn a_late_stream_is_overtaken_by_its_copy_and_cancelled_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.jsonl");
    let slow = replica().await;
    let quick = replica().await;
    let mut inputs = inputs(&[slow.at, quick.at], &[]);
    inputs.settings.hedging = Some(late());
    inputs.settings.log = Some(DecisionLog {
        file: log.clone(),
        size: 1 << 20,
        keep: 1,
        prompts: false,
    });
    let mut gateway = warm(inputs).await;
    until_it_goes_to(0, &gateway).await;
    slow.then(vec![Act::Hang]);
    let body = streamed("small", "late");
    let asked = post(gateway.address, CHAT, &body);
    let answer = timeout(PATIENCE, asked).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("fine") && answer.body.contains("[DONE]"));
    assert_eq!(answer.header("x-routerwise-hedge"), Some("won"));
    assert_eq!(answer.header("x-routerwise-reason"), Some("hedge"));
    assert_eq!(answer.header("x-routerwise-replica"), Some("1"));
    assert_eq!(answer.header("x-routerwise-tries"), None);
    timeout(PATIENCE, slow.left.notified())
        .await
        .expect("the slow one is told to stop");
    let won = "routerwise_hedges_total{why=\"late\",outcome=\"won\"}";
    gateway.metric_becomes(won, 1.0).await;
    gateway.metric_becomes("routerwise_request_failures_total", 0.0).await;
    gateway.metric_becomes("routerwise_replica_in_flight", 0.0).await;
    // Both are up: who was overtaken has not failed.
    gateway.metric_becomes("routerwise_replica_up", 2.0).await;
    let attempts = format!(
        "routerwise_attempts_total{{model=\"small\",replica=\"{}\",outcome=\"overtaken\"}}",
        slow.at
    );
    gateway.metric_becomes(&attempts, 1.0).await;
    timeout(PATIENCE, gateway.stop()).await.unwrap().unwrap();
    let text = std::fs::read_to_string(&log).unwrap();
    let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let hedges: Vec<DecisionRecord> = records
        .filter(|record: &DecisionRecord| record.hedge.is_some())
        .collect();
    let hedge = hedges[0].hedge.as_ref().unwrap();
    assert_eq!(hedges.len(), 1);
    assert_eq!((hedge.why.as_str(), hedge.outcome.as_str()), ("late", "won"));
    assert_eq!(hedge.replica, quick.at.to_string());
}

#[tokio::test]
async fn without_hedging_nothing_is_asked_twice() {
    let slow = replica().await;
    let quick = replica().await;
    let mut inputs = inputs(&[slow.at, quick.at], &[]);
    inputs.settings.timeouts.first_byte = Duration::from_millis(500);
    let gateway = warm(inputs).await;
    until_it_goes_to(0, &gateway).await;
    slow.then(vec![Act::Hang]);
    let answer = post(gateway.address, CHAT, &streamed("small", "late")).await;
    assert_eq!((answer.status, answer.header("x-routerwise-hedge")), (200, None));
    assert_eq!(answer.header("x-routerwise-tries"), Some("2"));
    gateway.metric_becomes("routerwise_hedges_total", 0.0).await;
}

/// Says something after a while, and goes on.
fn after(milliseconds: u64, bytes: Vec<u8>) -> Act {
    Act::Pieces(vec![Vec::new(), bytes], Duration::from_millis(milliseconds))
}

#[tokio::test]
async fn when_one_copy_fails_the_other_one_answers() {
    let garbage = || b"this is no HTTP\r\n\r\n".to_vec();
    let ways = [
        // The second copy fails at once, and the first one answers after all.
        (
            after(150, stream(&["fine"])),
            error("500 Internal Server Error"),
            "lost",
        ),
        // The first one fails while the second one is under way.
        (after(500, garbage()), after(900, stream(&["fine"])), "won"),
    ];
    for (first, second, outcome) in ways {
        let a = replica().await;
        let b = replica().await;
        let mut inputs = inputs(&[a.at, b.at], &[]);
        inputs.settings.hedging = Some(late());
        let gateway = warm(inputs).await;
        until_it_goes_to(0, &gateway).await;
        a.then(vec![first, fine()]);
        b.then(vec![second, fine()]);
        let body = streamed("small", "late");
        let asked = post(gateway.address, CHAT, &body);
        let answer = timeout(PATIENCE, asked).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-routerwise-hedge"), Some(outcome));
        assert!(answer.body.contains("fine") && answer.body.contains("[DONE]"));
        assert_eq!(answer.header("x-routerwise-tries"), Some("2"), "{outcome}");
        gateway.metric_becomes("routerwise_request_failures_total", 0.0).await;
        gateway.metric_becomes("routerwise_replica_in_flight", 0.0).await;
    }
}

#[tokio::test]
async fn requests_without_a_stream_are_not_copied_and_a_spent_budget_denies_copies() {
    let slow = replica().await;
    let quick = replica().await;
    let mut inputs = inputs(&[slow.at, quick.at], &[]);
    inputs.settings.hedging = Some(late());
    inputs.settings.retries.most = 1;
    let gateway = warm(inputs).await;
    let pieces = vec![Vec::new(), stream(&["fine"])];
    for upstream in [&slow, &quick] {
        upstream.then(vec![Act::Pieces(pieces.clone(), Duration::from_millis(500))]);
    }
    let answer = post(gateway.address, CHAT, &streamed("small", "late")).await;
    assert_eq!((answer.status, answer.header("x-routerwise-hedge")), (200, None));
    let denied = "routerwise_hedges_total{why=\"late\",outcome=\"denied\"}";
    gateway.metric_becomes(denied, 1.0).await;
    for upstream in [&slow, &quick] {
        upstream.then(vec![ok("{}")]);
    }
    assert_eq!(post(gateway.address, CHAT, &chat("small", "whole")).await.status, 200);
    gateway.metric_becomes("routerwise_hedges_total", 1.0).await;
}
