//! Whether the dual points prove the upper bound for every setup.
//!
//! ```text
//! D_k(Θ) = A(α_k) + Σ_r β_kr + Σ_i H_θi(α_ki, β_k) ≥ best quality of setup Θ,    rows relative to their limits
//! ```
//!
//! Depth first over the models, each with all its ways to run. A subtree is proven when one point's `D` with the best completion
//! whose total compute lies between the floor and the cluster is at most the claimed bound. A whole setup that is not proven like this must
//! be impossible to pack, or be proven piece by piece after splitting its fractions.

use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;

use super::boxes::{self, Verdict};
use super::packer::{Fit, Replica, fits};
use super::reading::rows;
use super::space::{Choice, choices};
use super::{TOLERANCE, Violation, mismatch, number};

/// Elementary steps: a look at one point, a state of the packer (as a thousand), a box.
const MAX_WORK: u64 = 500_000_000;
/// Setups to report; more of them say nothing new.
const MAX_REPORTED: usize = 3;

pub(super) fn violations(scenario: &Scenario, plan: &Plan) -> Vec<Violation> {
    let certificate = &plan.certificate;
    let mut found = Vec::new();
    let stated = certificate.quality.value();
    found.extend(number("certificate.quality", stated, plan.prediction.quality.value()));
    found.extend(number(
        "certificate.gap",
        certificate.gap,
        (certificate.upper_bound - stated).max(0.0),
    ));
    if certificate.upper_bound < stated - TOLERANCE {
        let expected = format!("at least the quality {stated}");
        found.push(mismatch(
            "certificate.upper_bound",
            certificate.upper_bound.to_string(),
            expected,
        ));
    }
    let space: Vec<Vec<Choice>> = scenario.models.iter().map(|model| choices(scenario, model)).collect();
    let n_setups: f64 = space
        .iter()
        .map(|choices| choices.iter().map(|_| 1.0).sum::<f64>())
        .product();
    if (certificate.setups_in_space - n_setups).abs() > 1e-9 * n_setups {
        found.extend(number(
            "certificate.setups_in_space",
            certificate.setups_in_space,
            n_setups,
        ));
    }
    let n_rows = rows(&scenario.workload).len();
    for (index, point) in certificate.dual_points.iter().enumerate() {
        let shape = point.prices.len() == space.len() && point.slo_prices.len() == n_rows;
        let valid = point.prices.iter().all(|price| price.is_finite())
            && point.slo_prices.iter().all(|price| price.is_finite() && *price >= 0.0);
        if !shape || !valid {
            let expected = format!("{} finite prices and {n_rows} SLO prices of at least 0", space.len());
            let place = format!("certificate.dual_points[{index}]");
            found.push(mismatch(
                place,
                format!("{:?} and {:?}", point.prices, point.slo_prices),
                expected,
            ));
            return found;
        }
    }
    let budget = Budget::new(scenario, &space);
    let points = certificate.dual_points.iter().map(|point| {
        let rent = point.slo_prices.iter().sum::<f64>();
        Point::new(
            answered(scenario, &point.prices) + rent,
            &point.prices,
            &point.slo_prices,
            &space,
            &budget,
        )
    });
    let mut prover = Prover {
        scenario,
        space: &space,
        points: points.collect(),
        limit: certificate.upper_bound + TOLERANCE,
        upper_bound: certificate.upper_bound,
        budget,
        chosen: Vec::new(),
        likely: 0,
        work: 0,
        found,
    };
    prover.visit(0);
    prover.found
}

/// `A(α)`: what all prompts are worth when each goes to its best model at these prices.
fn answered(scenario: &Scenario, prices: &[f64]) -> f64 {
    let columns = &scenario.scores.columns;
    let weights = scenario.scores.normalised_weights();
    let best = |prompt: usize| {
        let worth = columns
            .iter()
            .zip(prices)
            .map(|(column, price)| f64::from(column[prompt]) - price);
        worth.fold(f64::NEG_INFINITY, f64::max)
    };
    weights
        .iter()
        .enumerate()
        .map(|(prompt, weight)| weight * best(prompt))
        .sum()
}

