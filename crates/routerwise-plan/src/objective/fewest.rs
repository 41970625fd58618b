//! Fewest GPUs, or lowest cost per hour, at which a plan still reaches a quality.
//!
//! Parts of the cluster are ordered by inclusion, and a plan on a part is a plan on every larger one. So a part that cannot reach the
//! floor rules out all within it, and the least price of a part that is not ruled out is a proven bound. Prices between that bound and the
//! best part found are halved: of the parts at no more than the middle price the largest are asked, those first that are most like the
//! best one.

use crate::problem::Unplannable;

use super::clusters::{self, Counts, Parts, within};
use super::hunt::{Answer, Hunt, Place};
use super::{Best, Ending, First, MAX_QUESTIONS, first_within, refuting};

pub(super) fn fewest(
    hunt: &mut Hunt<'_>,
    parts: &Parts,
    floor: f64,
    price: impl Fn(&[usize]) -> f64,
) -> Result<Ending, Unplannable> {
    let (mut plan, mut place) = match first_within(hunt, &parts.largest(), None, floor)? {
        First::Reached(plan, place) => (plan, place),
        First::Below => return Ok(Ending::Below),
        First::Open => return Ok(Ending::Undecided),
    };
    let mut refuted = refuting(&mut hunt.limits, floor);
    let mut undecided: Vec<Counts> = Vec::new();
    for _ in 0..MAX_QUESTIONS {
        if hunt.watch.is_stopped() {
            break;
        }
        let Some(counts) = next(parts, &place.counts, &refuted, &undecided, &price) else {
            break;
        };
        let asked = Place { counts, target: None };
        match hunt.ask(&asked, floor)? {
            Answer::Reached(better) => (plan, place) = (better, asked),
            Answer::Below => refuted = refuting(&mut hunt.limits, floor),
            Answer::Open => undecided.push(asked.counts),
        }
    }
    let value = price(&place.counts);
    let bound = parts.least_price(&refuted, &price).min(value);
    let proofs = std::mem::take(&mut hunt.limits);
    let best = hunt.best(&place)?.0;
    hunt.limits = proofs;
    // Limits on parts that cost more than what was found prove nothing that matters.
    hunt.limits
        .retain(|limit| limit_matters(parts, &limit.gpus, value, &price));
    // Its certificate says how good it is among its like; the other's only that it suffices.
    let proven = best.filter(|best| best.quality().value() >= floor);
    Ok(Ending::Found(Best {
        plan: proven.map_or(plan, Box::new),
        place,
        value,
        bound,
    }))
}

/// Whether a part cheaper than this lies within it.
fn limit_matters(parts: &Parts, gpus: &[usize], value: f64, price: &impl Fn(&[usize]) -> f64) -> bool {
    parts
        .allowed
        .iter()
        .any(|counts| within(counts, gpus) && price(counts) < value)
}

/// The part to ask next; nothing when all that are cheaper than the best are ruled out or were not decided.
fn next(
    parts: &Parts,
    best: &[usize],
    refuted: &[Counts],
    undecided: &[Counts],
    price: &impl Fn(&[usize]) -> f64,
) -> Option<Counts> {
    let known = |counts: &Counts| refuted.iter().chain(undecided).any(|other| within(counts, other));
    let dearest = price(best) * (1.0 - 1e-12);
    let mut open: Vec<(f64, &Counts)> = parts
        .allowed
        .iter()
        .map(|counts| (price(counts), counts))
        .filter(|(price, counts)| *price < dearest && !known(counts))
        .collect();
    open.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut levels: Vec<f64> = open.iter().map(|(price, _)| *price).collect();
    levels.dedup();
    let level = *levels.get(levels.len() / 2)?;
    let up_to = open
        .iter()
        .filter(|(price, _)| *price <= level)
        .map(|(_, counts)| *counts);
    let unlike = |counts: &Counts| -> usize { counts.iter().zip(best).map(|(a, b)| a.abs_diff(*b)).sum() };
    clusters::largest(up_to).into_iter().min_by_key(unlike)
}
