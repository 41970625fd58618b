//! `routerwise diff`: what changes from one plan to another.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::setup::Configuration;
use crate::workload::Slo;

/// What changes from one plan to another. Lists hold only what differs, but for the policies, which are all there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Layout version: [`super::ANSWER_SCHEMA`].
    pub schema: u32,
    /// The first plan.
    pub before: Fingerprint,
    /// The second plan.
    pub after: Fingerprint,
    /// Whether nothing differs but perhaps the plan that each names as its parent.
    pub same: bool,
    /// Whether the second plan names the first as the one that it replaces.
    pub replaces: bool,
    /// Inputs whose content differs: `cluster`, `models`, `workload`, `scores`, `profiles`.
    pub inputs: Vec<String>,
    /// Rate, objectives and planner settings that differ.
    pub settings: Vec<SettingChange>,
    /// Models that run differently or elsewhere, in the order of the second plan; those that are gone come last.
    pub models: Vec<ModelChange>,
    /// One entry per load level and route that both plans have.
    pub policies: Vec<PolicyChange>,
    /// Load levels and routes that only one of the plans has.
    pub unmatched_policies: Vec<String>,
    /// Mean quality over all policies.
    pub quality: Change,
    /// Proven upper bound of it.
    pub upper_bound: Change,
    /// Proven gap.
    pub gap: Change,
}

/// A number before and after.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// In the first plan.
    pub before: f64,
    /// In the second.
    pub after: f64,
}

impl Change {
    /// `after − before`.
    #[must_use]
    pub fn by(self) -> f64 {
        self.after - self.before
    }
}

/// A setting in words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SettingChange {
    /// Which.
    pub name: String,
    /// In the first plan.
    pub before: String,
    /// In the second.
    pub after: String,
}

/// What happens to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ModelMove {
    /// The first plan does not know it.
    Added,
    /// The second plan does not know it.
    Removed,
    /// It was off and runs.
    SwitchedOn,
    /// It ran and is off.
    SwitchedOff,
    /// It runs in another way: tensor parallelism, share or GPU type.
    Reconfigured,
    /// It has more replicas of the same kind.
    ScaledUp,
    /// It has fewer replicas of the same kind.
    ScaledDown,
    /// Replicas sit on other GPUs.
    Moved,
    /// Only the KV cache of its replicas changes.
    Resized,
}

/// A model that runs differently or elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModelChange {
    /// Model name.
    pub name: String,
    /// What happens to it.
    pub change: ModelMove,
    /// How it runs in the first plan; absent when off or unknown there.
    pub before: Option<Configuration>,
    /// How it runs in the second plan; absent when off or unknown there.
    pub after: Option<Configuration>,
    /// GPU type in the first plan.
    pub gpu_type_before: Option<String>,
    /// GPU type in the second plan.
    pub gpu_type_after: Option<String>,
    /// GPU indices of the replicas to start.
    pub started: Vec<Vec<usize>>,
    /// GPU indices of the replicas to stop.
    pub stopped: Vec<Vec<usize>>,
    /// Replicas that can go on as they are.
    pub n_kept: usize,
    /// Replicas that stay where they are with another amount of KV cache.
    pub n_resized: usize,
}

/// What changes for the prompts of one load level and route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PolicyChange {
    /// Name of the load level.
    pub level: String,
    /// Name of the route.
    pub route: String,
    /// Arrival rate in requests/s.
    pub rate: Change,
    /// Mean score.
    pub quality: Change,
    /// Part of the prompts that must at least go to another model: half the sum of all changes of fractions.
    pub moved: f64,
    /// Models in the order of the second plan; those that only the first has come last.
    pub models: Vec<RoutedChange>,
    /// Objectives that both plans have, whatever their targets.
    pub slos: Vec<SloChange>,
    /// Mean time to first token over the workload with headroom, in seconds.
    pub mean_ttft: Change,
}

/// What changes for one model under one policy. A model that a plan does not know has price and fraction 0 there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RoutedChange {
    /// Model name.
    pub name: String,
    /// Dual price.
    pub price: Change,
    /// Fraction of the prompts.
    pub fraction: Change,
}

/// What becomes of an objective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SloChange {
    /// The objective as the second plan has it.
    pub slo: Slo,
    /// What may be at most: seconds, or a share of requests.
    pub limit: Change,
    /// What is predicted, in the same unit.
    pub value: Change,
    /// Quality gained per unit by which the limit is loosened.
    pub price: Change,
}
