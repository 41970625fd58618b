//! Deciding one setup: does it fit, what is it worth, and what is left of it to look at.

use super::shared::confined;
use super::{Incumbent, MAX_EVALUATIONS_PER_SOLVE, Node, Search, Split, fit};
use crate::flow::Interval;
use crate::packing::Packing;
use crate::prices::{Ending, Solved, Until};

const NARROWEST: f64 = 1e-7;
/// Halves of a setup's fractions that are solved before the tree begins.
const MAX_SPLITS: u32 = 12;
/// Flows may exceed their limit by this much, relative, through rounding.
pub(crate) const FEASIBILITY: f64 = 1e-9;

impl Search<'_> {
    pub(super) fn decide(&mut self, node: Node) {
        let candidates = self.candidates(&node.choice);
        let (ranges, placement) = match &node.split {
            Some(split) => (split.ranges.clone(), split.placement.clone()),
            None => {
                self.counts.packed += 1;
                let (packing, steps) = fit::pack_setup(self.problem, &candidates);
                self.spend(steps);
                match packing {
                    Packing::Placed(placement) => (self.problem.all_ranges(), placement),
                    Packing::Impossible => return,
                    Packing::Undecided => {
                        self.undecided.push(node);
                        return;
                    }
                }
            }
        };
        let until = Until {
            tolerance: self.problem.tolerance * 0.25,
            cut_off: self.cut_off(),
            max_evaluations: MAX_EVALUATIONS_PER_SOLVE,
        };
        let before = self.responses.work;
        let is_shared = self.problem.traffic.is_shared();
        let is_whole = !is_shared || ranges == self.problem.all_ranges();
        let solvable = if is_shared {
            confined(self.problem, &candidates, &ranges)
        } else {
            Some(ranges.clone())
        };
        // No loads of such a box sum to 1.
        let Some(solvable) = solvable else { return };
        let solved = self.solve_setup(&candidates, &solvable, until);
        self.spend(self.responses.work - before);
        self.counts.solved += 1;
        let mut node = node;
        node.split = Some(Box::new(Split {
            ranges: ranges.clone(),
            placement: placement.clone(),
        }));
        if is_whole {
            self.learn(&solved.dual);
            node.seen = self.pool.len() - 1;
            self.tighten(&mut node);
        } else {
            self.note(&mut node, &solved.dual);
        }
        if is_shared {
            self.conclude_shared(node, &candidates, solved);
        } else {
            self.conclude(node, &candidates, solved);
        }
    }

    /// [`Self::decide`] before the tree has begun: what splitting leaves open is looked at here and then left to the tree, which comes
    /// upon the setup again.
    pub(super) fn decide_now(&mut self, node: Node) {
        self.decide(node);
        // Loads of shared models are confined far too slowly to be worth it here.
        let max_splits = if self.problem.traffic.is_shared() {
            0
        } else {
            MAX_SPLITS
        };
        for _ in 0..max_splits {
            let Some(half) = self.heap.pop().filter(|half| half.bound > self.cut_off()) else {
                break;
            };
            if self.is_spent() {
                break;
            }
            self.decide(half);
        }
        self.heap.clear();
    }

    /// Takes what a solved setup says: a better routing, a closed bound, or two halves to look at.
    pub(super) fn conclude(&mut self, node: Node, candidates: &[usize], solved: Solved) {
        let Some(split) = node.split.clone() else { return };
        let mixture = match (solved.ending, solved.mixture) {
            (Ending::Infeasible | Ending::CutOff, _) | (_, None) => {
                return self.close(&node);
            }
            (_, Some(mixture)) => mixture,
        };
        if mixture.excess <= FEASIBILITY {
            let better = self.best.as_ref().is_none_or(|best| mixture.quality > best.quality);
            if better {
                self.best = Some(Incumbent {
                    candidates: candidates.to_vec(),
                    ranges: split.ranges.clone(),
                    placement: split.placement.clone(),
                    quality: mixture.quality,
                    fractions: mixture.fractions.clone(),
                    loads: Vec::new(),
                    dual: solved.dual.clone(),
                });
                self.tell();
            }
            return self.close(&node);
        }
        if node.bound <= self.cut_off() {
            return self.close(&node);
        }
        let worst = (0..mixture.hidden.len()).max_by(|a, b| mixture.hidden[*a].total_cmp(&mixture.hidden[*b]));
        let Some(worst) = worst else { return };
        let (level, model) = (worst / candidates.len(), worst % candidates.len());
        let flow = self.problem.models[model].candidates[candidates[model]].flow_at(level);
        let range = split.ranges[worst];
        let high = range.high.min(flow.cap());
        let at =
            mixture.fractions[worst].clamp(range.low + 0.02 * (high - range.low), high - 0.02 * (high - range.low));
        if high - range.low < NARROWEST {
            return self.close(&node);
        }
        for half in [
            Interval {
                low: range.low,
                high: at,
            },
            Interval {
                low: at,
                high: range.high,
            },
        ] {
            let mut child = node.clone();
            let mut ranges = split.ranges.clone();
            ranges[worst] = half;
            child.split = Some(Box::new(Split {
                ranges,
                placement: split.placement.clone(),
            }));
            child.seen = 0;
            self.tighten(&mut child);
            self.push_if_open(child);
        }
    }

    /// Gives setups that may or may not fit a longer look, those first that most of the gap hangs on, while there is work left.
    pub(super) fn pack_again(&mut self) {
        while !self.is_spent() {
            let highest = (0..self.undecided.len()).max_by(|a, b| self.undecided[*a].cmp(&self.undecided[*b]));
            let Some(at) = highest.filter(|at| self.undecided[*at].bound > self.cut_off()) else {
                return;
            };
            let mut node = self.undecided.swap_remove(at);
            let candidates = self.candidates(&node.choice);
            let (packing, steps) = fit::pack_long(self.problem, &candidates);
            self.spend(steps);
            match packing {
                Packing::Placed(placement) => {
                    let ranges = self.problem.all_ranges();
                    node.split = Some(Box::new(Split { ranges, placement }));
                    self.push(node);
                    self.run_on();
                }
                Packing::Impossible => {}
                Packing::Undecided => self.close(&node),
            }
        }
    }

    /// A closed setup still limits what may be claimed, by its bound. One without a routing has a bound below 0.
    pub(super) fn close(&mut self, node: &Node) {
        self.set_aside = self.set_aside.max(node.bound);
    }
}
