//! Load, latency and SLOs of what the plan does.

use routerwise_types::plan::{Plan, PlannedLatency, SloValue};
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
    /// Load on one replica, requests/s, of a fraction of 1 at the planned rate.
    load_per_fraction: f64,
}

impl Running<'_> {
    fn load(&self, headroom: f64) -> f64 {
        self.fraction * self.load_per_fraction * (1.0 + headroom)
    }
}

pub(super) fn violations(scenario: &Scenario, plan: &Plan, realised: &Realised) -> Vec<Violation> {
    let running = running(scenario, plan, realised);
    let headroom = scenario.workload.planning.headroom;
    let mut found = Vec::new();
    for one in &running {
        found.extend(model(plan, one, headroom));
    }
    for planned in plan.models.iter().filter(|planned| planned.configuration.is_none()) {
        let name = &planned.name;
        found.extend(number(
            format!("`{name}`, utilisation"),
            planned.utilisation.value(),
            0.0,
        ));
        if planned.latency.is_some() {
            found.push(mismatch(
                format!("`{name}`, latency"),
                "a latency of a model that is off",
                "none",
            ));
        }
    }
    let stated = &plan.prediction;
    found.extend(latency(
        "prediction.latency",
        stated.latency,
        &mean_over(&running, headroom),
    ));
    let place = "prediction.latency_without_headroom";
    found.extend(latency(
        place,
        stated.latency_without_headroom,
        &mean_over(&running, 0.0),
    ));
    for (index, (slo, value)) in scenario.workload.slos.iter().zip(&stated.slo_values).enumerate() {
        found.extend(objective(index, slo, value, &running, headroom));
    }
    found
}

fn running<'a>(scenario: &'a Scenario, plan: &Plan, realised: &Realised) -> Vec<Running<'a>> {
    let mut running = Vec::new();
    for (model_ix, (model, planned)) in scenario.models.iter().zip(&plan.models).enumerate() {
        let Some(configuration) = &planned.configuration else {
            continue;
        };
        running.extend(profile_of(scenario, model, configuration).map(|profile| Running {
            model_ix,
            profile,
            fraction: realised.fractions[model_ix],
            load_per_fraction: scenario.workload.rate.value() / f64::from(configuration.n_replicas),
        }));
    }
    running
}

const METRICS: [Metric; 3] = [Metric::Ttft, Metric::Tpot, Metric::E2e];

fn model(plan: &Plan, one: &Running<'_>, headroom: f64) -> Vec<Violation> {
    let mut found = Vec::new();
    let planned = &plan.models[one.model_ix];
    let name = &planned.name;
    let load = one.load(headroom);
    let utilisation = (load / one.profile.capacity.value()).clamp(0.0, 1.0);
    found.extend(number(
        format!("`{name}`, utilisation"),
        planned.utilisation.value(),
        utilisation,
    ));
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
    if one.fraction > covered + TOLERANCE {
        found.push(Violation::Overloaded {
            model: name.clone(),
            found: one.fraction,
            limit: covered,
        });
    }
    let place = format!("`{name}`, latency");
    match planned.latency {
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

fn objective(index: usize, slo: &Slo, stated: &SloValue, running: &[Running<'_>], headroom: f64) -> Vec<Violation> {
    let place = format!("prediction.slo_values[{index}]");
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
            place: place.clone(),
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