/// Compute of the cluster in steps that divide every shard's percentage.
struct Budget {
    step: u64,
    least: usize,
    most: usize,
}

impl Budget {
    fn new(scenario: &Scenario, space: &[Vec<Choice>]) -> Self {
        let divisor = |a: u64, b: u64| {
            let (mut a, mut b) = (a, b);
            while b > 0 {
                (a, b) = (b, a % b);
            }
            a
        };
        let step = space
            .iter()
            .flatten()
            .map(|choice| choice.shard_percent)
            .fold(100, divisor);
        let most = 100 / step * scenario.cluster.n_gpus() as u64;
        let floor = scenario.workload.planning.utilisation_floor.value();
        let enough = |steps: &u64| {
            let used = f64::from(u32::try_from(*steps).unwrap_or(u32::MAX));
            used >= floor * f64::from(u32::try_from(most).unwrap_or(u32::MAX)) - 1e-9
        };
        let least = (0..=most).find(enough).unwrap_or(most);
        Self {
            step,
            least: usize::try_from(least).unwrap_or(usize::MAX),
            most: usize::try_from(most).unwrap_or(usize::MAX),
        }
    }

    fn steps(&self, choice: &Choice) -> usize {
        usize::try_from(choice.percent() / self.step).unwrap_or(usize::MAX)
    }
}

/// One dual point, tabulated.
pub(super) struct Point {
    pub(super) prices: Vec<f64>,
    pub(super) row_prices: Vec<f64>,
    /// `A(α) + Σ β`.
    pub(super) base: f64,
    /// `H` of every choice of every model.
    worth: Vec<Vec<f64>>,
    /// `rest[d][u]`: the most that models `d..` can add when `u` steps of compute are used by those before.
    rest: Vec<Vec<f64>>,
}

impl Point {
    fn new(base: f64, prices: &[f64], row_prices: &[f64], space: &[Vec<Choice>], budget: &Budget) -> Self {
        let worth_of = |choice: &Choice, price: f64| choice.flow.worth(price, row_prices, 0.0, 1.0);
        let worth: Vec<Vec<f64>> = space
            .iter()
            .zip(prices)
            .map(|(choices, price)| choices.iter().map(|choice| worth_of(choice, *price)).collect())
            .collect();
        let complete = |used: usize| if used >= budget.least { 0.0 } else { f64::NEG_INFINITY };
        let mut rest = vec![(0..=budget.most).map(complete).collect::<Vec<f64>>()];
        for (choices, worth) in space.iter().zip(&worth).rev() {
            let after = &rest[rest.len() - 1];
            let best = |used: usize| {
                let steps = choices.iter().map(|choice| used.saturating_add(budget.steps(choice)));
                let values = steps
                    .zip(worth)
                    .map(|(used, worth)| after.get(used).map_or(f64::NEG_INFINITY, |v| v + worth));
                values.fold(f64::NEG_INFINITY, f64::max)
            };
            let here = (0..=budget.most).map(best).collect();
            rest.push(here);
        }
        rest.reverse();
        Self {
            prices: prices.to_vec(),
            row_prices: row_prices.to_vec(),
            base,
            worth,
            rest,
        }
    }

    fn bound(&self, chosen: &[usize], used: usize) -> f64 {
        let sum: f64 = self
            .worth
            .iter()
            .zip(chosen)
            .map(|(worth, choice)| worth[*choice])
            .sum();
        self.base + sum + self.rest[chosen.len()][used]
    }
}

struct Prover<'a> {
    scenario: &'a Scenario,
    space: &'a [Vec<Choice>],
    points: Vec<Point>,
    limit: f64,
    upper_bound: f64,
    budget: Budget,
    /// Choice of the models so far.
    chosen: Vec<usize>,
    /// The point that proved the last subtree: it often proves the next.
    likely: usize,
    work: u64,
    found: Vec<Violation>,
}

