//! `routerwise plan --frontier`: quality against the latency target, the arrival rate or the number of GPUs.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;
use routerwise_inputs::write_atomically;
use routerwise_types::answer::frontier::{Frontier, FrontierAxis, FrontierPoint};
use routerwise_types::{RequestsPerSecond, Scenario, Seconds};

use crate::cli::Format;
use crate::cmd::plan::watched;
use crate::drawing;
use crate::failure::{Answer, Failure};
use crate::table::{print_json, table};

/// Plan many points instead of one.
#[derive(Debug, clap::Args)]
pub(crate) struct FrontierArgs {
    /// Vary this and print quality against it, with a bound for each point; writes no plan
    #[arg(long, value_enum, value_name = "WHAT", group = "drawn", help_heading = "Frontier")]
    frontier: Option<Axis>,
    /// Least value: "100 ms", "5 /s" or a number of GPUs [default: a quarter of the scenario's, or 1 GPU]
    #[arg(long, value_name = "VALUE", requires = "frontier", help_heading = "Frontier")]
    from: Option<String>,
    /// Largest value [default: four times the target, twice the rate, or all GPUs]
    #[arg(long, value_name = "VALUE", requires = "frontier", help_heading = "Frontier")]
    to: Option<String>,
    /// Number of points
    #[arg(long, value_name = "N", default_value_t = 13, value_parser = clap::value_parser!(u32).range(2..=1000), requires = "frontier", help_heading = "Frontier")]
    points: u32,
    /// Write the points to this file
    #[arg(long, value_name = "FILE", requires = "frontier", help_heading = "Frontier")]
    csv: Option<PathBuf>,
    /// Draw them, or a spread, into this file
    #[arg(long, value_name = "FILE", requires = "drawn", help_heading = "Frontier")]
    pub(crate) svg: Option<PathBuf>,
}

/// What can be varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Axis {
    /// The target of the first latency objective; the others are scaled alike
    Target,
    /// The arrival rate
    Rate,
    /// The number of GPUs
    Gpus,
}

impl FrontierArgs {
    /// What to vary, if anything.
    pub(crate) fn axis(&self) -> Option<FrontierAxis> {
        self.frontier.map(|axis| match axis {
            Axis::Target => FrontierAxis::Target,
            Axis::Rate => FrontierAxis::Rate,
            Axis::Gpus => FrontierAxis::Gpus,
        })
    }
}

pub(crate) fn run(
    args: &FrontierArgs,
    axis: FrontierAxis,
    scenario: &Scenario,
    stop_after: Option<f64>,
    format: Format,
    out: &mut dyn Write,
) -> Result<Answer, Failure> {
    let values = values(args, axis, scenario)?;
    let frontier = watched::frontier(scenario, axis, &values, stop_after)?;
    if let Some(file) = &args.csv {
        write_atomically(file, csv(&frontier).as_bytes())
            .map_err(Failure::environment(format!("writing the points `{}`", file.display())))?;
    }
    if let Some(file) = &args.svg {
        write_atomically(file, drawing::frontier(&frontier).as_bytes())
            .map_err(Failure::environment(format!("drawing `{}`", file.display())))?;
    }
    match format {
        Format::Json => print_json(&frontier, out)?,
        Format::Table => {
            print(&frontier, out)?;
            for file in args.csv.iter().chain(&args.svg) {
                writeln!(out, " Written to {}", file.display())?;
            }
        }
    }
    let points = &frontier.points;
    if points.iter().any(|point| point.quality.is_some()) {
        return Ok(Answer::Yes);
    }
    if points.iter().all(|point| point.feasible == Some(false)) {
        return Ok(Answer::No);
    }
    Err(Failure::Request {
        what: "the search was stopped or ran out of work before it found any plan".into(),
        help: "give it more time (`--stop-after`, `max-work`), or fewer points".into(),
    })
}

/// The values to plan: targets evenly spaced in their logarithm, rates and GPUs evenly.
fn values(args: &FrontierArgs, axis: FrontierAxis, scenario: &Scenario) -> Result<Vec<f64>, Failure> {
    let own = match axis {
        FrontierAxis::Target => scenario.workload.slos.first().map_or(1.0, |slo| slo.target.value()),
        FrontierAxis::Rate => scenario.workload.rate.value(),
        FrontierAxis::Gpus => f64::from(u32::try_from(scenario.cluster.n_gpus()).unwrap_or(u32::MAX)),
    };
    let (usual_from, usual_to) = match axis {
        FrontierAxis::Target => (own / 4.0, own * 4.0),
        FrontierAxis::Rate => (own / 4.0, own * 2.0),
        FrontierAxis::Gpus => (1.0, own),
    };
    let read = |option: &str, text: Option<&String>, usual: f64| {
        text.map_or(Ok(usual), |text| {
            parse(axis, text).ok_or_else(|| Failure::Request {
                what: format!("`{option}` is `{text}`, which is no {}", kind(axis)),
                help: example(axis).into(),
            })
        })
    };
    let from = read("--from", args.from.as_ref(), usual_from)?;
    let to = read("--to", args.to.as_ref(), usual_to)?;
    if from > to {
        return Err(Failure::Request {
            what: format!("`--from` is {from} and `--to` is {to}"),
            help: "give the smaller value to `--from`".into(),
        });
    }
    let part = |at: u32| f64::from(at) / f64::from(args.points - 1);
    let values = (0..args.points).map(|at| match axis {
        FrontierAxis::Target => from * (to / from).powf(part(at)),
        FrontierAxis::Rate => from + (to - from) * part(at),
        FrontierAxis::Gpus => (from + (to - from) * part(at)).round(),
    });
    Ok(values.collect())
}

