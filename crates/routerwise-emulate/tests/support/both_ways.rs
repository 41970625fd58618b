//! One schedule played in simulated time and in real time against sockets.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "a test and a bench use their own parts; the panic is the report"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use routerwise_emulate::{EmulatedEngine, Options, Replica};
use routerwise_simulate::arrivals::{Arrival, UnitSchedule};
use routerwise_simulate::engine::{Detail, Engine, EventKind};
use routerwise_types::Timestamp;
use routerwise_types::units::RequestsPerSecond;
use routerwise_types::workload::{Arrivals, Lengths};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What is played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) n_engines: usize,
    /// Requests to each engine, and the first of them that are not measured.
    pub(crate) n_requests: usize,
    pub(crate) n_warm_up: usize,
    /// Requests a second to each engine, by the engine's time.
    pub(crate) rate: f64,
    pub(crate) lengths: Lengths,
    pub(crate) speed: f64,
    pub(crate) seed: u64,
}

/// What a client saw of one request.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Position in its engine's schedule.
    ix: usize,
    /// From the intended send time.
    ttft: f64,
    sent_late: f64,
}

/// Mean times in seconds of the clock, of the requests measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) simulated_ttft: f64,
    pub(crate) real_ttft: f64,
    pub(crate) sent_late: f64,
    pub(crate) lag_engine: f64,
    pub(crate) lag_socket: f64,
    /// Tokens a second that clients read while requests were measured, and most streams at once.
    pub(crate) tokens_per_second: f64,
    pub(crate) most_streams: usize,
    pub(crate) n_measured: usize,
}

impl Outcome {
    /// By how much the mean TTFT was off.
    pub(crate) fn drift(&self) -> f64 {
        self.real_ttft / self.simulated_ttft - 1.0
    }
}

impl Case {
    fn schedule(&self, engine_ix: usize) -> Vec<Arrival> {
        let seed = self.seed + engine_ix as u64;
        let schedule = UnitSchedule::draw(Arrivals::Poisson, &[self.lengths], self.n_requests, seed);
        schedule.at_rate(RequestsPerSecond::new(self.rate).unwrap()).collect()
    }

    fn measured(&self) -> std::ops::Range<usize> {
        self.n_warm_up..self.n_requests
    }

    fn simulated(&self, replica: &Replica) -> f64 {
        let mut sum = 0.0;
        for engine_ix in 0..self.n_engines {
            let schedule = self.schedule(engine_ix);
            let mut engine = Engine::new(Arc::clone(&replica.spec), Detail::Requests);
            for (request, arrival) in (0u64..).zip(&schedule) {
                engine.submit(arrival.at, request, arrival.lengths).unwrap();
            }
            let mut events = Vec::new();
            engine.advance(Timestamp(u64::MAX), &mut events);
            for event in events.iter().filter(|event| event.kind == EventKind::FirstToken) {
                let ix = usize::try_from(event.request).unwrap();
                if self.measured().contains(&ix) {
                    sum += event.at.since(schedule[ix].at).value() / self.speed;
                }
            }
        }
        sum / as_f64(self.n_engines * self.measured().len())
    }

