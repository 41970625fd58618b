//! Deciding logged requests again.

use std::collections::BTreeSet;

use routerwise_plan::curve::{LatencyCurve, Reading};
use routerwise_plan::problem::{reading, rows};
use routerwise_route::Policy;
use routerwise_types::Scenario;
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::replay::{BeforeAfter, Replay, ReplayedModel, ReplayedRoute, ReplayedSlo};
use routerwise_types::decisions::DecisionRecord;
use routerwise_types::plan::{Plan, RoutePolicy};
use routerwise_types::profile::Profile;
use routerwise_types::workload::{Metric, Statistic};

/// Requests of one route, and what became of them.
struct Class<'a> {
    policy: &'a RoutePolicy,
    rule: Policy,
    n_moved: u64,
    logged: Vec<u64>,
    replayed: Vec<u64>,
    quality: BeforeAfter,
}

impl<'a> Class<'a> {
    fn new(plan: &Plan, policy: &'a RoutePolicy) -> Self {
        let running = plan.models.iter().map(|model| model.configuration.is_some()).collect();
        Self {
            policy,
            rule: Policy::new(policy, running),
            n_moved: 0,
            logged: vec![0; plan.models.len()],
            replayed: vec![0; plan.models.len()],
            quality: BeforeAfter {
                logged: 0.0,
                replayed: 0.0,
            },
        }
    }

    fn decide(&mut self, plan: &Plan, record: &DecisionRecord, hash: u64) {
        let score = |name: &str| record.scores.get(name).copied().unwrap_or(0.0);
        let scores: Vec<f32> = plan.models.iter().map(|model| score(&model.name)).collect();
        let named = |model: &routerwise_types::plan::PlannedModel| Some(&model.name) == record.model.as_ref();
        let then = plan.models.iter().position(named);
        let now = self.rule.choose(&scores, hash);
        self.n_moved += u64::from(now != then);
        if let Some(then) = then {
            self.logged[then] += 1;
        }
        self.quality.logged += record.model.as_deref().map_or(0.0, |name| f64::from(score(name)));
        if let Some(now) = now {
            self.replayed[now] += 1;
            self.quality.replayed += f64::from(scores[now]);
        }
    }

    fn n(&self) -> u64 {
        self.logged.iter().sum::<u64>().max(self.replayed.iter().sum())
    }

    fn fractions(&self) -> Vec<BeforeAfter> {
        let both = self.logged.iter().zip(&self.replayed);
        let of = |(logged, replayed): (&u64, &u64)| BeforeAfter {
            logged: part(*logged, self.n()),
            replayed: part(*replayed, self.n()),
        };
        both.map(of).collect()
    }
}

fn part(count: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { as_f64(count) / as_f64(all) }
}

