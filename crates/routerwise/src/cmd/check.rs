//! `routerwise check`: are the inputs right, and which values are in force?

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use routerwise_inputs::cluster::spelled;
use routerwise_inputs::report::{Report, RouteReport, Summary};
use routerwise_inputs::{Loaded, Problem};
use routerwise_types::workload::Arrivals;

use crate::cli::{Format, ScenarioArgs};
use crate::failure::{Answer, Failure};
use crate::table::table;

/// Validate all inputs of a scenario and print the values in force, defaults included
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  # all values in force, and why the defaults are what they are
  routerwise check scenarios/demo
  # the same GPUs and models under another workload
  routerwise check scenarios/demo --workload peak.toml
  # one number for a script
  routerwise check scenarios/demo --format json | jq .scores.oracle

Every problem of every file is reported at once; exit code 2 says that there is one.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut loaded = args.scenario.load()?;
    let unknown = unknown_engines(&loaded, &args.scenario.paths().models);
    loaded.warnings.extend(unknown);
    let report = Report::of(&loaded);
    match args.format {
        Format::Table => print(&report, loaded, out)?,
        Format::Json => {
            let text = serde_json::to_string_pretty(&report).expect("a report holds only what JSON holds");
            writeln!(out, "{text}")?;
        }
    }
    Ok(Answer::Yes)
}

/// Engines whose host overhead nobody has fitted: such models can be measured and planned, but not simulated.
fn unknown_engines(loaded: &Loaded, file: &Path) -> Vec<Problem> {
    let models = loaded.scenario.models.iter();
    models
        .filter(|model| routerwise_simulate::constants::for_engine(&model.engine.name).is_none())
        .map(|model| {
            let found = format!(
                "the engine model does not know `{}`, the engine of `{}`",
                model.engine.name, model.name
            );
            Problem::new(file, found)
                .help("measure its profiles, or choose an engine that can be simulated")
                .warning()
        })
        .collect()
}

fn print(report: &Report, loaded: Loaded, out: &mut dyn Write) -> Result<(), Failure> {
    cluster(report, out)?;
    models(report, out)?;
    engines(report, out)?;
    workload(report, out)?;
    defaults(report, out)?;
    for warning in loaded.warnings {
        writeln!(out, "\n{:?}", miette::Report::new(warning))?;
    }
    let unprofiled = report
        .models
        .iter()
        .filter(|model| model.profiles.n_profiled == 0)
        .count();
    let next = if unprofiled == 0 {
        "the inputs are right; next: `routerwise plan`".to_owned()
    } else {
        format!(
            "the inputs are right; {unprofiled} models have no profile yet: `routerwise profile --simulate` makes them"
        )
    };
    writeln!(out, "\n{next}")?;
    Ok(())
}

fn cluster(report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    let n_gpus = report.cluster.n_gpus();
    writeln!(out, "Cluster: {n_gpus} GPUs")?;
    let rows = report.cluster.nodes.iter().map(|node| {
        let gpu = report.gpu_type(node.gpu_type_ix);
        [
            node.name.clone(),
            node.n_gpus.to_string(),
            gpu.name.clone(),
            spelled(node.interconnect).to_owned(),
            gpu.memory.to_string(),
            gpu.usable_memory.to_string(),
            format!("{:.0} TFLOP/s", gpu.peak_flops / 1e12),
            format!("{:.0} GB/s", gpu.peak_bandwidth / 1e9),
            gpu.price_per_hour
                .map_or_else(|| "-".to_owned(), |price| format!("{price:.2}")),
        ]
    });
    let header = [
        "node",
        "GPUs",
        "type",
        "links",
        "memory",
        "usable",
        "bf16",
        "bandwidth",
        "price/h",
    ];
    writeln!(out, "{}\n", table(header, "lrllrrrrr", rows))?;
    Ok(())
}

fn models(report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    let scores = &report.scores;
    write!(out, "Models: scores of {} prompts", scores.n_prompts)?;
    if scores.n_dropped > 0 {
        write!(out, " ({} left out for missing scores)", scores.n_dropped)?;
    }
    writeln!(out, ", best model on every prompt {}", scores.oracle)?;
    let rows = report.models.iter().map(|entry| {
        let model = &entry.model;
        let shards = model.tensor_parallel.iter().zip(&entry.shard_memory);
        let shards: Vec<String> = shards.map(|(tp, memory)| format!("{tp}: {memory}")).collect();
        let shares: Vec<String> = model
            .shares
            .iter()
            .map(|share| format!("{:.4}", share.value() * 100.0))
            .collect();
        let shares = shares
            .iter()
            .map(|share| share.trim_end_matches('0').trim_end_matches('.'))
            .collect::<Vec<_>>();
        [
            model.name.clone(),
            entry.mean_score.to_string(),
            model.weights.to_string(),
            model.kv_reserve.to_string(),
            shards.join(", "),
            shares.join(" "),
            model.max_replicas.to_string(),
            if model.may_be_off { "yes" } else { "no" }.to_owned(),
            format!("{} of {}", entry.profiles.n_profiled, entry.profiles.n_configurations),
        ]
    });
    let header = [
        "model",
        "score",
        "weights",
        "KV reserve",
        "shards: memory of each",
        "shares %",
        "replicas",
        "may be off",
        "profiles",
    ];
    writeln!(out, "{}\n", table(header, "lrrrllrlr", rows))?;
    Ok(())
}

