//! Whether replicas fit on a cluster, by trying everything that is not plainly the same.

use std::collections::HashSet;

use routerwise_types::cluster::{Cluster, Interconnect};

/// One replica to place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Replica {
    pub(super) n_shards: usize,
    /// Percent of a GPU that a shard takes.
    pub(super) percent: u64,
    /// Bytes that a shard takes.
    pub(super) memory: u64,
    pub(super) gpu_type_ix: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    No,
    /// Out of states.
    Unknown,
}

/// Percent and bytes that a GPU has left.
type Room = (u64, u64);

/// Decides whether all replicas fit; each state costs one of `states`.
pub(super) fn fits(cluster: &Cluster, replicas: &[Replica], states: &mut u64) -> Fit {
    let mut replicas = replicas.to_vec();
    replicas.sort_by(|a, b| b.cmp(a));
    let room = cluster
        .gpus()
        .map(|gpu| (100, cluster.gpu_types[gpu.gpu_type_ix].usable_memory.0));
    let mut packer = Packer {
        cluster,
        room: room.collect(),
        replicas,
        failed: HashSet::new(),
    };
    packer.place(0, states)
}

struct Packer<'a> {
    cluster: &'a Cluster,
    replicas: Vec<Replica>,
    room: Vec<Room>,
    failed: HashSet<(usize, Vec<Room>)>,
}

impl Packer<'_> {
    fn place(&mut self, next: usize, states: &mut u64) -> Fit {
        let Some(replica) = self.replicas.get(next).copied() else {
            return Fit::Yes;
        };
        if *states == 0 {
            return Fit::Unknown;
        }
        *states -= 1;
        let key = (next, self.state());
        if self.failed.contains(&key) || !self.total_suffices(next) {
            return Fit::No;
        }
        for gpus in self.ways(&replica) {
            for gpu in &gpus {
                self.room[*gpu].0 -= replica.percent;
                self.room[*gpu].1 -= replica.memory;
            }
            let fit = self.place(next + 1, states);
            for gpu in &gpus {
                self.room[*gpu].0 += replica.percent;
                self.room[*gpu].1 += replica.memory;
            }
            if fit != Fit::No {
                return fit;
            }
        }
        self.failed.insert(key);
        Fit::No
    }

    /// All sets of GPUs that can take a replica, but for those that leave the same state as an earlier one.
    fn ways(&mut self, replica: &Replica) -> Vec<Vec<usize>> {
        let mut ways = Vec::new();
        let mut seen = HashSet::new();
        for group in self.cluster.linked_groups(replica.gpu_type_ix, replica.n_shards) {
            let has_room = |gpu: &usize| self.room[*gpu].0 >= replica.percent && self.room[*gpu].1 >= replica.memory;
            let free: Vec<usize> = group.into_iter().filter(has_room).collect();
            for gpus in subsets(&free, replica.n_shards) {
                for gpu in &gpus {
                    self.room[*gpu].0 -= replica.percent;
                    self.room[*gpu].1 -= replica.memory;
                }
                let fresh = seen.insert(self.state());
                for gpu in &gpus {
                    self.room[*gpu].0 += replica.percent;
                    self.room[*gpu].1 += replica.memory;
                }
                if fresh {
                    ways.push(gpus);
                }
            }
        }
        ways
    }

    /// What is left, the same for states that differ by swapping like GPUs of a node, like bridged pairs, or like nodes.
    fn state(&self) -> Vec<Room> {
        let mut nodes = Vec::new();
        let mut first = 0;
        for node in &self.cluster.nodes {
            let gpus = &self.room[first..first + node.n_gpus];
            first += node.n_gpus;
            let width = if node.interconnect == Interconnect::NvlinkPairs {
                2
            } else {
                node.n_gpus.max(1)
            };
            let mut parts: Vec<Vec<Room>> = gpus.chunks(width).map(<[Room]>::to_vec).collect();
            parts.iter_mut().for_each(|part| part.sort_unstable());
            // A last GPU without a partner stays apart from the pairs.
            parts.sort_by_key(|part| (part.len(), part.clone()));
            nodes.push((node.gpu_type_ix, node.n_gpus, parts.concat()));
        }
        nodes.sort_unstable();
        nodes.into_iter().flat_map(|(_, _, rooms)| rooms).collect()
    }

    /// Whether compute and memory of every GPU type would do if shards could be cut up.
    fn total_suffices(&self, next: usize) -> bool {
        (0..self.cluster.gpu_types.len()).all(|gpu_type_ix| {
            let (mut percent, mut memory) = (0i128, 0i128);
            for (gpu, room) in self.cluster.gpus().zip(&self.room) {
                if gpu.gpu_type_ix == gpu_type_ix {
                    percent += i128::from(room.0);
                    memory += i128::from(room.1);
                }
            }
            for replica in self.replicas[next..]
                .iter()
                .filter(|replica| replica.gpu_type_ix == gpu_type_ix)
            {
                percent -= i128::from(replica.percent) * replica.n_shards as i128;
                memory -= i128::from(replica.memory) * replica.n_shards as i128;
            }
            percent >= 0 && memory >= 0
        })
    }
}

