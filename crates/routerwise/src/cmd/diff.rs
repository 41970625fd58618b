//! `routerwise diff`: what changes from one plan to another.

use std::io::{self, Write};
use std::path::PathBuf;

use routerwise_plan::diff::diff;
use routerwise_types::answer::difference::{Change, Difference, ModelChange, ModelMove, PolicyChange, SloChange};
use routerwise_types::setup::Configuration;
use routerwise_types::workload::{Scope, Statistic};
use routerwise_types::{Fraction, RequestsPerSecond, Seconds};

use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::plan_file;
use crate::table::{print_json, table};

/// Say what changes from one plan to another: models, placement, prices, fractions, objectives, proof
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// The plan in force
    #[arg(value_name = "BEFORE")]
    before: PathBuf,
    /// The plan to compare it with
    #[arg(value_name = "AFTER")]
    after: PathBuf,
    /// Exit with 1 when the plans differ, for scripts
    #[arg(long)]
    exit_code: bool,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  routerwise diff old.json new.json
  routerwise diff old.json new.json --format json | jq '.models[] | select(.change == \"switched-on\")'
  routerwise diff old.json new.json --exit-code > /dev/null || echo they differ

Plans of other inputs can be compared too; what differs in the inputs is named. GPUs are told by their index in the cluster, node after
node. A replica goes on as it is when the first plan has one of the same model, run in the same way on the same GPUs.
The exit code is 0 whether or not the plans differ; with `--exit-code` it is 1 when they do.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let difference = diff(&plan_file::read(&args.before)?, &plan_file::read(&args.after)?);
    match args.format {
        Format::Json => print_json(&difference, out)?,
        Format::Table => print(&difference, out)?,
    }
    Ok(if args.exit_code && !difference.same {
        Answer::No
    } else {
        Answer::Yes
    })
}

fn print(difference: &Difference, out: &mut dyn Write) -> io::Result<()> {
    let (before, after) = (difference.before.short(), difference.after.short());
    if difference.same {
        return writeln!(out, "plans {before} and {after} are the same");
    }
    let replaces = if difference.replaces { ", which replaces it" } else { "" };
    writeln!(out, "From plan {before} to plan {after}{replaces}\n")?;
    if !difference.inputs.is_empty() {
        writeln!(out, " Inputs that differ: {}", difference.inputs.join(", "))?;
    }
    for setting in &difference.settings {
        writeln!(out, " {}: {} -> {}", setting.name, setting.before, setting.after)?;
    }
    if !difference.inputs.is_empty() || !difference.settings.is_empty() {
        writeln!(out)?;
    }
    if difference.models.is_empty() {
        writeln!(out, " Every model runs as before, where it ran.")?;
    }
    for model in &difference.models {
        writeln!(out, " {}", words(model))?;
    }
    for policy in &difference.policies {
        writeln!(out)?;
        print_policy(policy, difference.policies.len() > 1, out)?;
    }
    for policy in &difference.unmatched_policies {
        writeln!(out, " Only in one of them: {policy}")?;
    }
    writeln!(
        out,
        "\n Quality {}, proven to be at most {:.4} -> {:.4}.",
        score(difference.quality),
        difference.upper_bound.before,
        difference.upper_bound.after
    )
}

/// `llama-3.1-8b moves: stop GPUs 1,2, start GPUs 0,3`.
fn words(model: &ModelChange) -> String {
    let name = &model.name;
    let before = runs(model.before.as_ref(), model.gpu_type_before.as_deref());
    let after = runs(model.after.as_ref(), model.gpu_type_after.as_deref());
    let head = match model.change {
        ModelMove::Added => format!("{name} is new: {after}"),
        ModelMove::Removed => format!("{name} is gone: was {before}"),
        ModelMove::SwitchedOn => format!("{name} is switched on: {after}"),
        ModelMove::SwitchedOff => format!("{name} is switched off: was {before}"),
        ModelMove::Reconfigured => format!("{name} runs differently: {before} -> {after}"),
        ModelMove::ScaledUp => format!("{name} gets more replicas: {before} -> {after}"),
        ModelMove::ScaledDown => format!("{name} gets fewer replicas: {before} -> {after}"),
        ModelMove::Moved => format!("{name} moves: {after}"),
        ModelMove::Resized => format!("{name} gets another amount of KV cache: {after}"),
    };
    let mut parts = Vec::new();
    for (verb, replicas) in [("stop", &model.stopped), ("start", &model.started)] {
        if !replicas.is_empty() {
            let places: Vec<String> = replicas.iter().map(|gpus| place(gpus)).collect();
            parts.push(format!("{verb} {}", places.join(" and ")));
        }
    }
    if model.n_resized > 0 {
        parts.push(format!("{} in place with another KV cache", model.n_resized));
    }
    if model.n_kept > 0 {
        parts.push(format!("{} untouched", model.n_kept));
    }
    if parts.is_empty() {
        head
    } else {
        format!("{head}; {}", parts.join(", "))
    }
}

