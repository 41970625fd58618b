//! `routerwise bench`, from the outside, against a trivial server.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;
#[path = "../../routerwise-measure/tests/server/mod.rs"]
mod server;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::routerwise;
use routerwise_types::answer::bench::{BenchRecord, BenchReport};
use server::{Manner, Server};
use tempfile::TempDir;

fn bench(folder: &Path, url: &str, model: &str, more: &[&str]) -> (i32, String, String) {
    let mut arguments = vec!["bench", "--endpoint", url, "--model", model, "--output-tokens", "4"];
    arguments.extend_from_slice(more);
    let (code, out, err) = routerwise(folder, &arguments);
    // Messages are framed and broken to the width of a terminal.
    let words = err.split_whitespace().filter(|word| !["×", "│", "╰─▶"].contains(word));
    (code, out, words.collect::<Vec<_>>().join(" "))
}

/// A machine that runs many tests at once may be late, and then that is said. All else must be as it is on an idle one.
fn measured((code, out, err): (i32, String, String)) -> String {
    let late = code == 3 && err.contains("failed keeping up with the schedule");
    assert!(code == 0 || late, "{code}: {err}{out}");
    out
}

fn json(out: &str) -> BenchReport {
    serde_json::from_str(out).unwrap()
}

#[test]
fn a_run_is_measured_shown_recorded_and_exported() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(Manner {
        first: Duration::from_millis(3),
        gap: Duration::from_millis(2),
        ..Manner::default()
    });
    let load = [
        "--rate",
        "200",
        "--duration",
        "1s",
        "--input-tokens",
        "20:0.3",
        "--slo",
        "ttft=5s,tpot=5s",
    ];
    let files = ["--records", "records.jsonl", "--llm-d", "report.json"];
    let out = measured(bench(
        folder.path(),
        &server.url(),
        "auto",
        &[&load[..], &files[..]].concat(),
    ));
    for part in [
        "TTFT",
        "TPOT",
        "ITL",
        "E2E",
        "P99",
        "█",
        "Goodput",
        "answered by",
        "large",
        "  r1",
        "Sent ",
    ] {
        assert!(out.contains(part), "no `{part}` in {out}");
    }
    let text = fs::read_to_string(folder.path().join("records.jsonl")).unwrap();
    let records: Vec<BenchRecord> = text
        .lines()
        .skip(1)
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 200);
    let counted = records.iter().filter(|record| record.measured).count();
    assert!((140..=180).contains(&counted), "{counted}");
    assert!(
        records
            .iter()
            .all(|record| record.gaps_s.len() == 3 && record.model.is_some() && record.error.is_none())
    );
    let exported: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(exported["version"], "0.2.1");
    let ttft = &exported["results"]["request_performance"]["aggregate"]["latency"]["time_to_first_token"];
    assert!(
        ttft["units"] == "s" && ttft["mean"].as_f64().unwrap() >= 0.003,
        "{ttft}"
    );
    // Our own records are a trace too.
    let replay = [
        "--trace",
        "records.jsonl",
        "--speed",
        "4",
        "--requests",
        "100",
        "--format",
        "json",
    ];
    let out = measured(bench(folder.path(), &server.url(), "m", &replay));
    let report = json(&out);
    assert_eq!((report.measured.n_sent, report.measured.failures.len()), (100, 0));
    assert!(report.measured.offered.unwrap().value() > 400.0, "{out}");
}

