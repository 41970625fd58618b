//! `routerwise plan`: the best setup and the prices that route by it, with a proof.

mod exhaustive;
mod spread;
pub(crate) mod watched;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use routerwise_inputs::Paths;
use routerwise_plan::Outcome;
use routerwise_plan::explain::{rate_limits, what_would_help};
use routerwise_plan::problem::Unplannable;
use routerwise_types::answer::{ANSWER_SCHEMA, NoPlan};
use routerwise_types::plan::Plan;
use routerwise_types::workload::Objective;
use routerwise_types::{Fingerprint, RequestsPerSecond, Scenario, Seconds};

use crate::cli::{Format, ScenarioArgs};
use crate::cmd::frontier::{self, FrontierArgs};
use crate::failure::{Answer, Failure};
use crate::objective::ObjectiveArgs;
use crate::predictor_file::NOT_BETTER;
use crate::realised::Judge;
use crate::table::print_json;
use crate::{plan_file, render};

/// Find the best setup and routing together, and prove how good they are
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Plan file to write [default: plan.json in the scenario's folder]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Plan in force, which the new one names as its parent
    #[arg(long, value_name = "FILE")]
    parent: Option<PathBuf>,
    /// How to search
    #[arg(long, value_enum, default_value_t, help_heading = "All setups, to compare with")]
    search: Search,
    /// Solve every setup (all models on, one replica each) and say how much the choice of setup matters; writes no plan file
    #[arg(long, group = "drawn", conflicts_with_all = ["search", "out", "parent"], help_heading = "All setups, to compare with")]
    spread: bool,
    /// Solve at most this many setups one by one
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        help_heading = "All setups, to compare with"
    )]
    max_setups: u64,
    /// Plan for this arrival rate (requests/s) instead of the workload's
    #[arg(long, value_name = "RATE", allow_negative_numbers = true, help_heading = "What if")]
    rate: Option<f64>,
    /// Give every latency objective this target (milliseconds) instead of its own
    #[arg(long, value_name = "MS", allow_negative_numbers = true, help_heading = "What if")]
    target_ms: Option<f64>,
    /// Read curves at this much more load, in per cent, instead of the workload's headroom
    #[arg(
        long,
        value_name = "PERCENT",
        allow_negative_numbers = true,
        help_heading = "What if"
    )]
    headroom: Option<f64>,
    /// Work at most this much, in millions of steps, instead of what the workload allows
    #[arg(long, value_name = "MILLIONS", help_heading = "How long")]
    max_work: Option<u32>,
    /// Take the best plan, or what is known of a frontier, after this many seconds; like Ctrl-C. Plans that were stopped may differ from run to run
    #[arg(
        long,
        value_name = "SECONDS",
        allow_negative_numbers = true,
        help_heading = "How long"
    )]
    stop_after: Option<f64>,
    /// Where scores are predictions: say what the plan really scores on these prompts too (a scores file with `score:` and `label:` columns)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["spread", "search"], help_heading = "Files")]
    judge_on: Vec<PathBuf>,
    #[command(flatten)]
    objective: ObjectiveArgs,
    #[command(flatten)]
    frontier: FrontierArgs,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How a plan is searched for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Search {
    /// Ours: allocation and routing at once, with a proof
    #[default]
    Joint,
    /// The paper's as published: every setup solved, without replicas, proof or plan file
    Exhaustive,
}

const EXAMPLES: &str = "\
Examples:
  routerwise plan scenarios/demo                           plan, print, and write scenarios/demo/plan.json
  routerwise plan scenarios/demo --rate 20 -o busy.json    what if more arrives?
  routerwise plan scenarios/demo --minimise gpus --quality-floor 0.65
  routerwise plan scenarios/demo --max-gpus 3              the best plan on three GPUs
  routerwise plan scenarios/demo --frontier target --from 100ms --to 2s --svg frontier.svg
  routerwise plan scenarios/demo --format json | jq .certificate.gap
  routerwise plan big --stop-after 10                      the best plan of ten seconds, with its gap
  routerwise plan scenario --judge-on held-out.parquet     scores are predictions: what does the plan really score there?
  routerwise plan small --search exhaustive                the search of the paper on the same input; no plan file
  routerwise plan small --spread --svg spread.svg          every setup solved: best, worst, quantiles, histogram

