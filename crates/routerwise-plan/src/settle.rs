//! The best setup, finished: idle shares given away, prices found that do prompt by prompt what the solution does in the mean.

use routerwise_types::plan::Routing;
use routerwise_types::scenario::Scenario;

use crate::packing::Packing;
use crate::prices::{Dual, Routes, Until, part};
use crate::problem::{Candidate, Problem};
use crate::search::fit::pack_setup;
use crate::search::{Incumbent, Tightening, solve_candidates};
use crate::ties::{Realised, TIE_TOLERANCES, realise, splits};

/// Prices that do in fact, prompt by prompt, what the solution does in the mean.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) dual: Dual,
    pub(crate) routing: Routing,
    pub(crate) realised: Realised,
}

/// One load level of the best setup, finished.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    /// The level by itself, with the setup's candidates only.
    pub(crate) problem: Problem,
    /// The setup in its numbers.
    pub(crate) best: Incumbent,
    pub(crate) policy: Policy,
}

/// Settles every load level: once the setup is fixed they have nothing to do with each other.
pub(crate) fn settle_all(
    scenario: &Scenario,
    problem: &Problem,
    routes: &mut Routes,
    best: &Incumbent,
) -> Option<Vec<Settled>> {
    let workload = &scenario.workload;
    let n_levels = problem.n_levels();
    let at_level = |level: usize| {
        let rate = workload.rate_at(level).value() * (1.0 + workload.planning.headroom);
        let problem = problem.at_level(level, &best.candidates, rate);
        let best = Incumbent {
            candidates: vec![0; best.candidates.len()],
            ranges: part(&best.ranges, level, n_levels).to_vec(),
            placement: best.placement.clone(),
            quality: best.quality,
            fractions: part(&best.fractions, level, n_levels).to_vec(),
            dual: best.dual.at_level(level, n_levels),
        };
        let policy = settle(&problem, routes, &best)?;
        Some(Settled { problem, best, policy })
    };
    (0..n_levels).map(at_level).collect()
}

/// Mean score over the levels.
pub(crate) fn quality(problem: &Problem, settled: &[Settled]) -> f64 {
    let levels = problem.weights.iter().zip(settled);
    levels
        .map(|(weight, settled)| weight * settled.policy.realised.quality())
        .sum()
}

/// Quality per unused limit, relative to the tolerance: equally good routings are told apart by latency.
const SLACK_REWARD: f64 = 0.1;
const ATTEMPTS: i32 = 12;
/// Slack for rounding between the master's arithmetic and the plan's.
const ROUNDING: f64 = 1e-7;

/// Quality that is not worth a wider tie tolerance.
const NEGLIGIBLE: f64 = 1e-6;

/// Solves the best setup to the end and splits its ties.
///
/// The routes of the solution disagree only on prompts that are tied or nearly so. A tie tolerance that gathers enough of them makes the
/// plan do what the solution does; it costs at most that tolerance on those few prompts. Should that not do, the limit
/// is tightened by what is missing and the setup solved again.
pub(crate) fn settle(problem: &Problem, routes: &mut Routes, best: &Incumbent) -> Option<Policy> {
    let on: Vec<bool> = flags(problem, best);
    let mut ranges = best.ranges.clone();
    let mut limit = 1.0 - ROUNDING;
    let mut start = best.dual.clone();
    for attempt in 0..ATTEMPTS {
        let until = Until {
            tolerance: 1e-7,
            cut_off: f64::NEG_INFINITY,
            max_evaluations: 2_000,
        };
        let tightening = Tightening {
            limit,
            slack_reward: SLACK_REWARD * problem.tolerance,
        };
        let solved = solve_candidates(
            problem,
            routes,
            &best.candidates,
            &ranges,
            tightening,
            Some(&start),
            until,
        );
        let mixture = solved.mixture.as_ref()?;
        let mut missing = f64::INFINITY;
        let mut kept: Option<Policy> = None;
        for tolerance in TIE_TOLERANCES {
            let routing = splits(&problem.table, &solved.dual.prices, &on, mixture, routes, tolerance);
            let realised = realise(&problem.table, &solved.dual.prices, &on, &routing);
            let over = excess(problem, best, &realised.fractions);
            let beyond = beyond_capacity(problem, best, &realised.fractions);
            if over <= 0.0 && beyond.iter().all(|beyond| *beyond <= 0.0) {
                let quality = realised.quality();
                if kept.as_ref().is_none_or(|kept| kept.realised.quality() < quality) {
                    let dual = solved.dual.clone();
                    kept = Some(Policy {
                        dual,
                        routing,
                        realised,
                    });
                }
                if quality >= mixture.quality - NEGLIGIBLE {
                    break;
                }
                continue;
            }
            missing = missing.min(over);
            if tolerance >= TIE_TOLERANCES[TIE_TOLERANCES.len() - 1] {
                for (range, beyond) in ranges.iter_mut().zip(beyond).filter(|(_, beyond)| *beyond > 0.0) {
                    range.high -= 1.5 * beyond;
                    range.low = range.low.min(range.high);
                }
            }
        }
        if kept.is_some() {
            return kept;
        }
        limit -= (1.5 * missing).max(ROUNDING) * f64::powi(2.0, attempt);
        start = solved.dual;
    }
    None
}

