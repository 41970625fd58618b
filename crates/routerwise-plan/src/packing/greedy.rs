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
    let all = |chosen: &[Vec<usize>]| chosen.iter().all(|gpus| !gpus.is_empty());
    placements(cluster, units_per_gpu, replicas, groups, left, Unfit::GiveUp).find(|chosen| all(chosen))
}

/// What happens when a replica finds no room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    GiveUp,
    Skip,
}

/// What each order of placing finds: the GPUs of each replica, none where there is no room.
pub(super) fn placements<'a>(
    cluster: &'a Cluster,
    units_per_gpu: u32,
    replicas: &'a [Demand],
    groups: &'a [Rc<Vec<Vec<usize>>>],
    left: &'a [Left],
    unfit: Unfit,
) -> impl Iterator<Item = Vec<Vec<usize>>> + 'a {
    // With one measure left aside all orders are the same.
    let one_measure = replicas.iter().all(|replica| replica.shard_units == 0);
    let n_orders = if one_measure { 1 } else { SIZES.len() };
    let orders = SIZES.into_iter().rev().take(n_orders);
    let ways = orders.flat_map(|order| [(order, Size::Sum), (order, Size::Share)]);
    ways.map(move |(order, fit)| {
        let room = room_on(cluster, units_per_gpu, fit);
        let order = sorted(cluster, units_per_gpu, replicas, order);
        fill(replicas, groups, &mut left.to_vec(), &order, unfit, room)
    })
}

/// The GPUs of each replica, in the order given, where they fit most tightly; none where there is no room.
pub(super) fn one_by_one(
    cluster: &Cluster,
    units_per_gpu: u32,
    replicas: &[Demand],
    groups: &[Rc<Vec<Vec<usize>>>],
    left: Vec<Left>,
) -> Vec<Vec<usize>> {
    let mut left = left;
    let in_order: Vec<usize> = (0..replicas.len()).collect();
    fill(
        replicas,
        groups,
        &mut left,
        &in_order,
        Unfit::Skip,
        room_on(cluster, units_per_gpu, Size::Sum),
    )
}

/// How much room a GPU has left.
fn room_on(cluster: &Cluster, units_per_gpu: u32, fit: Size) -> impl Fn(usize, &Left) -> f64 {
    let usable: Vec<f64> = cluster
        .gpus()
        .map(|gpu| cluster.gpu_types[gpu.gpu_type_ix].usable_memory.0.max(1) as f64)
        .collect();
    move |gpu, left| {
        fit.of(
            f64::from(left.units) / f64::from(units_per_gpu),
            left.memory as f64 / usable[gpu],
        )
    }
}

fn fill(
    replicas: &[Demand],
    groups: &[Rc<Vec<Vec<usize>>>],
    left: &mut [Left],
    order: &[usize],
    unfit: Unfit,
    room: impl Fn(usize, &Left) -> f64,
) -> Vec<Vec<usize>> {
    let mut chosen = vec![Vec::new(); replicas.len()];
    for at in order {
        let demand = &replicas[*at];
        match tightest(demand, &groups[*at], left, &room) {
            Some(gpus) => {
                for gpu in &gpus {
                    left[*gpu].units -= demand.shard_units;
                    left[*gpu].memory -= demand.shard_memory;
                }
                chosen[*at] = gpus;
            }
            None if unfit == Unfit::GiveUp => break,
            None => {}
        }
    }
    chosen
}

/// Indices of replicas, largest first.
fn sorted(cluster: &Cluster, units_per_gpu: u32, replicas: &[Demand], order: Size) -> Vec<usize> {
    let size = |at: usize| {
        let demand = &replicas[at];
        let memory = cluster.gpu_types[demand.gpu_type_ix].usable_memory.0.max(1) as f64;
        order.of(
            f64::from(demand.shard_units) / f64::from(units_per_gpu),
            demand.shard_memory as f64 / memory,
        )
    };
    let mut sorted: Vec<usize> = (0..replicas.len()).collect();
    // Stable: replicas of one model stay together.
    sorted.sort_by(|a, b| {
        let by_degree = replicas[*b].tensor_parallel.cmp(&replicas[*a].tensor_parallel);
        by_degree.then_with(|| size(*b).total_cmp(&size(*a)))
    });
    sorted
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
