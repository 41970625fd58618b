//! Chores that are one command with the right flags.

use crate::process::{Failure, cargo, root, run};

/// The committed benchmarks. The glob leaves out library targets, whose harness knows no benchmark.
pub(crate) fn bench(args: &[String]) -> Result<(), Failure> {
    let (name, rest) = match args.split_first() {
        Some((name, rest)) if !name.starts_with('-') => (name.as_str(), rest),
        _ => ("*", args),
    };
    let mut command = cargo(&["bench", "--workspace", "--bench", name]);
    if !rest.is_empty() {
        command.arg("--").args(rest);
    }
    run(command)
}

/// Fits the engine model; `data` is relative to where the person stands, not to the workspace.
pub(crate) fn fit(data: &str, args: &[String]) -> Result<(), Failure> {
    let here = std::env::current_dir().map_err(|error| Failure::Environment(format!("no current folder: {error}")))?;
    let mut command = cargo(&["run", "--release", "-p", "routerwise-fit", "--manifest-path"]);
    command
        .arg(root().join("Cargo.toml"))
        .arg("--")
        .arg(data)
        .args(args)
        .current_dir(here);
    run(command)
}

/// Makes the tables of the study; the folder of `--data` is relative to where the person stands, not to the workspace.
pub(crate) fn study(args: &[String]) -> Result<(), Failure> {
    let mut args = args.to_vec();
    let data = args.iter().position(|arg| arg == "--data").map(|at| at + 1);
    if let Some(folder) = data.and_then(|at| args.get_mut(at)) {
        let absolute = std::path::absolute(&*folder)
            .map_err(|error| Failure::Environment(format!("no current folder: {error}")))?;
        *folder = absolute.to_string_lossy().into_owned();
    }
    let mut command = cargo(&["run", "--release", "-p", "routerwise-study", "--"]);
    command.args(args);
    run(command)
}

/// Writes the JSON Schemas anew. The test that compares them also writes them, so the list of documents stands once.
pub(crate) fn schemas() -> Result<(), Failure> {
    let folder = root().join("docs/reference/schemas");
    std::fs::create_dir_all(&folder)
        .map_err(|error| Failure::Environment(format!("cannot make {}: {error}", folder.display())))?;
    let mut command = cargo(&["test", "-p", "routerwise-inputs", "schema"]);
    command.env("UPDATE_SCHEMAS", "1");
    run(command)
}
