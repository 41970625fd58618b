//! Objectives beside the highest quality, as somebody at a terminal meets them.

mod common;

use std::fs;
use std::path::Path;

use common::{routerwise, tiny, trimmed};
use routerwise_types::answer::NoPlan;
use routerwise_types::plan::Plan;

/// Plans into `plan.json`, which must verify.
#[track_caller]
fn planned(folder: &Path, arguments: &[&str]) -> (String, Plan) {
    let arguments = [&["plan", "tiny", "-o", "tiny/plan.json"], arguments].concat();
    let (code, out, err) = routerwise(folder, &arguments);
    assert_eq!(code, 0, "{arguments:?}: {out}{err}");
    let (code, verdict, _) = routerwise(folder, &["verify", "tiny/plan.json"]);
    assert!(
        code == 0 && verdict.contains("what limits its objective"),
        "{arguments:?}: {verdict}"
    );
    let text = fs::read_to_string(folder.join("tiny/plan.json")).expect("it was just written");
    (out, serde_json::from_str(&text).expect("a plan that verifies"))
}

#[test]
fn fewest_gpus_and_budgets() {
    let folder = tiny();
    let path = folder.path();
    let asking = ["--rate", "60", "--minimise", "gpus", "--quality-floor", "0.85"];
    let (out, plan) = planned(path, &asking);
    insta::assert_snapshot!("fewest-gpus", trimmed(&out));
    let achievement = plan.achievement.unwrap();
    assert_eq!(achievement.gpus_per_node.iter().sum::<usize>(), 2);

    let (_, plan) = planned(path, &["--max-gpus", "1"]);
    let used = |model: &routerwise_types::plan::PlannedModel| model.replicas.iter().flatten().all(|gpu| *gpu == 0);
    assert!(plan.models.iter().all(used), "one GPU is the first");

    let (code, out, _) = routerwise(path, &["plan", "tiny", "--minimise", "gpus", "--quality-floor", "0.95"]);
    assert_eq!(code, 1);
    insta::assert_snapshot!("below-floor", trimmed(&out));
    let asking = [
        "plan",
        "tiny",
        "--minimise",
        "gpus",
        "--quality-floor",
        "0.95",
        "--format",
        "json",
    ];
    let (code, out, _) = routerwise(path, &asking);
    let answer: NoPlan = serde_json::from_str(&out).unwrap();
    assert!(code == 1 && answer.below_floor.unwrap().upper_bound < 0.95);
}

#[test]
fn the_workload_may_ask_for_the_lowest_cost() {
    let folder = tiny();
    let path = folder.path();
    let file = path.join("tiny/workload.toml");
    let workload = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        format!("{workload}\n[objective]\nminimise = \"cost\"\nquality-floor = 0.85\n"),
    )
    .unwrap();
    let (code, _, err) = routerwise(path, &["plan", "tiny"]);
    assert!(code == 2 && err.contains("the objective counts cost"), "{err}");
    let file = path.join("tiny/cluster.toml");
    let cluster = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{cluster}\ngpu-price-per-hour = \"2.50 /h\"\n")).unwrap();
    let (out, plan) = planned(path, &[]);
    assert!(out.contains("Takes 1 of 2 GPUs, for 2.50/h."), "{out}");
    assert!((plan.achievement.unwrap().bound - 2.5).abs() < 1e-9);
    let (_, plan) = planned(path, &["--maximise-quality", "--max-cost", "2.50/h"]);
    assert_eq!(plan.achievement.unwrap().gpus_per_node, [1]);
    let (code, _, err) = routerwise(path, &["plan", "tiny", "--max-cost", "2"]);
    assert!(code == 2 && err.contains("does not pay for a single GPU"), "{err}");
    let (code, out, _) = routerwise(path, &["check", "tiny"]);
    assert!(
        code == 0 && out.contains("lowest cost per hour with a quality of at least 0.8500"),
        "{out}"
    );
}

#[test]
fn lowest_latency_names_its_limit_among_the_objectives() {
    let folder = tiny();
    let (out, plan) = planned(folder.path(), &["--minimise", "tpot", "--quality-floor", "0.85"]);
    assert_eq!(plan.slos.len(), 2);
    let achievement = plan.achievement.unwrap();
    assert!(out.contains("Reaches a mean TPOT of"), "{out}");
    assert!(0.0 < achievement.bound && achievement.value <= achievement.bound * 1.006);
    let (code, out, err) = routerwise(folder.path(), &["simulate", "tiny/plan.json"]);
    assert_eq!(code, 0, "{out}{err}");
}

/// The commands of the guide work as printed, on a cluster whose GPUs have a price.
#[test]
fn the_guide_is_true() {
    let folder = tiny();
    let path = folder.path();
    let cluster = fs::read_to_string(path.join("tiny/cluster.toml")).unwrap();
    fs::write(
        path.join("tiny/cluster.toml"),
        format!("{cluster}\ngpu-price-per-hour = 2.50\n"),
    )
    .unwrap();
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/guides/objectives.md");
    let text = fs::read_to_string(guide).unwrap();
    let blocks = text
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap());
    let commands: Vec<&str> = blocks.flat_map(str::lines).collect();
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        let command = command
            .replace("my-cluster", "tiny")
            .replace(" /h\"", "/h\"")
            .replace(" /s\"", "/s\"")
            .replace('"', "");
        let arguments: Vec<&str> = command.split_whitespace().skip(1).collect();
        let (code, out, err) = routerwise(path, &arguments);
        assert_eq!(code, 0, "{command}: {out}{err}");
    }
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let folder = tiny();
    for (arguments, message) in [
        (&["plan", "tiny", "--minimise", "gpus"][..], "needs the quality"),
        (&["plan", "tiny", "--quality-floor", "0.8"], "makes no difference"),
        (
            &["plan", "tiny", "--minimise", "gpus", "--quality-floor", "80"],
            "between 0 and 1",
        ),
        (&["plan", "tiny", "--max-cost", "3"], "the objective counts cost"),
        (&["plan", "tiny", "--max-cost", "cheap"], "12 /h"),
        (&["plan", "tiny", "--max-gpus", "0"], "0 is not in 1.."),
        (
            &["plan", "tiny", "--minimise", "gpus", "--maximise-quality"],
            "cannot be used with",
        ),
    ] {
        let (code, _, err) = routerwise(folder.path(), arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(message), "{arguments:?}: {err}");
    }
}
