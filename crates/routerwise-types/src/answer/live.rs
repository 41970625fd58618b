//! `routerwise simulate --live-prices`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::units::{RequestsPerSecond, Seconds};
use crate::workload::Slo;

/// `routerwise simulate --live-prices`: a plan played while traffic changes and replicas fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiveSimulation {
    /// Layout version: [`super::ANSWER_SCHEMA`].
    pub schema: u32,
    /// The plan that was played.
    pub plan: Fingerprint,
    /// Seed of arrivals, lengths and prompts.
    pub seed: u64,
    /// Models of the plan: the order of all lists with one entry per model.
    pub models: Vec<String>,
    /// Stretches of time between two changes, in order.
    pub phases: Vec<LivePhase>,
    /// All of them together.
    pub whole: LivePhase,
}

/// A stretch of time in which nothing changes, but for an even rise or fall of the rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LivePhase {
    /// When it begins.
    pub from: Seconds,
    /// When it ends.
    pub to: Seconds,
    /// Mean rate of arrivals.
    pub rate: RequestsPerSecond,
    /// What happens when it begins.
    pub incidents: Vec<String>,
    /// One entry per rule: live prices first, then the plan's, then queue penalties.
    pub rows: Vec<LiveRow>,
}

/// What one rule made of a stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiveRow {
    /// The rule: `live prices`, `static prices`, `queue penalty 0.05`.
    pub rule: String,
    /// Requests that came.
    pub n_requests: usize,
    /// Of them answered to the end.
    pub n_answered: usize,
    /// Mean score over all that came; what was not answered scores 0.
    pub quality: f64,
    /// Mean TTFT of what was answered.
    pub ttft_mean: Seconds,
    /// Its 95th percentile.
    pub ttft_p95: Seconds,
    /// One entry per objective of the plan.
    pub slos: Vec<LiveSlo>,
    /// Part of the answers that each model gave.
    pub fractions: Vec<f64>,
    /// Price of each model at the end, queues left aside; empty for rules without, and where there are several routes: they have their own.
    pub prices: Vec<f64>,
    /// What each route made of it, where the plan has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<LiveRoute>,
}

/// What one route made of a stretch of time under one rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiveRoute {
    /// Name of the route.
    pub route: String,
    /// Requests that came.
    pub n_requests: usize,
    /// Of them answered to the end.
    pub n_answered: usize,
    /// Mean score over all that came; what was not answered scores 0.
    pub quality: f64,
    /// Mean TTFT of what was answered.
    pub ttft_mean: Seconds,
    /// Its 95th percentile.
    pub ttft_p95: Seconds,
    /// Part of the answers that each model gave.
    pub fractions: Vec<f64>,
    /// Price of each model at the end, queues left aside; empty for rules without.
    pub prices: Vec<f64>,
}

/// An objective and what it came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LiveSlo {
    /// The objective.
    pub slo: Slo,
    /// Seconds for a mean, share of answers above the target for a quantile.
    pub value: f64,
    /// What the value may be at most.
    pub limit: f64,
    /// Whether it is.
    pub met: bool,
}
