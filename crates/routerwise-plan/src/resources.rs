//! What setups take of the cluster, as rows that every packable setup meets.
//!
//! A GPU holds shards of sizes `x ≤ 1` in each of two measures, share and memory, with sums of at most 1. So for every dual feasible
//! function `f` the `f(x)` of the shards on one GPU sum to at most 1 too, and over the `n` GPUs of a type
//!
//! ```text
//! Σ_shards f(x) / n ≤ 1
//! ```
//!
//! `f(x) = x` is the plain budget. `u_k(x) = ⌊(k+1)·x⌋ / k`, or `x` where `(k+1)·x` is whole, knows that at most `k` shards larger than
//! `1/(k+1)` fit side by side (Fekete and Schepers 2001). The rows get prices in the relaxation over all setups, so a bound knows
//! what memory and whole shards cost, not only shares.
//!
//! Rows of [`crate::patterns`] know both measures together; [`strengthen`] adds those that the relaxation breaks.

use routerwise_types::plan::Measure;

use crate::patterns::{Patterns, Wanted, Whole, broken_row};
use crate::prices::{Dual, Mixture, Responses};
use crate::problem::{Candidate, Problem};
use crate::search::region::{Region, Terms, relax};

/// One row: what shards take of the GPUs of one type, through one function.
#[derive(Clone, Debug, PartialEq)]
pub struct Resource {
    /// The GPU type.
    pub(crate) gpu_type_ix: usize,
    pub(crate) part: Part,
}

/// Which function.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Part {
    /// `u_k` of one measure; `k = 0` is the size as it is.
    Of { measure: Measure, k: u32 },
    /// `F` of both.
    Packed(Patterns),
}

/// Functions beyond this say little that smaller ones do not.
const MAX_K: u32 = 4;

/// Rows that could bind: some choice of one candidate per model exceeds them.
pub(crate) fn rows(problem: &Problem) -> Vec<Resource> {
    let types = 0..problem.cluster.gpu_types.len();
    types
        .filter(|gpu_type_ix| problem.cluster.n_gpus_of(*gpu_type_ix) > 0)
        .flat_map(|gpu_type_ix| {
            let row = move |measure| {
                (0..=MAX_K).map(move |k| Resource {
                    gpu_type_ix,
                    part: Part::Of { measure, k },
                })
            };
            row(Measure::Share).chain(row(Measure::Memory))
        })
        .filter(|resource| {
            let most = |candidates: &[Candidate]| {
                candidates
                    .iter()
                    .map(|candidate| resource.taken(problem, candidate))
                    .fold(0.0, f64::max)
            };
            problem.models.iter().map(|model| most(&model.candidates)).sum::<f64>() > 1.0
        })
        .collect()
}

impl Resource {
    /// Part of the row that a candidate takes.
    pub(crate) fn taken(&self, problem: &Problem, candidate: &Candidate) -> f64 {
        let Some(configuration) = candidate
            .configuration
            .filter(|configuration| configuration.gpu_type_ix == self.gpu_type_ix)
        else {
            return 0.0;
        };
        let of_shard = match &self.part {
            Part::Of { measure, k } => {
                let (size, whole) = match measure {
                    Measure::Share => (u64::from(candidate.shard_units), u64::from(problem.units_per_gpu)),
                    Measure::Memory | Measure::Packed => (
                        candidate.shard_memory.0,
                        problem.cluster.gpu_types[self.gpu_type_ix].usable_memory.0,
                    ),
                };
                dual_feasible(*k, size, whole)
            }
            Part::Packed(patterns) => patterns.value(candidate.shard_units, candidate.shard_memory.0),
        };
        let n_shards = f64::from(configuration.tensor_parallel) * f64::from(configuration.n_replicas);
        n_shards * of_shard / problem.cluster.n_gpus_of(self.gpu_type_ix) as f64
    }
}

/// `u_k(size / whole)`, in whole numbers so that rounding cannot break the proof.
fn dual_feasible(k: u32, size: u64, whole: u64) -> f64 {
    let (size, whole, k) = (u128::from(size), u128::from(whole.max(1)), u128::from(k));
    let scaled = (k + 1) * size;
    if k == 0 || scaled.is_multiple_of(whole) {
        size as f64 / whole as f64
    } else {
        (scaled / whole) as f64 / k as f64
    }
}

