//! Deciding one setup whose models are shared by several routes.
//!
//! A route's wait is `Σ_i w_ir·ℓ_i(L_i)` with the load `L_i` of all routes on the model: a product of two unknowns, so no mixture of points is a
//! point, and the relaxation may let one route come while a model is idle and another while it is busy. Three things make it exact as
//! far as there is time:
//!
//! - With the loads fixed everything is linear. Whatever keeps to the rows with every model *held* at a load keeps to them in truth, as long
//!   as no more comes. So a mixture's loads give a routing that exists, and steps within a shrinking region around it a better one.
//! - Confining loads to a box brings the relaxation near to the truth: its error shrinks with the square of the box's width. Boxes are halved
//!   where waits differ most across them, by a rule that looks at the curves alone, so that a checker can walk the same boxes.
//! - Loads of all models sum to 1, which confines each by the others.

use routerwise_types::setup::Placement;

use super::bound::PricePoint;
use super::decide::FEASIBILITY;
use super::{Incumbent, MAX_EVALUATIONS_PER_SOLVE, Node, Search, Split, Tightening, solve_candidates};
use crate::flow::Interval;
use crate::prices::{Dual, Ending, Mixture, Solved, Until};
use crate::problem::Problem;

/// Steps towards better loads from one mixture.
const MAX_STEPS: u32 = 10;
/// How far a step may move a load at first, and below which it is not worth one.
const FIRST_RADIUS: f64 = 0.1;
const LAST_RADIUS: f64 = 1e-4;
/// A held setup is solved, and steps are taken, within a little less than the limits, so that rounding has room.
const HELD_LIMIT: f64 = 1.0 - 3e-7;
const STEP_LIMIT: f64 = 1.0 - 6e-7;
/// Room for rounding above a load that is held.
const ROOM: f64 = 1e-9;
/// Loads that sum to 1 within this do: less, and a solve would take what is missing for prompts without an answer.
const WHOLE: f64 = 1e-12;
/// A box across which waits differ by less than this is a point.
const NARROWEST: f64 = 1e-10;
/// Measures of boxes that differ by less than this, relative, count as equal.
const EQUAL: f64 = 1e-9;

