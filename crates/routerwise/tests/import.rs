//! `routerwise import`, from the outside.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use std::fs;
use std::path::Path;

use common::routerwise;
use routerwise_types::profile::{ProfileSet, ProfileSource};
use tempfile::TempDir;

/// A copy of the tiny scenario with questions of 64 tokens and answers of 3, as the samples have.
fn scenario() -> TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/tiny");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../routerwise-measure/src/import/samples");
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("tiny")).unwrap();
    for name in ["cluster.toml", "models.toml", "workload.toml", "scores.csv"] {
        fs::copy(root.join(name), folder.path().join("tiny").join(name)).unwrap();
    }
    for name in ["vllm.json", "guidellm.json", "aiperf.jsonl"] {
        fs::copy(samples.join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn gpu(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("tiny/cluster.toml")).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with("gpu")).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

fn import(folder: &Path, file: &str, more: &[&str]) -> (i32, String, String) {
    let gpu = gpu(folder);
    let mut arguments = vec!["import", "tiny", file, "--model", "small", "--gpu", &gpu];
    arguments.extend_from_slice(more);
    routerwise(folder, &arguments)
}

#[test]
fn results_of_each_tool_become_a_profile_that_says_what_was_assumed() {
    let folder = scenario();
    let slow = fs::read_to_string(folder.path().join("vllm.json")).unwrap();
    let sustained = slow.replace("\"request_rate\": 2.0", "\"request_rate\": 1.4");
    fs::write(folder.path().join("vllm.json"), sustained).unwrap();
    fs::write(
        folder.path().join("guidellm.json"),
        fs::read_to_string(folder.path().join("guidellm.json"))
            .unwrap()
            .replace("\"rate\": 2.0", "\"rate\": 1.4"),
    )
    .unwrap();
    for file in ["vllm.json", "guidellm.json", "aiperf.jsonl"] {
        let (code, out, err) = import(folder.path(), file, &[]);
        assert_eq!(code, 0, "{file}: {err}{out}");
        assert!(out.contains("375 ms") && out.contains("KV cache"), "{out}");
        let text = fs::read(folder.path().join("tiny/profiles/imported-small.json")).unwrap();
        let set: ProfileSet = serde_json::from_slice(&text).unwrap();
        assert!(matches!(&set.profiles[0].source, ProfileSource::Imported { assumed, .. } if !assumed.is_empty()));
        assert!((set.profiles[0].conditions.mean_input_tokens - 64.0).abs() < 1e-9);
    }
}

#[test]
fn what_is_missing_is_refused_and_nothing_is_written() {
    let folder = scenario();
    let refused = |file: &str, more: &[&str], words: &str| {
        let (code, out, err) = import(folder.path(), file, more);
        let err = err
            .split_whitespace()
            .filter(|word| *word != "│")
            .collect::<Vec<_>>()
            .join(" ");
        assert!(code == 2 && err.contains(words), "{code}: {err}{out}");
        assert!(!folder.path().join("tiny/profiles").exists());
    };
    // 2 a second were sent and 1.43 completed.
    refused("vllm.json", &[], "no load is left");
    let sent_at_once = fs::read_to_string(folder.path().join("vllm.json"))
        .unwrap()
        .replace("\"request_rate\": 2.0", "\"request_rate\": \"inf\"");
    fs::write(folder.path().join("inf.json"), sent_at_once).unwrap();
    refused("inf.json", &[], "all was sent at once");
    refused("aiperf.jsonl", &["--same-lengths"], "tokens in and 3 out");
    refused("aiperf.jsonl", &["guidellm.json"], "of aiperf and of guidellm");
    refused("gone.json", &[], "cannot be read");
    refused("tiny/models.toml", &[], "is no result of guidellm");
    let summary = fs::read_to_string(folder.path().join("vllm.json"))
        .unwrap()
        .replace("\"itls\"", "\"x\"");
    fs::write(folder.path().join("summary.json"), summary).unwrap();
    refused("summary.json", &[], "--save-detailed");
}

#[test]
fn loads_above_one_that_was_too_much_are_left_out() {
    let folder = scenario();
    let sample: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("vllm.json")).unwrap()).unwrap();
    // Rate, and how long the two answers took: 1.2 and 3.0 a second are kept up with, 2.0 is not.
    for (name, rate, seconds) in [("a.json", 1.2, 1.6), ("b.json", 2.0, 1.4), ("c.json", 3.0, 0.66)] {
        let mut run = sample.clone();
        run["request_rate"] = rate.into();
        run["duration"] = seconds.into();
        fs::write(folder.path().join(name), run.to_string()).unwrap();
    }
    let (code, out, err) = import(folder.path(), "a.json", &["b.json", "c.json"]);
    assert_eq!(code, 0, "{err}{out}");
    assert!(
        out.contains("3.00 requests/s lies above a load that was not sustained"),
        "{out}"
    );
    let text = fs::read(folder.path().join("tiny/profiles/imported-small.json")).unwrap();
    let set: ProfileSet = serde_json::from_slice(&text).unwrap();
    assert_eq!(set.profiles[0].points.len(), 1);
}
