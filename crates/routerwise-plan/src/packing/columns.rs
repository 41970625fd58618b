//! Whole nodes first: how many nodes are filled alike.
//!
//! Placing replica by replica fills the first nodes well and leaves gaps in the last. Where there are many alike, linear programming
//! does better: a *column* is one shard of a model on every GPU of a node, which is `n / tp` replicas on `n` GPUs; a *pattern* is a set of columns that
//! fit side by side. The fewest nodes that hold all columns, in fractions of patterns, is a cutting-stock problem (Gilmore and
//! Gomory 1961); the whole part of each pattern is placed, and what remains is a small problem for placing one by one.

use routerwise_types::cluster::Cluster;

use super::{Demand, Left};
use crate::patterns::{Wanted, Whole, cut};

/// Nodes of one GPU type and size below which whole patterns are not worth looking for.
const FEWEST_NODES: usize = 4;

/// Whether there are enough nodes alike to look for patterns at all.
pub(super) fn has_many_nodes(cluster: &Cluster) -> bool {
    classes(cluster)
        .iter()
        .any(|(_, _, firsts)| firsts.len() >= FEWEST_NODES)
}

/// Places whole patterns of replicas; what each demand still lacks stays in `demands`. Returns what was placed: index of the demand and GPUs.
pub(super) fn place_whole_nodes(
    cluster: &Cluster,
    units_per_gpu: u32,
    demands: &mut [Demand],
    left: &mut [Left],
) -> Vec<(usize, Vec<usize>)> {
    let mut placed = Vec::new();
    for (gpu_type_ix, n_gpus, firsts) in classes(cluster) {
        if firsts.len() < FEWEST_NODES {
            continue;
        }
        let whole = Whole {
            units: units_per_gpu,
            memory: cluster.gpu_types[gpu_type_ix].usable_memory.0,
        };
        let of_class: Vec<usize> = (0..demands.len())
            .filter(|at| {
                let demand = &demands[*at];
                demand.gpu_type_ix == gpu_type_ix && n_gpus.is_multiple_of(demand.tensor_parallel)
            })
            .collect();
        let wanted: Vec<Wanted> = of_class
            .iter()
            .map(|at| {
                let demand = &demands[*at];
                Wanted {
                    units: demand.shard_units,
                    memory: demand.shard_memory,
                    count: (demand.n_replicas * demand.tensor_parallel) as f64 / n_gpus as f64,
                }
            })
            .collect();
        let Some(cuts) = cut(&wanted, whole) else { continue };
        let mut nodes = firsts.into_iter();
        for (counts, n_nodes) in cuts {
            for _ in 0..whole_part(n_nodes) {
                let Some(first) = nodes.next() else { break };
                for (column, at) in counts.iter().zip(&of_class) {
                    for _ in 0..*column {
                        placed.extend(place_column(&mut demands[*at], *at, first, n_gpus, left));
                    }
                }
            }
        }
    }
    placed
}

/// One column: replicas side by side over the GPUs of a node, as long as some are wanted.
fn place_column(
    demand: &mut Demand,
    at: usize,
    first: usize,
    n_gpus: usize,
    left: &mut [Left],
) -> Vec<(usize, Vec<usize>)> {
    let mut placed = Vec::new();
    for start in (first..first + n_gpus).step_by(demand.tensor_parallel) {
        if demand.n_replicas == 0 {
            break;
        }
        let gpus: Vec<usize> = (start..start + demand.tensor_parallel).collect();
        for gpu in &gpus {
            left[*gpu].units -= demand.shard_units;
            left[*gpu].memory -= demand.shard_memory;
        }
        demand.n_replicas -= 1;
        placed.push((at, gpus));
    }
    placed
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of nodes, at least 0"
)]
fn whole_part(n_nodes: f64) -> usize {
    (n_nodes + 1e-6).floor() as usize
}

