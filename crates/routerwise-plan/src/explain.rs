//! What binds, what a change would be worth, and how far an infeasible scenario is from a feasible one.
//!
//! Every figure here is a plan: the change is made to the scenario and the search run again, so nothing rests on a multiplier that
//! holds only for small steps.

mod prices;
mod rate;
mod rivals;

use routerwise_types::answer::explanation::Value;
use routerwise_types::plan::{Plan, PlannedLatency, RoutePolicy};
use routerwise_types::quality::Scores;
use routerwise_types::scenario::Scenario;
use routerwise_types::units::{Bytes, Fraction, RequestsPerSecond, Seconds};
use routerwise_types::workload::Objective;

pub use prices::price_meanings;
pub use rate::rate_limits;
pub use rivals::{alternatives, runner_up};

use crate::assemble::mean_latency;
use crate::objective::clusters::cut;
use crate::objective::hunt::candidates_of;
use crate::problem::{Problem, Unplannable};
use crate::search::{Effort, Goal, search, search_from};
use crate::watch::Watch;

/// What one change of the scenario would be worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Worth {
    /// The change in words.
    pub change: String,
    /// Quality after it, or nothing when nothing is feasible then.
    pub quality: Option<f64>,
    /// What no plan can be better than after it.
    pub upper_bound: f64,
    /// Whether the search was finished; if not, the best lies between `quality`, found so far, and the bound.
    pub finished: bool,
}

/// Something that keeps a plan from being better.
#[derive(Clone, Debug, PartialEq)]
pub enum Binding {
    /// An SLO: its index, and the quality that a 1 % looser limit is worth.
    Slo {
        /// Index into the plan's policies.
        policy_ix: usize,
        /// Index into the plan's SLOs.
        slo_ix: usize,
        /// Quality of the plan per 1 %.
        per_percent: f64,
    },
    /// A model runs at the end of its curve.
    Capacity {
        /// Index into the plan's models.
        model_ix: usize,
    },
    /// Nothing: every prompt goes to its best model.
    Nothing,
}

/// How far an infeasible scenario is from a feasible one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NearMiss {
    /// What binds: lifting any one of these alone makes the scenario feasible.
    pub binding: Vec<String>,
    /// Targets scaled by this are met at the scenario's rate; nothing when no factor up to 1000 helps.
    pub target_factor: Option<f64>,
    /// Highest rate at which the SLOs can be met.
    pub rate: Option<RequestsPerSecond>,
    /// Fewest GPUs of the first node's type to add; nothing when eight times the cluster do not help.
    pub more_gpus: Option<usize>,
}

/// An objective with more slack than this, relative, does not bind.
const TIGHT: f64 = 2e-3;

/// What keeps a plan from being better.
#[must_use]
pub fn binding(plan: &Plan) -> Vec<Binding> {
    let mut found = Vec::new();
    for (policy_ix, policy) in plan.policies.iter().enumerate() {
        let values = plan.slos_of(policy).zip(&policy.prediction.slo_values);
        let tight = values
            .filter(|(_, slo)| slo.value >= slo.limit * (1.0 - TIGHT) && slo.price * slo.limit > 1e-7)
            .map(|(slo_ix, slo)| Binding::Slo {
                policy_ix,
                slo_ix,
                per_percent: policy.weight.value() * slo.price * slo.limit * 0.01,
            });
        found.extend(tight);
    }
    found.extend(
        plan.models
            .iter()
            .enumerate()
            .filter(|(_, model)| model.configuration.is_some() && model.utilisation.value() > 0.999)
            .map(|(model_ix, _)| Binding::Capacity { model_ix }),
    );
    if found.is_empty() {
        found.push(Binding::Nothing);
    }
    found
}

/// The one change that makes things harder.
const HARDER: &str = "10 % more traffic";

/// Re-plans after each of the changes that people ask about first.
///
/// # Errors
/// [`Unplannable`] as for [`crate::plan`].
pub fn what_would_help(scenario: &Scenario, plan: &Plan) -> Result<Vec<Worth>, Unplannable> {
    let mut changes = vec![
        ("10 % looser targets".to_owned(), with_targets(scenario, 1.1)),
        ("10 % less traffic".to_owned(), with_rate(scenario, 0.9)),
        (HARDER.to_owned(), with_rate(scenario, 1.1)),
    ];
    for (gpu_type_ix, gpu) in scenario.cluster.gpu_types.iter().enumerate() {
        if scenario.cluster.n_gpus_of(gpu_type_ix) > 0 {
            changes.push((format!("one more {}", gpu.name), with_gpus(scenario, gpu_type_ix, 1)));
        }
    }
    if scenario.workload.planning.headroom > 0.0 {
        changes.push(("no headroom".to_owned(), with_headroom(scenario, 0.0)));
    }
    changes
        .into_iter()
        .map(|(change, changed)| {
            let found = search(&Problem::new(&changed)?, Goal::Best, Effort::ASIDE);
            let mut quality = found.best.map(|best| best.quality);
            if change != HARDER {
                // The plan itself still holds where things are easier.
                let now = plan.quality().value();
                quality = Some(quality.map_or(now, |quality| quality.max(now)));
            }
            let settled = quality.is_some_and(|quality| found.upper_bound - quality <= 2.0 * plan.planning.tolerance);
            Ok(Worth {
                change,
                quality,
                upper_bound: found.upper_bound,
                finished: settled || !found.cut_short,
            })
        })
        .collect()
}

