//! Highest quality within a budget.
//!
//! More GPUs never do worse, so only the largest parts of the cluster within the budget count. Each is bounded; where there are too many,
//! the whole cluster's bound covers the rest.

use crate::problem::Unplannable;

use super::clusters::{Counts, Parts, all, is_exact};
use super::hunt::{Answer, Hunt, Place};
use super::{Best, Ending, MAX_LARGEST, distinct};

pub(super) fn highest(hunt: &mut Hunt<'_>, parts: &Parts) -> Result<Ending, Unplannable> {
    let tolerance = hunt.scenario.workload.planning.tolerance;
    let largest = parts.largest();
    let mut best: Option<Best> = None;
    let mut open = false;
    for counts in largest.iter().take(MAX_LARGEST) {
        let place = Place {
            counts: counts.clone(),
            target: None,
        };
        if let Some(best) = &best
            && matches!(hunt.ask(&place, best.value + tolerance)?, Answer::Below)
        {
            continue;
        }
        let (plan, bound) = hunt.best(&place)?;
        open |= plan.is_none() && bound.is_some();
        let value = plan.as_ref().map_or(0.0, |plan| plan.quality().value());
        if let Some(plan) = plan.filter(|_| best.as_ref().is_none_or(|best| value > best.value)) {
            best = Some(Best {
                plan: Box::new(plan),
                place,
                value,
                bound: value,
            });
        }
    }
    let known: Vec<Counts> = hunt.limits.iter().map(|limit| limit.gpus.clone()).collect();
    if !parts.are_covered(&known) {
        let whole = Place {
            counts: all(&hunt.scenario.cluster),
            target: None,
        };
        hunt.best(&whole)?;
    }
    distinct(&mut hunt.limits);
    let Some(mut best) = best else {
        return Ok(if open { Ending::Undecided } else { Ending::Below });
    };
    let bounds = hunt.limits.iter().filter_map(|limit| limit.upper_bound);
    best.bound = bounds.fold(best.value, f64::max);
    if is_exact(&hunt.scenario.cluster, &best.place.counts) {
        // The plan's own certificate says it.
        hunt.limits.retain(|limit| limit.gpus != best.place.counts);
    }
    Ok(Ending::Found(best))
}
