//! Chores of the repository, in Rust so that a laptop and CI do the same. `cargo xtask` lists them.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore talks to the person or the CI log that started it"
)]

mod chores;
mod ci;
mod licences;
mod process;
mod purity;
mod sdk;
mod tally;
mod test;
mod tidy;

use std::process::ExitCode;

use process::Failure;

const USAGE: &str = "\
usage: cargo xtask <chore> [arguments]

  test [filter …]       every test: unit, property, snapshot, end to end and doc; with arguments, `cargo nextest run` gets
                        them and doc tests are left out (`cargo xtask test -p routerwise-plan packing`)
  ci                    what CI runs: formatting, clippy, tidy, licences, then `test`
  tidy                  layers, file lengths and stray paths
  licences              licences, sources and duplicates of all dependencies
  bench [name] [args]   the committed benchmarks, or one of them; further arguments go to it
  fit <data folder> …   fit the engine model to public measurements
  study [--data folder] make every table of docs/study.md; `--data` names the sets of scores that may not ship
  schemas               write docs/reference/schemas anew
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            failure.exit_code()
        }
    }
}

fn run(args: &[String]) -> Result<(), Failure> {
    let Some((chore, rest)) = args.split_first() else {
        print!("{USAGE}");
        return Ok(());
    };
    match (chore.as_str(), rest) {
        ("test", rest) => test::run(rest),
        ("ci", []) => ci::run(),
        ("tidy", []) => tidy::run(),
        ("licences", []) => licences::run(),
        ("bench", rest) => chores::bench(rest),
        ("fit", [data, rest @ ..]) => chores::fit(data, rest),
        ("study", rest) => chores::study(rest),
        ("schemas", []) => chores::schemas(),
        ("help" | "--help" | "-h", _) => {
            print!("{USAGE}");
            Ok(())
        }
        ("fit", []) => Err(Failure::Usage("`fit` needs the folder of the measurements".into())),
        ("ci" | "tidy" | "licences" | "schemas", [extra, ..]) => {
            Err(Failure::Usage(format!("`{chore}` takes no arguments, found `{extra}`")))
        }
        (unknown, _) => Err(Failure::Usage(format!("no chore is called `{unknown}`\n\n{USAGE}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(args: &[&str]) -> String {
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        run(&args).unwrap_err().to_string()
    }

    #[test]
    fn unknown_chores_and_stray_arguments_are_refused() {
        assert!(refusal(&["tset"]).contains("no chore is called `tset`"));
        assert_eq!(refusal(&["tidy", "--fix"]), "`tidy` takes no arguments, found `--fix`");
        assert_eq!(refusal(&["fit"]), "`fit` needs the folder of the measurements");
    }
}
