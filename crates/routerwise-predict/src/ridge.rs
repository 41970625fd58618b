//! Ridge regression of several targets on sparse features, for several strengths at once.
//!
//! ```text
//! minimise  Σ_i (z_i − x_i·w)² + λ·|w|²        w = Xᵀc,  (X·Xᵀ + λ·I)·c = z
//! ```
//!
//! Conjugate gradients solve for `c` at the smallest strength; the Krylov space of a matrix is that of the matrix plus any `λ·I`, so
//! all other strengths cost a few additions more (B. Jegerlehner, "Krylov space solvers for shifted linear systems", 1996). One matrix
//! product per step serves all targets and all strengths. Stopping early holds weights back further, which does no harm here.

use crate::rows::{Design, LANES, Lanes, narrow};

/// Strengths that are tried. Rows have a length of about 1, so a strength is like that many prompts that say "as usual".
pub(crate) const STRENGTHS: [f64; 7] = [0.6, 1.5, 4.0, 10.0, 25.0, 60.0, 150.0];
const MOST_STEPS: usize = 40;
/// A target is solved when its residual is this small a part of it.
const SOLVED: f64 = 3e-3;

/// Coefficients `c` of the chosen rows, for each strength.
pub(crate) struct Solution {
    /// By strength, then by position in the list of rows.
    pub(crate) by_strength: Vec<Vec<Lanes>>,
}

/// Solves for the rows listed; `targets` are theirs, in the same order.
pub(crate) fn solve(rows: &impl Design, listed: &[usize], targets: &[Lanes]) -> Solution {
    let mut state = State::new(targets);
    let mut scratch = vec![[0.0; LANES]; rows.n_features()];
    for _ in 0..MOST_STEPS {
        if state.is_solved() {
            break;
        }
        let product = gram(rows, listed, &state.direction, STRENGTHS[0], &mut scratch);
        state.step(&product);
    }
    Solution {
        by_strength: state.shifted.into_iter().map(|shifted| shifted.solution).collect(),
    }
}

/// Weights from coefficients, each lane with the strength that was chosen for it; a lane without one gets none.
pub(crate) fn weights(
    rows: &impl Design,
    listed: &[usize],
    solution: &Solution,
    chosen: &[Option<usize>; LANES],
) -> Vec<Lanes> {
    let mut weights = vec![[0.0; LANES]; rows.n_features()];
    for (at, row) in listed.iter().enumerate() {
        let mut by = [0.0; LANES];
        for (lane, chosen) in chosen.iter().enumerate() {
            by[lane] = chosen.map_or(0.0, |chosen| solution.by_strength[chosen][at][lane]);
        }
        rows.add_to(*row, &by, &mut weights);
    }
    weights
}

/// `(X·Xᵀ + λ·I)·v`.
fn gram(rows: &impl Design, listed: &[usize], v: &[Lanes], strength: f64, scratch: &mut [Lanes]) -> Vec<Lanes> {
    scratch.fill([0.0; LANES]);
    for (row, by) in listed.iter().zip(v) {
        rows.add_to(*row, by, scratch);
    }
    let strength = narrow(strength);
    let product = |(row, v): (&usize, &Lanes)| {
        let mut product = rows.times(*row, scratch);
        product
            .iter_mut()
            .zip(v)
            .for_each(|(product, v)| *product += strength * v);
        product
    };
    listed.iter().zip(v).map(product).collect()
}

type Scalars = [f64; LANES];

/// Conjugate gradients, all lanes in step, each with scalars of its own.
struct State {
    residual: Vec<Lanes>,
    direction: Vec<Lanes>,
    /// `|residual|²`, now and at the start.
    squares: Scalars,
    at_start: Scalars,
    /// Scalars of the step before: its length (negative, as in the source) and how much of the old direction was kept.
    beta: Scalars,
    alpha: Scalars,
    shifted: Vec<Shifted>,
}

/// One strength.
struct Shifted {
    /// By how much it is above the smallest.
    shift: f64,
    solution: Vec<Lanes>,
    direction: Vec<Lanes>,
    zeta: Scalars,
    zeta_before: Scalars,
}

impl State {
    fn new(targets: &[Lanes]) -> Self {
        let squares = dots(targets, targets);
        let shifted = STRENGTHS.iter().map(|strength| Shifted {
            shift: strength - STRENGTHS[0],
            solution: vec![[0.0; LANES]; targets.len()],
            direction: targets.to_vec(),
            zeta: [1.0; LANES],
            zeta_before: [1.0; LANES],
        });
        Self {
            residual: targets.to_vec(),
            direction: targets.to_vec(),
            squares,
            at_start: squares,
            beta: [1.0; LANES],
            alpha: [0.0; LANES],
            shifted: shifted.collect(),
        }
    }

    fn lane_is_solved(&self, lane: usize) -> bool {
        self.squares[lane] <= SOLVED * SOLVED * self.at_start[lane]
    }

    fn is_solved(&self) -> bool {
        (0..LANES).all(|lane| self.lane_is_solved(lane))
    }

