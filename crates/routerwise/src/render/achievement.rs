//! How well an objective is met, and what proves that it could not be met better.

use std::io::{self, Write};

use routerwise_types::plan::{Achievement, ClusterLimit, Plan};
use routerwise_types::workload::{Aim, Metric};
use routerwise_types::{Scenario, Seconds};

/// Limits that are listed; more say little.
const MAX_LISTED: usize = 4;

/// Prints nothing for the highest quality on the whole cluster: there the certificate says it.
pub(super) fn achievement(scenario: &Scenario, plan: &Plan, out: &mut dyn Write) -> io::Result<()> {
    let Some(achieved) = &plan.achievement else {
        return Ok(());
    };
    writeln!(out, " Objective: {}", plan.objective)?;
    writeln!(out, "   {}", taken(scenario, achieved))?;
    match plan.objective.aim {
        Aim::MaximiseQuality => writeln!(
            out,
            "   Proof: no plan within the budget reaches more than {:.4} (gap {:.1e}).",
            achieved.bound,
            (achieved.bound - achieved.value).max(0.0)
        )?,
        Aim::MinimiseGpus { .. } => fewest(achieved, |count| format!("{count:.0} GPUs"), "with fewer than", out)?,
        Aim::MinimiseCost { .. } => fewest(achieved, |cost| format!("{cost:.2}/h"), "for less than", out)?,
        Aim::MinimiseLatency { metric, .. } => lowest(achieved, metric, out)?,
    }
    limits(scenario, plan, achieved, out)
}

fn taken(scenario: &Scenario, achieved: &Achievement) -> String {
    let taken: usize = achieved.gpus_per_node.iter().sum();
    let cost = achieved
        .cost_per_hour
        .map_or_else(String::new, |cost| format!(", for {cost:.2}/h"));
    format!("Takes {taken} of {} GPUs{cost}.", scenario.cluster.n_gpus())
}

fn fewest(achieved: &Achievement, show: impl Fn(f64) -> String, below: &str, out: &mut dyn Write) -> io::Result<()> {
    let (value, bound) = (show(achieved.value), show(achieved.bound));
    if achieved.value - achieved.bound <= 1e-9 * (1.0 + achieved.value) {
        return writeln!(out, "   Proof: no plan {below} {value} reaches this quality.");
    }
    writeln!(
        out,
        "   Proof: no plan {below} {bound} reaches this quality. Between {bound} and {value} it is not settled: {} searches ran out of work.",
        achieved.n_undecided
    )
}

fn lowest(achieved: &Achievement, metric: Metric, out: &mut dyn Write) -> io::Result<()> {
    let value = seconds(achieved.value);
    if achieved.bound <= 0.0 {
        return writeln!(
            out,
            "   Reaches a mean {metric} of {value}; nothing lower is ruled out: the searches ran out of work."
        );
    }
    writeln!(
        out,
        "   Reaches a mean {metric} of {value}. Proof: no plan with a mean of {} reaches this quality.{}",
        seconds(achieved.bound),
        if achieved.value > achieved.bound * 1.01 {
            " Between the two it is not settled: searches ran out of work."
        } else {
            ""
        }
    )
}

fn limits(scenario: &Scenario, plan: &Plan, achieved: &Achievement, out: &mut dyn Write) -> io::Result<()> {
    for limit in achieved.limits.iter().take(MAX_LISTED) {
        let gpus = gpus(scenario, limit);
        let target = match (plan.objective.aim, limit.target) {
            (Aim::MinimiseLatency { metric, .. }, Some(target)) => format!(" and a mean {metric} of {target}"),
            _ => String::new(),
        };
        let floor = plan.objective.aim.quality_floor().map(|floor| floor.to_string());
        match limit.upper_bound.map(|bound| format!("{bound:.4}")) {
            // Below it by less than is printed: the number would say the contrary.
            Some(bound) if Some(&bound) == floor.as_ref() => {
                writeln!(out, "   With {gpus}{target} no plan reaches it, if only just.")?;
            }
            Some(bound) => writeln!(out, "   With {gpus}{target} no plan reaches more than {bound}.")?,
            None => writeln!(out, "   With {gpus}{target} no plan meets the latency objectives.")?,
        }
    }
    let more = achieved.limits.len().saturating_sub(MAX_LISTED);
    if more > 0 {
        writeln!(out, "   And {more} more limits of this kind, all in the plan file.")?;
    }
    Ok(())
}

/// `2 a100-80gb-sxm and 1 l40s-48gb`.
fn gpus(scenario: &Scenario, limit: &ClusterLimit) -> String {
    let types = scenario.cluster.gpu_types.iter().zip(&limit.gpus);
    let words: Vec<String> = types
        .filter(|(_, count)| **count > 0)
        .map(|(gpu_type, count)| format!("{count} {}", gpu_type.name))
        .collect();
    words.join(" and ")
}

fn seconds(value: f64) -> String {
    Seconds::new(value).map_or_else(|_| value.to_string(), |seconds| seconds.to_string())
}
