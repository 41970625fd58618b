//! Quality against the latency target, the arrival rate or the number of GPUs.
//!
//! Points are planned from the hardest to the easiest, each starting from the setup of the one before. What a plan reaches it also reaches where
//! things are easier, and what no plan reaches none reaches where they are harder: so a point that another one beats takes over its plan,
//! and bounds only rise. The frontier is monotone by that, not by luck.

use routerwise_types::Fingerprint;
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::frontier::{Frontier, FrontierAxis, FrontierModel, FrontierPoint};
use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Setup;
use routerwise_types::units::{Fraction, RequestsPerSecond, Seconds};
use routerwise_types::workload::Aim;

use crate::objective::{Attempt, attempt};
use crate::problem::Unplannable;
use crate::search::Effort;
use crate::watch::Watch;

/// Plans every value; the scenario's own aim is put aside for the highest quality, its budget holds.
///
/// # Errors
/// [`Unplannable`] as for [`crate::plan`]; that a value is out of reach is a point without a plan.
pub fn frontier(scenario: &Scenario, axis: FrontierAxis, values: &[f64]) -> Result<Frontier, Unplannable> {
    frontier_watched(scenario, axis, values, Watch::default(), &|_| ())
}

/// Which point is being planned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// The value of what is varied, in its unit.
    pub at: f64,
    /// Points planned before it.
    pub n_done: usize,
    /// Points there are.
    pub n_points: usize,
    /// Whether it is searched once more, as it was not settled.
    pub again: bool,
}

/// As [`frontier`], telling each point as it begins and the search within it, and stopping when asked to: points that were not reached by then have
/// what their neighbours imply.
///
/// # Errors
/// As [`frontier`].
pub fn frontier_watched(
    scenario: &Scenario,
    axis: FrontierAxis,
    values: &[f64],
    watch: Watch<'_>,
    on_point: &dyn Fn(Step),
) -> Result<Frontier, Unplannable> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.dedup();
    // From the hardest on.
    let order: Vec<usize> = match axis {
        FrontierAxis::Target | FrontierAxis::Gpus => (0..values.len()).collect(),
        FrontierAxis::Rate => (0..values.len()).rev().collect(),
    };
    let variants: Vec<Scenario> = order.iter().map(|at| at_value(scenario, axis, values[*at])).collect();
    let mut solved: Vec<Solved> = Vec::with_capacity(values.len());
    let mut seed: Option<Setup> = None;
    let step = |n_done: usize, again: bool| {
        on_point(Step {
            at: values[order[n_done]],
            n_done,
            n_points: order.len(),
            again,
        });
    };
    for (n_done, variant) in variants.iter().enumerate() {
        step(n_done, false);
        let point = solve(variant, seed.as_ref(), watch)?;
        if let Some(plan) = &point.plan {
            seed = Some(plan.models.iter().map(|model| model.configuration).collect());
        }
        solved.push(point);
    }
    refine(&variants, &mut solved, watch, &|at| step(at, true))?;
    repair(&mut solved);
    let mut points: Vec<FrontierPoint> = order
        .iter()
        .zip(&solved)
        .map(|(at, point)| point.stated(values[*at]))
        .collect();
    points.sort_by(|a, b| a.at.total_cmp(&b.at));
    let (unit, own) = own(scenario, axis);
    Ok(Frontier {
        schema: ANSWER_SCHEMA,
        axis,
        unit: unit.to_owned(),
        scenario: words(scenario, axis),
        own,
        points,
    })
}

/// The unit of what is varied, and the scenario's own value.
fn own(scenario: &Scenario, axis: FrontierAxis) -> (&'static str, Option<f64>) {
    match axis {
        FrontierAxis::Target => ("s", scenario.workload.slos.first().map(|slo| slo.target.value())),
        FrontierAxis::Rate => ("requests/s", Some(scenario.workload.rate.value())),
        FrontierAxis::Gpus => ("GPUs", Some(whole(scenario.cluster.n_gpus()))),
    }
}

/// What holds while one thing is varied.
fn words(scenario: &Scenario, axis: FrontierAxis) -> String {
    let workload = &scenario.workload;
    let slos: Vec<String> = workload.slos.iter().map(|slo| slo.words(workload.n_routes())).collect();
    let (slos, rate, n_gpus) = (slos.join(", "), workload.rate, scenario.cluster.n_gpus());
    match axis {
        FrontierAxis::Target => format!("{rate} on {n_gpus} GPUs"),
        FrontierAxis::Rate => format!("{slos}, on {n_gpus} GPUs"),
        FrontierAxis::Gpus => format!("{rate}, {slos}"),
    }
}

/// The scenario with one value changed.
fn at_value(scenario: &Scenario, axis: FrontierAxis, value: f64) -> Scenario {
    let mut changed = scenario.clone();
    let workload = &mut changed.workload;
    workload.objective.aim = Aim::MaximiseQuality;
    match axis {
        FrontierAxis::Target => {
            let factor = workload.slos.first().map_or(1.0, |slo| value / slo.target.value());
            for slo in &mut workload.slos {
                slo.target = Seconds::new(slo.target.value() * factor).unwrap_or(slo.target);
            }
        }
        FrontierAxis::Rate => workload.rate = RequestsPerSecond::new(value).unwrap_or(workload.rate),
        FrontierAxis::Gpus => {
            let most = whole_below(value);
            let budget = &mut workload.objective.budget;
            budget.max_gpus = Some(budget.max_gpus.map_or(most, |limit| limit.min(most)));
        }
    }
    changed.fingerprints.workload = Fingerprint::of(&changed.workload);
    changed
}

