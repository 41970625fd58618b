//! Setups in the paper's sense: every model on, one replica each, total compute between the floor and the whole cluster.

use std::collections::HashMap;

use crate::packing::{Demand, Packing, pack};
use crate::problem::{Candidate, Problem};

/// Counts of retained setups.
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
    let mut packer = Packer::new(problem);
    let mut found = Retained {
        by_compute: 0,
        placeable: 0,
        placeable_with_memory: 0,
    };
    for candidates in setups(problem) {
        let (by_share, with_memory) = packer.places(&candidates);
        found.by_compute += 1;
        found.placeable += u64::from(by_share);
        found.placeable_with_memory += u64::from(with_memory);
    }
    found
}

/// All setups retained by total compute, each as a candidate index per model, in the order of the candidates.
#[must_use]
pub fn setups(problem: &Problem) -> Setups<'_> {
    let single: Vec<Vec<usize>> = problem
        .models
        .iter()
        .map(|model| {
            let runs = |c: &Candidate| c.configuration.is_some_and(|c| c.n_replicas == 1);
            (0..model.candidates.len())
                .filter(|at| runs(&model.candidates[*at]))
                .collect()
        })
        .collect();
    let mut most_after = vec![0; single.len() + 1];
    for depth in (0..single.len()).rev() {
        let units = single[depth].iter().map(|c| problem.models[depth].candidates[*c].units);
        most_after[depth] = most_after[depth + 1] + units.max().unwrap_or(0);
    }
    Setups {
        problem,
        single,
        most_after,
        chosen: Vec::new(),
        used: vec![0],
        next: vec![0],
    }
}

/// Iterator over [`setups`].
#[derive(Clone, Debug)]
pub struct Setups<'a> {
    problem: &'a Problem,
    /// Candidates with one replica, for each model.
    single: Vec<Vec<usize>>,
    /// Most units that models from here on can use.
    most_after: Vec<u32>,
    chosen: Vec<usize>,
    /// Units used by the first models chosen.
    used: Vec<u32>,
    /// Which candidate of each open depth comes next.
    next: Vec<usize>,
}

impl Iterator for Setups<'_> {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        while let Some(next) = self.next.last_mut() {
            let at = *next;
            *next += 1;
            let depth = self.chosen.len();
            let Some(&candidate) = self.single[depth].get(at) else {
                self.next.pop();
                self.chosen.pop();
                self.used.truncate(self.next.len());
                continue;
            };
            let used = self.used[depth] + self.problem.models[depth].candidates[candidate].units;
            let reaches_floor = used + self.most_after[depth + 1] >= self.problem.least_units;
            if used > self.problem.all_units() || !reaches_floor {
                continue;
            }
            self.chosen.push(candidate);
            if self.chosen.len() == self.single.len() {
                let setup = self.chosen.clone();
                self.chosen.pop();
                return Some(setup);
            }
            self.used.push(used);
            self.next.push(0);
        }
        None
    }
}

/// Shape of a setup for packing: equal up to the order of its replicas.
type Shape = Vec<(usize, usize, u32, u64, usize)>;

/// Packs setups exactly, and remembers the answer for each shape.
#[derive(Clone, Debug)]
pub struct Packer<'a> {
    problem: &'a Problem,
    known: HashMap<Shape, bool>,
}

impl<'a> Packer<'a> {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(problem: &'a Problem) -> Self {
        Self {
            problem,
            known: HashMap::new(),
        }
    }

    /// Whether a setup can be placed with at most the whole of every GPU in use: memory aside, and with its memory.
    pub fn places(&mut self, candidates: &[usize]) -> (bool, bool) {
        let by_share = self.fits(candidates, 0);
        (by_share, by_share && self.fits(candidates, u64::MAX))
    }

    fn fits(&mut self, candidates: &[usize], most_memory: u64) -> bool {
        let chosen = candidates.iter().enumerate();
        let mut demands: Vec<Demand> = chosen
            .filter_map(|(model_ix, c)| demand(model_ix, &self.problem.models[model_ix].candidates[*c], most_memory))
            .collect();
        demands.sort_by_key(|d| {
            (
                d.gpu_type_ix,
                d.tensor_parallel,
                d.shard_units,
                d.shard_memory,
                d.n_replicas,
            )
        });
        let shape: Shape = demands
            .iter()
            .map(|d| {
                (
                    d.gpu_type_ix,
                    d.tensor_parallel,
                    d.shard_units,
                    d.shard_memory,
                    d.n_replicas,
                )
            })
            .collect();
        if let Some(known) = self.known.get(&shape) {
            return *known;
        }
        let packing = pack(
            &self.problem.cluster,
            self.problem.units_per_gpu,
            &demands,
            self.problem.models.len(),
            u32::MAX,
        );
        let fits = matches!(packing, Packing::Placed(_));
        self.known.insert(shape, fits);
        fits
    }
}

fn demand(model_ix: usize, candidate: &Candidate, most_memory: u64) -> Option<Demand> {
    let configuration = candidate.configuration?;
    Some(Demand {
        model_ix,
        gpu_type_ix: configuration.gpu_type_ix,
        tensor_parallel: configuration.tensor_parallel as usize,
        shard_units: candidate.shard_units,
        shard_memory: candidate.shard_memory.0.min(most_memory),
        n_replicas: configuration.n_replicas as usize,
    })
}