fn engines(report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    let rows = report.models.iter().map(|entry| {
        let model = &entry.model;
        let kv = model
            .architecture
            .as_ref()
            .map(|architecture| architecture.kv_bytes_per_token(model.bytes_per_kv));
        [
            model.name.clone(),
            model.engine.name.clone(),
            model.engine.max_num_seqs.to_string(),
            model.engine.max_num_batched_tokens.to_string(),
            model.engine.block_size.to_string(),
            model.engine.max_model_len.to_string(),
            model.overhead_per_shard.to_string(),
            kv.map_or_else(|| "-".to_owned(), |bytes| format!("{:.1} kB", bytes / 1e3)),
        ]
    });
    let header = [
        "engine of",
        "name",
        "max-num-seqs",
        "max-num-batched-tokens",
        "block-size",
        "max-model-len",
        "overhead",
        "KV a token",
    ];
    writeln!(out, "{}\n", table(header, "llrrrrrr", rows))?;
    Ok(())
}

fn workload(report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    let workload = &report.workload;
    let arrivals = match workload.arrivals {
        Arrivals::Poisson => "Poisson arrivals".to_owned(),
        Arrivals::Gamma { cv } => format!("gamma arrivals (coefficient of variation {cv:.2})"),
        Arrivals::Constant => "evenly spaced arrivals".to_owned(),
    };
    writeln!(out, "Workload: {}, {arrivals}", workload.rate)?;
    if workload.levels.len() > 1 {
        for level in &workload.levels {
            writeln!(
                out,
                " level `{}`: {:.0} % of that rate for {} hours",
                level.name,
                100.0 * level.part,
                level.hours
            )?;
        }
    }
    for RouteReport { route, n_prompts } in &workload.routes {
        let models = route.models.as_ref().map_or_else(String::new, |models| {
            format!(", answered by {} only", models.join(" or "))
        });
        writeln!(
            out,
            " route `{}`: {:.1} % of all requests, {:.1} % of what counts as quality, {n_prompts} prompts{models}",
            route.name,
            100.0 * route.part,
            100.0 * route.weight,
        )?;
    }
    let row = |name: &str, tokens: &Summary| {
        let count = |tokens: u32| tokens.to_string();
        [
            name.to_owned(),
            format!("{:.1}", tokens.mean),
            count(tokens.p50),
            count(tokens.p95),
            count(tokens.max),
        ]
    };
    let rows = [
        row("prompt", &workload.input_tokens),
        row("answer", &workload.output_tokens),
    ];
    writeln!(out, "{}", table(["tokens", "mean", "p50", "p95", "max"], "lrrrr", rows))?;
    writeln!(out, " pairs of lengths kept: {}", workload.n_lengths)?;
    for slo in &workload.slos {
        writeln!(out, " objective to meet: {}", slo.words(workload.routes.len()))?;
    }
    let planning = &workload.planning;
    writeln!(
        out,
        " under these: {}, with {:.0} % headroom on load, a utilisation floor of {}, to within {} of score, by at most {} solves\n",
        workload.objective,
        planning.headroom * 100.0,
        planning.utilisation_floor,
        planning.tolerance,
        planning.max_solves
    )?;
    Ok(())
}

/// One line per key and value, with how many entries it stands for.
fn defaults(report: &Report, out: &mut dyn Write) -> Result<(), Failure> {
    let mut grouped: BTreeMap<(&str, &str, &str), Vec<&str>> = BTreeMap::new();
    for default in &report.defaults {
        let group = grouped.entry((default.key, &default.value, default.why)).or_default();
        group.push(&default.of);
    }
    writeln!(out, "Not written in any file, so by default:")?;
    let rows = grouped.into_iter().map(|((key, value, why), of)| {
        let of = match of.as_slice() {
            [one] => (*one).to_owned(),
            several => format!("{} entries", several.len()),
        };
        [key.to_owned(), value.to_owned(), of, why.to_owned()]
    });
    writeln!(out, "{}", table(["key", "value", "of", "because"], "llll", rows))?;
    Ok(())
}
