//! A small linear program that grows by columns: the restricted master of the price problem.
//!
//! ```text
//! maximise c·x   subject to   A·x = b,  x ≥ 0
//! ```
//!
//! Revised primal simplex with a dense basis inverse. The matrix has a row per model and constraint (tens) and a column per price
//! vector tried (hundreds), and is solved again after each new column from the basis it had: a few pivots of a few
//! microseconds. General LP libraries rebuild the problem each time.

/// Reduced costs below this are rounding.
const COST_TOLERANCE: f64 = 1e-10;
/// Pivots smaller than this are rounding.
const PIVOT_TOLERANCE: f64 = 1e-9;
const REFACTOR_EVERY: usize = 64;

/// The simplex did not finish; only possible through severe rounding trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stalled;

#[derive(Clone, Debug)]
pub(crate) struct Master {
    n_rows: usize,
    right: Vec<f64>,
    costs: Vec<f64>,
    /// Column `j` at `[j · n_rows ..][..n_rows]`.
    entries: Vec<f64>,
    basis: Vec<usize>,
    is_basic: Vec<bool>,
    /// Row-major inverse of the basis.
    inverse: Vec<f64>,
    values: Vec<f64>,
    pivots_since_refactor: usize,
    /// Entries looked at so far: what the time goes to.
    looked: u64,
}

impl Master {
    pub(crate) fn new(right: Vec<f64>) -> Self {
        let n_rows = right.len();
        Self {
            n_rows,
            right,
            costs: Vec::new(),
            entries: Vec::new(),
            basis: Vec::new(),
            is_basic: Vec::new(),
            inverse: vec![0.0; n_rows * n_rows],
            values: vec![0.0; n_rows],
            pivots_since_refactor: 0,
            looked: 0,
        }
    }

    /// Adds a column given by its non-zero entries and returns its number.
    pub(crate) fn add(&mut self, cost: f64, entries: impl IntoIterator<Item = (usize, f64)>) -> usize {
        let at = self.entries.len();
        self.entries.resize(at + self.n_rows, 0.0);
        for (row, value) in entries {
            self.entries[at + row] += value;
        }
        self.costs.push(cost);
        self.is_basic.push(false);
        self.costs.len() - 1
    }

    pub(crate) fn set_cost(&mut self, column: usize, cost: f64) {
        self.costs[column] = cost;
    }

    /// Starts from a basis that the caller knows to be feasible: one column per row.
    pub(crate) fn start(&mut self, basis: Vec<usize>) -> Result<(), Stalled> {
        debug_assert_eq!(basis.len(), self.n_rows, "a basis has one column per row");
        for column in &basis {
            self.is_basic[*column] = true;
        }
        self.basis = basis;
        self.refactor()
    }

    /// Entries looked at since the last call.
    pub(crate) fn take_looked(&mut self) -> u64 {
        std::mem::take(&mut self.looked)
    }

    pub(crate) fn objective(&self) -> f64 {
        self.basis
            .iter()
            .zip(&self.values)
            .map(|(column, value)| self.costs[*column] * value)
            .sum()
    }

