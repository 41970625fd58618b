//! Best-first over partial setups, bounded by the pooled price vectors.

use super::{MAX_DIVES, MAX_OPEN, MAX_TRIED, Node, Search, fit};
use crate::packing::Packing;

/// Nodes extended between two probes, and candidates of each model that a probe tries to pack.
const PROBE_EVERY: u64 = 200;
const MAX_PROBED: usize = 20;

impl Search<'_> {
    pub(super) fn run(&mut self) {
        let root = self.whole(Vec::new());
        self.push(root);
        self.run_on();
    }

    /// Goes on with what is open.
    pub(super) fn run_on(&mut self) {
        let mut n_extended = 0u64;
        while let Some(mut node) = self.heap.pop() {
            if node.bound <= self.cut_off() {
                self.heap.push(node);
                return;
            }
            let found = !self.is_unmet();
            let solves_spent = self.counts.solved >= u64::from(self.problem.max_solves);
            if found || solves_spent || self.is_out_of_work() || self.heap.len() > MAX_OPEN {
                self.cut_short = !found;
                self.heap.push(node);
                return;
            }
            if node.seen < self.pool.len() {
                let before = node.bound;
                self.tighten(&mut node);
                if node.bound < before {
                    self.push_if_open(node);
                    continue;
                }
            }
            if node.choice.len() < self.order.len() {
                self.extend(&node);
                n_extended += 1;
                if n_extended.is_multiple_of(PROBE_EVERY) {
                    self.tell();
                    self.probe(node);
                }
            } else {
                self.decide(node);
            }
        }
    }

    /// Solves the setup with the highest bound below a node: its prices lower the bounds of all that are like it, which the best-first
    /// order alone would reach only after all others.
    fn probe(&mut self, node: Node) {
        let mut node = node;
        while node.choice.len() < self.order.len() {
            let mut children = self.children(&node);
            children.sort_by(|a, b| b.cmp(a));
            let fitting = children.into_iter().take(MAX_PROBED).find(|child| {
                let (packing, steps) = fit::pack_prefix(self.problem, &self.order, &child.choice);
                self.work_left = self.work_left.saturating_sub(steps);
                matches!(packing, Packing::Placed(_))
            });
            match fitting.filter(|child| child.bound > self.cut_off()) {
                Some(child) => node = child,
                None => return,
            }
        }
        self.decide(node);
    }

    /// Looks for a first routing: model by model the candidate with the highest bound that still fits, a few times over as
    /// prices are learnt.
    pub(super) fn dive(&mut self) {
        if self.best.is_some() || self.is_spent() {
            return;
        }
        for _ in 0..u64::from(self.problem.max_solves).min(MAX_DIVES) {
            let mut node = Node {
                bound: f64::INFINITY,
                choice: Vec::new(),
                used: 0,
                seen: 0,
                split: None,
            };
            while node.choice.len() < self.order.len() {
                if self.is_spent() {
                    return;
                }
                let mut children = self.children(&node);
                children.sort_by(|a, b| b.cmp(a));
                let fitting = children.into_iter().take(MAX_TRIED).find(|child| {
                    let (packing, steps) = fit::pack_prefix(self.problem, &self.order, &child.choice);
                    self.work_left = self.work_left.saturating_sub(steps);
                    matches!(packing, Packing::Placed(_))
                });
                match fitting.filter(|child| child.bound > self.cut_off()) {
                    Some(child) => node = child,
                    None => return,
                }
            }
            self.decide(node);
            if self.best.is_some() {
                return;
            }
        }
    }

    pub(super) fn push(&mut self, node: Node) {
        self.heap.push(node);
    }

    pub(super) fn push_if_open(&mut self, node: Node) {
        if node.bound > self.cut_off() {
            self.heap.push(node);
        } else if node.bound > f64::NEG_INFINITY {
            self.set_aside = self.set_aside.max(node.bound);
        }
    }

    pub(super) fn tighten(&mut self, node: &mut Node) {
        self.spend((self.pool.len() - node.seen) as u64);
        for point in &self.pool[node.seen..] {
            let bound = match &node.split {
                Some(split) => point.bound_within(self.problem, &self.order, &node.choice, &split.ranges),
                None => point.bound(&node.choice, node.used),
            };
            node.bound = node.bound.min(bound);
        }
        node.seen = self.pool.len();
    }

    fn extend(&mut self, node: &Node) {
        for child in self.children(node) {
            self.counts.bounded += u64::from(child.choice.len() == self.order.len());
            self.push_if_open(child);
        }
    }

    /// All ways to decide one more model, with their bounds; what cannot fit is left out.
    fn children(&mut self, node: &Node) -> Vec<Node> {
        let model = self.order[node.choice.len()];
        let problem = self.problem;
        let mut children = Vec::with_capacity(problem.models[model].candidates.len());
        for (index, candidate) in (0u16..).zip(&problem.models[model].candidates) {
            let used = node.used + candidate.units as usize;
            if used > problem.all_units() as usize || !self.within_types(&node.choice, candidate) {
                continue;
            }
            let mut choice = Vec::with_capacity(self.order.len());
            choice.extend_from_slice(&node.choice);
            choice.push(index);
            let (memory_fits, steps) = self.fits.memory(problem, &self.order, &choice);
            self.spend(steps);
            if !memory_fits {
                continue;
            }
            let mut child = Node {
                bound: node.bound,
                choice,
                used,
                seen: 0,
                split: None,
            };
            self.tighten(&mut child);
            children.push(child);
        }
        children
    }

    /// Whether a further candidate leaves no GPU type short of share units or memory in total.
    fn within_types(&self, choice: &[u16], extra: &crate::problem::Candidate) -> bool {
        let Some(configuration) = extra.configuration else {
            return true;
        };
        let gpu_type_ix = configuration.gpu_type_ix;
        let (mut units, mut memory) = (0u64, 0u64);
        let chosen = choice
            .iter()
            .zip(&self.order)
            .map(|(c, model)| &self.problem.models[*model].candidates[usize::from(*c)]);
        for candidate in chosen.chain([extra]) {
            if let Some(other) = candidate.configuration.filter(|other| other.gpu_type_ix == gpu_type_ix) {
                units += u64::from(candidate.units);
                memory += candidate.shard_memory.0 * u64::from(other.tensor_parallel) * u64::from(other.n_replicas);
            }
        }
        let cluster = &self.problem.cluster;
        let all_memory = cluster.gpu_types[gpu_type_ix].usable_memory.0 * cluster.n_gpus_of(gpu_type_ix) as u64;
        units <= u64::from(self.problem.units_of(gpu_type_ix)) && memory <= all_memory
    }
}
