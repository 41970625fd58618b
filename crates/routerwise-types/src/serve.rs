//! How the gateway is run: where it listens, which replicas answer, what it allows and how long it waits.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the gateway, validated. What may change while it runs is all but the addresses it listens on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where requests come in.
    pub listen: SocketAddr,
    /// Where metrics and administration are; nowhere when absent.
    pub admin: Option<SocketAddr>,
    /// Whether it may be reached from elsewhere without keys.
    pub exposure: Exposure,
    /// Certificates that clients see; plain HTTP without.
    pub tls: Option<ServerTls>,
    /// Names under which the model is chosen; at least one.
    pub routes: Vec<Route>,
    /// Where the models' replicas answer.
    pub replicas: Vec<Endpoint>,
    /// Replicas that are looked for beside those.
    pub discover: Vec<Discover>,
    /// File of API keys, if clients need one.
    pub keys: Option<PathBuf>,
    /// Bounds.
    pub limits: Limits,
    /// How long it waits for what.
    pub timeouts: Timeouts,
    /// What is tried again.
    pub retries: Retries,
    /// When a second copy of a stream is asked for elsewhere; never when absent.
    pub hedging: Option<Hedging>,
    /// How replicas are asked whether they are well.
    pub health: HealthChecks,
    /// How engines are asked what they have to do.
    pub engine_metrics: EngineMetrics,
    /// Where decisions are written down, if anywhere.
    pub log: Option<DecisionLog>,
    /// Whether prices follow load, or stay those of the plan.
    pub prices: Prices,
    /// Which replica of a model gets a request.
    pub balance: Balance,
}

/// Which replica of a model gets a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The one of two, drawn by hash, that has less to do.
    TwoChoices,
    /// The one that the beginning of its conversation, or its session, hashes to, unless that has more than its fair share to do.
    Prefix,
    /// The one where it is expected to wait least.
    LeastWait,
}

/// Whether the gateway may be reached from other machines without keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Another address than loopback needs keys.
    Guarded,
    /// The user said so.
    Insecure,
}

/// Whether prices follow load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prices {
    /// Re-solved about once a second.
    Live,
    /// Those of the plan.
    Static,
}

/// Certificates of the gateway.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// Chain, PEM.
    pub certificate: PathBuf,
    /// Private key, PEM.
    pub key: PathBuf,
    /// Clients must show a certificate of one of these authorities, PEM.
    pub client_ca: Option<PathBuf>,
}

/// A name under which the model is chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// What clients write as `model`.
    pub name: String,
    /// Route of the plan whose prices it takes.
    pub of_plan: String,
    /// Level of the plan whose prices it takes at the start.
    pub level: Option<String>,
    /// Models that it may choose; all when empty.
    pub models: Vec<String>,
    /// The model that answers its embeddings, which cannot be chosen by prompt: those of different models do not compare.
    pub embeddings: Option<String>,
    /// Its own target of the mean time to first token; the plan's when absent.
    pub ttft_target: Option<Duration>,
    /// What happens while no model meets the objective.
    pub out_of_reach: OutOfReach,
}

/// What happens to requests while no model meets the objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfReach {
    /// The least violation, marked.
    Degrade,
    /// They wait, so many and so long.
    Queue,
    /// They are refused with 429.
    Shed,
}

/// One replica of one model.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Model of the plan.
    pub model: String,
    /// Number among its replicas in the plan, where that is known.
    pub replica: Option<usize>,
    /// Where it was found: this address is asked, by the name that `url` has. Looked up by that name when absent.
    pub at: Option<SocketAddr>,
    /// Base address, such as `http://10.0.0.4:8000`.
    pub url: String,
    /// What the engine calls the model; the plan's name when absent.
    pub served_as: Option<String>,
    /// Whether it is spoken to in HTTP/2: agreed on with TLS, and known beforehand without.
    pub http2: bool,
    /// Credential that it wants, as the value of `authorization: Bearer`.
    pub credential: Option<Secret>,
    /// Authorities that may sign its certificate, PEM; those of the system when absent.
    pub ca: Option<PathBuf>,
    /// Certificate and key that the gateway shows it, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Text that no output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.model, self.url)
    }
}

