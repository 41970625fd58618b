//! How much the choice of setup matters: the best quality of *every* retained setup, by the joint search's own inner solver.
//!
//! Nothing is bounded away, so this is for spaces that can be listed. Each setup starts from the prices and responses of those before it. Where
//! flows are not convex, fraction ranges are split as in the joint search until the gap is within the tolerance or
//! [`MAX_PARTS`] parts were solved; what is left is stated.

mod summary;

use routerwise_types::comparison::AllocationRule;
use routerwise_types::scenario::Scenario;

use crate::baselines::allocation;
use crate::baselines::tune::priced::shrunk;
use crate::exhaustive::first_fit;
use crate::flow::Interval;
use crate::prices::{Dual, Ending, Mixture, Responses, Until};
use crate::problem::Problem;
use crate::search::{FEASIBILITY, Tightening, solve_candidates};
use crate::space::{Packer, setups};

pub use summary::{LIMITS, edges, spread_of};

/// Parts of the ranges of fractions that are solved for one setup.
pub const MAX_PARTS: usize = 200;
/// Responses that are carried on: many would slow every solve down.
const MOST_RESPONSES: usize = 600;

/// One setup and what can be reached with it.
#[derive(Clone, Debug, PartialEq)]
pub struct SetupQuality {
    /// Candidate index per model.
    pub candidates: Vec<usize>,
    /// Best quality found that meets the objectives, if any.
    pub quality: Option<f64>,
    /// Proven to be no more than this; nothing where it is proven that nothing meets the objectives.
    pub upper_bound: Option<f64>,
    /// Fraction of prompts per model at that quality; empty without one.
    pub fractions: Vec<f64>,
    /// Whether first-fit decreasing places its memory: the paper's test.
    pub first_fit: bool,
    /// Whether it can be placed, memory aside.
    pub placeable: bool,
    /// Whether it can be placed with its memory.
    pub placeable_with_memory: bool,
}

/// Solves every setup retained by total compute. `progress` is told after each how many are done.
pub fn spread(problem: &Problem, progress: &mut dyn FnMut(u64)) -> Vec<SetupQuality> {
    let mut solver = SetupSolver::new(problem);
    let mut packer = Packer::new(problem);
    let mut found = Vec::new();
    for candidates in setups(problem) {
        let reached = solver.solve(&candidates);
        let (placeable, placeable_with_memory) = packer.places(&candidates);
        found.push(SetupQuality {
            first_fit: first_fit::places(problem, &candidates),
            placeable,
            placeable_with_memory,
            quality: reached.quality,
            upper_bound: reached.upper_bound,
            fractions: reached.fractions,
            candidates,
        });
        progress(found.len() as u64);
    }
    found
}

/// What can be reached with the GPUs shared out by a simple rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// The rule.
    pub rule: AllocationRule,
    /// What can be reached; nothing where the rule gives no setup.
    pub reached: Option<Reached>,
    /// How the setup differs from what the rule asks for, or why there is none.
    pub notes: Vec<String>,
}

/// Equal split, split by size, and whole GPUs, each with the best routing for it.
#[must_use]
pub fn baselines(scenario: &Scenario, problem: &Problem) -> Vec<Baseline> {
    let rules = [
        AllocationRule::EqualSplit,
        AllocationRule::SizeProportional,
        AllocationRule::Isolated,
    ];
    rules.map(|rule| baseline(scenario, problem, rule)).into()
}

fn baseline(scenario: &Scenario, problem: &Problem, rule: AllocationRule) -> Baseline {
    match allocation::make(scenario, problem, rule) {
        Ok(allocation) => {
            let fixed = shrunk(problem, &allocation.candidates, std::sync::Arc::clone(problem.table()));
            Baseline {
                rule,
                reached: Some(SetupSolver::new(&fixed).solve(&vec![0; fixed.models.len()])),
                notes: allocation.notes,
            }
        }
        Err(absent) => Baseline {
            rule,
            reached: None,
            notes: vec![absent.why],
        },
    }
}

/// What can be reached with one setup.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reached {
    /// See [`SetupQuality::quality`].
    pub quality: Option<f64>,
    /// See [`SetupQuality::upper_bound`].
    pub upper_bound: Option<f64>,
    /// See [`SetupQuality::fractions`].
    pub fractions: Vec<f64>,
}

