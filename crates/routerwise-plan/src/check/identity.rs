//! Whose plan it is, and what it was made from.

use routerwise_types::Fingerprint;
use routerwise_types::plan::{PLAN_SCHEMA, Plan};
use routerwise_types::scenario::Scenario;

use super::{Violation, mismatch};

const MODELS: &str = "models";
const SCHEMA: &str = "schema";
const SLO_VALUES: &str = "prediction.slo_values";

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
    let (stated, given) = (plan.prediction.slo_values.len(), scenario.workload.slos.len());
    if stated != given {
        found.push(mismatch(
            SLO_VALUES,
            format!("{stated} values"),
            format!("{given} values"),
        ));
    }
    found
}

/// Whether a plan with this violation cannot be compared any further.
pub(super) fn is_fatal(violation: &Violation) -> bool {
    matches!(violation, Violation::Mismatch { place, .. } if [SCHEMA, MODELS, SLO_VALUES].contains(&place.as_str()))
}

fn fingerprint(place: &str, found: &Fingerprint, expected: &Fingerprint) -> Option<Violation> {
    (found != expected).then(|| mismatch(place, format!("`{found}`"), format!("`{expected}`")))
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
    if plan.planning != workload.planning {
        let show = |planning| format!("{planning:?}");
        found.push(mismatch("planning", show(plan.planning), show(workload.planning)));
    }
    found
}
