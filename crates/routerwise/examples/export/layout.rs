//! What `scripts/milp/reference.py` reads: a planning problem in numbers, and what RouterWise makes of it.

use routerwise_plan::flow::Flow;
use routerwise_plan::problem::{Candidate, Problem};
use routerwise_types::cluster::Interconnect;
use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;
use serde::Serialize;

/// Layout version.
const SCHEMA: u32 = 1;

/// A planning problem and the plan for it.
#[derive(Serialize)]
pub(crate) struct Export {
    schema: u32,
    name: String,
    /// Weight of each prompt; sums to 1.
    weights: Vec<f64>,
    /// What each load level counts for; sums to 1.
    level_weights: Vec<f64>,
    /// Constraints at each level, which read `Σ φ ≤ 1`.
    n_rows: usize,
    units_per_gpu: u32,
    least_units: u32,
    nodes: Vec<Node>,
    models: Vec<Model>,
    routerwise: Found,
}

#[derive(Serialize)]
struct Node {
    gpu_type_ix: usize,
    n_gpus: usize,
    links: Interconnect,
    /// Usable memory of each GPU in bytes.
    memory: u64,
}

#[derive(Serialize)]
struct Model {
    name: String,
    /// Of each prompt.
    scores: Vec<f32>,
    candidates: Vec<Option<Running>>,
}

/// A way to run a model; one that is off is `null`.
#[derive(Serialize)]
struct Running {
    what: String,
    gpu_type_ix: usize,
    tensor_parallel: u32,
    n_replicas: u32,
    shard_units: u32,
    shard_memory: u64,
    /// One for each level.
    flows: Vec<Pieces>,
}

/// `φ(w) = w·(a + b·w)` on each piece `breaks[j] ≤ w ≤ breaks[j + 1]`.
#[derive(Serialize)]
struct Pieces {
    breaks: Vec<f64>,
    /// `[a, b]` of `rows[row][piece]`.
    rows: Vec<Vec<[f64; 2]>>,
}

/// What RouterWise found.
#[derive(Serialize)]
struct Found {
    seconds: f64,
    plan: Option<FoundPlan>,
}

#[derive(Serialize)]
struct FoundPlan {
    quality: f64,
    bound: f64,
    gap: f64,
    /// Candidate of each model.
    candidates: Vec<usize>,
}

impl Export {
    pub(crate) fn new(name: &str, scenario: &Scenario, problem: &Problem, plan: Option<&Plan>, seconds: f64) -> Self {
        let models = problem.models.iter().zip(&scenario.scores.columns);
        Self {
            schema: SCHEMA,
            name: name.into(),
            weights: scenario.scores.normalised_weights(),
            level_weights: problem.traffic.weights.clone(),
            n_rows: problem.rows.len(),
            units_per_gpu: problem.units_per_gpu,
            least_units: problem.least_units,
            nodes: nodes(scenario),
            models: models
                .map(|(model, scores)| Model {
                    name: model.name.clone(),
                    scores: scores.clone(),
                    candidates: model.candidates.iter().map(|c| running(problem, c)).collect(),
                })
                .collect(),
            routerwise: Found {
                seconds,
                plan: plan.map(|plan| found(problem, plan)),
            },
        }
    }
}

fn nodes(scenario: &Scenario) -> Vec<Node> {
    let cluster = &scenario.cluster;
    let node = |node: &routerwise_types::cluster::Node| Node {
        gpu_type_ix: node.gpu_type_ix,
        n_gpus: node.n_gpus,
        links: node.interconnect,
        memory: cluster.gpu_types[node.gpu_type_ix].usable_memory.0,
    };
    cluster.nodes.iter().map(node).collect()
}

fn running(problem: &Problem, candidate: &Candidate) -> Option<Running> {
    let configuration = candidate.configuration?;
    let flows = (0..problem.n_levels()).map(|level| pieces(candidate.flow_at(level), problem.rows.len()));
    Some(Running {
        what: configuration.to_string(),
        gpu_type_ix: configuration.gpu_type_ix,
        tensor_parallel: configuration.tensor_parallel,
        n_replicas: configuration.n_replicas,
        shard_units: candidate.shard_units,
        shard_memory: candidate.shard_memory.0,
        flows: flows.collect(),
    })
}

fn pieces(flow: &Flow, n_rows: usize) -> Pieces {
    let of_row = |row| {
        let each = (1..flow.breaks().len()).map(|end| flow.coefficient(end - 1, row).into());
        each.collect()
    };
    Pieces {
        breaks: flow.breaks().to_vec(),
        rows: (0..n_rows).map(of_row).collect(),
    }
}

fn found(problem: &Problem, plan: &Plan) -> FoundPlan {
    let certificate = &plan.certificate;
    let candidate = |(options, model): (
        &routerwise_plan::problem::ModelOptions,
        &routerwise_types::plan::PlannedModel,
    )| {
        let same = |candidate: &Candidate| candidate.configuration == model.configuration;
        options.candidates.iter().position(same)
    };
    let candidates = problem.models.iter().zip(&plan.models).map(candidate);
    FoundPlan {
        quality: certificate.quality.value(),
        bound: certificate.upper_bound,
        gap: certificate.gap,
        candidates: candidates
            .map(|found| found.expect("a plan runs what its problem offers"))
            .collect(),
    }
}
