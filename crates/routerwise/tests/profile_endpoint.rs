//! `routerwise profile --endpoint`, from the outside: what is wrong is said, what was measured is kept.

mod common;
#[path = "common/server.rs"]
mod server;

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use common::{routerwise, tiny};
use server::{Manner, serve, start};

/// Without how long and how sure.
fn asking(url: &str) -> Vec<&str> {
    let mut all = vec!["profile", "tiny", "--endpoint", url, "--model", "small", "--out", "out"];
    all.extend(["--configuration", "tp=1,share=100%", "--no-fill"]);
    all
}

fn profile(folder: &Path, url: &str, more: &[&str]) -> (i32, String, String) {
    let mut all = asking(url);
    all.extend(["--budget", "3s", "--precision", "50%"]);
    all.extend(more);
    let (code, out, err) = routerwise(folder, &all);
    // Messages are wrapped to the terminal's width.
    let flat = err
        .lines()
        .map(|line| line.trim_start_matches([' ', '│', '×']))
        .collect::<Vec<_>>()
        .join(" ");
    (code, out, flat)
}

fn listed(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.join("out")) else {
        return Vec::new();
    };
    let names = entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned());
    names.collect()
}

#[test]
fn an_engine_is_measured_and_its_profile_can_be_planned_with() {
    let folder = tiny();
    let (code, out, err) = profile(folder.path(), &start(Manner::Good), &[]);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("at most 3 s, the budget") && out.contains("measured to"),
        "{out}"
    );
    assert_eq!(listed(folder.path()), ["small.json"]);
    let text = fs::read_to_string(folder.path().join("out/small.json")).unwrap();
    for part in ["\"kind\":\"measured\"", "prefill_rate", "decode_rate", "not_sustained"] {
        assert!(text.contains(part), "{part}");
    }
    let (code, out, err) = routerwise(folder.path(), &["check", "tiny", "--profiles", "out"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("1 of 4"), "{out}");
    // Neither another measurement nor a simulation goes over it.
    let (code, _, err) = profile(folder.path(), "http://127.0.0.1:1", &[]);
    assert_eq!(code, 2);
    assert!(
        err.contains("holds a measurement") && err.contains("--replace"),
        "{err}"
    );
}

#[test]
fn what_is_wrong_with_an_endpoint_is_said() {
    let folder = tiny();
    let cases = [
        ("http://127.0.0.1:1".to_owned(), 3, "nothing answers"),
        (start(Manner::WebPage), 2, "no OpenAI-compatible endpoint"),
        (start(Manner::Locked), 2, "--api-key-env"),
        (start(Manner::OtherModel), 2, "`other`"),
        ("127.0.0.1:8000".to_owned(), 2, "http://"),
    ];
    for (url, wanted, said) in cases {
        let (code, _, err) = profile(folder.path(), &url, &[]);
        assert_eq!(code, wanted, "{err}");
        assert!(err.contains(said), "{err}");
        assert_eq!(listed(folder.path()), [""; 0]);
    }
    let arguments = [
        "profile",
        "tiny",
        "--endpoint",
        "http://127.0.0.1:1",
        "--model",
        "small",
    ];
    let (code, _, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 2);
    assert!(
        err.contains("--configuration") && err.contains("tp=1,share=50%"),
        "{err}"
    );
}

