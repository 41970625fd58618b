//! What the master mixes: a routing that exists, and how far its true flows are from the mixed ones.

use super::{Column, Routes, State};

/// A routing that exists: routes in proportion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mixture {
    /// The weighted mean over the levels.
    pub(crate) quality: f64,
    /// Level after level.
    pub(crate) fractions: Vec<f64>,
    /// For each level, index into [`Routes::list`] and weight.
    pub(crate) parts: Vec<Vec<(usize, f64)>>,
    /// Largest `Σ φ − limit` over the rows, with the true flows: above 0 only where flows are not convex.
    pub(crate) excess: f64,
    /// For each level and model, `φ(w) − mixed φ` over the rows that are exceeded: what its flow's lack of convexity hides.
    pub(crate) hidden: Vec<f64>,
    /// For each model, the offers that it mixes.
    pub(crate) offers: Vec<Vec<Mixed>>,
}

/// One offer in a mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mixed {
    /// Index into the model's offerings.
    pub(crate) offering: usize,
    /// Fraction of all prompts, the weighted mean over the levels.
    pub(crate) fraction: f64,
    /// Weights of a model's offers sum to 1.
    pub(crate) weight: f64,
}

impl State<'_> {
    pub(super) fn mixture(&self, routes: &Routes) -> Mixture {
        let (n, n_levels, n_rows) = (self.n_models(), self.n_levels(), self.inner.n_rows);
        let mut mixture = Mixture {
            fractions: vec![0.0; n_levels * n],
            offers: vec![Vec::new(); n],
            parts: vec![Vec::new(); n_levels],
            ..Mixture::default()
        };
        let mut mixed = vec![vec![0.0; n_rows]; n_levels * n];
        for (column, value) in self.master.solution().filter(|(_, value)| *value > 0.0) {
            match self.columns[column] {
                Column::Route { level, index } => {
                    let route = &routes.list[index];
                    mixture.parts[level].push((index, value));
                    mixture.quality += self.inner.weights[level] * value * route.quality;
                    for (sum, w) in mixture.fractions[level * n..][..n].iter_mut().zip(&route.fractions) {
                        *sum += value * w;
                    }
                }
                Column::Offer { model, offering, point } => {
                    let of_levels = self.inner.weights.iter().zip(point.fractions);
                    mixture.offers[model].push(Mixed {
                        offering,
                        fraction: of_levels.map(|(weight, fraction)| weight * fraction).sum(),
                        weight: value,
                    });
                    for level in 0..n_levels {
                        let flow = self.inner.offerings[model][offering].candidate.flow_at(level);
                        for (row, sum) in mixed[level * n + model].iter_mut().enumerate() {
                            *sum += value * flow.at(row, point.fractions[level]);
                        }
                    }
                }
                _ => {}
            }
        }
        self.compare_flows(&mut mixture, &mixed);
        mixture
    }

    /// What the true flows at the mixture's fractions exceed, and what mixing hides of it.
    fn compare_flows(&self, mixture: &mut Mixture, mixed: &[Vec<f64>]) {
        let (n, n_levels, n_rows) = (self.n_models(), self.n_levels(), self.inner.n_rows);
        let flow_of = |level: usize, model: usize, row: usize| {
            let flow = self.inner.offerings[model][0].candidate.flow_at(level);
            flow.at(row, mixture.fractions[level * n + model])
        };
        let used = |level: usize, row: usize| -> f64 { (0..n).map(|model| flow_of(level, model, row)).sum() };
        let used: Vec<Vec<f64>> = (0..n_levels)
            .map(|level| (0..n_rows).map(|row| used(level, row)).collect())
            .collect();
        // Over the broken rows alone: a multiplier may be 0 although the true flows break its row, and then says nothing.
        let hidden: Vec<f64> = (0..n_levels * n)
            .map(|at| {
                let (level, model) = (at / n, at % n);
                let broken = (0..n_rows).filter(|row| used[level][*row] > self.inner.limit);
                broken.map(|row| flow_of(level, model, row) - mixed[at][row]).sum()
            })
            .collect();
        mixture.hidden = hidden;
        let sums = used.iter().flatten().map(|sum| sum - self.inner.limit);
        mixture.excess = sums.fold(f64::NEG_INFINITY, f64::max);
    }
}