While it searches it shows the best plan and the bound on standard error. Ctrl-C takes the best plan found so far; a second one gives up.

Profiles must exist: `routerwise profile --simulate` makes them. Exit code 1 says that nothing meets the objectives, and what would.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let paths = args.scenario.paths();
    let loaded = args.scenario.load()?;
    let (judges, predicted_by) = judges(args, &paths, &loaded.score_columns)?;
    let mut scenario = loaded.scenario;
    routerwise_inputs::profiles::require(&scenario, &paths.profiles)?;
    override_workload(args, &mut scenario)?;
    if let Some(axis) = args.frontier.axis() {
        return frontier::run(&args.frontier, axis, &scenario, args.stop_after, args.format, out);
    }
    if args.search == Search::Exhaustive || args.spread {
        all_setups_can_be_solved(&scenario)?;
        let run = if args.spread { spread::run } else { exhaustive::run };
        return run(args, &scenario, out);
    }
    let parent = args.parent.as_deref().map(plan_file::read).transpose()?;
    let mut outcome = watched::plan(&scenario, parent.as_ref(), args.stop_after)?;
    if let Outcome::Optimal(plan) | Outcome::Feasible { plan, .. } = &mut outcome
        && !judges.is_empty()
    {
        plan.realised = judges.iter().map(|judge| judge.judge(&scenario, plan)).collect();
        plan.id = plan.fingerprint();
    }
    match (&outcome, args.format) {
        (Outcome::Infeasible(miss), Format::Table) => {
            render::near_miss(&scenario, miss, out)?;
            Ok(Answer::No)
        }
        (Outcome::Infeasible(miss), Format::Json) => {
            let answer = NoPlan {
                schema: ANSWER_SCHEMA,
                feasible: false,
                binding: miss.binding.clone(),
                target_factor: miss.target_factor,
                rate: miss.rate,
                more_gpus: miss.more_gpus,
                below_floor: None,
            };
            print_json(&answer, out)?;
            Ok(Answer::No)
        }
        (Outcome::BelowFloor(below), Format::Table) => {
            render::below_floor(&scenario, below, out)?;
            Ok(Answer::No)
        }
        (Outcome::BelowFloor(below), Format::Json) => {
            let answer = NoPlan {
                schema: ANSWER_SCHEMA,
                feasible: false,
                binding: Vec::new(),
                target_factor: None,
                rate: None,
                more_gpus: None,
                below_floor: Some(*below),
            };
            print_json(&answer, out)?;
            Ok(Answer::No)
        }
        (Outcome::Undecided, _) => Err(Failure::Request {
            what: "the search ran out of work before it found a plan or a proof that there is none".into(),
            help: "make the space smaller: fewer shares (`share-step`), `max-replicas`, or models; or raise `max-work`"
                .into(),
        }),
        (Outcome::Optimal(plan) | Outcome::Feasible { plan, .. }, format) => {
            let file = args.out.clone().unwrap_or_else(|| default_file(&paths.workload));
            plan_file::write(&file, plan)?;
            match format {
                Format::Json => write!(out, "{}", plan_file::to_json(plan))?,
                Format::Table => {
                    render::plan(&scenario, plan, out)?;
                    if let Some(by) = predicted_by.filter(|by| by.contains(NOT_BETTER)) {
                        writeln!(out, " Warning: the scores are predictions by {by} in its own test.")?;
                    }
                    writeln!(out, "\n Written to {}", file.display())?;
                    out.flush()?;
                    outlook(&scenario, &outcome, plan, out)?;
                }
            }
            Ok(Answer::Yes)
        }
    }
}

/// What else could be had: by more work, or by changes of the scenario.
fn outlook(scenario: &Scenario, outcome: &Outcome, plan: &Plan, out: &mut dyn Write) -> Result<(), Failure> {
    match outcome {
        Outcome::Feasible { gap, .. } if plan.achievement.is_none() => writeln!(
            out,
            " The search ran out of work: up to {gap:.4} better may exist. What changes are worth is left out."
        )?,
        Outcome::Feasible { gap, .. } if *gap > 2.0 * plan.planning.tolerance => writeln!(
            out,
            " The search ran out of work: on these GPUs up to {gap:.4} more quality may exist."
        )?,
        Outcome::Optimal(_) if plan.achievement.is_none() => {
            render::worths(plan, &what_would_help(scenario, plan).map_err(unplannable)?, out)?;
            render::rate_limits(plan, &rate_limits(scenario, plan), out)?;
        }
        Outcome::Optimal(_) => render::rate_limits(plan, &rate_limits(scenario, plan), out)?,
        _ => {}
    }
    Ok(())
}

