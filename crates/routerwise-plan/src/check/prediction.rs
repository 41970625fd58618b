//! Load, latency and SLOs of what the plan does.

use routerwise_types::plan::{Plan, PlannedLatency, RoutePolicy, SloValue};
use routerwise_types::profile::Profile;
use routerwise_types::scenario::Scenario;
use routerwise_types::workload::{Metric, Scope, Slo};

use super::reading::{Curve, limit};
use super::routing::Realised;
use super::space::profile_of;
use super::{TOLERANCE, Violation, mismatch, number};

/// One model that runs.
struct Running<'a> {
    model_ix: usize,
    profile: &'a Profile,
    fraction: f64,
    /// Part of all requests of the level, of all routes.
    of_all: f64,
    /// Load on one replica, requests/s, of a fraction of 1 at the level's rate.
    load_per_fraction: f64,
}

impl Running<'_> {
    fn load(&self, headroom: f64) -> f64 {
        self.of_all * self.load_per_fraction * (1.0 + headroom)
    }
}

/// What one policy does and states.
pub(super) struct Judged<'a> {
    /// Where in the plan.
    pub(super) place: &'a str,
    pub(super) policy: &'a RoutePolicy,
    /// What all routes do at its level.
    pub(super) together: &'a [Realised],
    pub(super) realised: &'a Realised,
    /// Arrival rate of its level, requests/s.
    pub(super) rate: f64,
}

pub(super) fn violations(scenario: &Scenario, plan: &Plan, judged: &Judged<'_>) -> Vec<Violation> {
    let running = running(scenario, plan, judged);
    let headroom = scenario.workload.planning.headroom;
    let place = judged.place;
    let mut found = Vec::new();
    for one in &running {
        found.extend(model(plan, judged, one, headroom));
    }
    for (planned, routed) in plan.models.iter().zip(&judged.policy.models) {
        if planned.configuration.is_none() && routed.latency.is_some() {
            found.push(mismatch(
                format!("{place}, `{}`, latency", planned.name),
                "a latency of a model that is off",
                "none",
            ));
        }
    }
    let stated = &judged.policy.prediction;
    let with = format!("{place}.prediction.latency");
    found.extend(latency(&with, stated.latency, &mean_over(&running, headroom)));
    let without = format!("{place}.prediction.latency_without_headroom");
    found.extend(latency(
        &without,
        stated.latency_without_headroom,
        &mean_over(&running, 0.0),
    ));
    let slos = scenario.workload.slos.iter();
    let own = slos.filter(|slo| slo.route.as_ref().is_none_or(|name| *name == judged.policy.route));
    for (index, (slo, value)) in own.zip(&stated.slo_values).enumerate() {
        let place = format!("{place}.prediction.slo_values[{index}]");
        found.extend(objective(&place, slo, value, &running, headroom));
    }
    found
}