/// What small changes are worth: from the plan's multipliers, and planned again.
///
/// # Errors
/// [`Unplannable`] as for [`crate::plan`].
pub fn values(scenario: &Scenario, plan: &Plan) -> Result<Vec<Value>, Unplannable> {
    let scenario = on_its_gpus(scenario, plan);
    let problem = Problem::new(&scenario)?;
    let of_gpus = prices::worth_of_gpus(&problem);
    let mut changes = Vec::new();
    for (slo_ix, slo) in scenario.workload.slos.iter().enumerate() {
        changes.push((
            format!("10 ms more for {}", slo.words(scenario.workload.n_routes())),
            with_later(&scenario, slo_ix, 0.010),
            None,
        ));
    }
    changes.push(("10 % less traffic".to_owned(), with_rate(&scenario, 0.9), None));
    for (gpu_type_ix, gpu) in scenario.cluster.gpu_types.iter().enumerate() {
        if scenario.cluster.n_gpus_of(gpu_type_ix) > 0 {
            let changed = with_gpus(&scenario, gpu_type_ix, 1);
            changes.push((format!("one more {}", gpu.name), changed, Some(of_gpus[gpu_type_ix])));
        }
    }
    let now = prices::worth_at_prices(&problem, plan);
    let setup = plan.models.iter().map(|model| model.configuration).collect();
    changes
        .into_iter()
        .map(|(change, changed, known)| {
            let problem = Problem::new(&changed)?;
            let first_order = known.or_else(|| Some(prices::worth_at_prices(&problem, plan)? - now?));
            let seeds: Vec<Vec<usize>> = candidates_of(&problem, &setup).into_iter().collect();
            let found = search_from(
                &problem,
                Goal::Best,
                Effort::of_a_part(&changed),
                &seeds,
                Watch::default(),
            );
            let quality = found.best.map(|best| best.quality);
            Ok(Value {
                change,
                first_order,
                quality,
                gain: quality.map(|quality| quality - plan.quality().value()),
                finished: !found.cut_short,
            })
        })
        .collect()
}

/// The scenario of a plan, with the GPUs that it may use and quality as its only aim.
fn on_its_gpus(scenario: &Scenario, plan: &Plan) -> Scenario {
    let mut changed = scenario.clone();
    changed.workload.objective = Objective::BEST_QUALITY;
    if let Some(achievement) = &plan.achievement {
        changed.cluster = cut(&scenario.cluster, &achievement.gpus_per_node);
    }
    changed
}

/// Finds what makes an infeasible scenario infeasible.
#[must_use]
pub fn near_miss(scenario: &Scenario) -> NearMiss {
    let scenario = &without_scores(scenario);
    let mut miss = NearMiss::default();
    if feasible(&with_targets(scenario, 1000.0)) {
        miss.binding.push("the latency target".to_owned());
        miss.target_factor = Some(least(1.0, 1000.0, |factor| feasible(&with_targets(scenario, factor))));
    }
    let low = 1e-3;
    if feasible(&with_rate(scenario, low)) {
        miss.binding.push("the arrival rate".to_owned());
        let divided_by = least(1.0, 1.0 / low, |factor| feasible(&with_rate(scenario, 1.0 / factor)));
        // Rounded down, so that the rate is met as it is printed.
        let rate = (scenario.workload.rate.value() / divided_by * 100.0).floor() / 100.0;
        miss.rate = RequestsPerSecond::new(rate).ok().filter(|rate| rate.value() > 0.0);
    }
    if feasible(&with_memory(scenario, 1000)) {
        miss.binding.push("GPU memory".to_owned());
    }
    if feasible(&without_floor(scenario)) {
        miss.binding.push("the utilisation floor".to_owned());
    }
    let most = (7 * scenario.cluster.n_gpus()).clamp(8, 64);
    let gpu_type_ix = scenario.cluster.nodes.first().map_or(0, |node| node.gpu_type_ix);
    let mut more = 1;
    while more <= most && !feasible(&with_gpus(scenario, gpu_type_ix, more)) {
        more *= 2;
    }
    if more <= most {
        let first = more / 2 + 1;
        miss.more_gpus = (first..=more).find(|n| feasible(&with_gpus(scenario, gpu_type_ix, *n)));
        miss.binding.push("the number of GPUs".to_owned());
    }
    miss
}

