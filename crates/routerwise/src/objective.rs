//! The objective on the command line.

use clap::{Args, ValueEnum};
use routerwise_types::Score;
use routerwise_types::workload::{Aim, Metric, Objective};

use crate::failure::Failure;

/// What to make best instead of what the workload says.
#[derive(Debug, Args)]
pub(crate) struct ObjectiveArgs {
    /// Make this as small as possible while quality stays at the floor
    #[arg(long, value_enum, value_name = "WHAT", help_heading = "Objective")]
    minimise: Option<Minimise>,
    /// Make quality as high as possible, whatever the workload says
    #[arg(long, conflicts_with_all = ["minimise", "quality_floor"], help_heading = "Objective")]
    maximise_quality: bool,
    /// Least mean score when something else is minimised, such as 0.7 or "70 %"
    #[arg(long, value_name = "SCORE", value_parser = floor, help_heading = "Objective")]
    quality_floor: Option<Score>,
    /// Plan on at most so many GPUs of the cluster
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Objective")]
    max_gpus: Option<u32>,
    /// Plan on GPUs that cost at most this together, such as 12 or "12 /h"
    #[arg(long, value_name = "PRICE", value_parser = price, help_heading = "Objective")]
    max_cost: Option<f64>,
}

/// What can be made small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Minimise {
    /// The number of GPUs
    Gpus,
    /// Their price per hour
    Cost,
    /// The mean time to first token
    #[value(alias = "latency")]
    Ttft,
    /// The mean time per output token
    Tpot,
    /// The mean time of whole requests
    E2e,
}

impl ObjectiveArgs {
    /// Puts what the options say into an objective.
    pub(crate) fn override_in(&self, objective: &mut Objective) -> Result<(), Failure> {
        if self.maximise_quality {
            objective.aim = Aim::MaximiseQuality;
        }
        if let Some(minimise) = self.minimise {
            let Some(quality_floor) = self.quality_floor.or(objective.aim.quality_floor()) else {
                return Err(Failure::Request {
                    what: "`--minimise` needs the quality that must be kept".into(),
                    help: "add `--quality-floor 0.7`; `routerwise plan` without `--minimise` says what can be reached"
                        .into(),
                });
            };
            objective.aim = match minimise {
                Minimise::Gpus => Aim::MinimiseGpus { quality_floor },
                Minimise::Cost => Aim::MinimiseCost { quality_floor },
                Minimise::Ttft => latency(Metric::Ttft, quality_floor),
                Minimise::Tpot => latency(Metric::Tpot, quality_floor),
                Minimise::E2e => latency(Metric::E2e, quality_floor),
            };
        } else if let Some(score) = self.quality_floor {
            match &mut objective.aim {
                Aim::MaximiseQuality => {
                    return Err(Failure::Request {
                        what: "`--quality-floor` makes no difference where quality is maximised".into(),
                        help: "say what to `--minimise`: gpus, cost, ttft, tpot or e2e".into(),
                    });
                }
                Aim::MinimiseGpus { quality_floor }
                | Aim::MinimiseCost { quality_floor }
                | Aim::MinimiseLatency { quality_floor, .. } => *quality_floor = score,
            }
        }
        let budget = &mut objective.budget;
        budget.max_gpus = self.max_gpus.or(budget.max_gpus);
        budget.max_cost_per_hour = self.max_cost.or(budget.max_cost_per_hour);
        Ok(())
    }
}

fn latency(metric: Metric, quality_floor: Score) -> Aim {
    Aim::MinimiseLatency { metric, quality_floor }
}

fn floor(text: &str) -> Result<Score, String> {
    let (number, factor) = match text.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 0.01),
        None => (text, 1.0),
    };
    let value: f64 = number
        .parse()
        .map_err(|_| "write a score such as 0.7 or \"70 %\"".to_owned())?;
    Score::new(value * factor).map_err(|error| error.to_string())
}

fn price(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/h").unwrap_or(text).trim_end();
    match number.parse::<f64>() {
        Ok(price) if price.is_finite() && price >= 0.0 => Ok(price),
        _ => Err("write a price per hour such as 12 or \"12 /h\"".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_prices_are_read_with_or_without_their_unit() {
        assert!((floor("70 %").unwrap().value() - 0.7).abs() < 1e-12);
        assert!((floor("0.7").unwrap().value() - 0.7).abs() < 1e-12);
        assert!(floor("70").is_err() && floor("much").is_err());
        assert!((price("12 /h").unwrap() - 12.0).abs() < 1e-12);
        assert!((price("12/h").unwrap() - 12.0).abs() < 1e-12);
        assert!(price("-1").is_err() && price("NaN").is_err() && price("12 /d").is_err());
    }
}