    /// Basic columns and their values.
    pub(crate) fn solution(&self) -> impl Iterator<Item = (usize, f64)> + '_ {
        self.basis
            .iter()
            .copied()
            .zip(self.values.iter().map(|value| value.max(0.0)))
    }

    /// Row duals `y = c_B·B⁻¹`.
    pub(crate) fn duals(&self) -> Vec<f64> {
        let mut duals = vec![0.0; self.n_rows];
        for (column, row) in self.basis.iter().zip(self.inverse.chunks_exact(self.n_rows)) {
            let cost = self.costs[*column];
            if cost != 0.0 {
                for (dual, entry) in duals.iter_mut().zip(row) {
                    *dual += cost * entry;
                }
            }
        }
        duals
    }

    /// Pivots until no column improves the objective.
    pub(crate) fn optimise(&mut self) -> Result<(), Stalled> {
        let limit = 2_000 + 20 * self.n_rows;
        let mut best = self.objective();
        let mut idle = 0;
        for _ in 0..limit {
            self.looked += (self.entries.len() + 2 * self.n_rows * self.n_rows) as u64;
            let bland = idle > 2 * self.n_rows + 20;
            let duals = self.duals();
            let Some(entering) = self.entering(&duals, bland) else {
                return Ok(());
            };
            let direction = self.direction(entering);
            let Some(leaving) = self.leaving(&direction, bland) else {
                return Err(Stalled);
            };
            self.pivot(entering, leaving, &direction)?;
            let objective = self.objective();
            if objective > best + 1e-13 * best.abs().max(1.0) {
                best = objective;
                idle = 0;
            } else {
                idle += 1;
            }
        }
        Err(Stalled)
    }

    fn entering(&self, duals: &[f64], bland: bool) -> Option<usize> {
        let scale = duals.iter().fold(1.0f64, |scale, dual| scale.max(dual.abs()));
        let tolerance = COST_TOLERANCE * scale;
        let mut best = (tolerance, None);
        for (column, entries) in self.entries.chunks_exact(self.n_rows).enumerate() {
            if self.is_basic[column] {
                continue;
            }
            let gain = self.costs[column] - entries.iter().zip(duals).map(|(a, y)| a * y).sum::<f64>();
            if gain > best.0 {
                best = (gain, Some(column));
                if bland {
                    break;
                }
            }
        }
        best.1
    }

    fn direction(&self, column: usize) -> Vec<f64> {
        let entries = &self.entries[column * self.n_rows..][..self.n_rows];
        self.inverse
            .chunks_exact(self.n_rows)
            .map(|row| row.iter().zip(entries).map(|(inverse, entry)| inverse * entry).sum())
            .collect()
    }

    /// Ratio test; among ties the largest pivot (or the lowest column number under Bland's rule).
    fn leaving(&self, direction: &[f64], bland: bool) -> Option<usize> {
        let mut best: Option<(f64, usize)> = None;
        for (row, step) in direction.iter().enumerate() {
            if *step <= PIVOT_TOLERANCE {
                continue;
            }
            let ratio = self.values[row].max(0.0) / step;
            let better = match best {
                None => true,
                Some((least, at)) => {
                    ratio < least - 1e-12
                        || (ratio < least + 1e-12
                            && if bland {
                                self.basis[row] < self.basis[at]
                            } else {
                                *step > direction[at]
                            })
                }
            };
            if better {
                best = Some((ratio, row));
            }
        }
        best.map(|(_, row)| row)
    }

    fn pivot(&mut self, entering: usize, leaving: usize, direction: &[f64]) -> Result<(), Stalled> {
        let n = self.n_rows;
        let pivot = direction[leaving];
        let ratio = self.values[leaving].max(0.0) / pivot;
        let pivot_row: Vec<f64> = self.inverse[leaving * n..][..n]
            .iter()
            .map(|entry| entry / pivot)
            .collect();
        for (row, step) in direction.iter().enumerate() {
            if row == leaving {
                continue;
            }
            self.values[row] -= ratio * step;
            if *step != 0.0 {
                for (entry, lead) in self.inverse[row * n..][..n].iter_mut().zip(&pivot_row) {
                    *entry -= step * lead;
                }
            }
        }
        self.inverse[leaving * n..][..n].copy_from_slice(&pivot_row);
        self.values[leaving] = ratio;
        self.is_basic[self.basis[leaving]] = false;
        self.is_basic[entering] = true;
        self.basis[leaving] = entering;
        self.pivots_since_refactor += 1;
        if self.pivots_since_refactor >= REFACTOR_EVERY {
            return self.refactor();
        }
        Ok(())
    }

    /// Recomputes inverse and values from the basis by Gauss-Jordan elimination with partial pivoting.
    fn refactor(&mut self) -> Result<(), Stalled> {
        let n = self.n_rows;
        let width = 2 * n;
        let mut tableau = vec![0.0; n * width];
        for (position, column) in self.basis.iter().enumerate() {
            for row in 0..n {
                tableau[row * width + position] = self.entries[column * n + row];
            }
        }
        for row in 0..n {
            tableau[row * width + n + row] = 1.0;
        }
        for lead in 0..n {
            let pivot_row = (lead..n)
                .max_by(|a, b| {
                    tableau[a * width + lead]
                        .abs()
                        .total_cmp(&tableau[b * width + lead].abs())
                })
                .ok_or(Stalled)?;
            let pivot = tableau[pivot_row * width + lead];
            if pivot.abs() < 1e-13 {
                return Err(Stalled);
            }
            for k in 0..width {
                tableau.swap(lead * width + k, pivot_row * width + k);
                tableau[lead * width + k] /= pivot;
            }
            for row in 0..n {
                let factor = tableau[row * width + lead];
                if row != lead && factor != 0.0 {
                    for k in 0..width {
                        tableau[row * width + k] -= factor * tableau[lead * width + k];
                    }
                }
            }
        }
        for row in 0..n {
            self.inverse[row * n..][..n].copy_from_slice(&tableau[row * width + n..][..n]);
            self.values[row] = self.inverse[row * n..][..n]
                .iter()
                .zip(&self.right)
                .map(|(a, b)| a * b)
                .sum();
        }
        self.pivots_since_refactor = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use microlp::{ComparisonOp, OptimizationDirection, Problem};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// `max c·x, A·x ≤ b, x ≤ 1` for random dense data, against an independent solver.
        #[test]
        fn the_master_agrees_with_an_independent_solver(
            n_rows in 1usize..5, costs in prop::collection::vec(-1.0f64..2.0, 1..8),
            data in prop::collection::vec(0.0f64..1.0, 5 * 8), right in prop::collection::vec(0.1f64..2.0, 5),
        ) {
            let n = costs.len();
            let mut all_right = right[..n_rows].to_vec();
            all_right.extend(std::iter::repeat_n(1.0, n));
            let mut master = Master::new(all_right);
            let slacks = (0..n_rows + n).map(|row| master.add(0.0, [(row, 1.0)])).collect();
            for (j, cost) in costs.iter().enumerate() {
                master.add(*cost, (0..n_rows).map(|row| (row, data[row * 8 + j])).chain([(n_rows + j, 1.0)]));
            }
            master.start(slacks).unwrap();
            master.optimise().unwrap();

            let mut reference = Problem::new(OptimizationDirection::Maximize);
            let vars: Vec<_> = costs.iter().map(|cost| reference.add_var(*cost, (0.0, 1.0))).collect();
            for row in 0..n_rows {
                let terms: Vec<_> = vars.iter().enumerate().map(|(j, var)| (*var, data[row * 8 + j])).collect();
                reference.add_constraint(terms.as_slice(), ComparisonOp::Le, right[row]);
            }
            let microlp::SolveOutcome::Solution(solved) = reference.solve().unwrap() else { panic!("bounded and feasible") };
            prop_assert!((master.objective() - solved.objective()).abs() < 1e-8);
            let dual_value: f64 = master.duals().iter().zip(&master.right).map(|(y, b)| y * b).sum();
            prop_assert!((dual_value - solved.objective()).abs() < 1e-8);
        }
    }
}
