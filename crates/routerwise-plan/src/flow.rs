//! Flow-weighted latency `φ(w) = w · ℓ(λ·w)` of one configuration, and what a price makes it offer.
//!
//! On each linear piece of `ℓ` the flow is a quadratic `w·(a + b·w)` with `b ≥ 0`, so
//!
//! ```text
//! H(α, β) = max over w of  α·w − Σ_k β_k·φ_k(w)
//! ```
//!
//! is exact piece by piece, also where a kink makes `φ` non-convex. The rows `k` are the constraints that couple the models: one
//! per SLO over the workload. All rows of a configuration come from one profile and so share their breakpoints. Where several routes share
//! a configuration (`shared`), `w` is the part of all requests that it gets.

mod shared;

use crate::curve::LatencyCurve;

/// `φ` of one configuration for every constraint row, over routing fractions `0 ..= cap`.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    n_rows: usize,
    /// Breakpoints of `w`: piece `j` is `[breaks[j], breaks[j + 1]]`.
    breaks: Vec<f64>,
    /// `a` and `b` of piece `j`, row `k` at `[(j · n_rows + k) · 2 ..][..2]`.
    coefficients: Vec<f64>,
    /// Up to which `w` of all together each route may use it; empty where there is one route.
    reach: Vec<f64>,
}

/// A point that a configuration offers at some price.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Offer {
    /// `H`: what the point is worth at that price.
    pub value: f64,
    /// Routing fraction `w`.
    pub fraction: f64,
}

/// A range of routing fractions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Least fraction.
    pub low: f64,
    /// Greatest fraction.
    pub high: f64,
}

impl Interval {
    /// Everything.
    pub const ALL: Self = Self { low: 0.0, high: 1.0 };
}

impl Flow {
    /// From one curve per row, each over one replica's load in requests/s, where a fraction `w` puts `w · load_per_fraction` on
    /// each replica. Row values are divided by `limits`, so that every constraint reads `Σ φ ≤ 1`. `max_load` cuts the
    /// curves off (a limit per model); it is at most their end.
    #[must_use]
    pub fn new(curves: &[LatencyCurve], limits: &[f64], load_per_fraction: f64, max_load: f64) -> Self {
        let cap = (max_load / load_per_fraction).min(1.0);
        let mut breaks = vec![0.0];
        if let Some(first) = curves.first() {
            for (load, _) in first.corners() {
                let w = load / load_per_fraction;
                if breaks.last().is_some_and(|last| w > last + 1e-12) && w < cap - 1e-12 {
                    breaks.push(w);
                }
            }
        }
        breaks.push(cap);
        let mut coefficients = Vec::with_capacity(2 * curves.len() * (breaks.len() - 1));
        for piece in breaks.windows(2) {
            for (curve, limit) in curves.iter().zip(limits) {
                let end = curve.end();
                let value = |w: f64| curve.at((w * load_per_fraction).min(end)).unwrap_or(f64::INFINITY) / limit;
                let (low, high) = (value(piece[0]), value(piece[1]));
                let b = if piece[1] > piece[0] {
                    ((high - low) / (piece[1] - piece[0])).max(0.0)
                } else {
                    0.0
                };
                coefficients.extend([low - b * piece[0], b]);
            }
        }
        Self {
            n_rows: curves.len(),
            breaks,
            coefficients,
            reach: Vec::new(),
        }
    }

    /// A model that is off: it takes nothing and costs nothing.
    #[must_use]
    pub fn off(n_rows: usize) -> Self {
        Self {
            n_rows,
            breaks: vec![0.0, 0.0],
            coefficients: vec![0.0; 2 * n_rows],
            reach: Vec::new(),
        }
    }

    /// Largest routing fraction that the configuration can take.
    #[must_use]
    pub fn cap(&self) -> f64 {
        self.breaks.last().copied().unwrap_or(0.0)
    }

    /// `a` and `b` of one piece and row, where `φ_row(w) = w·(a + b·w)`.
    #[must_use]
    pub fn coefficient(&self, piece: usize, row: usize) -> (f64, f64) {
        let at = (piece * self.n_rows + row) * 2;
        (self.coefficients[at], self.coefficients[at + 1])
    }

