//! What is said about a plan, as somebody at a terminal reads it.

mod common;

use std::fs;

use common::{routerwise, tiny, trimmed};
use routerwise_types::answer::Explanation;

#[test]
fn a_busy_plan_is_explained_in_words_and_as_json() {
    let folder = tiny();
    let path = folder.path();
    let (code, out, err) = routerwise(path, &["plan", "tiny", "--rate", "100"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("How far the rate may go"), "{out}");
    let (code, out, err) = routerwise(path, &["explain", "tiny", "--plan", "tiny/plan.json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    insta::assert_snapshot!("explain", trimmed(&out));

    let json = routerwise(
        path,
        &["explain", "tiny", "--plan", "tiny/plan.json", "--format", "json"],
    )
    .1;
    let explanation: Explanation = serde_json::from_str(&json).unwrap();
    assert_eq!(explanation.prices.len(), 2);
    let limits = explanation.rate_limits.unwrap();
    assert!(limits.as_planned.reached.value() >= 100.0);
    assert!(explanation.runner_up.is_some() && explanation.values.iter().all(|value| value.finished));

    // The rate that is out of reach has no plan, the one in reach has.
    let rate = |rate: f64| routerwise(path, &["plan", "tiny", "-o", "x.json", "--rate", &rate.to_string()]).0;
    assert_eq!(rate(limits.any_setup.refuted.unwrap().value()), 1);
    assert_eq!(rate(limits.any_setup.reached.value()), 0);
}

#[test]
fn a_plan_of_other_inputs_is_not_explained() {
    let folder = tiny();
    let path = folder.path();
    routerwise(path, &["plan", "tiny"]);
    let file = path.join("tiny/cluster.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("gpus = 2", "gpus = 3")).unwrap();
    let (code, _, err) = routerwise(path, &["explain", "tiny", "--plan", "tiny/plan.json"]);
    assert!(code == 2 && err.contains("cluster changed"), "{err}");
}
