//! One connection of a client: TLS, HTTP/1.1 or HTTP/2, and an end for those who are too slow.
//!
//! Slow in sending headers: hyper's own limit, and a limit for the first request. Slow in sending a body: limits while it is read. Slow in
//! reading an answer: a piece that stays untaken for too long. Idle: no request for too long.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use routerwise_types::serve::Settings;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use crate::metrics::Metrics;
use crate::response::Out;

/// Streams that one HTTP/2 connection may have open.
const MOST_STREAMS: u32 = 256;
/// Header fields of one request.
const MOST_FIELDS: usize = 128;
/// Bytes of an answer that wait for a slow reader.
const SEND_BUFFER: usize = 256 << 10;

/// What holds for a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    headers: usize,
    patience: Duration,
}

impl Rules {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            // Less than hyper takes is no setting of hyper's.
            headers: settings.limits.headers.max(8 << 10),
            patience: settings.timeouts.client,
        }
    }
}

/// What goes on in a connection.
#[derive(Debug)]
struct Activity {
    start: Instant,
    requests: Mutex<Vec<Weak<Alive>>>,
    any: AtomicBool,
    /// Milliseconds after the start at which the last request ended.
    last_end: AtomicU64,
}

/// A request that is being answered, to its last byte. Held by whoever answers it.
#[derive(Debug)]
pub(crate) struct Alive {
    activity: Arc<Activity>,
    /// Milliseconds after the start, plus one, since when a piece waits to be taken; 0 where none does.
    untaken: AtomicU64,
}

impl Alive {
    /// A piece of the answer was handed to the connection: it comes back for the next one when there is room.
    pub(crate) fn handed_over(&self) {
        self.untaken.store(self.activity.millis() + 1, Ordering::Relaxed);
    }

    /// The connection asks for the next piece.
    pub(crate) fn asked(&self) {
        self.untaken.store(0, Ordering::Relaxed);
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.activity.last_end.store(self.activity.millis(), Ordering::Relaxed);
    }
}

impl Activity {
    fn millis(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn begin(self: &Arc<Self>) -> Arc<Alive> {
        let alive = Arc::new(Alive {
            activity: Arc::clone(self),
            untaken: AtomicU64::new(0),
        });
        self.any.store(true, Ordering::Relaxed);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.retain(|request| request.strong_count() > 0);
        requests.push(Arc::downgrade(&alive));
        alive
    }

    fn state(&self, patience: Duration) -> State {
        let now = self.millis();
        let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let mut alive = requests.iter().filter_map(Weak::upgrade).peekable();
        if alive.peek().is_none() {
            let idle = now.saturating_sub(self.last_end.load(Ordering::Relaxed)) >= patience;
            return match (idle, self.any.load(Ordering::Relaxed)) {
                (false, _) => State::Busy,
                (true, false) => State::Silent,
                (true, true) => State::Idle,
            };
        }
        let slow = |request: Arc<Alive>| {
            let untaken = request.untaken.load(Ordering::Relaxed);
            untaken > 0 && now.saturating_sub(untaken - 1) >= patience
        };
        if alive.any(slow) {
            State::SlowReader
        } else {
            State::Busy
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Busy,
    /// Connected, and asked for nothing.
    Silent,
    /// All that was asked for is answered.
    Idle,
    SlowReader,
}

/// Serves a connection to its end.
pub(super) async fn serve<H, F>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    rules: &Rules,
    handle: H,
    stopped: watch::Receiver<bool>,
    metrics: &Metrics,
) where
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Out>> + Send + 'static,
{
    let Some(acceptor) = tls else {
        return talk(stream, rules, handle, stopped).await;
    };
    match timeout(rules.patience, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => talk(stream, rules, handle, stopped).await,
        Ok(Err(_)) | Err(_) => {
            metrics.handshake_failures.inc();
        }
    }
}

async fn talk<S, H, F>(stream: S, rules: &Rules, handle: H, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Response<Out>> + Send + 'static,
{
    let activity = Arc::new(Activity {
        start: Instant::now(),
        requests: Mutex::default(),
        any: AtomicBool::new(false),
        last_end: AtomicU64::new(0),
    });
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(activity.begin());
        let answer = handle(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let builder = builder(rules);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let tick = rules.patience / 4;
    let mut next = Instant::now() + tick;
    let mut asked_to_end = false;
    loop {
        tokio::select! {
            // In this order: a process that was stopped for a while first does what its clients were ready for.
            biased;
            // Whatever broke it, nobody is there to be told; requests under way were counted when they were dropped.
            _ = connection.as_mut() => return,
            _ = stopped.wait_for(|stop| *stop), if !asked_to_end => {
                asked_to_end = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(next) => {
                next = Instant::now() + tick;
                match activity.state(rules.patience) {
                    State::Busy => {}
                    State::Silent | State::SlowReader => return,
                    State::Idle if asked_to_end => return,
                    State::Idle => {
                        asked_to_end = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
}

fn builder(rules: &Rules) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(rules.patience)
        .max_buf_size(rules.headers)
        .max_headers(MOST_FIELDS);
    let list = u32::try_from(rules.headers).unwrap_or(u32::MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(list)
        .max_concurrent_streams(MOST_STREAMS)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(rules.patience)
        .keep_alive_timeout(rules.patience);
    builder
}
