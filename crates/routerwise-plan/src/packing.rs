//! Shards onto GPUs, exactly: two resources (share and memory), distinct GPUs per replica, all within linked GPUs.
//!
//! Depth-first over replicas, largest first. States that differ only by exchanging equal GPUs or equal nodes are visited once, so an
//! exhausted search is a proof that nothing fits. First-fit decreasing, as in the paper, rejects setups that fit. Several orders of
//! placing without looking back ([`greedy`]) come first: they find most placements, also on a thousand GPUs.

mod columns;
mod greedy;

use std::collections::BTreeMap;
use std::rc::Rc;

use routerwise_types::cluster::{Cluster, Interconnect};
use routerwise_types::setup::Placement;
use rustc_hash::FxHashSet;

/// The replicas of one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Index into the placement that is returned.
    pub model_ix: usize,
    /// GPU type that its shards need.
    pub gpu_type_ix: usize,
    /// Shards per replica.
    pub tensor_parallel: usize,
    /// Share units of one shard.
    pub shard_units: u32,
    /// Memory of one shard in bytes.
    pub shard_memory: u64,
    /// Number of replicas.
    pub n_replicas: usize,
}

/// Whether demands fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packing {
    /// They do, like this.
    Placed(Placement),
    /// Proven not to.
    Impossible,
    /// The search ran out of steps.
    Undecided,
}

/// Looks for a placement, visiting at most `max_steps` states.
///
/// ```
/// use routerwise_plan::packing::{Demand, Packing, pack};
/// use routerwise_types::Bytes;
/// use routerwise_types::cluster::{Cluster, GpuType, Interconnect, Node};
///
/// let gb = |n: u64| n * 1_000_000_000;
/// let gpu = GpuType {
///     name: "a100-80gb-sxm".into(),
///     memory: Bytes(gb(80)),
///     usable_memory: Bytes(gb(72)),
///     peak_flops: 312e12,
///     peak_bandwidth: 2.0e12,
///     price_per_hour: None,
/// };
/// let node = Node { name: "node".into(), gpu_type_ix: 0, n_gpus: 2, interconnect: Interconnect::Nvswitch };
/// let cluster = Cluster { gpu_types: vec![gpu], nodes: vec![node] };
/// let large = Demand { model_ix: 0, gpu_type_ix: 0, tensor_parallel: 2, shard_units: 6, shard_memory: gb(40), n_replicas: 1 };
/// let small = Demand { model_ix: 1, tensor_parallel: 1, shard_units: 4, shard_memory: gb(20), n_replicas: 2, ..large };
/// let Packing::Placed(placement) = pack(&cluster, 10, &[large, small], 2, 1_000) else { panic!("it fits") };
/// assert_eq!(placement, vec![vec![vec![0, 1]], vec![vec![0], vec![1]]]);
/// ```
#[must_use]
pub fn pack(cluster: &Cluster, units_per_gpu: u32, demands: &[Demand], n_models: usize, max_steps: u32) -> Packing {
    pack_counting(cluster, units_per_gpu, demands, n_models, max_steps).0
}

/// As many of the replicas as find room, and then of the `extras`, in their order. No proof that more would not.
pub(crate) fn pack_most(
    cluster: &Cluster,
    units_per_gpu: u32,
    demands: &[Demand],
    extras: &[Demand],
    n_models: usize,
) -> Placement {
    let mut left = whole(cluster, units_per_gpu);
    let mut placement = vec![Vec::new(); n_models];
    let mut demands = demands.to_vec();
    for (at, gpus) in columns::place_whole_nodes(cluster, units_per_gpu, &mut demands, &mut left) {
        placement[demands[at].model_ix].push(gpus);
    }
    let (replicas, extras) = (each(&demands), each(extras));
    let mut known = Groups::default();
    let groups = known.of(cluster, &replicas);
    let unplaced = |chosen: &Vec<Vec<usize>>| -> u64 {
        let left_out = replicas.iter().zip(chosen).filter(|(_, gpus)| gpus.is_empty());
        let size = |demand: &Demand| demand.tensor_parallel as u64 * u64::from(demand.shard_units);
        left_out.map(|(demand, _)| size(demand)).sum()
    };
    let ways = greedy::placements(cluster, units_per_gpu, &replicas, &groups, &left, greedy::Unfit::Skip);
    let mut best: Option<(u64, Vec<Vec<usize>>)> = None;
    for chosen in ways {
        let missing = unplaced(&chosen);
        if best.as_ref().is_none_or(|(least, _)| missing < *least) {
            best = Some((missing, chosen));
        }
        if missing == 0 {
            break;
        }
    }
    let chosen = best.map(|(_, chosen)| chosen).unwrap_or_default();
    for (demand, gpus) in replicas.iter().zip(chosen).filter(|(_, gpus)| !gpus.is_empty()) {
        for gpu in &gpus {
            left[*gpu].units -= demand.shard_units;
            left[*gpu].memory -= demand.shard_memory;
        }
        placement[demand.model_ix].push(gpus);
    }
    let groups = known.of(cluster, &extras);
    let more = greedy::one_by_one(cluster, units_per_gpu, &extras, &groups, left);
    for (demand, gpus) in extras.iter().zip(more).filter(|(_, gpus)| !gpus.is_empty()) {
        placement[demand.model_ix].push(gpus);
    }
    placement.iter_mut().for_each(|replicas| replicas.sort());
    placement
}

