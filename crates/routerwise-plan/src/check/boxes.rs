//! Proof for one whole setup after splitting its fractions.
//!
//! Where a flow is not convex, no single dual point need be tight for the setup as a whole. Confining the fractions to boxes
//! `low_i ≤ w_i ≤ high_i` lowers every `H_i`, and each box may be proven by a point of its own, or be empty.

use super::points::Point;
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

pub(super) fn prove(choices: &[&Choice], points: &[Point], limit: f64, work: &mut u64) -> Verdict {
    let start = flows(choices).map(|flow| (0.0, flow.cap())).collect();
    let mut left = MAX_BOXES;
    let mut stack: Vec<Vec<(f64, f64)>> = vec![start];
    while let Some(ranges) = stack.pop() {
        if left == 0 {
            return Verdict::OutOfWork;
        }
        left -= 1;
        *work += (points.len() * ranges.len()) as u64;
        let Some(ranges) = tighten(choices, ranges) else {
            continue;
        };
        let bounds = points.iter().map(|point| (bound(choices, point, &ranges), point));
        let Some((least, point)) = bounds.min_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Verdict::Open(f64::INFINITY);
        };
        if least <= limit {
            continue;
        }
        let Some((model, at)) = split(choices, point, &ranges) else {
            return Verdict::Open(least);
        };
        let half = |low: f64, high: f64| {
            let mut half = ranges.clone();
            half[model] = (low, high);
            half
        };
        let (low, high) = ranges[model];
        let mut halves = [half(low, at), half(at, high)];
        // The worse half last, so that it is looked at first: what cannot be proven shows up soon.
        let worst = |half: &Vec<(f64, f64)>| {
            points
                .iter()
                .map(|p| bound(choices, p, half))
                .fold(f64::INFINITY, f64::min)
        };
        halves.sort_by(|a, b| worst(a).total_cmp(&worst(b)));
        stack.extend(halves);
    }
    Verdict::Proven
}

/// All flows, level by level; ranges are kept in the same order.
fn flows<'a>(choices: &'a [&'a Choice]) -> impl Iterator<Item = &'a Flow> {
    let n_levels = choices.first().map_or(0, |choice| choice.flows.len());
    (0..n_levels).flat_map(move |level| choices.iter().map(move |choice| &choice.flows[level]))
}

fn bound(choices: &[&Choice], point: &Point, ranges: &[(f64, f64)]) -> f64 {
    let n = choices.len();
    let worth = flows(choices).zip(ranges).enumerate().map(|(at, (flow, (low, high)))| {
        let (level, model) = (at / n, at % n);
        let prices = &point.levels[level];
        point.weights[level] * flow.worth(prices.prices[model], &prices.slo_prices, *low, *high)
    });
    point.base + worth.sum::<f64>()
}

/// Drops what cannot be: at each level fractions sum to 1, and every row holds. Nothing when nothing is left.
fn tighten(choices: &[&Choice], mut ranges: Vec<(f64, f64)>) -> Option<Vec<(f64, f64)>> {
    const ROUNDING: f64 = 1e-10;
    let n = choices.len();
    for (level, ranges) in ranges.chunks_mut(n).enumerate() {
        let low: f64 = ranges.iter().map(|range| range.0).sum();
        let high: f64 = ranges.iter().map(|range| range.1).sum();
        if low > 1.0 + ROUNDING || high < 1.0 - ROUNDING {
            return None;
        }
        for range in ranges.iter_mut() {
            let (least, most) = (1.0 - (high - range.1) - ROUNDING, 1.0 - (low - range.0) + ROUNDING);
            *range = (range.0.max(least), range.1.min(most));
        }
        let n_rows = choices.first().map_or(0, |choice| choice.flows[level].n_rows());
        let breaks_row = (0..n_rows).any(|row| {
            let pairs = choices.iter().zip(ranges.iter());
            let least: f64 = pairs
                .map(|(choice, range)| choice.flows[level].of_row(row, range.0))
                .sum();
            least > 1.0 + 1e-9
        });
        if breaks_row {
            return None;
        }
    }
    Some(ranges)
}

/// Which range to split, and where: at the worst kink, else the middle of the widest.
fn split(choices: &[&Choice], point: &Point, ranges: &[(f64, f64)]) -> Option<(usize, f64)> {
    let n = choices.len();
    let kinks = flows(choices)
        .zip(ranges)
        .enumerate()
        .filter_map(|(at, (flow, (low, high)))| {
            let level = at / n;
            let (w, gap) = flow.worst_kink(&point.levels[level].slo_prices, *low, *high)?;
            Some((at, w, point.weights[level] * gap))
        });
    if let Some((at, w, _)) = kinks.max_by(|a, b| a.2.total_cmp(&b.2)) {
        return Some((at, w));
    }
    let widths = ranges.iter().map(|(low, high)| high - low).enumerate();
    let (at, width) = widths.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (width > NARROWEST).then(|| (at, 0.5 * (ranges[at].0 + ranges[at].1)))
}
