//! An independent checker of a finished plan.
//!
//! Recomputes routing, load, latency, placement and the proof from the plan's content and the scenario. It shares no code with the
//! planner, only the types: curves, flows, packing and bounds are written here a second time, the obvious way, so that a mistake
//! would have to be made twice to go unseen. In reading order:
//!
//! - `identity`: whose plan it is, and what it was made from
//! - `placement`: allowed configurations on GPUs that have room for them
//! - `routing`: what the prices and tie splits do with every prompt
//! - `reading`: curves off profiles; `prediction`: load, latency and SLOs
//! - `objective`: whether the objective is met as well as it says
//! - `space`, `points`, `shared`, `bound`, `boxes`, `packer`: whether the dual points prove the upper bound for every setup

mod bound;
mod boxes;
mod identity;
mod objective;
mod packer;
mod placement;
mod points;
mod prediction;
mod reading;
mod routing;
mod shared;
mod space;

use prediction::Judged;
use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;

/// How far a stated number may lie from the recomputed one, absolute and relative: the same sums in another order, and the
/// planner's own slack of 1e-7 in routing fractions.
const TOLERANCE: f64 = 1e-6;

/// Something about a plan that is not so.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Violation {
    /// A stated word or list is another than it must be.
    #[error("{place}: found {found}, expected {expected}")]
    Mismatch {
        /// Where in the plan.
        place: String,
        /// What it says.
        found: String,
        /// What it must say.
        expected: String,
    },
    /// A stated number is not the recomputed one.
    #[error("{place}: found {found}, but it comes to {expected}")]
    Number {
        /// Where in the plan.
        place: String,
        /// What it says.
        found: f64,
        /// What it must say.
        expected: f64,
    },
    /// A GPU is given more than it has.
    #[error("{gpu}: found {found} {resource} given away, there are {limit}")]
    Overcommitted {
        /// Which GPU.
        gpu: String,
        /// What of it, in words.
        resource: &'static str,
        /// How much of it.
        found: f64,
        /// How much there is.
        limit: f64,
    },
    /// A model gets more prompts than its curves cover.
    #[error("`{model}`: found {found} of the prompts, but its curves end at {limit} (load with headroom)")]
    Overloaded {
        /// Model name.
        model: String,
        /// Its fraction.
        found: f64,
        /// Largest fraction that its curves cover.
        limit: f64,
    },
    /// An SLO is missed.
    #[error("{place}: {slo} is missed, found {found} for a limit of {limit}")]
    Missed {
        /// Which constraint.
        place: String,
        /// The SLO in words.
        slo: String,
        /// Left-hand side.
        found: f64,
        /// Right-hand side.
        limit: f64,
    },
    /// The dual points do not prove the upper bound.
    #[error("certificate: found an upper bound of {upper_bound}, but its dual points allow {proven} for {setup}")]
    Uncovered {
        /// A setup that can be packed.
        setup: String,
        /// The best bound that the dual points give for it, however its fractions are split.
        proven: f64,
        /// What the certificate claims.
        upper_bound: f64,
    },
    /// Not found wrong, but not proven either.
    #[error("certificate: the upper bound was not verified within {work} steps, stopped at {setup}")]
    Unverified {
        /// The work limit.
        work: u64,
        /// Where the checker stopped.
        setup: String,
    },
}

/// Everything about a plan that is not so; empty when it does what it says and proves what it claims.
#[must_use]
pub fn check(scenario: &Scenario, plan: &Plan) -> Vec<Violation> {
    let mut found = identity::violations(scenario, plan);
    if found.iter().any(identity::is_fatal) {
        return found;
    }
    let placed = placement::violations(scenario, plan);
    let sound = placed.is_empty();
    found.extend(placed);
    let places: Vec<String> = (0..plan.policies.len()).map(|ix| format!("policies[{ix}]")).collect();
    let prompts: Vec<_> = (0..scenario.workload.n_routes())
        .map(|route| scenario.scores.of_route(route))
        .collect();
    let realised: Vec<_> = plan
        .policies
        .iter()
        .enumerate()
        .map(|(ix, p)| routing::realise(&prompts[ix % prompts.len()], plan, p))
        .collect();
    let n_routes = scenario.workload.n_routes();
    let mut judged = Vec::new();
    for (ix, policy) in plan.policies.iter().enumerate() {
        found.extend(routing::malformed(&places[ix], plan, policy));
        found.extend(routing::violations(&places[ix], plan, policy, &realised[ix]));
        let (level, first) = (ix / n_routes, ix - ix % n_routes);
        judged.push(Judged {
            place: &places[ix],
            policy,
            together: &realised[first..first + n_routes],
            realised: &realised[ix],
            rate: scenario.workload.rate.value() * scenario.workload.levels[level].part,
        });
    }
    if sound {
        for one in &judged {
            found.extend(prediction::violations(scenario, plan, one));
        }
        found.extend(prediction::utilisations(scenario, plan, &judged));
    }
    found.extend(bound::violations(&objective::in_use(scenario, plan), plan));
    found.extend(objective::violations(scenario, plan));
    found
}

/// Compares a stated number with the recomputed one.
fn number(place: impl Into<String>, found: f64, expected: f64) -> Option<Violation> {
    let close = (found - expected).abs() <= TOLERANCE * (1.0 + expected.abs());
    (!close).then(|| Violation::Number {
        place: place.into(),
        found,
        expected,
    })
}

fn mismatch(place: impl Into<String>, found: impl Into<String>, expected: impl Into<String>) -> Violation {
    Violation::Mismatch {
        place: place.into(),
        found: found.into(),
        expected: expected.into(),
    }
}
