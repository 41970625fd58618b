//! Proof for one whole setup after splitting its fractions.
//!
//! Where a flow is not convex, no single dual point need be tight for the setup as a whole. Confining the fractions to boxes
//! `low_i ≤ w_i ≤ high_i` lowers every `H_i`, and each box may be proven by a point of its own, or be empty.

use super::points::Point;
use super::space::Choice;

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
    let start = choices.iter().map(|choice| (0.0, choice.flow.cap())).collect();
    let mut left = MAX_BOXES;
    let mut stack: Vec<Vec<(f64, f64)>> = vec![start];
    while let Some(ranges) = stack.pop() {
        if left == 0 {
            return Verdict::OutOfWork;
        }
        left -= 1;
        *work += (points.len() * choices.len()) as u64;
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

fn bound(choices: &[&Choice], point: &Point, ranges: &[(f64, f64)]) -> f64 {
    let parts = choices.iter().zip(&point.prices).zip(ranges);
    let worth = parts.map(|((choice, price), (low, high))| choice.flow.worth(*price, &point.row_prices, *low, *high));
    point.base + worth.sum::<f64>()
}

/// Drops what cannot be: fractions sum to 1, and every row holds. Nothing when nothing is left.
fn tighten(choices: &[&Choice], mut ranges: Vec<(f64, f64)>) -> Option<Vec<(f64, f64)>> {
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
    let n_rows = choices.first().map_or(0, |choice| choice.flow.n_rows());
    let breaks_row = (0..n_rows).any(|row| {
        let least = choices
            .iter()
            .zip(&ranges)
            .map(|(choice, range)| choice.flow.of_row(row, range.0));
        least.sum::<f64>() > 1.0 + 1e-9
    });
    (!breaks_row).then_some(ranges)
}

/// Which model's range to split, and where: at the worst kink, else the middle of the widest.
fn split(choices: &[&Choice], point: &Point, ranges: &[(f64, f64)]) -> Option<(usize, f64)> {
    let kinks = choices
        .iter()
        .zip(ranges)
        .enumerate()
        .filter_map(|(model, (choice, (low, high)))| {
            let (at, gap) = choice.flow.worst_kink(&point.row_prices, *low, *high)?;
            Some((model, at, gap))
        });
    if let Some((model, at, _)) = kinks.max_by(|a, b| a.2.total_cmp(&b.2)) {
        return Some((model, at));
    }
    let widths = ranges.iter().map(|(low, high)| high - low).enumerate();
    let (model, width) = widths.max_by(|a, b| a.1.total_cmp(&b.1))?;
    (width > NARROWEST).then(|| (model, 0.5 * (ranges[model].0 + ranges[model].1)))
}
