//! `routerwise plan --search exhaustive`: the paper's search on the same input. Prints its winner; writes no plan, since it has no proof,
//! does not split ties, and its winner may not fit on the GPUs.

use std::io::Write;

use indicatif::{ProgressBar, ProgressStyle};
use routerwise_plan::curve::{LatencyCurve, Reading};
use routerwise_plan::exhaustive::{Best, Exhausted, USUAL, exhaust};
use routerwise_plan::packing::Packing;
use routerwise_plan::problem::Problem;
use routerwise_plan::space::setups;
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::setups::{ExhaustiveBest, ExhaustiveModel, ExhaustiveSearch};
use routerwise_types::units::Price;
use routerwise_types::workload::{Metric, Statistic};
use routerwise_types::{Fraction, Scenario, Seconds};

use super::{Args, unplannable};
use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::render::predicted;
use crate::table::{print_json, table};

pub(super) fn run(args: &Args, scenario: &Scenario, out: &mut dyn Write) -> Result<Answer, Failure> {
    if args.out.is_some() || args.parent.is_some() {
        return Err(Failure::Request {
            what: "`--search exhaustive` makes no plan file".into(),
            help: "leave `--out` and `--parent` away, or search jointly".into(),
        });
    }
    let problem = Problem::new(scenario).map_err(unplannable)?;
    let n_setups = count(&problem, args.max_setups)?;
    let bar = progress_bar(n_setups);
    let found = exhaust(&problem, &USUAL, &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let found = found.map_err(|error| Failure::Request {
        what: error.to_string(),
        help: "give the workload one `[[slo]]` with `scope = \"workload\"`".into(),
    })?;
    let answer = answer(scenario, &problem, &found);
    match args.format {
        Format::Json => print_json(&answer, out)?,
        Format::Table => print(&answer, out)?,
    }
    Ok(if found.best.is_some() { Answer::Yes } else { Answer::No })
}

/// Setups retained by total compute, if they are not too many to solve one by one.
pub(super) fn count(problem: &Problem, most: u64) -> Result<u64, Failure> {
    let bounded = usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1);
    let n_setups = setups(problem).take(bounded).count() as u64;
    if n_setups > most {
        return Err(Failure::Request {
            what: format!("more than {most} setups have every model on and use an allowed part of the cluster's compute"),
            help: "make them fewer (a higher `utilisation-floor`, a coarser `share-step`, fewer models) or raise `--max-setups`"
                .into(),
        });
    }
    Ok(n_setups)
}

pub(super) fn progress_bar(n_setups: u64) -> ProgressBar {
    let style = "{bar:40} {pos}/{len} setups, {elapsed} gone, {eta} to go";
    ProgressBar::new(n_setups).with_style(ProgressStyle::with_template(style).expect("a constant that a test parses"))
}

fn answer(scenario: &Scenario, problem: &Problem, found: &Exhausted) -> ExhaustiveSearch {
    ExhaustiveSearch {
        schema: ANSWER_SCHEMA,
        rate: scenario.workload.rate,
        slo: scenario.workload.slos[problem.rows[0].slo_ix].clone(),
        best: found.best.as_ref().map(|best| winner(scenario, problem, best)),
        best_that_fits: found
            .best_that_fits
            .as_ref()
            .map(|best| winner(scenario, problem, best)),
        counts: found.counts,
        steps: USUAL,
    }
}

fn winner(scenario: &Scenario, problem: &Problem, best: &Best) -> ExhaustiveBest {
    let limit = problem.rows[0].limit;
    ExhaustiveBest {
        score: best.score,
        quality: best.quality,
        value: best.latency * limit,
        limit,
        latency_price: best.row_price,
        placeable: match best.packing {
            Packing::Placed(_) => Some(true),
            Packing::Impossible => Some(false),
            Packing::Undecided => None,
        },
        models: (0..problem.models.len())
            .map(|model_ix| model(scenario, problem, best, model_ix))
            .collect(),
    }
}

