//! Joint allocation and routing: inputs in, plan out. In reading order:
//!
//! - [`curve`], [`flow`]: latency as a function of load, and what it costs to send a model more prompts
//! - [`traffic`]: load levels and routes
//! - [`problem`]: the scenario in dense form
//! - [`prices`]: dual prices of fixed resources; [`prices::kernel`] is the hot loop
//! - [`resources`]: what setups take of the cluster, and what that costs
//! - [`packing`]: shards onto GPUs, with proof when they do not fit
//! - `search`: best-first branch and bound over setups
//! - `settle`, [`ties`], `assemble`: from prices to a plan that does what it says
//! - `objective`: fewest GPUs, lowest cost, lowest latency, budgets
//! - [`frontier`]: quality against target, rate or GPUs
//! - [`explain`]: what binds, what would help; [`space`]: how many setups there are
//! - [`watch`]: stopping a search, and hearing how far it is
//! - [`diff`]: what changes between two plans
//! - [`exhaustive`]: the paper's search; [`spread`]: every setup solved, both to compare with
//! - [`baselines`]: what people do today, for comparison
//! - [`check`]: an independent checker of a finished plan

mod assemble;
pub mod baselines;
pub mod check;
pub mod curve;
pub mod diff;
pub mod exhaustive;
pub mod explain;
pub mod flow;
pub mod frontier;
pub(crate) mod objective;
pub mod packing;
pub(crate) mod patterns;
pub mod prices;
pub mod problem;
pub mod resources;
pub(crate) mod search;
mod settle;
pub mod space;
pub mod spread;
pub mod ties;
pub mod traffic;
pub mod watch;

use routerwise_types::answer::BelowFloor;
use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;
use routerwise_types::workload::Objective;

use crate::explain::NearMiss;
use crate::problem::{Problem, Unplannable};
use crate::search::{Effort, Goal, search, search_from};
use crate::watch::Watch;

/// What a planning run concluded.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// No feasible plan scores higher by more than the tolerance.
    Optimal(Box<Plan>),
    /// The budget ran out first; at most `gap` (in score) better is possible.
    Feasible {
        /// The best plan found.
        plan: Box<Plan>,
        /// How much better another may be.
        gap: f64,
    },
    /// Nothing meets the SLOs; the closest miss says what binds.
    Infeasible(NearMiss),
    /// The SLOs can be met, but not with the quality that the objective asks for.
    BelowFloor(BelowFloor),
    /// The budget ran out before any plan was found, and before there was a proof that none exists.
    Undecided,
}

impl Outcome {
    /// The plan, where there is one.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        match self {
            Self::Optimal(plan) | Self::Feasible { plan, .. } => Some(plan),
            Self::Infeasible(_) | Self::BelowFloor(_) | Self::Undecided => None,
        }
    }
}

/// Plans a scenario: the best feasible setup and the prices that route by it.
///
/// `parent` is the plan in force, which the new one will name.
///
/// # Errors
/// [`Unplannable`] when an input is missing; that nothing meets the SLOs is an [`Outcome`].
pub fn plan(scenario: &Scenario, parent: Option<&Plan>) -> Result<Outcome, Unplannable> {
    plan_watched(scenario, parent, Watch::default())
}

/// [`plan`] that can be stopped, with the best it has found until then, and that says how far it is.
///
/// # Errors
/// As [`plan`].
pub fn plan_watched(scenario: &Scenario, parent: Option<&Plan>, watch: Watch<'_>) -> Result<Outcome, Unplannable> {
    if scenario.workload.objective != Objective::BEST_QUALITY {
        return objective::plan(scenario, parent, watch);
    }
    let problem = Problem::new(scenario)?;
    let found = search_from(&problem, Goal::Best, Effort::of(scenario), &[], watch);
    let cut_short = found.cut_short;
    let Some(plan) = finish(scenario, &problem, found, parent) else {
        let undecided = cut_short || explain::is_feasible(scenario) != Some(false);
        return Ok(if undecided {
            Outcome::Undecided
        } else {
            Outcome::Infeasible(explain::near_miss(scenario))
        });
    };
    let gap = plan.certificate.gap;
    // Realising the fractions prompt by prompt may cost a little beyond the search's own tolerance.
    Ok(if gap <= 1.5 * problem.tolerance + 1e-6 {
        Outcome::Optimal(Box::new(plan))
    } else {
        Outcome::Feasible {
            plan: Box::new(plan),
            gap,
        }
    })
}

/// Plans a problem that was built before: what a benchmark times.
#[must_use]
pub fn solve(scenario: &Scenario, problem: &Problem, parent: Option<&Plan>) -> Option<Plan> {
    finish(
        scenario,
        problem,
        search(problem, Goal::Best, Effort::of(scenario)),
        parent,
    )
}

fn finish(scenario: &Scenario, problem: &Problem, mut found: search::Found, parent: Option<&Plan>) -> Option<Plan> {
    let best = found.best.clone()?;
    let filled = settle::fill_up(problem, &best);
    let settled = settle::settle_all(scenario, problem, &mut found.responses, &filled)
        .filter(|settled| settle::quality(problem, settled) >= best.quality - problem.tolerance * 0.1);
    let (best, settled) = match settled {
        Some(settled) => (filled, settled),
        None => {
            let settled = settle::settle_all(scenario, problem, &mut found.responses, &best)?;
            (best, settled)
        }
    };
    Some(assemble::assemble(scenario, problem, &found, &best, &settled, parent))
}