#[test]
fn an_engine_that_dies_loses_nothing_and_the_same_command_goes_on() {
    let folder = tiny();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    serve(listener, Manner::Mortal(40));
    let url = format!("http://{address}");
    let (code, _, err) = profile(folder.path(), &url, &[]);
    assert_eq!(code, 3, "{err}");
    assert!(
        err.contains("stopped answering") && err.contains("are kept in"),
        "{err}"
    );
    let kept = listed(folder.path());
    assert!(kept.len() == 1 && kept[0].starts_with(".measuring-small"), "{kept:?}");
    let lines = fs::read_to_string(folder.path().join("out").join(&kept[0]))
        .unwrap()
        .lines()
        .count();
    assert!(lines >= 3, "{lines}");
    serve(TcpListener::bind(address).unwrap(), Manner::Good);
    let (code, _, err) = profile(folder.path(), &url, &[]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(listed(folder.path()), ["small.json"]);
}

#[test]
fn ctrl_c_keeps_what_was_measured_and_the_same_command_goes_on() {
    let folder = tiny();
    let url = start(Manner::Good);
    let arguments = [&asking(&url)[..], &["--budget", "60s", "--precision", "0.1%"]].concat();
    let mut child = Command::new(cargo_bin("routerwise"))
        .current_dir(folder.path())
        .args(&arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let journal_lines = || {
        let kept = listed(folder.path());
        let journal = kept.iter().find(|name| name.starts_with(".measuring-small"))?;
        let text = fs::read_to_string(folder.path().join("out").join(journal)).ok()?;
        Some(text.lines().count())
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while journal_lines().is_none_or(|n| n < 4) {
        assert!(Instant::now() < deadline, "nothing is written down");
        thread::sleep(Duration::from_millis(20));
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    let code = child.wait().unwrap().code();
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(code, Some(3), "{err}");
    assert!(
        err.contains("interrupted") && err.contains("goes on from there"),
        "{err}"
    );
    let before = journal_lines().expect("it is kept");
    let (code, out, err) = routerwise(
        folder.path(),
        &[&asking(&url)[..], &["--budget", "3s", "--precision", "50%"]].concat(),
    );
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(listed(folder.path()), ["small.json"]);
    let text = fs::read_to_string(folder.path().join("out/small.json")).unwrap();
    let profiles: serde_json::Value = serde_json::from_str(&text).unwrap();
    let sent = profiles["profiles"][0]["evidence"]["n_sent"].as_u64().unwrap();
    assert!(before >= 4 && sent > 10, "{before} lines, {sent} requests");
}

#[test]
fn how_long_it_will_take_is_said_before_anything_is_asked() {
    let folder = tiny();
    let (code, out, _) = profile(folder.path(), "http://127.0.0.1:1", &["--dry-run"]);
    assert_eq!(code, 0);
    assert!(
        out.contains("by the engine model") && out.contains("at most 3 s"),
        "{out}"
    );
}

#[test]
fn what_was_not_measured_is_filled_in_and_marked() {
    let folder = tiny();
    let (code, _, err) = profile(folder.path(), &start(Manner::Good), &[]);
    assert_eq!(code, 0, "{err}");
    let arguments = ["profile", "tiny", "--fill", "--model", "small", "--out", "out"];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains("fitted to 1 measured configurations") && out.contains("measure a second one"),
        "{out}"
    );
    let text = fs::read_to_string(folder.path().join("out/small.json")).unwrap();
    assert_eq!(text.matches("\"source\":{\"kind\":\"measured\"}").count(), 1);
    assert_eq!(text.matches("\"source\":{\"kind\":\"filled\"}").count(), 3);
    let (_, out, _) = routerwise(folder.path(), &["check", "tiny", "--profiles", "out"]);
    assert!(out.contains("4 of 4"), "{out}");
}

#[test]
fn profiles_of_one_engine_do_not_differ_and_of_a_faster_one_do() {
    let folder = tiny();
    let simulate = |out: &str, seed: &str| {
        let all = [
            "profile",
            "tiny",
            "--simulate",
            "--model",
            "small",
            "--out",
            out,
            "--seed",
            seed,
        ];
        assert_eq!(routerwise(folder.path(), &all).0, 0);
    };
    simulate("a", "1");
    simulate("b", "2");
    let (code, out, err) = routerwise(folder.path(), &["profile", "--compare", "a/small.json", "b/small.json"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("No difference beyond chance"), "{out}");
    // The same engine with a tenth of its time taken off.
    let text = fs::read_to_string(folder.path().join("b/small.json")).unwrap();
    let mut set: serde_json::Value = serde_json::from_str(&text).unwrap();
    for profile in set["profiles"].as_array_mut().unwrap() {
        for point in profile["points"].as_array_mut().unwrap() {
            for metric in ["ttft", "tpot", "e2e"] {
                let mean = point[metric]["mean"].as_f64().unwrap();
                point[metric]["mean"] = (0.9 * mean).into();
            }
        }
    }
    fs::write(folder.path().join("faster.json"), set.to_string()).unwrap();
    let compare = |more: &[&str]| {
        let mut all = vec!["profile", "compare", "a"];
        all.extend(more);
        routerwise(folder.path(), &all)
    };
    let (code, out, _) = compare(&["faster.json"]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("It differs") && out.contains("mean TPOT"), "{out}");
    let (code, out, _) = compare(&["faster.json", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &report["differ"]), (1, &true.into()));
    assert_eq!(compare(&["faster.json", "--tolerance", "20%"]).0, 0);
    let (code, _, err) = compare(&["missing.json"]);
    assert_eq!(code, 2);
    assert!(err.contains("missing.json"), "{err}");
}

#[test]
fn curves_are_shown_and_drawn() {
    let folder = tiny();
    let arguments = ["profile", "show", "tiny/profiles/small.json", "--svg", "curves.svg"];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{err}");
    let parts = [
        "mean TTFT against load",
        "requests/s",
        "A  small tp=1 share=50 %",
        "P95 TTFT",
    ];
    for part in parts {
        assert!(out.contains(part), "{part}: {out}");
    }
    let svg = fs::read_to_string(folder.path().join("curves.svg")).unwrap();
    assert!(svg.contains("mean TTFT in ms") && svg.contains("<circle"), "{svg}");
}

#[test]
fn an_engine_that_does_not_start_is_explained_and_keeps_no_other_from_being_tried() {
    let folder = tiny();
    let template = "name = \"broken\"\n\
        command = [\"sh\", \"-c\", \"echo loading {weights}; echo CUDA out of memory; exit 1\"]\n\
        [ready]\npath = \"/health\"\ntimeout-seconds = 5\n\
        [[help]]\npattern = \"out of memory\"\nhelp = \"free the GPU\"\n";
    fs::write(folder.path().join("broken.toml"), template).unwrap();
    let mut arguments = vec!["profile", "tiny", "--engine", "broken.toml", "--model", "small"];
    arguments.extend(["--out", "out", "--configuration", "tp=1"]);
    arguments.extend(["--weights", "small=/weights/small", "--no-fill"]);
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 3, "{err}");
    assert!(out.contains("1 of 2:") && out.contains("2 of 2:"), "{out}");
    assert!(
        out.contains("loading /weights/small") && out.contains("free the GPU"),
        "{out}"
    );
    assert!(err.contains("2 of 2 configurations were not"), "{err}");
    let log = folder.path().join("out/logs/small-a100-80gb-sxm-tp1-share50.log");
    assert!(fs::read_to_string(log).unwrap().contains("CUDA out of memory"));
    let (code, _, err) = routerwise(folder.path(), &["profile", "tiny", "--engine", "vlm"]);
    assert_eq!(code, 2);
    assert!(err.contains("`vllm`"), "{err}");
}

/// In real time as in simulated time. On a busy machine only what is slowed down least can be compared tightly: `bench-results` has a
/// whole run.
#[test]
fn emulated_engines_are_started_measured_and_stopped_and_agree_with_simulated_time() {
    let folder = tiny();
    let mut arguments = vec![
        "profile", "tiny", "--engine", "emulated", "--model", "small", "--out", "out",
    ];
    arguments.extend(["--configuration", "tp=1,share=100%", "--budget", "6s"]);
    arguments.extend(["--precision", "50%", "--no-fill"]);
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("1 of 1: small tp=1 share=100 %") && out.contains("measured to"),
        "{out}"
    );
    let profile = |file: &str| -> serde_json::Value {
        let set: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.path().join(file)).unwrap()).unwrap();
        let profiles = set["profiles"].as_array().unwrap();
        let whole =
            |profile: &&serde_json::Value| profile["key"]["share"] == 1.0 && profile["key"]["tensor_parallel"] == 1;
        profiles.iter().find(whole).unwrap().clone()
    };
    let measured = profile("out/small.json")["evidence"]["alone"]["tpot"].as_f64().unwrap();
    let simulated = profile("tiny/profiles/small.json")["points"][0]["tpot"]["mean"]
        .as_f64()
        .unwrap();
    let ratio = measured / simulated;
    assert!(0.8 < ratio && ratio < 3.0, "{measured} {simulated}");
    let version = profile("out/small.json")["evidence"]["version"].clone();
    assert!(
        version.as_str().unwrap().starts_with("routerwise-emulate "),
        "{version}"
    );
    let log = folder.path().join("out/logs/small-a100-80gb-sxm-tp1-share100.log");
    assert!(log.exists());
}
