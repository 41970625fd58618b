//! `routerwise profile`: latency profiles of the configurations that a scenario allows.

mod compare;
mod configuration;
mod curves;
mod files;
mod fill;
mod journal;
mod launching;
mod measured;
mod show;
mod simulated;
mod watching;

use std::io::Write;
use std::path::PathBuf;

use routerwise_inputs::profiles::possible_keys;
use routerwise_measure::target::Target;
use routerwise_simulate::sweep::Job;
use routerwise_types::Scenario;
use routerwise_types::profile::{Evidence, Profile, ProfileKey, ProfileSource};

use crate::asking::AskArgs;
use crate::cli::ScenarioArgs;
use crate::failure::{Answer, Failure};
use crate::table::table;
use configuration::Configuration;

/// Make latency profiles: measure engines, or play the engine model
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("source").required(true))]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(mut_arg("folder", |arg| arg.required(false).required_unless_present("compare")))]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    scenario: Option<ScenarioArgs>,
    /// Take all configurations from the engine model in simulated time
    #[arg(long, group = "source")]
    simulate: bool,
    /// Measure the engine that runs at this address, such as http://127.0.0.1:8000
    #[arg(long, group = "source", value_name = "URL")]
    endpoint: Option<String>,
    /// Start each configuration of this engine, measure it, stop it: vllm, sglang, llama.cpp, emulated, or a template file
    #[arg(long, group = "source", value_name = "ENGINE")]
    engine: Option<String>,
    /// Only fit the engine model to what was measured before, and fill in what was not
    #[arg(long, group = "source")]
    fill: bool,
    /// Say whether two files (or folders) of profiles differ beyond chance; exit code 1 when they do
    #[arg(long, group = "source", num_args = 2, value_names = ["A", "B"])]
    compare: Option<Vec<PathBuf>>,
    /// Folder for the profiles [default: the scenario's]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Seed of arrivals and lengths
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this model (repeat for more)
    #[arg(long = "model", value_name = "NAME")]
    only: Vec<String>,
    /// Only this configuration, such as tp=2,share=50%,gpu=a100-80gb-sxm; what is left out may be anything (repeat for more)
    #[arg(long = "configuration", value_name = "PARTS", value_parser = Configuration::parse)]
    configurations: Vec<Configuration>,
    #[command(flatten)]
    simulation: simulated::SimulateArgs,
    #[command(flatten)]
    measuring: measured::MeasureArgs,
    /// Name under which the engine serves the model [default: its name in the scenario]
    #[arg(long, value_name = "NAME", help_heading = "Asking the engine")]
    served_as: Option<String>,
    #[command(flatten, next_help_heading = "Asking the engine")]
    asking: AskArgs,
    #[command(flatten)]
    launching: launching::LaunchArgs,
    #[command(flatten)]
    judging: compare::JudgeArgs,
}

/// What is done with profiles that there are.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Show latency curves in the terminal, and as SVG
    Show(show::ShowArgs),
    /// Say whether two files (or folders) of profiles differ beyond chance; exit code 1 when they do
    Compare(compare::CompareArgs),
}

const EXAMPLES: &str = "\
Examples:
  routerwise profile --simulate scenarios/demo                          all configurations, written to scenarios/demo/profiles/
  routerwise profile --simulate scenarios/demo --model llama-3.1-8b --requests 20000
  routerwise profile --simulate scenarios/demo --out /tmp/p --seed 2    how much does chance matter?
  routerwise profile my-cluster --endpoint http://127.0.0.1:8000 --model llama-3.1-8b --configuration tp=1,share=100%
                                                                        measure an engine that runs, 20 minutes at most
  routerwise profile my-cluster --endpoint https://host/v1 --model llama-3.1-8b --served-as meta-llama/Llama-3.1-8B-Instruct \\
      --api-key-env API_KEY --budget 1h --precision 3%

  routerwise profile my-cluster --engine vllm --weights llama-3.1-8b=meta-llama/Llama-3.1-8B-Instruct
                                                                        start, measure and stop one configuration after the other
  routerwise profile my-cluster --engine vllm --dry-run                 which, and how long it would take
  routerwise profile scenarios/tiny --engine emulated --set speed=20 --budget 30s --out /tmp/p
  routerwise profile my-cluster --fill                                  what was not measured, from the engine model fitted to what was
  routerwise profile show my-cluster/profiles --svg curves.svg
  routerwise profile --compare before/llama-3.1-8b.json after/llama-3.1-8b.json

Interrupt it at any time; the same command goes on where it stopped, and nothing measured is lost.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    match (&args.action, &args.compare) {
        (Some(Action::Show(show)), _) => return show::run(show, out),
        (Some(Action::Compare(compare)), _) => return compare::run(compare, out),
        (None, Some(files)) => return compare::of_files(&files[0], &files[1], &args.judging, out),
        (None, None) => {}
    }
    if args.simulate {
        return simulated::run(args, out);
    }
    measured::run(args, out)
}

impl Args {
    /// An engine that serves a model of the scenario; it is asked for the workload's lengths.
    fn target(&self, url: &str, model: &str) -> Result<Target, Failure> {
        let name = self.served_as.as_deref().unwrap_or(model);
        self.asking.target(url, name, true)
    }

    /// The scenario, and the folder for its profiles.
    fn scenario(&self) -> Result<(Scenario, PathBuf), Failure> {
        let files = self.scenario.as_ref().expect("it is required where it is used");
        let mut paths = files.paths();
        let folder = self.out.clone().unwrap_or_else(|| paths.profiles.clone());
        // Profiles that no longer fit the scenario are what this command is called to replace.
        paths.profiles = PathBuf::new();
        Ok((routerwise_inputs::load(&paths)?.scenario, folder))
    }

    /// The scenario's folder, for engines that read it.
    fn folder(&self) -> PathBuf {
        self.scenario
            .as_ref()
            .map_or_else(PathBuf::new, |files| files.folder.clone())
    }
}

/// The configurations to profile, in the order of the files.
fn wanted(scenario: &Scenario, only: &[String], configurations: &[Configuration]) -> Result<Vec<ProfileKey>, Failure> {
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
    let possible: Vec<ProfileKey> = models
        .flat_map(|model| possible_keys(&scenario.cluster, model))
        .collect();
    configuration::select(possible, configurations)
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

fn summary(profiles: &[Profile], out: &mut dyn Write) -> Result<(), Failure> {
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
            remark(profile),
        ]
    });
    let header = ["model", "GPU", "tp", "share", "capacity", "idle TTFT", "idle TPOT", ""];
    writeln!(out, "{}", table(header, "llrrrrrl", rows))?;
    Ok(())
}

fn remark(profile: &Profile) -> String {
    match (&profile.source, profile.evidence.as_deref()) {
        (ProfileSource::Simulated { fitted: false, .. }, _) => "GPU scaled by data sheet".to_owned(),
        (
            ProfileSource::Simulated {
                share_extrapolated: true,
                ..
            },
            _,
        ) => "share below what was measured".to_owned(),
        (ProfileSource::Measured, Some(Evidence::Measured(measured))) => {
            format!("measured to {:.0} %", measured.uncertainty * 100.0)
        }
        (ProfileSource::Filled, _) => "filled from the engine model".to_owned(),
        _ => String::new(),
    }
}
