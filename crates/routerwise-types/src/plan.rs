//! A plan: what runs where, what each model's prompts cost, what to expect of it, and the proof.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::scenario::Inputs;
use crate::setup::{Configuration, Placement};
use crate::units::{Bytes, Fraction, Price, RequestsPerSecond, Score, Seconds};
use crate::workload::{Objective, Planning, Slo};

/// Version of the plan file's layout.
pub const PLAN_SCHEMA: u32 = 3;

/// What runs where, what each model's prompts cost, what to expect of it, and the proof.
///
/// Immutable and complete: whoever applies it has no choice left to make.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Layout version: [`PLAN_SCHEMA`].
    pub schema: u32,
    /// Fingerprint of everything below.
    pub id: Fingerprint,
    /// The plan that this one replaces.
    pub parent: Option<Fingerprint>,
    /// What it was made from.
    pub inputs: Inputs,
    /// Planned arrival rate `λ`, at the busiest load level.
    pub rate: RequestsPerSecond,
    /// Objectives that it was made for. Where a latency is minimised, its mean over the workload is one of them, at what was reached.
    pub slos: Vec<Slo>,
    /// What it makes best under them.
    pub objective: Objective,
    /// Planner settings that it was made with.
    pub planning: Planning,
    /// One entry per model of the scenario, in its order.
    pub models: Vec<PlannedModel>,
    /// How prompts are routed, and what to expect of it: one entry per load level of the workload, in its order, and in each per route.
    pub policies: Vec<RoutePolicy>,
    /// How good it is, with proof. On the GPUs that it may use, where the objective chooses them.
    pub certificate: Certificate,
    /// How well the objective is met; absent where that is the highest quality on the whole cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achievement: Option<Achievement>,
    /// What it really scores where the scores that it was made from are predictions and measured ones are known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub realised: Vec<Realised>,
}

/// A plan on predicted scores, its routing rule played over prompts whose answers are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Realised {
    /// The file of the prompts.
    pub on: String,
    /// How many prompts.
    pub n_prompts: usize,
    /// Quality by the predicted scores. How far it is above what is realised is the winner's curse.
    pub predicted: f64,
    /// Quality by the measured scores.
    pub realised: f64,
    /// Quality by the measured scores when models answer by chance, in the same fractions.
    pub static_mix: f64,
}

/// How well an objective other than the highest quality on the whole cluster is met, with proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Achievement {
    /// How many GPUs of each node the plan may use, the first ones of the node, in the cluster's order of nodes.
    pub gpus_per_node: Vec<usize>,
    /// What these GPUs cost per hour, where that is known.
    pub cost_per_hour: Option<f64>,
    /// What the plan reaches: a quality, a number of GPUs, a cost per hour, or seconds.
    pub value: f64,
    /// Proven: no plan is better than this.
    pub bound: f64,
    /// What proves it.
    pub limits: Vec<ClusterLimit>,
    /// Searches that it took.
    pub n_searches: u64,
    /// Searches that ran out of work before they knew whether there is a plan.
    pub n_undecided: u64,
}

/// What no plan on some GPUs can reach.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClusterLimit {
    /// GPUs of each type, in the cluster's order of types. Those of a type of which some are missing count as linked like those of one
    /// node, so that the limit holds wherever the missing ones are.
    pub gpus: Vec<usize>,
    /// Limit on the latency that is minimised, for which it holds.
    pub target: Option<Seconds>,
    /// No feasible setup on these GPUs has a higher quality; absent where none is feasible.
    pub upper_bound: Option<f64>,
    /// Price vectors that prove it.
    pub dual_points: Vec<DualPoint>,
}

/// One model of a plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedModel {
    /// Model name.
    pub name: String,
    /// How it runs; absent when it is off.
    pub configuration: Option<Configuration>,
    /// GPU type name of the configuration.
    pub gpu_type: Option<String>,
    /// GPU indices of each replica's shards.
    pub replicas: Vec<Vec<usize>>,
    /// KV cache that each replica gets, over its shards: its reserve and its part of what is left on its GPUs.
    pub kv_cache: Vec<Bytes>,
    /// Highest planned load of any level over capacity, with headroom; 0 when off.
    pub utilisation: Fraction,
}

/// How the prompts of one route are answered at one load level, and what to expect of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutePolicy {
    /// Name of the load level.
    pub level: String,
    /// Name of the route (class of traffic).
    pub route: String,
    /// Planned arrival rate `λ` of the route at this level.
    pub rate: RequestsPerSecond,
    /// What it counts for in the plan's quality: its part of all requests, unless its route has a weight of its own. Sums to 1 over the
    /// policies.
    pub weight: Fraction,
    /// One entry per model of the plan, in its order.
    pub models: Vec<RoutedModel>,
    /// How ties are told apart.
    pub routing: Routing,
    /// What to expect.
    pub prediction: Prediction,
}

