//! `routerwise profile`: latency profiles of every configuration that a scenario allows.

mod journal;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::{fs, io};

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use routerwise_inputs::profiles::possible_keys;
use routerwise_inputs::write_atomically;
use routerwise_simulate::constants::Constants;
use routerwise_simulate::sweep::{self, Job, Sweep};
use routerwise_types::profile::{PROFILE_SCHEMA, Profile, ProfileKey, ProfileSet, ProfileSource};
use routerwise_types::{Fingerprint, Scenario};

use crate::cli::ScenarioArgs;
use crate::failure::{Answer, Failure};
use crate::table::table;
use journal::{Header, Journal};

/// Make latency profiles of every configuration: model, GPU type, tensor-parallel degree, share
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Take them from the engine model in simulated time (the only source as yet)
    #[arg(long, required = true)]
    simulate: bool,
    /// Folder for the profiles [default: the scenario's]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Seed of arrivals and lengths
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Requests measured at each of the twelve loads
    #[arg(long, default_value_t = 2_000, value_name = "N", value_parser = clap::value_parser!(u32).range(500..=1_000_000))]
    requests: u32,
    /// Configurations simulated at once [default: all cores]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Only this model (repeat for more)
    #[arg(long = "model", value_name = "NAME")]
    only: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  routerwise profile --simulate scenarios/demo                          all configurations, written to scenarios/demo/profiles/
  routerwise profile --simulate scenarios/demo --model llama-3.1-8b --requests 20000
  routerwise profile --simulate scenarios/demo --out /tmp/p --seed 2    how much does chance matter?

Interrupt it at any time; the same command goes on where it stopped and writes the same files.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut paths = args.scenario.paths();
    let folder = args.out.clone().unwrap_or_else(|| paths.profiles.clone());
    // Profiles that no longer fit the scenario are what this command is called to replace.
    paths.profiles = PathBuf::new();
    let scenario = routerwise_inputs::load(&paths)?.scenario;
    let constants = Constants::shipped();
    let wanted = wanted(&scenario, &args.only)?;
    let files = files(&wanted, &folder)?;
    let mut journal = Journal::open(
        &folder.join(".partial.jsonl"),
        &header(args, &scenario, &constants, &wanted),
    )?;
    let refused = simulate(args, &scenario, &constants, &wanted, &mut journal)?;
    write_files(&files, &wanted, &journal)?;
    summary(&wanted, &journal, out)?;
    for (reason, n) in &refused {
        writeln!(out, "{n} configurations were left out: {reason}")?;
    }
    writeln!(out, "\nwrote {} profiles to `{}`", journal.len(), folder.display())?;
    let nothing = journal.is_empty();
    journal.remove()?;
    Ok(if nothing { Answer::No } else { Answer::Yes })
}

/// The configurations to profile, in the order of the files.
fn wanted(scenario: &Scenario, only: &[String]) -> Result<Vec<ProfileKey>, Failure> {
    let known = |name: &String| scenario.models.iter().any(|model| model.name == *name);
    if let Some(unknown) = only.iter().find(|name| !known(name)) {
        let names: Vec<String> = scenario
            .models
            .iter()
            .map(|model| format!("`{}`", model.name))
            .collect();
        return Err(Failure::Request {
            what: format!("the scenario has no model `{unknown}`"),
            help: format!("its models are {}", names.join(", ")),
        });
    }
    let models = scenario.models.iter();
    let models = models.filter(|model| only.is_empty() || only.contains(&model.name));
    Ok(models
        .flat_map(|model| possible_keys(&scenario.cluster, model))
        .collect())
}