/// What looks at every setup knows one aim and one load.
fn all_setups_can_be_solved(scenario: &Scenario) -> Result<(), Failure> {
    let workload = &scenario.workload;
    let what = if workload.objective != Objective::BEST_QUALITY {
        "`--spread` and `--search exhaustive` look for the highest quality on the whole cluster, and the objective is another"
    } else if workload.levels.len() > 1 {
        "`--spread` and `--search exhaustive` look at one load, and the workload has several levels"
    } else if workload.n_routes() > 1 {
        "`--spread` and `--search exhaustive` know one class of traffic, and the workload has several routes"
    } else {
        return Ok(());
    };
    Err(Failure::Request {
        what: what.into(),
        help: "take the objective, the budget, the levels or the routes out of the workload, or plan jointly".into(),
    })
}

/// Tables in which measured scores stand beside predictions: the scenario's own, where it is one, and those that the user named.
fn judges(args: &Args, paths: &Paths, score_columns: &[String]) -> Result<(Vec<Judge>, Option<String>), Failure> {
    let (own, predicted_by) = Judge::read(&paths.scores, score_columns)?;
    let mut judges: Vec<Judge> = own.into_iter().collect();
    for file in &args.judge_on {
        judges.push(Judge::require(file, score_columns)?);
    }
    Ok((judges, predicted_by))
}

fn default_file(workload: &Path) -> PathBuf {
    workload.parent().unwrap_or(Path::new(".")).join("plan.json")
}

fn override_workload(args: &Args, scenario: &mut Scenario) -> Result<(), Failure> {
    let wrong = |option: &str, error: routerwise_types::OutOfRange| Failure::Request {
        what: format!("`{option}`: {error}"),
        help: "give a positive number".into(),
    };
    let workload = &mut scenario.workload;
    if let Some(rate) = args.rate {
        workload.rate = RequestsPerSecond::new(rate).map_err(|error| wrong("--rate", error))?;
    }
    if let Some(target) = args.target_ms {
        let target = Seconds::new(target / 1e3).map_err(|error| wrong("--target-ms", error))?;
        if target.value() <= 0.0 {
            return Err(Failure::Request {
                what: "`--target-ms` must be above 0".into(),
                help: "400 means 400 ms".into(),
            });
        }
        if workload.slos.iter().any(|slo| slo.route.is_some()) {
            return Err(Failure::Request {
                what: "`--target-ms` sets one target, and the workload's routes have targets of their own".into(),
                help: "change them in workload.toml, or vary all of them together with `--frontier target`".into(),
            });
        }
        workload.slos.iter_mut().for_each(|slo| slo.target = target);
    }
    if let Some(headroom) = args.headroom {
        if !(0.0..=1000.0).contains(&headroom) {
            return Err(Failure::Request {
                what: format!("`--headroom` must be between 0 and 1000 per cent, found {headroom}"),
                help: "10 reads curves at 10 % more load".into(),
            });
        }
        workload.planning.headroom = headroom / 100.0;
    }
    if let Some(max_work) = args.max_work {
        workload.planning.max_work = max_work;
    }
    args.objective.override_in(&mut workload.objective)?;
    scenario.fingerprints.workload = Fingerprint::of(&scenario.workload);
    Ok(())
}

/// An input is missing for planning.
pub(crate) fn unplannable(error: Unplannable) -> Failure {
    let help = match &error {
        Unplannable::NoPrice { .. } => {
            "add `gpu-price-per-hour = 2.50` to one of its nodes in cluster.toml, or `price-per-hour` to its `[[gpu]]`"
        }
        Unplannable::FloorOnPart => "leave `utilisation-floor` in workload.toml at 0 %",
        Unplannable::NoGpuWithinBudget => "raise `max-cost` to the price of the cheapest GPU or more",
        _ => "see what is in force with `routerwise check <scenario>`",
    };
    Failure::Request {
        what: error.to_string(),
        help: help.into(),
    }
}
