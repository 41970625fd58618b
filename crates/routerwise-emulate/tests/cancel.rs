//! Callers that go away: the engine must free what they held.

mod support;

use http::Method;
use http_body_util::BodyExt;
use routerwise_emulate::{EmulatedEngine, Options, Replica};
use serde_json::json;
use support::{Client, DEADLINE, chat, start};

/// An engine in real time whose answers would take minutes.
async fn slow() -> (EmulatedEngine, Client) {
    start(Options::default()).await
}

fn long(stream: bool) -> String {
    chat(json!({"max_tokens": 8000, "ignore_eos": true, "stream": stream})).to_string()
}

async fn is_empty(client: &Client) {
    client.wait_for("vllm:num_requests_running", "", 0.0).await;
    client.wait_for("vllm:num_requests_waiting", "", 0.0).await;
    client.wait_for("vllm:kv_cache_usage_perc", "", 0.0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_in_mid_stream_frees_its_sequence() {
    let (engine, client) = slow().await;
    let response = client
        .begin(Method::POST, "/v1/chat/completions", &long(true))
        .await
        .unwrap();
    let mut body = response.into_body();
    tokio::time::timeout(DEADLINE, body.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    client.wait_for("vllm:num_requests_running", "", 1.0).await;
    assert!(client.metric("vllm:kv_cache_usage_perc", "").await > 0.0);
    drop(body);
    is_empty(&client).await;
    client.wait_for("vllm:request_success_total", "abort", 1.0).await;
    engine.stop().await;
}

#[tokio::test]
async fn a_client_that_waits_for_a_whole_answer_and_goes_away_frees_its_sequence() {
    let (engine, client) = slow().await;
    let waiting = client.clone();
    let request = tokio::spawn(async move { waiting.begin(Method::POST, "/v1/chat/completions", &long(false)).await });
    client.wait_for("vllm:num_requests_running", "", 1.0).await;
    request.abort();
    is_empty(&client).await;
    client.wait_for("vllm:request_success_total", "abort", 1.0).await;
    engine.stop().await;
}

#[tokio::test]
async fn a_client_that_goes_away_before_its_first_token_leaves_the_queue() {
    // One sequence at a time: the second request waits for the first.
    let replica = Replica::example_with("small", |model| model.engine.max_num_seqs = 1);
    let engine = EmulatedEngine::start(replica, Options::default()).await.unwrap();
    let client = Client::new(&engine.url());
    let first = client
        .begin(Method::POST, "/v1/chat/completions", &long(true))
        .await
        .unwrap();
    client.wait_for("vllm:num_requests_running", "", 1.0).await;
    let second = client
        .begin(Method::POST, "/v1/chat/completions", &long(true))
        .await
        .unwrap();
    client.wait_for("vllm:num_requests_waiting", "", 1.0).await;
    drop(second);
    client.wait_for("vllm:num_requests_waiting", "", 0.0).await;
    assert!((client.metric("vllm:num_requests_running", "").await - 1.0).abs() < 1e-9);
    drop(first);
    is_empty(&client).await;
    engine.stop().await;
}
