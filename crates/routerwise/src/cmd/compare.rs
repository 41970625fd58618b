//! `routerwise compare`: what joint planning is worth against what people do today, at equal GPUs.

mod report;

use std::io::Write;
use std::path::PathBuf;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use routerwise_simulate::compare::{self, CannotCompare, Options, Progress};
use routerwise_types::comparison::{CacheRule, Comparison, SimulationSettings, Tuning};

use crate::cli::{Format, ScenarioArgs};
use crate::failure::{Answer, Failure};
use crate::table::print_json;

/// Compare joint planning with what people do today on the same GPUs: five allocations times eleven routing rules, each tuned
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Loads as parts of the scenario's rate; everything is planned and tuned anew for each
    #[arg(long, value_name = "PART,…", value_delimiter = ',', default_value = "1")]
    load: Vec<f64>,
    /// What parameters are chosen for on the training prompts
    #[arg(long, value_enum, default_value_t)]
    tune: Tune,
    /// Judge by the latency curves alone, without the simulator
    #[arg(long)]
    curves_only: bool,
    /// Requests to play for each row; the first and last tenth are not measured
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    requests: usize,
    /// Seed of arrivals, lengths and prompts, the same for all rows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give engines the KV cache that their profiles were taken with, not what memory is left over
    #[arg(long, conflicts_with = "curves_only")]
    profiled_cache: bool,
    /// Write all rows with all figures to this file too
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What parameters are chosen for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Tune {
    /// Highest quality of what meets the objectives, else the least violation
    #[default]
    Objectives,
    /// Lowest latency within 0.01 of the quality of joint planning, as the paper compares
    OurQuality,
}

const EXAMPLES: &str = "\
Examples:
  routerwise compare scenarios/demo
  routerwise compare scenarios/demo --load 0.5,1,1.3 --csv compare.csv
  routerwise compare scenarios/demo --curves-only --format json | jq '.levels[0].rows[0]'

Prompts are split in two by the hash of their ids. Setups are made and parameters chosen on one half: highest quality of what the curves say
meets the objectives at the rate with headroom, or the least violation. The other half judges.

Allocations (each the nearest profiled configurations below the ideal that can be placed):
  joint              the plan's setup
  equal split        the same compute for every model
  size-proportional  compute in proportion to parameters
  isolated           whole GPUs for every model
  single model       all GPUs to replicas of the model that does best alone

Routing on each of them:
  our prices            score minus a price that rises with load: what a plan does
  oracle                our prices, computed on the prompts that judge: the most that any prices can do
  random                by chance, in proportion to capacity
  cheapest              all to the model that needs least compute for a request
  highest score         all to the highest score; ties evenly or to the cheaper model
  static mix            by chance, in the fractions of our prices
  fixed latency         prices as if latency did not depend on load (earlier work)
  fixed latency, tuned  the same with a budget lowered until the curves say that it works
  threshold             a strong model where it gains more than a threshold, a weak one else (RouteLLM)
  cascade               ask a cheap model, the next if its answer scores too low (FrugalGPT); waits add up
  queue penalty         score minus a constant times the work that waits";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    check(args)?;
    let scenario = args.scenario.load()?.scenario;
    routerwise_inputs::profiles::require(&scenario, &args.scenario.paths().profiles)?;
    let options = Options {
        loads: args.load.clone(),
        simulation: (!args.curves_only).then_some(SimulationSettings {
            n_requests: args.requests,
            seed: args.seed,
            cache: if args.profiled_cache {
                CacheRule::Profiled
            } else {
                CacheRule::Shared
            },
        }),
        tuning: match args.tune {
            Tune::Objectives => Tuning::Objectives,
            Tune::OurQuality => Tuning::OurQuality,
        },
    };
    let bar = progress_bar();
    let comparison = compare::compare(&scenario, &options, &|progress| follow(&bar, progress)).map_err(cannot);
    bar.finish_and_clear();
    let comparison = comparison?;
    if let Some(file) = &args.csv {
        routerwise_inputs::write_atomically(file, report::csv(&comparison).as_bytes())
            .map_err(Failure::environment(format!("writing `{}`", file.display())))?;
    }
    print(args, &comparison, out)?;
    Ok(Answer::Yes)
}

fn print(args: &Args, comparison: &Comparison, out: &mut dyn Write) -> Result<(), Failure> {
    match args.format {
        Format::Json => print_json(comparison, out)?,
        Format::Table => {
            report::table_for_people(comparison, out)?;
            if let Some(file) = &args.csv {
                writeln!(out, "\n Written to {}", file.display())?;
            }
        }
    }
    Ok(())
}

fn check(args: &Args) -> Result<(), Failure> {
    if args.requests < 100 {
        return Err(Failure::Request {
            what: format!("`--requests {}` is too few to measure anything", args.requests),
            help: "give at least 100; 20000 is the default; `--curves-only` plays none".into(),
        });
    }
    match args.load.iter().find(|load| !(0.001..=1000.0).contains(*load)) {
        Some(load) => Err(Failure::Request {
            what: format!("`--load` must be between 0.001 and 1000, found {load}"),
            help: "0.5,1,1.3 compares at half the scenario's rate, at the rate, and at 30 % more".into(),
        }),
        None => Ok(()),
    }
}

fn cannot(error: CannotCompare) -> Failure {
    let help = match &error {
        CannotCompare::NoContest(routerwise_plan::baselines::NoContest::Routes { .. }) => {
            "compare the routes one by one, each in a workload without `[[route]]`; `routerwise plan` and `simulate` take them together"
        }
        CannotCompare::NoContest(_) => "see what is in force with `routerwise check <scenario>`",
        CannotCompare::CannotSimulate(_) => {
            "give the model an architecture and an engine that the engine model knows, or judge with `--curves-only`"
        }
    };
    Failure::Request {
        what: error.to_string(),
        help: help.into(),
    }
}

const STYLE: &str = "{bar:40} {pos}/{len} steps, {elapsed} gone";

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(1);
    bar.set_style(ProgressStyle::with_template(STYLE).expect("a constant that a test parses"));
    bar
}

fn follow(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Tuned { of } => {
            if bar.length().is_none_or(|length| length < of as u64) {
                bar.set_length(of as u64);
            }
            bar.inc(1);
        }
        Progress::ToPlay(n) => bar.inc_length(n as u64),
        Progress::Played => bar.inc(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_bar_grows_with_what_there_is_to_play() {
        let bar = progress_bar();
        follow(&bar, Progress::Tuned { of: 5 });
        follow(&bar, Progress::ToPlay(40));
        follow(&bar, Progress::Played);
        assert_eq!((bar.position(), bar.length()), (2, Some(45)));
    }
}
