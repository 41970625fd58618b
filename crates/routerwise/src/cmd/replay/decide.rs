//! Deciding logged requests again.

use std::collections::BTreeSet;

use routerwise_plan::curve::{LatencyCurve, Reading};
use routerwise_plan::problem::{reading, rows};
use routerwise_route::Policy;
use routerwise_types::Scenario;
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::replay::{BeforeAfter, Replay, ReplayedModel, ReplayedSlo};
use routerwise_types::decisions::DecisionRecord;
use routerwise_types::plan::{Plan, RoutePolicy};
use routerwise_types::profile::Profile;
use routerwise_types::workload::{Metric, Statistic};

/// Decides them by a plan; with its scenario also load and latency are known.
pub(super) fn replay(plan: &Plan, scenario: Option<&Scenario>, records: &[DecisionRecord]) -> Replay {
    let replayable: Vec<(&DecisionRecord, u64)> = records.iter().filter_map(with_hash).collect();
    let rate = rate(&replayable);
    let policy = level(plan, rate);
    let running = plan.models.iter().map(|model| model.configuration.is_some()).collect();
    let rule = Policy::new(policy, running);
    let mut logged = vec![0u64; plan.models.len()];
    let mut replayed = logged.clone();
    let (mut n_moved, mut quality) = (
        0,
        BeforeAfter {
            logged: 0.0,
            replayed: 0.0,
        },
    );
    for (record, hash) in &replayable {
        let score = |name: &str| record.scores.get(name).copied().unwrap_or(0.0);
        let scores: Vec<f32> = plan.models.iter().map(|model| score(&model.name)).collect();
        let then = plan
            .models
            .iter()
            .position(|model| Some(&model.name) == record.model.as_ref());
        let now = rule.choose(&scores, *hash);
        n_moved += u64::from(now != then);
        if let Some(then) = then {
            logged[then] += 1;
        }
        quality.logged += record.model.as_deref().map_or(0.0, |name| f64::from(score(name)));
        if let Some(now) = now {
            replayed[now] += 1;
            quality.replayed += f64::from(scores[now]);
        }
    }
    let n = replayable.len();
    let part = |count: u64| if n == 0 { 0.0 } else { as_f64(count) / as_f64(n as u64) };
    quality.logged *= part(1);
    quality.replayed *= part(1);
    let loads: Vec<f64> = replayed
        .iter()
        .zip(&plan.models)
        .map(|(count, model)| rate * part(*count) / as_f64(model.replicas.len().max(1) as u64))
        .collect();
    let models = plan.models.iter().enumerate().map(|(ix, model)| {
        let ttft =
            scenario.and_then(|scenario| curve(scenario, plan, ix, Reading::Statistic(Metric::Ttft, Statistic::Mean)));
        let runs = model.configuration.is_some();
        ReplayedModel {
            model: model.name.clone(),
            fraction: BeforeAfter {
                logged: part(logged[ix]),
                replayed: part(replayed[ix]),
            },
            planned: policy.models[ix].fraction.value(),
            load: runs.then_some(loads[ix]),
            utilisation: ttft.as_ref().map(|curve| loads[ix] / curve.end()),
            ttft: ttft.and_then(|curve| curve.at(loads[ix])),
        }
    });
    let plans: BTreeSet<&str> = replayable.iter().map(|(record, _)| record.plan.as_str()).collect();
    let fractions: Vec<f64> = replayed.iter().map(|count| part(*count)).collect();
    Replay {
        schema: ANSWER_SCHEMA,
        plan: plan.id.clone(),
        logged_plans: plans.into_iter().map(str::to_owned).collect(),
        n_replayed: n as u64,
        n_passed_over: (records.len() - n) as u64,
        n_unreadable: 0,
        n_moved,
        rate,
        level: policy.level.clone(),
        quality,
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

/// The policy of the lowest level that carries the rate, or of the highest.
fn level(plan: &Plan, rate: f64) -> &RoutePolicy {
    let first = plan.policies.first().expect("a plan has a policy");
    let mut policies: Vec<&RoutePolicy> = plan
        .policies
        .iter()
        .filter(|policy| policy.route == first.route)
        .collect();
    policies.sort_by(|a, b| a.rate.value().total_cmp(&b.rate.value()));
    let carries = |policy: &&&RoutePolicy| policy.rate.value() >= rate;
    policies
        .iter()
        .find(carries)
        .or(policies.last())
        .copied()
        .unwrap_or(first)
}

fn slos(scenario: &Scenario, plan: &Plan, fractions: &[f64], loads: &[f64]) -> Vec<ReplayedSlo> {
    let row = |row: routerwise_plan::problem::Row| {
        let slo = scenario.workload.slos[row.slo_ix].clone();
        let part = |ix: usize| {
            if fractions[ix] <= 0.0 {
                return Some(0.0);
            }
            Some(fractions[ix] * curve(scenario, plan, ix, reading(&slo))?.at(loads[ix])?)
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
