//! Robust non-linear least squares on relative errors.
//!
//! ```text
//! minimise  Σ_r huber( ln(model_r(θ) / measured_r) ),   θ > 0
//! ```
//!
//! Constants of an engine model are positive and span twelve orders of magnitude, so the search runs in `x = ln θ`.
//! Levenberg-Marquardt with a forward-difference Jacobian and Huber weights (iteratively reweighted). No random starts and a
//! fixed number of iterations at most: same data, same constants.

/// Log-errors beyond this count linearly, not squared: the scatter of the measured operators is about this wide.
const HUBER: f64 = 0.05;
const MAX_ITERATIONS: usize = 200;
/// Relative step of the Jacobian: the root of the machine epsilon, rounded.
const DIFFERENCE: f64 = 1e-6;

/// The same for a model that is itself a simulation, whose events jump: differences are taken over 3 %, and a few rounds do.
#[must_use]
pub fn fit_simulated(start: &[f64], residuals: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    search(start, 0.03, 12, residuals)
}

/// The `θ` near `start` that minimises the robust error; `residuals` returns `ln(model/measured)` per measurement.
///
/// # Panics
/// When a start value is not positive.
#[must_use]
pub fn fit(start: &[f64], residuals: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    search(start, DIFFERENCE, MAX_ITERATIONS, residuals)
}

fn search(start: &[f64], difference: f64, max_iterations: usize, residuals: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    assert!(
        start.iter().all(|&value| value > 0.0),
        "start values must be positive: {start:?}"
    );
    let at = |x: &[f64]| residuals(&x.iter().map(|x| x.exp()).collect::<Vec<f64>>());
    let mut x: Vec<f64> = start.iter().map(|value| value.ln()).collect();
    let mut errors = at(&x);
    let mut loss = huber_loss(&errors);
    let mut damping = 1e-3;
    for _ in 0..max_iterations {
        let (normal, gradient) = normal_equations(&x, &errors, difference, &at);
        let mut better = None;
        while better.is_none() && damping < 1e6 {
            let step = solve(damped(&normal, damping), gradient.clone());
            // A factor of e a step at most keeps far starts from jumping to where the model is flat.
            let moved: Vec<f64> = x.iter().zip(&step).map(|(x, s)| x - s.clamp(-1.0, 1.0)).collect();
            let moved_errors = at(&moved);
            let moved_loss = huber_loss(&moved_errors);
            if moved_loss < loss {
                better = Some((moved, moved_errors, moved_loss));
            } else {
                damping *= 4.0;
            }
        }
        let Some((moved, moved_errors, moved_loss)) = better else {
            break;
        };
        let gain = loss - moved_loss;
        (x, errors, loss) = (moved, moved_errors, moved_loss);
        damping = (damping / 8.0).max(1e-12);
        if gain < 1e-3 * difference * loss {
            break;
        }
    }
    x.into_iter().map(f64::exp).collect()
}

fn huber_loss(errors: &[f64]) -> f64 {
    let one = |&e: &f64| {
        if e.abs() <= HUBER {
            e * e
        } else {
            2.0 * HUBER * e.abs() - HUBER * HUBER
        }
    };
    errors.iter().map(one).sum()
}

fn normal_equations(
    x: &[f64],
    errors: &[f64],
    difference: f64,
    at: &impl Fn(&[f64]) -> Vec<f64>,
) -> (Vec<Vec<f64>>, Vec<f64>) {
    let column = |ix: usize| -> Vec<f64> {
        let mut moved = x.to_vec();
        moved[ix] += difference;
        let there = at(&moved);
        there
            .iter()
            .zip(errors)
            .map(|(there, here)| (there - here) / difference)
            .collect()
    };
    let jacobian: Vec<Vec<f64>> = (0..x.len()).map(column).collect();
    let weights: Vec<f64> = errors.iter().map(|e| (HUBER / e.abs()).min(1.0)).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).zip(&weights).map(|((a, b), w)| a * b * w).sum::<f64>();
    let normal = jacobian
        .iter()
        .map(|a| jacobian.iter().map(|b| dot(a, b)).collect())
        .collect();
    let gradient = jacobian.iter().map(|a| dot(a, errors)).collect();
    (normal, gradient)
}

fn damped(normal: &[Vec<f64>], damping: f64) -> Vec<Vec<f64>> {
    let mut matrix = normal.to_vec();
    for (ix, row) in matrix.iter_mut().enumerate() {
        // The absolute part keeps a parameter without influence from making the matrix singular.
        row[ix] += damping * row[ix] + 1e-9;
    }
    matrix
}

/// Gauss elimination with partial pivoting.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for pivot in 0..n {
        let best = (pivot..n)
            .max_by(|&a, &b| matrix[a][pivot].abs().total_cmp(&matrix[b][pivot].abs()))
            .expect("the range is not empty");
        matrix.swap(pivot, best);
        right.swap(pivot, best);
        let (top, below) = matrix.split_at_mut(pivot + 1);
        let top = &top[pivot];
        for (offset, row) in below.iter_mut().enumerate() {
            let factor = row[pivot] / top[pivot];
            for (cell, above) in row.iter_mut().zip(top).skip(pivot) {
                *cell -= factor * above;
            }
            right[pivot + 1 + offset] -= factor * right[pivot];
        }
    }
    for ix in (0..n).rev() {
        let known: f64 = (ix + 1..n).map(|column| matrix[ix][column] * right[column]).sum();
        right[ix] = (right[ix] - known) / matrix[ix][ix];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_roofline_is_recovered_from_a_far_start_despite_outliers() {
        let truth = [200.0, 1500.0, 0.04];
        let time = |p: &[f64], tokens: f64| p[2] + f64::hypot(tokens * 14.0 / p[0], 14.0 / p[1] * 1e3);
        let tokens: Vec<f64> = (0..12).map(|power| 2f64.powi(power)).collect();
        let mut measured: Vec<f64> = tokens.iter().map(|&t| time(&truth, t)).collect();
        measured[3] *= 2.0;
        let residuals = |p: &[f64]| {
            tokens
                .iter()
                .zip(&measured)
                .map(|(&t, m)| (time(p, t) / m).ln())
                .collect()
        };
        let found = fit(&[20.0, 9000.0, 0.5], residuals);
        // The outlier moves the memory term by no more than its Huber weight lets it.
        for (found, truth) in found.iter().zip(truth).take(2) {
            assert!((found / truth - 1.0).abs() < 0.05, "{found} {truth}");
        }
    }

    #[test]
    fn a_parameter_without_influence_does_no_harm() {
        let found = fit(&[1.0, 5.0], |p| vec![(p[0] / 3.0).ln()]);
        assert!((found[0] - 3.0).abs() < 1e-6);
    }
}
