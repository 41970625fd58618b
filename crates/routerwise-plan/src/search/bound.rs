//! Price vectors that bound every setup: one table entry per candidate, and a knapsack over share units for what is still open.

use routerwise_types::plan::Measure;

use super::gamma;
use super::shared::confined;
use crate::flow::Interval;
use crate::prices::{Dual, Offering, Ranges, costs, look, part, values};
use crate::problem::{Candidate, Problem};
use crate::resources::Part;

/// One price vector with everything it says about setups.
#[derive(Clone, Debug)]
pub(crate) struct PricePoint {
    pub(crate) prices: Vec<f64>,
    pub(crate) row_prices: Vec<f64>,
    pub(crate) resource_prices: Vec<f64>,
    /// `A(α) + Σ β`: what no choice of setup changes.
    base: f64,
    /// `H` of every candidate of every model, in the search's order of models.
    worth: Vec<Vec<f64>>,
    /// `Σ γ`.
    resources: f64,
    /// `H` less what the candidate takes at prices `γ`.
    net: Vec<Vec<f64>>,
    /// `rest[d][u]`: most that models `d..` can add net when `u` units are used already; one entry where units are left to `γ`.
    rest: Vec<Vec<f64>>,
}

impl PricePoint {
    /// Tabulates a price vector; `order` is the search's order of models. Resources get the prices that bound all setups best.
    pub(crate) fn new(problem: &Problem, order: &[usize], dual: &Dual) -> Self {
        let all = f64::from(problem.all_units());
        let offerings: Vec<Vec<Offering<'_>>> = order
            .iter()
            .map(|model| {
                let candidates = &problem.models[*model].candidates;
                candidates.iter().map(|c| offering(c, all)).collect()
            })
            .collect();
        let worth: Vec<Vec<f64>> = order
            .iter()
            .zip(&offerings)
            .map(|(model, offerings)| values(offerings, *model, dual, &problem.traffic))
            .collect();
        let prices = gamma::resource_prices(problem, &offerings, &worth);
        let is_small = is_small(problem);
        let resource_prices = if is_small {
            without_all_units(problem, prices)
        } else {
            prices
        };
        let net: Vec<Vec<f64>> = offerings
            .iter()
            .zip(&worth)
            .map(|(offerings, worth)| {
                let costs = costs(offerings, &resource_prices);
                worth.iter().zip(costs).map(|(worth, cost)| worth - cost).collect()
            })
            .collect();
        Self {
            base: base(problem, dual),
            resources: resource_prices.iter().sum(),
            rest: if is_small {
                knapsack(problem, order, &net)
            } else {
                best_of_each(&net)
            },
            prices: dual.prices.clone(),
            row_prices: dual.row_prices.clone(),
            resource_prices,
            worth,
            net,
        }
    }

    /// A price vector that is only asked about boxes of whole setups.
    pub(crate) fn of_a_box(problem: &Problem, dual: &Dual) -> Self {
        Self {
            prices: dual.prices.clone(),
            row_prices: dual.row_prices.clone(),
            resource_prices: vec![0.0; problem.resources.len()],
            base: base(problem, dual),
            worth: Vec::new(),
            resources: 0.0,
            net: Vec::new(),
            rest: Vec::new(),
        }
    }

    /// Bound of a partial setup: `choice[d]` is the candidate of model `order[d]`. A whole one has taken what it takes, so its bound
    /// need not pay for what it leaves.
    pub(crate) fn bound(&self, choice: &[u16], used: usize) -> f64 {
        let sum = |table: &[Vec<f64>]| -> f64 {
            let chosen = choice.iter().zip(table);
            chosen.map(|(c, values)| values[usize::from(*c)]).sum()
        };
        let open = self.resources + sum(&self.net);
        let left = if choice.len() == self.worth.len() {
            open.min(sum(&self.worth))
        } else {
            open
        };
        let rest = &self.rest[choice.len()];
        self.base + left + rest[used.min(rest.len() - 1)]
    }

