//! What the `export` example hands to `scripts/milp/reference.py`: the script reads this layout, and no test runs the script.

#[path = "../examples/export/cases.rs"]
mod cases;
#[path = "../examples/export/layout.rs"]
mod layout;
#[path = "../../routerwise-plan/tests/support/mod.rs"]
mod support;

use routerwise_plan::problem::Problem;
use routerwise_plan::solve;
use serde_json::Value;

#[test]
fn the_layout_is_what_the_reference_script_reads() {
    let scenario = (cases::CASES[0].scenario)();
    let problem = Problem::new(&scenario).expect("complete");
    let plan = solve(&scenario, &problem, None);
    let export = layout::Export::new("tiny", &scenario, &problem, plan.as_ref(), 0.0);
    let value = serde_json::to_value(&export).expect("plain numbers and names");
    let mut lines = Vec::new();
    describe("", &value, &mut lines);
    insta::assert_snapshot!(lines.join("\n"));
}

/// Every path with what is there; of a long or nested list the first element alone, so that the layout fits on a screen.
fn describe(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                describe(&format!("{path}.{name}"), field, lines);
            }
        }
        Value::Array(items) if items.len() > 4 || items.iter().any(|item| item.is_object() || item.is_array()) => {
            let at = items.iter().position(|item| !item.is_null()).unwrap_or(0);
            describe(&format!("{path}[{at} of {}]", items.len()), &items[at], lines);
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            lines.push(format!("{path}: {}", items.join(" ")));
        }
        one => lines.push(format!("{path}: {}", plain(one))),
    }
}

/// Digits that do not hang on the machine's arithmetic.
fn plain(value: &Value) -> String {
    match value.as_f64() {
        Some(number) if value.is_f64() => format!("{number:.4}"),
        _ => value.to_string(),
    }
}

#[test]
fn every_case_can_be_exported() {
    for case in &cases::CASES {
        let problem = Problem::new(&(case.scenario)());
        assert!(problem.is_ok(), "{} ({}): {problem:?}", case.name, case.what);
        assert_eq!(cases::CASES.iter().filter(|other| other.name == case.name).count(), 1);
    }
}
