//! Objectives beside the highest quality on the whole cluster: a budget, fewest GPUs, lowest cost, lowest latency.
//!
//! All of them come down to one question, asked of parts of the cluster and of targets: is there a plan of at least this quality? Fewer
//! GPUs and a tighter target can do no better, so one proof that there is none covers everything below. In reading order:
//!
//! - `clusters`: parts of a cluster, and which of them one proof covers
//! - `hunt`: asks, and keeps the proofs
//! - `fewest`, `latency`, `budget`: what is asked, for each objective
//!
//! The plan then is the best one at the place that was found, with a certificate for that place.

mod budget;
pub(crate) mod clusters;
mod fewest;
pub(crate) mod hunt;
mod latency;

use routerwise_types::answer::BelowFloor;
use routerwise_types::plan::{Achievement, ClusterLimit, Plan};
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Setup;
use routerwise_types::workload::{Aim, Objective, cost_per_hour};

use crate::Outcome;
use crate::explain;
use crate::problem::{Problem, Unplannable};
use crate::search::{Effort, Goal, search_from};
use crate::watch::Watch;
use clusters::{Counts, Parts, per_node};
use hunt::{Answer, Hunt, Place};

/// Questions to one objective; with more it stops and says what it has.
const MAX_QUESTIONS: u64 = 80;
/// Largest parts of the cluster that are looked at one by one; more are covered by the whole cluster.
const MAX_LARGEST: usize = 24;

/// The best place found.
struct Best {
    plan: Box<Plan>,
    place: Place,
    /// What it is worth: a quality, GPUs, cost or seconds.
    value: f64,
    /// What no plan can do better than.
    bound: f64,
}

/// How the look for a place ended.
enum Ending {
    Found(Best),
    /// Proven that no plan reaches the floor.
    Below,
    Undecided,
}

pub(crate) fn plan(scenario: &Scenario, parent: Option<&Plan>, watch: Watch<'_>) -> Result<Outcome, Unplannable> {
    let parts = parts(scenario)?;
    let mut hunt = Hunt::new(scenario, parent, Effort::of(scenario), watch);
    match pursue(&mut hunt, &parts)? {
        Ending::Found(best) => Ok(achieved(hunt, best)),
        Ending::Undecided => Ok(Outcome::Undecided),
        Ending::Below => below(hunt, &parts),
    }
}

/// Plans without looking into why there is no plan; starts from a setup that was good near by.
pub(crate) fn attempt(
    scenario: &Scenario,
    seed: Option<&Setup>,
    effort: Effort,
    watch: Watch<'_>,
) -> Result<Attempt, Unplannable> {
    if scenario.workload.objective == Objective::BEST_QUALITY {
        let problem = Problem::new(scenario)?;
        let seeds: Vec<Vec<usize>> = seed
            .and_then(|setup| hunt::candidates_of(&problem, setup))
            .into_iter()
            .collect();
        let found = search_from(&problem, Goal::Best, effort, &seeds, watch);
        let cut_short = found.cut_short;
        return Ok(match crate::finish(scenario, &problem, found, None) {
            Some(plan) => Attempt::Plan(Box::new(plan)),
            None if cut_short => Attempt::Undecided,
            None => Attempt::NoPlan,
        });
    }
    let parts = parts(scenario)?;
    let mut hunt = Hunt::new(scenario, None, effort, watch);
    hunt.seed = seed.cloned();
    Ok(match pursue(&mut hunt, &parts)? {
        Ending::Found(best) => match achieved(hunt, best) {
            Outcome::Optimal(plan) | Outcome::Feasible { plan, .. } => Attempt::Plan(plan),
            Outcome::Infeasible(_) | Outcome::BelowFloor(_) | Outcome::Undecided => Attempt::Undecided,
        },
        Ending::Undecided => Attempt::Undecided,
        Ending::Below => Attempt::NoPlan,
    })
}