/// Rows that a candidate takes part of, and how much of each.
pub(crate) fn takes(problem: &Problem, resources: &[Resource], candidate: &Candidate) -> Box<[(u32, f64)]> {
    (0u32..)
        .zip(resources)
        .map(|(row, resource)| (row, resource.taken(problem, candidate)))
        .filter(|(_, taken)| *taken > 0.0)
        .collect()
}

/// Rounds of new rows, and how much a row must be broken to be added.
const MAX_ROUNDS: usize = 12;
const LEAST_BROKEN: f64 = 0.002;

/// Adds the rows over both measures that the relaxation breaks, until there are none.
pub(crate) fn strengthen(problem: &mut Problem) {
    // Plans state shares in whole percents; finer ones would not be verified.
    let is_stated = 100u32.is_multiple_of(problem.units_per_gpu);
    let types: Vec<usize> = (0..problem.cluster.gpu_types.len())
        .filter(|ix| binds_twice(problem, *ix))
        .collect();
    if types.is_empty() || !is_stated {
        return;
    }
    let mut responses = Responses::default();
    let mut start: Option<Dual> = None;
    for _ in 0..MAX_ROUNDS {
        let region = Region::all(problem);
        let solved = relax(problem, &mut responses, &region, start.as_ref(), Terms::exact(problem));
        let Some(mixture) = solved.mixture else { return };
        let found: Vec<Resource> = types
            .iter()
            .filter_map(|gpu_type_ix| broken(problem, &mixture, *gpu_type_ix))
            .collect();
        if found.is_empty() {
            return;
        }
        found.into_iter().for_each(|resource| problem.add_resource(resource));
        start = Some(solved.dual);
    }
}

/// Whether both shares and memory of a GPU type can run out.
fn binds_twice(problem: &Problem, gpu_type_ix: usize) -> bool {
    let has = |wanted: Measure| {
        problem.resources.iter().any(|resource| {
            resource.gpu_type_ix == gpu_type_ix
                && matches!(resource.part, Part::Of { measure, .. } if measure == wanted)
        })
    };
    has(Measure::Share) && has(Measure::Memory)
}

fn broken(problem: &Problem, mixture: &Mixture, gpu_type_ix: usize) -> Option<Resource> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for (model, offers) in problem.models.iter().zip(&mixture.offers) {
        for offer in offers {
            let candidate = &model.candidates[offer.offering];
            let Some(configuration) = candidate.configuration.filter(|c| c.gpu_type_ix == gpu_type_ix) else {
                continue;
            };
            let (units, memory) = (candidate.shard_units, candidate.shard_memory.0);
            let count = offer.weight * f64::from(configuration.tensor_parallel) * f64::from(configuration.n_replicas);
            match wanted.iter_mut().find(|w| (w.units, w.memory) == (units, memory)) {
                Some(same) => same.count += count,
                None => wanted.push(Wanted { units, memory, count }),
            }
        }
    }
    let whole = Whole {
        units: problem.units_per_gpu,
        memory: problem.cluster.gpu_types[gpu_type_ix].usable_memory.0,
    };
    let patterns = broken_row(&wanted, whole, problem.cluster.n_gpus_of(gpu_type_ix), LEAST_BROKEN)?;
    Some(Resource {
        gpu_type_ix,
        part: Part::Packed(patterns),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sizes_that_fit_on_a_gpu_fit_through_every_function(sizes in prop::collection::vec(1u64..80, 1..12), k in 0u32..9) {
            let mut left = 80u64;
            let on_gpu: Vec<u64> = sizes.into_iter().filter(|size| match left.checked_sub(*size) {
                Some(rest) => { left = rest; true }
                None => false,
            }).collect();
            let sum: f64 = on_gpu.iter().map(|size| dual_feasible(k, *size, 80)).sum();
            prop_assert!(sum <= 1.0 + 1e-12);
        }
    }

    #[test]
    fn only_one_shard_above_a_half_fits() {
        assert!((dual_feasible(1, 41, 80) - 1.0).abs() < 1e-12);
        assert!(dual_feasible(1, 39, 80).abs() < 1e-12);
        assert!((dual_feasible(1, 40, 80) - 0.5).abs() < 1e-12);
    }
}
