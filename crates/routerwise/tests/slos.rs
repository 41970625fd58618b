//! Every kind of latency objective, from the file to a verified plan.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use routerwise_types::plan::Plan;
use tempfile::TempDir;

fn routerwise(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::cargo_bin("routerwise")
        .unwrap()
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout) + &text(output.stderr),
    )
}

fn tiny() -> TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/tiny");
    let folder = TempDir::new().unwrap();
    for name in ["cluster.toml", "models.toml", "workload.toml", "scores.csv"] {
        fs::copy(root.join(name), folder.path().join(name)).unwrap();
    }
    let (code, out) = routerwise(folder.path(), &["profile", "--simulate", ".", "--requests", "500"]);
    assert_eq!(code, 0, "{out}");
    folder
}

fn slo(metric: &str, statistic: &str, scope: &str, target: &str) -> String {
    format!("[[slo]]\nmetric = \"{metric}\"\nstatistic = \"{statistic}\"\nscope = \"{scope}\"\ntarget = \"{target}\"\n")
}

/// Plans at 90 requests/s under some objectives and verifies the plan, which is returned.
fn planned(folder: &Path, slos: &str) -> Plan {
    let workload = format!("rate = \"90 /s\"\nlengths = {{ input = 512, output = 64 }}\n{slos}");
    fs::write(folder.join("workload.toml"), workload).unwrap();
    let (code, out) = routerwise(folder, &["plan", "."]);
    assert_eq!(code, 0, "{slos}\n{out}");
    let (code, out) = routerwise(folder, &["verify", "plan.json"]);
    assert_eq!(code, 0, "{slos}\n{out}");
    serde_json::from_str(&fs::read_to_string(folder.join("plan.json")).unwrap()).unwrap()
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

#[test]
fn the_same_input_gives_the_same_bytes() {
    let folder = tiny();
    let first = planned(folder.path(), &slo("ttft", "mean", "workload", "60 ms"));
    let bytes = fs::read(folder.path().join("plan.json")).unwrap();
    let again = planned(folder.path(), &slo("ttft", "mean", "workload", "60 ms"));
    assert_eq!(first.id, again.id);
    assert_eq!(bytes, fs::read(folder.path().join("plan.json")).unwrap());
}