    /// Bound of a whole setup with its fractions confined to ranges.
    pub(crate) fn bound_within(&self, problem: &Problem, order: &[usize], choice: &[u16], ranges: &[Interval]) -> f64 {
        let dual = Dual {
            bound: f64::INFINITY,
            prices: self.prices.clone(),
            row_prices: self.row_prices.clone(),
            resource_prices: Vec::new(),
            floor_price: 0.0,
        };
        let mut ranges = ranges;
        let kept;
        if problem.traffic.is_shared() {
            let mut candidates = vec![0; choice.len()];
            for (model, c) in order.iter().zip(choice) {
                candidates[*model] = usize::from(*c);
            }
            let Some(confined) = confined(problem, &candidates, ranges) else {
                return f64::NEG_INFINITY;
            };
            kept = confined;
            ranges = &kept;
        }
        let worth = order.iter().zip(choice).map(|(model, c)| {
            let candidate = &problem.models[*model].candidates[usize::from(*c)];
            let confined = Offering {
                ranges: Ranges::Each(ranges),
                ..offering(candidate, 1.0)
            };
            look(&confined, *model, &dual, &problem.traffic).value
        });
        worth.fold(self.base, |sum, worth| sum + worth)
    }
}

/// `A(α) + Σ β`, the weighted sum over the policies.
fn base(problem: &Problem, dual: &Dual) -> f64 {
    let traffic = &problem.traffic;
    let of = |(policy, weight): (usize, &f64)| {
        let table = &problem.tables[traffic.route_of(policy)];
        let answered = table.exact_value(part(&dual.prices, policy, traffic.n_policies()));
        weight * (answered + traffic.rows_of_policy(&dual.row_prices, policy).iter().sum::<f64>())
    };
    traffic.weights.iter().enumerate().map(of).sum()
}

/// Units times candidates up to which the knapsack over units is worth its time.
const MAX_KNAPSACK: usize = 2_000_000;

/// Whether setups are bounded by a knapsack over share units; else prices `γ` do it alone.
fn is_small(problem: &Problem) -> bool {
    let candidates: usize = problem.models.iter().map(|model| model.candidates.len()).sum();
    candidates * problem.all_units() as usize <= MAX_KNAPSACK
}

/// What tabulating a price vector costs, in steps of a search's effort.
pub(crate) fn work_of_a_point(problem: &Problem) -> u64 {
    let candidates: usize = problem.models.iter().map(|model| model.candidates.len()).sum();
    let units = if is_small(problem) {
        problem.all_units() as usize / 16
    } else {
        0
    };
    (candidates * (4 + units)) as u64
}

/// Without a knapsack every open model takes its best.
fn best_of_each(net: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut rest = vec![vec![0.0]];
    for values in net.iter().rev() {
        let best = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        rest.push(vec![best + rest[rest.len() - 1][0]]);
    }
    rest.reverse();
    rest
}

/// With one GPU type the knapsack keeps its share units, exactly; a price for them too would only loosen the bound.
fn without_all_units(problem: &Problem, mut prices: Vec<f64>) -> Vec<f64> {
    for (resource, price) in problem.resources.iter().zip(&mut prices) {
        let all = problem.units_of(resource.gpu_type_ix) == problem.all_units();
        if all
            && matches!(
                resource.part,
                Part::Of {
                    measure: Measure::Share,
                    k: 0
                }
            )
        {
            *price = 0.0;
        }
    }
    prices
}

/// What a candidate offers when setups are still open; `all` is the cluster's share units.
pub(crate) fn offering(candidate: &Candidate, all: f64) -> Offering<'_> {
    Offering {
        candidate,
        ranges: Ranges::All,
        takes: &candidate.takes,
        units: f64::from(candidate.units) / all,
        profile_ix: candidate.profile_ix,
        n_replicas: candidate
            .configuration
            .map_or(1, |configuration| configuration.n_replicas),
    }
}

/// Dynamic programme over share units of all GPUs together (types lumped, so a relaxation), from the last model back.
fn knapsack(problem: &Problem, order: &[usize], net: &[Vec<f64>]) -> Vec<Vec<f64>> {
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
        for (candidate, value) in problem.models[order[depth]].candidates.iter().zip(&net[depth]) {
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
