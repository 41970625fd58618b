//! A client, and engines to talk to.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part; the panic is the report"
)]

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use routerwise_emulate::{EmulatedEngine, Options, Replica};
use serde_json::{Value, json};

/// Nothing here may take longer, on however busy a machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// An engine twenty times as fast as the clock.
pub(crate) fn fast() -> Options {
    Options {
        speed: 20.0,
        ..Options::default()
    }
}

pub(crate) async fn start(options: Options) -> (EmulatedEngine, Client) {
    let engine = EmulatedEngine::start(Replica::example("small"), options).await.unwrap();
    let client = Client::new(&engine.url());
    (engine, client)
}

#[derive(Clone)]
pub(crate) struct Client {
    http: HyperClient<HttpConnector, Full<Bytes>>,
    url: String,
    headers: Vec<(&'static str, String)>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
    /// Whether the body came to its end.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The data of its events.
    pub(crate) fn events(&self) -> Vec<&str> {
        let events = self.text.split("\n\n").filter(|event| !event.is_empty());
        events.map(|event| event.strip_prefix("data: ").unwrap()).collect()
    }

    /// Its chunks, without the final `[DONE]`, which must be there.
    pub(crate) fn chunks(&self) -> Vec<Value> {
        let mut events = self.events();
        assert_eq!(events.pop(), Some("[DONE]"));
        events
            .iter()
            .map(|event| serde_json::from_str(event).unwrap())
            .collect()
    }
}

impl Client {
    pub(crate) fn new(url: &str) -> Self {
        Self {
            http: HyperClient::builder(TokioExecutor::new()).build(HttpConnector::new()),
            url: url.to_owned(),
            headers: Vec::new(),
        }
    }

    /// With a header on every request.
    pub(crate) fn with(&self, name: &'static str, value: &str) -> Self {
        let mut client = self.clone();
        client.headers.push((name, value.to_owned()));
        client
    }

    /// The response as soon as its head is there.
    pub(crate) async fn begin(&self, method: Method, path: &str, body: &str) -> Result<Response<Incoming>, String> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::from(body.to_owned())).unwrap();
        let response = tokio::time::timeout(DEADLINE, self.http.request(request)).await;
        response
            .expect("an answer before the deadline")
            .map_err(|error| error.to_string())
    }

    async fn send(&self, method: Method, path: &str, body: &str) -> Answer {
        let response = self.begin(method, path, body).await.unwrap();
        tokio::time::timeout(DEADLINE, read(response))
            .await
            .expect("an end before the deadline")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &body.to_string()).await
    }

    pub(crate) async fn post_text(&self, path: &str, body: &str) -> Answer {
        self.send(Method::POST, path, body).await
    }

    /// A chat of one message with what else is asked for.
    pub(crate) async fn chat(&self, more: Value) -> Answer {
        self.post("/v1/chat/completions", &chat(more)).await
    }

    /// The value of a metric by its name with labels besides `model_name` and `engine`.
    pub(crate) async fn metric(&self, name: &str, label: &str) -> f64 {
        metric(&self.get("/metrics").await.text, name, label)
    }

    /// Waits until a metric has a value.
    pub(crate) async fn wait_for(&self, name: &str, label: &str, wanted: f64) {
        let reached = async {
            while (self.metric(name, label).await - wanted).abs() > 1e-9 {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, reached).await;
        in_time.unwrap_or_else(|_| panic!("{name} {label} never was {wanted}"));
    }
}

pub(crate) fn metric(text: &str, name: &str, label: &str) -> f64 {
    let head = format!("{name}{{");
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with(&head) && line.contains(label));
    let value = lines.next().and_then(|line| line.rsplit(' ').next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

pub(crate) async fn read(response: Response<Incoming>) -> Answer {
    let (parts, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    let mut complete = true;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Err(_) => {
                complete = false;
                break;
            }
        }
    }
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes).unwrap(),
        complete,
    }
}

pub(crate) fn chat(more: Value) -> Value {
    let mut body = json!({"model": "small", "messages": [{"role": "user", "content": "a quiet lake below the hill"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}