/// Solves one setup after another, each from where the last one ended.
#[derive(Clone, Debug)]
pub struct SetupSolver<'a> {
    problem: &'a Problem,
    responses: Responses,
    start: Option<Dual>,
}

/// A part of one setup's fractions that is still to be looked at.
struct Part {
    ranges: Vec<Interval>,
    bound: f64,
}

impl<'a> SetupSolver<'a> {
    /// One that starts from nothing.
    #[must_use]
    pub fn new(problem: &'a Problem) -> Self {
        Self {
            problem,
            responses: Responses::default(),
            start: None,
        }
    }

    /// Best quality of a setup (candidate index per model) that meets the objectives.
    pub fn solve(&mut self, candidates: &[usize]) -> Reached {
        let chosen = self.problem.models.iter().zip(candidates);
        let takes: f64 = chosen.map(|(model, c)| model.candidates[*c].flow.cap()).sum();
        if takes < 1.0 {
            return Reached::default();
        }
        let mut reached = Reached::default();
        let mut open = vec![Part {
            ranges: vec![Interval::ALL; candidates.len()],
            bound: f64::INFINITY,
        }];
        for _ in 0..MAX_PARTS {
            let highest = (0..open.len()).max_by(|a, b| open[*a].bound.total_cmp(&open[*b].bound));
            let worth = |part: &Part| {
                reached
                    .quality
                    .is_none_or(|best| part.bound > best + self.problem.tolerance)
            };
            let Some(at) = highest.filter(|at| worth(&open[*at])) else {
                break;
            };
            let part = open.swap_remove(at);
            open.extend(self.look(candidates, &part, &mut reached));
        }
        let open = open.iter().map(|part| part.bound);
        reached.upper_bound = open.chain(reached.upper_bound).chain(reached.quality).reduce(f64::max);
        self.forget();
        reached
    }

    /// Solves a part: notes a routing or its bound, and returns what it has to be split into.
    fn look(&mut self, candidates: &[usize], part: &Part, reached: &mut Reached) -> Vec<Part> {
        let until = Until {
            tolerance: self.problem.tolerance * 0.25,
            cut_off: f64::NEG_INFINITY,
            max_evaluations: 3_000,
        };
        let solved = solve_candidates(
            self.problem,
            &mut self.responses,
            candidates,
            &part.ranges,
            Tightening::NONE,
            self.start.as_ref(),
            until,
        );
        if solved.ending == Ending::Infeasible {
            return Vec::new();
        }
        let bound = part.bound.min(solved.dual.bound);
        self.start = Some(solved.dual);
        let met = solved.mixture.as_ref().filter(|mixture| mixture.excess <= FEASIBILITY);
        if let Some(mixture) = met
            && reached.quality.is_none_or(|best| mixture.quality > best)
        {
            reached.quality = Some(mixture.quality);
            reached.fractions.clone_from(&mixture.fractions);
        }
        let halves = match &solved.mixture {
            Some(mixture) if met.is_none() => self.halves(candidates, part, mixture, bound),
            _ => Vec::new(),
        };
        if halves.is_empty() {
            reached.upper_bound = Some(reached.upper_bound.map_or(bound, |upper| upper.max(bound)));
        }
        halves
    }

    /// Splits the range that hides most of a flow's lack of convexity; nothing where it is too narrow already.
    fn halves(&self, candidates: &[usize], part: &Part, mixture: &Mixture, bound: f64) -> Vec<Part> {
        let hidden = &mixture.hidden;
        let Some(model) = (0..hidden.len()).max_by(|a, b| hidden[*a].total_cmp(&hidden[*b])) else {
            return Vec::new();
        };
        let range = part.ranges[model];
        let cap = self.problem.models[model].candidates[candidates[model]].flow.cap();
        let high = range.high.min(cap);
        let width = high - range.low;
        if width < NARROWEST {
            return Vec::new();
        }
        let at = mixture.fractions[model].clamp(range.low + 0.02 * width, high - 0.02 * width);
        let half = |low: f64, high: f64| {
            let mut ranges = part.ranges.clone();
            ranges[model] = Interval { low, high };
            Part { ranges, bound }
        };
        vec![half(range.low, at), half(at, range.high)]
    }

    /// Keeps the latest responses.
    fn forget(&mut self) {
        let n = self.responses.list.len();
        if n > 2 * MOST_RESPONSES {
            self.responses.list.drain(..n - MOST_RESPONSES);
        }
    }
}

const NARROWEST: f64 = 1e-7;
