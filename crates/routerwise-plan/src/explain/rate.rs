//! How far the arrival rate may go before the latency objectives cannot be met.
//!
//! Latency does not fall with load, so there is one highest rate for a fixed routing, for a setup, and for all setups. Each is found by halving
//! a bracket of rates (by its logarithm); whether objectives can be met does not depend on scores.

use routerwise_types::answer::explanation::{RateLimit, RateLimits};
use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;
use routerwise_types::units::RequestsPerSecond;

use super::{on_its_gpus, with_rate, without_scores};
use crate::objective::hunt::candidates_of;
use crate::problem::Problem;
use crate::search::{Effort, Goal, search};

/// A bracket is closed when it is this narrow, relative.
const PRECISION: f64 = 0.005;
/// Rates beyond so many times the planned one are not looked at.
const MOST: f64 = 1e6;

/// Highest rates at which the objectives of a plan's scenario are met, with the plan as it is, with its setup, and with any.
#[must_use]
pub fn rate_limits(scenario: &Scenario, plan: &Plan) -> RateLimits {
    let scenario = on_its_gpus(scenario, plan);
    let bare = without_scores(&scenario);
    let as_planned = limit(plan, |factor| Some(holds(&with_rate(&bare, factor), plan)));
    let same_setup = limit(plan, |factor| {
        let problem = Problem::new(&with_rate(&bare, factor)).ok()?;
        feasible(&only(problem, plan)?)
    });
    let any_setup = limit(plan, |factor| match Problem::new(&with_rate(&bare, factor)) {
        Ok(problem) => feasible(&problem),
        Err(_) => Some(false),
    });
    RateLimits {
        as_planned,
        same_setup,
        any_setup,
    }
}

/// Nothing when the search ran out of work.
fn feasible(problem: &Problem) -> Option<bool> {
    let found = search(problem, Goal::Feasible, Effort::ASIDE);
    match (found.best, found.cut_short) {
        (Some(_), _) => Some(true),
        (None, true) => None,
        (None, false) => Some(false),
    }
}

/// The problem in which every model runs as planned.
fn only(mut problem: Problem, plan: &Plan) -> Option<Problem> {
    let setup = plan.models.iter().map(|model| model.configuration).collect();
    let chosen = candidates_of(&problem, &setup)?;
    for (model, at) in problem.models.iter_mut().zip(chosen) {
        model.candidates = vec![model.candidates[at].clone()];
    }
    Some(problem)
}

/// Whether the objectives hold with the plan's own fractions.
fn holds(scenario: &Scenario, plan: &Plan) -> bool {
    let Some(problem) = Problem::new(scenario).ok().and_then(|problem| only(problem, plan)) else {
        return false;
    };
    let n_models = problem.models.len();
    let routed = plan.policies.iter().flat_map(|policy| &policy.models);
    let fractions: Vec<f64> = routed.map(|routed| routed.fraction.value()).collect();
    let traffic = &problem.traffic;
    let only = vec![0; n_models];
    (0..problem.n_levels()).all(|level| {
        let within = (0..n_models).all(|model| {
            let flow = problem.models[model].candidates[0].flow_at(level);
            let load = traffic.load(&fractions, level, model, n_models);
            let may = |route: usize| {
                let w = fractions[(level * traffic.n_routes() + route) * n_models + model];
                w <= 1e-9 || load <= flow.reach(route) + 1e-9
            };
            load <= flow.cap() + 1e-9 && (0..traffic.n_routes()).all(may)
        });
        within && (0..problem.rows.len()).all(|row| problem.row_sum(&only, &fractions, level, row) <= 1.0 + 1e-6)
    })
}

/// Halves the bracket between a factor on the rate at which something holds and one at which it does not.
fn limit(plan: &Plan, holds: impl Fn(f64) -> Option<bool>) -> RateLimit {
    // The plan is the proof that its own rate is met.
    let (mut reached, mut refuted, mut asked) = (1.0f64, None, None);
    let mut factor = 2.0;
    while asked.is_none() && factor <= MOST {
        match holds(factor) {
            Some(true) => reached = factor,
            Some(false) => (refuted, asked) = (Some(factor), Some(factor)),
            None => asked = Some(factor),
        }
        factor *= 2.0;
    }
    while let Some(high) = asked.filter(|high| high / reached > 1.0 + PRECISION) {
        let middle = (high * reached).sqrt();
        match holds(middle) {
            Some(true) => reached = middle,
            Some(false) => (refuted, asked) = (Some(middle), Some(middle)),
            None => asked = Some(middle),
        }
    }
    let rate = |factor: f64| RequestsPerSecond::new(plan.rate.value() * factor).ok();
    RateLimit {
        reached: rate(reached).unwrap_or(plan.rate),
        refuted: refuted.and_then(rate),
    }
}
