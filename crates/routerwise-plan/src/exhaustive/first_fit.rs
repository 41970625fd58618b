//! First-fit decreasing by memory, the paper's test of a placement: no two shards of one model on a GPU, shares left aside.

use crate::problem::Problem;

/// Whether first-fit decreasing places all shards of a setup (candidate index per model).
#[must_use]
pub fn places(problem: &Problem, candidates: &[usize]) -> bool {
    let mut shards: Vec<Shard> = Vec::new();
    for (model, candidate) in candidates.iter().enumerate() {
        let candidate = &problem.models[model].candidates[*candidate];
        let Some(configuration) = candidate.configuration else {
            continue;
        };
        let shard = Shard {
            memory: candidate.shard_memory.0,
            model,
            gpu_type_ix: configuration.gpu_type_ix,
        };
        let n_shards = configuration.tensor_parallel * configuration.n_replicas;
        shards.extend(std::iter::repeat_n(shard, n_shards as usize));
    }
    shards.sort_by(|a, b| b.memory.cmp(&a.memory).then(a.model.cmp(&b.model)));
    let mut gpus: Vec<Gpu> = problem
        .cluster
        .gpus()
        .map(|gpu| Gpu {
            gpu_type_ix: gpu.gpu_type_ix,
            free: problem.cluster.gpu_types[gpu.gpu_type_ix].usable_memory.0,
            models: Vec::new(),
        })
        .collect();
    shards.iter().all(|shard| {
        let takes = |gpu: &&mut Gpu| {
            gpu.gpu_type_ix == shard.gpu_type_ix && gpu.free >= shard.memory && !gpu.models.contains(&shard.model)
        };
        gpus.iter_mut().find(takes).is_some_and(|gpu| {
            gpu.free -= shard.memory;
            gpu.models.push(shard.model);
            true
        })
    })
}

#[derive(Clone, Copy)]
struct Shard {
    memory: u64,
    model: usize,
    gpu_type_ix: usize,
}

struct Gpu {
    gpu_type_ix: usize,
    free: u64,
    models: Vec<usize>,
}