/// GPU type, GPUs in each node, and the first GPU of each such node.
fn classes(cluster: &Cluster) -> Vec<(usize, usize, Vec<usize>)> {
    let mut classes: Vec<(usize, usize, Vec<usize>)> = Vec::new();
    let mut first = 0;
    for node in &cluster.nodes {
        let same = classes
            .iter_mut()
            .find(|(gpu_type_ix, n_gpus, _)| (*gpu_type_ix, *n_gpus) == (node.gpu_type_ix, node.n_gpus));
        match same {
            Some((_, _, firsts)) => firsts.push(first),
            None => classes.push((node.gpu_type_ix, node.n_gpus, vec![first])),
        }
        first += node.n_gpus;
    }
    classes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use routerwise_types::cluster::{GpuType, Interconnect, Node};
    use routerwise_types::units::Bytes;

    use crate::packing::{Packing, pack, pack_most};

    use super::*;

    fn cluster(n_nodes: usize) -> Cluster {
        let gpu = GpuType {
            name: "gpu".into(),
            memory: Bytes(100),
            usable_memory: Bytes(100),
            peak_flops: 1.0,
            peak_bandwidth: 1.0,
            price_per_hour: None,
        };
        let node = |i: usize| Node {
            name: format!("n{i}"),
            gpu_type_ix: 0,
            n_gpus: 8,
            interconnect: Interconnect::Nvswitch,
        };
        Cluster {
            gpu_types: vec![gpu],
            nodes: (0..n_nodes).map(node).collect(),
        }
    }

    fn demand(
        model_ix: usize,
        tensor_parallel: usize,
        shard_units: u32,
        shard_memory: u64,
        n_replicas: usize,
    ) -> Demand {
        Demand {
            model_ix,
            gpu_type_ix: 0,
            tensor_parallel,
            shard_units,
            shard_memory,
            n_replicas,
        }
    }

    /// Ten nodes hold 4 + 3 + 3 each and nothing else fills them; largest first puts the fours in pairs.
    #[test]
    fn whole_patterns_fit_where_largest_first_does_not() {
        let demands = [demand(0, 8, 4, 1, 10), demand(1, 8, 3, 1, 20)];
        let left = vec![Left { units: 10, memory: 100 }; 80];
        let nodes = std::rc::Rc::new(cluster(10).linked_groups(0, 8));
        let groups: Vec<_> = (0..30).map(|_| std::rc::Rc::clone(&nodes)).collect();
        let each: Vec<Demand> = demands
            .iter()
            .flat_map(|d| std::iter::repeat_n(Demand { n_replicas: 1, ..*d }, d.n_replicas))
            .collect();
        assert_eq!(
            crate::packing::greedy::place(&cluster(10), 10, &each, &groups, &left),
            None
        );
        assert!(matches!(pack(&cluster(10), 10, &demands, 2, 1), Packing::Placed(_)));
    }

    proptest! {
        #[test]
        fn nothing_is_placed_twice_or_beyond_a_gpu(
            items in prop::collection::vec((prop::sample::select(vec![1usize, 2, 4, 8]), 1u32..=10, 1u64..=100, 1usize..30), 1..7),
            extras in prop::collection::vec((prop::sample::select(vec![1usize, 2, 4]), 1u32..=10, 1u64..=100), 0..4),
        ) {
            let cluster = cluster(6);
            let demands: Vec<Demand> = items.iter().enumerate().map(|(i, &(tp, u, m, n))| demand(i, tp, u, m, n)).collect();
            let extras: Vec<Demand> =
                extras.iter().enumerate().map(|(i, &(tp, u, m))| demand(items.len() + i, tp, u, m, 1)).collect();
            let all: Vec<Demand> = demands.iter().chain(&extras).copied().collect();
            let placement = pack_most(&cluster, 10, &demands, &extras, all.len());
            let mut left = vec![(10u32, 100u64); cluster.n_gpus()];
            for (demand, replicas) in all.iter().zip(&placement) {
                prop_assert!(replicas.len() <= demand.n_replicas);
                for gpus in replicas {
                    let mut distinct = gpus.clone();
                    distinct.dedup();
                    prop_assert_eq!(distinct.len(), demand.tensor_parallel);
                    prop_assert!(gpus.iter().all(|gpu| gpu / 8 == gpus[0] / 8), "one node");
                    for gpu in gpus {
                        left[*gpu].0 = left[*gpu].0.checked_sub(demand.shard_units).unwrap();
                        left[*gpu].1 = left[*gpu].1.checked_sub(demand.shard_memory).unwrap();
                    }
                }
            }
        }
    }
}
