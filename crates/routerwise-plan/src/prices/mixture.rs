//! What the master mixes: a routing that exists, and how far its true flows are from the mixed ones.

use super::{Column, Responses, State};

/// A routing that exists: responses in proportion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mixture {
    /// The weighted mean over the policies.
    pub(crate) quality: f64,
    /// Policy after policy.
    pub(crate) fractions: Vec<f64>,
    /// For each policy, index into [`Responses::list`] and weight.
    pub(crate) parts: Vec<Vec<(usize, f64)>>,
    /// Largest `Σ φ − limit` over the rows, with the true flows: above 0 only where flows are not convex. Without end where a route would use
    /// a model at a load at which it may not.
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
    /// Fraction of all prompts, the weighted mean over the policies.
    pub(crate) fraction: f64,
    /// Weights of a model's offers sum to 1.
    pub(crate) weight: f64,
}

impl State<'_> {
    pub(super) fn mixture(&self, responses: &Responses) -> Mixture {
        let traffic = self.inner.traffic;
        let (n, n_levels, n_rows) = (self.n_models(), self.n_levels(), traffic.n_rows());
        let mut mixture = Mixture {
            fractions: vec![0.0; self.n_policies() * n],
            offers: vec![Vec::new(); n],
            parts: vec![Vec::new(); self.n_policies()],
            ..Mixture::default()
        };
        let mut mixed = vec![vec![0.0; n_rows]; n_levels * n];
        for (column, value) in self.master.solution().filter(|(_, value)| *value > 0.0) {
            match self.columns[column] {
                Column::Response { policy, index } => {
                    let response = &responses.list[index];
                    mixture.parts[policy].push((index, value));
                    mixture.quality += traffic.weights[policy] * value * response.quality;
                    for (sum, w) in mixture.fractions[policy * n..][..n].iter_mut().zip(&response.fractions) {
                        *sum += value * w;
                    }
                }
                Column::Offer { model, offering, point } => {
                    let of_policies = traffic.weights.iter().zip(point.fractions);
                    mixture.offers[model].push(Mixed {
                        offering,
                        fraction: of_policies.map(|(weight, fraction)| weight * fraction).sum(),
                        weight: value,
                    });
                    for level in 0..n_levels {
                        let flow = self.inner.offerings[model][offering].candidate.flow_at(level);
                        for (row, sum) in mixed[level * n + model].iter_mut().enumerate() {
                            *sum += value * point.flow(flow, traffic, level, row);
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
        let traffic = self.inner.traffic;
        let (n, n_levels, n_rows) = (self.n_models(), self.n_levels(), traffic.n_rows());
        let flow_of = |level: usize, model: usize, row: usize| {
            let flow = self.inner.offerings[model][0].candidate.flow_at(level);
            let w = mixture.fractions[traffic.policy_of_row(level, row) * n + model];
            if traffic.is_shared() {
                w * flow.latency(row, traffic.load(&mixture.fractions, level, model, n))
            } else {
                flow.at(row, w)
            }
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
        if traffic.is_shared() && self.is_beyond_reach(mixture) {
            mixture.excess = f64::INFINITY;
        }
    }

    /// Whether a route uses a model at a load at which it may not.
    fn is_beyond_reach(&self, mixture: &Mixture) -> bool {
        let traffic = self.inner.traffic;
        let n = self.n_models();
        (0..traffic.n_policies() * n).any(|at| {
            let (policy, model) = (at / n, at % n);
            let level = policy / traffic.n_routes();
            let flow = self.inner.offerings[model][0].candidate.flow_at(level);
            let load = traffic.load(&mixture.fractions, level, model, n);
            mixture.fractions[at] > UNUSED && !flow.may_use(traffic.route_of(policy), load - UNUSED)
        })
    }
}

/// Fractions and loads below this are rounding.
const UNUSED: f64 = 1e-9;
