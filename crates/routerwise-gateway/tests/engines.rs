//! What engines say about themselves: their queues hold what others send them too.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use std::time::Duration;

use common::upstream::{Upstream, ok};
use routerwise_types::serve::Balance;

use common::{CHAT, Gateway, chat, get, inputs, post};

const BODY: &str = r#"{"choices":[]}"#;

fn vllm(running: u32, waiting: u32) -> String {
    format!(
        "# TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{{engine=\"0\",model_name=\"m\"}} {running}.0\n\
         vllm:num_requests_waiting{{engine=\"0\",model_name=\"m\"}} {waiting}.0\n\
         vllm:kv_cache_usage_perc{{engine=\"0\",model_name=\"m\"}} 0.25\n"
    )
}

#[tokio::test]
async fn requests_go_where_others_have_less_to_do() {
    let busy = Upstream::start(vec![ok(BODY)]).await;
    let idle = Upstream::start(vec![ok(BODY)]).await;
    *busy.metrics.lock().unwrap() = Some(vllm(20, 4));
    *idle.metrics.lock().unwrap() = Some(vllm(0, 0));
    let mut inputs = inputs(&[busy.at, idle.at], &[]);
    inputs.settings.engine_metrics.every = Some(Duration::from_millis(20));
    let gateway = Gateway::start(inputs).await;
    let of_busy = format!("{{model=\"small\",replica=\"{}\"}}", busy.at);
    gateway
        .metric_becomes(&format!("routerwise_engine_others{of_busy}"), 24.0)
        .await;
    gateway
        .metric_becomes(&format!("routerwise_engine_running{of_busy}"), 20.0)
        .await;
    gateway
        .metric_becomes(&format!("routerwise_engine_waiting{of_busy}"), 4.0)
        .await;
    gateway
        .metric_becomes(&format!("routerwise_engine_kv_used_ratio{of_busy}"), 0.25)
        .await;
    for _ in 0..10 {
        assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    }
    assert_eq!((busy.n_seen(), idle.n_seen()), (0, 10));
    let state = get(gateway.admin, "/admin/state").await.json();
    assert_eq!(state["models"][0]["replicas"][0]["engine"]["others"], 24);
}

#[tokio::test]
async fn a_conversation_stays_on_its_replica_when_balanced_by_prefix() {
    let mut upstreams = Vec::new();
    for _ in 0..4 {
        upstreams.push(Upstream::start(vec![ok(BODY)]).await);
    }
    let at: Vec<_> = upstreams.iter().map(|upstream| upstream.at).collect();
    let mut inputs = inputs(&at, &[]);
    inputs.settings.balance = Balance::Prefix;
    let gateway = Gateway::start(inputs).await;
    let turn = |text: &str, turns: usize| {
        let mut messages = vec![serde_json::json!({"role": "system", "content": "be brief"})];
        messages.push(serde_json::json!({"role": "user", "content": text}));
        for nth in 0..turns {
            messages.push(serde_json::json!({"role": "assistant", "content": format!("answer {nth}")}));
            messages.push(serde_json::json!({"role": "user", "content": format!("and {nth}?")}));
        }
        serde_json::json!({"model": "small", "messages": messages}).to_string()
    };
    let mut used = std::collections::BTreeSet::new();
    for conversation in 0..8 {
        let mut replicas = std::collections::BTreeSet::new();
        for turns in 0..4 {
            let body = turn(&format!("question {conversation}"), turns);
            let answer = post(gateway.address, CHAT, &body).await;
            replicas.insert(answer.header("x-routerwise-replica").unwrap().to_owned());
        }
        assert_eq!(replicas.len(), 1, "conversation {conversation} was on {replicas:?}");
        used.extend(replicas);
    }
    assert!(used.len() > 1, "{used:?}");
}

#[tokio::test]
async fn engines_without_known_metrics_are_used_as_before_and_what_is_old_does_not_count() {
    let silent = Upstream::start(vec![ok(BODY)]).await;
    let speaks = Upstream::start(vec![ok(BODY)]).await;
    *silent.metrics.lock().unwrap() = Some("some_counter_total 3\n".to_owned());
    *speaks.metrics.lock().unwrap() = Some(vllm(9, 0));
    let mut inputs = inputs(&[silent.at, speaks.at], &[]);
    inputs.settings.engine_metrics.every = Some(Duration::from_millis(20));
    let gateway = Gateway::start(inputs).await;
    gateway.metric_becomes("routerwise_engine_others", 9.0).await;
    assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    assert_eq!((silent.n_seen(), speaks.n_seen()), (1, 0));
    // It says no more: a moment later nothing that it said counts.
    *speaks.metrics.lock().unwrap() = None;
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    while get(gateway.admin, "/metrics")
        .await
        .body
        .contains("routerwise_engine_others{")
    {
        assert!(tokio::time::Instant::now() < deadline, "what is old still counts");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..20 {
        assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    }
    assert!(speaks.n_seen() > 0, "{}", speaks.n_seen());
}
