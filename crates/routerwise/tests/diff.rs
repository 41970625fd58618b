//! What changes between two plans, as somebody at a terminal reads it.

mod common;

use common::{routerwise, tiny, trimmed};
use routerwise_types::answer::difference::Difference;

#[test]
fn two_plans_are_compared_in_words_and_as_json() {
    let folder = tiny();
    let path = folder.path();
    routerwise(path, &["plan", "tiny"]);
    let (code, _, err) = routerwise(
        path,
        &[
            "plan",
            "tiny",
            "--rate",
            "60",
            "--parent",
            "tiny/plan.json",
            "-o",
            "busy.json",
        ],
    );
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = routerwise(path, &["diff", "tiny/plan.json", "busy.json"]);
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!("diff", trimmed(&out));

    let (code, _, _) = routerwise(path, &["diff", "tiny/plan.json", "busy.json", "--exit-code"]);
    assert_eq!(code, 1);
    let (code, out, _) = routerwise(path, &["diff", "tiny/plan.json", "tiny/plan.json", "--exit-code"]);
    assert_eq!(code, 0);
    assert!(out.contains("are the same"), "{out}");

    let (_, out, _) = routerwise(path, &["diff", "tiny/plan.json", "busy.json", "--format", "json"]);
    let difference: Difference = serde_json::from_str(&out).unwrap();
    assert!(!difference.same && difference.replaces);
    assert_eq!(difference.inputs, ["workload"]);

    let (code, _, err) = routerwise(path, &["diff", "tiny/plan.json", "nowhere.json"]);
    assert_eq!(code, 2);
    assert!(err.contains("cannot read the plan"), "{err}");
}
