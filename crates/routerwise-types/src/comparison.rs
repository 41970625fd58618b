//! `routerwise compare`: what joint planning is worth against what people do today, at equal GPUs.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::setup::Configuration;
use crate::units::RequestsPerSecond;
use crate::workload::Slo;

/// How the GPUs are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AllocationRule {
    /// The plan's setup.
    Joint,
    /// The same compute for every model.
    EqualSplit,
    /// Compute in proportion to parameters.
    SizeProportional,
    /// Whole GPUs for every model.
    Isolated,
    /// All GPUs to replicas of one model.
    SingleModel,
}

/// How prompts are routed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RoutingRule {
    /// Score minus a price that the load sets: the plan's own rule.
    OurPrices,
    /// Our prices, computed on the prompts that they are judged by.
    Oracle,
    /// By chance, in proportion to capacity.
    Random,
    /// Everything to the model that needs least compute for a request.
    Cheapest,
    /// Everything to the model with the highest score.
    HighestScore,
    /// By chance, in the fractions of our prices.
    StaticMix,
    /// Prices computed as if latency did not depend on load.
    FixedLatency,
    /// The same, with the budget that it is given lowered until the curves say that the objectives are met.
    FixedLatencyTuned,
    /// A strong and a weak model and a threshold on what the strong one gains (`RouteLLM`).
    Threshold,
    /// Ask a cheap model first and the next when its answer scores too low (`FrugalGPT`).
    Cascade,
    /// Score minus a constant times the work that waits for the model.
    QueuePenalty,
    /// There is one model only.
    OneModel,
}

/// `routerwise compare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    /// Layout version: [`crate::answer::ANSWER_SCHEMA`].
    pub schema: u32,
    /// Prompts that plans were made and parameters chosen on.
    pub n_training_prompts: usize,
    /// Prompts that results are about.
    pub n_test_prompts: usize,
    /// What parameters were chosen for.
    pub tuning: Tuning,
    /// How it was simulated; absent when it was not.
    pub simulation: Option<SimulationSettings>,
    /// One entry per load.
    pub levels: Vec<ComparedLevel>,
}

/// What parameters are chosen for, on the training prompts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tuning {
    /// Highest quality of what meets the objectives, else the least violation: what a user wants.
    #[default]
    Objectives,
    /// Lowest latency within 0.01 of our quality: how the paper compares.
    OurQuality,
}

/// How a comparison was simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SimulationSettings {
    /// Requests sent for each row; the first and last tenth are not measured.
    pub n_requests: usize,
    /// Seed of arrivals, lengths and prompts: the same for all rows.
    pub seed: u64,
    /// How much KV cache the engines get.
    pub cache: CacheRule,
}

/// How much KV cache engines get in a simulation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CacheRule {
    /// Their reserve and a part of what is left on their GPUs, in proportion to load: as in a plan.
    #[default]
    Shared,
    /// What their profiles were taken with.
    Profiled,
}

/// Everything at one load, planned and tuned for that load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedLevel {
    /// Part of the scenario's rate.
    pub load: f64,
    /// The rate.
    pub rate: RequestsPerSecond,
    /// The objectives.
    pub slos: Vec<Slo>,
    /// Allocations that could be made.
    pub allocations: Vec<ComparedAllocation>,
    /// Allocations that could not.
    pub absent: Vec<AbsentAllocation>,
    /// Best first: objectives met (in the simulator where it was run), then quality.
    pub rows: Vec<ComparedRow>,
}

/// One allocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedAllocation {
    /// How it was made.
    pub rule: AllocationRule,
    /// The only routing rule that it was made for, where it was.
    pub for_routing: Option<RoutingRule>,
    /// One entry per model of the scenario.
    pub models: Vec<AllocatedModel>,
    /// GPUs that hold something.
    pub n_gpus: usize,
    /// Part of the cluster's compute that is given out.
    pub compute: f64,
    /// Where it differs from what its rule asks for, and why.
    pub notes: Vec<String>,
}

