//! Answers about all setups of a space, solved one by one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::setup::Configuration;
use crate::units::{Fraction, Price, RequestsPerSecond, Seconds};
use crate::workload::Slo;

/// `routerwise plan --search exhaustive`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExhaustiveSearch {
    /// Layout version: [`super::ANSWER_SCHEMA`].
    pub schema: u32,
    /// Arrival rate without headroom.
    pub rate: RequestsPerSecond,
    /// The one objective.
    pub slo: Slo,
    /// The setup with the best score; absent where none meets the objective.
    pub best: Option<ExhaustiveBest>,
    /// The best of those that fit on the GPUs, shares and memory together.
    pub best_that_fits: Option<ExhaustiveBest>,
    /// How much work it was.
    pub counts: ExhaustiveCounts,
    /// The step sizes and limits that were used.
    pub steps: ExhaustiveSteps,
}

/// The winner of an exhaustive search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExhaustiveBest {
    /// Score by which setups were compared: the dual value at the prices found.
    pub score: f64,
    /// Best quality at these fractions by our own solver; absent where it found no routing with exactly them.
    pub quality: Option<f64>,
    /// Left-hand side of the objective with headroom: seconds, or the share of requests above the target.
    pub value: f64,
    /// What that may be at most.
    pub limit: f64,
    /// `β`: score that a whole limit more is worth.
    pub latency_price: f64,
    /// Whether the setup fits on the GPUs, shares and memory together; absent where that was too much work to decide.
    pub placeable: Option<bool>,
    /// One entry per model.
    pub models: Vec<ExhaustiveModel>,
}

/// One model of the winner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExhaustiveModel {
    /// Model name.
    pub name: String,
    /// How it runs.
    pub configuration: Configuration,
    /// Share of all prompts.
    pub fraction: Fraction,
    /// Dual price, the lowest being 0.
    pub price: Price,
    /// Mean time to first token at its load with headroom; absent beyond its curve.
    pub ttft: Option<Seconds>,
}

/// Work of an exhaustive search.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExhaustiveCounts {
    /// Setups with every model on, one replica each, total compute between the floor and the whole cluster.
    pub retained_by_compute: u64,
    /// Of these, those that first-fit decreasing places by memory: each was solved.
    pub tried: u64,
    /// Of these, those with fractions that meet the objective.
    pub feasible: u64,
    /// Prices of latency tried.
    pub bisections: u64,
    /// Steps of the routing fractions.
    pub ascent_steps: u64,
    /// Solves for dual prices.
    pub dual_solves: u64,
    /// Looks at all prompts.
    pub evaluations: u64,
}

/// Step sizes and limits of an exhaustive search.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExhaustiveSteps {
    /// First price step of a cold solve; step `t` is this over `√t`.
    pub price_step: f64,
    /// First price step of a warm solve.
    pub warm_price_step: f64,
    /// Most price steps of a cold solve.
    pub max_price_steps: u32,
    /// Most price steps of a warm solve.
    pub max_warm_price_steps: u32,
    /// Prices are done when no fraction is off by more.
    pub max_mismatch: f64,
    /// First step of the fractions.
    pub fraction_step: f64,
    /// The ascent ends at a step below this.
    pub least_fraction_step: f64,
    /// Most steps of an ascent.
    pub max_ascent_steps: u32,
    /// Most halvings of the range of latency prices.
    pub max_bisections: u32,
    /// Relative slack of the objective at which halving ends.
    pub target_tolerance: f64,
}

/// `routerwise plan --spread`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// Layout version: [`super::ANSWER_SCHEMA`].
    pub schema: u32,
    /// Arrival rate without headroom.
    pub rate: RequestsPerSecond,
    /// The objectives.
    pub slos: Vec<Slo>,
    /// Borders of the histograms' bins, rising.
    pub edges: Vec<f64>,
    /// One entry per limit on what can be placed, from the loosest on.
    pub spreads: Vec<SpreadOf>,
    /// What people do today, and the plan, each at the best routing for it.
    pub marks: Vec<SpreadMark>,
}

/// Which of the retained setups are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementLimit {
    /// All: every model on, one replica each, total compute between the floor and the whole cluster.
    Compute,
    /// Those whose memory first-fit decreasing places, shares left aside: the paper's.
    FirstFitMemory,
    /// Those that can be placed with at most the whole of every GPU in use, memory left aside.
    Shares,
    /// Those that can be placed, shares and memory together.
    SharesAndMemory,
}

/// Best quality over the setups that a limit allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpreadOf {
    /// The limit.
    pub limit: PlacementLimit,
    /// Setups.
    pub n_setups: u64,
    /// Of these, those with a routing that meets the objectives.
    pub n_feasible: u64,
    /// Of these, those with neither such a routing nor a proof that there is none.
    pub n_undecided: u64,
    /// Highest quality of a setup.
    pub best: Option<f64>,
    /// Lowest quality of a setup that meets the objectives.
    pub worst: Option<f64>,
    /// Mean over those that meet the objectives.
    pub mean: Option<f64>,
    /// Quantile and quality.
    pub quantiles: Vec<(f64, f64)>,
    /// Setups in each bin.
    pub histogram: Vec<u64>,
    /// Largest difference between what was found for a setup and what was proven to bound it.
    pub largest_gap: f64,
}

/// One setup to compare a spread with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpreadMark {
    /// What it is called.
    pub name: String,
    /// Best quality that meets the objectives, if any.
    pub quality: Option<f64>,
    /// Part of the setups that meet the objectives and can be placed (shares and memory) that it is at least as good as.
    pub at_least_as_good_as: Option<Fraction>,
    /// What there is to know about it.
    pub notes: Vec<String>,
}
