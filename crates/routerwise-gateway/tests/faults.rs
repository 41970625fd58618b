//! Replicas that fail in every way they can: nothing hangs, what could be served is served, and all of it is accounted for.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::upstream::{Act, DONE, STREAM, Upstream, answer, chunk, error, ok, stream, token};
use common::{CHAT, Gateway, PATIENCE, chat, inputs, post, request, streamed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const BODY: &str = r#"{"choices":[]}"#;

/// An address that refuses connections.
async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// A gateway whose model `small` has one replica that does this, and whose model `large` works.
async fn beside_a_good_one(acts: Vec<Act>, change: impl FnOnce(&mut common::Inputs)) -> (Upstream, Upstream, Gateway) {
    let bad = Upstream::start(acts).await;
    let good = Upstream::start(vec![Act::Say(stream(&["fine"]))]).await;
    let mut inputs = inputs(&[bad.at], &[good.at]);
    inputs.scores = vec![("p".to_owned(), vec![0.9, 0.5])];
    inputs.settings.timeouts.first_byte = Duration::from_millis(100);
    inputs.settings.timeouts.stall = Duration::from_millis(100);
    change(&mut inputs);
    let gateway = Gateway::start(inputs).await;
    (bad, good, gateway)
}

#[tokio::test]
async fn what_fails_before_the_first_byte_is_served_by_the_next_best_model() {
    let ways = [
        (vec![Act::Close], "reset"),
        (vec![Act::Hang], "first_byte_timeout"),
        (vec![error("503 Service Unavailable")], "upstream_5xx"),
        (vec![error("500 Internal Server Error")], "upstream_5xx"),
        (vec![error("429 Too Many Requests")], "upstream_429"),
        (vec![Act::SayAndClose(b"this is no HTTP\r\n\r\n".to_vec())], "malformed"),
        (vec![Act::SayAndClose(STREAM.as_bytes().to_vec())], "reset"),
        (vec![Act::SayAndStall(STREAM.as_bytes().to_vec())], "first_byte_timeout"),
    ];
    for (acts, cause) in ways {
        let (_, _, gateway) = beside_a_good_one(acts, |_| {}).await;
        let answer = post(gateway.address, CHAT, &streamed("auto", "p")).await;
        assert_eq!(answer.status, 200, "{cause}: {answer:?}");
        assert_eq!(answer.header("x-routerwise-model"), Some("large"), "{cause}");
        assert_eq!(answer.header("x-routerwise-reason"), Some("retry-model"), "{cause}");
        assert_eq!(answer.header("x-routerwise-tries"), Some("2"), "{cause}");
        assert!(
            gateway.metric("routerwise_attempts_total{model=\"small\"").await >= 1.0,
            "{cause}"
        );
        let text = common::get(gateway.admin, "/metrics").await.body;
        assert!(
            text.contains(&format!("outcome=\"{cause}\"")),
            "{cause} is not in\n{text}"
        );
        gateway.metric_becomes("routerwise_request_failures_total", 0.0).await;
    }
}

#[tokio::test]
async fn another_replica_of_the_same_model_comes_first() {
    let good = Upstream::start(vec![ok(BODY)]).await;
    let dead = refusing().await;
    let mut inputs = inputs(&[dead, good.at], &[]);
    inputs.settings.retries.most = 2;
    let gateway = Gateway::start(inputs).await;
    for _ in 0..6 {
        assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    }
    assert_eq!(good.n_seen(), 6);
}

#[tokio::test]
async fn a_single_replica_that_fails_now_and_then_is_asked_again() {
    let flaky = Upstream::start(vec![error("503 Service Unavailable"), Act::Close, ok(BODY)]).await;
    let gateway = Gateway::start(inputs(&[flaky.at], &[])).await;
    assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    assert_eq!(flaky.n_seen(), 3);
}

#[tokio::test]
async fn a_storm_of_errors_is_passed_on_and_not_made_worse() {
    let down = Upstream::start(vec![error("503 Service Unavailable")]).await;
    let mut inputs = inputs(&[down.at], &[]);
    inputs.settings.retries.budget = 0.1;
    inputs.settings.timeouts.queue = Duration::from_millis(50);
    let gateway = Gateway::start(inputs).await;
    let mut codes = Vec::new();
    for _ in 0..12 {
        let answer = timeout(PATIENCE, post(gateway.address, CHAT, &chat("small", "x")))
            .await
            .unwrap();
        assert_eq!(answer.status, 503);
        assert!(answer.header("retry-after").is_some());
        codes.push(answer.json()["error"]["message"].is_string());
        if codes.len() == 3 {
            break;
        }
    }
    // Ten retries in a row at most, and the breaker opens long before.
    assert!(down.n_seen() <= 13, "{}", down.n_seen());
    let failures = gateway.metric("routerwise_request_failures_total").await;
    assert!((failures - 3.0).abs() < 1e-9, "{failures}");
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let mut inputs = inputs(&[refusing().await], &[]);
    inputs.settings.retries.most = 2;
    let gateway = Gateway::start(inputs).await;
    let answer = post(gateway.address, CHAT, &chat("small", "x")).await;
    assert_eq!((answer.status, answer.code().as_str()), (503, "connect"));
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error_that_clients_understand() {
    let half = format!("{STREAM}{}", chunk(&token("half")));
    let ways = [
        (Act::SayAndClose(half.clone().into_bytes()), "truncated"),
        (Act::SayAndStall(half.clone().into_bytes()), "stalled"),
        (Act::SayAndClose(format!("{half}zz\r\n").into_bytes()), "truncated"),
    ];
    for (act, cause) in ways {
        let (bad, good, gateway) = beside_a_good_one(vec![act], |_| {}).await;
        let answer = timeout(PATIENCE, post(gateway.address, CHAT, &streamed("auto", "p")))
            .await
            .unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.body.starts_with(&token("half")), "{}", answer.body);
        let error = answer.body.rsplit("data: ").next().unwrap();
        let error: serde_json::Value = serde_json::from_str(error.trim()).unwrap();
        assert_eq!(error["error"]["code"], cause);
        assert!(!answer.body.contains("[DONE]"));
        // After the first byte nothing is tried again.
        assert_eq!((bad.n_seen(), good.n_seen()), (1, 0));
        let line = format!("routerwise_request_failures_total{{cause=\"{cause}\"}}");
        gateway.metric_becomes(&line, 1.0).await;
    }
}

#[tokio::test]
async fn a_stream_without_its_last_marker_is_counted_as_truncated() {
    let unmarked = format!("{STREAM}{}0\r\n\r\n", chunk(&token("all")));
    let (_, _, gateway) = beside_a_good_one(vec![Act::Say(unmarked.into_bytes())], |_| {}).await;
    let answer = post(gateway.address, CHAT, &streamed("auto", "p")).await;
    assert_eq!(answer.body, token("all"));
    gateway
        .metric_becomes("routerwise_request_failures_total{cause=\"truncated\"}", 1.0)
        .await;
}

#[tokio::test]
async fn a_whole_answer_that_breaks_off_ends_without_its_end() {
    let mut bytes = answer("200 OK", "", &"x".repeat(100));
    bytes.truncate(bytes.len() - 50);
    let (_, _, gateway) = beside_a_good_one(vec![Act::SayAndClose(bytes)], |_| {}).await;
    let text = common::raw(gateway.address, request(CHAT, &[], &chat("small", "p")).as_bytes()).await;
    let answer = common::parse(&text);
    assert_eq!(answer.header("content-length"), Some("100"));
    assert!(answer.body.len() < 100);
    gateway
        .metric_becomes("routerwise_request_failures_total{cause=\"truncated\"}", 1.0)
        .await;
}

#[tokio::test]
async fn a_request_that_crosses_the_closing_of_a_used_connection_is_sent_again() {
    let upstream = Upstream::start(vec![ok(BODY), Act::Close, ok(BODY)]).await;
    let mut inputs = inputs(&[upstream.at], &[]);
    inputs.settings.retries.most = 1;
    let gateway = Gateway::start(inputs).await;
    for _ in 0..2 {
        let answer = post(gateway.address, CHAT, &chat("small", "x")).await;
        assert_eq!((answer.status, answer.header("x-routerwise-tries")), (200, None));
    }
    assert_eq!(upstream.n_seen(), 3);
    assert!((gateway.metric("routerwise_resent_total").await - 1.0).abs() < 1e-9);
}

/// Sends a request, runs `wait`, hangs up, and says how long the replica took to notice.
async fn hang_up(gateway: &Gateway, upstream: &Upstream, body: &str, first: bool) -> Duration {
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client.write_all(request(CHAT, &[], body).as_bytes()).await.unwrap();
    if first {
        let mut byte = [0; 1];
        client.read_exact(&mut byte).await.unwrap();
    } else {
        let deadline = Instant::now() + PATIENCE;
        while upstream.n_seen() == 0 {
            assert!(Instant::now() < deadline, "the request did not arrive");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let gone = Instant::now();
    drop(client);
    timeout(PATIENCE, upstream.left.notified())
        .await
        .expect("the replica is told");
    gone.elapsed()
}

#[tokio::test]
async fn a_client_that_goes_away_stops_its_request_in_prefill_and_in_mid_stream() {
    const ROUNDS: usize = 9;
    let half = format!("{STREAM}{}", chunk(&token("half")));
    for (act, first) in [(Act::Hang, false), (Act::SayAndStall(half.into_bytes()), true)] {
        let upstream = Upstream::start(vec![act]).await;
        let gateway = Gateway::start(inputs(&[upstream.at], &[])).await;
        let mut noticed = Vec::new();
        for _ in 0..ROUNDS {
            upstream.seen.lock().unwrap().clear();
            noticed.push(hang_up(&gateway, &upstream, &streamed("small", "x"), first).await);
        }
        noticed.sort_unstable();
        // One may be late on a busy machine; `cargo bench` says how long it takes on a quiet one.
        assert!(noticed[ROUNDS / 2] < Duration::from_millis(100), "{noticed:?}");
        let gone = "routerwise_request_failures_total{cause=\"client_gone\"}";
        gateway.metric_becomes(gone, 9.0).await;
        gateway.metric_becomes("routerwise_in_flight", 0.0).await;
    }
}

#[tokio::test]
async fn the_deadline_of_a_request_is_kept() {
    let slow = Upstream::start(vec![Act::Hang]).await;
    let gateway = Gateway::start(inputs(&[slow.at], &[])).await;
    let headers = [("x-routerwise-deadline", "80ms")];
    let answer = common::post_with(gateway.address, CHAT, &headers, &chat("small", "x")).await;
    assert_eq!((answer.status, answer.code().as_str()), (504, "deadline"));
}

#[tokio::test]
async fn who_reads_too_slowly_is_cut_off() {
    let big: Vec<String> = (0..4000).map(|_| "word ".repeat(200)).collect();
    let words: Vec<&str> = big.iter().map(String::as_str).collect();
    let upstream = Upstream::start(vec![Act::Say(stream(&words))]).await;
    let mut inputs = inputs(&[upstream.at], &[]);
    inputs.settings.timeouts.client = Duration::from_millis(200);
    let gateway = Gateway::start(inputs).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(request(CHAT, &[], &streamed("small", "x")).as_bytes())
        .await
        .unwrap();
    gateway
        .metric_becomes("routerwise_request_failures_total{cause=\"client_gone\"}", 1.0)
        .await;
    gateway.metric_becomes("routerwise_in_flight", 0.0).await;
    drop(client);
}

#[tokio::test]
async fn as_many_as_are_allowed_and_no_more() {
    let slow = Upstream::start(vec![Act::Hang]).await;
    let mut inputs = inputs(&[slow.at], &[]);
    inputs.settings.limits.in_flight = 1;
    inputs.settings.limits.queue = 1;
    inputs.settings.timeouts.queue = Duration::from_millis(50);
    let gateway = Gateway::start(inputs).await;
    let address = gateway.address;
    let first = tokio::spawn(async move { post(address, CHAT, &chat("small", "x")).await });
    gateway.metric_becomes("routerwise_in_flight", 1.0).await;
    let second = post(gateway.address, CHAT, &chat("small", "x")).await;
    assert_eq!((second.status, second.code().as_str()), (503, "overloaded"));
    assert!(second.header("retry-after").is_some());
    first.abort();
}

#[tokio::test]
async fn stopping_waits_for_streams_and_refuses_new_connections() {
    let pieces = vec![
        format!("{STREAM}{}", chunk(&token("a"))).into_bytes(),
        format!("{}{}0\r\n\r\n", chunk(&token("b")), chunk(DONE)).into_bytes(),
    ];
    let slow = Upstream::start(vec![Act::Pieces(pieces, Duration::from_millis(150))]).await;
    let mut gateway = Gateway::start(inputs(&[slow.at], &[])).await;
    let address = gateway.address;
    let streaming = tokio::spawn(async move { post(address, CHAT, &streamed("small", "x")).await });
    gateway.metric_becomes("routerwise_in_flight", 1.0).await;
    let stopped = gateway.stop();
    let answer = timeout(PATIENCE, streaming).await.unwrap().unwrap();
    assert!(answer.body.contains("[DONE]"), "{}", answer.body);
    assert_eq!(timeout(PATIENCE, stopped).await.unwrap().unwrap(), 0);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_storm_of_reloads_loses_no_request_and_a_wrong_one_changes_nothing() {
    let small = Upstream::start(vec![ok(BODY)]).await;
    let gateway = Gateway::start(inputs(&[small.at], &[])).await;
    let (address, admin) = (gateway.address, gateway.admin);
    let reload = "POST /admin/reload HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let asking = tokio::spawn(async move {
        for _ in 0..50 {
            assert_eq!(post(address, CHAT, &chat("small", "x")).await.status, 200);
        }
    });
    while !asking.is_finished() {
        assert_eq!(common::parse(&common::raw(admin, reload.as_bytes()).await).status, 200);
    }
    asking.await.unwrap();
    let good = gateway.inputs.lock().unwrap().clone();
    *gateway.inputs.lock().unwrap() = Err("the plan is damaged".to_owned());
    let refused = common::parse(&common::raw(admin, reload.as_bytes()).await);
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("the plan is damaged"));
    assert_eq!(post(address, CHAT, &chat("small", "x")).await.status, 200);
    // Then one that cannot be served: the model that the replica is of is gone.
    *gateway.inputs.lock().unwrap() = good;
    gateway.change(|inputs| inputs.settings.replicas[0].model = "gone".to_owned());
    assert_eq!(common::parse(&common::raw(admin, reload.as_bytes()).await).status, 400);
    assert_eq!(post(address, CHAT, &chat("small", "x")).await.status, 200);
    assert!(gateway.metric("routerwise_reloads_total{result=\"refused\"}").await >= 2.0);
}

#[tokio::test]
async fn a_reload_knows_what_was_learned_before_it() {
    let (bad, good) = (
        Upstream::start(vec![Act::Close]).await,
        Upstream::start(vec![ok(BODY)]).await,
    );
    let gateway = Gateway::start(inputs(&[bad.at, good.at], &[])).await;
    let up = format!("routerwise_replica_up{{model=\"small\",replica=\"{}\"}}", bad.at);
    while gateway.metric(&up).await > 0.5 {
        assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
        assert!(bad.n_seen() < 20, "its breaker does not open");
    }
    // Another order, another credential, another plan: the replica is the same.
    gateway.change(|inputs| {
        inputs.settings.replicas.reverse();
        inputs.settings.timeouts.idle = Duration::from_secs(3);
        inputs.plan.id = routerwise_types::Fingerprint("fedcba9876543210fedcba9876543210".to_owned());
    });
    assert_eq!(post(gateway.admin, "/admin/reload", "").await.status, 200);
    assert!(gateway.metric(&up).await < 0.5, "its breaker is closed again");
    let seen = bad.n_seen();
    assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    assert_eq!(bad.n_seen(), seen);
}

#[tokio::test]
async fn every_request_leaves_a_line_and_a_full_disk_costs_none() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.jsonl");
    for file in [log.clone(), "/dev/full".into()] {
        let small = Upstream::start(vec![ok(BODY)]).await;
        let mut inputs = inputs(&[small.at], &[]);
        inputs.settings.log = Some(routerwise_types::serve::DecisionLog {
            file,
            size: 1 << 20,
            keep: 1,
            prompts: false,
        });
        let mut gateway = Gateway::start(inputs).await;
        for _ in 0..3 {
            assert_eq!(
                post(gateway.address, CHAT, &chat("small", "secret words")).await.status,
                200
            );
        }
        assert_eq!(post(gateway.address, CHAT, &chat("nobody", "x")).await.status, 404);
        timeout(PATIENCE, gateway.stop()).await.unwrap().unwrap();
    }
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<routerwise_types::decisions::DecisionRecord> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!((lines[0].status, lines[0].model.as_deref()), (200, Some("small")));
    assert_eq!(lines[3].cause.as_deref(), Some("model_not_found"));
    assert!(!text.contains("secret"));
}
