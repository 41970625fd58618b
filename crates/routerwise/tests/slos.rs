//! Every kind of latency objective, from the file to a verified plan.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

mod common;

use std::fs;
use std::path::Path;

use common::{routerwise, tiny};
use routerwise_types::plan::Plan;

fn slo(metric: &str, statistic: &str, scope: &str, target: &str) -> String {
    format!("[[slo]]\nmetric = \"{metric}\"\nstatistic = \"{statistic}\"\nscope = \"{scope}\"\ntarget = \"{target}\"\n")
}

/// Plans at 90 requests/s under some objectives and verifies the plan, which is returned.
fn planned(folder: &Path, slos: &str) -> Plan {
    let workload = format!("rate = \"90 /s\"\nlengths = {{ input = 512, output = 64 }}\n{slos}");
    fs::write(folder.join("tiny/workload.toml"), workload).unwrap();
    let (code, out, err) = routerwise(folder, &["plan", "tiny"]);
    assert_eq!(code, 0, "{slos}\n{out}{err}");
    let (code, out, err) = routerwise(folder, &["verify", "tiny/plan.json"]);
    assert_eq!(code, 0, "{slos}\n{out}{err}");
    serde_json::from_str(&fs::read_to_string(folder.join("tiny/plan.json")).unwrap()).unwrap()
}

#[test]
fn objectives_of_every_kind_are_planned_and_kept() {
    let folder = tiny();
    let targets = [
        ("ttft", "60 ms", "250 ms"),
        ("tpot", "13 ms", "30 ms"),
        ("e2e", "900 ms", "2 s"),
    ];
    for (metric, mean, p95) in targets {
        for scope in ["workload", "each-model"] {
            for (statistic, target) in [("mean", mean), ("p95", p95)] {
                let plan = planned(folder.path(), &slo(metric, statistic, scope, target));
                let value = &plan.policies[0].prediction.slo_values[0];
                assert!(
                    value.value <= value.limit * (1.0 + 1e-6),
                    "{metric} {statistic} {scope}: {value:?}"
                );
            }
        }
    }
}

#[test]
fn each_of_several_objectives_costs_quality_of_its_own() {
    let folder = tiny();
    let ttft = slo("ttft", "mean", "workload", "60 ms");
    let e2e = slo("e2e", "p95", "workload", "900 ms");
    let one = planned(folder.path(), &ttft).quality().value();
    let other = planned(folder.path(), &e2e).quality().value();
    let both = planned(folder.path(), &(ttft + &e2e));
    assert!(both.quality().value() <= one.min(other) + 1e-6);
    assert_eq!(both.policies[0].prediction.slo_values.len(), 2);
}
