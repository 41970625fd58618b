//! Proof for one whole setup after splitting its fractions.
//!
//! Where a flow is not convex, no single dual point need be tight for the setup as a whole. Confining the fractions to boxes
//! `low_i ≤ w_i ≤ high_i` lowers every `H_i`, and each box may be proven by a point of its own, or be empty. With its setup fixed every
//! load level is a problem of its own, so each has its own boxes and the bound is the weighted sum of the levels' highest. Where several routes share
//! the models, boxes confine the load of all.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::points::Point;
use super::shared::Sharing;
use super::space::{Choice, Flow};

pub(super) enum Verdict {
    Proven,
    /// Not proven even where nothing is left to split; the bound there.
    Open(f64),
    OutOfWork,
}

/// Boxes narrower than this are points.
const NARROWEST: f64 = 1e-9;
/// Boxes of one setup.
const MAX_BOXES: u64 = 400_000;

pub(super) fn prove(
    choices: &[&Choice],
    points: &[Point],
    sharing: &Sharing,
    weights: &[f64],
    limit: f64,
    work: &mut u64,
) -> Verdict {
    let mut levels: Vec<Level<'_>> = Vec::with_capacity(weights.len());
    for (level, weight) in weights.iter().enumerate() {
        let mut level = Level {
            level,
            weight: *weight,
            flows: choices.iter().map(|choice| &choice.flows[level]).collect(),
            points,
            sharing,
            open: BinaryHeap::new(),
        };
        level.push(level.flows.iter().map(|flow| (0.0, flow.cap())).collect(), work);
        levels.push(level);
    }
    for _ in 0..MAX_BOXES {
        // A level without a box has no routing, and neither has the setup.
        let Some(highest) = levels.iter().map(Level::highest).sum::<Option<f64>>() else {
            return Verdict::Proven;
        };
        if highest <= limit {
            return Verdict::Proven;
        }
        let splits = levels
            .iter()
            .enumerate()
            .filter_map(|(at, level)| Some((at, level.split()?)));
        let Some((at, split)) = splits.max_by(|a, b| a.1.gain.total_cmp(&b.1.gain)) else {
            return Verdict::Open(highest);
        };
        levels[at].halve(&split, work);
    }
    Verdict::OutOfWork
}

/// One load level of a setup.
struct Level<'a> {
    level: usize,
    weight: f64,
    flows: Vec<&'a Flow>,
    points: &'a [Point],
    sharing: &'a Sharing,
    /// Boxes that together hold every routing, highest bound first.
    open: BinaryHeap<Open>,
}

/// Fractions confined to ranges, one for each model.
#[derive(PartialEq)]
struct Open {
    bound: f64,
    /// The point that proves it.
    point: usize,
    ranges: Vec<(f64, f64)>,
}

impl Eq for Open {}
impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bound.total_cmp(&other.bound)
    }
}

/// Which range to split, where, and what it may gain.
struct Split {
    model: usize,
    at: f64,
    gain: f64,
}

