//! `routerwise label` against emulated engines, and `routerwise train` on what it wrote: the real binary on both sides.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use common::routerwise;
use tempfile::TempDir;

/// An emulated engine, ended with the test.
struct Engine {
    child: Child,
    url: String,
}

impl Engine {
    /// Replicas with one seed answer alike, so another seed is another model.
    fn start(folder: &TempDir, seed: &str) -> Self {
        let arguments = [
            "emulate",
            "--model",
            "llama-3.1-8b",
            "--gpu",
            "a100-80gb-sxm",
            "--port",
            "0",
        ];
        let mut child = Command::new(assert_cmd::cargo::cargo_bin!("routerwise"))
            .current_dir(folder.path())
            .args(arguments)
            .args(["--speed", "100", "--seed", seed])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.split_whitespace().nth(2).unwrap().to_owned();
        Self { child, url }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn engines_are_asked_their_answers_scored_and_learned_from() {
    let folder = TempDir::new().unwrap();
    let engines = ["1", "2"].map(|seed| Engine::start(&folder, seed));
    let mut prompts = String::new();
    for ix in 0..40 {
        let chat = format!(
            r#"[{{"role": "user", "content": "Tell me about the lakes of country {ix}, please, all of them."}}]"#
        );
        writeln!(prompts, r#"{{"id": "p{ix}", "messages": {chat}}}"#).unwrap();
    }
    fs::write(folder.path().join("prompts.jsonl"), prompts).unwrap();
    let mut endpoints = String::new();
    for (name, engine) in ["one", "two"].into_iter().zip(&engines) {
        writeln!(
            endpoints,
            "[[model]]\nname = \"{name}\"\nurl = \"{}/v1\"\nserved-name = \"llama-3.1-8b\"\n",
            engine.url
        )
        .unwrap();
    }
    fs::write(folder.path().join("endpoints.toml"), endpoints).unwrap();
    // Answers are words without meaning; whether one of them comes is as good as any score.
    let arguments = [
        "label",
        "prompts.jsonl",
        "--endpoints",
        "endpoints.toml",
        "--max-tokens",
        "24",
        "--score",
        "regex",
        "--pattern",
        "lake|river|ocean",
        "--yes",
    ];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("40 of 40"), "{out}");
    let table = fs::read_to_string(folder.path().join("scores.csv")).unwrap();
    assert!(table.lines().next().unwrap().contains("score:one,score:two"), "{table}");
    let scores = |column: usize| {
        table
            .lines()
            .skip(1)
            .map(move |line| line.rsplit(',').nth(column).unwrap())
    };
    for column in [2, 3] {
        let n_right = scores(column).filter(|score| *score == "1").count();
        assert!((5..36).contains(&n_right), "{n_right} in\n{table}");
    }
    assert!(scores(0).all(|tokens| tokens.parse::<u32>().unwrap() <= 24), "{table}");
    let (code, out, err) = routerwise(folder.path(), &["train", "scores.csv"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("Learned from 40 prompts x 2 models"), "{out}");
}
