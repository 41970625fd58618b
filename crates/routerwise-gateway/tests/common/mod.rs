//! A gateway in this process, in front of upstreams that do exactly what a test says.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part; the panic is the report"
)]

pub(crate) mod kubernetes;
pub(crate) mod plan;
pub(crate) mod upstream;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use routerwise_gateway::{Calendar, Loaded, Scorer, Server};
use routerwise_types::plan::Plan;
use routerwise_types::serve::{Endpoint, Key, Prices, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest wait of any test for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a test may change before the gateway starts, and while it runs.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub(crate) settings: Settings,
    pub(crate) plan: Plan,
    pub(crate) keys: Vec<Key>,
    /// Scores by prompt.
    pub(crate) scores: Vec<(String, Vec<f32>)>,
}

pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) inputs: Arc<Mutex<Result<Inputs, String>>>,
    stop: Option<oneshot::Sender<()>>,
    running: Option<JoinHandle<usize>>,
}

/// Inputs for models `small` and `large`, each with the replicas given.
pub(crate) fn inputs(small: &[SocketAddr], large: &[SocketAddr]) -> Inputs {
    let endpoint = |model: &'static str| move |at: &SocketAddr| Endpoint::new(model, format!("http://{at}"));
    let replicas: Vec<Endpoint> = small
        .iter()
        .map(endpoint("small"))
        .chain(large.iter().map(endpoint("large")))
        .collect();
    let mut settings = Settings::usual(replicas);
    settings.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    settings.admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    settings.health.every = None;
    settings.engine_metrics.every = None;
    settings.prices = Prices::Static;
    settings.retries.backoff = Duration::from_millis(1);
    settings.retries.budget = 1.0;
    Inputs {
        settings,
        plan: plan::two_models(small.len().max(1), large.len().max(1)),
        keys: Vec::new(),
        scores: Vec::new(),
    }
}

impl Gateway {
    pub(crate) async fn start(inputs: Inputs) -> Self {
        Self::try_start(inputs).await.unwrap()
    }

    pub(crate) async fn try_start(inputs: Inputs) -> Result<Self, String> {
        Self::start_with(inputs, Box::new(SystemTime::now)).await
    }

    /// With another calendar than the system's.
    pub(crate) async fn start_with(inputs: Inputs, calendar: Calendar) -> Result<Self, String> {
        let inputs = Arc::new(Mutex::new(Ok(inputs)));
        let source = Arc::clone(&inputs);
        let load = move || -> Result<Loaded, String> {
            let inputs: Inputs = source.lock().unwrap().clone()?;
            Ok(Loaded {
                scorer: Scorer::none().with_known(&plan::scores(&inputs.scores), &inputs.plan),
                settings: inputs.settings,
                plan: inputs.plan,
                curves: None,
                keys: inputs.keys,
            })
        };
        let server = Server::bind_with(Box::new(load), calendar).await;
        let server = server.map_err(|error| error.to_string())?;
        let address = server.address();
        let admin = server.admin_address().unwrap();
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Ok(Self {
            address,
            admin,
            inputs,
            stop: Some(stop),
            running: Some(running),
        })
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Inputs)) {
        let mut inputs = self.inputs.lock().unwrap();
        change(inputs.as_mut().unwrap());
    }

    /// Asks it to stop; the handle says how many answers were cut off.
    pub(crate) fn stop(&mut self) -> JoinHandle<usize> {
        let _ = self.stop.take().unwrap().send(());
        self.running.take().unwrap()
    }

    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let text = get(self.admin, "/metrics").await.body;
        text.lines()
            .filter(|found| found.starts_with(line))
            .map(|found| found.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Waits until a metric has a value.
    pub(crate) async fn metric_becomes(&self, line: &str, value: f64) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let found = self.metric(line).await;
            if (found - value).abs() < 1e-9 {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "{line} is {found}, not {value}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// An HTTP/1.1 answer, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap().to_owned()
    }
}

/// Sends bytes on a connection of its own and reads all that comes until it is closed.
pub(crate) async fn raw(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).await.unwrap();
    // Whoever is refused early may not read all of it.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Parses one answer; bodies in chunks are put together.
pub(crate) fn parse(text: &str) -> Answer {
    let (head, rest) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer in {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { unchunk(rest) } else { rest.to_owned() };
    Answer {
        status,
        head: head.to_owned(),
        body,
    }
}

fn unchunk(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else {
            break;
        };
        body.push_str(&after[..size.min(after.len())]);
        rest = after.get(size + 2..).unwrap_or("");
    }
    body
}

pub(crate) async fn get(to: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n");
    parse(&raw(to, request.as_bytes()).await)
}

pub(crate) async fn post_with(to: SocketAddr, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    parse(&raw(to, request(path, headers, body).as_bytes()).await)
}

pub(crate) fn request(path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(crate) async fn post(to: SocketAddr, path: &str, body: &str) -> Answer {
    post_with(to, path, &[], body).await
}

pub(crate) const CHAT: &str = "/v1/chat/completions";

/// A chat request for a model.
pub(crate) fn chat(model: &str, prompt: &str) -> String {
    serde_json::json!({"model": model, "messages": [{"role": "user", "content": prompt}]}).to_string()
}

pub(crate) fn streamed(model: &str, prompt: &str) -> String {
    serde_json::json!({"model": model, "stream": true, "messages": [{"role": "user", "content": prompt}]}).to_string()
}
