//! Dual points, tabulated: what each says about every choice, and about every way to complete a partial setup.

use std::borrow::Cow;

use routerwise_types::plan::{DualPoint, Measure, PackedSize, PolicyPrices, ResourcePrice};
use routerwise_types::quality::Scores;
use routerwise_types::scenario::Scenario;

use super::shared::Sharing;
use super::space::Choice;

/// `A(α)`: what all prompts of a route are worth when each goes to its best model at these prices.
fn answered(scores: &Scores, prices: &[f64]) -> f64 {
    let columns = &scores.columns;
    let weights = scores.normalised_weights();
    let best = |prompt: usize| {
        let worth = columns
            .iter()
            .zip(prices)
            .map(|(column, price)| f64::from(column[prompt]) - price);
        worth.fold(f64::NEG_INFINITY, f64::max)
    };
    weights
        .iter()
        .enumerate()
        .map(|(prompt, weight)| weight * best(prompt))
        .sum()
}

/// Part of a row that a choice takes: its shards' `u_k(x)` over the number of GPUs.
fn taken_of(scenario: &Scenario, choice: &Choice, row: &ResourcePrice) -> f64 {
    let Some(configuration) = &choice.configuration else {
        return 0.0;
    };
    let gpu_type = &scenario.cluster.gpu_types[configuration.gpu_type_ix];
    if gpu_type.name != row.gpu_type {
        return 0.0;
    }
    let usable = gpu_type.usable_memory.0;
    let of_one = match row.measure {
        Measure::Share => of_part(row.k, choice.shard_percent, 100),
        Measure::Memory => of_part(row.k, choice.shard_memory, usable),
        Measure::Packed => packed(&row.sizes, choice.shard_percent, choice.shard_memory),
    };
    let n_shards = f64::from(configuration.tensor_parallel) * f64::from(configuration.n_replicas);
    n_shards * of_one / scenario.cluster.n_gpus_of(configuration.gpu_type_ix) as f64
}

/// `u_k`.
fn of_part(k: u32, size: u64, whole: u64) -> f64 {
    let (size, whole, larger) = (u128::from(size), u128::from(whole), u128::from(k) + 1);
    if k == 0 || (larger * size).is_multiple_of(whole) {
        size as f64 / whole as f64
    } else {
        (larger * size / whole) as f64 / f64::from(k)
    }
}

/// `F`: the most value of sizes that fit side by side into so many percent and so much memory. Tries every number of each.
pub(super) fn packed(sizes: &[PackedSize], percent_left: u64, memory_left: u64) -> f64 {
    let Some((first, rest)) = sizes.split_first() else {
        return 0.0;
    };
    let each = percent_of(first);
    let mut most = 0.0f64;
    for count in 0..=percent_left / each {
        let Some(memory) = first
            .memory
            .0
            .checked_mul(count)
            .and_then(|all| memory_left.checked_sub(all))
        else {
            break;
        };
        most = most.max(first.value * count as f64 + packed(rest, percent_left - count * each, memory));
    }
    most
}

/// Rounded up, and at least 1 so that no shard holds a size without end.
fn percent_of(size: &PackedSize) -> u64 {
    (1..=100)
        .find(|percent| *percent as f64 >= 100.0 * size.share.value() - 1e-6)
        .unwrap_or(101)
}

/// Compute of the cluster in steps that divide every shard's percentage.
pub(super) struct Budget {
    step: u64,
    least: usize,
    pub(super) most: usize,
}