/// Highest load of any policy over capacity is what each model states as its utilisation.
pub(super) fn utilisations(scenario: &Scenario, plan: &Plan, all: &[Judged<'_>]) -> Vec<Violation> {
    let mut highest = vec![0.0; plan.models.len()];
    for one in all.iter().flat_map(|judged| running(scenario, plan, judged)) {
        let load = one.load(scenario.workload.planning.headroom);
        let utilisation = (load / one.profile.capacity.value()).clamp(0.0, 1.0);
        highest[one.model_ix] = f64::max(highest[one.model_ix], utilisation);
    }
    let pairs = plan.models.iter().zip(highest);
    pairs
        .filter_map(|(model, highest)| {
            number(
                format!("`{}`, utilisation", model.name),
                model.utilisation.value(),
                highest,
            )
        })
        .collect()
}

fn running<'a>(scenario: &'a Scenario, plan: &Plan, judged: &Judged<'_>) -> Vec<Running<'a>> {
    let mut running = Vec::new();
    for (model_ix, (model, planned)) in scenario.models.iter().zip(&plan.models).enumerate() {
        let Some(configuration) = &planned.configuration else {
            continue;
        };
        running.extend(profile_of(scenario, model, configuration).map(|profile| Running {
            model_ix,
            profile,
            fraction: judged.realised.fractions[model_ix],
            of_all: of_all(scenario, judged, model_ix),
            load_per_fraction: judged.rate / f64::from(configuration.n_replicas),
        }));
    }
    running
}

/// Part of the level's requests that a model gets, of all routes.
fn of_all(scenario: &Scenario, judged: &Judged<'_>, model_ix: usize) -> f64 {
    let part = |route: usize| scenario.workload.routes.get(route).map_or(1.0, |route| route.part);
    let routes = judged.together.iter().enumerate();
    routes.map(|(route, does)| part(route) * does.fractions[model_ix]).sum()
}

const METRICS: [Metric; 3] = [Metric::Ttft, Metric::Tpot, Metric::E2e];

fn model(plan: &Plan, judged: &Judged<'_>, one: &Running<'_>, headroom: f64) -> Vec<Violation> {
    let mut found = Vec::new();
    let name = &plan.models[one.model_ix].name;
    let load = one.load(headroom);
    let curves = METRICS.map(|metric| Curve::mean(one.profile, metric));
    let [Some(ttft), Some(tpot), Some(e2e)] = curves else {
        found.push(mismatch(
            format!("`{name}`, configuration"),
            "a profile without points",
            "a curve",
        ));
        return found;
    };
    let covered = ttft.end / (one.load_per_fraction * (1.0 + headroom));
    if one.of_all > covered + TOLERANCE {
        found.push(Violation::Overloaded {
            model: name.clone(),
            found: one.of_all,
            limit: covered,
        });
    }
    let place = format!("{}, `{name}`, latency", judged.place);
    match judged.policy.models[one.model_ix].latency {
        Some(stated) if one.fraction > 0.0 => {
            found.extend(latency(&place, stated, &[ttft.at(load), tpot.at(load), e2e.at(load)]));
        }
        Some(_) => found.push(mismatch(place, "a latency of a model without prompts", "none")),
        None if one.fraction > TOLERANCE => found.push(mismatch(place, "none", "mean latencies")),
        None => {}
    }
    found
}

fn latency(place: &str, stated: PlannedLatency, expected: &[f64; 3]) -> Vec<Violation> {
    let stated = [stated.ttft, stated.tpot, stated.e2e];
    let three = METRICS.iter().zip(stated).zip(expected);
    three
        .filter_map(|((metric, stated), expected)| number(format!("{place}, {metric}"), stated.value(), *expected))
        .collect()
}

/// `Σ w·ℓ` for each metric.
fn mean_over(running: &[Running<'_>], headroom: f64) -> [f64; 3] {
    METRICS.map(|metric| {
        let terms = running.iter().filter_map(|one| {
            let curve = Curve::mean(one.profile, metric)?;
            Some(one.fraction * curve.at(one.load(headroom)))
        });
        terms.sum()
    })
}

fn objective(place: &str, slo: &Slo, stated: &SloValue, running: &[Running<'_>], headroom: f64) -> Vec<Violation> {
    let (value, limit) = match slo.scope {
        Scope::Workload => (sum(slo, running, headroom, 0.0), limit(slo)),
        Scope::EachModel => (worst(slo, running, headroom, 0.0), slo.target.value()),
    };
    // Slack in routing fractions, not in seconds: near its end a curve is almost vertical.
    let with_slack = match slo.scope {
        Scope::Workload => value,
        Scope::EachModel => worst(slo, running, headroom, TOLERANCE),
    };
    let mut found = Vec::new();
    found.extend(number(format!("{place}.value"), stated.value, value));
    found.extend(number(format!("{place}.limit"), stated.limit, limit));
    if with_slack > limit * (1.0 + TOLERANCE) {
        found.push(Violation::Missed {
            place: place.to_owned(),
            slo: slo.to_string(),
            found: value,
            limit,
        });
    }
    if !(stated.price.is_finite() && stated.price >= 0.0) {
        found.push(mismatch(
            format!("{place}.price"),
            stated.price.to_string(),
            "at least 0",
        ));
    }
    found
}

fn sum(slo: &Slo, running: &[Running<'_>], headroom: f64, slack: f64) -> f64 {
    let terms = running.iter().filter_map(|one| {
        let load = one.load(headroom) - slack * one.load_per_fraction;
        Some(one.fraction * Curve::row(one.profile, slo)?.at(load))
    });
    terms.sum()
}

fn worst(slo: &Slo, running: &[Running<'_>], headroom: f64, slack: f64) -> f64 {
    let served = running.iter().filter(|one| one.fraction > 0.0);
    let values = served.filter_map(|one| {
        let load = one.load(headroom) - slack * one.load_per_fraction;
        Some(Curve::statistic(one.profile, slo)?.at(load))
    });
    values.fold(0.0, f64::max)
}
