//! What a profile rests on beyond its points: how it was measured, or how it was filled in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{RequestsPerSecond, Seconds};

/// How the numbers of a profile came about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Evidence {
    /// A real engine was measured.
    Measured(Measured),
    /// An engine model that was fitted to measured neighbours computed them.
    Filled(Filled),
}

/// How a real engine was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// What was measured: an endpoint, or an engine that was started for it.
    pub server: String,
    /// What the server says that it is, where it says so.
    pub version: Option<String>,
    /// Seed of arrivals and lengths.
    pub seed: u64,
    /// Time spent on measuring.
    pub spent: Seconds,
    /// Requests sent, warm-up and overload included.
    pub n_sent: u64,
    /// Those of them that failed.
    pub n_failed: u64,
    /// One request at a time.
    pub alone: Alone,
    /// Lowest rate that was offered and not sustained: the true capacity lies below it.
    pub not_sustained: Option<RequestsPerSecond>,
    /// Widest uncertainty of the curve relative to its value: 95 % interval and what linear interpolation may be off by.
    pub uncertainty: f64,
}

/// An engine that has one request at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alone {
    /// Requests of the length mix, one after the other.
    pub n_requests: u64,
    /// Their mean time to first token.
    pub ttft: Seconds,
    /// Their mean time per output token after the first (0 where every answer has one token).
    pub tpot: Seconds,
    /// Their mean time from end to end.
    pub e2e: Seconds,
    /// Prompt tokens that a second more of prefill takes, from two prompt lengths; absent where the longer was no slower.
    pub prefill_rate: Option<f64>,
    /// Tokens a second of one answer once it runs.
    pub decode_rate: Option<f64>,
}

/// How a profile was filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filled {
    /// Measured configurations that the engine model was fitted to.
    pub n_measured: u64,
    /// The fitted constants.
    pub constants: FittedConstants,
    /// How far the model is off where it was fitted.
    pub residual: FillError,
    /// How far it is off on a measured configuration that it was not fitted to, each left out in turn; absent with fewer than two.
    pub left_out: Option<FillError>,
}

/// Constants of an engine model that were fitted to measured profiles.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FittedConstants {
    /// Host time of every iteration, seconds.
    pub host_step_seconds: f64,
    /// Time from a request's arrival until the scheduler may see it, seconds.
    pub request_seconds: f64,
    /// Factor on the compute throughput of the GPU type's constants.
    pub compute: f64,
    /// Factor on their memory bandwidth.
    pub bandwidth: f64,
}

/// Median relative errors of an engine model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FillError {
    /// Of the mean time to first token, over measured loads up to four fifths of the capacity.
    pub ttft: f64,
    /// Of the mean time per output token, over the same loads.
    pub tpot: f64,
    /// Of the capacity.
    pub capacity: f64,
}