/// Replicas of one model that come and go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discover {
    /// What all of them share: everything but the address.
    pub like: Endpoint,
    /// Who knows where they are.
    pub by: DiscoverBy,
}

/// Who knows where replicas are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscoverBy {
    /// The name service: every address of the host that the replicas' address names is one.
    Dns {
        /// Time between two look-ups.
        every: Duration,
    },
    /// Kubernetes: every ready endpoint of a Service is one.
    EndpointSlices(EndpointSlices),
}

impl DiscoverBy {
    /// As metrics and logs write it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dns { .. } => "dns",
            Self::EndpointSlices(_) => "endpoint-slices",
        }
    }
}

/// A Service of Kubernetes, and how its endpoints are watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlices {
    /// The Service.
    pub service: String,
    /// Its namespace.
    pub namespace: String,
    /// Which port of its endpoints; their only one when absent.
    pub port: Option<ServicePort>,
    /// Address of the API server.
    pub api: String,
    /// File of the token that it wants; read anew for every request, because such tokens are exchanged every hour.
    pub token: Option<PathBuf>,
    /// Authority that signed its certificate, PEM; those of the system when absent.
    pub ca: Option<PathBuf>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServicePort {
    /// By its name.
    Name(String),
    /// By its number at the endpoints.
    Number(u16),
}

/// Bounds of everything that could grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request body, also after unpacking.
    pub body: usize,
    /// Bytes of all request bodies together that are held at once.
    pub buffered: usize,
    /// Bytes of the request line and headers.
    pub headers: usize,
    /// Connections of clients.
    pub connections: usize,
    /// Requests that are being answered.
    pub in_flight: usize,
    /// Requests that wait for one of those to end.
    pub queue: usize,
}

/// How long the gateway waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection to a replica, TLS included.
    pub connect: Duration,
    /// From the request to the first byte of the answer's body.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub stall: Duration,
    /// For a whole answer, with all that was tried.
    pub total: Duration,
    /// For a place among the requests in flight.
    pub queue: Duration,
    /// For a client to send headers, the next piece of a body, or to read what was sent; and how long a connection may idle.
    pub client: Duration,
    /// For a client to send a whole body.
    pub body: Duration,
    /// How long a connection to a replica is kept without use.
    pub idle: Duration,
    /// How long running answers may take to end when the gateway stops.
    pub drain: Duration,
}

/// What is tried again, always before the first byte of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retries {
    /// Tries of one request, the first included.
    pub most: u32,
    /// Retries per request over all requests: a failing cluster is not asked twice as much.
    pub budget: f64,
    /// Longest wait before the second try; each further one may wait twice as long.
    pub backoff: Duration,
}

/// When a second copy of a stream is asked for elsewhere, always before the first byte, and as one of its tries.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedging {
    /// Where the first one is predicted to miss its target or deadline.
    pub predicted: bool,
    /// When the first one has no first byte within the time that this part of its model's last streams took.
    pub quantile: Option<f64>,
}

/// How replicas are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChecks {
    /// Path that answers with success.
    pub path: String,
    /// Time between two; no checks when absent.
    pub every: Option<Duration>,
}

/// How engines are asked what they have to do: their queues also hold what others send them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineMetrics {
    /// Path of their metrics.
    pub path: String,
    /// Time between two questions; none are asked when absent.
    pub every: Option<Duration>,
}

/// Where decisions are written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionLog {
    /// JSON lines.
    pub file: PathBuf,
    /// Bytes at which a new file is begun.
    pub size: u64,
    /// Files that are kept beside the one being written.
    pub keep: u32,
    /// Whether prompts are written too.
    pub prompts: bool,
}