    /// Plays it both ways.
    pub(crate) async fn play(&self, replica: &Replica) -> Outcome {
        let mut engines = Vec::new();
        for _ in 0..self.n_engines {
            let options = Options {
                speed: self.speed,
                ..Options::default()
            };
            engines.push(EmulatedEngine::start(replica.clone(), options).await.unwrap());
        }
        let counts = Arc::new(Counts::default());
        let start = Instant::now() + Duration::from_millis(50);
        let mut players = JoinSet::new();
        for (engine_ix, engine) in engines.iter().enumerate() {
            let (schedule, counts) = (self.schedule(engine_ix), Arc::clone(&counts));
            players.spawn(play_one(*self, engine.address(), schedule, start, counts));
        }
        // Whose first token is measured need not be read to its end.
        let seen: Vec<Seen> = players.join_all().await.into_iter().flatten().collect();
        let tokens = as_f64(usize::try_from(counts.measured_tokens.load(Ordering::Relaxed)).unwrap());
        let took = Duration::from_secs_f64(as_f64(self.measured().len()) / self.rate / self.speed);
        let mean = |value: fn(&Seen) -> f64| seen.iter().map(value).sum::<f64>() / as_f64(seen.len());
        let texts: Vec<String> = engines.iter().map(EmulatedEngine::metrics).collect();
        Outcome {
            simulated_ttft: self.simulated(replica),
            real_ttft: mean(|seen| seen.ttft),
            sent_late: mean(|seen| seen.sent_late),
            lag_engine: mean_lag(&texts, "engine"),
            lag_socket: mean_lag(&texts, "socket"),
            tokens_per_second: tokens / took.as_secs_f64(),
            most_streams: counts.most_streams.load(Ordering::Relaxed),
            n_measured: seen.len(),
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    streams: AtomicUsize,
    most_streams: AtomicUsize,
    measuring: AtomicUsize,
    measured_tokens: AtomicU64,
}

/// Sends one engine its requests when they are due, and waits for the first tokens of those that are measured.
async fn play_one(
    case: Case,
    address: std::net::SocketAddr,
    schedule: Vec<Arrival>,
    start: Instant,
    counts: Arc<Counts>,
) -> Vec<Seen> {
    let mut clients = JoinSet::new();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for (ix, arrival) in schedule.into_iter().enumerate() {
        let due = start + Duration::from_secs_f64(arrival.at.as_seconds() / case.speed);
        tokio::time::sleep_until(due.into()).await;
        if ix == case.n_warm_up {
            counts.measuring.fetch_add(1, Ordering::Relaxed);
        }
        clients.spawn(client(
            address,
            arrival.lengths,
            ix,
            due,
            tell.clone(),
            Arc::clone(&counts),
        ));
    }
    counts.measuring.fetch_sub(1, Ordering::Relaxed);
    drop(tell);
    let mut seen = Vec::new();
    while seen.len() < case.measured().len() {
        let one: Seen = told.recv().await.unwrap();
        if case.measured().contains(&one.ix) {
            seen.push(one);
        }
    }
    seen
}

/// As little of a client as can be: counts the events of its stream.
async fn client(
    address: std::net::SocketAddr,
    lengths: Lengths,
    ix: usize,
    due: Instant,
    tell: tokio::sync::mpsc::UnboundedSender<Seen>,
    counts: Arc<Counts>,
) {
    let sent_late = due.elapsed().as_secs_f64();
    let body = format!(
        "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{ix}\"}}],\"max_tokens\":{},\"ignore_eos\":true,\"stream\":true}}",
        lengths.output
    );
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: e\r\nconnection: close\r\nx-prompt-tokens: {}\r\ncontent-length: {}\r\n\r\n{body}",
        lengths.input,
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let streams = counts.streams.fetch_add(1, Ordering::Relaxed) + 1;
    counts.most_streams.fetch_max(streams, Ordering::Relaxed);
    let mut buffer = vec![0; 4096];
    let (mut n_events, mut last) = (0u64, b' ');
    loop {
        let n = stream.read(&mut buffer).await.unwrap_or(0);
        if n == 0 {
            break;
        }
        let mut new = 0;
        for &byte in &buffer[..n] {
            new += u64::from(byte == b'\n' && last == b'\n');
            last = byte;
        }
        if n_events == 0 && new > 0 {
            let ttft = due.elapsed().as_secs_f64();
            // Nobody listens any more when the last that is measured was told.
            let _ = tell.send(Seen { ix, ttft, sent_late });
        }
        n_events += new;
        if counts.measuring.load(Ordering::Relaxed) > 0 {
            counts.measured_tokens.fetch_add(new, Ordering::Relaxed);
        }
    }
    counts.streams.fetch_sub(1, Ordering::Relaxed);
}

fn mean_lag(texts: &[String], stage: &str) -> f64 {
    let sum_of = |part: &str| -> f64 {
        let name = format!("routerwise_emulate_lag_seconds_{part}{{");
        let lines = texts.iter().flat_map(|text| text.lines());
        let mine = lines.filter(|line| line.starts_with(&name) && line.contains(stage));
        mine.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    };
    sum_of("sum") / sum_of("count").max(1.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests and tokens")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
