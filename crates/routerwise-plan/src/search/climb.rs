//! Local search from the best routing so far: change one model's configuration, or two at once, while the pooled prices promise more.
//!
//! A dive decides model by model and keeps what it decided first; where prices say little (nothing binds yet) that is a poor guess, and
//! the best-first search improves on it only by chance. The prices of a solved setup are exact for it, so its neighbours' bounds are
//! their first-order gains: a few solves walk up to a good setup, which then closes most of the heap.

use super::{Search, fit};
use crate::packing::Packing;

/// Neighbours packed, and solved where they fit, before a round gives up.
const MAX_PACKED: usize = 60;
const MAX_SOLVED: usize = 8;
const MAX_ROUNDS: usize = 40;
/// Pairs of candidates of two models that are looked at; more are left to rounding.
const MAX_PAIRS: usize = 1_000_000;

/// What a fraction beyond capacity counts as, in limits of a row.
const BEYOND: f64 = 10.0;

/// A setup near the best one.
struct Neighbour {
    /// In tolerances, so that bounds that differ by less count as equal.
    bound: f64,
    strain: f64,
    choice: Vec<u16>,
}

/// Highest bound first, then least strain.
fn best_first(found: &mut Vec<Neighbour>) {
    found.sort_by(|a, b| {
        let bound = b.bound.total_cmp(&a.bound);
        bound
            .then_with(|| a.strain.total_cmp(&b.strain))
            .then_with(|| a.choice.cmp(&b.choice))
    });
    found.truncate(MAX_PACKED);
}

impl Search<'_> {
    /// Walks up until no neighbour that fits is better, or work runs out.
    pub(super) fn climb(&mut self) {
        for _ in 0..MAX_ROUNDS {
            let Some(quality) = self.quality() else { return };
            let improved = self.step(1) || self.step(2);
            if !improved || self.is_out_of_work() || self.quality() <= Some(quality) {
                return;
            }
        }
    }

    pub(super) fn quality(&self) -> Option<f64> {
        self.best.as_ref().map(|best| best.quality)
    }

    /// Tries the most promising neighbours that differ in `n_changes` models; whether one was better.
    fn step(&mut self, n_changes: usize) -> bool {
        let Some(quality) = self.quality() else { return false };
        let mut solved = 0;
        for choice in self.neighbours(n_changes) {
            let node = self.whole(choice);
            if node.bound <= self.cut_off() {
                continue;
            }
            let (packing, steps) = fit::pack_prefix(self.problem, &self.order, &node.choice);
            self.spend(steps);
            if !matches!(packing, Packing::Placed(_)) {
                continue;
            }
            self.decide_now(node);
            solved += 1;
            if self.quality() > Some(quality) {
                return true;
            }
            if solved >= MAX_SOLVED || self.is_out_of_work() {
                return false;
            }
        }
        false
    }

    /// Neighbours with bounds above the cut-off, best first, at most [`MAX_PACKED`].
    fn neighbours(&mut self, n_changes: usize) -> Vec<Vec<u16>> {
        let Some(best) = &self.best else { return Vec::new() };
        let base: Vec<u16> = self
            .order
            .iter()
            .map(|model| u16::try_from(best.candidates[*model]).unwrap_or(u16::MAX))
            .collect();
        let n = base.len();
        let mut found: Vec<Neighbour> = Vec::new();
        for first in 0..n {
            let seconds = if n_changes == 1 { first..first + 1 } else { first + 1..n };
            for second in seconds {
                self.changes(&base, first, second, &mut found);
            }
        }
        best_first(&mut found);
        found.into_iter().map(|neighbour| neighbour.choice).collect()
    }

    /// All changes of one model (`first == second`) or of two that leave the totals within the cluster.
    fn changes(&mut self, base: &[u16], first: usize, second: usize, found: &mut Vec<Neighbour>) {
        let count = |depth: usize| self.problem.models[self.order[depth]].candidates.len();
        let (n_first, n_second) = (count(first), if first == second { 1 } else { count(second) });
        if n_first * n_second > MAX_PAIRS {
            return;
        }
        let cut_off = self.cut_off();
        let all = self.problem.all_units() as usize;
        let mut choice = base.to_vec();
        for a in 0..n_first {
            choice[first] = u16::try_from(a).unwrap_or(u16::MAX);
            for b in 0..n_second {
                if first != second {
                    choice[second] = u16::try_from(b).unwrap_or(u16::MAX);
                }
                if (first == second || choice[second] != base[second]) && choice[first] != base[first] {
                    let used = self.units(&choice);
                    if used > all {
                        continue;
                    }
                    let bound = self
                        .pool
                        .iter()
                        .rev()
                        .map(|point| point.bound(&choice, used))
                        .fold(f64::INFINITY, f64::min);
                    if bound > cut_off && self.fits_in_total(&choice) {
                        found.push(Neighbour {
                            bound: (bound / self.problem.tolerance).round(),
                            strain: self.strain(&choice),
                            choice: choice.clone(),
                        });
                    }
                }
            }
        }
        self.spend((n_first * n_second * self.pool.len()) as u64);
        best_first(found);
    }

    /// How hard it is for a setup to do what the relaxation would like: the rows at its fractions, and what goes beyond capacity.
    fn strain(&self, choice: &[u16]) -> f64 {
        if self.wish.is_empty() {
            return 0.0;
        }
        let n = self.order.len();
        let traffic = &self.problem.traffic;
        let of = |(c, model): (&u16, &usize)| -> f64 {
            let candidate = &self.problem.models[*model].candidates[usize::from(*c)];
            let levels = 0..self.problem.n_levels();
            let at_level = |level: usize| {
                let flow = candidate.flow_at(level);
                let (load, cap) = (traffic.load(&self.wish, level, *model, n), flow.cap());
                let of_row = |row: usize| {
                    let wish = self.wish[traffic.policy_of_row(level, row) * n + model];
                    if traffic.is_shared() {
                        wish * flow.latency(row, load.min(cap))
                    } else {
                        flow.at(row, wish.min(cap))
                    }
                };
                (0..traffic.n_rows()).map(of_row).sum::<f64>() + BEYOND * (load - cap).max(0.0)
            };
            levels.map(at_level).sum()
        };
        choice.iter().zip(&self.order).map(of).sum()
    }

    pub(super) fn units(&self, choice: &[u16]) -> usize {
        let chosen = choice.iter().zip(&self.order);
        chosen
            .map(|(c, model)| self.problem.models[*model].candidates[usize::from(*c)].units as usize)
            .sum()
    }

    /// Whether no resource row is exceeded.
    fn fits_in_total(&self, choice: &[u16]) -> bool {
        let mut taken = vec![0.0; self.problem.resources.len()];
        for (c, model) in choice.iter().zip(&self.order) {
            for (row, part) in &self.problem.models[*model].candidates[usize::from(*c)].takes {
                taken[*row as usize] += part;
            }
        }
        taken.iter().all(|sum| *sum <= 1.0 + 1e-9)
    }
}
