//! Replicas that are looked for: new ones get their share bit by bit, gone ones finish what they have, and who cannot be asked costs nothing.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::kubernetes::{ApiServer, slice};
use common::upstream::{Act, DONE, STREAM, Upstream, chunk, ok, token};
use common::{CHAT, Gateway, Inputs, PATIENCE, chat, get, inputs, post, streamed};
use routerwise_types::serve::{Discover, DiscoverBy, Endpoint, EndpointSlices};
use serde_json::Value;
use tokio::time::{Instant, timeout};

const BODY: &str = r#"{"choices":[]}"#;

fn watched(api: SocketAddr) -> Discover {
    Discover {
        like: Endpoint::new("small", "http://small.models.svc"),
        by: DiscoverBy::EndpointSlices(EndpointSlices {
            service: "small".to_owned(),
            namespace: "models".to_owned(),
            port: None,
            api: format!("http://{api}"),
            token: None,
            ca: None,
        }),
    }
}

fn inputs_of(discover: Discover) -> Inputs {
    let mut inputs = inputs(&[], &[]);
    inputs.settings.discover = vec![discover];
    inputs
}

async fn upstream() -> Upstream {
    Upstream::start(vec![ok(BODY)]).await
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn is_found(gateway: &Gateway, n: f64) {
    gateway
        .metric_becomes("routerwise_discovered{model=\"small\",by=\"endpoint-slices\"}", n)
        .await;
}

async fn replica(gateway: &Gateway, at: SocketAddr) -> Value {
    let state = get(gateway.admin, "/admin/state").await.json();
    let replicas = state["models"][0]["replicas"].as_array().unwrap().clone();
    replicas
        .into_iter()
        .find(|replica| replica["address"] == at.to_string())
        .unwrap_or_else(|| panic!("{at} is not in {state}"))
}

#[tokio::test]
async fn endpoints_of_a_service_come_and_go() {
    let (a, b) = (upstream().await, upstream().await);
    let api = ApiServer::start(vec![slice("a", a.at, true), slice("b", b.at, false)]).await;
    let gateway = Gateway::start(inputs_of(watched(api.at))).await;
    // What is there from the start has its whole share; what is not ready is not used.
    is_found(&gateway, 1.0).await;
    assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    assert!(
        a.last()
            .head
            .contains(&format!("host: small.models.svc:{}", a.at.port()))
    );
    assert_eq!((a.n_seen(), b.n_seen()), (1, 0));
    until("nobody watches", || api.n_watches() == 1).await;
    assert!(api.asked("watch=1")[0].contains("labelSelector=kubernetes.io%2Fservice-name%3Dsmall"));
    // The second one is ready, and is ramped.
    api.change("MODIFIED", slice("b", b.at, true));
    is_found(&gateway, 2.0).await;
    let ramp = replica(&gateway, b.at).await["ramp"].as_f64().unwrap();
    assert!(ramp < 0.5, "{ramp}");
    assert!((replica(&gateway, a.at).await["ramp"].as_f64().unwrap() - 1.0).abs() < 1e-9);
    // The first one is not ready any more: a stream on it goes on, and nothing new comes.
    let pieces = vec![
        format!("{STREAM}{}", chunk(&token("half"))).into_bytes(),
        format!("{}{}0\r\n\r\n", chunk(&token("whole")), chunk(DONE)).into_bytes(),
    ];
    a.then(vec![Act::Pieces(pieces, Duration::from_millis(200))]);
    let address = gateway.address;
    let seen = a.n_seen();
    let streaming = tokio::spawn(async move { post(address, CHAT, &streamed("small", "x")).await });
    until("the stream began elsewhere", || a.n_seen() > seen).await;
    api.change("MODIFIED", slice("a", a.at, false));
    is_found(&gateway, 1.0).await;
    let seen = (a.n_seen(), b.n_seen());
    for _ in 0..10 {
        assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    }
    assert_eq!((a.n_seen(), b.n_seen()), (seen.0, seen.1 + 10));
    let answer = timeout(PATIENCE, streaming).await.unwrap().unwrap();
    assert!(
        answer.body.contains("whole") && answer.body.contains("[DONE]"),
        "{}",
        answer.body
    );
    // With the last one gone nobody answers, and with the first one back somebody does.
    api.change("DELETED", slice("b", b.at, true));
    is_found(&gateway, 0.0).await;
    assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 503);
    a.then(vec![ok(BODY)]);
    api.change("MODIFIED", slice("a", a.at, true));
    is_found(&gateway, 1.0).await;
    assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    gateway.metric_becomes("routerwise_discovery_failures_total", 0.0).await;
}

#[tokio::test]
async fn numbers_of_replicas_that_are_gone_are_used_again() {
    let mut upstreams = Vec::new();
    for _ in 0..5 {
        upstreams.push(upstream().await);
    }
    let api = ApiServer::start(vec![slice("pod", upstreams[0].at, true)]).await;
    let gateway = Gateway::start(inputs_of(watched(api.at))).await;
    until("nobody watches", || api.n_watches() == 1).await;
    for next in &upstreams[1..] {
        api.change("MODIFIED", slice("pod", next.at, true));
        let line = format!("routerwise_replica_up{{model=\"small\",replica=\"{}\"}}", next.at);
        gateway.metric_becomes(&line, 1.0).await;
        gateway.metric_becomes("routerwise_replica_up", 1.0).await;
        assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
        assert_eq!(next.n_seen(), 1);
    }
    let state = get(gateway.admin, "/admin/state").await.json();
    assert_eq!(state["models"][0]["replicas"].as_array().unwrap().len(), 1);
    // Nor do metrics grow with every pod that there ever was.
    let metrics = get(gateway.admin, "/metrics").await.body;
    let of_attempts = metrics
        .lines()
        .filter(|line| line.starts_with("routerwise_attempts_total{"));
    assert_eq!(of_attempts.count(), 1, "{metrics}");
}