impl Budget {
    pub(super) fn new(scenario: &Scenario, space: &[Vec<Choice>]) -> Self {
        let divisor = |a: u64, b: u64| {
            let (mut a, mut b) = (a, b);
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let step = space
            .iter()
            .flatten()
            .map(|choice| choice.shard_percent)
            .fold(100, divisor);
        let most = 100 / step * scenario.cluster.n_gpus() as u64;
        let floor = scenario.workload.planning.utilisation_floor.value();
        let enough = |steps: &u64| {
            let used = f64::from(u32::try_from(*steps).unwrap_or(u32::MAX));
            used >= floor * f64::from(u32::try_from(most).unwrap_or(u32::MAX)) - 1e-9
        };
        let least = (0..=most).find(enough).unwrap_or(most);
        Self {
            step,
            least: usize::try_from(least).unwrap_or(usize::MAX),
            most: usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    pub(super) fn steps(&self, choice: &Choice) -> usize {
        usize::try_from(choice.percent() / self.step).unwrap_or(usize::MAX)
    }
}

/// Part of all requests that comes at each load level.
pub(super) fn level_weights(scenario: &Scenario) -> Vec<f64> {
    let levels = &scenario.workload.levels;
    let all: f64 = levels.iter().map(|level| level.part * level.hours).sum();
    levels.iter().map(|level| level.part * level.hours / all).collect()
}

/// One dual point, tabulated.
pub(super) struct Point {
    /// `α` and `β` of each policy.
    pub(super) policies: Vec<PolicyPrices>,
    /// `A(α) + Σ β` of each level, the weighted sum over its routes.
    pub(super) bases: Vec<f64>,
    /// Their weighted sum.
    base: f64,
    /// `Σ γ`.
    resources: f64,
    /// `H` less what the choice takes at prices `γ`, of every choice of every model.
    worth: Vec<Vec<f64>>,
    /// `rest[d][u]`: the most that models `d..` can add when `u` steps of compute are used by those before.
    rest: Vec<Vec<f64>>,
}

impl Point {
    pub(super) fn new(scenario: &Scenario, space: &[Vec<Choice>], budget: &Budget, stated: &DualPoint) -> Self {
        let weights = level_weights(scenario);
        let sharing = Sharing::of(scenario);
        let worth_of = |model: usize, choice: &Choice| {
            let taken = stated.resource_prices.iter();
            let cost: f64 = taken.map(|row| row.price * taken_of(scenario, choice, row)).sum();
            let by_level = stated
                .policies
                .chunks(sharing.n_routes())
                .zip(&choice.flows)
                .zip(&weights);
            let worth =
                by_level.map(|((at, flow), weight)| weight * sharing.worth(flow, at, model, (0.0, 1.0), (0.0, 1.0)));
            worth.sum::<f64>() - cost
        };
        let worth: Vec<Vec<f64>> = space
            .iter()
            .enumerate()
            .map(|(model, choices)| choices.iter().map(|choice| worth_of(model, choice)).collect())
            .collect();
        let prompts: Vec<_> = (0..sharing.n_routes())
            .map(|route| scenario.scores.of_route(route))
            .collect();
        let base = |level: &[PolicyPrices]| -> f64 {
            let routes = level.iter().zip(&prompts).zip(&sharing.weights);
            let of = |((at, prompts), weight): ((&PolicyPrices, &Cow<'_, Scores>), &f64)| {
                weight * (answered(prompts, &at.prices) + at.slo_prices.iter().sum::<f64>())
            };
            routes.map(of).sum()
        };
        let bases: Vec<f64> = stated.policies.chunks(sharing.n_routes()).map(base).collect();
        let complete = |used: usize| if used >= budget.least { 0.0 } else { f64::NEG_INFINITY };
        let mut rest = vec![(0..=budget.most).map(complete).collect::<Vec<f64>>()];
        for (choices, worth) in space.iter().zip(&worth).rev() {
            let after = &rest[rest.len() - 1];
            let best = |used: usize| {
                let steps = choices.iter().map(|choice| used.saturating_add(budget.steps(choice)));
                let values = steps
                    .zip(worth)
                    .map(|(used, worth)| after.get(used).map_or(f64::NEG_INFINITY, |v| v + worth));
                values.fold(f64::NEG_INFINITY, f64::max)
            };
            let here = (0..=budget.most).map(best).collect();
            rest.push(here);
        }
        rest.reverse();
        Self {
            policies: stated.policies.clone(),
            base: bases.iter().zip(&weights).map(|(base, weight)| base * weight).sum(),
            bases,
            resources: stated.resource_prices.iter().map(|row| row.price).sum(),
            worth,
            rest,
        }
    }

    /// Bound of all setups that begin with these choices, which use so many steps of compute.
    pub(super) fn bound(&self, chosen: &[usize], used: usize) -> f64 {
        let sum: f64 = self
            .worth
            .iter()
            .zip(chosen)
            .map(|(worth, choice)| worth[*choice])
            .sum();
        self.base + self.resources + sum + self.rest[chosen.len()][used]
    }
}
