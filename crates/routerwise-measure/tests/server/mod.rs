//! A trivial server of streamed answers, on a thread of its own; what it does to a request is said by the model's name.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each user has its own part; the panic is the report"
)]

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

/// How the server behaves.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    /// Time before the first token.
    pub(crate) first: Duration,
    /// Time between tokens.
    pub(crate) gap: Duration,
    /// Requests that are answered at a time; others wait.
    pub(crate) at_once: usize,
    /// Whether each connection is closed after one answer.
    pub(crate) closes: bool,
    /// Key that is wanted.
    pub(crate) key: Option<&'static str>,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            first: Duration::ZERO,
            gap: Duration::ZERO,
            at_once: Semaphore::MAX_PERMITS,
            closes: false,
            key: None,
        }
    }
}

/// A server that runs until the process ends.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) n_requests: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) fn start(manner: Manner) -> Self {
        Self::start_with(manner, None)
    }

    pub(crate) fn start_with(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let n_requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&n_requests);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async { accept(TcpListener::from_std(listener).unwrap(), manner, tls, counter).await });
        });
        Self { address, n_requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Speaks TLS with the certificate of a folder, made for these tests alone.
pub(crate) fn tls(folder: &Path) -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(folder.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

struct State {
    manner: Manner,
    places: Semaphore,
    n_requests: Arc<AtomicUsize>,
}

async fn accept(listener: TcpListener, manner: Manner, tls: Option<TlsAcceptor>, n_requests: Arc<AtomicUsize>) {
    let places = Semaphore::new(manner.at_once);
    let state = Arc::new(State {
        manner,
        places,
        n_requests,
    });
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let (state, tls) = (Arc::clone(&state), tls.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| answer(Arc::clone(&state), request));
            let mut http = hyper::server::conn::http1::Builder::new();
            http.keep_alive(!state.manner.closes);
            let _ = match tls {
                Some(tls) => match tls.accept(tcp).await {
                    Ok(tls) => http.serve_connection(TokioIo::new(tls), service).await,
                    Err(_) => Ok(()),
                },
                None => http.serve_connection(TokioIo::new(tcp), service).await,
            };
        });
    }
}

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Response<Pieces>, Infallible> {
    let wanted = state.manner.key.map(|key| format!("Bearer {key}"));
    if wanted.is_some_and(|key| {
        request
            .headers()
            .get("authorization")
            .is_none_or(|given| *given != *key)
    }) {
        return Ok(whole(401, r#"{"error":{"message":"a key is wanted"}}"#));
    }
    if request.uri().path() == "/v1/models" {
        return Ok(whole(200, r#"{"data":[{"id":"m"},{"id":"other"}]}"#));
    }
    if request.uri().path() == "/page/chat/completions" {
        return Ok(whole(200, "<html>hello</html>"));
    }
    if request.method() == http::Method::GET {
        return Ok(whole(404, "nothing here"));
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let n = state.n_requests.fetch_add(1, Ordering::Relaxed);
    let model = body["model"].as_str().unwrap().to_owned();
    let n_tokens = body["max_tokens"].as_u64().unwrap();
    match model.as_str() {
        "unknown" => return Ok(whole(404, r#"{"error":{"message":"no such model"}}"#)),
        "busy" if n % 2 == 1 => return Ok(whole(503, r#"{"error":{"message":"overloaded"}}"#)),
        _ => {}
    }
    let (send, pieces) = mpsc::channel(64);
    let mut response = Response::new(Pieces::Streamed(pieces));
    response
        .headers_mut()
        .insert("content-type", "text/event-stream".parse().unwrap());
    if model == "auto" {
        let headers = response.headers_mut();
        headers.insert(
            "x-routerwise-model",
            if n.is_multiple_of(4) { "large" } else { "small" }.parse().unwrap(),
        );
        headers.insert("x-routerwise-replica", format!("r{}", n % 2).parse().unwrap());
    }
    tokio::spawn(async move {
        let _place = state.places.acquire().await.unwrap();
        let _ = stream(&state.manner, &model, n, n_tokens, &send).await;
    });
    Ok(response)
}

type Sender = mpsc::Sender<Result<Bytes, std::io::Error>>;

async fn stream(manner: &Manner, model: &str, n: usize, n_tokens: u64, send: &Sender) -> Option<()> {
    let event = |text: String| Ok(Bytes::from(format!("data: {text}\n\n")));
    pause(manner.first).await;
    let role =
        r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}"#;
    send.send(event(role.into())).await.ok()?;
    for token in 0..n_tokens {
        if token > 0 {
            pause(manner.gap).await;
        }
        if token == n_tokens / 2 && n % 2 == 1 {
            match model {
                "cut" => return None,
                "reset" => {
                    let _ = send.send(Err(std::io::Error::other("gone"))).await;
                    return None;
                }
                "rubbish" => send.send(event("{\"choices\":[{\"del".into())).await.ok()?,
                "failing" => send
                    .send(event(r#"{"error":{"message":"out of memory"}}"#.into()))
                    .await
                    .ok()?,
                "hanging" => std::future::pending().await,
                _ => {}
            }
        }
        let text = r#"{"id":"c-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}],"usage":null}"#;
        send.send(event(text.into())).await.ok()?;
    }
    if model != "uncounted" {
        let usage = format!("{{\"choices\":[],\"usage\":{{\"prompt_tokens\":11,\"completion_tokens\":{n_tokens}}}}}");
        send.send(event(usage)).await.ok()?;
    }
    send.send(event("[DONE]".into())).await.ok()
}

async fn pause(time: Duration) {
    if !time.is_zero() {
        sleep(time).await;
    }
}

fn whole(status: u16, text: &'static str) -> Response<Pieces> {
    let mut response = Response::new(Pieces::Whole(Some(Bytes::from_static(text.as_bytes()))));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

enum Pieces {
    Whole(Option<Bytes>),
    Streamed(mpsc::Receiver<Result<Bytes, std::io::Error>>),
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(pieces) => pieces
                .poll_recv(cx)
                .map(|piece| piece.map(|bytes| bytes.map(Frame::data))),
        }
    }
}