/// What one model gets under one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RoutedModel {
    /// Dual price `α`: a prompt goes where score minus price is highest.
    pub price: Price,
    /// Whether the workload's `models` of the route leave it out: it gets none of its prompts, whatever it scores.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub barred: bool,
    /// Share `w` of the policy's prompts.
    pub fraction: Fraction,
    /// Mean score of the prompts that it answers; absent when it gets none.
    pub quality: Option<Score>,
    /// Expected mean latencies at its planned load *with* headroom; absent when it gets none.
    pub latency: Option<PlannedLatency>,
}

/// Expected mean latencies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlannedLatency {
    /// Mean time to first token.
    pub ttft: Seconds,
    /// Mean time per output token after the first.
    pub tpot: Seconds,
    /// Mean end-to-end time.
    pub e2e: Seconds,
}

/// How prompts are routed: `argmax_i s_i − α_i`, ties within `tie_tolerance` split by `ties`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Routing {
    /// Models whose `s − α` lies within this of the best count as tied.
    pub tie_tolerance: f64,
    /// Salt of the hash that splits ties per prompt.
    pub salt: u64,
    /// Splits of the tie sets that the scores contain; other sets are split evenly.
    pub ties: Vec<TieSplit>,
}

/// How one set of tied models shares its prompts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TieSplit {
    /// Model indices, rising; at least two.
    pub models: Vec<usize>,
    /// Part of the set's prompts for each of them; sums to 1.
    pub parts: Vec<f64>,
}

/// What to expect of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// Mean score.
    pub quality: Score,
    /// For each SLO of the plan that counts its route's requests, in order: the value that the policy reaches with headroom.
    pub slo_values: Vec<SloValue>,
    /// Mean latencies over the workload with headroom.
    pub latency: PlannedLatency,
    /// Mean latencies over the workload at the planned rate itself, without headroom.
    pub latency_without_headroom: PlannedLatency,
}

/// One SLO against its prediction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SloValue {
    /// The left-hand side of the SLO's constraint: seconds for a mean, share of requests above the target for a quantile.
    pub value: f64,
    /// Its right-hand side in the same unit.
    pub limit: f64,
    /// Multiplier `β`: quality gained per unit by which the limit is loosened.
    pub price: f64,
}

/// How good a plan is, with proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Best quality found: this plan's, the weighted mean over its policies.
    pub quality: Score,
    /// No feasible setup of the space, however routed, has a higher quality than this.
    pub upper_bound: f64,
    /// `upper_bound − quality`, at least 0.
    pub gap: f64,
    /// What the bound covers.
    pub space: String,
    /// Setups in the space by count of configurations alone (product), as a float because it may be astronomic.
    pub setups_in_space: f64,
    /// Setups whose bound was computed.
    pub setups_bounded: u64,
    /// Setups whose placement was decided by exact packing.
    pub setups_packed: u64,
    /// Inner problems solved.
    pub setups_solved: u64,
    /// Evaluations of `A(α)` over all prompts.
    pub evaluations: u64,
    /// Price vectors whose minimum proves the bound for every setup.
    pub dual_points: Vec<DualPoint>,
}

/// One price vector of the proof.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DualPoint {
    /// `α` and `β` of each policy of the plan, in order.
    pub policies: Vec<PolicyPrices>,
    /// `γ`: what taking up the GPUs costs; rows that are not listed cost nothing.
    #[serde(default)]
    pub resource_prices: Vec<ResourcePrice>,
}

/// Prices of one policy, in quality of that policy by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyPrices {
    /// `α`, one per model.
    pub prices: Vec<f64>,
    /// `β`, one per constraint row (the SLOs over the workload that count the policy's requests, in order).
    pub slo_prices: Vec<f64>,
}

/// What it costs a setup to take up the GPUs of one type.
///
/// A shard that takes the part `x` of a GPU takes `u_k(x) / n` of the row, with `n` GPUs of the type, `u_0(x) = x` and, for `k` of at
/// least 1, `u_k(x) = x` where `(k + 1)·x` is whole and `⌊(k + 1)·x⌋ / k` where it is not. With `sizes` it takes `F / n`, where `F` is the
/// most value of sizes that fit into the shard side by side, by share and by memory; into a GPU fits a value of 1. No packable setup takes
/// more than 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourcePrice {
    /// GPU type name.
    pub gpu_type: String,
    /// Which part of a GPU `x` is.
    pub measure: Measure,
    /// `k`; 0 where there are sizes.
    pub k: u32,
    /// What `F` is made of; empty but for `packed`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sizes: Vec<PackedSize>,
    /// Quality for the whole row.
    pub price: f64,
}

