//! Credentials of engines reach the engines and nothing else: not the log at any level, not metrics, answers or errors.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use std::fmt::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use common::kubernetes::{ApiServer, slice};
use common::upstream::{Act, STREAM, Upstream, error, ok};
use common::{CHAT, Gateway, chat, get, inputs, post, streamed};
use routerwise_types::serve::{DecisionLog, Discover, DiscoverBy, Endpoint, EndpointSlices, Secret};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const SECRET: &str = "engine-credential-4711";
const TOKEN: &str = "service-account-token-4712";

static LOGGED: Mutex<String> = Mutex::new(String::new());

/// Writes everything down that anybody logs at any level, libraries included.
struct Everything;

struct Fields;

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(LOGGED.lock().unwrap(), " {field}={value:?}");
    }
}

impl Subscriber for Everything {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        attributes.record(&mut Fields);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, record: &Record<'_>) {
        record.record(&mut Fields);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let _ = writeln!(LOGGED.lock().unwrap(), "{}", event.metadata().target());
        event.record(&mut Fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_credential_reaches_its_engine_and_nothing_else() {
    tracing::subscriber::set_global_default(Everything).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (log, token) = (folder.path().join("decisions.jsonl"), folder.path().join("token"));
    std::fs::write(&token, TOKEN).unwrap();
    let engine = Upstream::start(vec![
        ok(r#"{"choices":[]}"#),
        error("500 Internal Server Error"),
        error("401 Unauthorized"),
        Act::SayAndClose(STREAM.as_bytes().to_vec()),
        Act::SayAndClose(b"no HTTP\r\n\r\n".to_vec()),
        Act::Close,
    ])
    .await;
    let found = Upstream::start(vec![ok("{}")]).await;
    let api = ApiServer::start(vec![slice("a", found.at, true)]).await;
    let mut inputs = inputs(&[engine.at], &[]);
    inputs.settings.replicas[0].credential = Some(Secret(SECRET.to_owned()));
    inputs.settings.retries.most = 1;
    inputs.settings.engine_metrics.every = Some(Duration::from_millis(20));
    inputs.settings.log = Some(DecisionLog {
        file: log.clone(),
        size: 1 << 20,
        keep: 1,
        prompts: true,
    });
    let mut like = Endpoint::new("large", "http://large.models.svc");
    like.credential = Some(Secret(SECRET.to_owned()));
    inputs.settings.discover = vec![Discover {
        like,
        by: DiscoverBy::EndpointSlices(EndpointSlices {
            service: "large".to_owned(),
            namespace: "models".to_owned(),
            port: None,
            api: format!("http://{}", api.at),
            token: Some(token),
            ca: None,
        }),
    }];
    let mut said = format!("{:?}", inputs.settings);
    let mut gateway = Gateway::start(inputs).await;
    for nth in 0..7 {
        let body = if nth < 3 {
            chat("small", "x")
        } else {
            streamed("small", "x")
        };
        let answer = post(gateway.address, CHAT, &body).await;
        said.push_str(&answer.head);
        said.push_str(&answer.body);
    }
    assert!(engine.last().head.contains(&format!("authorization: Bearer {SECRET}")));
    assert_eq!(post(gateway.address, CHAT, &chat("large", "x")).await.status, 200);
    assert!(found.last().head.contains(&format!("authorization: Bearer {SECRET}")));
    assert!(!api.asked(&format!("authorization: Bearer {TOKEN}")).is_empty());
    // The API server fails, and so does a reload with a credential that no header can hold.
    api.refuse(Some("401 Unauthorized"));
    api.cut();
    let deadline = tokio::time::Instant::now() + common::PATIENCE;
    while gateway.metric("routerwise_discovery_failures_total").await < 1.0 {
        assert!(tokio::time::Instant::now() < deadline, "it was not asked again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gateway.change(|inputs| inputs.settings.replicas[0].credential = Some(Secret(format!("{SECRET}\u{7}"))));
    let refused = post(gateway.admin, "/admin/reload", "").await;
    assert_eq!(refused.status, 400);
    said.push_str(&refused.body);
    for (at, path) in [
        (gateway.admin, "/metrics"),
        (gateway.admin, "/admin/state"),
        (gateway.address, "/v1/models"),
    ] {
        said.push_str(&get(at, path).await.body);
    }
    gateway.stop().await.unwrap();
    said.push_str(&std::fs::read_to_string(&log).unwrap());
    let logged = LOGGED.lock().unwrap().clone();
    assert!(
        logged.contains("routerwise_gateway") && logged.contains("hyper"),
        "nothing was logged"
    );
    for secret in [SECRET, TOKEN] {
        assert!(!said.contains(secret), "{said}");
        assert!(!logged.contains(secret), "{logged}");
    }
}
