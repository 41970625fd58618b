//! The gateway as a process: what it says at the start, signals, keys, and replaying its log.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use std::fs;
use std::process::{Child, Command, Stdio};

use common::engine::engine;
use common::gateway::{Gateway, ask, wait_for_file};
use common::{prompts_of, routerwise, tiny};
use routerwise_types::answer::replay::Replay;
use tempfile::TempDir;

/// A planned scenario, and arguments that name an engine for each of its models.
fn planned() -> (TempDir, Vec<String>) {
    let folder = tiny();
    let (code, _, err) = routerwise(folder.path(), &["plan", "tiny"]);
    assert_eq!(code, 0, "{err}");
    let plan: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("tiny/plan.json")).unwrap()).unwrap();
    let at = engine();
    let running = plan["models"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|model| !model["configuration"].is_null());
    let upstream = |model: &serde_json::Value| format!("--upstream={}=http://{at}", model["name"].as_str().unwrap());
    let upstreams = running.map(upstream).collect();
    (folder, upstreams)
}

#[test]
fn a_planned_scenario_is_served_reloaded_stopped_and_replayed() {
    let (folder, mut arguments) = planned();
    arguments.extend(["--scenario-scores", "--log=decisions.jsonl"].map(str::to_owned));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut gateway = Gateway::start(folder.path(), &arguments);
    let scores = fs::read_to_string(folder.path().join("tiny/scores.csv")).unwrap();
    let prompts = prompts_of(&scores);
    for prompt in prompts.iter().cycle().take(20) {
        let answer = gateway.post(&format!(
            r#"{{"model":"auto","messages":[{{"role":"user","content":"{prompt}"}}]}}"#
        ));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("x-routerwise-score"), "{answer}");
    }
    gateway.signal("HUP");
    gateway.metric_becomes("routerwise_reloads_total{result=\"ok\"} 1");
    // A damaged plan changes nothing.
    let plan = fs::read_to_string(folder.path().join("tiny/plan.json")).unwrap();
    fs::write(folder.path().join("tiny/plan.json"), "{}").unwrap();
    gateway.metric_becomes("routerwise_reloads_total{result=\"refused\"}");
    assert!(
        gateway
            .post(r#"{"model":"auto","messages":[]}"#)
            .starts_with("HTTP/1.1 200")
    );
    fs::write(folder.path().join("tiny/plan.json"), plan).unwrap();
    gateway.signal("TERM");
    assert!(gateway.child.wait().unwrap().success());

    let (code, out, err) = routerwise(
        folder.path(),
        &[
            "replay",
            "decisions.jsonl",
            "--plan",
            "tiny/plan.json",
            "--format",
            "json",
        ],
    );
    assert!(code <= 1, "{err}");
    let replay: Replay = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (replay.n_replayed, replay.n_passed_over, replay.n_unreadable),
        (20, 1, 0)
    );
    // The same plan decides the same, whatever live prices did within a second.
    assert_eq!(replay.n_moved, 0, "{out}");
    assert!((replay.quality.logged - replay.quality.replayed).abs() < 1e-12);
    assert_eq!(replay.slos.len(), 1);
    let (_, table, _) = routerwise(
        folder.path(),
        &["replay", "decisions.jsonl", "--plan", "tiny/plan.json"],
    );
    assert!(table.contains("20 requests at"), "{table}");
}

/// Emulated engines of a plan, ended with the test.
struct Engines(Child);

impl Drop for Engines {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn engines_say_what_others_have_sent_them() {
    let (folder, _) = planned();
    let emulate = Command::new(env!("CARGO_BIN_EXE_routerwise"))
        .current_dir(folder.path())
        .args(["emulate", "tiny/plan.json", "--port=0", "--endpoints=engines.json"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _engines = Engines(emulate.unwrap());
    let file = folder.path().join("engines.json");
    wait_for_file(&file);
    let gateway = Gateway::start(folder.path(), &["--endpoints=engines.json"]);
    let engines: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let engine = &engines["engines"][0];
    let (url, model) = (
        engine["url"].as_str().unwrap().to_owned(),
        engine["model"].as_str().unwrap(),
    );
    let of_engine = format!(
        "{{model=\"{model}\",replica=\"{}\"}}",
        url.strip_prefix("http://").unwrap()
    );
    gateway.metric_becomes(&format!("routerwise_engine_others{of_engine} 0"));
    // Past the gateway: seconds of work that it has not sent.
    let body = r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":400,"ignore_eos":true}"#;
    let other = std::thread::spawn(move || ask(&url, "POST", "/v1/chat/completions", body));
    gateway.metric_becomes(&format!("routerwise_engine_others{of_engine} 1"));
    assert!(other.join().unwrap().starts_with("HTTP/1.1 200"));
    gateway.metric_becomes(&format!("routerwise_engine_others{of_engine} 0"));
}

#[test]
fn a_new_key_is_shown_once_and_opens_the_gateway() {
    let (folder, mut arguments) = planned();
    let (code, out, err) = routerwise(folder.path(), &["serve", "--new-key", "team", "--keys", "keys.toml"]);
    assert_eq!(code, 0, "{err}");
    let key = out.trim();
    let file = fs::read_to_string(folder.path().join("keys.toml")).unwrap();
    assert!(file.contains("name = \"team\"") && !file.contains(key), "{file}");
    let (code, _, err) = routerwise(folder.path(), &["serve", "--new-key", "team", "--keys", "keys.toml"]);
    assert!(code == 2 && err.contains("already"), "{err}");
    arguments.push("--keys=keys.toml".to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let gateway = Gateway::start(folder.path(), &arguments);
    let body = r#"{"model":"auto","messages":[]}"#;
    assert!(gateway.post(body).starts_with("HTTP/1.1 401"));
    let path = format!("/v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {key}\r\nx:");
    let answer = ask(&gateway.serving.url, "POST", &path, body);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn what_cannot_be_served_is_refused_with_what_to_do() {
    let (folder, arguments) = planned();
    let refused = |more: &[&str]| {
        let mut all = vec!["serve", "tiny/plan.json", "--check"];
        all.extend(more);
        let (code, _, err) = routerwise(folder.path(), &all);
        assert_eq!(code, 2, "{err}");
        err
    };
    assert!(refused(&[]).contains("--upstream MODEL=URL"));
    assert!(refused(&["--upstream", "nothing"]).contains("MODEL=URL"));
    fs::write(folder.path().join("serve.toml"), "listen = \"here\"\n[timeout]\n").unwrap();
    let err = refused(&["--config", "serve.toml"]);
    assert!(
        err.contains("no address to listen on") && err.contains("did you mean `timeouts`"),
        "{err}"
    );
    assert!(refused(&[&arguments[0], "--predictor", "tiny/plan.json"]).contains("is no predictor file"));
    let (code, out, err) = routerwise(folder.path(), &["serve", "tiny/plan.json", "--check", &arguments[0]]);
    assert_eq!(code, 0, "{out}{err}");
    let unknown = [
        "serve",
        "tiny/plan.json",
        "--upstream",
        "other=http://127.0.0.1:1",
        "--listen",
        "127.0.0.1:0",
        "--no-admin",
    ];
    let (code, _, err) = routerwise(folder.path(), &unknown);
    assert!(code == 2 && err.contains("no model of the plan"), "{err}");
    let (code, _, err) = routerwise(
        folder.path(),
        &[
            "serve",
            "tiny/plan.json",
            "--listen",
            "0.0.0.0:0",
            "--no-admin",
            &arguments[0],
        ],
    );
    assert!(code == 2 && err.contains("--insecure"), "{err}");
}
