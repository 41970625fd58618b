//! What `POST /v1/route` answers: a decision, and everything that went into it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A decision, and everything that went into it. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteDecision {
    /// Layout version.
    pub schema: u32,
    /// The plan in force.
    pub plan: String,
    /// Route or model that was asked.
    pub asked: String,
    /// Load level of the plan whose prices are in force, or the one that live prices started from.
    pub level: String,
    /// Whether prices follow load.
    pub live: bool,
    /// The model that would answer; absent where none would.
    pub model: Option<String>,
    /// Number of its replica.
    pub replica: Option<usize>,
    /// Why that model, or why none.
    pub reason: String,
    /// By how much its score less its price exceeds the runner-up's.
    pub margin: Option<f64>,
    /// Whether the objective is out of reach, so that this is the least bad that can be done.
    pub degraded: bool,
    /// Whether the scores are known; otherwise prompts are spread by planned fractions.
    pub scored: bool,
    /// Every model of the plan, in its order.
    pub models: Vec<ConsideredModel>,
    /// What would have changed it.
    pub would_change: Vec<String>,
}

/// One model of a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsideredModel {
    /// Its name.
    pub model: String,
    /// Predicted score.
    pub score: Option<f64>,
    /// What it costs now, in units of score; absent where it has no replica left, which costs more than anything.
    pub price: Option<f64>,
    /// Score less price, less what a switch would cost the session.
    pub worth: Option<f64>,
    /// Predicted time to the first token, in seconds.
    pub ttft: Option<f64>,
    /// Replicas that may be used now.
    pub n_ready: usize,
    /// Replicas in all.
    pub n_replicas: usize,
    /// Requests in flight on them.
    pub outstanding: u32,
    /// Chosen, or why not.
    pub verdict: String,
}
