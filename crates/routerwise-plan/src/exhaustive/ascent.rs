//! Projected gradient ascent on the routing fractions, for a fixed setup and a fixed `β`.

use super::bisect::Solver;
use crate::flow::Flow;

/// Where an ascent ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Summit {
    /// Routing fractions.
    pub fractions: Vec<f64>,
    /// Prices at them.
    pub prices: Vec<f64>,
    /// `Ŝ(w)` by its dual value.
    pub score: f64,
    /// `L(w)` relative to the target.
    pub latency: f64,
}

/// Maximises `Ŝ(w) − β·L(w)` from `start`. A step that does not gain is halved and tried again, one that does makes the next longer.
pub fn climb(solver: &mut Solver<'_>, flows: &[&Flow], caps: &[f64], start: &[f64], row_price: f64) -> Summit {
    let steps = solver.steps;
    let mut best = look(solver, flows, start.to_vec());
    let mut step = steps.fraction_step;
    for _ in 0..steps.max_ascent_steps {
        if step < steps.least_fraction_step {
            break;
        }
        solver.ascent_steps += 1;
        let gradient = best.prices.iter().zip(flows).zip(&best.fractions);
        let wish: Vec<f64> = gradient
            .map(|((price, flow), w)| w + step * (price - row_price * flow.slope(0, *w)))
            .collect();
        let fractions = project(&wish, caps);
        let moved = fractions.iter().zip(&best.fractions).map(|(a, b)| (a - b).abs());
        if moved.fold(0.0, f64::max) < steps.least_fraction_step {
            break;
        }
        let next = look(solver, flows, fractions);
        if next.score - row_price * next.latency > best.score - row_price * best.latency {
            best = next;
            step *= LONGER;
        } else {
            step *= SHORTER;
        }
    }
    best
}

const LONGER: f64 = 1.5;
const SHORTER: f64 = 0.5;

fn look(solver: &mut Solver<'_>, flows: &[&Flow], fractions: Vec<f64>) -> Summit {
    let score = solver.dual.solve(&fractions);
    Summit {
        latency: latency(flows, &fractions),
        prices: solver.dual.prices.clone(),
        score,
        fractions,
    }
}

/// `L(w)` relative to the target.
pub(super) fn latency(flows: &[&Flow], fractions: &[f64]) -> f64 {
    flows.iter().zip(fractions).map(|(flow, w)| flow.at(0, *w)).sum()
}

/// Fractions of least latency: the same ascent without scores, which needs no dual prices.
pub(super) fn least_latency(solver: &mut Solver<'_>, flows: &[&Flow], caps: &[f64]) -> Vec<f64> {
    let steps = solver.steps;
    let total: f64 = caps.iter().sum();
    let mut best: Vec<f64> = caps.iter().map(|cap| cap / total).collect();
    let mut least = latency(flows, &best);
    let mut step = steps.fraction_step;
    for _ in 0..4 * steps.max_ascent_steps {
        if step < steps.least_fraction_step {
            break;
        }
        solver.ascent_steps += 1;
        let slopes = flows.iter().zip(&best).map(|(flow, w)| w - step * flow.slope(0, *w));
        let next = project(&slopes.collect::<Vec<_>>(), caps);
        let now = latency(flows, &next);
        if now < least {
            (best, least) = (next, now);
            step *= LONGER;
        } else {
            step *= SHORTER;
        }
    }
    best
}

/// The nearest point of the simplex with caps (Duchi et al. 2008, where no cap binds): `clamp(v_i − θ, 0, cap_i)` with the one `θ` at
/// which they sum to 1. The caps must allow that.
#[must_use]
pub fn project(wish: &[f64], caps: &[f64]) -> Vec<f64> {
    let sum = |theta: f64| -> f64 { wish.iter().zip(caps).map(|(v, cap)| (v - theta).clamp(0.0, *cap)).sum() };
    // The sum falls in θ and is linear between these.
    let mut corners: Vec<f64> = wish.iter().zip(caps).flat_map(|(v, cap)| [*v, v - cap]).collect();
    corners.sort_by(f64::total_cmp);
    let above = corners.partition_point(|theta| sum(*theta) > 1.0);
    let theta = match (above.checked_sub(1).map(|at| corners[at]), corners.get(above)) {
        (Some(low), Some(&high)) => {
            let (at_low, at_high) = (sum(low), sum(high));
            low + (high - low) * (at_low - 1.0) / (at_low - at_high)
        }
        (_, Some(&only)) | (Some(only), None) => only,
        (None, None) => 0.0,
    };
    wish.iter()
        .zip(caps)
        .map(|(v, cap)| (v - theta).clamp(0.0, *cap))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_point_of_the_capped_simplex_is_nearer(
            wish in prop::collection::vec(-1.0f64..2.0, 4),
            caps in prop::collection::vec(0.3f64..1.0, 4),
            other in prop::collection::vec(0.0f64..1.0, 4),
        ) {
            let found = project(&wish, &caps);
            prop_assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(found.iter().zip(&caps).all(|(w, cap)| 0.0 <= *w && w <= cap));
            let other = project(&other, &caps);
            let distance = |w: &[f64]| -> f64 { w.iter().zip(&wish).map(|(w, v)| (w - v).powi(2)).sum() };
            prop_assert!(distance(&found) <= distance(&other) + 1e-9);
        }
    }
}