/// What [`pack_most`] places, where that is everything.
fn place_all(cluster: &Cluster, units_per_gpu: u32, demands: &[Demand], n_models: usize) -> Option<Placement> {
    if !columns::has_many_nodes(cluster) {
        return None;
    }
    let placement = pack_most(cluster, units_per_gpu, demands, &[], n_models);
    let placed: usize = placement.iter().map(Vec::len).sum();
    let wanted: usize = demands.iter().map(|demand| demand.n_replicas).sum();
    (placed == wanted).then_some(placement)
}

/// Every replica by itself.
fn each(demands: &[Demand]) -> Vec<Demand> {
    let replicas = demands
        .iter()
        .flat_map(|demand| std::iter::repeat_n(*demand, demand.n_replicas));
    replicas.collect()
}

/// The linked groups of GPUs that replicas may lie in, found once for each kind.
#[derive(Default)]
struct Groups {
    known: BTreeMap<(usize, usize), Rc<Vec<Vec<usize>>>>,
}

impl Groups {
    fn of(&mut self, cluster: &Cluster, replicas: &[Demand]) -> Vec<Rc<Vec<Vec<usize>>>> {
        let mut find = |d: &Demand| {
            let groups = self.known.entry((d.gpu_type_ix, d.tensor_parallel));
            Rc::clone(groups.or_insert_with(|| Rc::new(cluster.linked_groups(d.gpu_type_ix, d.tensor_parallel))))
        };
        replicas.iter().map(&mut find).collect()
    }
}

/// What the replicas from each on take in all: units and memory of each GPU type.
fn needed(n_types: usize, replicas: &[Demand]) -> Vec<Vec<(u64, u64)>> {
    let mut needed = vec![vec![(0, 0); n_types]];
    for replica in replicas.iter().rev() {
        let mut sum = needed[needed.len() - 1].clone();
        let n_shards = replica.tensor_parallel as u64;
        sum[replica.gpu_type_ix].0 += n_shards * u64::from(replica.shard_units);
        sum[replica.gpu_type_ix].1 += n_shards * replica.shard_memory;
        needed.push(sum);
    }
    needed.reverse();
    needed
}

/// All GPUs, empty.
fn whole(cluster: &Cluster, units_per_gpu: u32) -> Vec<Left> {
    let empty = cluster.gpus().map(|gpu| Left {
        units: units_per_gpu,
        memory: cluster.gpu_types[gpu.gpu_type_ix].usable_memory.0,
    });
    empty.collect()
}

