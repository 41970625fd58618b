//! `cargo xtask ci`: everything that must hold before a change is merged.

use std::process::Command;
use std::time::Instant;

use crate::process::{Failure, cargo, run as run_command};
use crate::{licences, tidy};

type Step = fn() -> Result<(), Failure>;

/// Runs every step, even after one has failed, so that one run shows all there is to mend.
pub(crate) fn run() -> Result<(), Failure> {
    let steps: [(&str, Step); 5] = [
        ("fmt", || run_command(cargo(&["fmt", "--all", "--check"]))),
        ("clippy", || run_command(clippy())),
        ("tidy", tidy::run),
        ("licences", licences::run),
        ("test", || run_command(test())),
    ];
    let mut verdicts = Vec::new();
    let mut failed = Vec::new();
    for (name, step) in steps {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = step();
        let seconds = start.elapsed().as_secs();
        if let Err(failure) = &outcome {
            eprintln!("{name}: {failure}");
            failed.push(name);
        }
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        verdicts.push(format!("{name} {verdict} ({seconds} s)"));
    }
    println!("ci: {}", verdicts.join(", "));
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Found(format!("failed: {}", failed.join(", "))))
    }
}

fn clippy() -> Command {
    cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
}

/// As a user would call it, but with the profile that runs on after a failure.
fn test() -> Command {
    let mut command = cargo(&["xtask", "test"]);
    if std::env::var_os("NEXTEST_PROFILE").is_none() {
        command.env("NEXTEST_PROFILE", "ci");
    }
    command
}
