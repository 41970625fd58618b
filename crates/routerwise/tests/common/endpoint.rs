//! An OpenAI-compatible endpoint in this process, on a port of its own, that answers as a test says.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// How one request is answered.
pub(crate) enum Reply {
    Text(String),
    Status(u16, &'static str),
    RetryAfter(f64),
    /// Never.
    Hang,
}

/// One request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) model: String,
    pub(crate) text: String,
    pub(crate) key: Option<String>,
}

type Answering = dyn Fn(&Seen, usize) -> Reply + Send + Sync;

struct Shared {
    answering: Box<Answering>,
    seen: Mutex<Vec<Seen>>,
}

pub(crate) struct Endpoint {
    pub(crate) url: String,
    shared: Arc<Shared>,
    _stop: oneshot::Sender<()>,
}

impl Endpoint {
    /// Starts one; `answering` gets each request and how many came before it, but for those that only try the endpoint.
    pub(crate) fn start(answering: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            answering: Box::new(answering),
            seen: Mutex::default(),
        });
        let (sender, receiver) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let router = Router::new()
            .route("/v1/chat/completions", post(chat))
            .route("/v1/models", get(async || Json(json!({"data": [{"id": "small"}]}))))
            .with_state(Arc::clone(&shared));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                tokio::select! {
                    served = async { axum::serve(listener, router).await } => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Self {
            url: format!("http://{}/v1", receiver.recv().unwrap()),
            shared,
            _stop: stop,
        }
    }

    /// Requests so far, but for those that only try the endpoint.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub(crate) fn wait_for(&self, n: usize) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.seen().len() < n {
            assert!(Instant::now() < deadline, "{} of {n} requests came", self.seen().len());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

async fn chat(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> (StatusCode, HeaderMap, Json<Value>) {
    let last = body["messages"].as_array().unwrap().last().unwrap();
    let key = headers.get("authorization").map(|key| key.to_str().unwrap().to_owned());
    let seen = Seen {
        at: Instant::now(),
        model: body["model"].as_str().unwrap().to_owned(),
        text: last["content"].as_str().unwrap().to_owned(),
        key,
    };
    let ix = {
        let mut all = shared.seen.lock().unwrap();
        let ix = all.len();
        if seen.text != "Hi" {
            all.push(seen.clone());
        }
        ix
    };
    let mut headers = HeaderMap::new();
    match (shared.answering)(&seen, ix) {
        Reply::Text(text) => {
            let tokens = text.split_whitespace().count();
            let usage = json!({"prompt_tokens": 7, "completion_tokens": tokens});
            let choices =
                json!([{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]);
            let body = json!({"object": "chat.completion", "choices": choices, "usage": usage});
            (StatusCode::OK, headers, Json(body))
        }
        Reply::Status(status, said) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, headers, Json(json!({"error": {"message": said}})))
        }
        Reply::RetryAfter(seconds) => {
            headers.insert("retry-after", seconds.to_string().parse().unwrap());
            (StatusCode::TOO_MANY_REQUESTS, headers, Json(json!({})))
        }
        Reply::Hang => std::future::pending().await,
    }
}
