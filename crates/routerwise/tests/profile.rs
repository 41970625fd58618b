//! `routerwise profile --simulate`, from the outside.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use tempfile::TempDir;

fn scenario() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/tiny")
}

fn profile(out: &Path, more: &[&str]) -> Command {
    let mut command = Command::cargo_bin("routerwise").expect("this package builds it");
    command
        .args(["profile", "--simulate", "--requests", "500"])
        .arg(scenario());
    command.arg("--out").arg(out).args(more);
    command
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("readable").path());
    let name = |path: &Path| path.file_name().expect("a file").to_string_lossy().into_owned();
    let mut files: Vec<(String, String)> = entries
        .map(|path| (name(&path), fs::read_to_string(&path).expect("text")))
        .collect();
    files.sort();
    files
}

fn names(folder: &Path) -> Vec<String> {
    files(folder).into_iter().map(|(name, _)| name).collect()
}

#[test]
fn every_configuration_that_fits_is_profiled_and_the_scenario_can_read_it() {
    let out = TempDir::new().unwrap();
    let shown = profile(out.path(), &[]).assert().success().get_output().stdout.clone();
    let shown = String::from_utf8(shown).unwrap();
    assert!(
        shown.contains("idle TTFT") && shown.contains("wrote 8 profiles to"),
        "{shown}"
    );
    assert_eq!(names(out.path()), ["large.json", "small.json"]);
    let mut check = Command::cargo_bin("routerwise").unwrap();
    check.arg("check").arg(scenario()).arg("--profiles").arg(out.path());
    let shown = String::from_utf8(check.assert().success().get_output().stdout.clone()).unwrap();
    assert!(shown.contains("4 of 4"), "{shown}");
}

#[test]
fn a_run_that_was_interrupted_goes_on_and_writes_the_same_bytes() {
    let (whole, parts) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    profile(whole.path(), &[]).assert().success();
    // What a run leaves that was killed while it wrote its third profile.
    let text = begin(parts.path());
    let lines: Vec<&str> = text.lines().collect();
    let torn = format!("{}\n{}\n{}\n{}", lines[0], lines[1], lines[2], &lines[3][..100]);
    fs::write(parts.path().join(".partial.jsonl"), torn).unwrap();
    profile(parts.path(), &["--jobs", "1"]).assert().success();
    assert_eq!(files(whole.path()), files(parts.path()));
}

#[test]
fn profiles_of_another_run_are_not_mixed_in() {
    let out = TempDir::new().unwrap();
    begin(out.path());
    let refused = profile(out.path(), &["--seed", "2"]).assert().code(2);
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(
        said.contains("8 finished profiles of") && said.contains("seed 1") && said.contains("delete the file"),
        "{said}"
    );
    assert_eq!(names(out.path()), [".partial.jsonl"]);
}

#[test]
fn measurements_of_real_engines_are_not_overwritten() {
    let out = TempDir::new().unwrap();
    profile(out.path(), &["--model", "small"]).assert().success();
    assert_eq!(names(out.path()), ["small.json"]);
    let path = out.path().join("small.json");
    let text = fs::read_to_string(&path).unwrap();
    let start = text.find("\"source\":").unwrap();
    let end = text[start..].find('}').unwrap() + start;
    let measured = format!("{}\"source\":{{\"kind\":\"measured\"{}", &text[..start], &text[end..]);
    fs::write(&path, &measured).unwrap();
    profile(out.path(), &[]).assert().code(2);
    assert_eq!(fs::read_to_string(&path).unwrap(), measured);
}

#[test]
fn an_unknown_model_is_answered_with_the_known_ones() {
    let out = TempDir::new().unwrap();
    let refused = profile(out.path(), &["--model", "huge"]).assert().code(2);
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(said.contains("`huge`") && said.contains("`small`, `large`"), "{said}");
}

/// Leaves the journal of a run that has all profiles but has not written its files, and returns its text.
fn begin(out: &Path) -> String {
    // A folder where a file is to go keeps the run from writing it.
    let stone = out.join("small.json");
    fs::create_dir_all(stone.join("in-the-way")).expect("an empty folder");
    profile(out, &[]).assert().code(3);
    fs::remove_dir_all(&stone).expect("ours");
    let _ = fs::remove_file(out.join("large.json"));
    fs::read_to_string(out.join(".partial.jsonl")).expect("the journal is kept")
}
