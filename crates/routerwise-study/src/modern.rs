//! Study 3: models and GPUs of today, at loads far below, at and above the knee.

use std::fmt::Write as _;

use anyhow::Result;
use routerwise_simulate::compare::{Options, compare};
use routerwise_types::comparison::{AllocationRule, ComparedLevel, ComparedRow, RoutingRule, Tuning};
use routerwise_types::scenario::Scenario;

use crate::rivals::{SIMULATION, ms};

/// Where its scenario is.
pub(crate) const FOLDER: &str = "scenarios/study-modern";

/// Parts of the scenario's rate: far below, at and above what the best model alone can take, up to near the end.
const LOADS: [f64; 6] = [0.1, 0.25, 0.5, 1.0, 2.0, 4.0];

/// Routers without our prices.
const USUAL: &[RoutingRule] = &[
    RoutingRule::Random,
    RoutingRule::Cheapest,
    RoutingRule::HighestScore,
    RoutingRule::FixedLatency,
    RoutingRule::FixedLatencyTuned,
    RoutingRule::Threshold,
    RoutingRule::Cascade,
    RoutingRule::QueuePenalty,
];

/// The table.
pub(crate) fn table(scenario: &Scenario) -> Result<(String, String)> {
    let options = Options {
        loads: LOADS.to_vec(),
        simulation: Some(SIMULATION),
        tuning: Tuning::Objectives,
    };
    let comparison = compare(scenario, &options, &|_| ())?;
    let mut text = "| load | joint plan: quality, mean TTFT | its setup, best other router | one model alone | hand-made setup, best other router | hand-made setup, our prices | joint planning gains | without headroom: hand-made |\n|---|---|---|---|---|---|---|---|\n".to_owned();
    let mut csv = "rate,allocation,routing,quality,ttft_mean_s,ttft_p95_s,met\n".to_owned();
    for level in &comparison.levels {
        line(level, &mut text);
        for row in &level.rows {
            if let Some(judged) = &row.simulated {
                let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.6}"));
                let _ = writeln!(
                    csv,
                    "{},{},{},{:.6},{},{},{}",
                    level.rate.value(),
                    row.allocation,
                    row.routing,
                    judged.quality,
                    number(judged.ttft_mean),
                    number(judged.ttft_p95),
                    judged.met
                );
            }
        }
    }
    Ok((text, csv))
}

const SHARED: [AllocationRule; 3] = [
    AllocationRule::EqualSplit,
    AllocationRule::SizeProportional,
    AllocationRule::Isolated,
];

/// Best quality of some rows.
fn best<'a>(
    level: &'a ComparedLevel,
    allocations: &[AllocationRule],
    routings: &[RoutingRule],
    meets: fn(&ComparedRow) -> bool,
) -> Option<&'a ComparedRow> {
    let of = |row: &&ComparedRow| allocations.contains(&row.allocation) && routings.contains(&row.routing);
    let rows = level.rows.iter().filter(of).filter(|row| meets(row));
    rows.max_by(|a, b| quality(a).total_cmp(&quality(b)))
}

fn line(level: &ComparedLevel, text: &mut String) {
    // A setup with one model running needs no router.
    let ours = best(
        level,
        &[AllocationRule::Joint],
        &[RoutingRule::OurPrices, RoutingRule::OneModel],
        met,
    );
    let single = best(level, &[AllocationRule::SingleModel], &[RoutingRule::OneModel], careful);
    let shared = best(level, &SHARED, USUAL, careful);
    let rival = [single, shared]
        .into_iter()
        .flatten()
        .max_by(|a, b| quality(a).total_cmp(&quality(b)));
    let gain = match (ours, rival) {
        (Some(ours), Some(rival)) => format!("{:+.4}", quality(ours) - quality(rival)),
        (Some(_), None) => "all of it".to_owned(),
        (None, _) => "nothing".to_owned(),
    };
    let shown = |row: Option<&ComparedRow>| {
        row.map_or_else(none, |row| {
            format!("{:.4} ({}, {})", quality(row), row.allocation, row.routing)
        })
    };
    let _ = writeln!(
        text,
        "| {:.0}/s | {} | {} | {} | {} | {} | {gain} | {} |",
        level.rate.value(),
        ours.map_or_else(none, |row| format!("{:.4}, {}", quality(row), ttft(row))),
        if ours.is_some_and(|row| row.routing == RoutingRule::OneModel) {
            "one model runs".to_owned()
        } else {
            shown(best(level, &[AllocationRule::Joint], USUAL, careful))
        },
        single.map_or_else(none, |row| format!("{:.4}", quality(row))),
        shown(shared),
        shown(best(level, &SHARED, &[RoutingRule::OurPrices], careful)),
        shown(best(level, &SHARED, USUAL, met)),
    );
}

fn none() -> String {
    "none meets it".to_owned()
}

/// By the curves at the rate with headroom, as plans have to, and in the simulator.
fn careful(row: &ComparedRow) -> bool {
    row.training.met && met(row)
}

/// In the simulator at the rate itself.
fn met(row: &ComparedRow) -> bool {
    row.simulated.as_ref().is_some_and(|judged| judged.met)
}

fn quality(row: &ComparedRow) -> f64 {
    row.simulated.as_ref().map_or(0.0, |judged| judged.quality)
}

fn ttft(row: &ComparedRow) -> String {
    ms(row.simulated.as_ref().and_then(|judged| judged.ttft_mean))
}
