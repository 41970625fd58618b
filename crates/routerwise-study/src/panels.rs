//! Study 1: how much lies between setups, in the paper's setting.

use std::fmt::Write as _;

use anyhow::Result;
use rayon::prelude::*;
use routerwise_plan::problem::Problem;
use routerwise_plan::spread::{LIMITS, SetupQuality, baselines, edges, spread, spread_of};
use routerwise_types::answer::setups::SpreadOf;
use routerwise_types::scenario::Scenario;

use crate::setting::{at, unconfined};

/// One panel of the paper's Figure 5.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel {
    /// GPUs.
    pub(crate) n_gpus: usize,
    /// Requests/s.
    pub(crate) rate: f64,
    /// Mean TTFT in ms.
    pub(crate) target_ms: f64,
    /// Axis range of achievable scores in the paper.
    pub(crate) paper: (f64, f64),
}

/// The paper's panels.
pub(crate) const PANELS: [Panel; 8] = [
    panel(4, 50.0, 800.0, (0.40, 0.55)),
    panel(4, 60.0, 500.0, (0.35, 0.55)),
    panel(4, 70.0, 500.0, (0.38, 0.54)),
    panel(4, 80.0, 500.0, (0.485, 0.505)),
    panel(8, 50.0, 400.0, (0.53, 0.58)),
    panel(8, 60.0, 500.0, (0.40, 0.55)),
    panel(8, 70.0, 400.0, (0.515, 0.545)),
    panel(8, 80.0, 500.0, (0.505, 0.53)),
];

const fn panel(n_gpus: usize, rate: f64, target_ms: f64, paper: (f64, f64)) -> Panel {
    Panel {
        n_gpus,
        rate,
        target_ms,
        paper,
    }
}

/// What was found for one panel.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Which.
    pub(crate) panel: Panel,
    /// Retained by compute, by the paper's filter, placeable by shares, placeable.
    pub(crate) spreads: Vec<SpreadOf>,
    /// Joint plan in the paper's space: quality and gap.
    pub(crate) plan: Option<(f64, f64)>,
    /// Joint plan with replicas and models off.
    pub(crate) free: Option<(f64, f64)>,
    /// Equal split, size-proportional, isolated.
    pub(crate) baselines: Vec<(String, Option<f64>, Vec<String>)>,
}

/// Measures all panels. `scenarios` are those with four and with eight GPUs.
pub(crate) fn measure(scenarios: &[(usize, Scenario)], panels: &[Panel]) -> Result<Vec<Measured>> {
    let measured = panels.par_iter().map(|panel| {
        let scenario = scenarios.iter().find(|(n_gpus, _)| *n_gpus == panel.n_gpus);
        let (_, scenario) = scenario.ok_or_else(|| anyhow::anyhow!("no scenario with {} GPUs", panel.n_gpus))?;
        one(&at(scenario, panel.rate, panel.target_ms), *panel)
    });
    measured.collect()
}

fn one(scenario: &Scenario, panel: Panel) -> Result<Measured> {
    let problem = Problem::new(scenario)?;
    let setups: Vec<SetupQuality> = spread(&problem, &mut |_| ());
    let edges = edges(&setups);
    let baselines = baselines(scenario, &problem).into_iter();
    Ok(Measured {
        panel,
        spreads: LIMITS.map(|limit| spread_of(&setups, limit, &edges)).into(),
        plan: plan(scenario)?,
        free: plan(&unconfined(scenario, 8))?,
        baselines: baselines
            .map(|baseline| {
                let quality = baseline.reached.and_then(|reached| reached.quality);
                (baseline.rule.to_string(), quality, baseline.notes)
            })
            .collect(),
    })
}

fn plan(scenario: &Scenario) -> Result<Option<(f64, f64)>> {
    let outcome = routerwise_plan::plan(scenario, None)?;
    Ok(outcome
        .plan()
        .map(|plan| (plan.certificate.quality.value(), plan.certificate.gap)))
}

/// All panels as a table in Markdown.
pub(crate) fn table(all: &[Measured]) -> String {
    let mut text = String::new();
    text.push_str("| GPUs, load, target | setups, meet it | worst to best | ratio | that fit, meet it | worst to best | plan | free plan | equal split | by size | isolated | paper's axis |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|\n");
    for found in all {
        let Panel {
            n_gpus,
            rate,
            target_ms,
            paper,
        } = found.panel;
        let (all, real) = (&found.spreads[0], &found.spreads[3]);
        let baseline = |at: usize| shown(found.baselines.get(at).and_then(|(_, quality, _)| *quality));
        let plan = |plan: Option<(f64, f64)>| shown(plan.map(|(quality, _)| quality));
        let _ = writeln!(
            text,
            "| {n_gpus}, {rate:.0}/s, {target_ms:.0} ms | {}, {} | {} | {} | {}, {} | {} | {} | {} | {} | {} | {} | {} to {} |",
            all.n_setups,
            all.n_feasible,
            range(all),
            ratio(all),
            real.n_setups,
            real.n_feasible,
            range(real),
            plan(found.plan),
            plan(found.free),
            baseline(0),
            baseline(1),
            baseline(2),
            paper.0,
            paper.1
        );
    }
    text
}

fn shown(quality: Option<f64>) -> String {
    quality.map_or_else(|| "-".to_owned(), |quality| format!("{quality:.4}"))
}

fn range(spread: &SpreadOf) -> String {
    match (spread.worst, spread.best) {
        (Some(worst), Some(best)) => format!("{worst:.4} to {best:.4}"),
        _ => "-".to_owned(),
    }
}

fn ratio(spread: &SpreadOf) -> String {
    match (spread.worst, spread.best) {
        (Some(worst), Some(best)) => format!("+{:.0} %", 100.0 * (best / worst - 1.0)),
        _ => "-".to_owned(),
    }
}

/// All panels as CSV, one line per panel and limit.
pub(crate) fn csv(all: &[Measured]) -> String {
    let mut text =
        "gpus,rate,target_ms,limit,setups,feasible,undecided,worst,q05,q25,q50,q75,q95,best,largest_gap\n".to_owned();
    for found in all {
        for spread in &found.spreads {
            let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.6}"));
            let quantiles: Vec<String> = (0..5)
                .map(|at| number(spread.quantiles.get(at).map(|(_, value)| *value)))
                .collect();
            let _ = writeln!(
                text,
                "{},{},{},{:?},{},{},{},{},{},{},{:.1e}",
                found.panel.n_gpus,
                found.panel.rate,
                found.panel.target_ms,
                spread.limit,
                spread.n_setups,
                spread.n_feasible,
                spread.n_undecided,
                number(spread.worst),
                quantiles.join(","),
                number(spread.best),
                spread.largest_gap
            );
        }
    }
    text
}

/// Notes on hand-made allocations, one line each.
pub(crate) fn notes(all: &[Measured]) -> String {
    let mut text = String::new();
    for found in all {
        for (rule, _, notes) in found.baselines.iter().filter(|(_, _, notes)| !notes.is_empty()) {
            let Panel { n_gpus, rate, .. } = found.panel;
            let _ = writeln!(text, "- {n_gpus} GPUs, {rate:.0}/s, {rule}: {}", notes.join("; "));
        }
    }
    text
}