impl Level<'_> {
    /// What the level adds to the bound; nothing when no box is left.
    fn highest(&self) -> Option<f64> {
        self.open.peek().map(|open| self.weight * open.bound)
    }

    /// Adds a box with its bound, unless it is empty.
    fn push(&mut self, ranges: Vec<(f64, f64)>, work: &mut u64) {
        *work += (self.points.len() * ranges.len()) as u64;
        let Some(within) = self.tighten(ranges.clone()) else {
            return;
        };
        let bounds = self
            .points
            .iter()
            .map(|point| self.bound(point, &ranges, &within))
            .enumerate();
        let least = bounds.min_by(|a, b| a.1.total_cmp(&b.1));
        let (point, bound) = least.unwrap_or((0, f64::INFINITY));
        // Of shared models the boxes themselves are halved, so that the planner's are met again.
        let ranges = if self.is_shared() { ranges } else { within };
        self.open.push(Open { bound, point, ranges });
    }

    fn bound(&self, point: &Point, whole: &[(f64, f64)], within: &[(f64, f64)]) -> f64 {
        let n_routes = self.sharing.n_routes();
        let prices = &point.policies[self.level * n_routes..][..n_routes];
        let worth = self.flows.iter().zip(within.iter().zip(whole)).enumerate();
        let worth =
            worth.map(|(model, (flow, (range, whole)))| self.sharing.worth(flow, prices, model, *range, *whole));
        point.bases[self.level] + worth.sum::<f64>()
    }

    fn is_shared(&self) -> bool {
        self.sharing.n_routes() > 1
    }

    /// Drops what cannot be: fractions sum to 1, and every row holds. Nothing when nothing is left.
    fn tighten(&self, mut ranges: Vec<(f64, f64)>) -> Option<Vec<(f64, f64)>> {
        const ROUNDING: f64 = 1e-10;
        let low: f64 = ranges.iter().map(|range| range.0).sum();
        let high: f64 = ranges.iter().map(|range| range.1).sum();
        if low > 1.0 + ROUNDING || high < 1.0 - ROUNDING {
            return None;
        }
        for range in &mut ranges {
            let (least, most) = (1.0 - (high - range.1) - ROUNDING, 1.0 - (low - range.0) + ROUNDING);
            *range = (range.0.max(least), range.1.min(most));
        }
        if self.is_shared() {
            let possible = ranges.iter().all(|range| range.0 <= range.1);
            return possible.then_some(ranges);
        }
        let n_rows = self.flows.first().map_or(0, |flow| flow.n_rows());
        let breaks_row = (0..n_rows).any(|row| {
            let pairs = self.flows.iter().zip(&ranges);
            let least: f64 = pairs.map(|(flow, range)| flow.of_row(row, range.0)).sum();
            least > 1.0 + 1e-9
        });
        (!breaks_row).then_some(ranges)
    }

    /// How to split the highest box: at the worst kink, else the middle of the widest range.
    fn split(&self) -> Option<Split> {
        let open = self.open.peek()?;
        if self.is_shared() {
            return self.split_shared(open);
        }
        let slo_prices = &self.points.get(open.point)?.policies[self.level].slo_prices;
        let ranges = self.flows.iter().zip(&open.ranges).enumerate();
        let kinks = ranges.filter_map(|(model, (flow, (low, high)))| {
            let (at, gap) = flow.worst_kink(slo_prices, *low, *high)?;
            Some(Split {
                model,
                at,
                gain: self.weight * gap,
            })
        });
        if let Some(worst) = kinks.max_by(|a, b| a.gain.total_cmp(&b.gain)) {
            return Some(worst);
        }
        let widths = open.ranges.iter().map(|(low, high)| high - low).enumerate();
        let (model, width) = widths.max_by(|a, b| a.1.total_cmp(&b.1))?;
        (width > NARROWEST).then(|| Split {
            model,
            at: 0.5 * (open.ranges[model].0 + open.ranges[model].1),
            // No kink is worth less.
            gain: 1e-15 * width,
        })
    }

    /// How to split a box of shared models: where waits differ most across it, times its width; in the middle, or where a route may no
    /// longer use the model. Looks at the curves alone.
    fn split_shared(&self, open: &Open) -> Option<Split> {
        const SMALLEST: f64 = 1e-10;
        const EQUAL: f64 = 1e-9;
        let mut best: Option<Split> = None;
        for (model, (flow, (low, high))) in self.flows.iter().zip(&open.ranges).enumerate() {
            let high = high.min(flow.cap());
            let rows = 0..flow.n_rows();
            let rise: f64 = rows.map(|row| flow.value(row, high) - flow.value(row, *low)).sum();
            let reaches = (0..self.sharing.n_routes()).map(|route| flow.reach(route));
            let inside: Vec<f64> = reaches.filter(|reach| low < reach && *reach < high).collect();
            let measure = (high - low) * (rise + inside.len() as f64);
            if measure > best.as_ref().map_or(SMALLEST, |best| best.gain * (1.0 + EQUAL)) {
                let at = inside.iter().copied().reduce(f64::min).unwrap_or(0.5 * (low + high));
                best = Some(Split {
                    model,
                    at,
                    gain: measure,
                });
            }
        }
        best
    }

    fn halve(&mut self, split: &Split, work: &mut u64) {
        let Some(open) = self.open.pop() else { return };
        let (low, high) = open.ranges[split.model];
        for half in [(low, split.at), (split.at, high)] {
            let mut ranges = open.ranges.clone();
            ranges[split.model] = half;
            self.push(ranges, work);
        }
    }
}
