//! Whether setups fit, remembered where many share the answer.

use std::collections::HashMap;

use crate::packing::{Demand, Packing, pack_counting};
use crate::problem::{Candidate, Problem};

const MAX_PACKING_STEPS: u32 = 20_000;
const LONG_PACKING_STEPS: u32 = 1_000_000;
/// For questions whose answer is only a help.
const MAX_PATTERN_STEPS: u32 = 40;

/// Which patterns fit in memory when shares are left aside. Memory depends on tensor parallelism and replicas only, so ten
/// shares of each model have one answer, and one `no` rules out all of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fits {
    known: HashMap<Vec<(usize, u32, u32)>, bool>,
}

impl Fits {
    /// Whether a partial setup fits in memory, and how much work it was to find out. Undecided counts as yes.
    pub(crate) fn memory(&mut self, problem: &Problem, order: &[usize], choice: &[u16]) -> (bool, u64) {
        let chosen = || chosen(problem, order, choice);
        let pattern: Vec<(usize, u32, u32)> = chosen()
            .map(|(_, candidate)| {
                candidate.configuration.map_or((0, 0, 0), |configuration| {
                    (
                        configuration.gpu_type_ix,
                        configuration.tensor_parallel,
                        configuration.n_replicas,
                    )
                })
            })
            .collect();
        if let Some(known) = self.known.get(&pattern) {
            return (*known, 0);
        }
        let demands: Vec<Demand> = chosen()
            .filter_map(|(model_ix, c)| {
                Some(Demand {
                    shard_units: 0,
                    ..demand(model_ix, c)?
                })
            })
            .collect();
        let (packing, steps) = pack(problem, &demands, MAX_PATTERN_STEPS);
        let fits = packing != Packing::Impossible;
        self.known.insert(pattern, fits);
        (fits, steps)
    }
}

fn chosen<'a>(
    problem: &'a Problem,
    order: &'a [usize],
    choice: &'a [u16],
) -> impl Iterator<Item = (usize, &'a Candidate)> {
    let pairs = order.iter().zip(choice);
    pairs.map(|(model, c)| (*model, &problem.models[*model].candidates[usize::from(*c)]))
}

/// Packing of a partial setup, and how much work it was.
pub(crate) fn pack_prefix(problem: &Problem, order: &[usize], choice: &[u16]) -> (Packing, u64) {
    let demands: Vec<Demand> = chosen(problem, order, choice)
        .filter_map(|(model_ix, candidate)| demand(model_ix, candidate))
        .collect();
    pack(problem, &demands, MAX_PATTERN_STEPS)
}

/// Exact packing of a whole setup (candidate index per model), and how much work it was.
pub(crate) fn pack_setup(problem: &Problem, candidates: &[usize]) -> (Packing, u64) {
    pack_within(problem, candidates, MAX_PACKING_STEPS)
}

/// [`pack_setup`] with far more patience.
pub(crate) fn pack_long(problem: &Problem, candidates: &[usize]) -> (Packing, u64) {
    pack_within(problem, candidates, LONG_PACKING_STEPS)
}

fn pack_within(problem: &Problem, candidates: &[usize], max_steps: u32) -> (Packing, u64) {
    let demands: Vec<Demand> = candidates
        .iter()
        .enumerate()
        .filter_map(|(model_ix, candidate)| demand(model_ix, &problem.models[model_ix].candidates[*candidate]))
        .collect();
    pack(problem, &demands, max_steps)
}

/// GPUs up to which a state of the packing search is a step; one on more GPUs is as many more, and there are fewer of them.
const GPUS_PER_STEP: u64 = 32;

/// A size from which the exact search finds nothing in a bearable number of steps.
const LARGE: u64 = 3;

fn pack(problem: &Problem, demands: &[Demand], max_steps: u32) -> (Packing, u64) {
    let n_replicas: usize = demands.iter().map(|demand| demand.n_replicas).sum();
    let n_gpus = problem.cluster.n_gpus() as u64;
    let size = n_gpus.div_ceil(GPUS_PER_STEP).max(1);
    // Never too few to reach the last replica, where that says more than placing without looking back.
    let max_steps = if size <= LARGE || max_steps >= LONG_PACKING_STEPS {
        max_steps / u32::try_from(size).unwrap_or(u32::MAX) + u32::try_from(n_replicas).unwrap_or(u32::MAX)
    } else {
        0
    };
    let (packing, steps) = pack_counting(
        &problem.cluster,
        problem.units_per_gpu,
        demands,
        problem.models.len(),
        max_steps,
    );
    (
        packing,
        // A visited state looks at all GPUs a few times, placing one by one at each GPU for each replica in each order.
        u64::from(steps) * (10 + 5 * n_gpus) + n_gpus * n_replicas as u64 / 3 + 1,
    )
}

/// What a candidate asks of the GPUs; off asks for nothing.
pub(crate) fn demand(model_ix: usize, candidate: &Candidate) -> Option<Demand> {
    candidate.configuration.map(|configuration| Demand {
        model_ix,
        gpu_type_ix: configuration.gpu_type_ix,
        tensor_parallel: configuration.tensor_parallel as usize,
        shard_units: candidate.shard_units,
        shard_memory: candidate.shard_memory.0,
        n_replicas: configuration.n_replicas as usize,
    })
}
