//! Which models are hosted: as many as can be placed.

use routerwise_types::comparison::AllocationRule;
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Placement;

use super::{Allocation, best_score, place};
use crate::baselines::tune::priced;
use crate::problem::Problem;

/// A candidate per model of the problem, where they sit, and what to say about it.
pub(super) struct Placed {
    pub(super) candidates: Vec<Option<usize>>,
    pub(super) placement: Placement,
    pub(super) notes: Vec<String>,
}

/// Sets of one size that are looked at.
const MOST_SETS: usize = 2_000;

/// The allocation of a rule for the models that it does best with.
pub(super) fn hosted(scenario: &Scenario, problem: &Problem, rule: AllocationRule) -> Result<Allocation, String> {
    let (mut set, placed) = largest_set(scenario, problem, rule)?;
    let n_fit = set.len();
    let mut best = allocation(problem, rule, &set, placed);
    let mut merit = priced::merit(scenario, problem, &best);
    // One model less at a time, as long as that is better; one alone is another rule.
    while set.len() > 2 {
        let smaller = set.iter().filter(|model| may_be_off(problem, **model)).map(|left_out| {
            let mut smaller = set.clone();
            smaller.retain(|model| model != left_out);
            smaller
        });
        let found = smaller.filter_map(|smaller| {
            let placed = place(scenario, problem, rule, &smaller)?;
            let without = allocation(problem, rule, &smaller, placed);
            Some((priced::merit(scenario, problem, &without), smaller, without))
        });
        let found = found.reduce(|best, next| if next.0.compare(&best.0).is_gt() { next } else { best });
        match found {
            Some((better, smaller, without)) if better.compare(&merit).is_gt() => {
                (merit, set, best) = (better, smaller, without);
            }
            _ => break,
        }
    }
    let n = problem.models.len();
    let left_out: Vec<usize> = (0..n).filter(|model| !set.contains(model)).collect();
    if !left_out.is_empty() {
        let why = match (n_fit < n, set.len() < n_fit) {
            (true, false) => "not all models fit",
            (false, _) => "it does better without",
            (true, true) => "not all models fit, and it does better without",
        };
        best.notes
            .insert(0, format!("without {}: {why}", names(problem, &left_out)));
    }
    Ok(best)
}

/// The largest set of models that can be placed; of equal sets the one whose best model for every prompt scores highest.
fn largest_set(scenario: &Scenario, problem: &Problem, rule: AllocationRule) -> Result<(Vec<usize>, Placed), String> {
    let n = problem.models.len();
    let must_run: Vec<usize> = (0..n).filter(|model| !may_be_off(problem, *model)).collect();
    for n_hosted in (1..=n).rev() {
        let mut sets: Vec<(f64, Vec<usize>)> = subsets(problem, n_hosted)
            .into_iter()
            .filter(|set| holds_all(set, &must_run) && fits_in_memory(problem, set))
            .map(|set| (best_score(problem.table(), &set), set))
            .collect();
        sets.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        for (_, set) in sets {
            if let Some(placed) = place(scenario, problem, rule, &set) {
                return Ok((set, placed));
            }
        }
    }
    Err(if must_run.is_empty() {
        "no model can be placed".to_owned()
    } else {
        format!(
            "{} must run (`may-be-off = false`) and cannot be placed together",
            names(problem, &must_run)
        )
    })
}

fn holds_all(set: &[usize], models: &[usize]) -> bool {
    models.iter().all(|model| set.contains(model))
}

/// Sets of one size that contain all models that must run, as far as they are few enough to list.
pub(super) fn sets_of(problem: &Problem, size: usize) -> Vec<Vec<usize>> {
    let n = problem.models.len();
    if n < size || n_subsets(n, size) > MOST_SETS {
        return Vec::new();
    }
    let must_run: Vec<usize> = (0..n).filter(|model| !may_be_off(problem, *model)).collect();
    let mut sets = subsets(problem, size);
    sets.retain(|set| holds_all(set, &must_run) && fits_in_memory(problem, set));
    sets
}

pub(super) fn allocation(problem: &Problem, rule: AllocationRule, set: &[usize], placed: Placed) -> Allocation {
    debug_assert!(
        set.iter().all(|model| placed.candidates[*model].is_some()),
        "all {} models of a set are placed",
        problem.models.len()
    );
    Allocation {
        rule,
        placement: placed.placement,
        for_routing: None,
        notes: placed.notes,
        candidates: placed.candidates,
    }
}

pub(super) fn names(problem: &Problem, models: &[usize]) -> String {
    let names: Vec<&str> = models
        .iter()
        .map(|model| problem.models[*model].name.as_str())
        .collect();
    names.join(", ")
}

fn may_be_off(problem: &Problem, model: usize) -> bool {
    let mut candidates = problem.models[model].candidates.iter();
    candidates.any(|candidate| candidate.configuration.is_none())
}

fn least_memory(problem: &Problem, model: usize) -> u64 {
    let on = problem.models[model].candidates.iter().filter_map(|candidate| {
        let configuration = candidate.configuration?;
        Some(candidate.shard_memory.0 * u64::from(configuration.tensor_parallel * configuration.n_replicas))
    });
    on.min().unwrap_or(u64::MAX / 1_000)
}

fn fits_in_memory(problem: &Problem, set: &[usize]) -> bool {
    let cluster = &problem.cluster;
    let all: u64 = cluster
        .gpus()
        .map(|gpu| cluster.gpu_types[gpu.gpu_type_ix].usable_memory.0)
        .sum();
    set.iter().map(|model| least_memory(problem, *model)).sum::<u64>() <= all
}

/// All sets of one size; where they are too many, only the one without the models that need most memory.
fn subsets(problem: &Problem, size: usize) -> Vec<Vec<usize>> {
    let n = problem.models.len();
    if n_subsets(n, size) > MOST_SETS {
        let mut models: Vec<usize> = (0..n).collect();
        models.sort_by_key(|model| (least_memory(problem, *model), *model));
        models.truncate(size);
        models.sort_unstable();
        return vec![models];
    }
    let mut sets = vec![Vec::new()];
    for model in 0..n {
        let with: Vec<Vec<usize>> = sets
            .iter()
            .filter(|set: &&Vec<usize>| set.len() < size)
            .map(|set| set.iter().copied().chain([model]).collect())
            .collect();
        // A set that can no longer become large enough is dropped.
        sets.retain(|set| set.len() + (n - model - 1) >= size);
        sets.extend(with);
    }
    sets.retain(|set| set.len() == size);
    sets
}

fn n_subsets(n: usize, size: usize) -> usize {
    let size = size.min(n - size);
    (0..size).fold(1usize, |count, i| count.saturating_mul(n - i) / (i + 1))
}

#[cfg(test)]
mod tests {
    use super::n_subsets;

    #[test]
    fn sets_are_counted() {
        assert_eq!(
            [n_subsets(5, 5), n_subsets(5, 3), n_subsets(30, 15) / 1_000_000],
            [1, 10, 155]
        );
    }
}