/// How far each fraction lies beyond what its configuration can take.
fn beyond_capacity(problem: &Problem, best: &Incumbent, fractions: &[f64]) -> Vec<f64> {
    fractions
        .iter()
        .enumerate()
        .map(|(model, w)| w - problem.models[model].candidates[best.candidates[model]].flow.cap() - ROUNDING)
        .collect()
}

fn flags(problem: &Problem, best: &Incumbent) -> Vec<bool> {
    best.candidates
        .iter()
        .enumerate()
        .map(|(model, candidate)| problem.models[model].candidates[*candidate].configuration.is_some())
        .collect()
}

/// Largest `Σ φ − 1` over the rows.
fn excess(problem: &Problem, best: &Incumbent, fractions: &[f64]) -> f64 {
    (0..problem.rows.len())
        .map(|row| row_sum(problem, best, fractions, row) - 1.0)
        .fold(f64::NEG_INFINITY, f64::max)
}

pub(crate) fn row_sum(problem: &Problem, best: &Incumbent, fractions: &[f64], row: usize) -> f64 {
    fractions
        .iter()
        .enumerate()
        .map(|(model, w)| {
            let flow = &problem.models[model].candidates[best.candidates[model]].flow;
            flow.at(row, w.min(flow.cap()))
        })
        .sum()
}

/// Upgrades packed before a round gives up.
const MAX_TRIED: usize = 24;

/// Gives idle GPUs to the running models, each time the configuration that lowers latency most at the fractions found and still fits.
/// Quality cannot suffer: the routing found stays possible.
pub(crate) fn fill_up(problem: &Problem, best: &Incumbent) -> Incumbent {
    let mut filled = best.clone();
    loop {
        let mut upgrades: Vec<(f64, usize, usize)> = (0..problem.models.len())
            .flat_map(|model| upgrades(problem, &filled, model))
            .collect();
        upgrades.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let fitting = upgrades.into_iter().take(MAX_TRIED).find_map(|(_, model, candidate)| {
            let mut candidates = filled.candidates.clone();
            candidates[model] = candidate;
            match pack_setup(problem, &candidates).0 {
                Packing::Placed(placement) => Some((candidates, placement)),
                Packing::Impossible | Packing::Undecided => None,
            }
        });
        let Some((candidates, placement)) = fitting else {
            return filled;
        };
        filled.candidates = candidates;
        filled.placement = placement;
    }
}

/// Configurations of a running model that use more compute and take the same load at lower latency: gain, model and candidate.
fn upgrades(problem: &Problem, best: &Incumbent, model: usize) -> Vec<(f64, usize, usize)> {
    let candidates = &problem.models[model].candidates;
    let now = &candidates[best.candidates[model]];
    let fractions = best
        .fractions
        .chunks(problem.models.len())
        .map(|of_level| of_level[model]);
    let latency = |candidate: &Candidate| -> f64 {
        let levels = problem.weights.iter().zip(fractions.clone()).enumerate();
        let at_level = |(level, (weight, w)): (usize, (&f64, f64))| -> f64 {
            let rows = 0..problem.rows.len();
            rows.map(|row| weight * candidate.flow_at(level).at(row, w)).sum()
        };
        levels.map(at_level).sum()
    };
    let can_take = |candidate: &Candidate| {
        let mut levels = fractions.clone().enumerate();
        levels.all(|(level, w)| candidate.flow_at(level).cap() >= w)
    };
    let used: u32 = best
        .candidates
        .iter()
        .zip(&problem.models)
        .map(|(c, m)| m.candidates[*c].units)
        .sum();
    let idle = problem.all_units() - used;
    candidates
        .iter()
        .enumerate()
        .filter(|(_, other)| now.configuration.is_some() && now.units < other.units && other.units <= now.units + idle)
        .filter(|(_, other)| can_take(other))
        .map(|(index, other)| (latency(now) - latency(other), model, index))
        .filter(|(gain, _, _)| *gain > 0.0)
        .collect()
}