/// What came of an attempt.
pub(crate) enum Attempt {
    Plan(Box<Plan>),
    /// Proven that there is none.
    NoPlan,
    Undecided,
}

/// The parts of the cluster that the objective may choose.
fn parts(scenario: &Scenario) -> Result<Parts, Unplannable> {
    can_be_met(scenario)?;
    let parts = Parts::new(&scenario.cluster, &scenario.workload.objective.budget);
    if parts.allowed.is_empty() {
        return Err(Unplannable::NoGpuWithinBudget);
    }
    Ok(parts)
}

fn pursue(hunt: &mut Hunt<'_>, parts: &Parts) -> Result<Ending, Unplannable> {
    let cluster = &hunt.scenario.cluster;
    match hunt.scenario.workload.objective.aim {
        Aim::MaximiseQuality => budget::highest(hunt, parts),
        Aim::MinimiseGpus { quality_floor } => {
            let count = |counts: &[usize]| {
                counts
                    .iter()
                    .map(|count| f64::from(u32::try_from(*count).unwrap_or(u32::MAX)))
                    .sum()
            };
            fewest::fewest(hunt, parts, quality_floor.value(), count)
        }
        Aim::MinimiseCost { quality_floor } => {
            let cost = |counts: &[usize]| cost_per_hour(cluster, counts).unwrap_or(f64::INFINITY);
            fewest::fewest(hunt, parts, quality_floor.value(), cost)
        }
        Aim::MinimiseLatency { metric, quality_floor } => latency::lowest(hunt, parts, metric, quality_floor.value()),
    }
}

/// Whether the inputs say what the objective needs.
fn can_be_met(scenario: &Scenario) -> Result<(), Unplannable> {
    let workload = &scenario.workload;
    if workload.objective.counts_cost() {
        let unpriced = scenario
            .cluster
            .gpu_types
            .iter()
            .find(|gpu| gpu.price_per_hour.is_none());
        if let Some(gpu_type) = unpriced {
            return Err(Unplannable::NoPrice {
                gpu_type: gpu_type.name.clone(),
            });
        }
    }
    if workload.objective.chooses_gpus() && workload.planning.utilisation_floor.value() > 0.0 {
        return Err(Unplannable::FloorOnPart);
    }
    Ok(())
}

/// Writes down what was achieved and what proves it.
fn achieved(hunt: Hunt<'_>, best: Best) -> Outcome {
    let scenario = hunt.scenario;
    let Best {
        mut plan,
        place,
        value,
        bound,
    } = best;
    plan.achievement = Some(Achievement {
        gpus_per_node: per_node(&scenario.cluster, &place.counts),
        cost_per_hour: cost_per_hour(&scenario.cluster, &place.counts),
        value,
        bound,
        limits: hunt.limits,
        n_searches: hunt.n_searches,
        n_undecided: hunt.n_undecided,
    });
    let (taken, all): (usize, usize) = (place.counts.iter().sum(), scenario.cluster.n_gpus());
    if taken < all {
        plan.certificate.space.push_str(&format!(" on {taken} of {all} GPUs"));
    }
    plan.id = plan.fingerprint();
    let tolerance = scenario.workload.planning.tolerance;
    let settled = match scenario.workload.objective.aim {
        Aim::MaximiseQuality => bound - value <= 1.5 * tolerance + 1e-6,
        Aim::MinimiseGpus { .. } | Aim::MinimiseCost { .. } => value - bound <= 1e-9 * (1.0 + value),
        Aim::MinimiseLatency { .. } => value <= bound * (1.0 + 1.01 * latency::PRECISION),
    };
    let gap = plan.certificate.gap;
    if settled && gap <= 1.5 * tolerance + 1e-6 {
        Outcome::Optimal(plan)
    } else {
        Outcome::Feasible { plan, gap }
    }
}

