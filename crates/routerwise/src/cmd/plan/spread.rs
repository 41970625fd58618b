//! `routerwise plan --spread`: every retained setup solved, and how much lies between them.

mod drawing;

use std::io::Write;

use routerwise_plan::problem::Problem;
use routerwise_plan::spread::{LIMITS, SetupQuality, baselines, edges, spread, spread_of};
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::setups::{PlacementLimit, Spread, SpreadMark, SpreadOf};
use routerwise_types::{Fraction, Scenario};

use super::exhaustive::{count, progress_bar};
use super::{Args, unplannable};
use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::table::{print_json, table};

pub(super) fn run(args: &Args, scenario: &Scenario, out: &mut dyn Write) -> Result<Answer, Failure> {
    let problem = Problem::new(scenario).map_err(unplannable)?;
    let bar = progress_bar(count(&problem, args.max_setups)?);
    let setups = spread(&problem, &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let edges = edges(&setups);
    let answer = Spread {
        schema: ANSWER_SCHEMA,
        rate: scenario.workload.rate,
        slos: scenario.workload.slos.clone(),
        spreads: LIMITS.map(|limit| spread_of(&setups, limit, &edges)).into(),
        marks: marks(scenario, &problem, &setups)?,
        edges,
    };
    if let Some(file) = &args.frontier.svg {
        let drawn = drawing::draw(&answer);
        let doing = format!("writing `{}`", file.display());
        routerwise_inputs::write_atomically(file, drawn.as_bytes()).map_err(Failure::environment(doing))?;
    }
    match args.format {
        Format::Json => print_json(&answer, out)?,
        Format::Table => print(&answer, out)?,
    }
    let any = answer.spreads.iter().any(|spread| spread.n_feasible > 0);
    Ok(if any { Answer::Yes } else { Answer::No })
}

/// The plan, and what people do today.
fn marks(scenario: &Scenario, problem: &Problem, setups: &[SetupQuality]) -> Result<Vec<SpreadMark>, Failure> {
    let mut marks = vec![plan(scenario, setups)?];
    let same = tolerance(scenario);
    marks.extend(baselines(scenario, problem).into_iter().map(|baseline| {
        let quality = baseline.reached.and_then(|reached| reached.quality);
        mark(&baseline.rule.to_string(), quality, setups, same, baseline.notes)
    }));
    Ok(marks)
}

/// Both the plan and the best setup are only known to within the tolerance.
fn tolerance(scenario: &Scenario) -> f64 {
    1.5 * scenario.workload.planning.tolerance
}

/// The joint plan, which may use replicas and leave models off.
fn plan(scenario: &Scenario, setups: &[SetupQuality]) -> Result<SpreadMark, Failure> {
    let outcome = routerwise_plan::plan(scenario, None).map_err(unplannable)?;
    let certificate = outcome.plan().map(|plan| &plan.certificate);
    let quality = certificate.map(|certificate| certificate.quality.value());
    let mut notes = vec!["replicas and models off as the scenario allows".to_owned()];
    notes.extend(certificate.map(|c| format!("no setup reaches more than {:.4}", c.upper_bound)));
    Ok(mark("plan", quality, setups, tolerance(scenario), notes))
}

/// `same`: qualities that differ by less are the same.
fn mark(name: &str, quality: Option<f64>, setups: &[SetupQuality], same: f64, notes: Vec<String>) -> SpreadMark {
    let real = setups.iter().filter(|setup| setup.placeable_with_memory);
    let qualities: Vec<f64> = real.filter_map(|setup| setup.quality).collect();
    let part = quality.filter(|_| !qualities.is_empty()).map(|quality| {
        let reached = qualities.iter().filter(|other| **other <= quality + same).count();
        reached as f64 / qualities.len() as f64
    });
    SpreadMark {
        name: name.to_owned(),
        quality,
        at_least_as_good_as: part.and_then(|part| Fraction::new(part).ok()),
        notes,
    }
}

fn print(answer: &Spread, out: &mut dyn Write) -> Result<(), Failure> {
    let slos: Vec<String> = answer.slos.iter().map(ToString::to_string).collect();
    writeln!(
        out,
        "Best quality of every setup for {}, {}\n",
        answer.rate,
        slos.join(", ")
    )?;
    let rows = answer.spreads.iter().map(row);
    let header = [
        "setups limited by",
        "all",
        "meet it",
        "worst",
        "5 %",
        "25 %",
        "median",
        "75 %",
        "95 %",
        "best",
    ];
    writeln!(out, "{}\n", table(header, "lrrrrrrrrr", rows))?;
    histogram(answer, out)?;
    print_marks(answer, out)?;
    let gap = answer
        .spreads
        .iter()
        .map(|spread| spread.largest_gap)
        .fold(0.0, f64::max);
    let undecided: u64 = answer
        .spreads
        .iter()
        .map(|spread| spread.n_undecided)
        .max()
        .unwrap_or(0);
    writeln!(
        out,
        " Every model on, one replica each. Each setup is solved to within {gap:.1e}; {undecided} could not be decided."
    )?;
    Ok(())
}

fn row(spread: &SpreadOf) -> [String; 10] {
    let shown = |quality: Option<f64>| quality.map_or_else(|| "-".to_owned(), |quality| format!("{quality:.4}"));
    let quantile = |at: usize| shown(spread.quantiles.get(at).map(|(_, quality)| *quality));
    [
        name(spread.limit).to_owned(),
        spread.n_setups.to_string(),
        spread.n_feasible.to_string(),
        shown(spread.worst),
        quantile(0),
        quantile(1),
        quantile(2),
        quantile(3),
        quantile(4),
        shown(spread.best),
    ]
}

/// A limit in words.
fn name(limit: PlacementLimit) -> &'static str {
    match limit {
        PlacementLimit::Compute => "total compute",
        PlacementLimit::FirstFitMemory => "memory, first fit (the paper's)",
        PlacementLimit::Shares => "shares of real GPUs",
        PlacementLimit::SharesAndMemory => "shares and memory of real GPUs",
    }
}