/// Decides them by a plan; with its scenario also load and latency are known.
pub(super) fn replay(plan: &Plan, scenario: Option<&Scenario>, records: &[DecisionRecord]) -> Replay {
    let replayable: Vec<(&DecisionRecord, u64)> = records.iter().filter_map(with_hash).collect();
    let rate = rate(&replayable);
    let policies = level(plan, rate);
    let mut classes: Vec<Class<'_>> = policies.iter().map(|policy| Class::new(plan, policy)).collect();
    for (record, hash) in &replayable {
        let own = policies
            .iter()
            .position(|policy| Some(&policy.route) == record.asked.as_ref());
        classes[own.unwrap_or(0)].decide(plan, record, *hash);
    }
    let n = replayable.len() as u64;
    let sum = |of: &dyn Fn(&Class<'_>) -> f64| classes.iter().map(of).sum::<f64>();
    let fraction = |ix: usize| BeforeAfter {
        logged: sum(&|class| part(class.logged[ix], n)),
        replayed: sum(&|class| part(class.replayed[ix], n)),
    };
    let loads: Vec<f64> = plan
        .models
        .iter()
        .enumerate()
        .map(|(ix, model)| rate * fraction(ix).replayed / as_f64(model.replicas.len().max(1) as u64))
        .collect();
    let models = plan.models.iter().enumerate().map(|(ix, model)| {
        let ttft =
            scenario.and_then(|scenario| curve(scenario, plan, ix, Reading::Statistic(Metric::Ttft, Statistic::Mean)));
        let runs = model.configuration.is_some();
        ReplayedModel {
            model: model.name.clone(),
            fraction: fraction(ix),
            planned: sum(&|class| part(class.n(), n) * class.policy.models[ix].fraction.value()),
            load: runs.then_some(loads[ix]),
            utilisation: ttft.as_ref().map(|curve| loads[ix] / curve.end()),
            ttft: ttft.and_then(|curve| curve.at(loads[ix])),
        }
    });
    let mean = |quality: BeforeAfter, n: u64| BeforeAfter {
        logged: quality.logged * part(1, n),
        replayed: quality.replayed * part(1, n),
    };
    let routes = classes.iter().filter(|_| classes.len() > 1).map(|class| ReplayedRoute {
        route: class.policy.route.clone(),
        n_replayed: class.n(),
        n_moved: class.n_moved,
        quality: mean(class.quality, class.n()),
        fractions: class.fractions(),
    });
    let plans: BTreeSet<&str> = replayable.iter().map(|(record, _)| record.plan.as_str()).collect();
    let fractions: Vec<Vec<BeforeAfter>> = classes.iter().map(Class::fractions).collect();
    Replay {
        schema: ANSWER_SCHEMA,
        plan: plan.id.clone(),
        logged_plans: plans.into_iter().map(str::to_owned).collect(),
        n_replayed: n,
        n_passed_over: records.len() as u64 - n,
        n_unreadable: 0,
        n_moved: classes.iter().map(|class| class.n_moved).sum(),
        routes: routes.collect(),
        rate,
        level: policies[0].level.clone(),
        quality: mean(
            BeforeAfter {
                logged: sum(&|class| class.quality.logged),
                replayed: sum(&|class| class.quality.replayed),
            },
            n,
        ),
        models: models.collect(),
        slos: scenario.map_or_else(Vec::new, |scenario| slos(scenario, plan, &fractions, &loads)),
    }
}

/// Requests that were routed and have what it takes to route them again.
fn with_hash(record: &DecisionRecord) -> Option<(&DecisionRecord, u64)> {
    let hash = u64::from_str_radix(record.prompt_hash.as_ref()?, 16).ok()?;
    (record.routed && record.model.is_some() && !record.scores.is_empty()).then_some((record, hash))
}

/// Requests over the time from the first to the last; a log of one request has no rate.
fn rate(records: &[(&DecisionRecord, u64)]) -> f64 {
    let times = || records.iter().map(|(record, _)| record.at);
    let span = times().fold(f64::NEG_INFINITY, f64::max) - times().fold(f64::INFINITY, f64::min);
    if records.len() < 2 || span <= 0.0 {
        return 0.0;
    }
    as_f64(records.len() as u64 - 1) / span
}

/// The policies of the lowest level that carries the rate, or of the highest: one for each route.
fn level(plan: &Plan, rate: f64) -> Vec<&RoutePolicy> {
    let n_routes = plan.routes().len();
    let carried = |policies: &&[RoutePolicy]| policies.iter().map(|policy| policy.rate.value()).sum::<f64>();
    let mut levels: Vec<&[RoutePolicy]> = plan.policies.chunks(n_routes).collect();
    levels.sort_by(|a, b| carried(a).total_cmp(&carried(b)));
    let carries = levels.iter().find(|policies| carried(policies) >= rate);
    let level = carries.or(levels.last()).copied();
    level.expect("a plan has a policy").iter().collect()
}

fn slos(scenario: &Scenario, plan: &Plan, fractions: &[Vec<BeforeAfter>], loads: &[f64]) -> Vec<ReplayedSlo> {
    let row = |row: routerwise_plan::problem::Row| {
        let slo = scenario.workload.slos[row.slo_ix].clone();
        let fractions = &fractions[row.route];
        let part = |ix: usize| {
            let fraction = fractions[ix].replayed;
            if fraction <= 0.0 {
                return Some(0.0);
            }
            Some(fraction * curve(scenario, plan, ix, reading(&slo))?.at(loads[ix])?)
        };
        let value: Option<f64> = (0..fractions.len()).map(part).sum();
        ReplayedSlo {
            slo,
            value,
            limit: row.limit,
            met: value.is_some_and(|value| value <= row.limit),
        }
    };
    rows(&scenario.workload).into_iter().map(row).collect()
}

/// A curve of the configuration in which the plan runs a model.
fn curve(scenario: &Scenario, plan: &Plan, ix: usize, reading: Reading) -> Option<LatencyCurve> {
    let planned = &plan.models[ix];
    let configuration = planned.configuration?;
    let is_it = |profile: &&Profile| {
        let key = &profile.key;
        key.model == planned.name
            && Some(&key.gpu_type) == planned.gpu_type.as_ref()
            && key.tensor_parallel == configuration.tensor_parallel
            && (key.share.value() - configuration.share.value()).abs() < 1e-9
    };
    LatencyCurve::from_profile(scenario.profiles.iter().find(is_it)?, reading)
}

#[expect(clippy::cast_precision_loss, reason = "logs have far fewer than 2^53 lines")]
fn as_f64(count: u64) -> f64 {
    count as f64
}
