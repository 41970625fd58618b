//! Placements without looking back: largest first, each where it fits most tightly, in several orders.
//!
//! What "largest" and "tightly" mean decides whether two resources fit side by side, and no single meaning is always right; all
//! of them together cost less than a few dozen steps of the exact search, whose answer is only needed where none of them finds one.

use std::rc::Rc;

use routerwise_types::cluster::Cluster;

use super::{Demand, Left};

/// How a size in two measures becomes one.
#[derive(Clone, Copy)]
enum Size {
    Share,
    Memory,
    Sum,
    Larger,
}

const SIZES: [Size; 4] = [Size::Share, Size::Sum, Size::Larger, Size::Memory];

impl Size {
    fn of(self, share: f64, memory: f64) -> f64 {
        match self {
            Self::Share => share + 1e-3 * memory,
            Self::Memory => memory + 1e-3 * share,
            Self::Sum => share + memory,
            Self::Larger => share.max(memory),
        }
    }
}

/// For each replica, in the order given, the GPUs of its shards; nothing when no order of placing finds room for all.
pub(super) fn place(
    cluster: &Cluster,
    units_per_gpu: u32,
    replicas: &[Demand],
    groups: &[Rc<Vec<Vec<usize>>>],
    left: &[Left],
) -> Option<Vec<Vec<usize>>> {
    let usable: Vec<f64> = cluster
        .gpus()
        .map(|gpu| cluster.gpu_types[gpu.gpu_type_ix].usable_memory.0.max(1) as f64)
        .collect();
    let room = |gpu: usize, left: &Left, size: Size| {
        size.of(
            f64::from(left.units) / f64::from(units_per_gpu),
            left.memory as f64 / usable[gpu],
        )
    };
    // With one measure left aside all orders are the same.
    let one_measure = replicas.iter().all(|replica| replica.shard_units == 0);
    let n_orders = if one_measure { 1 } else { SIZES.len() };
    for order in SIZES.into_iter().rev().take(n_orders) {
        let mut sorted: Vec<usize> = (0..replicas.len()).collect();
        let size = |at: usize| {
            let demand = &replicas[at];
            let memory = cluster.gpu_types[demand.gpu_type_ix].usable_memory.0.max(1) as f64;
            order.of(
                f64::from(demand.shard_units) / f64::from(units_per_gpu),
                demand.shard_memory as f64 / memory,
            )
        };
        // Stable: replicas of one model stay together.
        sorted.sort_by(|a, b| {
            let by_degree = replicas[*b].tensor_parallel.cmp(&replicas[*a].tensor_parallel);
            by_degree.then_with(|| size(*b).total_cmp(&size(*a)))
        });
        for fit in [Size::Sum, Size::Share] {
            let mut left = left.to_vec();
            let mut chosen = vec![Vec::new(); replicas.len()];
            let all = sorted.iter().all(|at| {
                let demand = &replicas[*at];
                let best = tightest(demand, &groups[*at], &left, |gpu, left| room(gpu, left, fit));
                let Some(gpus) = best else { return false };
                for gpu in &gpus {
                    left[*gpu].units -= demand.shard_units;
                    left[*gpu].memory -= demand.shard_memory;
                }
                chosen[*at] = gpus;
                true
            });
            if all {
                return Some(chosen);
            }
        }
    }
    None
}

/// The GPUs of one group with the least room that suffices.
fn tightest(
    demand: &Demand,
    groups: &[Vec<usize>],
    left: &[Left],
    room: impl Fn(usize, &Left) -> f64,
) -> Option<Vec<usize>> {
    let mut best: Option<(f64, Vec<usize>)> = None;
    let mut fitting: Vec<(f64, usize)> = Vec::new();
    for group in groups {
        fitting.clear();
        let fits = |gpu: &&usize| left[**gpu].units >= demand.shard_units && left[**gpu].memory >= demand.shard_memory;
        fitting.extend(group.iter().filter(fits).map(|gpu| (room(*gpu, &left[*gpu]), *gpu)));
        if fitting.len() < demand.tensor_parallel {
            continue;
        }
        fitting.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let taken = &fitting[..demand.tensor_parallel];
        let sum: f64 = taken.iter().map(|(room, _)| room).sum();
        if best.as_ref().is_none_or(|(least, _)| sum < *least - 1e-12) {
            let mut gpus: Vec<usize> = taken.iter().map(|(_, gpu)| *gpu).collect();
            gpus.sort_unstable();
            best = Some((sum, gpus));
        }
    }
    best.map(|(_, gpus)| gpus)
}
