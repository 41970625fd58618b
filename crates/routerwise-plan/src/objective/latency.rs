//! Lowest mean latency at which a plan still reaches a quality.
//!
//! A limit on the latency's mean joins the objectives and is halved (by its logarithm) between what was proven too tight and what a plan was
//! found for. A plan's own latency may be below the limit that it was found with, so each plan narrows the bracket by more than a half.

use routerwise_types::plan::Plan;
use routerwise_types::units::Seconds;
use routerwise_types::workload::Metric;

use crate::problem::Unplannable;

use super::clusters::Parts;
use super::hunt::{Hunt, Place};
use super::{Best, Ending, First, MAX_QUESTIONS, first_within, refuting};

/// The bracket is closed when it is this narrow, relative.
pub(super) const PRECISION: f64 = 0.005;
/// Questions below the lowest target that was not decided.
const MAX_BELOW_OPEN: u32 = 6;

pub(super) fn lowest(hunt: &mut Hunt<'_>, parts: &Parts, metric: Metric, floor: f64) -> Result<Ending, Unplannable> {
    let largest = parts.largest();
    let (mut plan, mut place) = match first_within(hunt, &largest, None, floor)? {
        First::Reached(plan, place) => (plan, place),
        First::Below => return Ok(Ending::Below),
        First::Open => return Ok(Ending::Undecided),
    };
    // Proofs without a target rule parts out altogether and stay.
    let mut reached = rounded_up(mean(&plan, metric));
    let (mut refuted, mut asked, mut open) = (0.0, 0.0, f64::INFINITY);
    for _ in 0..MAX_QUESTIONS {
        if reached <= asked * (1.0 + PRECISION) || reached <= 0.0 || hunt.watch.is_stopped() {
            break;
        }
        let middle = if asked > 0.0 {
            (asked * reached).sqrt()
        } else {
            reached / 2.0
        };
        let Ok(target) = Seconds::new(middle) else { break };
        match first_within(hunt, &largest, Some(target), floor)? {
            First::Reached(better, at) => {
                reached = rounded_up(mean(&better, metric)).min(middle);
                (plan, place) = (better, at);
            }
            First::Below => (refuted, asked) = (middle, middle),
            First::Open => (asked, open) = (middle, open.min(middle)),
        }
    }
    // What was not decided keeps the proof from the plan; how far up it goes is asked for by itself.
    for _ in 0..MAX_BELOW_OPEN {
        let middle = (refuted * open).sqrt();
        if !open.is_finite() || open <= refuted * (1.0 + PRECISION) || refuted <= 0.0 || hunt.watch.is_stopped() {
            break;
        }
        let Ok(target) = Seconds::new(middle) else { break };
        match first_within(hunt, &largest, Some(target), floor)? {
            First::Below => refuted = middle,
            First::Reached(..) | First::Open => open = middle,
        }
    }
    let limits = std::mem::take(&mut hunt.limits);
    for slack in SLACKS {
        let target = Seconds::new(rounded_up(reached * (1.0 + slack))).ok();
        let tight = Place {
            target,
            ..place.clone()
        };
        let best = hunt.best(&tight)?.0;
        if let Some(best) = best.filter(|best| best.quality().value() >= floor) {
            (plan, place) = (Box::new(best), tight);
            break;
        }
    }
    hunt.limits = limits;
    refuting(&mut hunt.limits, floor);
    if place.target.is_none() {
        // A plan without its limit among the objectives would not say what it keeps to.
        return Ok(Ending::Undecided);
    }
    Ok(Ending::Found(Best {
        value: mean(&plan, metric),
        plan,
        place,
        bound: refuted,
    }))
}

/// How much more than the latency found the plan may have, each tried in turn: the best plan for a limit may miss the floor by what the
/// search tolerates.
const SLACKS: [f64; 3] = [0.0, 1e-3, 4e-3];

/// The latency's mean with headroom, at the worst load level.
fn mean(plan: &Plan, metric: Metric) -> f64 {
    let of = plan.policies.iter().map(|policy| {
        let latency = &policy.prediction.latency;
        match metric {
            Metric::Ttft => latency.ttft,
            Metric::Tpot => latency.tpot,
            Metric::E2e => latency.e2e,
        }
    });
    of.map(Seconds::value).fold(0.0, f64::max)
}

/// To whole microseconds: the plan that was measured keeps to it.
fn rounded_up(seconds: f64) -> f64 {
    (seconds * 1e6).ceil() / 1e6
}