/// One model of an allocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AllocatedModel {
    /// Model name.
    pub name: String,
    /// How it runs; absent when it is off.
    pub configuration: Option<Configuration>,
}

/// An allocation that could not be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AbsentAllocation {
    /// How it should have been made.
    pub rule: AllocationRule,
    /// Why it was not.
    pub why: String,
}

/// One routing rule on one allocation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ComparedRow {
    /// How the GPUs were shared out.
    pub allocation: AllocationRule,
    /// Index into the level's allocations.
    pub allocation_ix: usize,
    /// How prompts were routed.
    pub routing: RoutingRule,
    /// What was chosen on the training prompts, in words.
    pub parameters: String,
    /// By the curves at the rate with headroom, on the training prompts: what the parameters were chosen by.
    pub training: Judged,
    /// By the curves at the rate itself, on the test prompts.
    pub by_curves: Judged,
    /// In the simulator at the rate itself, on the test prompts; absent when it was not run.
    pub simulated: Option<Judged>,
}

/// How good a row is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Judged {
    /// Mean score of the answers.
    pub quality: f64,
    /// Requests that each model gets, relative to all requests: with a cascade they sum to more than 1.
    pub visits: Vec<f64>,
    /// Mean time to first token in seconds; absent by curves beyond a model's capacity.
    pub ttft_mean: Option<f64>,
    /// Half width of its 95 % confidence interval; absent by curves.
    pub ttft_mean_ci95: Option<f64>,
    /// 95th percentile of the time to first token.
    pub ttft_p95: Option<f64>,
    /// Part of the requests within the target of every objective, each by itself.
    pub within: Option<f64>,
    /// For each objective its left-hand side over its right-hand side: at most 1 where it is met.
    pub slo_parts: Vec<Option<f64>>,
    /// Highest load of a model over its capacity, by curves; absent in the simulator.
    pub utilisation: Option<f64>,
    /// Whether all objectives are met.
    pub met: bool,
}

impl ComparedRow {
    /// Whether this is what RouterWise does: its setup and its prices.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        let ours = matches!(self.routing, RoutingRule::OurPrices | RoutingRule::OneModel);
        self.allocation == AllocationRule::Joint && ours
    }

    /// Whether somebody could run it without RouterWise: neither its setup nor its prices, nor knowledge of the test prompts.
    #[must_use]
    pub fn is_todays(&self) -> bool {
        let ours = [RoutingRule::OurPrices, RoutingRule::Oracle, RoutingRule::StaticMix];
        self.allocation != AllocationRule::Joint && !ours.contains(&self.routing)
    }

    /// As simulated where it was, else by curves.
    #[must_use]
    pub fn judged(&self) -> &Judged {
        self.simulated.as_ref().unwrap_or(&self.by_curves)
    }
}

impl Judged {
    /// How far the worst objective is missed: 0 when all are met, infinite beyond capacity.
    #[must_use]
    pub fn violation(&self) -> f64 {
        let beyond = |part: &Option<f64>| part.map_or(f64::INFINITY, |part| (part - 1.0).max(0.0));
        self.slo_parts.iter().map(beyond).fold(0.0, f64::max)
    }
}

impl fmt::Display for AllocationRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Joint => "joint",
            Self::EqualSplit => "equal split",
            Self::SizeProportional => "size-proportional",
            Self::Isolated => "isolated",
            Self::SingleModel => "single model",
        })
    }
}

impl fmt::Display for RoutingRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OurPrices => "our prices",
            Self::Oracle => "oracle",
            Self::Random => "random",
            Self::Cheapest => "cheapest",
            Self::HighestScore => "highest score",
            Self::StaticMix => "static mix",
            Self::FixedLatency => "fixed latency",
            Self::FixedLatencyTuned => "fixed latency, tuned",
            Self::Threshold => "threshold",
            Self::Cascade => "cascade",
            Self::QueuePenalty => "queue penalty",
            Self::OneModel => "(one model)",
        })
    }
}