/// An API key, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Who it is for; in metrics and logs.
    pub name: String,
    /// SHA-256 of the key.
    pub sha256: [u8; 32],
    /// Models and routes that it may ask; all when empty.
    pub models: Vec<String>,
    /// Requests per minute.
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute, of prompts and answers together.
    pub tokens_per_minute: Option<u32>,
    /// When it ends, in seconds since 1970.
    pub expires: Option<u64>,
    /// Whether it opens the administration.
    pub admin: bool,
}

impl Settings {
    /// The usual settings, for replicas and one route called `auto`.
    #[must_use]
    pub fn usual(replicas: Vec<Endpoint>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 9090))),
            exposure: Exposure::Guarded,
            tls: None,
            routes: vec![Route::usual()],
            replicas,
            discover: Vec::new(),
            keys: None,
            limits: Limits::default(),
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            hedging: None,
            health: HealthChecks::default(),
            engine_metrics: EngineMetrics::default(),
            log: None,
            prices: Prices::Live,
            balance: Balance::TwoChoices,
        }
    }
}

impl Route {
    /// `auto`, over all traffic and all models.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            name: "auto".to_owned(),
            of_plan: crate::workload::ALL_TRAFFIC.to_owned(),
            level: None,
            models: Vec::new(),
            embeddings: None,
            ttft_target: None,
            out_of_reach: OutOfReach::Degrade,
        }
    }
}

impl Endpoint {
    /// A replica without anything special.
    #[must_use]
    pub fn new(model: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            replica: None,
            at: None,
            url: url.into(),
            served_as: None,
            http2: false,
            credential: None,
            ca: None,
            identity: None,
        }
    }
}

impl Default for Limits {
    /// A body holds a few images; 1 024 answers at once are what one core streams; all bodies together stay far below the
    /// memory of a small machine.
    fn default() -> Self {
        Self {
            body: 32 << 20,
            buffered: 512 << 20,
            headers: 64 << 10,
            connections: 8192,
            in_flight: 1024,
            queue: 1024,
        }
    }
}

impl Default for Timeouts {
    /// Long prompts take a minute of prefill on a busy engine, and ten minutes is what the OpenAI clients wait. Engines that run
    /// under uvicorn close idle connections after 5 s: leaving them earlier avoids sending into a closing one.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(2),
            first_byte: Duration::from_secs(120),
            stall: Duration::from_secs(60),
            total: Duration::from_secs(600),
            queue: Duration::from_secs(10),
            client: Duration::from_secs(30),
            body: Duration::from_secs(120),
            idle: Duration::from_secs(4),
            drain: Duration::from_secs(300),
        }
    }
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            most: 3,
            budget: 0.2,
            backoff: Duration::from_millis(50),
        }
    }
}

impl Default for Hedging {
    /// A twentieth of the streams is what Dean and Barroso ("The tail at scale", 2013) found to pay.
    fn default() -> Self {
        Self {
            predicted: true,
            quantile: Some(0.95),
        }
    }
}

impl Default for HealthChecks {
    /// vLLM, SGLang and llama.cpp all answer `/health`.
    fn default() -> Self {
        Self {
            path: "/health".to_owned(),
            every: Some(Duration::from_secs(5)),
        }
    }
}

impl Default for EngineMetrics {
    /// vLLM, SGLang and llama.cpp all have `/metrics`. A queue that others fill grows in seconds, and an answer is some tens of kilobytes.
    fn default() -> Self {
        Self {
            path: "/metrics".to_owned(),
            every: Some(Duration::from_secs(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let mut endpoint = Endpoint::new("small", "http://127.0.0.1:1");
        endpoint.credential = Some(Secret("hidden-value".to_owned()));
        assert!(!format!("{endpoint:?}").contains("hidden"));
        assert!(!format!("{:?}", endpoint.credential).contains("hidden"));
    }
}
