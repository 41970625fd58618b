//! Study 2: routers of the literature tuned to our quality, and what they wait for it, in the paper's three deployments.

use std::fmt::Write as _;

use anyhow::Result;
use rayon::prelude::*;
use routerwise_simulate::compare::{Options, compare};
use routerwise_types::comparison::{
    AllocationRule, CacheRule, ComparedLevel, ComparedRow, Judged, RoutingRule, SimulationSettings, Tuning,
};
use routerwise_types::scenario::Scenario;

use crate::setting::at;

/// One row of the paper's deployment table: mean TTFT in ms.
struct Deployment {
    rate: f64,
    target_ms: f64,
    /// `RouterWise`, `FrugalGPT`, `RouteLLM`.
    paper: [&'static str; 3],
}

const DEPLOYMENTS: [Deployment; 3] = [
    Deployment {
        rate: 50.0,
        target_ms: 800.0,
        paper: ["860", "1 500", "820"],
    },
    Deployment {
        rate: 70.0,
        target_ms: 500.0,
        paper: ["565", "12 300", "2 500"],
    },
    Deployment {
        rate: 80.0,
        target_ms: 500.0,
        paper: ["600", "24 200", "7 800"],
    },
];

/// How rows are played, here and in the modern setting.
pub(crate) const SIMULATION: SimulationSettings = SimulationSettings {
    n_requests: 20_000,
    seed: 1,
    cache: CacheRule::Profiled,
};

/// Qualities that count as ours.
const NEAR: f64 = 0.0101;

/// Headroom: none, as in the paper, and what plans have unless told otherwise.
const HEADROOMS: [f64; 2] = [0.0, 0.1];

/// The table for the scenario with four GPUs.
pub(crate) fn table(scenario: &Scenario) -> Result<String> {
    let options = Options {
        loads: vec![1.0],
        simulation: Some(SIMULATION),
        tuning: Tuning::OurQuality,
    };
    let cases: Vec<(&Deployment, f64)> = HEADROOMS
        .iter()
        .flat_map(|headroom| DEPLOYMENTS.iter().map(|deployment| (deployment, *headroom)))
        .collect();
    let found = cases.par_iter().map(|(deployment, headroom)| {
        let mut scenario = at(scenario, deployment.rate, deployment.target_ms);
        scenario.workload.planning.headroom = *headroom;
        Ok(compare(&scenario, &options, &|_| ())?.levels.remove(0))
    });
    let levels: Vec<ComparedLevel> = found.collect::<Result<_>>()?;
    let mut text = "| headroom | load, target | router | on | quality | mean TTFT by curves | mean TTFT simulated | P95 | the paper's mean TTFT |\n|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for ((deployment, headroom), level) in cases.iter().zip(&levels) {
        let case = format!(
            "| {:.0} % | {:.0}/s, {:.0} ms |",
            100.0 * headroom,
            deployment.rate,
            deployment.target_ms
        );
        lines(&case, deployment, level, &mut text);
    }
    Ok(text)
}

fn lines(case: &str, deployment: &Deployment, level: &ComparedLevel, text: &mut String) {
    let ours = level
        .rows
        .iter()
        .find(|row| is(row, AllocationRule::Joint, RoutingRule::OurPrices));
    let Some(ours) = ours else {
        let _ = writeln!(
            text,
            "{case} joint plan | nothing meets the target | | | | | {} ms |",
            deployment.paper[0]
        );
        return;
    };
    line(case, "joint plan", ours, deployment.paper[0], text);
    for (routing, name, paper) in [
        (RoutingRule::Cascade, "cascade (FrugalGPT)", deployment.paper[1]),
        (RoutingRule::Threshold, "threshold (RouteLLM)", deployment.paper[2]),
    ] {
        // On whatever allocation suits the rival best.
        let near = |row: &&ComparedRow| row.routing == routing && row.training.quality >= ours.training.quality - NEAR;
        let quickest = level
            .rows
            .iter()
            .filter(near)
            .min_by(|a, b| waits(a).total_cmp(&waits(b)));
        match quickest {
            Some(row) => line(case, name, row, paper, text),
            None => {
                let _ = writeln!(
                    text,
                    "{case} {name} | none comes within 0.01 of our quality | | | | | {paper} ms |"
                );
            }
        }
    }
}

fn is(row: &ComparedRow, allocation: AllocationRule, routing: RoutingRule) -> bool {
    row.allocation == allocation && row.routing == routing
}

fn waits(row: &ComparedRow) -> f64 {
    row.simulated
        .as_ref()
        .and_then(|judged| judged.ttft_mean)
        .unwrap_or(f64::INFINITY)
}

fn line(case: &str, name: &str, row: &ComparedRow, paper: &str, text: &mut String) {
    let simulated = |read: fn(&Judged) -> Option<f64>| ms(row.simulated.as_ref().and_then(read));
    let by_curves = row
        .training
        .ttft_mean
        .map_or_else(|| "beyond capacity".to_owned(), |_| ms(row.training.ttft_mean));
    let _ = writeln!(
        text,
        "{case} {name} | {} | {:.4} | {by_curves} | {} | {} | {paper} ms |",
        match row.allocation {
            AllocationRule::Joint => "our setup".to_owned(),
            other => other.to_string(),
        },
        row.simulated.as_ref().unwrap_or(&row.by_curves).quality,
        simulated(|judged| judged.ttft_mean),
        simulated(|judged| judged.ttft_p95),
    );
}

/// Seconds as milliseconds, three digits.
pub(crate) fn ms(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds >= 10.0 => format!("{seconds:.0} s"),
        Some(seconds) if seconds >= 1.0 => format!("{seconds:.2} s"),
        Some(seconds) => format!("{:.0} ms", 1e3 * seconds),
    }
}
