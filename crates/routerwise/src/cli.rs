//! Arguments only. Each command's own are in its file under `cmd`.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use routerwise_inputs::{Loaded, Paths};

use crate::cmd;
use crate::failure::{Answer, Failure};

/// Plans which language models run where on a GPU cluster and which prompts go to which, under a latency objective,
/// and proves how good the plan is.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  routerwise demo                          the whole job on a shipped scenario
  routerwise plan scenarios/demo           plan, print, and write scenarios/demo/plan.json
  routerwise compare scenarios/demo        joint planning beside what people do today
  routerwise serve plan.json --upstream …  the gateway in front of a plan's engines
  routerwise check scenarios/demo          validate a scenario and print every value in force
  routerwise label prompts.jsonl --help    score your models on your own prompts
  routerwise schema plan                   print the JSON Schema of a plan file

A scenario is a folder with cluster.toml, models.toml, workload.toml, scores.parquet (or scores.csv) and profiles/.

Exit codes: 0 done, 1 the answer is no, 2 the input is wrong, 3 the environment failed.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Demo(cmd::demo::Args),
    Plan(Box<cmd::plan::Args>),
    Explain(cmd::explain::Args),
    Diff(cmd::diff::Args),
    Verify(cmd::verify::Args),
    Simulate(cmd::simulate::Args),
    Compare(cmd::compare::Args),
    Profile(Box<cmd::profile::Args>),
    Label(Box<cmd::label::Args>),
    Bench(Box<cmd::bench::Args>),
    Emulate(Box<cmd::emulate::Args>),
    Train(cmd::train::Args),
    Score(cmd::score::Args),
    Evaluate(cmd::evaluate::Args),
    Import(cmd::import::Args),
    Serve(Box<cmd::serve::Args>),
    Replay(cmd::replay::Args),
    Check(cmd::check::Args),
    Schema(cmd::schema::Args),
}

impl Command {
    pub(crate) fn run(&self, out: &mut dyn Write) -> Result<Answer, Failure> {
        match self {
            Self::Demo(args) => cmd::demo::run(args, out),
            Self::Plan(args) => cmd::plan::run(args, out),
            Self::Explain(args) => cmd::explain::run(args, out),
            Self::Diff(args) => cmd::diff::run(args, out),
            Self::Verify(args) => cmd::verify::run(args, out),
            Self::Simulate(args) => cmd::simulate::run(args, out),
            Self::Compare(args) => cmd::compare::run(args, out),
            Self::Profile(args) => cmd::profile::run(args, out),
            Self::Label(args) => cmd::label::run(args, out),
            Self::Bench(args) => cmd::bench::run(args, out),
            Self::Emulate(args) => cmd::emulate::run(args, out),
            Self::Train(args) => cmd::train::run(args, out),
            Self::Score(args) => cmd::score::run(args, out),
            Self::Evaluate(args) => cmd::evaluate::run(args, out),
            Self::Import(args) => cmd::import::run(args, out),
            Self::Replay(args) => cmd::replay::run(args, out),
            Self::Serve(args) => cmd::serve::run(args, out),
            Self::Check(args) => cmd::check::run(args, out),
            Self::Schema(args) => cmd::schema::run(args, out),
        }
    }
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
}

/// The scenario that a command works on.
#[derive(Debug, Args)]
pub(crate) struct ScenarioArgs {
    /// Folder with cluster.toml, models.toml, workload.toml, scores.parquet (or scores.csv) and profiles/
    #[arg(value_name = "SCENARIO")]
    pub(crate) folder: PathBuf,
    /// Take the GPUs from this file instead
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    cluster: Option<PathBuf>,
    /// Take the models from this file instead
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    models: Option<PathBuf>,
    /// Take the workload from this file instead
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    workload: Option<PathBuf>,
    /// Take the scores from this file instead (Parquet or CSV)
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    scores: Option<PathBuf>,
    /// Take the profiles from this folder instead
    #[arg(long, value_name = "FOLDER", help_heading = "Files")]
    profiles: Option<PathBuf>,
}

impl ScenarioArgs {
    /// Where the files are.
    pub(crate) fn paths(&self) -> Paths {
        let usual = Paths::in_folder(&self.folder);
        let or = |given: &Option<PathBuf>, usual: PathBuf| given.clone().unwrap_or(usual);
        Paths {
            cluster: or(&self.cluster, usual.cluster),
            models: or(&self.models, usual.models),
            workload: or(&self.workload, usual.workload),
            scores: or(&self.scores, usual.scores),
            profiles: or(&self.profiles, usual.profiles),
        }
    }

    /// Reads and validates them.
    pub(crate) fn load(&self) -> Result<Loaded, Failure> {
        Ok(routerwise_inputs::load(&self.paths())?)
    }
}
