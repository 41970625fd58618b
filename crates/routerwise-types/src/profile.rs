//! Measured (or simulated) latency of one configuration at several loads.

mod evidence;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalogue::Model;
use crate::cluster::Interconnect;
use crate::fingerprint::Fingerprint;
use crate::sketch::Sketch;
use crate::units::{Bytes, GpuShare, RequestsPerSecond, Seconds};
use crate::workload::{Arrivals, Metric, Workload};

pub use evidence::{Alone, Evidence, FillError, Filled, FittedConstants, Measured};

/// Version of the profile file's layout. What was added since is optional, so that older files are read as before.
pub const PROFILE_SCHEMA: u32 = 1;

/// A file of profiles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileSet {
    /// Layout version: [`PROFILE_SCHEMA`].
    pub schema: u32,
    /// The profiles, at most one per key.
    pub profiles: Vec<Profile>,
}

/// What one profile is of: one replica, alone on its GPUs.
#[derive(Clone, Debug, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileKey {
    /// Model name.
    pub model: String,
    /// GPU type name.
    pub gpu_type: String,
    /// Tensor-parallel degree.
    pub tensor_parallel: u32,
    /// Share of each of its GPUs.
    pub share: GpuShare,
}

/// Latency of one configuration at several loads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is of.
    pub key: ProfileKey,
    /// Where the numbers come from.
    pub source: ProfileSource,
    /// The conditions it was taken under.
    pub conditions: Conditions,
    /// Load points, rising by offered rate.
    pub points: Vec<LoadPoint>,
    /// Largest sustainable rate of one replica; nothing is known beyond it.
    pub capacity: RequestsPerSecond,
    /// How a measured or filled profile came about; absent from simulated ones, and from files written by other means.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Evidence>>,
}

/// Where a profile's numbers come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind", deny_unknown_fields)]
pub enum ProfileSource {
    /// A real engine.
    Measured,
    /// The engine model in simulated time.
    Simulated {
        /// Seed of the run.
        seed: u64,
        /// The constants that the engine model used.
        constants: Fingerprint,
        /// Whether those constants were fitted to measurements of this GPU, or scaled from another's by data sheet.
        fitted: bool,
        /// Whether the share lies below what was measured, so that its effect is extrapolated.
        share_extrapolated: bool,
    },
    /// Measured with another load generator, whose results were imported.
    Imported {
        /// Which one.
        tool: String,
        /// What its results do not say and was taken from the scenario.
        assumed: Vec<String>,
    },
    /// Not measured; filled in from an engine model that was fitted to measured neighbours.
    Filled,
}

/// The conditions a profile was taken under.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Conditions {
    /// Engine and version.
    pub engine: String,
    /// KV cache that the replica had, over its shards.
    pub kv_cache: Bytes,
    /// Links between the GPUs.
    pub interconnect: Interconnect,
    /// Arrival process.
    pub arrivals: Arrivals,
    /// Fingerprint of the length mix.
    pub lengths: Fingerprint,
    /// Fingerprint of model, engine flags and memory: all of the model's entry that decides latency.
    pub model: Fingerprint,
    /// Mean prompt tokens.
    pub mean_input_tokens: f64,
    /// Mean answer tokens.
    pub mean_output_tokens: f64,
}

impl Conditions {
    /// The conditions under which profiles of `model` are to be taken, for a plan under `workload`.
    #[must_use]
    pub fn expected(model: &Model, workload: &Workload, interconnect: Interconnect) -> Self {
        let (mean_input_tokens, mean_output_tokens) = workload.mean_lengths();
        Self {
            engine: model.engine.name.clone(),
            kv_cache: model.kv_reserve,
            interconnect,
            arrivals: workload.arrivals,
            lengths: Fingerprint::of(&workload.lengths),
            model: Self::fingerprint_of(model),
            mean_input_tokens,
            mean_output_tokens,
        }
    }

    /// Of all in a model's entry that decides the latency of one replica, besides its KV cache and its profile's key.
    fn fingerprint_of(model: &Model) -> Fingerprint {
        Fingerprint::of(&(
            &model.architecture,
            model.weights,
            model.bytes_per_weight,
            model.bytes_per_kv,
            &model.engine,
        ))
    }
}

/// One load level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoadPoint {
    /// Rate at which requests were sent.
    pub offered: RequestsPerSecond,
    /// Rate at which they were completed.
    pub achieved: RequestsPerSecond,
    /// Requests measured (warm-up and cool-down left out).
    pub n_requests: u64,
    /// Time to first token.
    pub ttft: LatencyStat,
    /// Time per output token after the first (answers of one token left out).
    pub tpot: LatencyStat,
    /// End to end.
    pub e2e: LatencyStat,
}

/// A latency over the requests of one load point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LatencyStat {
    /// Mean.
    pub mean: Seconds,
    /// Half width of the mean's 95 % confidence interval, by batch means (requests are correlated).
    pub ci95: Seconds,
    /// The distribution.
    pub sketch: Sketch,
}

impl LoadPoint {
    /// The statistic of one metric.
    #[must_use]
    pub fn stat(&self, metric: Metric) -> &LatencyStat {
        match metric {
            Metric::Ttft => &self.ttft,
            Metric::Tpot => &self.tpot,
            Metric::E2e => &self.e2e,
        }
    }
}