/// What a shard takes a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The compute share.
    Share,
    /// The usable memory.
    Memory,
    /// Both together.
    Packed,
}

/// A part of a GPU with a value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PackedSize {
    /// Share of the GPU, in whole percents, above 0.
    pub share: Fraction,
    /// Memory.
    pub memory: Bytes,
    /// Value, at least 0.
    pub value: f64,
}

impl Plan {
    /// The fingerprint that [`Plan::id`] must have: of the plan with an empty id.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&Self {
            id: Fingerprint(String::new()),
            ..self.clone()
        })
    }

    /// Mean quality over all policies, as they are weighted.
    #[must_use]
    pub fn quality(&self) -> Score {
        self.certificate.quality
    }

    /// The policy in force at a load level for a route, by name.
    #[must_use]
    pub fn policy(&self, level: &str, route: &str) -> Option<&RoutePolicy> {
        let named = |policy: &&RoutePolicy| policy.level == level && policy.route == route;
        self.policies.iter().find(named)
    }

    /// Indices of the SLOs that count the requests of a policy, as its prediction lists them.
    pub fn slos_of<'a>(&'a self, policy: &'a RoutePolicy) -> impl Iterator<Item = usize> + 'a {
        let concerns = |slo: &Slo| slo.route.as_ref().is_none_or(|name| *name == policy.route);
        (0..self.slos.len()).filter(move |ix| concerns(&self.slos[*ix]))
    }

    /// What a policy predicts of an SLO (an index); nothing where it is another route's.
    #[must_use]
    pub fn slo_value<'a>(&'a self, policy: &'a RoutePolicy, slo_ix: usize) -> Option<&'a SloValue> {
        let at = self.slos_of(policy).position(|ix| ix == slo_ix)?;
        policy.prediction.slo_values.get(at)
    }

    /// Names of the routes, in order.
    #[must_use]
    pub fn routes(&self) -> Vec<&str> {
        let first = self.policies.first().map(|policy| policy.level.as_str());
        let at_first = self
            .policies
            .iter()
            .filter(|policy| Some(policy.level.as_str()) == first);
        at_first.map(|policy| policy.route.as_str()).collect()
    }

    /// What a policy is called among the plan's: its level where there are several, its route where there are several; nothing where it is
    /// the only one.
    #[must_use]
    pub fn policy_name(&self, policy: &RoutePolicy) -> Option<String> {
        let n_routes = self.routes().len();
        match (self.policies.len() > n_routes, n_routes > 1) {
            (false, false) => None,
            (true, false) => Some(policy.level.clone()),
            (false, true) => Some(policy.route.clone()),
            (true, true) => Some(format!("{}, {}", policy.level, policy.route)),
        }
    }

    /// An objective (an index) in words.
    #[must_use]
    pub fn slo_words(&self, slo_ix: usize) -> String {
        self.slos[slo_ix].words(self.routes().len())
    }

    /// The policies in force together with one: those of all routes at its load level.
    #[must_use]
    pub fn policies_at(&self, level: &str) -> Vec<usize> {
        let at_level = |ix: &usize| self.policies[*ix].level == level;
        (0..self.policies.len()).filter(at_level).collect()
    }

    /// A model's load over capacity at the level of one policy, with headroom: loads are to each other as rates times fractions, summed
    /// over the routes.
    ///
    /// # Panics
    /// When an index is out of range.
    #[must_use]
    pub fn utilisation_under(&self, model_ix: usize, policy_ix: usize) -> Fraction {
        let of = |policy: &RoutePolicy| policy.rate.value() * policy.models[model_ix].fraction.value();
        let load = |policy: &RoutePolicy| -> f64 {
            let together = self.policies.iter().filter(|other| other.level == policy.level);
            together.map(of).sum()
        };
        let highest = self.policies.iter().map(load).fold(0.0, f64::max);
        let part = if highest > 0.0 {
            load(&self.policies[policy_ix]) / highest
        } else {
            0.0
        };
        Fraction::new(self.models[model_ix].utilisation.value() * part).unwrap_or(Fraction::ZERO)
    }

    /// Where every shard of every replica sits.
    #[must_use]
    pub fn placement(&self) -> Placement {
        self.models.iter().map(|model| model.replicas.clone()).collect()
    }
}
