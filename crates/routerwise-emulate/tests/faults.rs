//! What goes wrong on purpose, and only that.

mod support;

use std::time::{Duration, Instant};

use http::Method;
use http_body_util::BodyExt;
use routerwise_emulate::{Faults, Options};
use serde_json::{Value, json};
use support::{Client, DEADLINE, chat, fast, read, start};

fn with(faults: Faults) -> Options {
    Options { faults, ..fast() }
}

fn stream(max_tokens: u32) -> Value {
    json!({"stream": true, "max_tokens": max_tokens, "ignore_eos": true})
}

#[tokio::test]
async fn errors_come_at_their_rate_and_say_when_to_try_again() {
    let faults = Faults {
        error_429: 1.0,
        retry_after: 7,
        ..Faults::default()
    };
    let (engine, client) = start(with(faults)).await;
    let answer = client.chat(json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["retry-after"]),
        (429, &"7".parse().unwrap())
    );
    assert_eq!(answer.json()["error"]["type"], "RateLimitError");
    let half = Faults {
        error_500: 0.5,
        ..Faults::default()
    };
    engine.set_faults(half).unwrap();
    let mut failed = 0;
    for _ in 0..60 {
        let answer = client.chat(json!({"max_tokens": 1})).await;
        assert!(!answer.headers.contains_key("retry-after"));
        failed += usize::from(answer.status == 500);
    }
    assert!((12..48).contains(&failed), "{failed}");
    engine.stop().await;
}

#[tokio::test]
async fn faults_are_set_seen_and_cleared_at_run_time() {
    let (engine, client) = start(fast()).await;
    let set = client.post("/emulate/faults", &json!({"error_503": 1})).await;
    assert_eq!((set.status.as_u16(), &set.json()["error_503"]), (200, &json!(1.0)));
    assert_eq!(client.chat(json!({})).await.status, 503);
    // What cannot be changes nothing.
    for wrong in [json!({"error_503": 1.5}), json!({"made_up": 1})] {
        assert_eq!(client.post("/emulate/faults", &wrong).await.status, 400);
    }
    assert_eq!(client.get("/emulate/faults").await.json()["error_503"], 1.0);
    assert_eq!(client.delete("/emulate/faults").await.status, 200);
    assert_eq!(client.chat(json!({"max_tokens": 1})).await.status, 200);
    assert_eq!(engine.faults(), Faults::default());
    engine.stop().await;
}

#[tokio::test]
async fn a_truncated_answer_breaks_off_without_its_end() {
    let faults = Faults {
        truncate_rate: 1.0,
        after_tokens: 4,
        ..Faults::default()
    };
    let (engine, client) = start(with(faults)).await;
    let answer = client.chat(stream(10)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.complete, answer.events().len()),
        (200, false, 5)
    );
    // An answer too short for that breaks off all the same.
    let answer = client.chat(stream(2)).await;
    assert!(!answer.complete && !answer.text.contains("[DONE]"));
    let whole = client.chat(json!({"max_tokens": 4})).await;
    assert!(!whole.complete && serde_json::from_str::<Value>(&whole.text).is_err());
    engine.stop().await;
}

#[tokio::test]
async fn a_malformed_answer_has_one_event_that_is_not_json() {
    let faults = Faults {
        malformed_rate: 1.0,
        ..Faults::default()
    };
    let (engine, client) = start(with(faults)).await;
    let answer = client.chat(stream(10)).await;
    let events = answer.events();
    let wrong = events
        .iter()
        .filter(|event| serde_json::from_str::<Value>(event).is_err());
    assert_eq!(wrong.count(), 2, "the malformed one and [DONE]");
    assert!(answer.complete && events.len() == 1 + 10 + 1 + 1);
    engine.stop().await;
}