    fn step(&mut self, product: &[Lanes]) {
        let curvature = dots(&self.direction, product);
        let open: [bool; LANES] = std::array::from_fn(|lane| !self.lane_is_solved(lane) && curvature[lane] > 0.0);
        let beta: Scalars = std::array::from_fn(|lane| {
            if open[lane] {
                -self.squares[lane] / curvature[lane]
            } else {
                0.0
            }
        });
        let zetas = self
            .shifted
            .iter_mut()
            .map(|shifted| shifted.advance(&beta, &self.beta, &self.alpha, &open));
        let ratios: Vec<Scalars> = zetas.collect();
        axpy(&mut self.residual, &beta, product);
        let after = dots(&self.residual, &self.residual);
        let alpha: Scalars = std::array::from_fn(|lane| {
            if open[lane] {
                after[lane] / self.squares[lane]
            } else {
                0.0
            }
        });
        scale_and_add(&mut self.direction, &alpha, &self.residual, &[1.0; LANES]);
        for (shifted, ratio) in self.shifted.iter_mut().zip(&ratios) {
            let kept: Scalars = std::array::from_fn(|lane| alpha[lane] * ratio[lane] * ratio[lane]);
            scale_and_add(&mut shifted.direction, &kept, &self.residual, &shifted.zeta);
        }
        for lane in (0..LANES).filter(|lane| open[*lane]) {
            (self.squares[lane], self.beta[lane], self.alpha[lane]) = (after[lane], beta[lane], alpha[lane]);
        }
    }
}

impl Shifted {
    /// Moves the solution; returns by how much ζ shrank.
    fn advance(&mut self, beta: &Scalars, beta_before: &Scalars, alpha: &Scalars, open: &[bool; LANES]) -> Scalars {
        let mut ratio = [0.0; LANES];
        let mut length = [0.0; LANES];
        for lane in (0..LANES).filter(|lane| open[*lane]) {
            let (zeta, before) = (self.zeta[lane], self.zeta_before[lane]);
            let below = beta[lane] * alpha[lane] * (before - zeta)
                + before * beta_before[lane] * (1.0 - self.shift * beta[lane]);
            let next = zeta * before * beta_before[lane] / below;
            // Far smaller than the others, a strength's residual has long vanished.
            let next = if next.is_finite() { next } else { 0.0 };
            ratio[lane] = if zeta.abs() > f64::MIN_POSITIVE {
                next / zeta
            } else {
                0.0
            };
            length[lane] = -beta[lane] * ratio[lane];
            (self.zeta_before[lane], self.zeta[lane]) = (zeta, next);
        }
        axpy(&mut self.solution, &length, &self.direction);
        ratio
    }
}

fn dots(a: &[Lanes], b: &[Lanes]) -> Scalars {
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += f64::from(a[lane]) * f64::from(b[lane]);
        }
    }
    sums
}

/// `to += factor · by`, a factor per lane.
fn axpy(to: &mut [Lanes], factor: &Scalars, by: &[Lanes]) {
    let factor = factor.map(narrow);
    for (to, by) in to.iter_mut().zip(by) {
        for lane in 0..LANES {
            to[lane] += factor[lane] * by[lane];
        }
    }
}

/// `to = kept · to + factor · by`; a lane with nothing kept and done stays out of it.
fn scale_and_add(to: &mut [Lanes], kept: &Scalars, by: &[Lanes], factor: &Scalars) {
    let (kept, factor) = (kept.map(narrow), factor.map(narrow));
    for (to, by) in to.iter_mut().zip(by) {
        for lane in 0..LANES {
            to[lane] = kept[lane] * to[lane] + factor[lane] * by[lane];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Rows;

    /// The normal equations, solved the slow and obvious way.
    fn by_elimination(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
        let n = right.len();
        for i in 0..n {
            for j in i + 1..n {
                let factor = matrix[j][i] / matrix[i][i];
                let row = matrix[i].clone();
                matrix[j].iter_mut().zip(&row).for_each(|(a, b)| *a -= factor * b);
                right[j] -= factor * right[i];
            }
        }
        for i in (0..n).rev() {
            let known: f64 = (i + 1..n).map(|j| matrix[i][j] * right[j]).sum();
            right[i] = (right[i] - known) / matrix[i][i];
        }
        right
    }

    #[test]
    fn every_strength_is_solved_as_if_alone() {
        let texts: Vec<String> = (0..40)
            .map(|i| {
                format!(
                    "the {} of number {} is {}?",
                    ["sum", "root", "law"][i % 3],
                    i * 7 % 11,
                    i % 5
                )
            })
            .collect();
        let rows = Rows::of(&texts, crate::features::Wanted::All);
        let listed: Vec<usize> = (0..40).filter(|row| row % 4 != 1).collect();
        let targets: Vec<Lanes> = listed
            .iter()
            .map(|row| {
                std::array::from_fn(|lane| {
                    if lane < 2 {
                        ((row * (lane + 3)) % 7) as f32 - 3.0
                    } else {
                        0.0
                    }
                })
            })
            .collect();
        let solution = solve(&rows, &listed, &targets);
        let dense = |row: usize| {
            let mut weights = vec![[0.0; LANES]; rows.n_features()];
            rows.add_to(row, &[1.0; LANES], &mut weights);
            weights
        };
        let kernel: Vec<Vec<f64>> = listed
            .iter()
            .map(|a| {
                listed
                    .iter()
                    .map(|b| f64::from(rows.times(*b, &dense(*a))[0]))
                    .collect()
            })
            .collect();
        for (strength, found) in STRENGTHS.iter().zip(&solution.by_strength) {
            for lane in 0..2 {
                let mut matrix = kernel.clone();
                for (i, row) in matrix.iter_mut().enumerate() {
                    row[i] += strength;
                }
                let right: Vec<f64> = targets.iter().map(|target| f64::from(target[lane])).collect();
                let exact = by_elimination(matrix, right);
                let size = exact.iter().map(|x| x.abs()).fold(0.0, f64::max);
                for (exact, found) in exact.iter().zip(found) {
                    assert!(
                        (exact - f64::from(found[lane])).abs() < 0.02 * size,
                        "{strength}: {exact} {}",
                        found[lane]
                    );
                }
            }
        }
    }
}
