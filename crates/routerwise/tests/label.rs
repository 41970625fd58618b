//! `routerwise label` against endpoints in this process.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

mod common;
#[path = "common/endpoint.rs"]
mod endpoint;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::routerwise;
use endpoint::{Endpoint, Reply, Seen};
use tempfile::TempDir;

/// Sums whose right answers are known, as JSON lines.
fn sums(n: usize) -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut lines = String::new();
    for ix in 0..n {
        writeln!(
            lines,
            r#"{{"id": "s{ix}", "prompt": "{ix}+1?", "reference": {}, "source": "sums"}}"#,
            ix + 1
        )
        .unwrap();
    }
    fs::write(folder.path().join("sums.jsonl"), lines).unwrap();
    folder
}

/// Adds rightly, or to a number one too large.
fn add(seen: &Seen, off_by: usize) -> Reply {
    match seen.text.trim_end_matches("+1?").parse::<usize>() {
        Ok(number) => Reply::Text(format!("{}", number + 1 + off_by)),
        Err(_) => Reply::Text("Hello".into()),
    }
}

/// The small model is right on even numbers only.
fn answering(seen: &Seen, _: usize) -> Reply {
    let even = seen.text.starts_with(['0', '2', '4', '6', '8']);
    add(seen, usize::from(seen.model == "small" && !even))
}

fn label(folder: &Path, endpoint: &Endpoint, more: &[&str]) -> (i32, String, String) {
    let (small, large) = (format!("small={}", endpoint.url), format!("large={}", endpoint.url));
    let mut arguments = vec!["label", "sums.jsonl", "--model", &small, "--model", &large];
    arguments.extend(more);
    routerwise(folder, &arguments)
}

fn spawn(folder: &Path, endpoint: &Endpoint, more: &[&str]) -> Child {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("routerwise"));
    command.current_dir(folder).args(["label", "sums.jsonl", "--model"]);
    command.arg(format!("small={}", endpoint.url)).args(more);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn answers_are_scored_and_written_in_the_layout_of_scores_files() {
    let folder = sums(10);
    let endpoint = Endpoint::start(answering);
    let (code, out, err) = label(
        folder.path(),
        &endpoint,
        &["--score", "exact", "--answers", "answers.jsonl"],
    );
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("small  10 of 10  10 of 10      0.5000"), "{out}");
    let scores = fs::read_to_string(folder.path().join("scores.csv")).unwrap();
    let mut lines = scores.lines();
    assert_eq!(
        lines.next().unwrap(),
        "prompt_id,source,prompt,prompt_tokens,score:small,score:large,output_tokens:small,output_tokens:large"
    );
    assert_eq!(lines.nth(1).unwrap(), "s1,sums,1+1?,7,0,1,1,1");
    let answers = fs::read_to_string(folder.path().join("answers.jsonl")).unwrap();
    assert_eq!(answers.lines().count(), 20);
    assert!(!folder.path().join("scores.csv.journal").exists());
    // What was paid for is not replaced by accident.
    let (code, _, err) = label(folder.path(), &endpoint, &["--score", "exact"]);
    assert_eq!(code, 2);
    assert!(err.contains("`scores.csv` is there already"), "{err}");
}

