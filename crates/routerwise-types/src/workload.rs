//! What arrives, and what it must get: rate, token lengths, arrival process, SLOs and the objective.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::objective::{Aim, Budget, Objective, cost_per_hour};
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slo {
    /// What is limited.
    pub metric: Metric,
    /// Which statistic of it.
    pub statistic: Statistic,
    /// Over which requests.
    pub scope: Scope,
    /// The limit `τ`.
    pub target: Seconds,
    /// Name of the route whose requests alone count; absent where there is one route only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
}

/// Load levels that one workload may have.
pub const MOST_LEVELS: usize = 8;

/// A time of day with a rate of its own. One setup serves all levels, each with its own prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Level {
    /// Name, unique in the workload.
    pub name: String,
    /// Its rate as a part of the workload's, which is that of the busiest level.
    pub part: f64,
    /// How long it lasts, relative to the other levels; positive.
    pub hours: f64,
}

impl Level {
    /// The level of a workload whose rate does not vary.
    #[must_use]
    pub fn always() -> Self {
        Self {
            name: "always".to_owned(),
            part: 1.0,
            hours: 24.0,
        }
    }
}

/// Routes (classes of traffic) that one workload may have.
pub const MOST_ROUTES: usize = 8;
/// Policies (load levels times routes) that one workload may have.
pub const MOST_POLICIES: usize = 16;

/// A class of traffic with prompts and objectives of its own. All routes share the cluster, and every model's load is that of all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Route {
    /// Name, unique in the workload.
    pub name: String,
    /// Its part of all requests, at every load level; the parts sum to 1.
    pub part: f64,
    /// What its quality counts for; the weights sum to 1.
    pub weight: f64,
    /// Which prompts of the scores file are its own.
    pub prompts: PromptFilter,
    /// Models that may answer it; absent where all may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
}

/// Which prompts of the scores file are a route's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum PromptFilter {
    /// All of them.
    All,
    /// Those with one of some values in a column.
    Column {
        /// Column name.
        column: String,
        /// Values.
        values: Vec<String>,
    },
}

/// What arrives, and what it must get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workload {
    /// Mean arrival rate `λ`, at the busiest level.
    pub rate: RequestsPerSecond,
    /// How the rate varies over the day; at least one.
    pub levels: Vec<Level>,
    /// Classes of traffic; empty where there is only one, [`ALL_TRAFFIC`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
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
    /// Most work that the search may be, in millions of steps of some tens of nanoseconds each.
    #[serde(default = "usual_work")]
    pub max_work: u32,
}

/// What a search may work by default: some seconds.
pub const USUAL_WORK: u32 = 150;

fn usual_work() -> u32 {
    USUAL_WORK
}

/// Name of the one route of a workload that does not tell classes of traffic apart.
pub const ALL_TRAFFIC: &str = "all";

impl Workload {
    /// Mean arrival rate at a level.
    ///
    /// # Panics
    /// When `level_ix` is out of range.
    #[must_use]
    pub fn rate_at(&self, level_ix: usize) -> RequestsPerSecond {
        let rate = self.rate.value() * self.levels[level_ix].part;
        RequestsPerSecond::new(rate).expect("a rate times a part of at most 1")
    }

    /// Part of all requests that come at a level: its rate times its hours. Sums to 1 over the levels.
    ///
    /// # Panics
    /// When `level_ix` is out of range.
    #[must_use]
    pub fn weight_of(&self, level_ix: usize) -> f64 {
        let requests = |level: &Level| level.part * level.hours;
        requests(&self.levels[level_ix]) / self.levels.iter().map(requests).sum::<f64>()
    }

    /// Number of routes; 1 where traffic is not told apart.
    #[must_use]
    pub fn n_routes(&self) -> usize {
        self.routes.len().max(1)
    }

    /// Name of a route.
    ///
    /// # Panics
    /// When `route_ix` is out of range.
    #[must_use]
    pub fn route_name(&self, route_ix: usize) -> &str {
        if self.routes.is_empty() {
            ALL_TRAFFIC
        } else {
            &self.routes[route_ix].name
        }
    }

    /// Part of all requests that a route has.
    #[must_use]
    pub fn part_of(&self, route_ix: usize) -> f64 {
        self.routes.get(route_ix).map_or(1.0, |route| route.part)
    }

    /// What a policy (load level and route) counts for in a plan's quality. Sums to 1.
    ///
    /// # Panics
    /// When `level_ix` is out of range.
    #[must_use]
    pub fn policy_weight(&self, level_ix: usize, route_ix: usize) -> f64 {
        let of_route = self.routes.get(route_ix).map_or(1.0, |route| route.weight);
        self.weight_of(level_ix) * of_route
    }

    /// Whether an objective counts the requests of a route.
    #[must_use]
    pub fn concerns(&self, slo: &Slo, route_ix: usize) -> bool {
        slo.route
            .as_deref()
            .is_none_or(|name| name == self.route_name(route_ix))
    }

    /// Whether a model may answer a route.
    #[must_use]
    pub fn may_answer(&self, model: &str, route_ix: usize) -> bool {
        let route = self.routes.get(route_ix);
        let allowed = route.and_then(|route| route.models.as_ref());
        allowed.is_none_or(|models| models.iter().any(|name| name == model))
    }

    /// Mean prompt and mean answer tokens of the length mix; zeros when it is empty.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a length mix has some thousand entries")]
    pub fn mean_lengths(&self) -> (f64, f64) {
        let n = self.lengths.len().max(1) as f64;
        let mean = |tokens: fn(&Lengths) -> u32| self.lengths.iter().map(|l| f64::from(tokens(l))).sum::<f64>() / n;
        (mean(|l| l.input), mean(|l| l.output))
    }
}

impl Slo {
    /// As it reads where there are several routes or one: without a route of its own it holds for every route by itself.
    #[must_use]
    pub fn words(&self, n_routes: usize) -> String {
        let text = self.to_string();
        if n_routes > 1 && self.route.is_none() {
            return format!("{} of every route", text.trim_end_matches(" over the workload"));
        }
        text
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

/// `mean TTFT ≤ 400 ms over the workload`, or `over` a route.
impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.statistic {
            Statistic::Mean => write!(f, "mean {}", self.metric)?,
            Statistic::Quantile { q } => write!(f, "P{} {}", (q * 1e4).round() / 100.0, self.metric)?,
        }
        write!(f, " ≤ {} ", self.target)?;
        match (self.scope, &self.route) {
            (Scope::Workload, None) => f.write_str("over the workload"),
            (Scope::EachModel, None) => f.write_str("on each model"),
            (Scope::Workload, Some(route)) => write!(f, "over `{route}`"),
            (Scope::EachModel, Some(route)) => write!(f, "on each model of `{route}`"),
        }
    }
}