fn runs(configuration: Option<&Configuration>, gpu_type: Option<&str>) -> String {
    configuration.map_or_else(
        || "off".to_owned(),
        |configuration| format!("{configuration} on {}", gpu_type.unwrap_or("?")),
    )
}

fn place(gpus: &[usize]) -> String {
    let list: Vec<String> = gpus.iter().map(ToString::to_string).collect();
    let noun = if gpus.len() == 1 { "GPU" } else { "GPUs" };
    format!("{noun} {}", list.join(","))
}

fn print_policy(policy: &PolicyChange, several: bool, out: &mut dyn Write) -> io::Result<()> {
    if several {
        writeln!(out, " {}, {}: {}", policy.level, policy.route, rate(policy.rate))?;
    }
    let rows = policy.models.iter().map(|model| {
        [
            model.name.clone(),
            pair(model.price, |price| format!("{price:.4}")),
            pair(model.fraction, part),
            signed_part(model.fraction.by()),
        ]
    });
    writeln!(out, "{}\n", table(["model", "price", "prompts", ""], "lrrr", rows))?;
    let same_setup = policy.moved < 5e-4;
    if same_setup {
        writeln!(out, " As many prompts go to each model as before.")?;
    } else {
        writeln!(
            out,
            " At least {} of the prompts go to another model.",
            part(policy.moved)
        )?;
    }
    if several {
        writeln!(out, " Quality {}.", score(policy.quality))?;
    }
    writeln!(out, " Mean TTFT with headroom {}.", pair(policy.mean_ttft, seconds))?;
    for slo in &policy.slos {
        print_slo(slo, out)?;
    }
    Ok(())
}

fn print_slo(change: &SloChange, out: &mut dyn Write) -> io::Result<()> {
    let is_share = matches!(
        (change.slo.statistic, change.slo.scope),
        (Statistic::Quantile { .. }, Scope::Workload)
    );
    let show = |value: f64| if is_share { share(value) } else { seconds(value) };
    writeln!(
        out,
        " {}: predicted {}, limit {}, 1 % of the limit is worth {}",
        change.slo,
        pair(change.value, show),
        pair(change.limit, show),
        pair(
            Change {
                before: change.price.before * change.limit.before * 0.01,
                after: change.price.after * change.limit.after * 0.01,
            },
            |worth| format!("{worth:.5}")
        )
    )
}

/// `a -> b`, or `a` where both read the same.
fn pair(change: Change, show: impl Fn(f64) -> String) -> String {
    let (before, after) = (show(change.before), show(change.after));
    if before == after {
        before
    } else {
        format!("{before} -> {after}")
    }
}

/// `0.7009 -> 0.6849 (-0.0160)`.
fn score(change: Change) -> String {
    let text = pair(change, |score| format!("{score:.4}"));
    if text.contains("->") {
        format!("{text} ({:+.4})", change.by())
    } else {
        text
    }
}

fn part(value: f64) -> String {
    Fraction::new(value.clamp(0.0, 1.0)).map_or_else(|_| value.to_string(), |part| part.to_string())
}

/// In percentage points; nothing where it rounds to nothing.
fn signed_part(by: f64) -> String {
    if by.abs() < 5e-4 {
        String::new()
    } else {
        format!("{:+.1}", by * 100.0)
    }
}

fn share(value: f64) -> String {
    format!("{:.2} %", value * 100.0)
}

fn seconds(value: f64) -> String {
    Seconds::new(value).map_or_else(|_| value.to_string(), |seconds| seconds.to_string())
}

fn rate(change: Change) -> String {
    pair(change, |rate| {
        RequestsPerSecond::new(rate).map_or_else(|_| rate.to_string(), |rate| rate.to_string())
    })
}