/// [`pack`], and how many states it visited.
pub(crate) fn pack_counting(
    cluster: &Cluster,
    units_per_gpu: u32,
    demands: &[Demand],
    n_models: usize,
    max_steps: u32,
) -> (Packing, u32) {
    let mut replicas = each(demands);
    replicas.sort_by_key(|d| std::cmp::Reverse((d.tensor_parallel, d.shard_units, d.shard_memory, d.model_ix)));
    let mut search = Search {
        cluster,
        left: whole(cluster, units_per_gpu),
        groups: Groups::default().of(cluster, &replicas),
        pairs: cluster
            .nodes
            .iter()
            .any(|node| node.interconnect == Interconnect::NvlinkPairs),
        chosen: Vec::with_capacity(replicas.len()),
        seen: FxHashSet::default(),
        types: cluster.gpus().map(|gpu| gpu.gpu_type_ix).collect(),
        needed: needed(cluster.gpu_types.len(), &replicas),
        steps: max_steps,
        replicas,
    };
    let found = if search.too_many_large() || !search.enough_in_total(0) {
        Found::No
    } else if let Some(chosen) = greedy::place(cluster, units_per_gpu, &search.replicas, &search.groups, &search.left) {
        search.chosen = chosen;
        Found::Yes
    } else if let Some(placement) = place_all(cluster, units_per_gpu, demands, n_models) {
        return (Packing::Placed(placement), 0);
    } else {
        search.place(0)
    };
    let visited = max_steps - search.steps;
    let packing = match found {
        Found::Yes => {
            let mut placement = vec![Vec::new(); n_models];
            for (replica, gpus) in search.replicas.iter().zip(search.chosen) {
                placement[replica.model_ix].push(gpus);
            }
            for replicas in &mut placement {
                replicas.sort();
            }
            Packing::Placed(placement)
        }
        Found::No => Packing::Impossible,
        Found::OutOfSteps => Packing::Undecided,
    };
    (packing, visited)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Left {
    units: u32,
    memory: u64,
}

enum Found {
    Yes,
    No,
    OutOfSteps,
}

struct Search<'a> {
    cluster: &'a Cluster,
    replicas: Vec<Demand>,
    groups: Vec<Rc<Vec<Vec<usize>>>>,
    left: Vec<Left>,
    pairs: bool,
    chosen: Vec<Vec<usize>>,
    seen: FxHashSet<(usize, Vec<Left>)>,
    /// GPU type of each GPU.
    types: Vec<usize>,
    /// `needed[d]`: units and memory of each GPU type that replicas `d..` take in all.
    needed: Vec<Vec<(u64, u64)>>,
    steps: u32,
}