const BAR: u64 = 24;

/// All setups beside those that really fit.
fn histogram(answer: &Spread, out: &mut dyn Write) -> Result<(), Failure> {
    let of = |limit| answer.spreads.iter().find(|spread| spread.limit == limit);
    let (Some(all), Some(real)) = (of(PlacementLimit::Compute), of(PlacementLimit::SharesAndMemory)) else {
        return Ok(());
    };
    let bar = |count: u64, most: u64| {
        let length = (count * BAR).div_ceil(most.max(1));
        "#".repeat(usize::try_from(length).expect("at most BAR"))
    };
    let most = |spread: &SpreadOf| spread.histogram.iter().copied().max().unwrap_or(0);
    let digits = answer
        .edges
        .windows(2)
        .next()
        .map_or(2, |bin| decimals(bin[1] - bin[0]));
    let bins = answer.edges.windows(2).zip(all.histogram.iter().zip(&real.histogram));
    let rows = bins.map(|(bin, (all_count, real_count))| {
        [
            format!("{:.digits$} to {:.digits$}", bin[0], bin[1]),
            all_count.to_string(),
            bar(*all_count, most(all)),
            real_count.to_string(),
            bar(*real_count, most(real)),
        ]
    });
    let header = ["quality", "all", "", "fit", ""];
    writeln!(out, "{}\n", table(header, "lrlrl", rows))?;
    Ok(())
}

/// Decimals that a round width needs.
fn decimals(width: f64) -> usize {
    (0..6)
        .find(|digits| width >= 0.999 * 10f64.powi(-digits))
        .map_or(6, |digits| digits as usize)
}

fn print_marks(answer: &Spread, out: &mut dyn Write) -> Result<(), Failure> {
    let rows = answer.marks.iter().map(|mark| {
        [
            mark.name.clone(),
            mark.quality
                .map_or_else(|| "meets it not".to_owned(), |quality| format!("{quality:.4}")),
            mark.at_least_as_good_as
                .map_or_else(|| "-".to_owned(), |part| part.to_string()),
            mark.notes.join("; "),
        ]
    });
    let header = ["", "quality", "at least as good as", ""];
    writeln!(out, "{}\n", table(header, "lrrl", rows))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_shown_with_the_digits_they_need() {
        assert_eq!([1.0, 0.5, 0.1, 0.02, 0.005].map(decimals), [0, 1, 1, 2, 3]);
    }
}
