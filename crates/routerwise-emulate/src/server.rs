//! Routes, connections, start and stop.

mod admin;
mod answer;
mod connections;
mod embed;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, RwLock};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use routerwise_types::hash::mix;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::driver::{self, Command};
use crate::error::ApiError;
use crate::metrics::{Exposition, Metrics};
use crate::options::{Faults, Options, Replica, WrongFaults};
use connections::Life;

/// The header that names a request in logs, given back as it came.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// No thread for the engine.
    #[error("cannot start the engine's thread")]
    Thread(#[source] io::Error),
    /// Faults that cannot be.
    #[error(transparent)]
    Faults(#[from] WrongFaults),
    /// A speed that is not a positive number.
    #[error("an engine cannot run at {0} times the speed of the clock")]
    Speed(f64),
}

/// An engine that listens. Dropping it is as pulling its plug; [`EmulatedEngine::stop`] lets it finish what it has begun.
#[derive(Debug)]
pub struct EmulatedEngine {
    address: SocketAddr,
    app: Arc<App>,
    accepting: JoinHandle<()>,
}

/// What all handlers share.
#[derive(Debug)]
struct App {
    replica: Replica,
    options: Options,
    created: u64,
    commands: SyncSender<Command>,
    metrics: Metrics,
    exposition: Exposition,
    faults: RwLock<Faults>,
    n_accepted: AtomicU64,
    /// Responses that needed an id.
    n_responses: AtomicU64,
    /// Number of the accepted request at which it crashes.
    crashes_at: AtomicU64,
    ready_at: Instant,
    life: watch::Sender<Life>,
    /// Keeps ids of engines apart.
    salt: u64,
}

impl EmulatedEngine {
    /// Starts an engine and listens; call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`CannotStart`] when the address is taken or the options make no sense.
    pub async fn start(replica: Replica, options: Options) -> Result<Self, CannotStart> {
        options.faults.check()?;
        if !(options.speed.is_finite() && options.speed > 0.0) {
            return Err(CannotStart::Speed(options.speed));
        }
        let listen_error = |source| CannotStart::Listen {
            address: options.listen,
            source,
        };
        let listener = TcpListener::bind(options.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let (metrics, exposition) = Metrics::new(&replica);
        let speed = options.speed / options.faults.slowdown;
        let commands = driver::start(&replica, speed, metrics.clone()).map_err(CannotStart::Thread)?;
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let app = Arc::new(App {
            commands,
            metrics,
            exposition,
            faults: RwLock::new(options.faults),
            n_accepted: AtomicU64::new(0),
            n_responses: AtomicU64::new(0),
            crashes_at: AtomicU64::new(options.faults.crash_after.unwrap_or(u64::MAX)),
            ready_at: Instant::now() + options.start_delay,
            life: watch::Sender::new(Life::Running),
            created: since_epoch.as_secs(),
            salt: mix(u64::from(since_epoch.subsec_nanos())
                ^ (since_epoch.as_secs() << 32)
                ^ u64::from(address.port())),
            replica,
            options,
        });
        let accepting = connections::accept(listener, router(&app), app.life.subscribe());
        Ok(Self {
            address,
            accepting: tokio::spawn(accepting),
            app,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The model that it answers for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.app.replica.model
    }

    /// What goes wrong on purpose now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.app.faults()
    }

    /// What goes wrong on purpose from now on.
    ///
    /// # Errors
    /// [`WrongFaults`] when a number makes no sense; then nothing changes.
    pub fn set_faults(&self, faults: Faults) -> Result<(), WrongFaults> {
        self.app.set_faults(faults)
    }

    /// What `/metrics` says.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.app.exposition.text()
    }

    /// Drops all connections and stops listening, as a process that died.
    pub fn crash(&self) {
        self.app.crash();
    }

    /// Waits until it has crashed.
    pub async fn crashed(&self) {
        let mut life = self.app.life.subscribe();
        connections::until(&mut life, |life| life == Life::Crashed).await;
    }

    /// Stops listening, lets requests under way finish for some seconds, and ends.
    pub async fn stop(mut self) {
        self.app.life.send_if_modified(|life| {
            let runs = *life == Life::Running;
            if runs {
                *life = Life::Stopping;
            }
            runs
        });
        // An accept loop that panicked has nothing left to stop.
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for EmulatedEngine {
    fn drop(&mut self) {
        self.app.crash();
    }
}

impl App {
    fn faults(&self) -> Faults {
        *self.faults.read().expect("nobody panics while holding it")
    }

    fn set_faults(&self, faults: Faults) -> Result<(), WrongFaults> {
        faults.check()?;
        let mut now = self.faults.write().expect("nobody panics while holding it");
        *now = faults;
        let left = faults.crash_after.unwrap_or(u64::MAX);
        let accepted = self.n_accepted.load(Ordering::Relaxed);
        self.crashes_at.store(accepted.saturating_add(left), Ordering::Relaxed);
        // The driver is gone only after a crash, when nothing has a speed any more.
        drop(self.commands.send(Command::Speed(self.options.speed / faults.slowdown)));
        Ok(())
    }

    fn crash(&self) {
        self.life.send_replace(Life::Crashed);
        // A driver that is busy for the moment ends when the last sender is gone.
        drop(self.commands.try_send(Command::Stop));
    }

    /// Never returns after a crash: what is dead says nothing.
    async fn unless_crashed(&self) {
        if *self.life.borrow() == Life::Crashed {
            std::future::pending::<()>().await;
        }
    }

    /// Whether it would answer: it has started up.
    fn ready(&self) -> Result<(), ApiError> {
        let to_go = self.ready_at.saturating_duration_since(Instant::now());
        if to_go.is_zero() {
            return Ok(());
        }
        let seconds = u32::try_from(to_go.as_secs() + 1).unwrap_or(u32::MAX);
        let mut error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "the engine is starting");
        error.retry_after = Some(seconds);
        Err(error)
    }

    fn authorised(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Some(key) = &self.options.api_key else {
            return Ok(());
        };
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        match given.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(given) if given == key => Ok(()),
            _ => Err(ApiError::new(StatusCode::UNAUTHORIZED, "Unauthorized")),
        }
    }
}

fn router(app: &Arc<App>) -> Router {
    let guarded = Router::new()
        .route("/v1/chat/completions", post(answer::chat))
        .route("/v1/completions", post(answer::completion))
        .route("/v1/embeddings", post(embed::embeddings))
        .route("/v1/models", get(models))
        .route("/tokenize", post(answer::tokenize))
        .route(
            "/emulate/faults",
            get(admin::faults).post(admin::set_faults).delete(admin::clear_faults),
        )
        .route("/emulate/crash", post(admin::crash))
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), guard));
    Router::new()
        .merge(guarded)
        .route("/health", get(health))
        .route("/ping", get(health).post(health))
        .route("/version", get(version))
        .route("/metrics", get(metrics))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(app), request_id))
        .with_state(Arc::clone(app))
}