/// All sets of `n` out of `items`.
fn subsets(items: &[usize], n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let mut found = Vec::new();
    for (at, item) in items.iter().enumerate() {
        for mut rest in subsets(&items[at + 1..], n - 1) {
            rest.insert(0, *item);
            found.push(rest);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use routerwise_types::cluster::{GpuType, Node};
    use routerwise_types::units::Bytes;

    use super::*;
    use crate::packing::{Demand, Packing, pack};

    fn cluster(sizes: &[usize], interconnect: Interconnect) -> Cluster {
        let nodes = sizes.iter().enumerate().map(|(i, n_gpus)| Node {
            name: format!("node-{i}"),
            gpu_type_ix: 0,
            n_gpus: *n_gpus,
            interconnect,
        });
        Cluster {
            gpu_types: vec![GpuType {
                name: "gpu".into(),
                memory: Bytes(100),
                usable_memory: Bytes(100),
                peak_flops: 1.0,
                peak_bandwidth: 1.0,
                price_per_hour: None,
            }],
            nodes: nodes.collect(),
        }
    }

    proptest! {
        /// Two packers that share no line.
        #[test]
        fn both_packers_agree(
            sizes in prop::sample::select(vec![vec![2], vec![4], vec![2, 2], vec![3, 2], vec![2, 3], vec![4, 2], vec![1, 3], vec![3]]),
            interconnect in prop::sample::select(vec![Interconnect::Nvswitch, Interconnect::NvlinkPairs, Interconnect::Pcie]),
            items in prop::collection::vec((prop::sample::select(vec![1usize, 1, 2, 2, 3, 4]), 1u32..=10, 1u64..=70), 1..7),
        ) {
            let cluster = cluster(&sizes, interconnect);
            let demands: Vec<Demand> = items.iter().enumerate().map(|(model_ix, &(tensor_parallel, units, memory))| Demand {
                model_ix, gpu_type_ix: 0, tensor_parallel, shard_units: units, shard_memory: memory, n_replicas: 1,
            }).collect();
            let replicas: Vec<Replica> = items.iter().map(|&(n_shards, units, memory)| Replica {
                n_shards, percent: u64::from(units) * 10, memory, gpu_type_ix: 0,
            }).collect();
            let planned = pack(&cluster, 10, &demands, demands.len(), 1_000_000);
            let checked = fits(&cluster, &replicas, &mut 1_000_000);
            prop_assert_eq!(matches!(planned, Packing::Placed(_)), checked == Fit::Yes);
            prop_assert!(planned != Packing::Undecided && checked != Fit::Unknown);
        }
    }
}
