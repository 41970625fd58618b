//! The best offer of a model over many configurations, without looking at each: replicas share their curve.
//!
//! With `r` replicas `φ_r(w) = w·ℓ(λ·w/r) = r·φ_1(w/r)`, so while `r·v ≤ 1` for the best fraction `v` of one replica
//! `H_r = r·H_1`, and whatever is linear in `r` is highest at one end. Beyond that a model could take all prompts; there `H_r`
//! is still rising, so the last one bounds the rest and most need no look.

use super::{Dual, Offering};
use crate::flow::Offer;

impl Offering<'_> {
    /// What it costs to take up what the offering takes.
    pub(crate) fn cost(&self, resource_prices: &[f64]) -> f64 {
        let taken = self.takes.iter();
        taken.map(|(row, part)| resource_prices[*row as usize] * part).sum()
    }
}

/// What one replica of a run costs: the floor pays for what is used, the resource rows charge for it, both by the replica.
fn cost_of_one(run: &[Offering<'_>], dual: &Dual) -> f64 {
    let first = &run[0];
    (first.cost(&dual.resource_prices) - dual.floor_price * first.units) / f64::from(first.n_replicas)
}

/// Splits a list into runs of one configuration with 1, 2, … replicas.
pub(crate) fn runs<'a, 'b>(offerings: &'b [Offering<'a>]) -> impl Iterator<Item = &'b [Offering<'a>]> {
    offerings.chunk_by(|before, after| {
        after.n_replicas == before.n_replicas + 1 && after.profile_ix.is_some() && after.profile_ix == before.profile_ix
    })
}

/// How many of a run's offerings are multiples of its first, whose best fraction is given.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "cut off by the length of the run"
)]
fn linear_part(run: &[Offering<'_>], fraction: f64) -> usize {
    if run[0].n_replicas != 1 || fraction <= 0.0 {
        return if fraction <= 0.0 { run.len() } else { 1 };
    }
    ((1.0 / fraction * (1.0 - 1e-12)).floor() as usize).clamp(1, run.len())
}

fn look(offering: &Offering<'_>, price: f64, dual: &Dual) -> Offer {
    offering.flow.best(price, &dual.row_prices, offering.range)
}

/// Value at the prices less the cost of what it takes, index and fraction of a model's best offer.
pub(crate) fn best_offer(offerings: &[Offering<'_>], price: f64, dual: &Dual) -> (f64, usize, f64) {
    let mut best = (f64::NEG_INFINITY, 0, 0.0);
    let mut first = 0;
    for run in runs(offerings) {
        let unit = cost_of_one(run, dual);
        let mut keep = |at: usize, offer: Offer| {
            let value = offer.value - unit * f64::from(run[at].n_replicas);
            if value > best.0 {
                best = (value, first + at, offer.fraction);
            }
            best.0
        };
        let one = look(&run[0], price, dual);
        let mut highest = keep(0, one);
        let linear = linear_part(run, one.fraction);
        if linear > 1 {
            highest = keep(linear - 1, look(&run[linear - 1], price, dual));
        }
        if linear < run.len() {
            let last = look(&run[run.len() - 1], price, dual);
            highest = keep(run.len() - 1, last).max(highest);
            for (at, offering) in run.iter().enumerate().take(run.len() - 1).skip(linear) {
                if last.value - unit * f64::from(offering.n_replicas) > highest {
                    highest = keep(at, look(offering, price, dual));
                }
            }
        }
        first += run.len();
    }
    best
}

/// What every offering costs at prices of the rows.
pub(crate) fn costs(offerings: &[Offering<'_>], resource_prices: &[f64]) -> Vec<f64> {
    let mut costs = Vec::with_capacity(offerings.len());
    for run in runs(offerings) {
        let unit = run[0].cost(resource_prices) / f64::from(run[0].n_replicas);
        costs.extend(run.iter().map(|offering| unit * f64::from(offering.n_replicas)));
    }
    costs
}

/// `H` of every offering.
pub(crate) fn values(offerings: &[Offering<'_>], price: f64, dual: &Dual) -> Vec<f64> {
    let mut values = Vec::with_capacity(offerings.len());
    for run in runs(offerings) {
        let one = look(&run[0], price, dual);
        let linear = linear_part(run, one.fraction);
        for (at, offering) in run.iter().enumerate() {
            values.push(if at < linear && run[0].n_replicas == 1 {
                one.value * f64::from(offering.n_replicas)
            } else {
                look(offering, price, dual).value
            });
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::curve::{LatencyCurve, Sample};
    use crate::flow::{Flow, Interval};

    proptest! {
        #[test]
        fn replicas_are_worth_what_each_is_by_itself(
            steps in prop::collection::vec((0.1f64..3.0, 0.0f64..2.0), 1..8), price in 0.0f64..2.0, row_price in 0.0f64..2.0,
            unit_price in 0.0f64..0.2, rate in 1.0f64..40.0, n in 1u32..20,
        ) {
            let (mut x, mut y) = (0.0, 0.05);
            let samples: Vec<Sample> = steps
                .iter()
                .map(|(dx, dy)| { x += dx; y += dy; Sample { load: x, value: y, weight: 1 } })
                .collect();
            let curve = LatencyCurve::new(&samples, x).unwrap();
            let flows: Vec<Flow> =
                (1..=n).map(|r| Flow::new(std::slice::from_ref(&curve), &[0.5], rate / f64::from(r), curve.end())).collect();
            let takes: Vec<[(u32, f64); 1]> = (1..=n).map(|r| [(0, f64::from(r))]).collect();
            let offerings: Vec<Offering<'_>> = (1..=n)
                .zip(flows.iter().zip(&takes))
                .map(|(n_replicas, (flow, takes))| Offering { flow, range: Interval::ALL, takes, units: 0.0, profile_ix: Some(0), n_replicas })
                .collect();
            let dual = Dual {
                bound: 0.0, prices: vec![price], row_prices: vec![row_price], resource_prices: vec![unit_price], floor_price: 0.0,
            };
            let plain: Vec<f64> = offerings.iter().map(|o| o.flow.best(price, &[row_price], o.range).value).collect();
            for (value, plain) in values(&offerings, price, &dual).iter().zip(&plain) {
                prop_assert!((value - plain).abs() < 1e-9);
            }
            let paid = plain.iter().zip(&offerings).map(|(value, o)| value - unit_price * f64::from(o.n_replicas));
            let highest = paid.fold(f64::NEG_INFINITY, f64::max);
            prop_assert!((best_offer(&offerings, price, &dual).0 - highest).abs() < 1e-9);
        }
    }
}