impl Search<'_> {
    /// Takes what a solved setup within a box of loads says: a better routing, a closed bound, or two halves to look at.
    pub(super) fn conclude_shared(&mut self, node: Node, candidates: &[usize], solved: Solved) {
        let Some(split) = node.split.clone() else { return };
        let mixture = match (solved.ending, solved.mixture) {
            (Ending::Infeasible | Ending::CutOff, _) | (_, None) => {
                return self.close(&node);
            }
            (_, Some(mixture)) => mixture,
        };
        if node.bound > self.cut_off() {
            self.climb_loads(candidates, &split, &mixture, &solved.dual);
        }
        if node.bound <= self.cut_off() || mixture.excess <= FEASIBILITY {
            return self.close(&node);
        }
        let Some((at, half)) = self.cut(candidates, &split.ranges) else {
            return self.close(&node);
        };
        let range = split.ranges[at];
        let halves = [Interval { high: half, ..range }, Interval { low: half, ..range }];
        for half in halves {
            let mut child = node.clone();
            let mut ranges = split.ranges.clone();
            ranges[at] = half;
            child.split = Some(Box::new(Split {
                ranges,
                placement: split.placement.clone(),
            }));
            child.seen = 0;
            self.tighten(&mut child);
            self.push_if_open(child);
        }
    }

    /// What a solve within a box proves of it, without a place among the points that bound all setups: it says little of others.
    pub(super) fn note(&mut self, node: &mut Node, dual: &Dual) {
        let point = PricePoint::of_a_box(self.problem, &self.refined(dual));
        if let Some(split) = &node.split {
            let bound = point.bound_within(self.problem, &self.order, &node.choice, &split.ranges);
            node.bound = node.bound.min(bound);
        }
        self.retired.push(point);
    }

    /// Looks for the best routing near a mixture's loads.
    fn climb_loads(&mut self, candidates: &[usize], split: &Split, mixture: &Mixture, dual: &Dual) {
        let n_models = candidates.len();
        let traffic = &self.problem.traffic;
        let mut centre = traffic.loads(&mixture.fractions, n_models);
        let is_whole = split.ranges == self.problem.all_ranges();
        let mut improved = self.hold(candidates, &split.placement, &centre, dual);
        if !improved && !is_whole && self.best.is_some() {
            return;
        }
        let mut start = dual.clone();
        let mut radius = FIRST_RADIUS;
        for _ in 0..MAX_STEPS {
            if radius < LAST_RADIUS || self.is_spent() {
                return;
            }
            let near = |(load, range): (&f64, &Interval)| Interval {
                low: (load - radius).max(range.low),
                high: (load + radius).min(range.high),
            };
            let ranges: Vec<Interval> = centre.iter().zip(&split.ranges).map(near).collect();
            let Some(ranges) = confined(self.problem, candidates, &ranges) else {
                return;
            };
            let tightening = Tightening {
                limit: STEP_LIMIT,
                slack_reward: 0.0,
            };
            let solved = self.solve_here(self.problem, candidates, &ranges, tightening, &start);
            let (Some(mixture), Ending::Converged | Ending::Unfinished) = (solved.mixture, solved.ending) else {
                return;
            };
            let loads = traffic.loads(&mixture.fractions, n_models);
            start = solved.dual;
            let better = self.hold(candidates, &split.placement, &loads, &start);
            improved |= better;
            // Before anything keeps to the rows, a mixture of a smaller box is nearer to what does.
            if better || !improved {
                centre = loads;
            }
            if !better {
                radius *= 0.3;
            }
        }
    }

    /// Solves a setup with its models held at some loads; whether that is the best routing so far.
    fn hold(&mut self, candidates: &[usize], placement: &Placement, loads: &[f64], start: &Dual) -> bool {
        let loads = self.room_for(candidates, loads);
        let held = self.problem.held_at(candidates, &loads);
        let first = vec![0; candidates.len()];
        let tightening = Tightening {
            limit: HELD_LIMIT,
            slack_reward: 0.0,
        };
        let solved = self.solve_here(&held, &first, &self.problem.all_ranges(), tightening, start);
        let Some(mixture) = solved.mixture.filter(|_| solved.ending != Ending::CutOff) else {
            return false;
        };
        let better = self.quality().is_none_or(|quality| mixture.quality > quality);
        // Held flows are linear: what is mixed is what is.
        if !better || mixture.excess > 1.0 - HELD_LIMIT {
            return false;
        }
        self.best = Some(Incumbent {
            candidates: candidates.to_vec(),
            ranges: self.problem.all_ranges(),
            placement: placement.clone(),
            quality: mixture.quality,
            fractions: mixture.fractions,
            loads,
            dual: solved.dual,
        });
        self.tell();
        true
    }

    /// A solve that is of use only if it beats the best routing so far.
    fn solve_here(
        &mut self,
        problem: &Problem,
        candidates: &[usize],
        ranges: &[Interval],
        tightening: Tightening,
        start: &Dual,
    ) -> Solved {
        let until = Until {
            tolerance: self.problem.tolerance * 0.1,
            cut_off: self.quality().or(self.reached).unwrap_or(-1e-9),
            max_evaluations: MAX_EVALUATIONS_PER_SOLVE,
        };
        let before = self.responses.work;
        let solved = solve_candidates(
            problem,
            &mut self.responses,
            candidates,
            ranges,
            tightening,
            Some(start),
            until,
        );
        self.spend(self.responses.work - before);
        self.counts.solved += 1;
        solved
    }

    /// Loads to hold models at: a little more than the given ones, but not so much more that a route may no longer use the model.
    fn room_for(&self, candidates: &[usize], loads: &[f64]) -> Vec<f64> {
        let n_models = candidates.len();
        let of = |(at, load): (usize, &f64)| {
            let flow = self.problem.models[at % n_models].candidates[candidates[at % n_models]].flow_at(at / n_models);
            let reaches = (0..self.problem.traffic.n_routes()).map(|route| flow.reach(route));
            let next = reaches
                .filter(|reach| *reach >= load - ROOM)
                .fold(f64::INFINITY, f64::min);
            (load + ROOM).min(next)
        };
        loads.iter().enumerate().map(of).collect()
    }

    /// Where to halve a box of loads: at the model (of any level) across whose range waits differ most, times its width. In the middle, or
    /// where a route may no longer use the model.
    fn cut(&self, candidates: &[usize], ranges: &[Interval]) -> Option<(usize, f64)> {
        let n_models = candidates.len();
        let mut best: Option<(f64, usize, f64)> = None;
        for (at, range) in ranges.iter().enumerate() {
            let flow = self.problem.models[at % n_models].candidates[candidates[at % n_models]].flow_at(at / n_models);
            let (low, high) = (range.low, range.high.min(flow.cap()));
            let rows = 0..self.problem.traffic.n_rows();
            let rise: f64 = rows.map(|row| flow.latency(row, high) - flow.latency(row, low)).sum();
            let routes = 0..self.problem.traffic.n_routes();
            let reaches = routes.map(|route| flow.reach(route));
            let inside: Vec<f64> = reaches.filter(|reach| low < *reach && *reach < high).collect();
            let measure = (high - low) * (rise + inside.len() as f64);
            if measure > best.map_or(NARROWEST, |(most, ..)| most * (1.0 + EQUAL)) {
                let half = inside.iter().copied().reduce(f64::min).unwrap_or(0.5 * (low + high));
                best = Some((measure, at, half));
            }
        }
        best.map(|(_, at, half)| (at, half))
    }
}

/// A box of loads without what cannot be: no load beyond capacity, and at each level they sum to 1. Nothing where nothing is left.
pub(super) fn confined(problem: &Problem, candidates: &[usize], ranges: &[Interval]) -> Option<Vec<Interval>> {
    let n_models = candidates.len();
    let mut kept = Vec::with_capacity(ranges.len());
    for (level, ranges) in ranges.chunks(n_models).enumerate() {
        let flow = |model: usize| problem.models[model].candidates[candidates[model]].flow_at(level);
        let high = |model: usize| ranges[model].high.min(flow(model).cap());
        let (least, most): (f64, f64) = (
            ranges.iter().map(|range| range.low).sum(),
            (0..n_models).map(high).sum(),
        );
        if least > 1.0 + WHOLE || most < 1.0 - WHOLE {
            return None;
        }
        for (model, range) in ranges.iter().enumerate() {
            let low = range.low.max(1.0 - (most - high(model)) - WHOLE);
            let high = high(model).min(1.0 - (least - range.low) + WHOLE);
            if low > high {
                return None;
            }
            kept.push(Interval { low, high });
        }
    }
    Some(kept)
}
