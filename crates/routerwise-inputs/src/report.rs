//! What `routerwise check` has to tell: every value in force, and what it rests on.

use routerwise_types::catalogue::Model;
use routerwise_types::cluster::{Cluster, GpuType};
use routerwise_types::scenario::{Inputs, Scenario};
use routerwise_types::workload::{Arrivals, Lengths, Level, Objective, Planning, Route, Slo};
use routerwise_types::{Bytes, RequestsPerSecond, Score};
use schemars::JsonSchema;
use serde::Serialize;

use crate::defaults::InForce;
use crate::problem::Problem;
use crate::profiles::{Coverage, coverage};
use crate::scenario::Loaded;

/// Version of the report's layout.
pub const REPORT_SCHEMA: u32 = 1;

/// Every value in force in a scenario.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Report {
    /// Layout version: [`REPORT_SCHEMA`].
    pub schema: u32,
    /// The GPUs.
    pub cluster: Cluster,
    /// The models, with what follows for each.
    pub models: Vec<ModelReport>,
    /// What arrives.
    pub workload: WorkloadReport,
    /// The scores file.
    pub scores: ScoresReport,
    /// Values that no file says.
    pub defaults: Vec<InForce>,
    /// What is doubtful but usable.
    pub warnings: Vec<Warning>,
    /// Content of each input.
    pub fingerprints: Inputs,
}

/// A model and what follows for it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ModelReport {
    /// Its entry, with defaults.
    pub model: Model,
    /// Memory of one shard at each allowed tensor-parallel degree.
    pub shard_memory: Vec<Bytes>,
    /// Mean score over all prompts, by their weights.
    pub mean_score: Score,
    /// How many of its configurations have a profile.
    pub profiles: Coverage,
}

/// A workload, its lengths summarised.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct WorkloadReport {
    /// Mean arrival rate.
    pub rate: RequestsPerSecond,
    /// How the rate varies over the day.
    pub levels: Vec<Level>,
    /// Classes of traffic, with how many prompts each has; empty where there is one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteReport>,
    /// How arrivals are spread around it.
    pub arrivals: Arrivals,
    /// Pairs of prompt and answer lengths that are kept.
    pub n_lengths: usize,
    /// Prompt tokens.
    pub input_tokens: Summary,
    /// Answer tokens.
    pub output_tokens: Summary,
    /// The objectives that a plan must meet.
    pub slos: Vec<Slo>,
    /// What to make best under them.
    pub objective: Objective,
    /// How the planner searches.
    pub planning: Planning,
}

/// A route and its prompts.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RouteReport {
    /// The route.
    #[serde(flatten)]
    pub route: Route,
    /// Prompts of the scores file that are its own.
    pub n_prompts: usize,
}

/// Token counts in four numbers.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Summary {
    /// Mean.
    pub mean: f64,
    /// Median.
    pub p50: u32,
    /// 95th percentile.
    pub p95: u32,
    /// Largest.
    pub max: u32,
}

/// What the scores file holds.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct ScoresReport {
    /// Prompts in use.
    pub n_prompts: usize,
    /// Prompts left out because a model has no score for them.
    pub n_dropped: usize,
    /// Whether the file has the prompts' texts.
    pub has_texts: bool,
    /// Mean score when every prompt goes to the model that is best on it.
    pub oracle: Score,
}

/// A warning.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Warning {
    /// The file that it is about.
    pub file: String,
    /// What was found.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Report {
    /// Of a loaded scenario.
    #[must_use]
    pub fn of(loaded: &Loaded) -> Self {
        let scenario = &loaded.scenario;
        let coverage = coverage(scenario);
        let models = scenario.models.iter().zip(coverage).enumerate();
        Self {
            schema: REPORT_SCHEMA,
            cluster: scenario.cluster.clone(),
            models: models
                .map(|(ix, (model, profiles))| ModelReport {
                    model: model.clone(),
                    shard_memory: model.tensor_parallel.iter().map(|tp| model.shard_memory(*tp)).collect(),
                    mean_score: scenario.scores.mean(ix),
                    profiles,
                })
                .collect(),
            workload: WorkloadReport {
                rate: scenario.workload.rate,
                arrivals: scenario.workload.arrivals,
                n_lengths: scenario.workload.lengths.len(),
                input_tokens: summary(&scenario.workload.lengths, |lengths| lengths.input),
                output_tokens: summary(&scenario.workload.lengths, |lengths| lengths.output),
                levels: scenario.workload.levels.clone(),
                routes: routes(scenario),
                slos: scenario.workload.slos.clone(),
                objective: scenario.workload.objective,
                planning: scenario.workload.planning,
            },
            scores: ScoresReport {
                n_prompts: scenario.scores.n_prompts(),
                n_dropped: loaded.n_prompts_dropped,
                has_texts: scenario.scores.prompts.iter().any(|prompt| prompt.text.is_some()),
                oracle: oracle(loaded),
            },
            defaults: loaded.defaults.clone(),
            warnings: loaded.warnings.iter().map(warning).collect(),
            fingerprints: scenario.fingerprints.clone(),
        }
    }

    /// The GPU type of a node.
    #[must_use]
    pub fn gpu_type(&self, gpu_type_ix: usize) -> &GpuType {
        &self.cluster.gpu_types[gpu_type_ix]
    }
}

fn routes(scenario: &Scenario) -> Vec<RouteReport> {
    let routes = scenario.workload.routes.iter().zip(&scenario.scores.routes);
    routes
        .map(|(route, prompts)| RouteReport {
            route: route.clone(),
            n_prompts: prompts.len(),
        })
        .collect()
}

fn summary(lengths: &[Lengths], tokens: impl Fn(&Lengths) -> u32) -> Summary {
    let mut sorted: Vec<u32> = lengths.iter().map(tokens).collect();
    sorted.sort_unstable();
    let at = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).saturating_sub(1));
    #[expect(clippy::cast_precision_loss, reason = "a length mix has some thousand entries")]
    let n = sorted.len().max(1) as f64;
    Summary {
        mean: sorted.iter().map(|tokens| f64::from(*tokens)).sum::<f64>() / n,
        p50: at(50).copied().unwrap_or_default(),
        p95: at(95).copied().unwrap_or_default(),
        max: sorted.last().copied().unwrap_or_default(),
    }
}

fn oracle(loaded: &Loaded) -> Score {
    let scores = &loaded.scenario.scores;
    let best = |row: usize| {
        scores
            .columns
            .iter()
            .map(|column| f64::from(column[row]))
            .fold(0.0, f64::max)
    };
    let mean: f64 = scores
        .normalised_weights()
        .iter()
        .enumerate()
        .map(|(row, p)| p * best(row))
        .sum();
    Score::new(mean.clamp(0.0, 1.0)).expect("a mean of scores in [0, 1], clamped against rounding")
}

fn warning(problem: &Problem) -> Warning {
    Warning {
        file: problem.file().display().to_string(),
        message: problem.message().to_owned(),
        help: problem.help_text().map(str::to_owned),
    }
}
