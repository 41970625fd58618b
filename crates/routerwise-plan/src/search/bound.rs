//! Price vectors that bound every setup: one table entry per candidate, and a knapsack over share units for what is still open.

use crate::flow::Interval;
use crate::prices::Dual;
use crate::problem::Problem;

/// One price vector with everything it says about setups.
#[derive(Clone, Debug)]
pub(crate) struct PricePoint {
    pub(crate) prices: Vec<f64>,
    pub(crate) row_prices: Vec<f64>,
    /// `A(α) + Σ β`: what no choice of setup changes.
    base: f64,
    /// `H` of every candidate of every model, in the search's order of models.
    offers: Vec<Vec<f64>>,
    /// `rest[d][u]`: most that models `d..` can add when `u` units are used already.
    rest: Vec<Vec<f64>>,
}

impl PricePoint {
    /// Tabulates a price vector; `order` is the search's order of models.
    pub(crate) fn new(problem: &Problem, order: &[usize], dual: &Dual) -> Self {
        let offers: Vec<Vec<f64>> = order
            .iter()
            .map(|model| {
                let price = dual.prices[*model];
                let candidates = &problem.models[*model].candidates;
                candidates
                    .iter()
                    .map(|c| c.flow.best(price, &dual.row_prices, Interval::ALL).value)
                    .collect()
            })
            .collect();
        Self {
            base: problem.table.exact_value(&dual.prices) + dual.row_prices.iter().sum::<f64>(),
            rest: knapsack(problem, order, &offers),
            prices: dual.prices.clone(),
            row_prices: dual.row_prices.clone(),
            offers,
        }
    }

    /// Bound of a partial setup: `choice[d]` is the candidate of model `order[d]`.
    pub(crate) fn bound(&self, choice: &[u16], used: usize) -> f64 {
        let chosen: f64 = choice
            .iter()
            .zip(&self.offers)
            .map(|(c, offers)| offers[usize::from(*c)])
            .sum();
        self.base + chosen + self.rest[choice.len()][used]
    }

    /// Bound of a whole setup with its fractions confined to ranges.
    pub(crate) fn bound_within(&self, problem: &Problem, order: &[usize], choice: &[u16], ranges: &[Interval]) -> f64 {
        let mut bound = self.base;
        for (model, c) in order.iter().zip(choice) {
            let flow = &problem.models[*model].candidates[usize::from(*c)].flow;
            bound += flow.best(self.prices[*model], &self.row_prices, ranges[*model]).value;
        }
        bound
    }
}

/// Dynamic programme over share units of all GPUs together (types lumped, so a relaxation), from the last model back.
fn knapsack(problem: &Problem, order: &[usize], offers: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let all = problem.all_units() as usize;
    let least = problem.least_units as usize;
    let n = order.len();
    // exactly[r]: most that the models so far can add with exactly r units.
    let mut exactly = vec![f64::NEG_INFINITY; all + 1];
    exactly[0] = 0.0;
    let mut rest = vec![Vec::new(); n + 1];
    rest[n] = window(&exactly, least, all);
    for depth in (0..n).rev() {
        let mut next = vec![f64::NEG_INFINITY; all + 1];
        for (candidate, value) in problem.models[order[depth]].candidates.iter().zip(&offers[depth]) {
            let units = candidate.units as usize;
            for used in units..=all {
                next[used] = next[used].max(exactly[used - units] + value);
            }
        }
        exactly = next;
        rest[depth] = window(&exactly, least, all);
    }
    rest
}

/// `out[u] = max { exactly[r] : least ≤ u + r ≤ all }`.
fn window(exactly: &[f64], least: usize, all: usize) -> Vec<f64> {
    if least == 0 {
        let mut out = vec![f64::NEG_INFINITY; all + 1];
        let mut best = f64::NEG_INFINITY;
        for (r, value) in exactly.iter().enumerate() {
            best = best.max(*value);
            out[all - r] = best;
        }
        return out;
    }
    (0..=all)
        .map(|used| {
            exactly[least.saturating_sub(used)..=all - used]
                .iter()
                .copied()
                .fold(f64::NEG_INFINITY, f64::max)
        })
        .collect()
}