impl Search<'_> {
    fn place(&mut self, depth: usize) -> Found {
        let Some(&replica) = self.replicas.get(depth) else {
            return Found::Yes;
        };
        if !self.enough_in_total(depth) || !self.seen.insert((depth, self.canonical())) {
            return Found::No;
        }
        if self.steps == 0 {
            return Found::OutOfSteps;
        }
        self.steps -= 1;
        for group in Rc::clone(&self.groups[depth]).iter() {
            let mut fitting: Vec<usize> = group
                .iter()
                .copied()
                .filter(|gpu| {
                    self.left[*gpu].units >= replica.shard_units && self.left[*gpu].memory >= replica.shard_memory
                })
                .collect();
            // Fullest first: tight fits leave room for large shards.
            fitting.sort_by_key(|gpu| (self.left[*gpu], *gpu));
            match self.choose(
                depth,
                &replica,
                &fitting,
                0,
                &mut Vec::with_capacity(replica.tensor_parallel),
            ) {
                Found::No => {}
                other => return other,
            }
        }
        Found::No
    }

    /// Tries every set of `tensor_parallel` GPUs out of `fitting[from..]` added to `picked`.
    fn choose(
        &mut self,
        depth: usize,
        replica: &Demand,
        fitting: &[usize],
        from: usize,
        picked: &mut Vec<usize>,
    ) -> Found {
        if picked.len() == replica.tensor_parallel {
            return self.descend(depth, replica, picked);
        }
        let missing = replica.tensor_parallel - picked.len();
        for at in from..fitting.len() {
            if fitting.len() - at < missing {
                break;
            }
            // Without pairs, equal GPUs of a node are interchangeable: only take the first ones of a run.
            let twin_skipped = at > from && !self.pairs && self.left[fitting[at]] == self.left[fitting[at - 1]];
            if twin_skipped {
                continue;
            }
            picked.push(fitting[at]);
            let found = self.choose(depth, replica, fitting, at + 1, picked);
            picked.pop();
            match found {
                Found::No => {}
                other => return other,
            }
        }
        Found::No
    }

    fn descend(&mut self, depth: usize, replica: &Demand, picked: &[usize]) -> Found {
        for gpu in picked {
            self.left[*gpu].units -= replica.shard_units;
            self.left[*gpu].memory -= replica.shard_memory;
        }
        let mut gpus = picked.to_vec();
        gpus.sort_unstable();
        self.chosen.push(gpus);
        let found = self.place(depth + 1);
        if !matches!(found, Found::Yes) {
            self.chosen.pop();
            for gpu in picked {
                self.left[*gpu].units += replica.shard_units;
                self.left[*gpu].memory += replica.shard_memory;
            }
        }
        found
    }

    /// Whether more shards than could be are larger than a half (third, …) of a GPU in either resource: at most `k − 1` shards above
    /// one `k`-th fit on one. Rules out at a glance what would take an exhaustive search.
    fn too_many_large(&self) -> bool {
        (0..self.cluster.gpu_types.len()).any(|gpu_type_ix| {
            let n_gpus = self.cluster.n_gpus_of(gpu_type_ix) as u64;
            let full = self
                .cluster
                .gpus()
                .zip(&self.left)
                .find(|(gpu, _)| gpu.gpu_type_ix == gpu_type_ix);
            let Some((_, full)) = full else { return false };
            let above = |larger: &dyn Fn(&Demand) -> bool| -> u64 {
                let own = self
                    .replicas
                    .iter()
                    .filter(|replica| replica.gpu_type_ix == gpu_type_ix);
                own.filter(|replica| larger(replica))
                    .map(|replica| replica.tensor_parallel as u64)
                    .sum()
            };
            (2..=8).any(|k| {
                let most = (k - 1) * n_gpus;
                above(&|replica| u64::from(replica.shard_units) * k > u64::from(full.units)) > most
                    || above(&|replica| replica.shard_memory * k > full.memory) > most
            })
        })
    }

    /// Whether what is left could hold the remaining replicas if shards could be cut up.
    fn enough_in_total(&self, depth: usize) -> bool {
        let mut left = vec![(0u64, 0u64); self.cluster.gpu_types.len()];
        for (gpu_type_ix, gpu) in self.types.iter().zip(&self.left) {
            left[*gpu_type_ix].0 += u64::from(gpu.units);
            left[*gpu_type_ix].1 += gpu.memory;
        }
        let needed = self.needed[depth].iter();
        needed
            .zip(left)
            .all(|(needed, left)| needed.0 <= left.0 && needed.1 <= left.1)
    }

    /// The state up to exchanging equal GPUs (or bridged pairs) within a node and equal nodes.
    fn canonical(&self) -> Vec<Left> {
        let mut nodes: Vec<(usize, usize, Vec<Left>)> = Vec::with_capacity(self.cluster.nodes.len());
        let mut first = 0;
        for node in &self.cluster.nodes {
            let mut left = self.left[first..first + node.n_gpus].to_vec();
            match node.interconnect {
                Interconnect::NvlinkPairs => {
                    let mut pairs: Vec<Vec<Left>> = left
                        .chunks(2)
                        .map(|pair| {
                            let mut pair = pair.to_vec();
                            pair.sort_unstable();
                            pair
                        })
                        .collect();
                    pairs.sort_by_key(|pair| (std::cmp::Reverse(pair.len()), pair.clone()));
                    left = pairs.concat();
                }
                Interconnect::Nvswitch | Interconnect::Pcie => left.sort_unstable(),
            }
            nodes.push((node.gpu_type_ix, node.n_gpus, left));
            first += node.n_gpus;
        }
        nodes.sort();
        nodes.into_iter().flat_map(|(_, _, left)| left).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use routerwise_types::cluster::{GpuType, Node};
    use routerwise_types::units::Bytes;

    use super::*;

    fn cluster(n_nodes: usize, n_gpus: usize, interconnect: Interconnect) -> Cluster {
        Cluster {
            gpu_types: vec![GpuType {
                name: "gpu".into(),
                memory: Bytes(100),
                usable_memory: Bytes(100),
                peak_flops: 1.0,
                peak_bandwidth: 1.0,
                price_per_hour: None,
            }],
            nodes: (0..n_nodes)
                .map(|i| Node {
                    name: format!("n{i}"),
                    gpu_type_ix: 0,
                    n_gpus,
                    interconnect,
                })
                .collect(),
        }
    }

    fn demand(model_ix: usize, tensor_parallel: usize, shard_units: u32, shard_memory: u64) -> Demand {
        Demand {
            model_ix,
            gpu_type_ix: 0,
            tensor_parallel,
            shard_units,
            shard_memory,
            n_replicas: 1,
        }
    }

    #[test]
    fn what_first_fit_decreasing_rejects_is_placed() {
        // Shards of 6, 5, 5, 4, by compute, on two GPUs of 10: FFD on memory order puts 6+4 apart only by luck.
        let demands = [
            demand(0, 1, 5, 40),
            demand(1, 1, 5, 30),
            demand(2, 1, 6, 20),
            demand(3, 1, 4, 10),
        ];
        assert!(matches!(
            pack(&cluster(1, 2, Interconnect::Pcie), 10, &demands, 4, 1000),
            Packing::Placed(_)
        ));
    }

    #[test]
    fn memory_alone_can_forbid_what_shares_allow() {
        let demands = [demand(0, 1, 1, 60), demand(1, 1, 1, 60), demand(2, 1, 1, 60)];
        assert_eq!(
            pack(&cluster(1, 2, Interconnect::Pcie), 10, &demands, 3, 1000),
            Packing::Impossible
        );
    }

    /// After the first replica, full pairs on the large and on the small node once looked the same: a false proof.
    #[test]
    fn nodes_of_different_size_are_not_mistaken_for_each_other() {
        let mut cluster = cluster(2, 3, Interconnect::Nvswitch);
        cluster.nodes[1].n_gpus = 2;
        // The large node holds three pairs of halves only while the 6 is on the small one.
        let demands = [
            demand(0, 2, 6, 1),
            demand(1, 2, 5, 1),
            demand(2, 2, 5, 1),
            demand(3, 2, 5, 1),
        ];
        assert!(matches!(pack(&cluster, 10, &demands, 4, 1000), Packing::Placed(_)));
    }

    #[test]
    fn two_shards_need_a_bridge_where_gpus_come_in_pairs() {
        // One GPU of each pair is full: two shards would fit the node but not a pair.
        let demands = [demand(0, 1, 10, 1), demand(1, 1, 10, 1), demand(2, 2, 10, 1)];
        assert!(matches!(
            pack(&cluster(1, 4, Interconnect::NvlinkPairs), 10, &demands, 3, 1000),
            Packing::Placed(_)
        ));
        let demands = [demand(0, 2, 5, 1), demand(1, 2, 6, 1), demand(2, 2, 6, 1)];
        assert_eq!(
            pack(&cluster(1, 4, Interconnect::NvlinkPairs), 10, &demands, 3, 1000),
            Packing::Impossible
        );
    }

    /// Slow and obvious: every assignment of shards to GPUs.
    fn fits_by_brute_force(cluster: &Cluster, units: u32, demands: &[Demand]) -> bool {
        fn go(cluster: &Cluster, left: &mut Vec<(u32, u64)>, demands: &[Demand]) -> bool {
            let Some((first, rest)) = demands.split_first() else {
                return true;
            };
            for group in cluster.linked_groups(0, first.tensor_parallel) {
                for mask in 0u32..1 << group.len() {
                    if mask.count_ones() as usize != first.tensor_parallel {
                        continue;
                    }
                    let gpus: Vec<usize> = group
                        .iter()
                        .enumerate()
                        .filter(|(i, _)| mask >> i & 1 == 1)
                        .map(|(_, g)| *g)
                        .collect();
                    if gpus
                        .iter()
                        .all(|g| left[*g].0 >= first.shard_units && left[*g].1 >= first.shard_memory)
                    {
                        gpus.iter().for_each(|g| {
                            left[*g].0 -= first.shard_units;
                            left[*g].1 -= first.shard_memory;
                        });
                        let found = go(cluster, left, rest);
                        gpus.iter().for_each(|g| {
                            left[*g].0 += first.shard_units;
                            left[*g].1 += first.shard_memory;
                        });
                        if found {
                            return true;
                        }
                    }
                }
            }
            false
        }
        go(cluster, &mut vec![(units, 100); cluster.n_gpus()], demands)
    }

    proptest! {
        #[test]
        fn packing_agrees_with_brute_force(
            shape in prop::sample::select(vec![(1, 2), (1, 4), (2, 2)]),
            interconnect in prop::sample::select(vec![Interconnect::Nvswitch, Interconnect::NvlinkPairs, Interconnect::Pcie]),
            items in prop::collection::vec((prop::sample::select(vec![1usize, 1, 2, 2, 4]), 1u32..=10, 1u64..=70), 1..6),
        ) {
            let cluster = cluster(shape.0, shape.1, interconnect);
            let demands: Vec<Demand> =
                items.iter().enumerate().map(|(i, &(tp, units, memory))| demand(i, tp, units, memory)).collect();
            let found = pack(&cluster, 10, &demands, demands.len(), 1_000_000);
            let fits = fits_by_brute_force(&cluster, 10, &demands);
            match found {
                Packing::Placed(placement) => {
                    prop_assert!(fits);
                    let mut left = vec![(10u32, 100u64); cluster.n_gpus()];
                    for (demand, replicas) in demands.iter().zip(&placement) {
                        for gpu in &replicas[0] {
                            left[*gpu].0 = left[*gpu].0.checked_sub(demand.shard_units).unwrap();
                            left[*gpu].1 = left[*gpu].1.checked_sub(demand.shard_memory).unwrap();
                        }
                    }
                }
                Packing::Impossible => prop_assert!(!fits),
                Packing::Undecided => prop_assert!(false, "a million steps are plenty"),
            }
        }
    }
}
