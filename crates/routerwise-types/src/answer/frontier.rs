//! `routerwise plan --frontier`: quality against the latency target, the arrival rate or the number of GPUs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::setup::Configuration;
use crate::units::{Fraction, Score, Seconds};

/// Quality against one thing that is varied, the rest as the scenario has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Frontier {
    /// Layout version: [`super::ANSWER_SCHEMA`].
    pub schema: u32,
    /// What is varied.
    pub axis: FrontierAxis,
    /// In what: `s`, `requests/s` or `GPUs`.
    pub unit: String,
    /// What is varied and what holds, in words.
    pub scenario: String,
    /// The scenario's own value, where it has one.
    pub own: Option<f64>,
    /// In rising order of what is varied.
    pub points: Vec<FrontierPoint>,
}

/// What is varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FrontierAxis {
    /// The target of the first latency objective; the others are scaled alike.
    Target,
    /// The arrival rate.
    Rate,
    /// The number of GPUs that a plan may use.
    Gpus,
}

/// One planned point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FrontierPoint {
    /// Value of what is varied, in its unit.
    pub at: f64,
    /// Whether there is a plan; absent where the search ran out of work before it knew.
    pub feasible: Option<bool>,
    /// Quality of the best plan found.
    pub quality: Option<Score>,
    /// Proven: no plan reaches more. Absent where there is none.
    pub upper_bound: Option<f64>,
    /// `upper_bound − quality`.
    pub gap: Option<f64>,
    /// Mean time to first token over the workload with headroom.
    pub mean_ttft: Option<Seconds>,
    /// GPUs that have a model.
    pub n_gpus: Option<usize>,
    /// The models that run.
    pub models: Vec<FrontierModel>,
}

/// A model of a point's plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FrontierModel {
    /// Model name.
    pub name: String,
    /// How it runs.
    pub configuration: Configuration,
    /// Its part of the prompts, over all load levels.
    pub fraction: Fraction,
}
