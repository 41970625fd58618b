//! `routerwise replay`: what another plan would have done with logged requests.

mod decide;

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write};
use std::path::PathBuf;

use routerwise_inputs::{Paths, load};
use routerwise_types::Scenario;
use routerwise_types::answer::replay::Replay;
use routerwise_types::decisions::{DECISION_SCHEMA, DecisionRecord};
use routerwise_types::plan::Plan;

use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::plan_file;
use crate::table::{print_json, table};

/// Decide logged requests again by another plan: where they would have gone, with which quality, load and latency
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Decision logs of `routerwise serve --log`, oldest first
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<PathBuf>,
    /// Plan that decides now
    #[arg(long, value_name = "PLAN")]
    plan: PathBuf,
    /// Scenario folder that the plan was made from, for load and latency [default: the folder of the plan, if it fits]
    #[arg(long, value_name = "FOLDER")]
    scenario: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  routerwise replay decisions.jsonl --plan other.json
  routerwise replay decisions.jsonl.1 decisions.jsonl --plan other.json --scenario scenarios/demo --format json

Requests that a route chose a model for are decided again, by the scores in the log and the plan's prices. Those that name a model, and
those without scores, are counted and passed over. Of a plan with several routes each decides for the requests that asked for it, the first for others. Exit code 1 says that an objective would have been missed.";

/// What the logs hold.
struct Logged {
    records: Vec<DecisionRecord>,
    n_unreadable: u64,
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let plan = plan_file::read(&args.plan)?;
    let scenario = scenario(args, &plan)?;
    let logged = read(&args.logs)?;
    let mut replay = decide::replay(&plan, scenario.as_ref(), &logged.records);
    replay.n_unreadable = logged.n_unreadable;
    if replay.n_replayed == 0 {
        return Err(Failure::Request {
            what: "the log has no request that a route chose a model for and that has scores".to_owned(),
            help: "serve with `--predictor` or `--scenario-scores`, and ask for `auto`".to_owned(),
        });
    }
    match args.format {
        Format::Json => print_json(&replay, out)?,
        Format::Table => print(&replay, out)?,
    }
    Ok(if replay.slos.iter().all(|slo| slo.met) {
        Answer::Yes
    } else {
        Answer::No
    })
}

fn scenario(args: &Args, plan: &Plan) -> Result<Option<Scenario>, Failure> {
    let read = |folder: PathBuf| -> Result<Scenario, Failure> {
        let mut scenario = load(&Paths::in_folder(&folder))?.scenario;
        plan_file::take_over(&mut scenario, plan, &folder)?;
        Ok(scenario)
    };
    match &args.scenario {
        Some(folder) => read(folder.clone()).map(Some),
        None => {
            let folder = args.plan.parent().filter(|folder| !folder.as_os_str().is_empty());
            Ok(read(folder.map_or_else(|| ".".into(), PathBuf::from)).ok())
        }
    }
}

/// A log may end in the middle of a line, and lines of other versions may be in it: they are counted.
fn read(logs: &[PathBuf]) -> Result<Logged, Failure> {
    let mut logged = Logged {
        records: Vec::new(),
        n_unreadable: 0,
    };
    for path in logs {
        let cannot = |error: io::Error| Failure::Request {
            what: format!("the log `{}` cannot be read: {error}", path.display()),
            help: "name a file that `routerwise serve --log` wrote".to_owned(),
        };
        for line in BufReader::new(File::open(path).map_err(cannot)?).split(b'\n') {
            match serde_json::from_slice::<DecisionRecord>(&line.map_err(cannot)?) {
                Ok(record) if record.schema == DECISION_SCHEMA => logged.records.push(record),
                Ok(_) | Err(_) => logged.n_unreadable += 1,
            }
        }
    }
    Ok(logged)
}

fn print(replay: &Replay, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{} requests at {:.2}/s decided by plan {} (level `{}`), logged under {}: {} would have gone to another model\n",
        replay.n_replayed,
        replay.rate,
        replay.plan.short(),
        replay.level,
        replay.logged_plans.join(", "),
        replay.n_moved,
    )?;
    let percent = |part: f64| format!("{:.1} %", part * 100.0);
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows = replay.models.iter().map(|model| {
        [
            model.model.clone(),
            percent(model.fraction.logged),
            percent(model.fraction.replayed),
            percent(model.planned),
            or_dash(model.load.map(|load| format!("{load:.2}/s"))),
            or_dash(model.utilisation.map(percent)),
            or_dash(model.ttft.map(|ttft| format!("{:.0} ms", ttft * 1e3))),
        ]
    });
    let header = [
        "model",
        "logged",
        "replayed",
        "planned",
        "load of a replica",
        "of capacity",
        "mean TTFT",
    ];
    writeln!(out, "{}\n", table(header, "lrrrrrr", rows))?;
    writeln!(
        out,
        "quality by predicted scores: {:.4} logged, {:.4} replayed",
        replay.quality.logged, replay.quality.replayed
    )?;
    for route in &replay.routes {
        let to = replay.models.iter().zip(&route.fractions);
        let to = to.map(|(model, part)| format!("{} {}", model.model, percent(part.replayed)));
        writeln!(
            out,
            "{}: {} requests, {} moved, quality {:.4} logged, {:.4} replayed; {}",
            route.route,
            route.n_replayed,
            route.n_moved,
            route.quality.logged,
            route.quality.replayed,
            to.collect::<Vec<_>>().join(", ")
        )?;
    }
    for slo in &replay.slos {
        let verdict = if slo.met { "met" } else { "missed" };
        match slo.value {
            Some(value) => writeln!(out, "{}: {value:.4} of {:.4}, {verdict}", slo.slo, slo.limit)?,
            None => writeln!(out, "{}: above capacity, {verdict}", slo.slo)?,
        }
    }
    if replay.slos.is_empty() {
        writeln!(
            out,
            "latency: give `--scenario`, the folder that the plan was made from"
        )?;
    }
    if replay.n_passed_over + replay.n_unreadable > 0 {
        writeln!(
            out,
            "passed over: {} requests that name a model or have no scores, {} lines that are no decisions",
            replay.n_passed_over, replay.n_unreadable
        )?;
    }
    Ok(())
}
