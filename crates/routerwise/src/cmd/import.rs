//! `routerwise import`: results of other load generators as a profile.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use routerwise_inputs::write_atomically;
use routerwise_measure::import::{CannotImport, ImportedRun, read};
use routerwise_types::catalogue::Model;
use routerwise_types::profile::{
    Conditions, LoadPoint, PROFILE_SCHEMA, Profile, ProfileKey, ProfileSet, ProfileSource,
};
use routerwise_types::workload::{Arrivals, Lengths};
use routerwise_types::{Fingerprint, GpuShare, Scenario};

use crate::cli::ScenarioArgs;
use crate::failure::{Answer, Failure};
use crate::table::table;

/// Turn results of guidellm, aiperf or vLLM's bench into a profile
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Results, one file for each load (one of guidellm may hold several)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Model that was measured, by its name in models.toml
    #[arg(long, value_name = "NAME")]
    model: String,
    /// GPU type that it ran on, by its name in cluster.toml
    #[arg(long, value_name = "NAME")]
    gpu: String,
    /// Tensor-parallel degree that it ran with
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    tensor_parallel: u32,
    /// Share of each GPU that it had, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    share: f64,
    /// Take the token lengths for those of the workload, whose means they must have
    #[arg(long)]
    same_lengths: bool,
    /// File for the profile [default: imported-MODEL.json in the scenario's profiles]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  vllm bench serve … --request-rate 4 --save-result --save-detailed --result-filename r4.json
  routerwise import my-cluster r1.json r2.json r4.json --model small --gpu a100-80gb-sxm
  routerwise import my-cluster profile_export.jsonl --model small --gpu a100-80gb-sxm --same-lengths     aiperf
  routerwise import my-cluster sweep.json --model small --gpu a100-80gb-sxm                              guidellm: all its loads

Only results with every request are taken. What they do not say (engine, flags, KV cache, links) is taken to be as the scenario has it, and a plan
that rests on it says so. The profile ends at the highest load that was sustained.";

/// A load is sustained when at least this part of it was completed, as in simulated profiles.
const SUSTAINED: f64 = 0.95;
/// How far mean lengths may lie from the workload's to be taken for them.
const SAME: f64 = 0.05;

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut paths = args.scenario.paths();
    let folder = std::mem::take(&mut paths.profiles);
    let scenario = routerwise_inputs::load(&paths)?.scenario;
    let runs = read_all(&args.files)?;
    let model = model(&scenario, &args.model)?;
    let key = ProfileKey {
        model: args.model.clone(),
        gpu_type: args.gpu.clone(),
        tensor_parallel: args.tensor_parallel,
        share: GpuShare::new(args.share / 100.0)
            .map_err(|error| wrong(error.to_string(), "write `--share 50` for half a GPU"))?,
    };
    let (conditions, assumed) = conditions(args, &scenario, model, &runs)?;
    let (points, left_out) = points(&runs)?;
    let profile = Profile {
        key,
        source: ProfileSource::Imported {
            tool: runs[0].tool.to_owned(),
            assumed,
        },
        conditions,
        capacity: points.last().expect("checked").offered,
        points,
        evidence: None,
    };
    let usual = || folder.join(format!("imported-{}.json", args.model.replace(['/', ':'], "-")));
    let path = args.out.clone().unwrap_or_else(usual);
    write(&path, &profile)?;
    show(&profile, &left_out, &path, out)?;
    Ok(Answer::Yes)
}

fn wrong(what: impl Into<String>, help: impl Into<String>) -> Failure {
    Failure::Request {
        what: what.into(),
        help: help.into(),
    }
}

fn read_all(files: &[PathBuf]) -> Result<Vec<ImportedRun>, Failure> {
    let mut runs = Vec::new();
    for file in files {
        let name = file.display();
        let text = fs::read_to_string(file)
            .map_err(|error| wrong(format!("`{name}` cannot be read: {error}"), "check the path"))?;
        let read = read(&text).map_err(|error| {
            let help = match &error {
                CannotImport::Lacks { help, .. } => *help,
                CannotImport::Unknown => "give the file that the load generator wrote; our own runs need no import: `routerwise profile --endpoint`",
            };
            wrong(format!("`{name}` {error}"), help)
        })?;
        runs.extend(read);
    }
    if let Some(other) = runs.iter().find(|run| run.tool != runs[0].tool) {
        return Err(wrong(
            format!("the results are of {} and of {}", runs[0].tool, other.tool),
            "import them apart; load generators differ in what they count",
        ));
    }
    Ok(runs)
}

fn model<'a>(scenario: &'a Scenario, name: &str) -> Result<&'a Model, Failure> {
    let models = scenario.models.iter();
    let found = models.clone().find(|model| model.name == name);
    found.ok_or_else(|| {
        let names: Vec<String> = models.map(|model| format!("`{}`", model.name)).collect();
        wrong(
            format!("the scenario has no model `{name}`"),
            format!("its models are {}", names.join(", ")),
        )
    })
}

/// What it was taken under: what the results say, and for the rest what the scenario has, each of which is named.
fn conditions(
    args: &Args,
    scenario: &Scenario,
    model: &Model,
    runs: &[ImportedRun],
) -> Result<(Conditions, Vec<String>), Failure> {
    let cluster = &scenario.cluster;
    let gpu_type_ix = cluster.gpu_types.iter().position(|gpu| gpu.name == args.gpu);
    let interconnect = gpu_type_ix.and_then(|ix| cluster.interconnect_of(ix)).ok_or_else(|| {
        let names: Vec<String> = cluster.gpu_types.iter().map(|gpu| format!("`{}`", gpu.name)).collect();
        wrong(
            format!("the cluster has no GPU type `{}`", args.gpu),
            format!("it has {}", names.join(", ")),
        )
    })?;
    let mut conditions = Conditions::expected(model, &scenario.workload, interconnect);
    let mut assumed = vec!["engine and flags".to_owned(), "KV cache".to_owned()];
    if args.tensor_parallel > 1 {
        assumed.push("links".to_owned());
    }
    match said_arrivals(runs) {
        Some(arrivals) => conditions.arrivals = arrivals,
        None => assumed.push("arrival process".to_owned()),
    }
    lengths(args, scenario, runs, &mut conditions, &mut assumed)?;
    Ok((conditions, assumed))
}