#[test]
fn a_scenario_reads_what_was_written() {
    let folder = sums(6);
    let endpoint = Endpoint::start(answering);
    let tiny = common::tiny();
    let path = tiny.path().join("tiny/labelled.parquet");
    let (code, _, err) = label(
        folder.path(),
        &endpoint,
        &["--score", "exact", "-o", path.to_str().unwrap()],
    );
    assert_eq!(code, 0, "{err}");
    let (code, out, err) = routerwise(tiny.path(), &["check", "tiny", "--scores", "tiny/labelled.parquet"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("scores of 6 prompts"), "{out}");
}

#[test]
fn bad_endpoints_are_refused_together_before_anything_is_asked() {
    let folder = sums(3);
    let good = Endpoint::start(answering);
    let wrong = Endpoint::start(|_, _| Reply::Status(404, "no such model"));
    let (one, two) = (format!("lost={}", wrong.url), "dead=http://127.0.0.1:1/v1");
    let more = ["--score", "exact", "--model", &one, "--model", two];
    let (code, _, err) = label(folder.path(), &good, &more);
    assert_eq!(code, 3);
    assert!(
        err.contains("`lost`: not found (404): status 404, no such model; it serves `small`"),
        "{err}"
    );
    assert!(err.contains("`dead`: no connection"), "{err}");
    assert_eq!(good.seen().len(), 0);
    let (code, _, err) = label(folder.path(), &good, &["--score", "exact", "--key-env", "NO_SUCH_KEY"]);
    assert_eq!(code, 2);
    assert!(err.contains("the environment has no `NO_SUCH_KEY`"), "{err}");
}

#[test]
fn prompts_without_a_reference_are_refused_by_scorers_that_need_one() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("sums.jsonl"), "{\"prompt\": \"why?\"}\n").unwrap();
    let endpoint = Endpoint::start(answering);
    let (code, _, err) = label(folder.path(), &endpoint, &["--score", "choice"]);
    assert_eq!(code, 2);
    assert!(err.contains("1 of the 1 sampled prompts have no reference"), "{err}");
    let (code, _, err) = label(
        folder.path(),
        &endpoint,
        &["--score", "regex", "--pattern", "(?i)hello"],
    );
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_killed_run_goes_on_and_asks_nothing_twice() {
    let folder = sums(12);
    // The ninth request is never answered: there the first run is killed.
    let endpoint = Endpoint::start(|seen, ix| if ix == 8 { Reply::Hang } else { add(seen, 0) });
    let arguments = ["--score", "exact", "--concurrency", "1", "-o", "out.csv"];
    let mut child = spawn(folder.path(), &endpoint, &arguments);
    endpoint.wait_for(9);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.path().join("out.csv").exists());
    let small = format!("small={}", endpoint.url);
    let mut again = vec!["label", "sums.jsonl", "--model", &small];
    again.extend(arguments);
    let (code, out, err) = routerwise(folder.path(), &again);
    assert_eq!(code, 0, "{out}{err}");
    let asked: Vec<String> = endpoint.seen().into_iter().map(|seen| seen.text).collect();
    assert_eq!(
        asked.len(),
        13,
        "eight answered, one lost, four and the lost one asked again"
    );
    assert_eq!(asked.iter().collect::<BTreeSet<_>>().len(), 12);
    assert_eq!(
        fs::read_to_string(folder.path().join("out.csv"))
            .unwrap()
            .lines()
            .count(),
        13
    );
}

#[test]
fn an_interrupted_run_keeps_what_is_under_way() {
    let folder = sums(40);
    let endpoint = Endpoint::start(|seen, ix| {
        if ix == 5 {
            std::thread::sleep(Duration::from_millis(300));
        }
        add(seen, 0)
    });
    let mut child = spawn(
        folder.path(),
        &endpoint,
        &["--score", "exact", "--concurrency", "1", "-o", "out.csv"],
    );
    endpoint.wait_for(6);
    let interrupted = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let kept = fs::read_to_string(folder.path().join("out.csv.journal")).unwrap();
    assert_eq!(
        kept.lines().count(),
        1 + endpoint.seen().len(),
        "what was asked was kept"
    );
    assert!(endpoint.seen().len() < 40);
}

#[test]
fn rates_and_pauses_are_kept() {
    let folder = sums(6);
    let endpoint = Endpoint::start(|seen, ix| if ix == 2 { Reply::RetryAfter(1.0) } else { add(seen, 0) });
    let small = format!("small={}", endpoint.url);
    let arguments = [
        "label",
        "sums.jsonl",
        "--score",
        "exact",
        "--requests-per-second",
        "20",
        "--model",
        &small,
    ];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("sent again: 1"), "{out}");
    let seen = endpoint.seen();
    let gaps: Vec<Duration> = seen.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    // Requests that were on their way when the pause was asked for may still come; those after it wait.
    assert!(gaps.iter().any(|gap| *gap >= Duration::from_millis(900)), "{gaps:?}");
    let paced: Duration = gaps.iter().sum();
    assert!(paced >= Duration::from_millis(900 + 3 * 45), "{gaps:?}");
}

