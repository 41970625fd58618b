//! A plan played on one virtual clock: arrivals, the router and the engines of all replicas.
//!
//! The routing rule and the choice of replica are those of `routerwise-route`, so what is seen here is what a gateway does. Every engine
//! is alone on its share: contention of neighbours for memory bandwidth is not in it, as it is not in the profiles.

use std::sync::Arc;

use rand::RngExt;
use routerwise_route::balance::less_loaded_of_two;
use routerwise_route::policy::{Policy, prompt_hash};
use routerwise_types::plan::Plan;
use routerwise_types::profile::LatencyStat;
use routerwise_types::report::{RequestRecord, latency_stat};
use routerwise_types::workload::{Metric, Scope, Slo, Statistic};
use routerwise_types::{Scenario, Timestamp};

use crate::arrivals::{UnitSchedule, stream};
use crate::constants::{Constants, for_engine};
use crate::cost::{NoCost, StepCost};
use crate::engine::{Detail, Engine, EngineSpec, Event, EventKind, NoEngine};

/// How long to play, and with which chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests to send. The first and last tenth are played but not measured.
    pub n_requests: usize,
    /// Seed of arrivals, lengths and prompts.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// One entry per model of the plan.
    pub models: Vec<Served>,
    /// All of them together.
    pub all: Served,
    /// For each SLO of the plan, in order: its left-hand side as played. Seconds, or share of requests above the target.
    pub slo_values: Vec<f64>,
    /// Requests measured that no engine could ever serve (too long for its context or cache).
    pub n_refused: usize,
}

/// What one model, or all, did for the requests measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Served {
    /// Requests answered.
    pub n_requests: usize,
    /// Part of all answered.
    pub fraction: f64,
    /// Mean score of the answers.
    pub quality: f64,
    /// Time to first token; absent without requests.
    pub ttft: Option<LatencyStat>,
    /// Time per output token.
    pub tpot: Option<LatencyStat>,
    /// End to end.
    pub e2e: Option<LatencyStat>,
}

