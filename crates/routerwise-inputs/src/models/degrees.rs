//! Tensor-parallel degrees: over how many GPUs a model may be spread.

use routerwise_types::catalogue::{Architecture, ModelMemory};
use routerwise_types::cluster::Cluster;

use crate::defaults;
use crate::text::{Table, Value};

/// Largest degree that may be written.
const MOST: u32 = 64;

/// As written, each checked, or the powers of two that are possible. What is not known, because it was wrong, is not checked.
pub(super) fn read(
    table: &mut Table<'_>,
    architecture: Option<&Architecture>,
    memory: Option<ModelMemory>,
    cluster: Option<&Cluster>,
) -> Option<Vec<u32>> {
    let fits = |tp: u32| match (memory, cluster) {
        (Some(memory), Some(cluster)) => fits(memory, tp, cluster),
        _ => true,
    };
    let degrees = match table.take("tensor-parallel") {
        Some(value) => written(value, architecture, cluster)?,
        None => by_default(table, architecture, &fits),
    };
    if !degrees.iter().any(|tp| fits(*tp)) {
        table.note(table.problem(no_room(table.what(), memory?, cluster?)).help(
            "allow more shards in `tensor-parallel`, choose a smaller `dtype`, lower `kv-reserve`, or take the model out",
        ));
        return None;
    }
    Some(degrees)
}

fn by_default(table: &Table<'_>, architecture: Option<&Architecture>, fits: &dyn Fn(u32) -> bool) -> Vec<u32> {
    let possible: Vec<u32> = [1, 2, 4, 8]
        .into_iter()
        .filter(|tp| architecture.is_none_or(|architecture| head_problem(architecture, *tp).is_none()) && fits(*tp))
        .collect();
    table.put_in_force(
        "tensor-parallel",
        format!("{possible:?}"),
        defaults::TENSOR_PARALLEL_WHY,
    );
    possible
}

fn written(value: Value<'_>, architecture: Option<&Architecture>, cluster: Option<&Cluster>) -> Option<Vec<u32>> {
    let read: Vec<Option<u32>> = value
        .list()?
        .iter()
        .map(|entry| {
            let tp = entry.integer(1..=MOST)?;
            let widest = cluster.map(widest);
            if let Some(problem) = architecture.and_then(|architecture| head_problem(architecture, tp)) {
                return entry.refuse(problem, "remove this degree");
            }
            if let Some(widest) = widest.filter(|widest| tp > *widest) {
                let message = format!("no node has more than {widest} GPUs, so degree {tp} is never used");
                entry.warn(message, "remove this degree");
            }
            Some(tp)
        })
        .collect();
    let mut degrees = read.into_iter().collect::<Option<Vec<u32>>>()?;
    degrees.sort_unstable();
    degrees.dedup();
    Some(degrees)
}

/// Heads are dealt out whole: to every shard the same number of query heads, and key/value heads either dealt out or copied.
fn head_problem(architecture: &Architecture, tp: u32) -> Option<String> {
    let (heads, kv_heads) = (architecture.n_heads, architecture.n_kv_heads);
    if !heads.is_multiple_of(tp) {
        return Some(format!("{heads} attention heads cannot be dealt out to {tp} shards"));
    }
    (!kv_heads.is_multiple_of(tp) && !tp.is_multiple_of(kv_heads))
        .then(|| format!("{kv_heads} key/value heads can neither be dealt out nor copied evenly to {tp} shards"))
}

/// Whether some GPU type has enough memory for a shard, and some node enough GPUs for all of them.
fn fits(memory: ModelMemory, tp: u32, cluster: &Cluster) -> bool {
    let shards = usize::try_from(tp).unwrap_or(usize::MAX);
    cluster.gpu_types.iter().enumerate().any(|(gpu_type_ix, gpu)| {
        memory.of_shard(tp) <= gpu.usable_memory && !cluster.linked_groups(gpu_type_ix, shards).is_empty()
    })
}

/// GPUs of the largest node.
fn widest(cluster: &Cluster) -> u32 {
    let widest = cluster.nodes.iter().map(|node| node.n_gpus).max().unwrap_or_default();
    u32::try_from(widest).unwrap_or(u32::MAX)
}

fn no_room(what: &str, memory: ModelMemory, cluster: &Cluster) -> String {
    let largest = cluster.gpu_types.iter().map(|gpu| gpu.usable_memory).max();
    format!(
        "the {what} fits nowhere: {} of weights, {} of KV reserve and {} of overhead per shard, where the largest GPU has {} \
         to use and the largest node has {} GPUs",
        memory.weights,
        memory.kv_reserve,
        memory.overhead_per_shard,
        largest.unwrap_or_default(),
        widest(cluster),
    )
}
