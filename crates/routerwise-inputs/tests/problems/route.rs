//! `route` of `workload.toml`: classes of traffic.

use routerwise_types::workload::PromptFilter;

use crate::Folder;

const LENGTHS: &str = "lengths = { input = 512, output = 64 }\n";

/// The tiny scenario with a column `route` and some routes.
fn routed(workload: &str) -> Folder {
    let folder = Folder::tiny();
    let scores = std::fs::read_to_string(folder.path().join("scores.csv")).unwrap();
    let rows = scores.lines().enumerate().map(|(row, line)| match row {
        0 => format!("{line},route\n"),
        row if row % 4 == 0 => format!("{line},batch\n"),
        _ => format!("{line},chat\n"),
    });
    let scores: String = rows.collect();
    folder
        .with("scores.csv", scores)
        .with("workload.toml", format!("{LENGTHS}{workload}"))
}

fn route(name: &str, more: &str) -> String {
    format!("[[route]]\nname = \"{name}\"\n{more}\n[[route.slo]]\nmetric = \"ttft\"\ntarget = \"200 ms\"\n")
}

#[test]
fn routes_have_prompts_parts_and_objectives_of_their_own() {
    let folder = routed(&format!(
        "rate = 20\n{}{}",
        route("chat", "part = \"70 %\""),
        route("batch", "part = \"30 %\"\nmodels = \"small\"")
    ));
    let scenario = folder.load().unwrap().scenario;
    let workload = &scenario.workload;
    assert_eq!(workload.n_routes(), 2);
    assert!((workload.part_of(0) - 0.7).abs() < 1e-12 && (workload.routes[1].weight - 0.3).abs() < 1e-12);
    assert_eq!(scenario.scores.routes[1], [3, 7, 11, 15, 19]);
    assert_eq!(scenario.scores.of_route(1).n_prompts(), 5);
    assert_eq!(workload.slos.len(), 2);
    assert!(workload.concerns(&workload.slos[0], 0) && !workload.concerns(&workload.slos[0], 1));
    assert!(workload.may_answer("large", 0) && !workload.may_answer("large", 1));
    let by_name = PromptFilter::Column {
        column: "route".into(),
        values: vec!["batch".into()],
    };
    assert_eq!(workload.routes[1].prompts, by_name);
}

#[test]
fn rates_of_routes_make_the_workloads() {
    let folder = routed(&format!(
        "{}{}[[slo]]\nmetric = \"tpot\"\ntarget = \"50 ms\"\n",
        route("chat", "rate = \"9 /s\"\nweight = 3\nprompts = \"all\""),
        route(
            "law",
            "rate = \"1 /s\"\nweight = 1\nprompts = { column = \"prompt\", values = [\"name a mammal\", \"fix a typo\"] }"
        )
    ));
    let scenario = folder.load().unwrap().scenario;
    let workload = &scenario.workload;
    assert!((workload.rate.value() - 10.0).abs() < 1e-12);
    assert!((workload.part_of(0) - 0.9).abs() < 1e-12 && (workload.routes[0].weight - 0.75).abs() < 1e-12);
    let counts: Vec<usize> = scenario.scores.routes.iter().map(Vec::len).collect();
    assert_eq!(counts, [20, 2]);
    assert!(workload.concerns(&workload.slos[0], 0) && workload.concerns(&workload.slos[0], 1));
}

#[test]
fn amounts_that_do_not_fit_together_are_refused() {
    let cases = [
        (
            format!(
                "rate = 20\n{}{}",
                route("chat", "part = 0.7"),
                route("batch", "part = 0.2")
            ),
            "the parts of the routes sum to 90.0 %",
        ),
        (
            format!("rate = 20\n{}{}", route("chat", "rate = 7"), route("batch", "rate = 2")),
            "the routes have rates of their own, and the workload has one too",
        ),
        (
            format!(
                "rate = 20\n{}{}",
                route("chat", "rate = 7"),
                route("batch", "part = 0.2")
            ),
            "some routes have a `rate` and some a `part`",
        ),
        (
            format!("rate = 20\n{}", route("chat", "")),
            "route `chat` has both a `part` and a `rate`, or neither",
        ),
        (
            format!(
                "rate = 20\n{}{}",
                route("chat", "part = 0.7\nweight = 2"),
                route("batch", "part = 0.3")
            ),
            "some routes have a `weight` and some have none",
        ),
        (
            format!(
                "rate = 20\n{}{}",
                route("chat", "part = 0.7"),
                route("chat", "part = 0.3")
            ),
            "the route `chat` is there twice",
        ),
    ];
    for (workload, message) in cases {
        let errors = routed(&workload).errors();
        assert!(errors.contains(message), "{message}\n{errors}");
    }
}

#[test]
fn prompts_and_models_that_are_not_there_are_named() {
    let folder = routed(&format!(
        "rate = 20\n{}{}",
        route(
            "chat",
            "part = 0.5\nprompts = { column = \"subject\", values = [\"law\"] }"
        ),
        route("night", "part = 0.5\nmodels = [\"smal\"]")
    ));
    let errors = folder.errors();
    assert!(
        errors.contains("has no column `subject`, so it is not known which prompts are of route `chat`"),
        "{errors}"
    );
    assert!(
        errors.contains("has no prompt with `night` in column `route`, so route `night` has none"),
        "{errors}"
    );
    assert!(errors.contains("the column holds `batch`, `chat`"), "{errors}");
    assert!(
        errors.contains("route `night` may be answered by `smal`, which is no model"),
        "{errors}"
    );
    assert!(errors.contains("did you mean `small`?"), "{errors}");
}

#[test]
fn a_route_needs_an_objective_and_no_objective_twice() {
    let bare = "[[route]]\nname = \"chat\"\npart = 1\n";
    let errors = routed(&format!("rate = 20\n{bare}")).errors();
    assert!(errors.contains("route `chat` has no latency objective"), "{errors}");
    let for_all = "[[slo]]\nmetric = \"ttft\"\ntarget = \"300 ms\"\n";
    let errors = routed(&format!("rate = 20\n{for_all}{}", route("chat", "part = 1"))).errors();
    assert!(
        errors.contains("this objective is there for all routes too, and both would hold"),
        "{errors}"
    );
}