/// Why a plan cannot be played.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unplayable {
    /// A model has no iteration time.
    #[error(transparent)]
    NoCost(#[from] NoCost),
    /// A replica has no engine.
    #[error(transparent)]
    NoEngine(#[from] NoEngine),
    /// Nobody fitted the engine's host overheads.
    #[error("the engine model does not know `{0}`, so the plan cannot be simulated")]
    UnknownEngine(String),
}

/// Plays a plan at its own rate with the scenario's arrivals, lengths and prompts.
///
/// # Errors
/// [`Unplayable`] when the engine model lacks something that the plan uses.
pub fn play(scenario: &Scenario, plan: &Plan, settings: Settings) -> Result<Played, Unplayable> {
    let mut replicas = replicas(scenario, plan)?;
    let policy = Policy::new(plan);
    let prompts = Prompts::new(scenario);
    let workload = &scenario.workload;
    let schedule = UnitSchedule::draw(workload.arrivals, &workload.lengths, settings.n_requests, settings.seed);
    let mut random = stream(settings.seed, "prompts");
    let mut journal = Journal::new(settings.n_requests);
    let mut scores = vec![0.0; scenario.models.len()];
    for (number, arrival) in (0u64..).zip(schedule.at_rate(plan.rate)) {
        for replica in replicas.iter_mut().flatten() {
            replica.advance(arrival.at, &mut journal);
        }
        let prompt = prompts.draw(random.random::<f64>());
        for (score, column) in scores.iter_mut().zip(&scenario.scores.columns) {
            *score = column[prompt];
        }
        let answer = policy.choose(&scores, prompts.hashes[prompt]).and_then(|model| {
            let outstanding: Vec<usize> = replicas[model]
                .iter()
                .map(|replica| replica.engine.outstanding())
                .collect();
            let replica = less_loaded_of_two(&outstanding, number)?;
            let accepted = replicas[model][replica]
                .engine
                .submit(arrival.at, number, arrival.lengths);
            accepted.is_ok().then_some((model, scores[model]))
        });
        journal.sent(
            RequestRecord {
                arrived: arrival.at,
                first_token: arrival.at,
                finished: arrival.at,
                lengths: arrival.lengths,
            },
            answer,
        );
    }
    for replica in replicas.iter_mut().flatten() {
        replica.advance(Timestamp(u64::MAX), &mut journal);
    }
    Ok(journal.report(plan))
}

/// One engine with room for its events.
struct Replica {
    engine: Engine,
    events: Vec<Event>,
}

impl Replica {
    fn advance(&mut self, now: Timestamp, journal: &mut Journal) {
        self.engine.advance(now, &mut self.events);
        for event in self.events.drain(..) {
            journal.note(event);
        }
    }
}

fn replicas(scenario: &Scenario, plan: &Plan) -> Result<Vec<Vec<Replica>>, Unplayable> {
    let constants = Constants::shipped();
    let mut all = Vec::with_capacity(plan.models.len());
    for (planned, model) in plan.models.iter().zip(&scenario.models) {
        let mut engines = Vec::new();
        if let Some(configuration) = planned.configuration {
            let gpu = constants.for_gpu(&scenario.cluster.gpu_types[configuration.gpu_type_ix]);
            let engine =
                for_engine(&model.engine.name).ok_or_else(|| Unplayable::UnknownEngine(model.engine.name.clone()))?;
            let links = scenario
                .cluster
                .interconnect_of(configuration.gpu_type_ix)
                .expect("a configuration's GPU type is one that the cluster has");
            let cost = StepCost::new(
                model,
                &gpu,
                &engine,
                links,
                configuration.tensor_parallel,
                configuration.share.value(),
            )?;
            for kv_cache in &planned.kv_cache {
                let spec = Arc::new(EngineSpec::new(model, &cost, &engine, *kv_cache)?);
                engines.push(Replica {
                    engine: Engine::new(spec, Detail::Requests),
                    events: Vec::new(),
                });
            }
        }
        all.push(engines);
    }
    Ok(all)
}

/// Prompts to draw from by weight.
struct Prompts {
    cumulative: Vec<f64>,
    hashes: Vec<u64>,
}

impl Prompts {
    fn new(scenario: &Scenario) -> Self {
        let mut sum = 0.0;
        let cumulative = scenario.scores.normalised_weights().into_iter().map(|weight| {
            sum += weight;
            sum
        });
        Self {
            cumulative: cumulative.collect(),
            hashes: scenario
                .scores
                .prompts
                .iter()
                .map(|prompt| prompt_hash(prompt.text.as_deref().unwrap_or(&prompt.id)))
                .collect(),
        }
    }

    /// The prompt for a number in [0, 1).
    fn draw(&self, uniform: f64) -> usize {
        self.cumulative
            .partition_point(|sum| *sum <= uniform)
            .min(self.cumulative.len() - 1)
    }
}

/// What happened to every request.
struct Journal {
    records: Vec<RequestRecord>,
    /// Model and score of each; nothing when refused.
    answers: Vec<Option<(usize, f32)>>,
}

impl Journal {
    fn new(n_requests: usize) -> Self {
        Self {
            records: Vec::with_capacity(n_requests),
            answers: Vec::with_capacity(n_requests),
        }
    }

    fn sent(&mut self, record: RequestRecord, answer: Option<(usize, f32)>) {
        self.records.push(record);
        self.answers.push(answer);
    }

    fn note(&mut self, event: Event) {
        let ix = usize::try_from(event.request).expect("an index into the records");
        match event.kind {
            EventKind::FirstToken => self.records[ix].first_token = event.at,
            EventKind::Finished => self.records[ix].finished = event.at,
            EventKind::Token | EventKind::Preempted => {}
        }
    }

    fn report(&self, plan: &Plan) -> Played {
        let n = self.records.len();
        let window = n / 10..n - n / 10;
        let measured: Vec<(&RequestRecord, usize, f32)> = window
            .clone()
            .filter_map(|ix| self.answers[ix].map(|(model, score)| (&self.records[ix], model, score)))
            .collect();
        let served = |model: Option<usize>| served(&measured, model);
        let models: Vec<Served> = (0..plan.models.len()).map(|model| served(Some(model))).collect();
        let slo_values = plan
            .slos
            .iter()
            .map(|slo| slo_value(slo, &measured, plan.models.len()))
            .collect();
        Played {
            all: served(None),
            models,
            slo_values,
            n_refused: window.len() - measured.len(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn served(measured: &[(&RequestRecord, usize, f32)], model: Option<usize>) -> Served {
    let own = || {
        measured
            .iter()
            .filter(move |(_, by, _)| model.is_none_or(|model| model == *by))
    };
    let n_requests = own().count();
    let stat = |metric| latency_stat(own().map(|(record, ..)| *record), metric);
    Served {
        n_requests,
        fraction: n_requests as f64 / measured.len().max(1) as f64,
        quality: own().map(|(.., score)| f64::from(*score)).sum::<f64>() / n_requests.max(1) as f64,
        ttft: stat(Metric::Ttft),
        tpot: stat(Metric::Tpot),
        e2e: stat(Metric::E2e),
    }
}

/// An SLO's left-hand side: over all requests, or the worst model's.
fn slo_value(slo: &Slo, measured: &[(&RequestRecord, usize, f32)], n_models: usize) -> f64 {
    let values = |model: Option<usize>| -> Vec<f64> {
        measured
            .iter()
            .filter(|(_, by, _)| model.is_none_or(|model| model == *by))
            .filter_map(|(record, ..)| record.latency(slo.metric))
            .map(|latency| latency.value())
            .collect()
    };
    match (slo.scope, slo.statistic) {
        (Scope::Workload, Statistic::Mean) => mean(&values(None)),
        (Scope::Workload, Statistic::Quantile { .. }) => above(&values(None), slo.target.value()),
        (Scope::EachModel, statistic) => (0..n_models)
            .map(|model| values(Some(model)))
            .filter(|values| !values.is_empty())
            .map(|values| match statistic {
                Statistic::Mean => mean(&values),
                Statistic::Quantile { q } => quantile(values, q),
            })
            .fold(0.0, f64::max),
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn above(values: &[f64], target: f64) -> f64 {
    values.iter().filter(|value| **value > target).count() as f64 / values.len().max(1) as f64
}

/// Nearest rank.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank between 1 and the count"
)]
fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
    values[rank - 1]
}