impl Prover<'_> {
    fn visit(&mut self, used: usize) {
        let stopped = self.found.iter().filter(|violation| is_about_bound(violation)).count() >= MAX_REPORTED;
        if stopped || self.work > MAX_WORK || self.is_proven(used) {
            return;
        }
        if self.chosen.len() == self.space.len() {
            self.decide();
            return;
        }
        let model = self.chosen.len();
        for (index, choice) in self.space[model].iter().enumerate() {
            let used = used.saturating_add(self.budget.steps(choice));
            if used <= self.budget.most && self.has_room(choice) {
                self.chosen.push(index);
                self.visit(used);
                self.chosen.pop();
            }
        }
        if self.work > MAX_WORK && !self.found.iter().any(|v| matches!(v, Violation::Unverified { .. })) {
            self.found.push(Violation::Unverified {
                work: MAX_WORK,
                setup: self.setup(),
            });
        }
    }

    fn is_proven(&mut self, used: usize) -> bool {
        let n = self.points.len();
        for turn in 0..n {
            let at = (self.likely + turn) % n;
            self.work += 1;
            if self.points[at].bound(&self.chosen, used) <= self.limit {
                self.likely = at;
                return true;
            }
        }
        false
    }

    /// Whether compute and memory of the choice's GPU type suffice in total.
    fn has_room(&self, choice: &Choice) -> bool {
        let Some(configuration) = &choice.configuration else {
            return true;
        };
        let gpu_type_ix = configuration.gpu_type_ix;
        let (mut percent, mut memory) = (choice.percent(), u128::from(choice.memory()));
        for (choices, index) in self.space.iter().zip(&self.chosen) {
            let other = &choices[*index];
            if other
                .configuration
                .is_some_and(|other| other.gpu_type_ix == gpu_type_ix)
            {
                percent += other.percent();
                memory += u128::from(other.memory());
            }
        }
        let n_gpus = self.scenario.cluster.n_gpus_of(gpu_type_ix) as u64;
        let usable = self.scenario.cluster.gpu_types[gpu_type_ix].usable_memory.0;
        percent <= 100 * n_gpus && memory <= u128::from(usable) * u128::from(n_gpus)
    }

    /// A whole setup that no point proves by itself.
    fn decide(&mut self) {
        let choices: Vec<&Choice> = self
            .space
            .iter()
            .zip(&self.chosen)
            .map(|(all, index)| &all[*index])
            .collect();
        let mut states = (MAX_WORK.saturating_sub(self.work)) / 1000;
        let before = states;
        let fit = fits(&self.scenario.cluster, &replicas(&choices), &mut states);
        self.work += 1000 * (before - states);
        if fit == Fit::No {
            return;
        }
        if fit == Fit::Unknown {
            self.work = MAX_WORK + 1;
            return;
        }
        match boxes::prove(&choices, &self.points, self.limit, &mut self.work) {
            Verdict::Proven => {}
            Verdict::Open(proven) => self.found.push(Violation::Uncovered {
                setup: self.setup(),
                proven,
                upper_bound: self.upper_bound,
            }),
            Verdict::OutOfWork => self.work = MAX_WORK + 1,
        }
    }

    /// The setup so far in words.
    fn setup(&self) -> String {
        let models = self.scenario.models.iter().zip(self.space).zip(&self.chosen);
        let words = models.map(|((model, choices), index)| match &choices[*index].configuration {
            Some(c) => {
                let gpu_type = &self.scenario.cluster.gpu_types[c.gpu_type_ix].name;
                format!("`{}` {c} on `{gpu_type}`", model.name)
            }
            None => format!("`{}` off", model.name),
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

fn is_about_bound(violation: &Violation) -> bool {
    matches!(violation, Violation::Uncovered { .. } | Violation::Unverified { .. })
}

fn replicas(choices: &[&Choice]) -> Vec<Replica> {
    let mut replicas = Vec::new();
    for choice in choices {
        if let Some(c) = &choice.configuration {
            let replica = Replica {
                gpu_type_ix: c.gpu_type_ix,
                n_shards: c.tensor_parallel as usize,
                percent: choice.shard_percent,
                memory: choice.shard_memory,
            };
            replicas.extend(std::iter::repeat_n(replica, c.n_replicas as usize));
        }
    }
    replicas
}