/// A point as it was planned.
struct Solved {
    plan: Option<Box<Plan>>,
    /// Proven; infinite where nothing is.
    upper_bound: f64,
    undecided: bool,
}

fn solve(scenario: &Scenario, seed: Option<&Setup>, watch: Watch<'_>) -> Result<Solved, Unplannable> {
    let none = |undecided: bool| Solved {
        plan: None,
        upper_bound: if undecided { f64::INFINITY } else { f64::NEG_INFINITY },
        undecided,
    };
    if watch.is_stopped() {
        return Ok(none(true));
    }
    Ok(match attempt(scenario, seed, Effort::of_a_part(scenario), watch) {
        Ok(Attempt::Plan(plan)) => Solved {
            upper_bound: plan
                .achievement
                .as_ref()
                .map_or(plan.certificate.upper_bound, |a| a.bound),
            plan: Some(plan),
            undecided: false,
        },
        Ok(Attempt::NoPlan) => none(false),
        // Too tight a target leaves no configuration that could meet it.
        Err(Unplannable::NothingRuns | Unplannable::NoConfiguration { .. } | Unplannable::NoGpuWithinBudget) => {
            none(false)
        }
        Ok(Attempt::Undecided) => none(true),
        Err(error) => return Err(error),
    })
}

/// Searches points again that were not settled, from the easiest to the hardest: from the setup of the easier one beside, and from none. Where
/// a start leads depends on the start.
fn refine(
    variants: &[Scenario],
    solved: &mut [Solved],
    watch: Watch<'_>,
    on_point: &dyn Fn(usize),
) -> Result<(), Unplannable> {
    for at in (0..solved.len()).rev() {
        let beside = solved.get(at + 1).and_then(|easier| easier.plan.as_ref());
        let beside: Option<Setup> = beside.map(|plan| plan.models.iter().map(|model| model.configuration).collect());
        let starts = beside.is_some().then_some(beside.as_ref()).into_iter().chain([None]);
        for start in starts {
            if watch.is_stopped() || !solved[at].is_open(variants[at].workload.planning.tolerance) {
                break;
            }
            on_point(at);
            let again = solve(&variants[at], start, watch)?;
            solved[at].take(again);
        }
    }
    Ok(())
}

/// Points from the hardest to the easiest: plans are taken over by easier ones, bounds by harder ones.
fn repair(points: &mut [Solved]) {
    for at in 1..points.len() {
        let (harder, easier) = points.split_at_mut(at);
        let (harder, easier) = (&harder[at - 1], &mut easier[0]);
        if harder.quality() > easier.quality() {
            easier.plan.clone_from(&harder.plan);
            easier.undecided = false;
            easier.upper_bound = easier.upper_bound.max(harder.quality());
        }
    }
    let mut least = f64::INFINITY;
    for point in points.iter_mut().rev() {
        least = least.min(point.upper_bound);
        point.upper_bound = least;
        point.undecided &= least > f64::NEG_INFINITY;
    }
}

impl Solved {
    fn quality(&self) -> f64 {
        self.plan
            .as_ref()
            .map_or(f64::NEG_INFINITY, |plan| plan.quality().value())
    }

    /// Whether more work might tell more.
    fn is_open(&self, tolerance: f64) -> bool {
        self.undecided || self.upper_bound - self.quality() > 2.0 * tolerance && self.plan.is_some()
    }

    /// Takes what another search of the same point found.
    fn take(&mut self, other: Self) {
        self.upper_bound = self.upper_bound.min(other.upper_bound);
        self.undecided &= other.undecided;
        if other.quality() > self.quality() {
            self.plan = other.plan;
        }
    }

    fn stated(&self, at: f64) -> FrontierPoint {
        let proven = Some(self.upper_bound).filter(|bound| bound.is_finite());
        let Some(plan) = &self.plan else {
            return FrontierPoint {
                at,
                feasible: (!self.undecided).then_some(false),
                quality: None,
                upper_bound: proven,
                gap: None,
                mean_ttft: None,
                n_gpus: None,
                models: Vec::new(),
            };
        };
        let quality = plan.quality();
        let weighted = plan
            .policies
            .iter()
            .map(|policy| policy.weight.value() * policy.prediction.latency.ttft.value());
        let mut gpus: Vec<usize> = plan
            .models
            .iter()
            .flat_map(|model| model.replicas.iter().flatten().copied())
            .collect();
        gpus.sort_unstable();
        gpus.dedup();
        FrontierPoint {
            at,
            feasible: Some(true),
            quality: Some(quality),
            upper_bound: proven.map(|bound| bound.max(quality.value())),
            gap: proven.map(|bound| (bound - quality.value()).max(0.0)),
            mean_ttft: Seconds::new(weighted.sum()).ok(),
            n_gpus: Some(gpus.len()),
            models: running(plan),
        }
    }
}

fn running(plan: &Plan) -> Vec<FrontierModel> {
    let models = plan.models.iter().enumerate();
    models
        .filter_map(|(model_ix, model)| {
            let of = plan
                .policies
                .iter()
                .map(|policy| policy.weight.value() * policy.models[model_ix].fraction.value());
            Some(FrontierModel {
                name: model.name.clone(),
                configuration: model.configuration?,
                fraction: Fraction::new(of.sum::<f64>().clamp(0.0, 1.0)).unwrap_or(Fraction::ZERO),
            })
        })
        .collect()
}

fn whole(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range of u32 first"
)]
fn whole_below(value: f64) -> u32 {
    value.clamp(1.0, f64::from(u32::MAX)) as u32
}