fn model(scenario: &Scenario, problem: &Problem, best: &Best, model_ix: usize) -> ExhaustiveModel {
    let options = &problem.models[model_ix];
    let candidate = &options.candidates[best.candidates[model_ix]];
    let profile_ix = candidate.profile_ix.expect("every model of the winner runs");
    let load = problem.rate * best.fractions[model_ix];
    let mean_ttft = Reading::Statistic(Metric::Ttft, Statistic::Mean);
    let curve = LatencyCurve::from_profile(&scenario.profiles[profile_ix], mean_ttft);
    ExhaustiveModel {
        name: options.name.clone(),
        configuration: candidate.configuration.expect("every model of the winner runs"),
        fraction: Fraction::new(best.fractions[model_ix].clamp(0.0, 1.0)).expect("clamped to what it may be"),
        price: Price::new(best.prices[model_ix]).unwrap_or(Price::ZERO),
        ttft: curve
            .and_then(|curve| curve.at(load.min(curve.end())))
            .and_then(|ttft| Seconds::new(ttft).ok()),
    }
}

fn print(answer: &ExhaustiveSearch, out: &mut dyn Write) -> Result<(), Failure> {
    writeln!(
        out,
        "Exhaustive search (arXiv 2604.10907) for {}, {}\n",
        answer.rate, answer.slo
    )?;
    if let Some(best) = &answer.best {
        print_best(answer, best, out)?;
    } else {
        writeln!(out, " No setup was found that meets the objective.")?;
    }
    let counts = &answer.counts;
    writeln!(
        out,
        " {} setups retained by total compute; first-fit decreasing places the memory of {}: all solved, {} meet the objective.",
        counts.retained_by_compute, counts.tried, counts.feasible
    )?;
    writeln!(
        out,
        " That took {} latency prices, {} steps of the fractions, {} solves for prices, {} looks at all prompts.",
        counts.bisections, counts.ascent_steps, counts.dual_solves, counts.evaluations
    )?;
    writeln!(out, " To compare with only: no proof, no replicas, no plan file.")?;
    Ok(())
}

fn print_best(answer: &ExhaustiveSearch, best: &ExhaustiveBest, out: &mut dyn Write) -> Result<(), Failure> {
    let rows = best.models.iter().map(|model| {
        [
            model.name.clone(),
            model.configuration.to_string(),
            format!("{:.4}", model.price.value()),
            model.fraction.to_string(),
            model.ttft.map_or_else(|| "-".to_owned(), |ttft| ttft.to_string()),
        ]
    });
    let header = ["model", "runs as", "price", "prompts", "TTFT"];
    writeln!(out, "{}\n", table(header, "llrrr", rows))?;
    let quality = best
        .quality
        .map_or_else(|| "-".to_owned(), |quality| format!("{quality:.4}"));
    writeln!(
        out,
        " Quality {quality} at these fractions (its own estimate: {:.4}).",
        best.score
    )?;
    writeln!(out, " {}: predicted {}", answer.slo, predicted(&answer.slo, best.value))?;
    let placeable = match best.placeable {
        Some(true) => "it fits on the GPUs, shares and memory together",
        Some(false) => "it does NOT fit on the GPUs: the paper's test of a placement leaves shares out",
        None => "whether it fits on the GPUs was too much work to decide",
    };
    writeln!(out, " Placement: {placeable}.")?;
    if best.placeable != Some(true) {
        print_that_fits(answer, out)?;
    }
    writeln!(out)?;
    Ok(())
}

fn print_that_fits(answer: &ExhaustiveSearch, out: &mut dyn Write) -> Result<(), Failure> {
    let Some(best) = &answer.best_that_fits else {
        writeln!(out, " No setup that fits was found to meet the objective.")?;
        return Ok(());
    };
    let models = best.models.iter();
    let setup: Vec<String> = models
        .map(|model| format!("{} {}", model.name, model.configuration))
        .collect();
    let quality = best.quality.unwrap_or(best.score);
    writeln!(out, " The best that fits: {}: quality {quality:.4}.", setup.join(", "))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_progress_bar_has_a_style_that_parses() {
        assert_eq!(progress_bar(7).length(), Some(7));
    }
}
