//! The nearest profiled configurations below an ideal share of the compute that can be placed together.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::choose::{Placed, names};
use super::{pack, takes};
use crate::problem::{Candidate, Problem};
use routerwise_types::scenario::Scenario;

/// Combinations of configurations that are looked at before a set of models counts as one that cannot be placed.
const MOST_TRIED: usize = 3_000;

/// Places a set of models, each with compute in proportion to its weight.
pub(super) fn place(
    scenario: &Scenario,
    problem: &Problem,
    set: &[usize],
    weight: &dyn Fn(usize) -> f64,
) -> Option<Placed> {
    let all: f64 = set.iter().map(|model| weight(*model)).sum();
    let ideal = |model: usize| f64::from(problem.all_units()) * weight(model) / all;
    let lists: Vec<Vec<usize>> = set
        .iter()
        .map(|model| below(scenario, problem, *model, ideal(*model)))
        .collect();
    if lists.iter().any(Vec::is_empty) {
        return None;
    }
    let candidate = |at: usize, rank: usize| &problem.models[set[at]].candidates[lists[at][rank]];
    let given_up = |ranks: &[usize]| -> u32 {
        let units = |at: usize, rank: usize| candidate(at, rank).units;
        (0..set.len())
            .map(|at| units(at, 0).saturating_sub(units(at, ranks[at])))
            .sum()
    };
    let first = vec![0; set.len()];
    let mut heap = BinaryHeap::from([Reverse((0, 0, first.clone()))]);
    let mut seen = BTreeSet::from([first]);
    for _ in 0..MOST_TRIED {
        let Reverse((_, _, ranks)) = heap.pop()?;
        let chosen: Vec<&Candidate> = ranks
            .iter()
            .enumerate()
            .map(|(at, rank)| candidate(at, *rank))
            .collect();
        if may_fit(problem, &chosen) {
            let mut candidates = vec![None; problem.models.len()];
            for (at, rank) in ranks.iter().enumerate() {
                candidates[set[at]] = Some(lists[at][*rank]);
            }
            if let Some(placement) = pack(problem, &candidates) {
                return Some(Placed {
                    notes: notes(problem, set, &chosen, &ideal),
                    candidates,
                    placement,
                });
            }
        }
        for at in 0..set.len() {
            let mut next = ranks.clone();
            next[at] += 1;
            if next[at] < lists[at].len() && seen.insert(next.clone()) {
                heap.push(Reverse((given_up(&next), next.iter().sum::<usize>(), next)));
            }
        }
    }
    None
}

/// Candidates with at most the ideal compute, most first; of those with the same the one that takes most requests and the one that takes
/// least memory. Where all need more, those that need least.
fn below(scenario: &Scenario, problem: &Problem, model: usize, ideal: f64) -> Vec<usize> {
    let candidates = &problem.models[model].candidates;
    let running = || (0..candidates.len()).filter(|index| candidates[*index].configuration.is_some());
    let least = running().map(|index| candidates[index].units).min().unwrap_or(0);
    let most = f64::from(least).max(ideal + 1e-9);
    let mut found: Vec<usize> = running()
        .filter(|index| f64::from(candidates[*index].units) <= most)
        .collect();
    let takes = |index: usize| takes(scenario, &candidates[index]);
    let key = |index: usize| Reverse(candidates[index].units);
    found.sort_by(|a, b| {
        key(*a)
            .cmp(&key(*b))
            .then(takes(*b).total_cmp(&takes(*a)))
            .then(memory(&candidates[*a]).cmp(&memory(&candidates[*b])))
            .then(a.cmp(b))
    });
    found
        .chunk_by(|a, b| candidates[*a].units == candidates[*b].units)
        .flat_map(|same| {
            let fastest = same[0];
            let smallest = same.iter().copied().min_by_key(|index| memory(&candidates[*index]));
            std::iter::once(fastest).chain(smallest.filter(|smallest| *smallest != fastest))
        })
        .collect()
}

fn memory(candidate: &Candidate) -> u64 {
    let n_shards = candidate.configuration.map_or(0, |c| c.tensor_parallel * c.n_replicas);
    candidate.shard_memory.0 * u64::from(n_shards)
}

/// Whether compute and memory suffice in all.
fn may_fit(problem: &Problem, chosen: &[&Candidate]) -> bool {
    (0..problem.cluster.gpu_types.len()).all(|gpu_type_ix| {
        let of_type = || {
            chosen
                .iter()
                .filter(move |candidate| candidate.configuration.is_some_and(|c| c.gpu_type_ix == gpu_type_ix))
        };
        let n_gpus = problem.cluster.n_gpus_of(gpu_type_ix) as u64;
        of_type().map(|candidate| candidate.units).sum::<u32>() <= problem.units_of(gpu_type_ix)
            && of_type().map(|candidate| memory(candidate)).sum::<u64>()
                <= n_gpus * problem.cluster.gpu_types[gpu_type_ix].usable_memory.0
    })
}

/// Says which models are far from their ideal.
fn notes(problem: &Problem, set: &[usize], chosen: &[&Candidate], ideal: &dyn Fn(usize) -> f64) -> Vec<String> {
    let pairs = || set.iter().zip(chosen);
    let more: Vec<usize> = pairs()
        .filter(|(model, candidate)| f64::from(candidate.units) > ideal(**model) + 1e-6)
        .map(|(model, _)| *model)
        .collect();
    let less: Vec<usize> = pairs()
        .filter(|(model, candidate)| f64::from(candidate.units) < 0.75 * ideal(**model))
        .map(|(model, _)| *model)
        .collect();
    let mut notes = Vec::new();
    if !more.is_empty() {
        notes.push(format!(
            "{}: least profiled share is above the ideal",
            names(problem, &more)
        ));
    }
    if !less.is_empty() {
        notes.push(format!(
            "{}: less than three quarters of the ideal, nothing nearer can be placed",
            names(problem, &less)
        ));
    }
    notes
}
