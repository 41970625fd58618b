//! What commands print with `--format json`, beside plans and profiles.

pub mod bench;
pub mod decision;
pub mod difference;
pub mod engines;
pub mod explanation;
pub mod frontier;
pub mod labelling;
pub mod live;
pub mod predictors;
pub mod profiles;
pub mod replay;
pub mod serving;
pub mod setups;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::answer::explanation::{Alternative, PriceMeaning, RateLimits, Value};
use crate::fingerprint::Fingerprint;
use crate::plan::PlannedLatency;
use crate::units::{Fraction, RequestsPerSecond, Score, Seconds};
use crate::workload::Slo;

/// Version of the layout of all answers.
pub const ANSWER_SCHEMA: u32 = 3;

/// `routerwise plan` where nothing meets the objectives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NoPlan {
    /// Layout version: [`ANSWER_SCHEMA`].
    pub schema: u32,
    /// Always false; a plan has no such field.
    pub feasible: bool,
    /// What binds: lifting any one of these alone is enough. Empty when several bind at once.
    pub binding: Vec<String>,
    /// Targets scaled by this can be met.
    pub target_factor: Option<f64>,
    /// Highest rate at which the objectives can be met.
    pub rate: Option<RequestsPerSecond>,
    /// GPUs of the first node's type to add.
    pub more_gpus: Option<usize>,
    /// Where the latency objectives can be met but not with the quality asked for: how near a plan comes.
    pub below_floor: Option<BelowFloor>,
}

/// How near a plan comes to a quality that none reaches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BelowFloor {
    /// What is asked for.
    pub floor: Score,
    /// What the best plan found reaches.
    pub quality: f64,
    /// What no plan can exceed.
    pub upper_bound: f64,
}

/// `routerwise verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Layout version: [`ANSWER_SCHEMA`].
    pub schema: u32,
    /// The plan.
    pub plan: Fingerprint,
    /// What is not so; empty when the plan holds.
    pub violations: Vec<String>,
}

/// `routerwise explain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// Layout version: [`ANSWER_SCHEMA`].
    pub schema: u32,
    /// Combinations of configurations, replicas and off included.
    pub setups_in_space: f64,
    /// Setups with every model on, one replica each, between the utilisation floor and all compute; absent when too many to count.
    pub retained_by_compute: Option<u64>,
    /// Of these, placeable with at most 100 % of every GPU.
    pub placeable: Option<u64>,
    /// Of these, placeable with their memory too.
    pub placeable_with_memory: Option<u64>,
    /// The plan that is explained, if one is.
    pub plan: Option<Fingerprint>,
    /// Its objectives that bind.
    pub binding_slos: Vec<BindingSlo>,
    /// What each of its prices means.
    pub prices: Vec<PriceMeaning>,
    /// What small changes of the scenario are worth.
    pub values: Vec<Value>,
    /// For each model the best setup in which it runs otherwise.
    pub alternatives: Vec<Alternative>,
    /// The best of these: the runner-up.
    pub runner_up: Option<Alternative>,
    /// How far the arrival rate may go.
    pub rate_limits: Option<RateLimits>,
}

/// An objective that binds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BindingSlo {
    /// Load level at which it binds.
    pub level: String,
    /// Route on which it binds; absent where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The objective.
    pub slo: Slo,
    /// Quality that a limit looser by 1 % is worth, about.
    pub quality_per_percent: f64,
}

/// `routerwise simulate`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Simulation {
    /// Layout version: [`ANSWER_SCHEMA`].
    pub schema: u32,
    /// The plan that was played.
    pub plan: Fingerprint,
    /// Seed of arrivals, lengths and prompts.
    pub seed: u64,
    /// Requests sent at each load level, of all routes.
    pub n_requests: usize,
    /// One entry per policy of the plan.
    pub policies: Vec<SimulatedPolicy>,
}

/// One policy of a plan, played together with those of the other routes at its level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulatedPolicy {
    /// Name of its load level.
    pub level: String,
    /// Name of its route.
    pub route: String,
    /// The rate that it was played at.
    pub rate: RequestsPerSecond,
    /// Requests in the measured time that no engine could ever serve.
    pub n_refused: usize,
    /// One entry per model of the plan.
    pub models: Vec<SimulatedModel>,
    /// All of them together.
    pub all: SimulatedModel,
    /// One entry per objective of the plan that counts the route's requests.
    pub slos: Vec<SimulatedSlo>,
}

/// Predicted beside simulated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulatedModel {
    /// Model name, or `all`.
    pub name: String,
    /// Planned share of all prompts.
    pub predicted_fraction: Fraction,
    /// Planned mean score; absent without prompts.
    pub predicted_quality: Option<Score>,
    /// Mean latencies expected at the planned rate without headroom.
    pub predicted: Option<PlannedLatency>,
    /// Requests measured.
    pub n_requests: usize,
    /// Their share of all measured.
    pub fraction: f64,
    /// Their mean score.
    pub quality: f64,
    /// Time to first token.
    pub ttft: Option<LatencySummary>,
    /// Time per output token after the first.
    pub tpot: Option<LatencySummary>,
    /// End to end.
    pub e2e: Option<LatencySummary>,
}

/// A latency in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencySummary {
    /// Mean.
    pub mean: Seconds,
    /// Half width of the mean's 95 % confidence interval, by batch means.
    pub ci95: Seconds,
    /// Median, to 2 %.
    pub p50: Option<f64>,
    /// 95th percentile, to 2 %.
    pub p95: Option<f64>,
    /// 99th percentile, to 2 %.
    pub p99: Option<f64>,
}

/// One objective as simulated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SimulatedSlo {
    /// The objective.
    pub slo: Slo,
    /// Its left-hand side: seconds, or for a percentile over the workload the share of requests above the target.
    pub value: f64,
    /// What that may be at most.
    pub limit: f64,
    /// Whether it is.
    pub met: bool,
}

impl From<&crate::profile::LatencyStat> for LatencySummary {
    fn from(stat: &crate::profile::LatencyStat) -> Self {
        Self {
            mean: stat.mean,
            ci95: stat.ci95,
            p50: stat.sketch.quantile(0.5),
            p95: stat.sketch.quantile(0.95),
            p99: stat.sketch.quantile(0.99),
        }
    }
}
