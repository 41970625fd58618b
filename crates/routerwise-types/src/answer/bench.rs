//! `routerwise bench`: what a load did to an endpoint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::Limit;
use crate::sketch::Sketch;
use crate::units::{Fraction, RequestsPerSecond, Seconds};

/// Version of the layout of a bench report and of its records.
pub const BENCH_SCHEMA: u32 = 1;

/// `routerwise bench`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BenchReport {
    /// Layout version: [`BENCH_SCHEMA`].
    pub schema: u32,
    /// Address that was asked.
    pub endpoint: String,
    /// Model that was asked for.
    pub model: String,
    /// The load, in words.
    pub load: String,
    /// What was asked, in words.
    pub prompts: String,
    /// Seed of arrivals, lengths and words.
    pub seed: u64,
    /// When it started, in seconds since 1970.
    pub started_unix_s: f64,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// What was measured.
    pub measured: Measured,
    /// What is to be kept in mind when the numbers are read.
    pub notes: Vec<String>,
}

/// What was measured, over the requests that count unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Requests of the whole run.
    pub n_sent: usize,
    /// Requests that count: warm-up and cool-down are left out.
    pub n_requests: usize,
    /// Those of them that were answered.
    pub n_answered: usize,
    /// Those of them that failed.
    pub n_failed: usize,
    /// Those of them that were under way when the run was stopped.
    pub n_unfinished: usize,
    /// Start of the time that counts, since that of the run.
    pub from: Seconds,
    /// Its end.
    pub to: Seconds,
    /// How long the run took until the last answer.
    pub lasted: Seconds,
    /// Rate at which requests were to be sent; absent where users waited for answers.
    pub offered: Option<RequestsPerSecond>,
    /// Rate at which answers were completed while those that count were sent.
    pub achieved: RequestsPerSecond,
    /// Requests in flight, on average over that time.
    pub in_flight: f64,
    /// How late requests were sent.
    pub lag: SendLag,
    /// Whether the server kept up; absent where users waited for answers.
    pub saturation: Option<Saturation>,
    /// The limits that a good request keeps; empty when none were given.
    pub limits: Vec<Limit>,
    /// Good requests per second; absent without limits.
    pub goodput: Option<RequestsPerSecond>,
    /// Part of the requests that were good, failed ones included in the whole; absent without limits.
    pub good: Option<Fraction>,
    /// All answers together.
    pub all: Served,
    /// By model, where a gateway says which answered.
    pub models: Vec<Served>,
    /// By replica, where a gateway says which answered.
    pub replicas: Vec<Served>,
    /// Failures by kind, over the whole run.
    pub failures: Vec<FailureCount>,
    /// Answers whose tokens the server did not count, so that each piece counts as one.
    pub n_uncounted: usize,
    /// Connections that were opened over the whole run.
    pub n_connections: u64,
}

/// How late requests were sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SendLag {
    /// Mean.
    pub mean: Seconds,
    /// 99 % quantile.
    pub p99: Seconds,
    /// The longest.
    pub longest: Seconds,
    /// Requests not sent at all, because too many were in flight or no socket was left.
    pub n_not_sent: usize,
    /// Whether the load generator kept up with its schedule. Where it did not, latencies say as much about it as about the server.
    pub kept_up: bool,
}

/// Whether the server kept up.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Saturation {
    /// Whether it fell behind: then latency grows as long as one measures, and its mean says nothing.
    pub saturated: bool,
    /// Requests in flight half-way through the time that counts.
    pub in_flight_before: usize,
    /// Requests in flight at its end.
    pub in_flight_after: usize,
    /// Requests completed in it for each that was sent.
    pub completed: f64,
}

/// What one model, one replica or all of them did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Served {
    /// Model; absent for all together.
    pub model: Option<String>,
    /// Replica; absent for a whole model.
    pub replica: Option<String>,
    /// Requests answered.
    pub n_answered: usize,
    /// Their part of all requests that count.
    pub part: Fraction,
    /// Requests answered per second.
    pub rate: RequestsPerSecond,
    /// Good requests per second; absent without limits.
    pub goodput: Option<RequestsPerSecond>,
    /// Mean tokens of a question.
    pub input_tokens: f64,
    /// Mean tokens of an answer.
    pub output_tokens: f64,
    /// Answer tokens per second.
    pub output_tokens_per_second: f64,
    /// Time to first token, from when the request was to be sent.
    pub ttft: Option<Latency>,
    /// Time per output token after the first; answers of one token left out.
    pub tpot: Option<Latency>,
    /// Inter-token latency: all gaps between pieces of all answers.
    pub itl: Option<Latency>,
    /// End to end, from when the request was to be sent.
    pub e2e: Option<Latency>,
}

/// A latency.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Latency {
    /// Values.
    pub n: u64,
    /// Mean.
    pub mean: Seconds,
    /// Half width of its 95 % confidence interval, by batch means.
    pub ci95: Seconds,
    /// Median.
    pub p50: Seconds,
    /// 90 % quantile.
    pub p90: Seconds,
    /// 95 % quantile.
    pub p95: Seconds,
    /// 99 % quantile.
    pub p99: Seconds,
    /// The longest.
    pub longest: Seconds,
    /// The distribution, to a relative error of 2 %.
    pub sketch: Sketch,
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FailureCount {
    /// What went wrong.
    pub kind: String,
    /// How often in the whole run.
    pub n: usize,
    /// How often among the requests that count.
    pub n_measured: usize,
    /// One of them in the server's or the system's words.
    pub example: Option<String>,
}

/// One line of the file that `routerwise bench --records` writes. Its first line is a [`BenchHeader`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchRecord {
    /// Number of the request.
    pub request: usize,
    /// When it was to be sent, in seconds since the start of the run.
    pub arrival_s: f64,
    /// When it was sent.
    pub sent_s: f64,
    /// When the first token came.
    pub first_token_s: Option<f64>,
    /// When the last token came, or when it had failed.
    pub end_s: Option<f64>,
    /// Tokens of the question.
    pub input_tokens: u32,
    /// Tokens of the answer; those asked for where it failed.
    pub output_tokens: u32,
    /// Whether it counts: false in warm-up and cool-down.
    pub measured: bool,
    /// Model that answered.
    pub model: Option<String>,
    /// Replica that answered.
    pub replica: Option<String>,
    /// Gaps between the pieces of the answer, in seconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps_s: Vec<f32>,
    /// What went wrong; absent where it was answered.
    pub error: Option<String>,
}

/// First line of a file of records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BenchHeader {
    /// Layout version: [`BENCH_SCHEMA`].
    pub schema: u32,
    /// Address that was asked.
    pub endpoint: String,
    /// Model that was asked for.
    pub model: String,
    /// When the run started, in seconds since 1970.
    pub started_unix_s: f64,
}
