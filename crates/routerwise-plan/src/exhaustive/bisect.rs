//! Bisection on `β`, the price of latency, for one setup.

use routerwise_types::answer::setups::ExhaustiveSteps as Steps;

use super::ascent::{Summit, climb, latency, least_latency};
use super::dual::Dual;
use crate::flow::Flow;
use crate::problem::Problem;

/// What is carried from setup to setup, and what it cost so far.
#[derive(Clone, Debug)]
pub struct Solver<'a> {
    problem: &'a Problem,
    pub(super) steps: &'a Steps,
    /// Dual prices.
    pub dual: Dual<'a>,
    /// Values of `β` so far.
    pub bisections: u64,
    /// Steps of the fractions so far.
    pub ascent_steps: u64,
}

impl<'a> Solver<'a> {
    /// A solver that has done nothing yet.
    #[must_use]
    pub fn new(problem: &'a Problem, steps: &'a Steps) -> Self {
        Self {
            problem,
            steps,
            dual: Dual::new(problem.table(), steps),
            bisections: 0,
            ascent_steps: 0,
        }
    }
}

/// The best fractions found that meet the objective.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Routing fractions.
    pub fractions: Vec<f64>,
    /// Dual price of each model.
    pub prices: Vec<f64>,
    /// `β`.
    pub row_price: f64,
    /// Dual value `g(α)`.
    pub score: f64,
    /// Objective relative to its limit.
    pub latency: f64,
}

/// `β` beyond which latency is all that counts: scores are at most 1.
const MOST_ROW_PRICE: f64 = 1e4;
const FIRST_ROW_PRICE: f64 = 0.05;

/// Best fractions of one setup; nothing where none were found that meet the objective.
pub fn best_at_target(solver: &mut Solver<'_>, candidates: &[usize]) -> Option<Point> {
    let models = &solver.problem.models;
    let chosen = models.iter().zip(candidates);
    let flows: Vec<&Flow> = chosen.map(|(model, c)| &model.candidates[*c].flow).collect();
    let caps: Vec<f64> = flows.iter().map(|flow| flow.cap()).collect();
    if caps.iter().sum::<f64>() < 1.0 {
        return None;
    }
    let fastest = least_latency(solver, &flows, &caps);
    if latency(&flows, &fastest) > 1.0 {
        return None;
    }
    let mut try_price = |row_price: f64, start: &[f64]| {
        solver.bisections += 1;
        climb(solver, &flows, &caps, start, row_price)
    };
    let unpriced = try_price(0.0, &fastest);
    if unpriced.latency <= 1.0 {
        return Some(point(unpriced, 0.0));
    }
    let (mut low, mut start) = (0.0, unpriced.fractions);
    let mut high = FIRST_ROW_PRICE;
    let mut best = loop {
        let summit = try_price(high, &start);
        if summit.latency <= 1.0 {
            break summit;
        }
        start = summit.fractions;
        low = high;
        high *= 4.0;
        if high > MOST_ROW_PRICE {
            // The objective only just holds where latency is least: those fractions are the answer.
            break try_price(high, &fastest);
        }
    };
    if best.latency > 1.0 {
        return None;
    }
    let mut found = high;
    for _ in 0..solver.steps.max_bisections {
        if best.latency >= 1.0 - solver.steps.target_tolerance {
            break;
        }
        solver.bisections += 1;
        let middle = 0.5 * (low + high);
        let summit = climb(solver, &flows, &caps, &best.fractions, middle);
        if summit.latency <= 1.0 {
            high = middle;
            if summit.score >= best.score {
                (best, found) = (summit, middle);
            }
        } else {
            low = middle;
        }
        if high - low < 1e-4 * high {
            break;
        }
    }
    Some(point(best, found))
}

/// Prices are the same to everybody when all rise alike: the lowest becomes 0.
fn point(mut summit: Summit, row_price: f64) -> Point {
    let lowest = summit.prices.iter().copied().fold(f64::INFINITY, f64::min);
    summit.prices.iter_mut().for_each(|price| *price -= lowest);
    Point {
        fractions: summit.fractions,
        prices: summit.prices,
        row_price,
        score: summit.score,
        latency: summit.latency,
    }
}