/// A value above 0 in the axis's unit; a plain number of a target is in milliseconds, as with `--target-ms`.
fn parse(axis: FrontierAxis, text: &str) -> Option<f64> {
    let text = text.trim();
    let number = |suffix: &str, factor: f64| {
        let number: f64 = text.strip_suffix(suffix)?.trim_end().parse().ok()?;
        Some(number * factor)
    };
    let value = match axis {
        FrontierAxis::Target => number("ms", 1e-3)
            .or_else(|| number("s", 1.0))
            .or_else(|| number("", 1e-3)),
        FrontierAxis::Rate => number("/s", 1.0).or_else(|| number("", 1.0)),
        FrontierAxis::Gpus => text.parse::<u32>().ok().map(f64::from),
    }?;
    (value.is_finite() && value > 0.0).then_some(value)
}

fn kind(axis: FrontierAxis) -> &'static str {
    match axis {
        FrontierAxis::Target => "time above 0",
        FrontierAxis::Rate => "rate above 0",
        FrontierAxis::Gpus => "number of GPUs",
    }
}

fn example(axis: FrontierAxis) -> &'static str {
    match axis {
        FrontierAxis::Target => "write a target such as \"250 ms\" or \"1.5 s\"",
        FrontierAxis::Rate => "write a rate such as \"30 /s\"",
        FrontierAxis::Gpus => "write a whole number such as 4",
    }
}

/// A value as a person reads it.
pub(crate) fn shown(axis: FrontierAxis, value: f64) -> String {
    match axis {
        FrontierAxis::Target => Seconds::new(value).map_or_else(|_| value.to_string(), |time| time.to_string()),
        FrontierAxis::Rate => RequestsPerSecond::new(value).map_or_else(|_| value.to_string(), |rate| rate.to_string()),
        FrontierAxis::Gpus => format!("{value:.0}"),
    }
}

fn print(frontier: &Frontier, out: &mut dyn Write) -> io::Result<()> {
    let (title, head) = match frontier.axis {
        FrontierAxis::Target => ("latency target", "target"),
        FrontierAxis::Rate => ("arrival rate", "rate"),
        FrontierAxis::Gpus => ("number of GPUs", "GPUs"),
    };
    writeln!(out, "Quality against {title}: {}\n", frontier.scenario)?;
    let dash = || "-".to_owned();
    let rows = frontier.points.iter().map(|point| {
        [
            shown(frontier.axis, point.at),
            match (point.quality, point.feasible) {
                (Some(quality), _) => quality.to_string(),
                (None, Some(false)) => "no plan".to_owned(),
                (None, _) => "not settled".to_owned(),
            },
            point.upper_bound.map_or_else(dash, |bound| format!("{bound:.4}")),
            point.mean_ttft.map_or_else(dash, |ttft| ttft.to_string()),
            point.n_gpus.map_or_else(dash, |n| n.to_string()),
            models(point),
        ]
    });
    let header = [head, "quality", "at most", "mean TTFT", "GPUs used", "prompts go to"];
    writeln!(out, "{}\n", table(header, "rrrrrl", rows))?;
    writeln!(
        out,
        " `at most` is proven: no plan reaches more there. What holds for one point was used for its neighbours."
    )
}

/// `phi-3-mini 50 %, llama-3.1-70b 6 %`: most prompts first.
fn models(point: &FrontierPoint) -> String {
    let mut models: Vec<_> = point
        .models
        .iter()
        .filter(|model| model.fraction.value() >= 5e-4)
        .collect();
    models.sort_by(|a, b| b.fraction.value().total_cmp(&a.fraction.value()));
    let words: Vec<String> = models
        .iter()
        .map(|model| format!("{} {:.0} %", model.name, model.fraction.value() * 100.0))
        .collect();
    words.join(", ")
}

/// One line per point; how each model runs is in one cell, `name tp=2 share=30 % x2: 0.502; …`.
fn csv(frontier: &Frontier) -> String {
    let head = match frontier.axis {
        FrontierAxis::Target => "target_s",
        FrontierAxis::Rate => "rate_per_s",
        FrontierAxis::Gpus => "gpus",
    };
    let mut text = format!("{head},feasible,quality,upper_bound,gap,mean_ttft_s,gpus_used,models\n");
    let cell = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    for point in &frontier.points {
        let feasible = match point.feasible {
            Some(true) => "yes",
            Some(false) => "no",
            None => "not settled",
        };
        let models: Vec<String> = point
            .models
            .iter()
            .map(|model| format!("{} {}: {:.4}", model.name, model.configuration, model.fraction.value()))
            .collect();
        let cells = [
            point.at.to_string(),
            feasible.to_owned(),
            cell(point.quality.map(|quality| quality.value())),
            cell(point.upper_bound),
            cell(point.gap),
            cell(point.mean_ttft.map(Seconds::value)),
            point.n_gpus.map_or_else(String::new, |n| n.to_string()),
            quoted(&models.join("; ")),
        ];
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// A cell that may hold commas.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_or_without_their_unit() {
        let close = |axis, text: &str, value: f64| {
            assert!((parse(axis, text).unwrap() / value - 1.0).abs() < 1e-12, "{text}");
        };
        close(FrontierAxis::Target, "250 ms", 0.25);
        close(FrontierAxis::Target, "1.5s", 1.5);
        close(FrontierAxis::Target, "400", 0.4);
        close(FrontierAxis::Rate, "30 /s", 30.0);
        close(FrontierAxis::Gpus, "4", 4.0);
        for (axis, text) in [
            (FrontierAxis::Target, "-1 s"),
            (FrontierAxis::Rate, "NaN"),
            (FrontierAxis::Rate, "0"),
            (FrontierAxis::Gpus, "1.5"),
        ] {
            assert_eq!(parse(axis, text), None, "{text}");
        }
    }
}
