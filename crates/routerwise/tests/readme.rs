//! The README is true: its commands work as printed, and the demo prints what it shows (`UPDATE_README=1` writes that anew).

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
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
                let (code, out) = run(folder.path(), arguments);
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

#[test]
fn the_demo_prints_what_the_readme_shows() {
    let folder = TempDir::new().unwrap();
    let (code, out) = run(folder.path(), &["demo"]);
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