/// The arrival process, when all results name the same.
fn said_arrivals(runs: &[ImportedRun]) -> Option<Arrivals> {
    let first = runs[0].arrivals?;
    runs.iter().all(|run| run.arrivals == Some(first)).then_some(first)
}

/// Lengths are measured, so they are the profile's own unless the user says that they are the workload's.
fn lengths(
    args: &Args,
    scenario: &Scenario,
    runs: &[ImportedRun],
    conditions: &mut Conditions,
    assumed: &mut Vec<String>,
) -> Result<(), Failure> {
    let mut own: Vec<Lengths> = runs
        .iter()
        .flat_map(|run| run.requests.iter().map(|request| request.lengths))
        .collect();
    if own.windows(2).all(|pair| pair[0] == pair[1]) {
        own.truncate(1);
    }
    let mean = |of: fn(&Lengths) -> u32| {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let n = own.len().max(1) as f64;
        own.iter().map(|lengths| f64::from(of(lengths))).sum::<f64>() / n
    };
    let (input, output) = (mean(|lengths| lengths.input), mean(|lengths| lengths.output));
    if args.same_lengths {
        let (wanted_input, wanted_output) = scenario.workload.mean_lengths();
        let off = |found: f64, wanted: f64| (found / wanted - 1.0).abs() > SAME;
        if off(input, wanted_input) || off(output, wanted_output) {
            return Err(wrong(
                format!(
                    "the results have {input:.0} tokens in and {output:.0} out on average, the workload {wanted_input:.0} and {wanted_output:.0}"
                ),
                "measure with the workload's lengths, or describe these in workload.toml",
            ));
        }
        assumed.push("spread of the token lengths".to_owned());
    } else {
        conditions.lengths = Fingerprint::of(&own);
    }
    (conditions.mean_input_tokens, conditions.mean_output_tokens) = (input, output);
    Ok(())
}

/// The loads, rising, without those that were not sustained; and what is to be said about these.
fn points(runs: &[ImportedRun]) -> Result<(Vec<LoadPoint>, Vec<String>), Failure> {
    let mut left_out = Vec::new();
    let mut points = Vec::new();
    let mut too_much = None;
    for run in runs {
        let Some(point) = run.load_point() else {
            left_out.push("a load without a single answer of two tokens".to_owned());
            continue;
        };
        if run.flooded {
            left_out.push(format!(
                "all was sent at once: {} were completed, and the latency is that of the queue",
                point.achieved
            ));
        } else if point.achieved.value() < SUSTAINED * point.offered.value() {
            left_out.push(format!(
                "{} was not sustained: {} were completed",
                point.offered, point.achieved
            ));
            let offered = point.offered.value();
            too_much = Some(too_much.map_or(offered, |least: f64| least.min(offered)));
        } else {
            points.push(point);
        }
    }
    points.sort_by(|a, b| a.offered.value().total_cmp(&b.offered.value()));
    // Above a load that was too much another one was luck, or closed loops that waited.
    let too_much = too_much.unwrap_or(f64::INFINITY);
    for point in points.iter().filter(|point| point.offered.value() > too_much) {
        left_out.push(format!("{} lies above a load that was not sustained", point.offered));
    }
    points.retain(|point| point.offered.value() <= too_much);
    if let Some(twice) = points.windows(2).find(|pair| pair[0].offered >= pair[1].offered) {
        return Err(wrong(
            format!("two results have the load {}", twice[0].offered),
            "give one file for each load",
        ));
    }
    if points.is_empty() {
        return Err(wrong(
            format!("no load is left for a profile: {}", left_out.join("; ")),
            "measure at lower rates, or longer: a short run ends before its last answers come",
        ));
    }
    Ok((points, left_out))
}

fn write(path: &Path, profile: &Profile) -> Result<(), Failure> {
    let set = ProfileSet {
        schema: PROFILE_SCHEMA,
        profiles: vec![profile.clone()],
    };
    let text = serde_json::to_string(&set).expect("a profile holds only what JSON holds") + "\n";
    write_atomically(path, text.as_bytes()).map_err(Failure::environment(format!("writing `{}`", path.display())))
}

fn show(profile: &Profile, left_out: &[String], path: &Path, out: &mut dyn Write) -> Result<(), Failure> {
    let rows = profile.points.iter().map(|point| {
        [
            format!("{:.2} /s", point.offered.value()),
            format!("{:.2} /s", point.achieved.value()),
            point.n_requests.to_string(),
            point.ttft.mean.to_string(),
            point.tpot.mean.to_string(),
            point.e2e.mean.to_string(),
        ]
    });
    writeln!(
        out,
        "{}",
        table(["sent", "completed", "requests", "TTFT", "TPOT", "E2E"], "rrrrrr", rows)
    )?;
    for reason in left_out {
        writeln!(out, " Left out: {reason}.")?;
    }
    if let ProfileSource::Imported { tool, assumed } = &profile.source {
        writeln!(
            out,
            " From {tool}. Taken to be as the scenario has it: {}.",
            assumed.join(", ")
        )?;
    }
    writeln!(out, " Wrote `{}`.", path.display())?;
    Ok(())
}