#[test]
fn what_fails_for_good_is_counted_and_asked_for_again_by_the_same_command() {
    let folder = sums(5);
    let endpoint = Endpoint::start(|seen, _| match seen.text.as_str() {
        "3+1?" => Reply::Status(400, "the prompt is too long"),
        _ => add(seen, 0),
    });
    let (code, out, _) = label(folder.path(), &endpoint, &["--score", "exact"]);
    assert_eq!(code, 1);
    assert!(
        out.contains("`small`: request refused (4xx): 1 (first: status 400, the prompt is too long)"),
        "{out}"
    );
    assert!(out.contains(" small    4 of 5  4 of 5      1.0000"), "{out}");
    let n_asked = endpoint.seen().len();
    let (code, ..) = label(folder.path(), &endpoint, &["--score", "exact"]);
    assert_eq!((code, endpoint.seen().len()), (1, n_asked + 2));
}

#[test]
fn a_command_scores_abstains_and_fails() {
    let folder = sums(8);
    let endpoint = Endpoint::start(answering);
    let script = r#"import json, sys
row = json.load(sys.stdin)
assert set(row) == {"prompt_id", "prompt", "answer", "reference", "source", "model"}
if row["prompt_id"] == "s1": sys.exit(3)
if row["prompt_id"] == "s2": print("a lot"); sys.exit(0)
print(0.5 if row["answer"] == row["reference"] else 0)"#;
    fs::write(folder.path().join("score.py"), script).unwrap();
    let more = [
        "--score",
        "command",
        "--command",
        "python3 score.py",
        "--format",
        "json",
    ];
    let (code, out, err) = label(folder.path(), &endpoint, &more);
    assert_eq!(code, 1, "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let large = &report["models"][1];
    assert_eq!(large["n_scored"], 6);
    assert_eq!(large["mean_score"], 0.5);
    assert_eq!(large["remarks"]["left without a score by the command"], 1);
    assert_eq!(large["remarks"]["the command printed no number from 0 to 1"], 1);
    // A repaired command is run on what it failed on, and nobody is asked again.
    fs::write(folder.path().join("score.py"), script.replace("\"a lot\"", "1")).unwrap();
    let n_asked = endpoint.seen().len();
    let (code, out, _) = label(folder.path(), &endpoint, &more);
    assert_eq!((code, endpoint.seen().len()), (0, n_asked), "{out}");
}

#[test]
fn a_command_that_always_fails_stops_the_run_early() {
    let folder = sums(50);
    let endpoint = Endpoint::start(answering);
    let (code, out, _) = label(
        folder.path(),
        &endpoint,
        &["--score", "command", "--command", "no-such-program"],
    );
    assert_eq!(code, 1);
    assert!(out.contains("the command: exit status: 127"), "{out}");
    assert_eq!(endpoint.seen().len(), 8, "four prompts of two models");
}

#[test]
fn a_judge_sees_both_orders_and_what_it_says_unreadably_is_counted() {
    let folder = sums(6);
    let models = Endpoint::start(answering);
    // Favours what stands first unless it is plainly wrong, and now and then says nothing of use.
    let judge = Endpoint::start(|seen, _| {
        let Some((sum, texts)) = seen.text.split_once("? A: ") else {
            return Reply::Text("Hello".into());
        };
        let right = sum.trim_end_matches("+1").parse::<usize>().unwrap() + 1;
        let (a, b) = texts.split_once(" B: ").unwrap();
        let is_right = |text: &str| text.trim() == right.to_string();
        Reply::Text(match (right, is_right(a), is_right(b)) {
            (6, ..) => "hard to say".into(),
            (_, true, _) => "[[A]]".into(),
            (_, _, true) => "[[B]]".into(),
            _ => "[[C]]".into(),
        })
    });
    fs::write(
        folder.path().join("judge.txt"),
        "{prompt} A: {answer_a} B: {answer_b}\n",
    )
    .unwrap();
    let (judged_by, key) = (format!("judge={}", judge.url), ["--format", "json"]);
    let mut more = vec![
        "--score",
        "judge",
        "--judge",
        &judged_by,
        "--judge-template",
        "judge.txt",
    ];
    let (code, _, err) = label(folder.path(), &models, &more);
    assert_eq!(code, 2, "not confirmed");
    assert!(err.contains("no terminal to ask at") && err.contains("--yes"), "{err}");
    assert!(models.seen().is_empty() && judge.seen().is_empty());
    more.push("--yes");
    more.extend(key);
    let (code, out, err) = label(folder.path(), &models, &more);
    assert_eq!(code, 0, "{out}{err}");
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    // Right answers draw with the reference, because the judge takes whichever stands first; wrong ones lose both times.
    assert_eq!(report["models"][0]["mean_score"], 0.3);
    assert_eq!(report["models"][1]["mean_score"], 0.5);
    assert_eq!(report["judge"]["n_unreadable"], 2);
    assert_eq!(report["judge"]["n_both_orders"], 10);
    assert_eq!(report["judge"]["n_order_mattered"], 8);
    let first = judge
        .seen()
        .iter()
        .filter(|seen| seen.text == "1+1? A: 3 B: 2\n")
        .count();
    let second = judge
        .seen()
        .iter()
        .filter(|seen| seen.text == "1+1? A: 2 B: 3\n")
        .count();
    assert_eq!((first, second), (1, 1));
}

#[test]
fn keys_come_from_the_environment_and_prices_become_a_cost() {
    let folder = sums(3);
    let endpoint = Endpoint::start(answering);
    let file = format!(
        "[[model]]\nname = \"small\"\nurl = \"{}\"\nserved-name = \"org/small\"\nkey-env = \"LABEL_TEST_KEY\"\nprice = {{ input = 1e6, output = 1e6 }}\n",
        endpoint.url
    );
    fs::write(folder.path().join("label.toml"), file).unwrap();
    let mut command = assert_cmd::Command::cargo_bin("routerwise").unwrap();
    command.current_dir(folder.path()).env("LABEL_TEST_KEY", "sesame");
    command.args([
        "label",
        "sums.jsonl",
        "--score",
        "exact",
        "--endpoints",
        "label.toml",
        "--yes",
        "--format",
        "json",
    ]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(err.contains("in all") && !err.contains("sesame"), "{err}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report["models"][0]["cost"], 24.0,
        "seven tokens of each prompt and one of each answer"
    );
    let seen = endpoint.seen();
    assert!(
        seen.iter()
            .all(|seen| seen.key.as_deref() == Some("Bearer sesame") && seen.model == "org/small")
    );
}

#[test]
fn active_choice_labels_in_rounds_and_weighs_what_it_draws() {
    let folder = TempDir::new().unwrap();
    let kinds = ["statute law", "algebra sum", "riddle"];
    let lines = (0..400).map(|ix| {
        format!(
            "{{\"id\": {ix}, \"prompt\": \"{} number {ix}\", \"reference\": \"yes\"}}\n",
            kinds[ix % 3]
        )
    });
    fs::write(folder.path().join("sums.jsonl"), lines.collect::<String>()).unwrap();
    let endpoint = Endpoint::start(|seen, _| {
        let number: usize = seen.text.rsplit(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let knows = match (seen.text.split(' ').next(), seen.model.as_str()) {
            (Some("statute"), model) => model == "small",
            (Some("algebra"), model) => model == "large",
            _ => number % 7 < 3,
        };
        Reply::Text(if knows { "yes" } else { "no" }.into())
    });
    let more = [
        "--score", "exact", "--choose", "active", "--sample", "160", "-o", "out.csv",
    ];
    let (code, out, err) = label(folder.path(), &endpoint, &more);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("160 of 400 prompts"), "{out}");
    assert_eq!(endpoint.seen().len(), 320);
    let scores = fs::read_to_string(folder.path().join("out.csv")).unwrap();
    assert!(
        scores.starts_with("prompt_id,prompt,prompt_tokens,weight,"),
        "{}",
        scores.lines().next().unwrap()
    );
    let ids: BTreeSet<&str> = scores
        .lines()
        .skip(1)
        .map(|line| line.split(',').next().unwrap())
        .collect();
    assert_eq!(ids.len(), 160);
}
