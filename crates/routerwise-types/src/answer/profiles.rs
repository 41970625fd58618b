//! What `routerwise profile compare` prints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::profile::ProfileKey;
use crate::units::RequestsPerSecond;
use crate::workload::Metric;

/// Whether two files of profiles differ by more than chance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileComparison {
    /// Layout version: [`ANSWER_SCHEMA`](super::ANSWER_SCHEMA).
    pub schema: u32,
    /// Whether any configuration differs.
    pub differ: bool,
    /// Differences below this part of the first value do not count.
    pub tolerance: f64,
    /// Configurations that both have.
    pub configurations: Vec<ComparedConfiguration>,
    /// Configurations that only the first has.
    pub only_before: Vec<ProfileKey>,
    /// Configurations that only the second has.
    pub only_after: Vec<ProfileKey>,
}

/// One configuration in both.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedConfiguration {
    /// Which.
    pub key: ProfileKey,
    /// Whether it differs.
    pub differs: bool,
    /// What is not alike in how they were taken, in words; differences may come from that.
    pub conditions: Vec<String>,
    /// The capacity first, then every latency at every load.
    pub comparisons: Vec<ComparedValue>,
}

/// One value in both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedValue {
    /// The load; absent for the capacity.
    pub load: Option<RequestsPerSecond>,
    /// The latency whose mean it is; absent for the capacity.
    pub metric: Option<Metric>,
    /// In the first: seconds, or requests/s.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// Half width of the interval of the difference, wide enough for all comparisons of the report together.
    pub interval: f64,
    /// Whether the difference exceeds it, and the tolerance.
    pub differs: bool,
}
