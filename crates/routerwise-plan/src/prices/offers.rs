//! The best offer of a model over many configurations, without looking at each: replicas share their curve.
//!
//! With `r` replicas `φ_r(w) = w·ℓ(λ·w/r) = r·φ_1(w/r)`, so while `r·v ≤ 1` for the best fraction `v` of one replica
//! `H_r = r·H_1`, and whatever is linear in `r` is highest at one end. Beyond that a model could take all prompts; there `H_r`
//! is still rising, so the last one bounds the rest and most need no look.

use routerwise_types::workload::MOST_POLICIES;

use super::{Dual, part};
use crate::flow::{Flow, Interval};
use crate::problem::Candidate;
use crate::traffic::Traffic;

/// One configuration that a model may offer points of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offering<'a> {
    /// What it is, with its flows.
    pub(crate) candidate: &'a Candidate,
    /// Fractions that it may take.
    pub(crate) ranges: Ranges<'a>,
    /// Parts of resource rows that it takes.
    pub(crate) takes: &'a [(u32, f64)],
    /// Share units relative to all of the cluster's, for the floor.
    pub(crate) units: f64,
    /// Which profile it is of: offerings of one profile differ in replicas only.
    pub(crate) profile_ix: Option<usize>,
    /// Replicas; 1 where the profile is not told.
    pub(crate) n_replicas: u32,
}

/// Ranges of fractions, level by level and model by model.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ranges<'a> {
    /// Everything.
    All,
    /// Those of all levels and models.
    Each(&'a [Interval]),
}

impl Ranges<'_> {
    pub(crate) fn at(self, level: usize, model: usize, n_models: usize) -> Interval {
        match self {
            Self::All => Interval::ALL,
            Self::Each(ranges) => ranges[level * n_models + model],
        }
    }
}

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

/// A point of an offering: a fraction for each policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// `H`, the weighted sum over the policies.
    pub(crate) value: f64,
    pub(crate) fractions: [f64; MOST_POLICIES],
}

impl Point {
    fn highest(&self) -> f64 {
        self.fractions.iter().copied().fold(0.0, f64::max)
    }

    /// What it adds to a row of a level, of whose flow it is a point.
    pub(crate) fn flow(&self, flow: &Flow, traffic: &Traffic, level: usize, row: usize) -> f64 {
        let w = self.fractions[traffic.policy_of_row(level, row)];
        if traffic.is_shared() {
            let of_level = level * traffic.n_routes();
            let parts = traffic.parts.iter().zip(&self.fractions[of_level..]);
            w * flow.latency(row, parts.map(|(part, w)| part * w).sum())
        } else {
            flow.at(row, w)
        }
    }
}

/// The best point of an offering of a model at some prices.
pub(crate) fn look(offering: &Offering<'_>, model: usize, dual: &Dual, traffic: &Traffic) -> Point {
    let (n_levels, n_routes) = (traffic.n_levels(), traffic.n_routes());
    let n_models = dual.prices.len() / traffic.n_policies();
    let mut point = Point {
        value: 0.0,
        fractions: [0.0; MOST_POLICIES],
    };
    for level in 0..n_levels {
        let row_prices = part(&dual.row_prices, level, n_levels);
        let range = offering.ranges.at(level, model, n_models);
        let flow = offering.candidate.flow_at(level);
        let first = level * n_routes;
        if traffic.is_shared() {
            let price = |route: usize| dual.prices[(first + route) * n_models + model];
            let weights = &traffic.weights[first..][..n_routes];
            let fractions = &mut point.fractions[first..][..n_routes];
            point.value += flow.best_shared(traffic, weights, price, row_prices, range, fractions);
        } else {
            let best = flow.best(dual.prices[level * n_models + model], row_prices, range);
            point.value += traffic.weights[level] * best.value;
            point.fractions[level] = best.fraction;
        }
    }
    point
}

