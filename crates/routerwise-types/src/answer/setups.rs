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
