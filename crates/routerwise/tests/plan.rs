//! From profiles to a simulated plan, as somebody at a terminal meets it.

mod common;

use std::fs;

use common::{routerwise, tiny, trimmed};
use routerwise_types::answer::{Explanation, NoPlan, Simulation, Verification};
use routerwise_types::plan::Plan;

#[test]
fn a_plan_says_what_its_user_needs_to_see() {
    let folder = tiny();
    let (code, out, err) = routerwise(folder.path(), &["plan", "tiny"]);
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!("plan", trimmed(&out));

    let (code, out, err) = routerwise(folder.path(), &["verify", "tiny/plan.json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");

    let (code, out, err) = routerwise(folder.path(), &["simulate", "tiny/plan.json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    insta::assert_snapshot!("simulate", trimmed(&out));

    let (code, out, err) = routerwise(folder.path(), &["explain", "tiny", "--plan", "tiny/plan.json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    insta::assert_snapshot!("explain", trimmed(&out));
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let folder = tiny();
    let (code, json, _) = routerwise(folder.path(), &["plan", "tiny", "--format", "json"]);
    let first = fs::read_to_string(folder.path().join("tiny/plan.json")).unwrap();
    assert_eq!((code, &json), (0, &first));
    routerwise(folder.path(), &["plan", "tiny"]);
    assert_eq!(fs::read_to_string(folder.path().join("tiny/plan.json")).unwrap(), first);
}

#[test]
fn json_answers_read_back_as_what_their_schema_says() {
    let folder = tiny();
    routerwise(folder.path(), &["plan", "tiny"]);
    let json = |arguments: &[&str]| {
        let (_, out, err) = routerwise(folder.path(), &[arguments, &["--format", "json"]].concat());
        assert_eq!(err, "");
        out
    };
    let verification: Verification = serde_json::from_str(&json(&["verify", "tiny/plan.json"])).unwrap();
    assert!(verification.violations.is_empty());
    let explanation: Explanation =
        serde_json::from_str(&json(&["explain", "tiny", "--plan", "tiny/plan.json"])).unwrap();
    assert_eq!(
        (explanation.retained_by_compute, explanation.plan),
        (Some(9), Some(verification.plan))
    );
    let simulation: Simulation = serde_json::from_str(&json(&["simulate", "tiny/plan.json"])).unwrap();
    assert!(simulation.policies[0].slos.iter().all(|slo| slo.met) && simulation.policies[0].models.len() == 2);
    let slowed = json(&["simulate", "tiny/plan.json", "--interference", "0.4"]);
    let slowed: Simulation = serde_json::from_str(&slowed).unwrap();
    assert!(
        slowed.policies[0].all.tpot.as_ref().unwrap().mean >= simulation.policies[0].all.tpot.as_ref().unwrap().mean
    );
    let no_plan: NoPlan = serde_json::from_str(&json(&["plan", "tiny", "--target-ms", "5"])).unwrap();
    assert!(!no_plan.feasible && no_plan.target_factor.unwrap() > 1.0);
}

#[test]
fn a_new_plan_names_the_one_it_replaces() {
    let folder = tiny();
    routerwise(folder.path(), &["plan", "tiny"]);
    let read = |name: &str| -> serde_json::Value {
        serde_json::from_str(&fs::read_to_string(folder.path().join(name)).unwrap()).unwrap()
    };
    let arguments = [
        "plan",
        "tiny",
        "--parent",
        "tiny/plan.json",
        "--rate",
        "25",
        "-o",
        "next.json",
    ];
    let (code, _, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert_eq!(read("next.json")["parent"], read("tiny/plan.json")["id"]);
    let (code, out, err) = routerwise(folder.path(), &["verify", "next.json", "--scenario", "tiny"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn what_cannot_be_met_says_what_binds_and_what_would_help() {
    let folder = tiny();
    let (code, out, _) = routerwise(folder.path(), &["plan", "tiny", "--rate", "300"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!("infeasible-rate", trimmed(&out));
    let (code, out, _) = routerwise(folder.path(), &["plan", "tiny", "--target-ms", "5"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!("infeasible-target", trimmed(&out));
    assert!(!folder.path().join("tiny/plan.json").exists(), "no plan, no file");
    let (code, out, _) = routerwise(folder.path(), &["plan", "tiny", "--rate", "300", "--format", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["feasible"]), (1, &serde_json::Value::Bool(false)));
    let advised = answer["rate"].to_string();
    let (code, out, err) = routerwise(folder.path(), &["plan", "tiny", "--rate", &advised]);
    assert_eq!(code, 0, "the advised rate of {advised} must do: {out}{err}");
}

#[test]
fn a_plan_that_was_changed_by_hand_is_refused() {
    let folder = tiny();
    routerwise(folder.path(), &["plan", "tiny"]);
    let file = folder.path().join("tiny/plan.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"rate\": 20.0", "\"rate\": 10.0", 1)).unwrap();
    for command in ["verify", "simulate"] {
        let (code, _, err) = routerwise(folder.path(), &[command, "tiny/plan.json"]);
        assert_eq!(code, 2);
        assert!(err.contains("does not match its id"), "{err}");
    }
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    let (code, _, err) = routerwise(folder.path(), &["verify", "tiny/plan.json"]);
    assert!(code == 2 && err.contains("is not a plan"), "{err}");
    fs::write(&file, text.replacen("\"schema\": 3", "\"schema\": 9", 1)).unwrap();
    let (code, _, err) = routerwise(folder.path(), &["verify", "tiny/plan.json"]);
    assert!(code == 2 && err.contains("its schema is 9"), "{err}");
}

#[test]
fn a_plan_of_other_inputs_is_refused() {
    let folder = tiny();
    routerwise(folder.path(), &["plan", "tiny"]);
    let file = folder.path().join("tiny/scores.csv");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen(",1,1,", ",0,1,", 1)).unwrap();
    let (code, _, err) = routerwise(folder.path(), &["simulate", "tiny/plan.json"]);
    assert_eq!(code, 2);
    assert!(err.contains("scores changed"), "{err}");
}

#[test]
fn odd_requests_are_refused_with_one_message() {
    let folder = tiny();
    for (arguments, message) in [
        (&["plan", "tiny", "--rate=-3"][..], "`--rate`"),
        (&["plan", "tiny", "--rate", "0"], "the arrival rate is 0"),
        (&["plan", "tiny", "--target-ms", "NaN"], "`--target-ms`"),
        (&["plan", "tiny", "--headroom=-5"], "`--headroom`"),
        (&["plan", "tiny", "--parent", "nowhere.json"], "cannot read the plan"),
        (&["verify", "nowhere.json"], "cannot read the plan"),
    ] {
        let (code, _, err) = routerwise(folder.path(), arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(message), "{arguments:?}: {err}");
    }
}

#[test]
fn planning_without_profiles_says_how_to_make_them() {
    let folder = tiny();
    fs::remove_dir_all(folder.path().join("tiny/profiles")).unwrap();
    let (code, _, err) = routerwise(folder.path(), &["plan", "tiny"]);
    assert_eq!(code, 2);
    assert!(err.contains("profile --simulate"), "{err}");
}

#[test]
fn a_stopped_search_still_writes_a_plan_or_says_that_it_has_none() {
    let folder = tiny();
    let (code, _, err) = routerwise(folder.path(), &["plan", "tiny", "--stop-after", "-1"]);
    assert_eq!(code, 2);
    assert!(err.contains("`--stop-after` is -1, not a number of seconds"), "{err}");

    let (code, _, err) = routerwise(
        folder.path(),
        &["plan", "tiny", "--max-work", "1", "--stop-after", "3600"],
    );
    assert_eq!((code, err.as_str()), (0, ""));
    let (code, out, _) = routerwise(folder.path(), &["verify", "tiny/plan.json"]);
    assert_eq!(code, 0, "{out}");
}

#[test]
fn one_setup_serves_day_and_night_each_with_its_own_prices() {
    let folder = tiny();
    let file = folder.path().join("tiny/workload.toml");
    let levels = "\n[[level]]\nname = \"day\"\npart = \"100 %\"\nhours = 14\n[[level]]\nname = \"night\"\npart = \"20 %\"\nhours = 10\n";
    fs::write(&file, fs::read_to_string(&file).unwrap() + levels).unwrap();
    let (code, out, err) = routerwise(folder.path(), &["check", "tiny"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("level `night`: 20 % of that rate for 10 hours"), "{out}");

    let (code, out, err) = routerwise(folder.path(), &["plan", "tiny", "--rate", "100"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("day") && out.contains("night"), "{out}");
    let (code, out, err) = routerwise(folder.path(), &["verify", "tiny/plan.json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");

    let text = fs::read_to_string(folder.path().join("tiny/plan.json")).unwrap();
    let plan: Plan = serde_json::from_str(&text).unwrap();
    let quality = |at: usize| plan.policies[at].prediction.quality.value();
    assert_eq!(plan.policies.len(), 2);
    assert!(
        quality(1) > quality(0),
        "at night there is room for the better model: {text}"
    );
    let mean = plan
        .policies
        .iter()
        .map(|policy| policy.weight.value() * policy.prediction.quality.value());
    assert!((mean.sum::<f64>() - plan.certificate.quality.value()).abs() < 1e-9);

    let (code, out, err) = routerwise(folder.path(), &["simulate", "tiny/plan.json", "--requests", "2000"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("night: Simulated"), "{out}");
}
