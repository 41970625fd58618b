//! Parts of a cluster: so many GPUs of each type.
//!
//! A part is used up node by node, the largest first, and a node from its first GPU on, so that pairs stay together. For what no plan can
//! do, the GPUs of a type that are used in part count as those of *one* node: whatever fits on them in several nodes fits there too
//! (every linked group of GPUs lies within a larger one), so the limit holds however they are spread.

use routerwise_types::cluster::{Cluster, Node};
use routerwise_types::plan::Plan;
use routerwise_types::workload::Budget;

/// GPUs of each type, in the cluster's order of types.
pub(crate) type Counts = Vec<usize>;

/// All GPUs.
pub(crate) fn all(cluster: &Cluster) -> Counts {
    (0..cluster.gpu_types.len()).map(|ix| cluster.n_gpus_of(ix)).collect()
}

/// Whether everything of the one is in the other.
pub(crate) fn within(part: &[usize], whole: &[usize]) -> bool {
    part.iter().zip(whole).all(|(a, b)| a <= b)
}

/// How many GPUs of each node a plan on so many GPUs takes.
pub(crate) fn per_node(cluster: &Cluster, counts: &[usize]) -> Vec<usize> {
    let mut taken = vec![0; cluster.nodes.len()];
    let mut left = counts.to_vec();
    let mut order: Vec<usize> = (0..cluster.nodes.len()).collect();
    order.sort_by_key(|node| std::cmp::Reverse(cluster.nodes[*node].n_gpus));
    for node_ix in order {
        let node = &cluster.nodes[node_ix];
        taken[node_ix] = node.n_gpus.min(left[node.gpu_type_ix]);
        left[node.gpu_type_ix] -= taken[node_ix];
    }
    taken
}

/// The first GPUs of each node. Nodes that are left out stay, empty.
pub(crate) fn cut(cluster: &Cluster, per_node: &[usize]) -> Cluster {
    let mut part = cluster.clone();
    for (node, n_gpus) in part.nodes.iter_mut().zip(per_node) {
        node.n_gpus = *n_gpus;
    }
    part
}

/// So many GPUs of each type, those of a type that is used in part as one node.
pub(crate) fn pooled(cluster: &Cluster, counts: &[usize]) -> Cluster {
    let mut nodes: Vec<Node> = Vec::new();
    for (gpu_type_ix, count) in counts.iter().enumerate() {
        let of_type = cluster.nodes.iter().filter(|node| node.gpu_type_ix == gpu_type_ix);
        if *count == cluster.n_gpus_of(gpu_type_ix) {
            nodes.extend(of_type.cloned());
        } else {
            nodes.extend(of_type.take(1).map(|node| Node {
                n_gpus: *count,
                ..node.clone()
            }));
        }
    }
    Cluster {
        gpu_types: cluster.gpu_types.clone(),
        nodes,
    }
}

/// Whether [`pooled`] is nothing but the cluster cut to size.
pub(crate) fn is_exact(cluster: &Cluster, counts: &[usize]) -> bool {
    let n_nodes = |gpu_type_ix: usize| {
        cluster
            .nodes
            .iter()
            .filter(|node| node.gpu_type_ix == gpu_type_ix)
            .count()
    };
    let mut types = counts.iter().enumerate();
    types.all(|(ix, count)| *count == cluster.n_gpus_of(ix) || *count == 0 || n_nodes(ix) == 1)
}

/// Numbers the GPUs of a plan on a part of the cluster as in the whole.
pub(crate) fn renumber(plan: &mut Plan, cluster: &Cluster, per_node: &[usize]) {
    let mut first = 0;
    let mut numbers = Vec::new();
    for (node, taken) in cluster.nodes.iter().zip(per_node) {
        numbers.extend(first..first + taken);
        first += node.n_gpus;
    }
    for gpu in plan
        .models
        .iter_mut()
        .flat_map(|model| model.replicas.iter_mut().flatten())
    {
        *gpu = numbers[*gpu];
    }
}

/// Parts beyond this many are looked at in larger steps.
const MAX_PARTS: usize = 100_000;

/// The parts of a cluster that an objective chooses from.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// Numbers of GPUs of each type that are tried, rising; the first is 0, the last all.
    axes: Vec<Vec<usize>>,
    /// Those within the budget, the empty one left out.
    pub(crate) allowed: Vec<Counts>,
    /// Every part lies within one of these, and has more of each type than the number before.
    covering: Vec<Counts>,
}

impl Parts {
    pub(crate) fn new(cluster: &Cluster, budget: &Budget) -> Self {
        let whole = all(cluster);
        let mut step = 1;
        let axes = loop {
            let axes: Vec<Vec<usize>> = whole.iter().map(|count| axis(*count, step)).collect();
            let product = axes.iter().map(Vec::len).try_fold(1usize, usize::checked_mul);
            if product.is_some_and(|product| product <= MAX_PARTS) {
                break axes;
            }
            step *= 2;
        };
        let mut covering = vec![Vec::new()];
        for axis in &axes {
            let longer = covering.iter().flat_map(|counts: &Counts| {
                axis.iter().map(move |count| {
                    let mut counts = counts.clone();
                    counts.push(*count);
                    counts
                })
            });
            covering = longer.collect();
        }
        covering.retain(|counts| counts.iter().any(|count| *count > 0));
        let mut parts = Self {
            axes,
            allowed: Vec::new(),
            covering: Vec::new(),
        };
        parts.allowed = covering
            .iter()
            .filter(|counts| budget.allows(cluster, counts))
            .cloned()
            .collect();
        covering.retain(|counts| budget.allows(cluster, &parts.least(counts)));
        parts.covering = covering;
        parts
    }

    /// The least part that only this one of the covering parts covers.
    fn least(&self, counts: &[usize]) -> Counts {
        let before = |(count, axis): (&usize, &Vec<usize>)| {
            let at = axis.iter().position(|other| other == count).unwrap_or(0);
            if at == 0 { 0 } else { axis[at - 1] + 1 }
        };
        counts.iter().zip(&self.axes).map(before).collect()
    }

    /// Parts within the budget that are within no other.
    pub(crate) fn largest(&self) -> Vec<Counts> {
        largest(self.allowed.iter())
    }

    /// Least price of a part that lies within none of these.
    pub(crate) fn least_price(&self, refuted: &[Counts], price: impl Fn(&[usize]) -> f64) -> f64 {
        let open = self
            .covering
            .iter()
            .filter(|counts| !refuted.iter().any(|limit| within(counts, limit)));
        open.map(|counts| price(&self.least(counts)))
            .fold(f64::INFINITY, f64::min)
    }

    /// Whether every part that the budget allows lies within one of these.
    pub(crate) fn are_covered(&self, by: &[Counts]) -> bool {
        self.covering
            .iter()
            .all(|counts| by.iter().any(|limit| within(counts, limit)))
    }
}

/// Those that lie within no other.
pub(crate) fn largest<'a>(of: impl Iterator<Item = &'a Counts> + Clone) -> Vec<Counts> {
    // Largest sum first: what a part lies within comes before it.
    let mut sorted: Vec<&Counts> = of.collect();
    sorted.sort_by_key(|counts| std::cmp::Reverse(counts.iter().sum::<usize>()));
    let mut found: Vec<Counts> = Vec::new();
    for counts in sorted {
        if !found.iter().any(|larger| within(counts, larger)) {
            found.push(counts.clone());
        }
    }
    found
}

fn axis(count: usize, step: usize) -> Vec<usize> {
    let mut axis: Vec<usize> = (0..count).step_by(step).collect();
    axis.push(count);
    axis
}
