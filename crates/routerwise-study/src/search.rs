//! Joint plan against exhaustive search on the study's own scenarios, in one run.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::Result;
use routerwise_plan::exhaustive::{USUAL, exhaust};
use routerwise_plan::problem::Problem;
use routerwise_types::scenario::Scenario;

use crate::panels::{PANELS, Panel};
use crate::setting::at;

/// The joint plan is so quick that one run says little.
const N_PLANS: u32 = 5;

/// The table; times are those of this run.
pub(crate) fn table(three: &[(usize, Scenario)], four: &[(usize, Scenario)]) -> Result<String> {
    let mut text = "| models, GPUs, load, target | joint plan | gap | exhaustive, what fits | exhaustive, its winner | it fits | setups solved | joint | exhaustive | ratio |\n|---|---|---|---|---|---|---|---|---|---|\n".to_owned();
    let cases = PANELS
        .iter()
        .map(|panel| (three, *panel))
        .chain([(four, PANELS[0]), (four, PANELS[4])]);
    for (scenarios, panel) in cases {
        if let Some((_, scenario)) = scenarios.iter().find(|(n_gpus, _)| *n_gpus == panel.n_gpus) {
            line(&at(scenario, panel.rate, panel.target_ms), panel, &mut text)?;
        }
    }
    Ok(text)
}

fn line(scenario: &Scenario, panel: Panel, text: &mut String) -> Result<()> {
    let problem = Problem::new(scenario)?;
    let start = Instant::now();
    for _ in 1..N_PLANS {
        std::hint::black_box(routerwise_plan::solve(scenario, &problem, None));
    }
    let plan = routerwise_plan::solve(scenario, &problem, None);
    let joint = start.elapsed() / N_PLANS;
    let start = Instant::now();
    let found = exhaust(&problem, &USUAL, &mut |_| ())?;
    let exhaustive = start.elapsed();
    let quality = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), |value| format!("{value:.4}"));
    let certificate = plan.as_ref().map(|plan| &plan.certificate);
    let fits = found
        .best
        .as_ref()
        .map(|best| matches!(best.packing, routerwise_plan::packing::Packing::Placed(_)));
    let _ = writeln!(
        text,
        "| {}, {}, {:.0}/s, {:.0} ms | {} | {} | {} | {} | {} | {} | {:.1} ms | {:.1} s | {:.0} |",
        scenario.models.len(),
        panel.n_gpus,
        panel.rate,
        panel.target_ms,
        quality(certificate.map(|c| c.quality.value())),
        certificate.map_or_else(|| "-".to_owned(), |c| format!("{:.0e}", c.gap)),
        quality(
            found
                .best_that_fits
                .as_ref()
                .map(|best| best.quality.unwrap_or(best.score))
        ),
        quality(found.best.as_ref().map(|best| best.quality.unwrap_or(best.score))),
        match fits {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        },
        found.counts.tried,
        1e3 * joint.as_secs_f64(),
        exhaustive.as_secs_f64(),
        exhaustive.as_secs_f64() / joint.as_secs_f64()
    );
    Ok(())
}