fn feasible(scenario: &Scenario) -> bool {
    is_feasible(scenario) == Some(true)
}

/// Whether any setup meets the SLOs; nothing when the search ran out of work.
pub(crate) fn is_feasible(scenario: &Scenario) -> Option<bool> {
    let Ok(problem) = Problem::new(scenario) else {
        return Some(false);
    };
    let found = search(&problem, Goal::Feasible, Effort::ASIDE);
    match (found.best, found.cut_short) {
        (Some(_), _) => Some(true),
        (None, true) => None,
        (None, false) => Some(false),
    }
}

/// Least factor in `[low, high]` for which something holds that holds at `high` and stays true above: to 1 %, by bisection of its logarithm.
fn least(low: f64, high: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (low, high);
    while high / low > 1.01 {
        let middle = (low * high).sqrt();
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}

/// Whether latency can be met does not depend on scores: one prompt that every model answers equally will do.
fn without_scores(scenario: &Scenario) -> Scenario {
    let n_models = scenario.models.len();
    let scores = Scores {
        models: scenario.scores.models.clone(),
        prompts: scenario.scores.prompts.iter().take(1).cloned().collect(),
        columns: vec![vec![0.0]; n_models],
        routes: vec![vec![0]; scenario.scores.routes.len()],
        output_tokens: vec![None; n_models],
    };
    Scenario {
        cluster: scenario.cluster.clone(),
        models: scenario.models.clone(),
        workload: scenario.workload.clone(),
        scores,
        profiles: scenario.profiles.clone(),
        fingerprints: scenario.fingerprints.clone(),
    }
}

fn with_targets(scenario: &Scenario, factor: f64) -> Scenario {
    let mut changed = scenario.clone();
    for slo in &mut changed.workload.slos {
        slo.target = Seconds::new(slo.target.value() * factor).unwrap_or(slo.target);
    }
    changed
}

fn with_later(scenario: &Scenario, slo_ix: usize, more: f64) -> Scenario {
    let mut changed = scenario.clone();
    let slo = &mut changed.workload.slos[slo_ix];
    slo.target = Seconds::new(slo.target.value() + more).unwrap_or(slo.target);
    changed
}

fn with_rate(scenario: &Scenario, factor: f64) -> Scenario {
    let mut changed = scenario.clone();
    changed.workload.rate =
        RequestsPerSecond::new(scenario.workload.rate.value() * factor).unwrap_or(scenario.workload.rate);
    changed
}

fn with_headroom(scenario: &Scenario, headroom: f64) -> Scenario {
    let mut changed = scenario.clone();
    changed.workload.planning.headroom = headroom;
    changed
}

fn with_memory(scenario: &Scenario, factor: u64) -> Scenario {
    let mut changed = scenario.clone();
    for gpu in &mut changed.cluster.gpu_types {
        gpu.usable_memory = Bytes(gpu.usable_memory.0.saturating_mul(factor));
    }
    changed
}

fn without_floor(scenario: &Scenario) -> Scenario {
    let mut changed = scenario.clone();
    changed.workload.planning.utilisation_floor = Fraction::ZERO;
    changed
}

/// Adds GPUs to the first node of the type.
fn with_gpus(scenario: &Scenario, gpu_type_ix: usize, more: usize) -> Scenario {
    let mut changed = scenario.clone();
    if let Some(node) = changed
        .cluster
        .nodes
        .iter_mut()
        .find(|node| node.gpu_type_ix == gpu_type_ix)
    {
        node.n_gpus += more;
    }
    changed
}

/// Mean latencies of every model at a policy's own rate and fractions, without headroom: what a run at that rate should show.
/// Nothing for models that get no prompt.
#[must_use]
pub fn expected_latency(scenario: &Scenario, plan: &Plan, policy: &RoutePolicy) -> Vec<Option<PlannedLatency>> {
    let pairs = plan.models.iter().zip(&policy.models);
    // Requests of all routes make a model's load.
    let together = plan.policies.iter().filter(|other| other.level == policy.level);
    let rate_of = |name: &str| -> f64 {
        let model_ix = plan.models.iter().position(|model| model.name == name);
        let rate =
            |policy: &RoutePolicy| model_ix.map_or(0.0, |ix| policy.rate.share(policy.models[ix].fraction).value());
        together.clone().map(rate).sum()
    };
    pairs
        .map(|(model, routed)| {
            let configuration = model.configuration?;
            let profile = scenario.profiles.iter().find(|profile| {
                profile.key.model == model.name
                    && Some(&profile.key.gpu_type) == model.gpu_type.as_ref()
                    && profile.key.tensor_parallel == configuration.tensor_parallel
                    && (profile.key.share.value() - configuration.share.value()).abs() < 1e-9
            })?;
            let load = rate_of(&model.name) / f64::from(configuration.n_replicas);
            (routed.fraction.value() > 0.0)
                .then(|| mean_latency(profile, load))
                .flatten()
        })
        .collect()
}
