//! Principal components of the labels: what models have in common on a prompt, and what tells them apart.
//!
//! Answers of language models rise and fall together: one component ("this is hard") explains far more than any other. Learning
//! components rather than models shares what is common, and lets what is noise be held back by itself.

use crate::rows::{LANES, Lanes, narrow};

/// Most components that are kept; the last lane of a row belongs to its length.
pub(crate) const MOST: usize = LANES - 1;

/// Labels as means and components.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Basis {
    /// Mean label of each model.
    pub(crate) mean: Vec<f32>,
    /// For each model its part in each component; unit vectors, strongest first.
    pub(crate) parts: Vec<Lanes>,
}

impl Basis {
    /// Of one column of labels per model, over rows that count so much.
    pub(crate) fn of(labels: &[Vec<f32>], counts: &[f32]) -> Self {
        let counts: Vec<f64> = counts.iter().map(|count| f64::from(*count)).collect();
        let n = counts.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let values = |column: &Vec<f32>| -> Vec<f64> { column.iter().map(|label| f64::from(*label)).collect() };
        let mut columns: Vec<Vec<f64>> = labels.iter().map(values).collect();
        let mean = |column: &Vec<f64>| column.iter().zip(&counts).map(|(x, count)| x * count).sum::<f64>() / n;
        let means: Vec<f64> = columns.iter().map(mean).collect();
        for (column, mean) in columns.iter_mut().zip(&means) {
            column.iter_mut().for_each(|value| *value -= mean);
        }
        let covariance = |a: &Vec<f64>, b: &Vec<f64>| {
            let products = a.iter().zip(b).zip(&counts);
            products.map(|((a, b), count)| count * a * b).sum::<f64>() / n
        };
        let matrix: Vec<Vec<f64>> = columns
            .iter()
            .map(|a| columns.iter().map(|b| covariance(a, b)).collect())
            .collect();
        let (_, vectors) = eigen(matrix);
        let part = |model: usize| {
            let mut part = [0.0; LANES];
            for (part, vector) in part.iter_mut().zip(vectors.iter().take(MOST)) {
                *part = narrow(vector[model]);
            }
            part
        };
        Self {
            mean: means.iter().map(|mean| narrow(*mean)).collect(),
            parts: (0..labels.len()).map(part).collect(),
        }
    }

    /// A row's labels as components.
    pub(crate) fn components(&self, labels: &[Vec<f32>], row: usize) -> Lanes {
        let mut components = [0.0; LANES];
        for ((column, mean), part) in labels.iter().zip(&self.mean).zip(&self.parts) {
            for (component, part) in components.iter_mut().zip(part) {
                *component += (column[row] - mean) * part;
            }
        }
        components
    }

    /// A model's label from components.
    pub(crate) fn label(&self, model: usize, components: &Lanes) -> f32 {
        let parts = self.parts[model].iter().zip(components);
        self.mean[model] + parts.map(|(part, component)| part * component).sum::<f32>()
    }
}

/// Eigenvalues and unit eigenvectors of a symmetric matrix, largest first: Jacobi's rotations.
pub(crate) fn eigen(mut matrix: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let n = matrix.len();
    let mut vectors: Vec<Vec<f64>> = (0..n)
        .map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect())
        .collect();
    let scale: f64 = (0..n).map(|i| matrix[i][i].abs()).sum::<f64>().max(f64::MIN_POSITIVE);
    for _ in 0..60 {
        let mut largest = 0.0_f64;
        for p in 0..n {
            for q in p + 1..n {
                largest = largest.max(matrix[p][q].abs());
                rotate(&mut matrix, &mut vectors, p, q);
            }
        }
        if largest <= 1e-13 * scale {
            break;
        }
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| matrix[*b][*b].total_cmp(&matrix[*a][*a]));
    let mut sorted: Vec<Vec<f64>> = order.iter().map(|at| vectors[*at].clone()).collect();
    for vector in &mut sorted {
        // A vector and its negative are the same; one of them has to be the one.
        if vector.iter().sum::<f64>() < 0.0 {
            vector.iter_mut().for_each(|x| *x = -*x);
        }
    }
    (order.iter().map(|at| matrix[*at][*at]).collect(), sorted)
}

/// Makes one pair of entries vanish. `vectors` holds eigenvectors as rows.
fn rotate(matrix: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) {
    let apq = matrix[p][q];
    if apq.abs() <= f64::MIN_POSITIVE {
        return;
    }
    let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + theta.hypot(1.0));
    let c = 1.0 / t.hypot(1.0);
    let s = t * c;
    for row in matrix.iter_mut() {
        let (a, b) = (row[p], row[q]);
        (row[p], row[q]) = (c * a - s * b, s * a + c * b);
    }
    turn(matrix, p, q, c, s);
    turn(vectors, p, q, c, s);
}

fn turn(rows: &mut [Vec<f64>], p: usize, q: usize, c: f64, s: f64) {
    let (above, below) = rows.split_at_mut(q);
    for (a, b) in above[p].iter_mut().zip(&mut below[0]) {
        (*a, *b) = (c * *a - s * *b, s * *a + c * *b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eigenvectors_are_those_of_the_matrix() {
        let matrix = vec![vec![4.0, 1.0, 0.5], vec![1.0, 3.0, -1.0], vec![0.5, -1.0, 2.0]];
        let (values, vectors) = eigen(matrix.clone());
        assert!(values.is_sorted_by(|a, b| a >= b));
        for (value, vector) in values.iter().zip(&vectors) {
            for (row, x) in matrix.iter().zip(vector) {
                let product: f64 = row.iter().zip(vector).map(|(a, b)| a * b).sum();
                assert!((product - value * x).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn components_give_labels_back() {
        let labels = vec![
            vec![1.0, 0.0, 1.0, 0.0],
            vec![1.0, 0.0, 0.0, 0.0],
            vec![0.2, 0.9, 0.3, 0.4],
        ];
        let basis = Basis::of(&labels, &[1.0; 4]);
        for row in 0..4 {
            let components = basis.components(&labels, row);
            for (model, column) in labels.iter().enumerate() {
                assert!((basis.label(model, &components) - column[row]).abs() < 1e-5);
            }
        }
    }
}
