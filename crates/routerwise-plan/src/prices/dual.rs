//! A price vector, and its parts.

/// Prices and the bound they prove. Those of prompts and rows are in quality of their policy (level and route) by itself. Prices stand policy
/// after policy, those of rows level after level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dual {
    pub(crate) bound: f64,
    pub(crate) prices: Vec<f64>,
    pub(crate) row_prices: Vec<f64>,
    /// Price of each resource row, `γ ≥ 0`.
    pub(crate) resource_prices: Vec<f64>,
    /// What must be paid to use up the floor of share units, at least 0.
    pub(crate) floor_price: f64,
}

impl Dual {
    /// Prices of one level by itself, without those of resources.
    pub(crate) fn at_level(&self, level: usize, n_levels: usize) -> Self {
        Self {
            bound: f64::INFINITY,
            prices: part(&self.prices, level, n_levels).to_vec(),
            row_prices: part(&self.row_prices, level, n_levels).to_vec(),
            resource_prices: Vec::new(),
            floor_price: 0.0,
        }
    }
}

/// One level's part of what stands level after level, or one policy's.
pub(crate) fn part<T>(all: &[T], at: usize, count: usize) -> &[T] {
    let n = all.len() / count;
    &all[at * n..][..n]
}
