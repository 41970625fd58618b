//! Nodes, GPUs and the links between them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// What is known about a kind of GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuType {
    /// Catalogue name, such as `a100-80gb-sxm`.
    pub name: String,
    /// Memory that the driver reports.
    pub memory: Bytes,
    /// Part of the memory that engines may use; the rest is CUDA contexts, fragmentation and safety.
    pub usable_memory: Bytes,
    /// Peak dense bf16 (or fp16) tensor throughput, FLOP/s.
    pub peak_flops: f64,
    /// Peak memory bandwidth, bytes/s.
    pub peak_bandwidth: f64,
    /// Price of one GPU per hour, in the user's currency.
    pub price_per_hour: Option<f64>,
}

/// How the GPUs of one node are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Interconnect {
    /// Every GPU reaches every other at full NVLink speed.
    Nvswitch,
    /// GPUs 0-1, 2-3, … are bridged; other pairs talk over PCIe.
    NvlinkPairs,
    /// No NVLink at all.
    Pcie,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// Unique name.
    pub name: String,
    /// Index into [`Cluster::gpu_types`].
    pub gpu_type_ix: usize,
    /// Number of GPUs.
    pub n_gpus: usize,
    /// How they are linked.
    pub interconnect: Interconnect,
}

/// The GPUs that there are to give. GPUs are numbered through, node after node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cluster {
    /// Kinds of GPU present.
    pub gpu_types: Vec<GpuType>,
    /// Machines. Nodes of one GPU type have one interconnect: a profile is of a GPU type *with* its links.
    pub nodes: Vec<Node>,
}

/// One GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// Index into [`Cluster::nodes`].
    pub node_ix: usize,
    /// Position in the node: the CUDA index.
    pub index_in_node: usize,
    /// Index into [`Cluster::gpu_types`].
    pub gpu_type_ix: usize,
}

impl Cluster {
    /// All GPUs in index order.
    pub fn gpus(&self) -> impl Iterator<Item = Gpu> + '_ {
        self.nodes.iter().enumerate().flat_map(|(node_ix, node)| {
            (0..node.n_gpus).map(move |index_in_node| Gpu {
                node_ix,
                index_in_node,
                gpu_type_ix: node.gpu_type_ix,
            })
        })
    }

    /// How many GPUs there are.
    #[must_use]
    pub fn n_gpus(&self) -> usize {
        self.nodes.iter().map(|node| node.n_gpus).sum()
    }

    /// How many GPUs of one type there are.
    #[must_use]
    pub fn n_gpus_of(&self, gpu_type_ix: usize) -> usize {
        self.nodes
            .iter()
            .filter(|node| node.gpu_type_ix == gpu_type_ix)
            .map(|node| node.n_gpus)
            .sum()
    }

    /// The interconnect of the nodes that have this GPU type.
    #[must_use]
    pub fn interconnect_of(&self, gpu_type_ix: usize) -> Option<Interconnect> {
        self.nodes
            .iter()
            .find(|node| node.gpu_type_ix == gpu_type_ix)
            .map(|node| node.interconnect)
    }

    /// `node-1/2`: what a person calls the GPU with this index.
    #[must_use]
    pub fn gpu_id(&self, gpu_ix: usize) -> String {
        match self.gpus().nth(gpu_ix) {
            Some(gpu) => format!("{}/{}", self.nodes[gpu.node_ix].name, gpu.index_in_node),
            None => format!("gpu {gpu_ix}"),
        }
    }

    /// The sets of GPU indices within which the shards of one replica must all lie.
    ///
    /// One set per node, except that two shards on a node linked in pairs must share a pair: the bridge is seven
    /// times faster than the way around it.
    #[must_use]
    pub fn linked_groups(&self, gpu_type_ix: usize, tensor_parallel: usize) -> Vec<Vec<usize>> {
        let mut groups = Vec::new();
        let mut first = 0;
        for node in &self.nodes {
            if node.gpu_type_ix == gpu_type_ix {
                let width = match node.interconnect {
                    Interconnect::NvlinkPairs if tensor_parallel == 2 => 2,
                    _ => node.n_gpus.max(1),
                };
                let all: Vec<usize> = (first..first + node.n_gpus).collect();
                groups.extend(
                    all.chunks(width)
                        .filter(|group| group.len() >= tensor_parallel)
                        .map(<[usize]>::to_vec),
                );
            }
            first += node.n_gpus;
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_shards_on_bridged_gpus_stay_on_a_bridge() {
        let gpu = GpuType {
            name: "a100".into(),
            memory: Bytes(80_000_000_000),
            usable_memory: Bytes(72_000_000_000),
            peak_flops: 312e12,
            peak_bandwidth: 1.9e12,
            price_per_hour: None,
        };
        let node = Node {
            name: "n".into(),
            gpu_type_ix: 0,
            n_gpus: 4,
            interconnect: Interconnect::NvlinkPairs,
        };
        let cluster = Cluster {
            gpu_types: vec![gpu],
            nodes: vec![
                node.clone(),
                Node {
                    name: "m".into(),
                    ..node
                },
            ],
        };
        assert_eq!(
            cluster.linked_groups(0, 2),
            vec![vec![0, 1], vec![2, 3], vec![4, 5], vec![6, 7]]
        );
        assert_eq!(cluster.linked_groups(0, 4), vec![vec![0, 1, 2, 3], vec![4, 5, 6, 7]]);
        assert_eq!(cluster.linked_groups(0, 8), Vec::<Vec<usize>>::new());
        assert_eq!(cluster.gpu_id(5), "m/1");
    }
}