#[tokio::test]
async fn a_stalled_answer_waits_and_goes_on() {
    let faults = Faults {
        stall_rate: 1.0,
        stall_seconds: 0.3,
        ..Faults::default()
    };
    let (engine, client) = start(with(faults)).await;
    let before = Instant::now();
    let answer = client.chat(stream(10)).await;
    assert!(before.elapsed() >= Duration::from_millis(300));
    assert_eq!(answer.chunks().len(), 11);
    // Stalled for good, nothing comes after the tokens before it.
    engine
        .set_faults(Faults {
            stall_seconds: 0.0,
            ..faults
        })
        .unwrap();
    let mut body = client
        .begin(Method::POST, "/v1/chat/completions", &chat(stream(10)).to_string())
        .await
        .unwrap()
        .into_body();
    let mut text = String::new();
    while text.matches("data: ").count() < 4 {
        let frame = tokio::time::timeout(DEADLINE, body.frame())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    // The engine has made all of it meanwhile.
    client.wait_for("vllm:request_success_total", "length", 2.0).await;
    assert!(
        tokio::time::timeout(Duration::from_millis(50), body.frame())
            .await
            .is_err()
    );
    drop(body);
    engine.stop().await;
}

#[tokio::test]
async fn a_spike_holds_a_request_back_but_not_the_engine() {
    let faults = Faults {
        spike_rate: 1.0,
        spike_seconds: 0.25,
        ..Faults::default()
    };
    let (engine, client) = start(with(faults)).await;
    let before = Instant::now();
    client.chat(json!({"max_tokens": 1})).await;
    assert!(before.elapsed() >= Duration::from_millis(250));
    assert!(client.metric("vllm:time_to_first_token_seconds_sum", "").await < 0.25);
    engine.stop().await;
}

#[tokio::test]
async fn a_slow_engine_takes_longer_by_its_own_count() {
    let (engine, client) = start(fast()).await;
    let time = |client: Client| async move {
        let before = client.metric("vllm:inter_token_latency_seconds_sum", "").await;
        client.chat(json!({"max_tokens": 41, "ignore_eos": true})).await;
        client.metric("vllm:inter_token_latency_seconds_sum", "").await - before
    };
    let usual = time(client.clone()).await;
    engine
        .set_faults(Faults {
            slowdown: 10.0,
            ..Faults::default()
        })
        .unwrap();
    let slow = time(client.clone()).await;
    assert!((slow / usual - 10.0).abs() < 0.5, "{usual} {slow}");
    engine.stop().await;
}

#[tokio::test]
async fn an_engine_that_starts_slowly_says_so_until_it_is_ready() {
    let options = Options {
        start_delay: Duration::from_millis(400),
        ..fast()
    };
    let (engine, client) = start(options).await;
    assert_eq!(client.get("/health").await.status, 503);
    let answer = client.chat(json!({})).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.headers["retry-after"]),
        (503, &"1".parse().unwrap())
    );
    let ready = async { while client.get("/health").await.status != 200 {} };
    tokio::time::timeout(DEADLINE, ready).await.unwrap();
    assert_eq!(client.chat(json!({"max_tokens": 1})).await.status, 200);
    engine.stop().await;
}

#[tokio::test]
async fn a_crash_drops_all_connections_and_frees_the_port() {
    let (engine, client) = start(Options::default()).await;
    let body = chat(stream(2000)).to_string();
    let streaming = client.begin(Method::POST, "/v1/chat/completions", &body).await.unwrap();
    let waiting = client.clone();
    let waiting = tokio::spawn(async move {
        let body = chat(json!({"max_tokens": 2000, "ignore_eos": true})).to_string();
        waiting.begin(Method::POST, "/v1/chat/completions", &body).await
    });
    client.wait_for("vllm:num_requests_running", "", 2.0).await;
    assert!(client.begin(Method::POST, "/emulate/crash", "").await.is_err());
    assert!(!read(streaming).await.complete);
    assert!(waiting.await.unwrap().is_err());
    tokio::time::timeout(DEADLINE, engine.crashed()).await.unwrap();
    let free = async { while tokio::net::TcpListener::bind(engine.address()).await.is_err() {} };
    tokio::time::timeout(DEADLINE, free).await.unwrap();
}
