//! Allocations for routing rules that use two or three models: nobody hosts a fourth for them.

use routerwise_types::comparison::{AllocationRule, RoutingRule};
use routerwise_types::scenario::Scenario;

use super::choose::{allocation, names, sets_of};
use super::{Allocation, place};
use crate::baselines::servers::Servers;
use crate::baselines::tune::{self, Merit, Tuned, TunedFor, Tuner};
use crate::problem::Problem;

/// With more models than this, sets of three are too many to tune a cascade on each.
const MOST_FOR_THREE: usize = 6;

/// The few models that a routing rule does best with, the rule tuned on them; nothing where no such set can be placed.
pub(crate) fn for_few(
    scenario: &Scenario,
    problem: &Problem,
    rule: AllocationRule,
    routing: RoutingRule,
    tuned_for: TunedFor,
) -> Option<(Merit, Allocation, Tuned)> {
    let three = routing == RoutingRule::Cascade && problem.models.len() <= MOST_FOR_THREE;
    let sizes = if three { 2..=3 } else { 2..=2 };
    let mut best: Option<(Merit, Allocation, Tuned)> = None;
    for set in sizes.flat_map(|size| sets_of(problem, size)) {
        let Some(placed) = place(scenario, problem, rule, &set) else {
            continue;
        };
        let mut allocation = allocation(problem, rule, &set, placed);
        allocation.for_routing = Some(routing);
        allocation
            .notes
            .insert(0, format!("{} alone, for {routing}", names(problem, &set)));
        let servers = Servers::new(scenario, problem, &allocation);
        let tuner = Tuner::new(problem, problem.table(), &servers, &allocation, tuned_for);
        let (merit, tuned) = tune::of_few(&tuner, routing);
        if best.as_ref().is_none_or(|(best, _, _)| merit.compare(best).is_gt()) {
            best = Some((merit, allocation, tuned));
        }
    }
    best
}