/// No plan reaches the floor: how near one comes, or what stands in the way of any.
fn below(mut hunt: Hunt<'_>, parts: &Parts) -> Result<Outcome, Unplannable> {
    let scenario = hunt.scenario;
    let (mut quality, mut upper_bound): (Option<f64>, Option<f64>) = (None, None);
    let largest = parts.largest();
    for counts in largest.iter().take(MAX_LARGEST) {
        let place = Place {
            counts: counts.clone(),
            target: None,
        };
        let (plan, bound) = hunt.best(&place)?;
        let reached = plan.map(|plan| plan.quality().value());
        quality = quality.into_iter().chain(reached).reduce(f64::max);
        upper_bound = upper_bound.into_iter().chain(bound).reduce(f64::max);
    }
    match (quality, scenario.workload.objective.aim.quality_floor()) {
        (Some(quality), Some(floor)) => Ok(Outcome::BelowFloor(BelowFloor {
            floor,
            quality,
            // What lies below the floor is proven, however rough this bound is.
            upper_bound: upper_bound
                .map_or(floor.value(), |bound| bound.min(floor.value()))
                .max(quality),
        })),
        _ => {
            let counts = largest.first().cloned().unwrap_or_default();
            let part = Scenario {
                cluster: clusters::cut(&scenario.cluster, &per_node(&scenario.cluster, &counts)),
                ..scenario.clone()
            };
            Ok(Outcome::Infeasible(explain::near_miss(&part)))
        }
    }
}

/// Drops limits that another one implies: on as many GPUs or more, for as loose a target, with as low a bound.
fn distinct(limits: &mut Vec<ClusterLimit>) {
    let loosest = |limit: &ClusterLimit| limit.target.map_or(f64::INFINITY, |target| target.value());
    let bound = |limit: &ClusterLimit| limit.upper_bound.unwrap_or(f64::NEG_INFINITY);
    let implied = |limit: &ClusterLimit, by: &ClusterLimit| {
        clusters::within(&limit.gpus, &by.gpus) && loosest(limit) <= loosest(by) && bound(by) <= bound(limit)
    };
    let mut kept: Vec<ClusterLimit> = Vec::new();
    for limit in limits.drain(..) {
        if !kept.iter().any(|other| implied(&limit, other)) {
            kept.retain(|other| !implied(other, &limit));
            kept.push(limit);
        }
    }
    *limits = kept;
}

/// Limits that prove that nothing reaches a floor, none of which lies within another.
fn refuting(limits: &mut Vec<ClusterLimit>, floor: f64) -> Vec<Counts> {
    limits.retain(|limit| hunt::is_below(limit, floor));
    // Below the floor is below the floor: how far makes no difference.
    let counts: Vec<Counts> = limits.iter().map(|limit| limit.gpus.clone()).collect();
    let largest = clusters::largest(counts.iter());
    let mut kept: Vec<ClusterLimit> = Vec::new();
    for limit in limits.drain(..) {
        let is_largest = largest.contains(&limit.gpus);
        if is_largest
            && !kept
                .iter()
                .any(|other| other.gpus == limit.gpus && other.target >= limit.target)
        {
            kept.retain(|other| other.gpus != limit.gpus);
            kept.push(limit);
        }
    }
    *limits = kept;
    largest
}

/// The first plan found that reaches the floor on one of the largest parts.
fn first_within(
    hunt: &mut Hunt<'_>,
    largest: &[Counts],
    target: Option<routerwise_types::Seconds>,
    floor: f64,
) -> Result<First, Unplannable> {
    let mut open = largest.len() > MAX_LARGEST;
    for counts in largest.iter().take(MAX_LARGEST) {
        let place = Place {
            counts: counts.clone(),
            target,
        };
        match hunt.ask(&place, floor)? {
            Answer::Reached(plan) => return Ok(First::Reached(plan, place)),
            Answer::Below => {}
            Answer::Open => open = true,
        }
    }
    Ok(if open { First::Open } else { First::Below })
}

/// What came of asking all of the largest parts.
enum First {
    Reached(Box<Plan>, Place),
    Below,
    Open,
}
