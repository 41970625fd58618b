//! Whose plan it is, and what it was made from.

use routerwise_types::Fingerprint;
use routerwise_types::plan::{PLAN_SCHEMA, Plan};
use routerwise_types::scenario::Scenario;

use super::{Violation, mismatch, number};

const MODELS: &str = "models";
const SCHEMA: &str = "schema";
const POLICIES: &str = "policies";

pub(super) fn violations(scenario: &Scenario, plan: &Plan) -> Vec<Violation> {
    let mut found = Vec::new();
    if plan.schema != PLAN_SCHEMA {
        found.push(mismatch(SCHEMA, plan.schema.to_string(), PLAN_SCHEMA.to_string()));
    }
    found.extend(fingerprint("id", &plan.id, &plan.fingerprint()));
    let (stated, given) = (&plan.inputs, &scenario.fingerprints);
    found.extend(fingerprint("inputs.cluster", &stated.cluster, &given.cluster));
    found.extend(fingerprint("inputs.models", &stated.models, &given.models));
    found.extend(fingerprint("inputs.workload", &stated.workload, &given.workload));
    found.extend(fingerprint("inputs.scores", &stated.scores, &given.scores));
    found.extend(fingerprint("inputs.profiles", &stated.profiles, &given.profiles));
    found.extend(settings(scenario, plan));
    let names = |list: Vec<&str>| format!("`{}`", list.join("`, `"));
    let stated: Vec<&str> = plan.models.iter().map(|model| model.name.as_str()).collect();
    let given: Vec<&str> = scenario.models.iter().map(|model| model.name.as_str()).collect();
    if stated != given {
        found.push(mismatch(MODELS, names(stated), names(given)));
    }
    found.extend(policies(scenario, plan));
    found
}

/// Whether a plan with this violation cannot be compared any further.
pub(super) fn is_fatal(violation: &Violation) -> bool {
    matches!(violation, Violation::Mismatch { place, .. } if [SCHEMA, MODELS, POLICIES].contains(&place.as_str()))
}

fn fingerprint(place: &str, found: &Fingerprint, expected: &Fingerprint) -> Option<Violation> {
    (found != expected).then(|| mismatch(place, format!("`{found}`"), format!("`{expected}`")))
}

/// One policy for each load level and route, with as many entries as there are models and objectives.
fn policies(scenario: &Scenario, plan: &Plan) -> Vec<Violation> {
    let workload = &scenario.workload;
    let names = |list: Vec<(&str, &str)>| format!("{list:?}");
    let stated: Vec<_> = plan
        .policies
        .iter()
        .map(|p| (p.level.as_str(), p.route.as_str()))
        .collect();
    let levels = (0..workload.levels.len()).flat_map(|level| (0..workload.n_routes()).map(move |route| (level, route)));
    let levels: Vec<(usize, usize)> = levels.collect();
    let given: Vec<_> = levels
        .iter()
        .map(|(level, route)| (workload.levels[*level].name.as_str(), workload.route_name(*route)))
        .collect();
    if stated != given {
        return vec![mismatch(POLICIES, names(stated), names(given))];
    }
    let requests = |ix: usize| workload.levels[ix].part * workload.levels[ix].hours;
    let all: f64 = (0..workload.levels.len()).map(requests).sum();
    let mut found = Vec::new();
    for (ix, policy) in plan.policies.iter().enumerate() {
        let (level, route) = levels[ix];
        // Without routes there is one, which is everything.
        let of_route = workload.routes.get(route).map_or((1.0, 1.0), |at| (at.part, at.weight));
        let rate = workload.rate.value() * workload.levels[level].part * of_route.0;
        found.extend(number(format!("policies[{ix}].rate"), policy.rate.value(), rate));
        let weight = requests(level) / all * of_route.1;
        found.extend(number(format!("policies[{ix}].weight"), policy.weight.value(), weight));
        let own = workload
            .slos
            .iter()
            .filter(|slo| slo.route.is_none() || slo.route.as_ref() == Some(&policy.route));
        let stated = (policy.models.len(), policy.prediction.slo_values.len());
        let given = (scenario.models.len(), own.count());
        if stated != given {
            let show = |(models, values): (usize, usize)| format!("{models} models and {values} slo_values");
            found.push(mismatch(POLICIES, show(stated), show(given)));
        }
        let allowed = workload.routes.get(route).and_then(|route| route.models.as_ref());
        for (model, routed) in scenario.models.iter().zip(&policy.models) {
            let barred = allowed.is_some_and(|names| !names.contains(&model.name));
            if routed.barred != barred {
                let place = format!("policies[{ix}], `{}`, barred", model.name);
                found.push(mismatch(&place, routed.barred.to_string(), barred.to_string()));
            }
        }
    }
    found
}

/// Rate, objectives and planner settings are the scenario's.
fn settings(scenario: &Scenario, plan: &Plan) -> Vec<Violation> {
    let workload = &scenario.workload;
    let mut found = Vec::new();
    if plan.rate != workload.rate {
        found.push(mismatch("rate", plan.rate.to_string(), workload.rate.to_string()));
    }
    if plan.slos != workload.slos {
        found.push(mismatch(
            "slos",
            format!("{:?}", plan.slos),
            format!("{:?}", workload.slos),
        ));
    }
    if plan.objective != workload.objective {
        found.push(mismatch(
            "objective",
            plan.objective.to_string(),
            workload.objective.to_string(),
        ));
    }
    if plan.planning != workload.planning {
        let show = |planning| format!("{planning:?}");
        found.push(mismatch("planning", show(plan.planning), show(workload.planning)));
    }
    found
}
