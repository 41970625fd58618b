//! `routerwise profile --simulate`: every configuration from the engine model, in simulated time.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Mutex;

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use routerwise_inputs::write_atomically;
use routerwise_simulate::constants::Constants;
use routerwise_simulate::sweep::{self, Sweep};
use routerwise_types::profile::{PROFILE_SCHEMA, Profile, ProfileKey};
use routerwise_types::{Fingerprint, Scenario};

use super::files::files;
use super::journal::{Header, Journal};
use super::{Args, job, summary, wanted};
use crate::failure::{Answer, Failure};

/// How the engine model is played.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "With --simulate")]
pub(super) struct SimulateArgs {
    /// Requests measured at each of the twelve loads
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(500..=1_000_000))]
    requests: u32,
    /// Configurations simulated at once [default: all cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let (scenario, folder) = args.scenario()?;
    let constants = Constants::shipped();
    let wanted = wanted(&scenario, &args.only, &args.configurations)?;
    let files = files(&wanted, &folder)?;
    let mut journal = Journal::open(
        &folder.join(".partial.jsonl"),
        &header(args, &scenario, &constants, &wanted),
    )?;
    let refused = simulate(args, &scenario, &constants, &wanted, &mut journal)?;
    write_files(&files, &wanted, &journal)?;
    let profiles: Vec<Profile> = wanted.iter().filter_map(|key| journal.profile(key)).collect();
    summary(&profiles, out)?;
    for (reason, n) in &refused {
        writeln!(out, "{n} configurations were left out: {reason}")?;
    }
    writeln!(out, "\nwrote {} profiles to `{}`", journal.len(), folder.display())?;
    let nothing = journal.is_empty();
    journal.remove()?;
    Ok(if nothing { Answer::No } else { Answer::Yes })
}

/// All that decides the profiles' bytes.
fn header(args: &Args, scenario: &Scenario, constants: &Constants, wanted: &[ProfileKey]) -> Header {
    Header {
        schema: PROFILE_SCHEMA,
        run: Fingerprint::of(&(
            env!("CARGO_PKG_VERSION"),
            (args.seed, args.simulation.requests),
            (&scenario.cluster, &scenario.models),
            (scenario.workload.arrivals, &scenario.workload.lengths),
            (constants, wanted),
        )),
        seed: args.seed,
        requests: args.simulation.requests,
    }
}

/// Profiles what the journal does not have. Returns reasons for which configurations cannot be simulated, with how many each.
fn simulate(
    args: &Args,
    scenario: &Scenario,
    constants: &Constants,
    wanted: &[ProfileKey],
    journal: &mut Journal,
) -> Result<BTreeMap<String, usize>, Failure> {
    let missing: Vec<&ProfileKey> = wanted.iter().filter(|key| !journal.has(key)).collect();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.simulation.jobs.unwrap_or(0))
        .build()
        .map_err(|error| Failure::environment("starting threads")(io::Error::other(error)))?;
    let bar = progress_bar(wanted.len(), wanted.len() - missing.len());
    let sweep = Sweep {
        seed: args.seed,
        n_requests: args.simulation.requests as usize,
    };
    let refused = Mutex::new(BTreeMap::new());
    let journal = Mutex::new(journal);
    let result = pool.install(|| {
        missing.par_iter().try_for_each(|key| {
            match sweep::profile(&job(scenario, key), sweep, constants) {
                Ok(swept) => journal.lock().expect(NO_PANIC).add(&swept.profile)?,
                Err(error) => *refused.lock().expect(NO_PANIC).entry(error.to_string()).or_insert(0) += 1,
            }
            bar.inc(1);
            Ok(())
        })
    });
    bar.finish_and_clear();
    result.map(|()| refused.into_inner().expect(NO_PANIC))
}

const NO_PANIC: &str = "nobody panics while holding it";

fn progress_bar(n_all: usize, n_done: usize) -> ProgressBar {
    let style = "{bar:40} {pos}/{len} configurations, {elapsed} gone, {eta} to go";
    let bar = ProgressBar::new(n_all as u64);
    bar.set_style(ProgressStyle::with_template(style).expect("a constant that a test parses"));
    bar.set_position(n_done as u64);
    bar.reset_eta();
    bar
}

/// One file per model, one profile per line, as they are in the journal: a run that was interrupted writes the same bytes.
fn write_files(files: &BTreeMap<String, PathBuf>, wanted: &[ProfileKey], journal: &Journal) -> Result<(), Failure> {
    for (model, path) in files {
        let of_model = wanted.iter().filter(|key| key.model == *model);
        let lines: Vec<&str> = of_model.filter_map(|key| journal.line(key)).collect();
        if lines.is_empty() {
            continue;
        }
        let text = format!(
            "{{\"schema\":{PROFILE_SCHEMA},\"profiles\":[\n{}\n]}}\n",
            lines.join(",\n")
        );
        let doing = format!("writing `{}`", path.display());
        write_atomically(path, text.as_bytes()).map_err(Failure::environment(doing))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_bar_starts_where_the_last_run_stopped() {
        assert_eq!(progress_bar(10, 4).position(), 4);
    }
}
