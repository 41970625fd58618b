//! The README is true: its commands work as printed, and the demo prints what it shows (`UPDATE_README=1` writes that anew).

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use assert_cmd::Command;
use common::gateway::ask;
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).unwrap()
}

/// The lines of all code blocks in a language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let opening = format!("```{language}\n");
    text.split(&opening)
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = Command::cargo_bin("routerwise")
        .unwrap()
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn every_command_of_the_readme_works_as_printed() {
    let folder = TempDir::new().unwrap();
    copy(&root().join("scenarios/demo"), &folder.path().join("scenarios/demo"));
    let mut n_run = 0;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let command: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
        match command.as_slice() {
            ["cp", "-r", from, to] => copy(&folder.path().join(from), &folder.path().join(to)),
            ["cargo", "run", "--release", "--", arguments @ ..] => {
                let mut arguments = arguments.to_vec();
                if arguments == ["demo"] {
                    // What it does live is a test of its own, and takes a minute and a half.
                    arguments.push("--no-live");
                }
                let (code, out) = run(folder.path(), &arguments);
                assert_eq!(code, 0, "{line}: {out}");
                n_run += 1;
            }
            // That is the command which runs this very test.
            ["cargo", "xtask", "test"] | [] => {}
            other => panic!("the README has a command that nobody tests: {other:?}"),
        }
    }
    assert!(n_run >= 7, "only {n_run} commands found");
}

/// A command that runs until the test is over.
struct Running(Child);

impl Running {
    /// Started; its first line of output says that it is ready.
    fn start(folder: &Path, arguments: &[&str]) -> (Self, String) {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_routerwise"))
            .current_dir(folder)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        // Reads on, or the command would stop at a full pipe.
        std::thread::spawn(move || lines.lines().for_each(drop));
        (Self(child), line)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_the_readme_serves_answers_and_is_replayed() {
    let folder = TempDir::new().unwrap();
    copy(&root().join("scenarios/demo"), &folder.path().join("my-cluster"));
    for arguments in [
        &["profile", "--simulate", "my-cluster"][..],
        &["plan", "my-cluster"],
        &["plan", "my-cluster", "--rate", "20", "-o", "busy.json"],
    ] {
        assert_eq!(run(folder.path(), arguments).0, 0, "{arguments:?}");
    }
    let block = blocks("bash").remove(0);
    let mut running = Vec::new();
    let mut url = String::new();
    for line in block.lines() {
        if let Some(curl) = line.strip_prefix("curl http://127.0.0.1:8080") {
            let (path, body) = curl.split_once(" -d ").unwrap();
            let answer = ask(&url, "POST", path, body.trim_matches('\''));
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.contains("x-routerwise-model: "), "{answer}");
            continue;
        }
        let words: Vec<&str> = line.split('#').next().unwrap().split_whitespace().collect();
        let ["cargo", "run", "--release", "--", arguments @ ..] = words.as_slice() else {
            panic!("nobody tests `{line}`");
        };
        // Any free port instead of the printed ones, which other programs may hold.
        let mut arguments: Vec<&str> = arguments
            .iter()
            .map(|word| if *word == "9100" { "0" } else { *word })
            .collect();
        match arguments[0] {
            "emulate" => {
                let (engines, line) = Running::start(folder.path(), &arguments);
                assert!(line.starts_with("listening on "), "{line}");
                common::gateway::wait_for_file(&folder.path().join("engines.json"));
                running.push(engines);
            }
            "serve" => {
                arguments.extend(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
                let (gateway, line) = Running::start(folder.path(), &arguments);
                let (_, at) = line.split_once("is served at ").unwrap_or_else(|| panic!("{line}"));
                url = at.trim().trim_end_matches("/v1").to_owned();
                running.push(gateway);
            }
            other => {
                if other == "replay" {
                    // The log is written by a thread of its own.
                    common::gateway::wait_for_file(&folder.path().join("decisions.jsonl"));
                }
                let (code, out) = run(folder.path(), &arguments);
                assert_eq!(code, 0, "{line}: {out}");
                assert!(out.contains('1'), "{out}");
            }
        }
    }
    assert_eq!(running.len(), 2);
}

#[test]
fn the_demo_prints_what_the_readme_shows() {
    let folder = TempDir::new().unwrap();
    let (code, out) = run(folder.path(), &["demo", "--no-live"]);
    assert_eq!(code, 0, "{out}");
    if std::env::var_os("UPDATE_README").is_some() {
        update_readme(&out);
    }
    let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
    let shown = blocks("text").remove(0);
    assert!(
        trimmed(&out).contains(trimmed(&shown).trim_end()),
        "the README shows:\n{shown}\nthe demo prints:\n{out}"
    );
}

#[test]
fn the_demo_serves_its_plan_live_beside_two_setups_of_today() {
    let folder = TempDir::new().unwrap();
    let (code, out) = run(folder.path(), &["demo", "--seconds", "6"]);
    assert_eq!(code, 0, "{out}");
    let live = &out[out.find("Live for 6 s: 90 questions").expect(&out)..];
    for model in ["phi-3-mini", "mathstral-7b", "llama-3.1-8b", "llama-3.1-70b"] {
        assert!(live.contains(model), "{live}");
    }
    let answered = [
        "joint plan, live prices",
        "equal split, highest score",
        "one model on all GPUs",
    ]
    .map(|setup| {
        let row = live
            .lines()
            .find(|line| line.trim_start().starts_with(setup))
            .expect(live);
        let unanswered: usize = row.split_whitespace().last().unwrap().parse().expect(row);
        // Quality and mean TTFT were measured, and met most of the expected requests.
        assert_eq!(row.matches("->").count(), 2, "{row}");
        assert!(!row.contains("-> -"), "nothing was answered: {row}");
        60 - unanswered
    });
    // The busiest model writes for half a minute; nearly all others are done soon.
    assert!(answered.iter().all(|n| *n >= 30), "{live}");
}

/// Writes the demo's plan and simulation into the README.
fn update_readme(out: &str) {
    let text = readme();
    let start = text.find("```text\n").unwrap() + "```text\n".len();
    let end = start + text[start..].find("```").unwrap();
    let lines = out.lines().skip_while(|line| !line.starts_with("Plan "));
    let shown: String = lines
        .take_while(|line| !line.starts_with("Next"))
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect();
    fs::write(
        root().join("README.md"),
        format!("{}{}\n{}", &text[..start], shown.trim_end(), &text[end..]),
    )
    .unwrap();
}