#[test]
fn stages_users_and_prompts_of_files_are_played() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(Manner::default());
    fs::write(
        folder.path().join("p.jsonl"),
        "{\"prompt\":\"a\",\"max_tokens\":2}\n{\"prompt\":\"b\",\"max_tokens\":2}\n",
    )
    .unwrap();
    fs::write(
        folder.path().join("s.csv"),
        "prompt_id,prompt,score:m\n1,hello,0.5\n2,there,0.6\n",
    )
    .unwrap();
    fs::write(
        folder.path().join("t.csv"),
        "arrival_s,input_tokens,output_tokens\n0,30,3\n9,40,3\n",
    )
    .unwrap();
    let run = |more: &[&str]| {
        let arguments = [more, &["--format", "json"]].concat();
        json(&measured(bench(folder.path(), &server.url(), "m", &arguments)))
    };
    let staged = run(&[
        "--stage",
        "100:200ms",
        "--stage",
        "100..300:200ms",
        "--arrivals",
        "constant",
        "--prompts",
        "p.jsonl",
    ]);
    assert_eq!(staged.measured.n_sent, 60);
    assert!((staged.measured.all.output_tokens - 2.0).abs() < 1e-9);
    let users = run(&["--users", "4", "--requests", "80", "--scores", "s.csv"]);
    assert_eq!((users.measured.n_sent, users.measured.n_requests), (80, 64));
    assert!(users.measured.offered.is_none() && users.measured.saturation.is_none());
    let gamma = run(&[
        "--rate",
        "200",
        "--requests",
        "60",
        "--arrivals",
        "gamma:2.5",
        "--lengths-of",
        "t.csv",
    ]);
    assert_eq!(gamma.measured.n_sent, 60);
}

#[test]
fn what_is_wrong_is_said_once_and_before_the_run() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(Manner::default());
    let closed = Server::start(Manner {
        key: Some("right"),
        ..Manner::default()
    });
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let rate = ["--rate", "5"];
    let said = |url: &str, model: &str, more: &[&str], wanted: i32, words: &str| {
        let (code, out, err) = bench(folder.path(), url, model, more);
        assert!(
            code == wanted && err.contains(words) && out.is_empty(),
            "{code}: {err}{out}"
        );
    };
    said(&format!("http://{free}"), "m", &rate, 3, "nothing answers at");
    said(
        &format!("{}/page", server.url()),
        "m",
        &rate,
        2,
        "no OpenAI-compatible endpoint",
    );
    said(&server.url(), "unknown", &rate, 2, "it has `m`, `other`");
    said(&closed.url(), "m", &rate, 2, "--api-key-env");
    said(
        &closed.url(),
        "m",
        &["--rate", "5", "--api-key-env", "ROUTERWISE_NO_SUCH_KEY"],
        2,
        "holds no key",
    );
    said(&server.url(), "m", &[], 2, "nothing says how much to send");
    said("127.0.0.1:1", "m", &rate, 2, "is no address");
    said(
        &server.url(),
        "m",
        &["--rate", "5", "--body", "no"],
        2,
        "no JSON object",
    );
    said(&server.url(), "m", &["--trace", "gone.jsonl"], 2, "does not exist");
    said(
        &server.url(),
        "m",
        &["--rate", "5", "--warm-up", "60s"],
        2,
        "leave nothing",
    );
    said(
        &server.url(),
        "m",
        &["--rate", "5", "--records", "no/such/folder"],
        3,
        "writing `no/such/folder`",
    );
}

#[test]
fn a_server_that_falls_behind_is_called_saturated_by_words_and_exit_code() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(Manner {
        first: Duration::from_millis(60),
        at_once: 1,
        ..Manner::default()
    });
    // Evenly, as in so short a time the rate of a Poisson stream goes up or down by chance.
    let load = ["--rate", "50", "--duration", "1500ms", "--arrivals", "constant"];
    let (code, out, err) = bench(folder.path(), &server.url(), "m", &load);
    assert!(
        [1, 3].contains(&code) && out.contains("SATURATED"),
        "{code}: {err}{out}"
    );
}

#[test]
fn a_load_that_cannot_be_sent_is_not_reported_as_if_it_were() {
    let folder = TempDir::new().unwrap();
    let server = Server::start(Manner {
        first: Duration::from_millis(300),
        ..Manner::default()
    });
    let load = ["--rate", "200", "--duration", "500ms", "--max-in-flight", "5"];
    let (code, out, err) = bench(folder.path(), &server.url(), "m", &load);
    assert!(
        code == 3 && out.contains("DID NOT KEEP UP") && err.contains("were not sent"),
        "{code}: {err}{out}"
    );
}
