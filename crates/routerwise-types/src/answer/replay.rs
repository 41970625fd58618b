//! What `routerwise replay` says: where logged requests would have gone under another plan.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::workload::Slo;

/// Where logged requests would have gone under another plan, and what that would have been like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// Layout version.
    pub schema: u32,
    /// The plan that decided now.
    pub plan: Fingerprint,
    /// Plans that decided then, by the beginning of their ids.
    pub logged_plans: Vec<String>,
    /// Requests that a route chose a model for and that have scores: those that were decided again.
    pub n_replayed: u64,
    /// Requests that name a model, or have no scores.
    pub n_passed_over: u64,
    /// Lines that are no decisions.
    pub n_unreadable: u64,
    /// Requests that would have gone to another model.
    pub n_moved: u64,
    /// What became of the requests of each route, where the plan has several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<ReplayedRoute>,
    /// Mean arrival rate of the replayed requests, requests/s.
    pub rate: f64,
    /// Load level of the plan whose prices decided: the lowest that carries the rate, or the highest.
    pub level: String,
    /// Mean predicted score, then and now.
    pub quality: BeforeAfter,
    /// Every model of the plan, in its order.
    pub models: Vec<ReplayedModel>,
    /// The plan's objectives at this rate, as its curves have them; empty without the scenario.
    pub slos: Vec<ReplayedSlo>,
}

/// Then and now.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BeforeAfter {
    /// As it was logged.
    pub logged: f64,
    /// As it would have been.
    pub replayed: f64,
}

/// One route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayedRoute {
    /// Its name in the plan. Requests that asked for another name count for the first route.
    pub route: String,
    /// Its requests.
    pub n_replayed: u64,
    /// Of them those that would have gone to another model.
    pub n_moved: u64,
    /// Mean predicted score, then and now.
    pub quality: BeforeAfter,
    /// For every model of the plan, in its order, the part of the route's requests.
    pub fractions: Vec<BeforeAfter>,
}

/// One model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayedModel {
    /// Its name.
    pub model: String,
    /// Part of the requests.
    pub fraction: BeforeAfter,
    /// Part that the plan expects.
    pub planned: f64,
    /// Requests/s of one replica; absent where the plan runs none.
    pub load: Option<f64>,
    /// That load over what a replica can carry; absent without the scenario.
    pub utilisation: Option<f64>,
    /// Mean time to first token at that load, in seconds; absent without the scenario, and above capacity.
    pub ttft: Option<f64>,
}

/// One objective over the workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayedSlo {
    /// The objective.
    pub slo: Slo,
    /// Its left-hand side: seconds for a mean, share of requests above the target for a quantile; absent above capacity.
    pub value: Option<f64>,
    /// Its right-hand side.
    pub limit: f64,
    /// Whether it would have been met.
    pub met: bool,
}