/// Value at the prices less the cost of what it takes, index and point of a model's best offer.
pub(crate) fn best_offer(
    offerings: &[Offering<'_>],
    model: usize,
    dual: &Dual,
    traffic: &Traffic,
) -> (f64, usize, Point) {
    let none = Point {
        value: f64::NEG_INFINITY,
        fractions: [0.0; MOST_POLICIES],
    };
    let look = |offering: &Offering<'_>| look(offering, model, dual, traffic);
    let mut best = (f64::NEG_INFINITY, 0, none);
    let mut first = 0;
    for run in runs(offerings) {
        let unit = cost_of_one(run, dual);
        let mut keep = |at: usize, point: Point| {
            let value = point.value - unit * f64::from(run[at].n_replicas);
            if value > best.0 {
                best = (value, first + at, point);
            }
            best.0
        };
        let one = look(&run[0]);
        let mut highest = keep(0, one);
        let linear = linear_part(run, one.highest());
        if linear > 1 {
            highest = keep(linear - 1, look(&run[linear - 1]));
        }
        if linear < run.len() {
            let last = look(&run[run.len() - 1]);
            highest = keep(run.len() - 1, last).max(highest);
            for (at, offering) in run.iter().enumerate().take(run.len() - 1).skip(linear) {
                if last.value - unit * f64::from(offering.n_replicas) > highest {
                    highest = keep(at, look(offering));
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

/// `H` of every offering of a model.
pub(crate) fn values(offerings: &[Offering<'_>], model: usize, dual: &Dual, traffic: &Traffic) -> Vec<f64> {
    let mut values = Vec::with_capacity(offerings.len());
    for run in runs(offerings) {
        let one = look(&run[0], model, dual, traffic);
        let linear = linear_part(run, one.highest());
        for (at, offering) in run.iter().enumerate() {
            values.push(if at < linear && run[0].n_replicas == 1 {
                one.value * f64::from(offering.n_replicas)
            } else {
                look(offering, model, dual, traffic).value
            });
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use routerwise_types::units::Bytes;

    use super::*;
    use crate::curve::{LatencyCurve, Sample};
    use crate::flow::Flow;

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
            let parts = [1.0, 0.4];
            let weights = [0.7, 0.3];
            let candidates: Vec<Candidate> = (1..=n)
                .map(|r| {
                    let flow = |part: f64| Flow::new(std::slice::from_ref(&curve), &[0.5], part * rate / f64::from(r), curve.end());
                    Candidate {
                        flow: flow(parts[0]),
                        further: vec![flow(parts[1])].into(),
                        configuration: None,
                        units: 0,
                        shard_units: 0,
                        shard_memory: Bytes(0),
                        takes: vec![(0, f64::from(r))].into(),
                        profile_ix: Some(0),
                    }
                })
                .collect();
            let offerings: Vec<Offering<'_>> = (1..=n)
                .zip(&candidates)
                .map(|(n_replicas, candidate)| Offering {
                    candidate, ranges: Ranges::All, takes: &candidate.takes, units: 0.0, profile_ix: Some(0), n_replicas,
                })
                .collect();
            for n_levels in 1..=2 {
                let dual = Dual {
                    bound: 0.0,
                    prices: [price, 0.5 * price][..n_levels].to_vec(),
                    row_prices: [row_price, 2.0 * row_price][..n_levels].to_vec(),
                    resource_prices: vec![unit_price],
                    floor_price: 0.0,
                };
                let plain: Vec<f64> = candidates
                    .iter()
                    .map(|c| {
                        let at = |l: usize| weights[l] * c.flow_at(l).best(dual.prices[l], &dual.row_prices[l..=l], Interval::ALL).value;
                        (0..n_levels).map(at).sum()
                    })
                    .collect();
                let traffic = Traffic { weights: weights[..n_levels].to_vec(), parts: vec![1.0], row_routes: vec![0] };
                for (value, plain) in values(&offerings, 0, &dual, &traffic).iter().zip(&plain) {
                    prop_assert!((value - plain).abs() < 1e-9);
                }
                let paid = plain.iter().zip(&offerings).map(|(value, o)| value - unit_price * f64::from(o.n_replicas));
                let highest = paid.fold(f64::NEG_INFINITY, f64::max);
                prop_assert!((best_offer(&offerings, 0, &dual, &traffic).0 - highest).abs() < 1e-9);
            }
        }
    }
}
