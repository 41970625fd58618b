//! `routerwise demo`: the whole job on a shipped scenario, without arguments, network or GPU.

mod live;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Parser;
use routerwise_inputs::{Paths, load, write_atomically};
use routerwise_plan::check::check;
use routerwise_plan::explain::{rate_limits, what_would_help};

use crate::cli::Cli;
use crate::cmd::plan::unplannable;
use crate::cmd::simulate;
use crate::failure::{Answer, Failure};
use crate::{plan_file, render};

/// Plan a shipped scenario made of real data, verify and simulate the plan, and serve it live by emulated engines and the gateway
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder that the scenario is unpacked into
    #[arg(long, value_name = "FOLDER", default_value = "routerwise-demo")]
    dir: PathBuf,
    /// How long to serve live
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(3..=3600))]
    seconds: u32,
    /// Only plan, verify and simulate
    #[arg(long)]
    no_live: bool,
}

const EXAMPLES: &str = "\
Examples:
  routerwise demo                     unpack to routerwise-demo/, plan, verify, simulate, serve for a minute
  routerwise demo --no-live           the same in seconds, without serving
  routerwise demo --dir /tmp/demo     the same elsewhere

Five open models on four A100 80 GB: measured scores of 9 650 questions (MMLU-Pro), token lengths of a recorded service (Azure 2023), latency
profiles from the engine model. Live, its engines are emulated in real time behind the gateway, all of it on loopback, beside two setups of today.";

/// Path in the scenario and content.
macro_rules! shipped {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_bytes!(concat!("../../../../scenarios/demo/", $path)).as_slice())),*]
    };
}

const FILES: [(&str, &[u8]); 7] = shipped![
    "README.md",
    "LICENSE-MMLU-Pro.txt",
    "cluster.toml",
    "models.toml",
    "workload.toml",
    "scores.parquet",
    "azure2023_conv.parquet",
];

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    unpack(&args.dir)?;
    let folder = args.dir.display();
    writeln!(
        out,
        "Scenario: {folder}/ (5 models, 4 x A100 80 GB, 9 650 scored prompts, lengths of a recorded service)\n"
    )?;
    profiles(&args.dir, out)?;
    let scenario = load(&Paths::in_folder(&args.dir))?.scenario;
    let outcome = routerwise_plan::plan(&scenario, None).map_err(unplannable)?;
    let Some(plan) = outcome.plan() else {
        return Err(Failure::Request {
            what: "the shipped scenario has no plan, which is a defect of this build".into(),
            help: "run `cargo xtask test`, which plans it too".into(),
        });
    };
    let file = args.dir.join("plan.json");
    plan_file::write(&file, plan)?;
    render::plan(&scenario, plan, out)?;
    writeln!(
        out,
        " Note: scores here are measured labels, so the quality is what a perfect predictor would reach with this setup."
    )?;
    render::worths(plan, &what_would_help(&scenario, plan).map_err(unplannable)?, out)?;
    render::rate_limits(plan, &rate_limits(&scenario, plan), out)?;
    let violations = check(&scenario, plan);
    if !violations.is_empty() {
        for violation in &violations {
            writeln!(out, " does not hold: {violation}")?;
        }
        return Ok(Answer::No);
    }
    writeln!(
        out,
        "\nVerified: an independent checker recomputed routing, load, latency, packing and bound.\n"
    )?;
    let met = simulate::play(&scenario, plan, &simulate::Settings::default(), out)?;
    if !args.no_live {
        let trace = args.dir.join("azure2023_conv.parquet");
        live::run(&scenario, &trace, f64::from(args.seconds), out)?;
    }
    writeln!(
        out,
        "\nNext (write `cargo run --release --` for `routerwise` where it is not installed):
  routerwise check {folder}                     every value in force, and why
  routerwise plan {folder} --rate 20            what if a third more arrives?
  routerwise explain {folder} --plan {folder}/plan.json
  edit {folder}/*.toml to describe your own cluster, models and objectives"
    )?;
    Ok(met)
}

/// Makes the latency profiles, as a user would.
fn profiles(folder: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let command = [
        "routerwise".as_ref(),
        "profile".as_ref(),
        "--simulate".as_ref(),
        folder.as_os_str(),
    ];
    writeln!(out, "Profiles: simulating every configuration with the engine model\n")?;
    out.flush()?;
    Cli::parse_from(command).command.run(&mut io::sink())?;
    Ok(())
}

/// Writes the shipped files. A file that the user has changed is left as it is.
fn unpack(folder: &Path) -> Result<(), Failure> {
    for (path, content) in FILES {
        let target = folder.join(path);
        let doing = || format!("unpacking `{}`", target.display());
        if fs::exists(&target).map_err(Failure::environment(doing()))? {
            continue;
        }
        write_atomically(&target, content).map_err(Failure::environment(doing()))?;
    }
    Ok(())
}
