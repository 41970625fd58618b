//! Dense rows of numbers, and making columns orthonormal.

use crate::rows::{Design, LANES, Lanes, add, narrow};

/// Rows of equal width, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    width: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Rows of this width, one after the other.
    ///
    /// # Panics
    /// When the last row is not whole, or the width is 0.
    #[must_use]
    pub fn new(width: usize, values: Vec<f32>) -> Self {
        assert!(width > 0 && values.len().is_multiple_of(width), "rows are whole");
        Self { width, values }
    }

    pub(crate) fn zero(n_rows: usize, width: usize) -> Self {
        Self::new(width, vec![0.0; n_rows * width])
    }

    /// Numbers in a row.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many rows there are.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.values.len() / self.width
    }

    /// One row.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        &mut self.values[row * self.width..(row + 1) * self.width]
    }

    pub(crate) fn fill(&mut self, value: f32) {
        self.values.fill(value);
    }

    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    pub(crate) fn values(&self) -> &[f32] {
        &self.values
    }

    /// Some of the rows.
    #[must_use]
    pub fn of(&self, rows: &[usize]) -> Self {
        Self::new(
            self.width,
            rows.iter().flat_map(|row| self.row(*row)).copied().collect(),
        )
    }

    /// Makes columns orthonormal in the space that they span: Cholesky's factor of their products, twice for exactness.
    pub(crate) fn orthonormalise(&mut self) {
        for _ in 0..2 {
            let factor = self.factor();
            for row in self.values.chunks_mut(self.width) {
                for j in 0..row.len() {
                    let known: f64 = (0..j).map(|i| factor[j][i] * f64::from(row[i])).sum();
                    row[j] = narrow((f64::from(row[j]) - known) / factor[j][j]);
                }
            }
        }
    }

    /// The lower triangular `L` with `L·Lᵀ = MᵀM`.
    fn factor(&self) -> Vec<Vec<f64>> {
        let n = self.width;
        let mut gram = vec![vec![0.0; n]; n];
        for row in self.values.chunks(n) {
            for (i, x) in row.iter().enumerate() {
                let x = f64::from(*x);
                gram[i][..=i]
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, y)| *sum += x * f64::from(*y));
            }
        }
        let scale = (0..n).map(|i| gram[i][i]).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        for i in 0..n {
            for j in 0..=i {
                let known: f64 = (0..j).map(|k| gram[i][k] * gram[j][k]).sum();
                let rest = gram[i][j] - known;
                // A column that the others span becomes zero rather than noise.
                gram[i][j] = if i == j {
                    rest.max(1e-10 * scale).sqrt()
                } else {
                    rest / gram[j][j]
                };
            }
        }
        gram
    }
}

impl Design for Matrix {
    fn n_rows(&self) -> usize {
        Self::n_rows(self)
    }

    fn n_features(&self) -> usize {
        self.width
    }

    fn times(&self, row: usize, weights: &[Lanes]) -> Lanes {
        times(self.row(row), weights)
    }

    fn add_to(&self, row: usize, by: &Lanes, weights: &mut [Lanes]) {
        for (value, weights) in self.row(row).iter().zip(weights) {
            add(weights, *value, by);
        }
    }
}

/// `Σ value · weights`.
pub(crate) fn times(values: &[f32], weights: &[Lanes]) -> Lanes {
    let mut sum = [0.0; LANES];
    for (value, weights) in values.iter().zip(weights) {
        add(&mut sum, *value, weights);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_orthonormal() {
        let values = (0..60).map(|i| ((i * 37 % 23) as f32 - 11.0) / 7.0).collect();
        let mut matrix = Matrix::new(3, values);
        matrix.orthonormalise();
        for i in 0..3 {
            for j in 0..3 {
                let dot: f32 = (0..20).map(|row| matrix.row(row)[i] * matrix.row(row)[j]).sum();
                assert!((dot - f32::from(u8::from(i == j))).abs() < 1e-4, "{i} {j} {dot}");
            }
        }
    }
}
