//! `cargo xtask test`: every test, after getting what the tests need.

use std::io::IsTerminal;
use std::path::Path;

use crate::process::{Failure, Stream, cargo, run as run_command, succeeds, watch};
use crate::sdk;
use crate::tally::Tally;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    Nextest,
    /// Where nextest can be neither found nor installed.
    CargoTest,
}

/// Runs the tests that `filter` names (all, and doc tests, when it is empty) and ends with their count.
pub(crate) fn run(filter: &[String]) -> Result<(), Failure> {
    let mut total = Tally::default();
    let mut failed = Vec::new();

    let sdk = wants_sdk(filter).then(sdk::prepare).transpose()?;
    let part = match runner() {
        Runner::Nextest => nextest(filter, sdk.as_deref())?,
        Runner::CargoTest => cargo_test(filter, sdk.as_deref())?,
    };
    total += part.tally;
    failed.extend(part.failure);

    if filter.is_empty() {
        let part = doc_tests()?;
        total += part.tally;
        failed.extend(part.failure);
    } else {
        println!("doc tests are left out when a filter is given");
    }

    if failed.is_empty() && total.passed == 0 {
        failed.push("no test ran".to_owned());
    }
    println!("tests: {total}");
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Found(failed.join("; ")))
    }
}

struct Part {
    tally: Tally,
    failure: Option<String>,
}

fn nextest(filter: &[String], sdk: Option<&Path>) -> Result<Part, Failure> {
    let colour = if std::io::stderr().is_terminal() {
        "always"
    } else {
        "never"
    };
    let mut command = cargo(&["nextest", "run", "--color", colour]);
    command.args(scope(filter)).args(filter);
    command.envs(sdk.map(|folder| (sdk::VARIABLE, folder)));
    let watched = watch(command, Stream::Stderr)?;
    let tally = Tally::of_nextest(&watched.text).unwrap_or_default();
    Ok(part("tests", tally, watched.success))
}

/// `--tests` means all targets with tests: libraries and binaries too. `--lib` would refuse a package without a library.
fn cargo_test(filter: &[String], sdk: Option<&Path>) -> Result<Part, Failure> {
    let mut command = cargo(&["test", "--no-fail-fast", "--tests"]);
    command.args(scope(filter)).args(filter);
    command.envs(sdk.map(|folder| (sdk::VARIABLE, folder)));
    let watched = watch(command, Stream::Stdout)?;
    let tally = Tally::of_harness(&watched.text).unwrap_or_default();
    Ok(part("tests", tally, watched.success))
}

fn doc_tests() -> Result<Part, Failure> {
    let watched = watch(
        cargo(&["test", "--doc", "--workspace", "--no-fail-fast"]),
        Stream::Stdout,
    )?;
    let tally = Tally::of_harness(&watched.text).unwrap_or_default();
    Ok(part("doc tests", tally, watched.success))
}

fn part(name: &str, tally: Tally, success: bool) -> Part {
    let failure = match (success, tally.failed) {
        (true, _) => None,
        (false, 0) => Some(format!("the {name} did not run to their end")),
        (false, n) => Some(format!("{n} of the {name} failed")),
    };
    Part { tally, failure }
}

/// Whether the tests that run the OpenAI packages are among those that are asked for.
fn wants_sdk(filter: &[String]) -> bool {
    filter.is_empty() || filter.iter().any(|arg| arg.contains("sdk"))
}

/// Cargo lets `--workspace` win over `-p`, so it is added only where no package is chosen.
fn scope(filter: &[String]) -> Option<&'static str> {
    let chosen = filter.iter().any(|arg| {
        arg.starts_with("-p") || arg == "--package" || arg.starts_with("--package=") || arg == "--manifest-path"
    });
    (!chosen).then_some("--workspace")
}

fn runner() -> Runner {
    if succeeds(cargo(&["nextest", "--version"])) {
        return Runner::Nextest;
    }
    println!("cargo-nextest is missing: installing it once with `cargo install` (a few minutes)");
    let mut install = cargo(&["install", "cargo-nextest", "--locked"]);
    install.env_remove("CARGO_TARGET_DIR"); // its build would stay in ours
    match run_command(install) {
        Ok(()) if succeeds(cargo(&["nextest", "--version"])) => Runner::Nextest,
        Ok(()) => {
            println!("cargo-nextest was installed but does not start: using `cargo test`");
            Runner::CargoTest
        }
        Err(failure) => {
            println!("cargo-nextest cannot be installed ({failure}): using `cargo test`");
            Runner::CargoTest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_whole_workspace_is_tested_unless_a_package_is_chosen() {
        assert_eq!(scope(&[]), Some("--workspace"));
        assert_eq!(scope(&words("packing --no-capture")), Some("--workspace"));
        assert_eq!(scope(&words("-p routerwise-plan packing")), None);
        assert_eq!(scope(&words("--package=routerwise-plan")), None);
    }

    #[test]
    fn a_failed_run_says_how_many_failed() {
        let some = part(
            "tests",
            Tally {
                passed: 3,
                failed: 2,
                skipped: 0,
            },
            false,
        );
        assert_eq!(some.failure.as_deref(), Some("2 of the tests failed"));
        let broken = part("doc tests", Tally::default(), false);
        assert_eq!(
            broken.failure.as_deref(),
            Some("the doc tests did not run to their end")
        );
        assert_eq!(
            part(
                "tests",
                Tally {
                    passed: 3,
                    failed: 0,
                    skipped: 0
                },
                true
            )
            .failure,
            None
        );
    }
}
