//! How many setups there are: by total compute alone, and placeable.

use std::collections::HashMap;

use crate::packing::{Demand, Packing, pack};
use crate::problem::Problem;

/// Counts of setups in the paper's sense: every model on, compute between the floor and the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retained {
    /// By total compute alone.
    pub by_compute: u64,
    /// Of these, placeable with at most the whole of every GPU in use, memory aside.
    pub placeable: u64,
    /// Of these, placeable with their memory too.
    pub placeable_with_memory: u64,
}

/// Counts the setups with one replica of every model. Nothing is bounded or skipped: for spaces up to some ten million products.
#[must_use]
pub fn retained(problem: &Problem) -> Retained {
    let single: Vec<Vec<Demand>> = (0..problem.models.len())
        .map(|model| single_replica(problem, model))
        .collect();
    let mut counter = Counter {
        problem,
        single,
        chosen: Vec::new(),
        known: HashMap::new(),
        found: Retained {
            by_compute: 0,
            placeable: 0,
            placeable_with_memory: 0,
        },
    };
    counter.visit(0);
    counter.found
}

fn single_replica(problem: &Problem, model_ix: usize) -> Vec<Demand> {
    let candidates = &problem.models[model_ix].candidates;
    candidates
        .iter()
        .filter_map(|candidate| {
            let configuration = candidate
                .configuration
                .filter(|configuration| configuration.n_replicas == 1)?;
            Some(Demand {
                model_ix,
                gpu_type_ix: configuration.gpu_type_ix,
                tensor_parallel: configuration.tensor_parallel as usize,
                shard_units: candidate.shard_units,
                shard_memory: candidate.shard_memory.0,
                n_replicas: 1,
            })
        })
        .collect()
}

/// Shape of a setup for packing: equal up to the order of its replicas.
type Shape = Vec<(usize, usize, u32, u64)>;

struct Counter<'a> {
    problem: &'a Problem,
    single: Vec<Vec<Demand>>,
    chosen: Vec<Demand>,
    known: HashMap<Shape, bool>,
    found: Retained,
}

impl Counter<'_> {
    fn visit(&mut self, used: u32) {
        let depth = self.chosen.len();
        if depth == self.single.len() {
            if used >= self.problem.least_units {
                self.found.by_compute += 1;
                let by_share = self.fits(0);
                self.found.placeable += u64::from(by_share);
                self.found.placeable_with_memory += u64::from(by_share && self.fits(u64::MAX));
            }
            return;
        }
        for at in 0..self.single[depth].len() {
            let demand = self.single[depth][at];
            let used = used + demand.shard_units * u32::try_from(demand.tensor_parallel).unwrap_or(u32::MAX);
            if used <= self.problem.all_units() {
                self.chosen.push(demand);
                self.visit(used);
                self.chosen.pop();
            }
        }
    }

    fn fits(&mut self, most_memory: u64) -> bool {
        let mut demands: Vec<Demand> = self
            .chosen
            .iter()
            .map(|demand| Demand {
                shard_memory: demand.shard_memory.min(most_memory),
                ..*demand
            })
            .collect();
        demands.sort_by_key(|d| (d.gpu_type_ix, d.tensor_parallel, d.shard_units, d.shard_memory));
        let shape: Shape = demands
            .iter()
            .map(|d| (d.gpu_type_ix, d.tensor_parallel, d.shard_units, d.shard_memory))
            .collect();
        if let Some(known) = self.known.get(&shape) {
            return *known;
        }
        let fits = matches!(
            pack(
                &self.problem.cluster,
                self.problem.units_per_gpu,
                &demands,
                self.problem.models.len(),
                u32::MAX
            ),
            Packing::Placed(_)
        );
        self.known.insert(shape, fits);
        fits
    }
}