/// All that decides the profiles' bytes.
fn header(args: &Args, scenario: &Scenario, constants: &Constants, wanted: &[ProfileKey]) -> Header {
    Header {
        schema: PROFILE_SCHEMA,
        run: Fingerprint::of(&(
            env!("CARGO_PKG_VERSION"),
            (args.seed, args.requests),
            (&scenario.cluster, &scenario.models),
            (scenario.workload.arrivals, &scenario.workload.lengths),
            (constants, wanted),
        )),
        seed: args.seed,
        requests: args.requests,
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
        .num_threads(args.jobs.unwrap_or(0))
        .build()
        .map_err(|error| Failure::environment("starting threads")(io::Error::other(error)))?;
    let bar = progress_bar(wanted.len(), wanted.len() - missing.len());
    let sweep = Sweep {
        seed: args.seed,
        n_requests: args.requests as usize,
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

fn job<'a>(scenario: &'a Scenario, key: &ProfileKey) -> Job<'a> {
    let cluster = &scenario.cluster;
    let gpu_type_ix = cluster.gpu_types.iter().position(|gpu| gpu.name == key.gpu_type);
    let gpu_type_ix = gpu_type_ix.expect("keys are made from the cluster's types");
    let model = scenario.models.iter().find(|model| model.name == key.model);
    Job {
        model: model.expect("keys are made from the scenario's models"),
        gpu: &cluster.gpu_types[gpu_type_ix],
        interconnect: cluster.interconnect_of(gpu_type_ix).expect("every type has a node"),
        tensor_parallel: key.tensor_parallel,
        share: key.share,
        workload: &scenario.workload,
    }
}

/// The file of each model. Measurements of real engines are not overwritten.
fn files(wanted: &[ProfileKey], folder: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut files = BTreeMap::new();
    for key in wanted {
        let path = folder.join(file_name(&key.model));
        if files.insert(key.model.clone(), path.clone()).is_none() && holds_measurements(&path) {
            return Err(Failure::Request {
                what: format!("`{}` holds measurements of a real engine", path.display()),
                help: "write simulated profiles elsewhere with `--out`, or move that file away".into(),
            });
        }
    }
    Ok(files)
}

fn holds_measurements(path: &Path) -> bool {
    let set = fs::read(path)
        .ok()
        .and_then(|bytes| serde_json::from_slice::<ProfileSet>(&bytes).ok());
    set.is_some_and(|set| {
        set.profiles
            .iter()
            .any(|profile| matches!(profile.source, ProfileSource::Measured | ProfileSource::Imported { .. }))
    })
}

/// The model's name where a file may have it; else made so, with a mark that keeps two of them apart.
fn file_name(model: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if model.chars().all(plain) && !model.starts_with('.') {
        return format!("{model}.json");
    }
    let spelled: String = model.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    let mark = Fingerprint::of_bytes(model.as_bytes());
    format!("{}-{}.json", spelled.trim_start_matches('.'), mark.short())
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

fn summary(wanted: &[ProfileKey], journal: &Journal, out: &mut dyn Write) -> Result<(), Failure> {
    let profiles: Vec<Profile> = wanted.iter().filter_map(|key| journal.profile(key)).collect();
    let rows = profiles.iter().map(|profile| {
        let key = &profile.key;
        let idle = profile.points.first().expect("a profile has load points");
        [
            key.model.clone(),
            key.gpu_type.clone(),
            key.tensor_parallel.to_string(),
            key.share.to_string(),
            format!("{:.2} /s", profile.capacity.value()),
            idle.ttft.mean.to_string(),
            idle.tpot.mean.to_string(),
            remark(&profile.source).to_owned(),
        ]
    });
    let header = ["model", "GPU", "tp", "share", "capacity", "idle TTFT", "idle TPOT", ""];
    writeln!(out, "{}", table(header, "llrrrrrl", rows))?;
    Ok(())
}

fn remark(source: &ProfileSource) -> &'static str {
    match source {
        ProfileSource::Simulated { fitted: false, .. } => "GPU scaled by data sheet",
        ProfileSource::Simulated {
            share_extrapolated: true,
            ..
        } => "share below what was measured",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_file_has_its_name_where_a_file_can() {
        assert_eq!(file_name("llama-3.1-8b"), "llama-3.1-8b.json");
        let odd = ["org/model", "org:model", "../model"].map(file_name);
        assert!(
            odd.iter()
                .all(|name| !name.contains(['/', ':']) && !name.starts_with('.')),
            "{odd:?}"
        );
        assert_ne!(odd[0], odd[1]);
    }

    #[test]
    fn the_progress_bar_starts_where_the_last_run_stopped() {
        assert_eq!(progress_bar(10, 4).position(), 4);
    }
}
