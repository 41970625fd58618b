//! What arrives, and what it must get: rate, token lengths, arrival process, SLOs and the objective.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Fraction, RequestsPerSecond, Seconds};

/// Prompt and answer lengths of one request, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Lengths {
    /// Prompt tokens, at least 1.
    pub input: u32,
    /// Answer tokens, at least 1.
    pub output: u32,
}

/// How gaps between arrivals are spread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Arrivals {
    /// Independent exponential gaps: coefficient of variation 1.
    Poisson,
    /// Independent gamma gaps with this coefficient of variation: above 1 is burstier than Poisson.
    Gamma {
        /// Standard deviation of the gap over its mean.
        cv: f64,
    },
    /// Equal gaps.
    Constant,
}

/// Which latency an SLO limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Time to first token: from arrival to the first token of the answer.
    Ttft,
    /// Time per output token after the first: (last − first token) / (tokens − 1).
    Tpot,
    /// End to end: from arrival to the last token.
    E2e,
}

/// Which statistic of the metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Statistic {
    /// The mean over requests.
    Mean,
    /// At most `1 − q` of the requests lie above the target.
    Quantile {
        /// The quantile, in (0, 1).
        q: f64,
    },
}

/// Over which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// All requests of the workload together.
    Workload,
    /// The requests of each model by themselves.
    EachModel,
}

/// A latency objective.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slo {
    /// What is limited.
    pub metric: Metric,
    /// Which statistic of it.
    pub statistic: Statistic,
    /// Over which requests.
    pub scope: Scope,
    /// The limit `τ`.
    pub target: Seconds,
}

/// What the planner is to make best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// Highest mean score under the SLOs.
    MaximiseQuality,
}

/// What arrives, and what it must get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// Mean arrival rate `λ`.
    pub rate: RequestsPerSecond,
    /// How arrivals are spread around it.
    pub arrivals: Arrivals,
    /// The length mix: every entry is equally likely. Kept in the order of the trace.
    pub lengths: Vec<Lengths>,
    /// The objectives that the plan must meet, all of them.
    pub slos: Vec<Slo>,
    /// What to make best under them.
    pub objective: Objective,
    /// How the planner searches.
    pub planning: Planning,
}

/// Settings of the planner.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Planning {
    /// Guard band on load: curves are read at `λ·w·(1 + headroom)`.
    pub headroom: f64,
    /// Setups that use less than this part of the cluster's compute are not considered.
    pub utilisation_floor: Fraction,
    /// The search stops when no setup can be better by more than this (in score).
    pub tolerance: f64,
    /// Most inner problems that the search may solve.
    pub max_solves: u32,
}

impl Workload {
    /// Mean prompt and mean answer tokens of the length mix; zeros when it is empty.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a length mix has some thousand entries")]
    pub fn mean_lengths(&self) -> (f64, f64) {
        let n = self.lengths.len().max(1) as f64;
        let mean = |tokens: fn(&Lengths) -> u32| self.lengths.iter().map(|l| f64::from(tokens(l))).sum::<f64>() / n;
        (mean(|l| l.input), mean(|l| l.output))
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ttft => "TTFT",
            Self::Tpot => "TPOT",
            Self::E2e => "E2E",
        })
    }
}

/// `mean TTFT ≤ 400 ms over the workload`.
impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.statistic {
            Statistic::Mean => write!(f, "mean {}", self.metric)?,
            Statistic::Quantile { q } => write!(f, "P{} {}", (q * 1e4).round() / 100.0, self.metric)?,
        }
        write!(f, " ≤ {} ", self.target)?;
        f.write_str(match self.scope {
            Scope::Workload => "over the workload",
            Scope::EachModel => "on each model",
        })
    }
}
