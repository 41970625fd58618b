//! Whether the dual points prove the upper bound for every setup.
//!
//! ```text
//! D_k(Θ) = A(α_k) + Σ_r β_kr + Σ_i H_θi(α_ki, β_k) ≥ best quality of setup Θ,    rows relative to their limits
//! ```
//!
//! With several load levels or routes, `D_k` is the mean over them, each with its own prices, weighted by what it counts for. `H` of a model
//! then is that of all routes that share it.
//!
//! For setups that are still open, `D_k` also pays `γ` for the parts of the GPUs that they take and gets `Σ γ`: nothing that can be packed
//! takes more than the whole of a row. Depth first over the models, each with all its ways to run. A subtree is proven when one point's `D` with the best completion
//! whose total compute lies between the floor and the cluster is at most the claimed bound. A whole setup that is not proven like this must
//! be impossible to pack, or be proven piece by piece after splitting its fractions.

use routerwise_types::plan::{DualPoint, Measure, Plan, PolicyPrices, ResourcePrice, RoutePolicy};
use routerwise_types::scenario::Scenario;

use super::boxes::{self, Verdict};
use super::packer::{Fit, Replica, fits};
use super::points::{Budget, Point, level_weights, packed};
use super::reading::{routes, rows_of};
use super::shared::Sharing;
use super::space::{Choice, choices};
use super::{TOLERANCE, Violation, mismatch, number};

/// Elementary steps: a look at one point, a state of the packer (as a thousand), a box.
const MAX_WORK: u64 = 500_000_000;
/// Sizes in one row: more could not be verified by trying every number of each.
const MAX_SIZES: usize = 24;
/// Setups to report; more of them say nothing new.
const MAX_REPORTED: usize = 3;

pub(super) fn violations(scenario: &Scenario, plan: &Plan) -> Vec<Violation> {
    let mut found = stated(plan, &space(scenario));
    let (points, upper_bound) = (&plan.certificate.dual_points, plan.certificate.upper_bound);
    found.extend(proven(
        scenario,
        "certificate",
        points,
        plan.policies.len(),
        upper_bound,
    ));
    found
}

fn space(scenario: &Scenario) -> Vec<Vec<Choice>> {
    scenario.models.iter().map(|model| choices(scenario, model)).collect()
}

/// Whether dual points of a plan with so many policies prove an upper bound.
pub(super) fn proven(
    scenario: &Scenario,
    place: &str,
    points: &[DualPoint],
    n_policies: usize,
    upper_bound: f64,
) -> Vec<Violation> {
    let space = space(scenario);
    let bad = malformed(scenario, place, points, n_policies);
    if !bad.is_empty() {
        return bad;
    }
    let budget = Budget::new(scenario, &space);
    let points = points.iter();
    let mut prover = Prover {
        scenario,
        space: &space,
        points: points
            .map(|point| Point::new(scenario, &space, &budget, point))
            .collect(),
        upper_bound,
        budget,
        chosen: Vec::new(),
        likely: 0,
        work: 0,
        found: Vec::new(),
    };
    prover.visit(0);
    prover.found
}

/// What the certificate says of itself.
fn stated(plan: &Plan, space: &[Vec<Choice>]) -> Vec<Violation> {
    let certificate = &plan.certificate;
    let (quality, bound) = (certificate.quality.value(), certificate.upper_bound);
    let of = |policy: &RoutePolicy| policy.weight.value() * policy.prediction.quality.value();
    let predicted = plan.policies.iter().map(of).sum();
    let mut found = Vec::new();
    found.extend(number("certificate.quality", quality, predicted));
    found.extend(number("certificate.gap", certificate.gap, (bound - quality).max(0.0)));
    if !bound.is_finite() || bound < quality - TOLERANCE {
        let expected = format!("at least the quality {quality}");
        found.push(mismatch("certificate.upper_bound", bound.to_string(), expected));
    }
    let n_choices = space.iter().map(|choices| choices.iter().map(|_| 1.0).sum::<f64>());
    let n_setups: f64 = n_choices.product();
    found.extend(number(
        "certificate.setups_in_space",
        certificate.setups_in_space,
        n_setups,
    ));
    found
}

fn malformed(scenario: &Scenario, of: &str, points: &[DualPoint], n_policies: usize) -> Vec<Violation> {
    let n_models = scenario.models.len();
    let rows: Vec<usize> = routes(&scenario.workload)
        .into_iter()
        .map(|route| rows_of(&scenario.workload, route).len())
        .collect();
    let mut found = Vec::new();
    for (index, point) in points.iter().enumerate() {
        let valid = |(at, n_rows): (&PolicyPrices, &usize)| {
            at.prices.len() == n_models
                && at.slo_prices.len() == *n_rows
                && at.prices.iter().all(|price| price.is_finite())
                && at.slo_prices.iter().all(|price| price.is_finite() && *price >= 0.0)
        };
        let resources = point.resource_prices.iter();
        let bad = resources
            .map(|row| row.price)
            .find(|price| !price.is_finite() || *price < 0.0);
        if let Some(price) = bad {
            let place = format!("{of}.dual_points[{index}].resource_prices");
            found.push(mismatch(
                place,
                price.to_string(),
                "a finite price of at least 0".to_owned(),
            ));
        }
        let packed = point
            .resource_prices
            .iter()
            .filter(|row| row.measure == Measure::Packed);
        for row in packed {
            let place = format!("{of}.dual_points[{index}].resource_prices");
            found.extend(unpackable(scenario, row, place));
        }
        if point.policies.len() != n_policies || !point.policies.iter().zip(rows.iter().cycle()).all(valid) {
            let place = format!("{of}.dual_points[{index}]");
            let expected =
                format!("{n_models} finite prices and {rows:?} SLO prices of at least 0 in turn, {n_policies} times");
            found.push(mismatch(place, format!("{:?}", point.policies), expected));
        }
    }
    found
}

/// Sizes of a row in both measures must have values, and a GPU may hold a value of 1.
fn unpackable(scenario: &Scenario, row: &ResourcePrice, place: String) -> Option<Violation> {
    let gpu = scenario.cluster.gpu_types.iter().find(|gpu| gpu.name == row.gpu_type)?;
    let n = row.sizes.len();
    if n > MAX_SIZES || row.sizes.iter().any(|size| !size.value.is_finite() || size.value < 0.0) {
        let expected = format!("at most {MAX_SIZES} sizes with values of at least 0");
        return Some(mismatch(place, format!("{n} sizes: {:?}", row.sizes), expected));
    }
    let whole = packed(&row.sizes, 100, gpu.usable_memory.0);
    (whole > 1.0 + 1e-9).then(|| {
        let expected = "sizes of which a GPU holds a value of at most 1".to_owned();
        mismatch(place, format!("a value of {whole}"), expected)
    })
}

struct Prover<'a> {
    scenario: &'a Scenario,
    space: &'a [Vec<Choice>],
    points: Vec<Point>,
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
            if self.points[at].bound(&self.chosen, used) <= self.upper_bound + TOLERANCE {
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
        match boxes::prove(
            &choices,
            &self.points,
            &Sharing::of(self.scenario),
            &level_weights(self.scenario),
            self.upper_bound + TOLERANCE,
            &mut self.work,
        ) {
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
