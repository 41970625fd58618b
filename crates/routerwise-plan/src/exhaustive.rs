//! The paper's search as published (arXiv 2604.10907), to compare with: every retained setup is solved, none is bounded.
//!
//! 1. For fixed setup and `β`: projected gradient ascent on the routing fractions ([`ascent`]), with the gradient `α − β ∇L(w)`.
//!    Its `α` are the subgradient dual prices of the fractions ([`dual`]), solved anew at every step.
//! 2. Bisection on `β` until the latency objective is just met ([`bisect`]).
//! 3. All setups with every model on, one replica each, total compute between the floor and the whole cluster, whose shards
//!    first-fit decreasing places by memory, no two of one model on a GPU ([`first_fit`]). The best score wins.
//!
//! The paper leaves step sizes and stopping rules open; ours are [`USUAL`]. What it does not say and we had to decide: fractions
//! end where curves end (a capped simplex), and prices are carried from setup to setup as a warm start, which only helps it. It uses the
//! same fast score kernel as the joint search.

pub mod ascent;
pub mod bisect;
pub mod dual;
pub mod first_fit;

use routerwise_types::answer::setups::{ExhaustiveCounts as Counts, ExhaustiveSteps as Steps};

use crate::flow::Interval;
use crate::packing::Packing;
use crate::prices::{Responses, Until};
use crate::problem::Problem;
use crate::search::fit::pack_long;
use crate::search::{Tightening, solve_candidates};
use crate::space::{Packer, setups};
use bisect::{Solver, best_at_target};

/// Step sizes and limits that `routerwise plan --search exhaustive` uses.
pub const USUAL: Steps = Steps {
    price_step: 0.5,
    warm_price_step: 0.2,
    max_price_steps: 400,
    max_warm_price_steps: 60,
    max_mismatch: 1e-3,
    fraction_step: 0.1,
    least_fraction_step: 1e-5,
    max_ascent_steps: 100,
    max_bisections: 30,
    target_tolerance: 1e-3,
};

/// What the search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Exhausted {
    /// The setup with the best score, if any meets the objective.
    pub best: Option<Best>,
    /// The best of those that fit on the GPUs, shares and memory together: what could really be run.
    pub best_that_fits: Option<Best>,
    /// How much work it was.
    pub counts: Counts,
}

/// The winner.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// Candidate index per model.
    pub candidates: Vec<usize>,
    /// Routing fractions.
    pub fractions: Vec<f64>,
    /// Dual price of each model.
    pub prices: Vec<f64>,
    /// `β` in score per whole limit.
    pub row_price: f64,
    /// Score by which setups were compared: the dual value at the prices found.
    pub score: f64,
    /// Best quality at these fractions, by our own solver; nothing where it found no routing with exactly them.
    pub quality: Option<f64>,
    /// Left-hand side of the objective, relative to its limit.
    pub latency: f64,
    /// Whether the setup fits on the GPUs, shares and memory together; the paper's test leaves shares out.
    pub packing: Packing,
}

/// Why a problem is not one that the paper's search solves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInThePaper {
    /// It knows one objective.
    #[error("the paper's search takes exactly one latency objective over the workload, found {0}")]
    Objectives(usize),
}

/// Solves every retained setup. `progress` is told after each how many are done.
///
/// # Errors
/// [`NotInThePaper`] where there is not exactly one objective over the workload.
pub fn exhaust(problem: &Problem, steps: &Steps, progress: &mut dyn FnMut(u64)) -> Result<Exhausted, NotInThePaper> {
    if problem.rows.len() != 1 {
        return Err(NotInThePaper::Objectives(problem.rows.len()));
    }
    let mut solver = Solver::new(problem, steps);
    let mut counts = Counts::default();
    let mut packer = Packer::new(problem);
    let mut best: Option<(Vec<usize>, bisect::Point)> = None;
    let mut best_that_fits: Option<(Vec<usize>, bisect::Point)> = None;
    for candidates in setups(problem) {
        counts.retained_by_compute += 1;
        if !first_fit::places(problem, &candidates) {
            continue;
        }
        counts.tried += 1;
        if let Some(point) = best_at_target(&mut solver, &candidates) {
            counts.feasible += 1;
            let beats = |other: &Option<(_, bisect::Point)>| other.as_ref().is_none_or(|(_, o)| point.score > o.score);
            if beats(&best_that_fits) && packer.places(&candidates).1 {
                best_that_fits = Some((candidates.clone(), point.clone()));
            }
            if beats(&best) {
                best = Some((candidates, point));
            }
        }
        progress(counts.retained_by_compute);
    }
    counts.bisections = solver.bisections;
    counts.ascent_steps = solver.ascent_steps;
    counts.dual_solves = solver.dual.solves;
    counts.evaluations = solver.dual.evaluations;
    Ok(Exhausted {
        best: best.map(|(candidates, point)| finish(problem, candidates, point)),
        best_that_fits: best_that_fits.map(|(candidates, point)| finish(problem, candidates, point)),
        counts,
    })
}

fn finish(problem: &Problem, candidates: Vec<usize>, point: bisect::Point) -> Best {
    Best {
        quality: quality_at(problem, &candidates, &point.fractions),
        packing: pack_long(problem, &candidates).0,
        candidates,
        fractions: point.fractions,
        prices: point.prices,
        row_price: point.row_price,
        score: point.score,
        latency: point.latency,
    }
}

/// Room for rounding about fractions that are given.
const ROUNDING: f64 = 1e-6;

/// `Ŝ(w)` exactly: the best quality with the given fractions.
#[must_use]
pub fn quality_at(problem: &Problem, candidates: &[usize], fractions: &[f64]) -> Option<f64> {
    let ranges: Vec<Interval> = fractions
        .iter()
        .map(|w| Interval {
            low: (w - ROUNDING).max(0.0),
            high: w + ROUNDING,
        })
        .collect();
    let tightening = Tightening {
        limit: 1.0 + 1e-3,
        ..Tightening::NONE
    };
    let until = Until {
        tolerance: problem.tolerance * 0.1,
        cut_off: f64::NEG_INFINITY,
        max_evaluations: 2_000,
    };
    let mut responses = Responses::default();
    let solved = solve_candidates(problem, &mut responses, candidates, &ranges, tightening, None, until);
    solved.mixture.map(|mixture| mixture.quality)
}