#[tokio::test]
async fn a_watch_goes_on_where_it_was_and_lists_anew_when_that_is_forgotten() {
    let (a, b) = (upstream().await, upstream().await);
    let api = ApiServer::start(vec![slice("a", a.at, true)]).await;
    let gateway = Gateway::start(inputs_of(watched(api.at))).await;
    until("nobody watches", || api.n_watches() == 1).await;
    // Broken off after a bookmark: the next one begins there, and nothing is listed again.
    let version = api.bookmark();
    let lists = api.asked("limit=").len();
    api.change("ADDED", slice("b", b.at, true));
    is_found(&gateway, 2.0).await;
    api.cut();
    let resumed = format!("resourceVersion={}", version + 1);
    until("the watch did not go on", || !api.asked(&resumed).is_empty()).await;
    assert_eq!(api.asked("limit=").len(), lists);
    until("nobody watches", || api.n_watches() == 1).await;
    // 410: what changed meanwhile is in a new list.
    api.forget(vec![slice("b", b.at, true)]);
    is_found(&gateway, 1.0).await;
    assert_eq!(api.asked("limit=").len(), lists + 1);
    until("nobody watches", || api.n_watches() == 1).await;
    let seen = a.n_seen();
    assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    assert_eq!((a.n_seen(), b.n_seen()), (seen, 1));
}

#[tokio::test]
async fn who_cannot_be_asked_takes_no_replica_away() {
    let a = upstream().await;
    let api = ApiServer::start(vec![slice("a", a.at, true)]).await;
    let gateway = Gateway::start(inputs_of(watched(api.at))).await;
    until("nobody watches", || api.n_watches() == 1).await;
    api.refuse(Some("403 Forbidden"));
    api.cut();
    let asked = api.asked("").len();
    until("it was not asked again", || api.asked("").len() > asked + 1).await;
    assert!(gateway.metric("routerwise_discovery_failures_total").await >= 1.0);
    is_found(&gateway, 1.0).await;
    assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    api.refuse(None);
    until("nobody watches", || api.n_watches() == 1).await;
}

#[tokio::test]
async fn a_gateway_starts_before_its_replicas_and_is_ready_when_they_come() {
    let a = upstream().await;
    let api = ApiServer::start(Vec::new()).await;
    let gateway = Gateway::start(inputs_of(watched(api.at))).await;
    assert_eq!(get(gateway.address, "/ready").await.status, 503);
    until("nobody watches", || api.n_watches() == 1).await;
    api.change("ADDED", slice("a", a.at, true));
    is_found(&gateway, 1.0).await;
    assert_eq!(get(gateway.address, "/ready").await.status, 200);
    assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
}

#[tokio::test]
async fn a_reload_keeps_what_was_found_and_loses_no_request() {
    let a = upstream().await;
    let api = ApiServer::start(vec![slice("a", a.at, true)]).await;
    let gateway = Gateway::start(inputs_of(watched(api.at))).await;
    until("nobody watches", || api.n_watches() == 1).await;
    api.refuse(Some("500 Internal Server Error"));
    let (address, admin) = (gateway.address, gateway.admin);
    let asking = tokio::spawn(async move {
        for _ in 0..30 {
            assert_eq!(post(address, CHAT, &chat("small", "x")).await.status, 200);
        }
    });
    while !asking.is_finished() {
        assert_eq!(post(admin, "/admin/reload", "").await.status, 200);
    }
    asking.await.unwrap();
    api.refuse(None);
    // One watch for the settings in force, and none for those that are over.
    until("not one watch", || api.n_watches() == 1).await;
}

#[tokio::test]
async fn the_token_is_read_anew_for_every_request() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "first-token\n").unwrap();
    let a = upstream().await;
    let api = ApiServer::start(vec![slice("a", a.at, true)]).await;
    let mut discover = watched(api.at);
    if let DiscoverBy::EndpointSlices(slices) = &mut discover.by {
        slices.token = Some(token.clone());
    }
    let _gateway = Gateway::start(inputs_of(discover)).await;
    until("nobody watches", || api.n_watches() == 1).await;
    assert!(!api.asked("authorization: Bearer first-token").is_empty());
    std::fs::write(&token, "second-token").unwrap();
    api.cut();
    until("the old token is still used", || {
        !api.asked("authorization: Bearer second-token").is_empty()
    })
    .await;
}

#[tokio::test]
async fn every_address_of_a_name_is_a_replica_beside_those_that_are_named() {
    let (named, found) = (upstream().await, upstream().await);
    let mut inputs = inputs(&[named.at], &[]);
    inputs.settings.discover = vec![Discover {
        like: Endpoint::new("small", format!("http://localhost:{}/v1", found.at.port())),
        by: DiscoverBy::Dns {
            every: Duration::from_millis(20),
        },
    }];
    let gateway = Gateway::start(inputs).await;
    gateway
        .metric_becomes("routerwise_discovered{model=\"small\",by=\"dns\"}", 1.0)
        .await;
    let up = format!("routerwise_replica_up{{model=\"small\",replica=\"{}\"}}", found.at);
    gateway.metric_becomes(&up, 1.0).await;
    for _ in 0..20 {
        assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
    }
    assert!(named.n_seen() > 0 && found.n_seen() > 0);
    assert!(found.last().head.starts_with("POST /v1/chat/completions"));
    assert!(found.last().head.contains("host: localhost:"));
}