/// Key first, then whether it has started: as a server behind whose door nobody is yet.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Result<Response, ApiError> {
    app.authorised(request.headers())?;
    if request.uri().path().starts_with("/v1/") {
        app.ready()?;
    }
    Ok(next.run(request).await)
}

/// Gives a request's id back, or one that it gets here.
async fn request_id(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    let id = given.or_else(|| {
        let number = app.n_responses.fetch_add(1, Ordering::Relaxed);
        HeaderValue::from_str(&format!("{:016x}", mix(app.salt ^ number))).ok()
    });
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

async fn models(State(app): State<Arc<App>>) -> Response {
    let model = json!({
        "id": app.replica.model,
        "object": "model",
        "created": app.created,
        "owned_by": "routerwise",
        "root": app.replica.model,
        "parent": null,
        "max_model_len": app.replica.limits().max_model_len,
        "permission": [],
    });
    axum::Json(json!({"object": "list", "data": [model]})).into_response()
}

async fn health(State(app): State<Arc<App>>) -> Response {
    match app.ready() {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn version() -> Response {
    axum::Json(json!({"version": env!("CARGO_PKG_VERSION"), "engine": "routerwise-emulate"})).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(CONTENT_TYPE, kind)], app.exposition.text()).into_response()
}

async fn not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Not Found")
}

async fn method_not_allowed() -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}
