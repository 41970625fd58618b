//! The real binary on a copy of the tiny scenario.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part; the panic is the report"
)]

pub(crate) mod engine;
pub(crate) mod gateway;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

pub(crate) fn routerwise(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("routerwise")
        .unwrap()
        .current_dir(folder)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A copy of the tiny scenario with its profiles, in `tiny/` of a folder of its own.
pub(crate) fn tiny() -> TempDir {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/tiny");
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("tiny");
    fs::create_dir(&copy).unwrap();
    for name in ["cluster.toml", "models.toml", "workload.toml", "scores.csv"] {
        fs::copy(root.join(name), copy.join(name)).unwrap();
    }
    let (code, _, err) = routerwise(folder.path(), &["profile", "--simulate", "tiny", "--requests", "500"]);
    assert_eq!(code, 0, "{err}");
    folder
}

pub(crate) fn trimmed(text: &str) -> String {
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The prompts of a scores file that quotes them.
pub(crate) fn prompts_of(scores: &str) -> Vec<&str> {
    let rows = scores.lines().skip(1);
    rows.map(|line| line.split('"').nth(1).unwrap()).collect()
}