    fn coefficient_at(&self, row: usize, w: f64) -> (f64, f64) {
        let piece = self
            .breaks
            .partition_point(|corner| *corner < w)
            .clamp(1, self.breaks.len() - 1)
            - 1;
        self.coefficient(piece, row)
    }

    /// `φ_row(w)` relative to the row's limit, for `w ≤ cap`.
    #[must_use]
    pub fn at(&self, row: usize, w: f64) -> f64 {
        let (a, b) = self.coefficient_at(row, w);
        w * (a + b * w)
    }

    /// `φ_row'(w) = ℓ + λ·w·ℓ'` relative to the row's limit, for `w ≤ cap`; at a kink that of the piece before it.
    #[must_use]
    pub fn slope(&self, row: usize, w: f64) -> f64 {
        let (a, b) = self.coefficient_at(row, w);
        a + 2.0 * b * w
    }

    /// `H(α, β)` over the fractions in `range`: exact, whatever the shape. Allocation-free.
    #[must_use]
    pub fn best(&self, price: f64, row_prices: &[f64], range: Interval) -> Offer {
        let mut best = Offer {
            value: f64::NEG_INFINITY,
            fraction: range.low,
        };
        for (piece, ends) in self.breaks.windows(2).enumerate() {
            let (low, high) = (ends[0].max(range.low), ends[1].min(range.high));
            if low > high {
                continue;
            }
            let (mut a, mut b) = (0.0, 0.0);
            for (row, row_price) in row_prices.iter().enumerate() {
                let (row_a, row_b) = self.coefficient(piece, row);
                a += row_price * row_a;
                b += row_price * row_b;
            }
            let w = if b > 0.0 {
                ((price - a) / (2.0 * b)).clamp(low, high)
            } else if price > a {
                high
            } else {
                low
            };
            let value = w * (price - a - b * w);
            if value > best.value {
                best = Offer { value, fraction: w };
            }
        }
        best
    }

    /// Breakpoints of `w`.
    #[must_use]
    pub fn breaks(&self) -> &[f64] {
        &self.breaks
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::curve::Sample;

    fn flow(points: &[(f64, f64)]) -> Flow {
        let samples: Vec<Sample> = points
            .iter()
            .map(|&(load, value)| Sample { load, value, weight: 1 })
            .collect();
        let curve = LatencyCurve::new(&samples, points.last().unwrap().0).unwrap();
        let end = curve.end();
        Flow::new(&[curve], &[0.5], 10.0, end)
    }

    #[test]
    fn flow_is_fraction_times_latency() {
        let flow = flow(&[(2.0, 1.0), (4.0, 2.0), (8.0, 10.0)]);
        assert!((flow.cap() - 0.8).abs() < 1e-12);
        assert!((flow.at(0, 0.1) - 0.1 * 1.0 / 0.5).abs() < 1e-12);
        assert!((flow.at(0, 0.3) - 0.3 * 1.5 / 0.5).abs() < 1e-12);
        assert!((flow.at(0, 0.8) - 0.8 * 10.0 / 0.5).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn the_offer_is_the_best_of_a_fine_grid(
            steps in prop::collection::vec((0.1f64..3.0, 0.0f64..5.0), 1..8),
            price in 0.0f64..4.0, row_price in 0.0f64..2.0, low in 0.0f64..0.5,
        ) {
            let mut points = Vec::new();
            let (mut x, mut y) = (0.0, 0.05);
            for (dx, dy) in steps { x += dx; y += dy; points.push((x, y)); }
            let flow = flow(&points);
            let range = Interval { low: low.min(flow.cap()), high: 1.0 };
            let offer = flow.best(price, &[row_price], range);
            let worth = |w: f64| price * w - row_price * flow.at(0, w);
            prop_assert!((worth(offer.fraction) - offer.value).abs() < 1e-9);
            for i in 0..=1000 {
                let w = range.low + (flow.cap() - range.low) * f64::from(i) / 1000.0;
                prop_assert!(worth(w) <= offer.value + 1e-9);
            }
        }
    }
}
