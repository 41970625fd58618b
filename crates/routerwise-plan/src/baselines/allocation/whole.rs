//! Whole GPUs for every model, as most people start.

use super::choose::Placed;
use super::{pack, parameters, takes};
use crate::problem::Problem;
use routerwise_types::scenario::Scenario;

/// Every model starts with the fewest GPUs that it runs on; each GPU left goes to the model with most parameters for each of its GPUs.
pub(super) fn place(scenario: &Scenario, problem: &Problem, set: &[usize]) -> Option<Placed> {
    let n_gpus = problem.cluster.n_gpus();
    let ladders: Vec<Vec<(usize, usize)>> = set.iter().map(|model| ladder(scenario, problem, *model)).collect();
    if ladders.iter().any(Vec::is_empty) {
        return None;
    }
    let mut rungs = vec![0; set.len()];
    let used = |rungs: &[usize]| -> usize { rungs.iter().zip(&ladders).map(|(rung, ladder)| ladder[*rung].0).sum() };
    if used(&rungs) > n_gpus {
        return None;
    }
    let candidates = |rungs: &[usize]| {
        let mut candidates = vec![None; problem.models.len()];
        for (at, rung) in rungs.iter().enumerate() {
            candidates[set[at]] = Some(ladders[at][*rung].1);
        }
        candidates
    };
    let mut placement = pack(problem, &candidates(&rungs))?;
    loop {
        let crowding = |at: &usize| {
            let gpus = u32::try_from(ladders[*at][rungs[*at]].0).unwrap_or(u32::MAX);
            parameters(scenario, set[*at]) / f64::from(gpus)
        };
        let mut order: Vec<usize> = (0..set.len())
            .filter(|at| rungs[*at] + 1 < ladders[*at].len())
            .collect();
        order.sort_by(|a, b| crowding(b).total_cmp(&crowding(a)).then(a.cmp(b)));
        let grown = order.into_iter().find_map(|at| {
            let mut next = rungs.clone();
            next[at] += 1;
            let placement = (used(&next) <= n_gpus)
                .then(|| pack(problem, &candidates(&next)))
                .flatten()?;
            Some((next, placement))
        });
        match grown {
            Some((next, found)) => (rungs, placement) = (next, found),
            None => break,
        }
    }
    Some(Placed {
        candidates: candidates(&rungs),
        placement,
        notes: Vec::new(),
    })
}

/// For every number of whole GPUs that a model can run on, the candidate that takes most requests.
fn ladder(scenario: &Scenario, problem: &Problem, model: usize) -> Vec<(usize, usize)> {
    let candidates = &problem.models[model].candidates;
    let mut found: Vec<(usize, usize)> = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| candidate.shard_units == problem.units_per_gpu)
        .filter_map(|(index, candidate)| {
            let configuration = candidate.configuration?;
            Some((
                (configuration.tensor_parallel * configuration.n_replicas) as usize,
                index,
            ))
        })
        .collect();
    let takes = |index: usize| takes(scenario, &candidates[index]);
    found.sort_by(|a, b| {
        a.0.cmp(&b.0)
            .then(takes(b.1).total_cmp(&takes(a.1)))
            .then(a.1.cmp(&b.1))
    });
    found.dedup_by_key(|(gpus, _)| *gpus);
    found
}
