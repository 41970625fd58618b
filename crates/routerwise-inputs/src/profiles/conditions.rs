//! Whether a profile was taken under the conditions that the scenario has now.

use routerwise_types::profile::{Conditions, Profile};
use routerwise_types::workload::Arrivals;

use super::Findings;
use crate::cluster::spelled;

/// Notes each condition that differs from those of the scenario.
pub(super) fn check(profile: &Profile, now: &Conditions, findings: &mut Findings<'_>) {
    let linked = profile.key.tensor_parallel > 1;
    for difference in differences(&profile.conditions, now, linked) {
        findings.error(
            &profile.key,
            format!("taken {difference}"),
            "profile again: `routerwise profile --simulate <scenario>`".into(),
        );
    }
}

/// Completes "taken …" for every condition that differs. Links matter only between GPUs.
fn differences(then: &Conditions, now: &Conditions, linked: bool) -> Vec<String> {
    let mut found = Vec::new();
    if then.engine != now.engine {
        found.push(format!(
            "with the engine `{}`, the scenario has `{}`",
            then.engine, now.engine
        ));
    } else if then.model != now.model {
        found.push("with other weights, architecture or engine flags than models.toml has now".to_owned());
    }
    if then.kv_cache != now.kv_cache {
        found.push(format!(
            "with {} of KV cache, the scenario reserves {}",
            then.kv_cache, now.kv_cache
        ));
    }
    if linked && then.interconnect != now.interconnect {
        found.push(format!(
            "over {}, the scenario has {}",
            spelled(then.interconnect),
            spelled(now.interconnect)
        ));
    }
    if then.arrivals != now.arrivals {
        found.push(format!(
            "with {} arrivals, the scenario has {}",
            arrivals(then.arrivals),
            arrivals(now.arrivals)
        ));
    }
    if then.lengths != now.lengths {
        found.push(format!(
            "with other token lengths (mean {:.0} in, {:.0} out), the scenario has {:.0} in, {:.0} out",
            then.mean_input_tokens, then.mean_output_tokens, now.mean_input_tokens, now.mean_output_tokens
        ));
    }
    found
}

/// `poisson`, `gamma (cv 1.5)`, `constant`.
fn arrivals(arrivals: Arrivals) -> String {
    match arrivals {
        Arrivals::Poisson => "poisson".into(),
        Arrivals::Gamma { cv } => format!("gamma (cv {cv:.2})"),
        Arrivals::Constant => "constant".into(),
    }
}
