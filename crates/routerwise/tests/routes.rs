//! Several routes on one cluster, from the file to a plan that is verified and simulated.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use common::engine::engine;
use common::gateway::{Gateway, ask};
use common::{prompts_of, routerwise, tiny, trimmed};
use routerwise_types::answer::live::LiveSimulation;
use routerwise_types::answer::replay::Replay;
use routerwise_types::plan::Plan;
use tempfile::TempDir;

const CHAT_AND_BATCH: &str = r#"
rate = "90 /s"
lengths = { input = 512, output = 64 }

[[route]]
name = "chat"
part = "60 %"
[[route.slo]]
metric = "ttft"
target = "45 ms"

[[route]]
name = "batch"
part = "40 %"
[[route.slo]]
metric = "ttft"
target = "300 ms"
"#;

/// The tiny scenario with every second prompt of another route, under a workload.
fn routed(workload: &str) -> TempDir {
    let folder = tiny();
    let file = folder.path().join("tiny/scores.csv");
    let scores = fs::read_to_string(&file).unwrap();
    let rows = scores.lines().enumerate().map(|(row, line)| match row {
        0 => format!("{line},route\n"),
        row if row % 2 == 1 => format!("{line},chat\n"),
        _ => format!("{line},batch\n"),
    });
    fs::write(&file, rows.collect::<String>()).unwrap();
    fs::write(folder.path().join("tiny/workload.toml"), workload).unwrap();
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> String {
    let (code, out, err) = routerwise(folder, arguments);
    assert_eq!(code, 0, "{arguments:?}\n{out}{err}");
    trimmed(&out)
}

fn planned(folder: &Path, more: &[&str]) -> Plan {
    run(folder, &[&["plan", "tiny"], more].concat());
    run(folder, &["verify", "tiny/plan.json"]);
    serde_json::from_str(&fs::read_to_string(folder.join("tiny/plan.json")).unwrap()).unwrap()
}

#[test]
fn each_route_is_planned_shown_and_simulated_with_its_own_objective() {
    let folder = routed(CHAT_AND_BATCH);
    let shown = run(folder.path(), &["plan", "tiny"]);
    let first = shown.split(" Written to").next().unwrap();
    insta::assert_snapshot!(first);
    run(folder.path(), &["verify", "tiny/plan.json"]);
    let explained = run(folder.path(), &["explain", "tiny", "--plan", "tiny/plan.json"]);
    assert!(explained.contains("chat, large: "), "{explained}");
    assert!(
        explained.contains("chat, mean TTFT ≤ 45.0 ms over `chat`: binds")
            && explained.contains("batch, mean TTFT ≤ 300 ms over `batch`: does not bind"),
        "{explained}"
    );
    let played = run(folder.path(), &["simulate", "tiny/plan.json", "--requests", "3000"]);
    assert!(
        played.contains("mean TTFT ≤ 45.0 ms over `chat`: ") && played.contains("mean TTFT ≤ 300 ms over `batch`: "),
        "{played}"
    );
    assert_eq!(played.matches(" simulated, met").count(), 2, "{played}");
}

#[test]
fn a_tighter_route_gets_the_faster_share() {
    let all = |workload: String| workload.replace("name = \"", "prompts = \"all\"\nname = \"");
    let folder = routed(&all(CHAT_AND_BATCH.to_owned()));
    let plan = planned(folder.path(), &[]);
    let [chat, batch] = [0, 1].map(|route| &plan.policies[route].prediction);
    assert!(chat.latency.ttft < batch.latency.ttft);
    assert!(chat.quality <= batch.quality);
    let alike = CHAT_AND_BATCH.replace("300 ms", "45 ms");
    fs::write(folder.path().join("tiny/workload.toml"), all(alike)).unwrap();
    let same = planned(folder.path(), &[]);
    let one =
        "rate = \"90 /s\"\nlengths = { input = 512, output = 64 }\n[[slo]]\nmetric = \"ttft\"\ntarget = \"45 ms\"\n";
    fs::write(folder.path().join("tiny/workload.toml"), one).unwrap();
    let one = planned(folder.path(), &[]);
    assert_eq!(one.policies.len(), 1);
    let difference = one.quality().value() - same.quality().value();
    assert!(difference.abs() < 2e-4, "{difference}");
}

#[test]
fn levels_percentiles_scopes_and_permissions_hold_for_routes() {
    let workload = CHAT_AND_BATCH
        .replace("90 /s", "50 /s").replace("target = \"300 ms\"", "statistic = \"p95\"\ntarget = \"900 ms\"\n[[route.slo]]\nmetric = \"e2e\"\nscope = \"each-model\"\ntarget = \"4 s\"")
        .replace("part = \"40 %\"", "part = \"40 %\"\nmodels = [\"large\"]")
        + "[[level]]\nname = \"day\"\npart = \"100 %\"\nhours = 12\n[[level]]\nname = \"night\"\npart = \"30 %\"\nhours = 12\n";
    let folder = routed(&workload);
    let plan = planned(folder.path(), &[]);
    let names: Vec<(&str, &str)> = plan
        .policies
        .iter()
        .map(|p| (p.level.as_str(), p.route.as_str()))
        .collect();
    assert_eq!(
        names,
        [("day", "chat"), ("day", "batch"), ("night", "chat"), ("night", "batch")]
    );
    for policy in &plan.policies {
        let n_slos = if policy.route == "chat" { 1 } else { 2 };
        assert_eq!(policy.prediction.slo_values.len(), n_slos);
        for value in &policy.prediction.slo_values {
            assert!(value.value <= value.limit * (1.0 + 1e-6), "{value:?}");
        }
        if policy.route == "batch" {
            assert!(policy.models[0].fraction.value() < 1e-9, "`small` may not answer it");
        }
        let barred: Vec<bool> = policy.models.iter().map(|model| model.barred).collect();
        assert_eq!(barred, [policy.route == "batch", false]);
    }
    let before = fs::read_to_string(folder.path().join("tiny/plan.json")).unwrap();
    fs::write(folder.path().join("before.json"), before).unwrap();
    planned(folder.path(), &["--rate", "40"]);
    let changed = run(folder.path(), &["diff", "before.json", "tiny/plan.json"]);
    assert!(changed.contains("night, batch: "), "{changed}");
    let played = run(
        folder.path(),
        &["simulate", "tiny/plan.json", "--requests", "1000", "--format", "json"],
    );
    let played: serde_json::Value = serde_json::from_str(&played).unwrap();
    assert_eq!(played["policies"].as_array().unwrap().len(), 4);
}

#[test]
fn objectives_budgets_and_frontiers_take_routes_together() {
    let folder = routed(CHAT_AND_BATCH);
    let best = planned(folder.path(), &[]).quality().value();
    let few = planned(folder.path(), &["--minimise", "gpus", "--quality-floor", "0.76"]);
    assert!(few.quality().value() >= 0.76 && few.achievement.is_some());
    let quick = planned(folder.path(), &["--minimise", "ttft", "--quality-floor", "0.8"]);
    let slowest = quick
        .policies
        .iter()
        .map(|policy| policy.prediction.latency.ttft.value());
    assert!(slowest.fold(0.0, f64::max) <= quick.achievement.unwrap().value + 1e-9);
    let one = planned(folder.path(), &["--max-gpus", "1"]);
    assert!(one.quality().value() <= best + 1e-4);
    let frontier = run(
        folder.path(),
        &[
            "plan",
            "tiny",
            "--frontier",
            "rate",
            "--points",
            "2",
            "--from",
            "60",
            "--to",
            "90",
        ],
    );
    assert!(frontier.contains("over `chat`"), "{frontier}");
}

#[test]
fn live_prices_are_played_for_every_route_and_for_another_mix_of_them() {
    let folder = routed(CHAT_AND_BATCH);
    planned(folder.path(), &[]);
    let play = |more: &[&str]| {
        let arguments = ["simulate", "tiny/plan.json", "--live-prices", "--requests", "8000"];
        routerwise(folder.path(), &[&arguments, more].concat())
    };
    let (code, out, err) = play(&["--mix", "chat=80 %", "--mix", "batch=20 %"]);
    assert!(code < 2 && err.is_empty(), "{err}");
    for line in [
        "   chat ",
        "   batch ",
        " mean TTFT ≤ 45.0 ms over `chat`: live prices ",
    ] {
        assert!(out.lines().any(|found| found.starts_with(line)), "{line}\n{out}");
    }
    let (_, out, _) = play(&["--mix", "chat=80", "--mix", "batch=20", "--format", "json"]);
    let answer: LiveSimulation = serde_json::from_str(&out).unwrap();
    for row in &answer.whole.rows {
        let [chat, batch] = &row.routes[..] else {
            panic!("two routes: {row:?}")
        };
        assert_eq!(chat.n_requests + batch.n_requests, row.n_requests);
        let part = chat.n_requests as f64 / row.n_requests as f64;
        assert!((part - 0.8).abs() < 0.02, "{part}");
    }
    let live = &answer.whole.rows[0];
    assert!(
        live.routes[0].prices != live.routes[1].prices && live.slos.iter().all(|slo| slo.met),
        "{out}"
    );
    let (code, _, err) = play(&["--mix", "chat=1"]);
    assert!(code == 2 && err.contains("the plan's routes are chat, batch"), "{err}");
}

#[test]
fn a_gateway_has_the_routes_of_its_plan_and_prices_of_their_own_for_each() {
    let folder = routed(&CHAT_AND_BATCH.replace("part = \"40 %\"", "part = \"40 %\"\nmodels = [\"small\"]"));
    let plan = planned(folder.path(), &[]);
    let engine = engine();
    let upstreams: Vec<String> = plan
        .models
        .iter()
        .map(|model| format!("--upstream={}=http://{engine}", model.name))
        .collect();
    let upstreams: Vec<&str> = upstreams.iter().map(String::as_str).collect();
    let more = ["--scenario-scores", "--log=decisions.jsonl"];
    let mut gateway = Gateway::start(folder.path(), &[&upstreams[..], &more].concat());
    let listed = ask(&gateway.serving.url, "GET", "/v1/models", "");
    for name in ["auto", "chat", "batch", "small", "large"] {
        assert!(listed.contains(&format!("\"{name}\"")), "{listed}");
    }
    let scores = fs::read_to_string(folder.path().join("tiny/scores.csv")).unwrap();
    let prompts = prompts_of(&scores);
    let mut went = [0, 0];
    for (nth, prompt) in prompts.iter().cycle().take(800).enumerate() {
        let (route, name) = if nth % 2 == 0 { (0, "chat") } else { (1, "batch") };
        let answer = gateway.post(&format!(
            r#"{{"model":"{name}","messages":[{{"role":"user","content":"{prompt}"}}]}}"#
        ));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        went[route] += u32::from(answer.contains("x-routerwise-model: large"));
    }
    assert!(went[0] > 20 && went[1] == 0, "`batch` may not use `large`: {went:?}");
    // Each has seen enough by now for prices of its own.
    let deadline = Instant::now() + Duration::from_secs(20);
    let live = || {
        let state = ask(gateway.serving.admin.as_ref().unwrap(), "GET", "/admin/state", "");
        let state: serde_json::Value = serde_json::from_str(state.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let routes = state["routes"].as_array().unwrap().clone();
        let live = |name: &str| {
            routes
                .iter()
                .any(|route| route["name"] == name && route["live"] == true)
        };
        live("chat") && live("batch")
    };
    while !live() {
        assert!(Instant::now() < deadline, "prices stay the plan's");
        std::thread::sleep(Duration::from_millis(50));
    }
    gateway.signal("TERM");
    assert!(gateway.child.wait().unwrap().success());

    // Each request is decided again by its own route.
    let replay = ["replay", "decisions.jsonl", "--plan", "tiny/plan.json"];
    let (code, out, err) = routerwise(folder.path(), &[&replay[..], &["--format", "json"]].concat());
    assert!(code < 2, "{err}");
    let replayed: Replay = serde_json::from_str(&out).unwrap();
    let [chat, batch] = &replayed.routes[..] else {
        panic!("two routes: {out}")
    };
    assert_eq!(
        (chat.n_replayed, batch.n_replayed, replayed.n_replayed),
        (400, 400, 800)
    );
    assert!(
        batch.fractions[1].replayed == 0.0 && chat.fractions[1].replayed > 0.05,
        "{out}"
    );
    assert_eq!(replayed.slos.len(), 2);
    let (_, out, _) = routerwise(folder.path(), &replay);
    assert!(out.contains("\nbatch: 400 requests, "), "{out}");

    fs::write(
        folder.path().join("tiny/serve.toml"),
        "[[route]]\nname = \"fast\"\nof-plan = \"chatt\"\n",
    )
    .unwrap();
    let (code, _, err) = routerwise(
        folder.path(),
        &[&["serve", "tiny/plan.json", "--check"], &upstreams[..]].concat(),
    );
    assert!(
        code == 2 && err.contains("`chatt`") && err.contains("`chat`, `batch`"),
        "{code} {err}"
    );
}

#[test]
fn what_knows_one_class_of_traffic_says_so() {
    let folder = routed(CHAT_AND_BATCH);
    for (arguments, message) in [
        (vec!["compare", "tiny", "--curves-only"], "knows one class of traffic"),
        (vec!["plan", "tiny", "--spread"], "know one class of traffic"),
        (
            vec!["plan", "tiny", "--search", "exhaustive"],
            "know one class of traffic",
        ),
        (
            vec!["plan", "tiny", "--target-ms", "100"],
            "routes have targets of their own",
        ),
    ] {
        let (code, _, err) = routerwise(folder.path(), &arguments);
        assert_eq!(code, 2, "{arguments:?}: {err}");
        // However the message is wrapped.
        let words: Vec<&str> = err.split_whitespace().filter(|word| *word != "│").collect();
        assert!(words.join(" ").contains(message), "{err}");
    }
}
