//! A plan played on one virtual clock: arrivals, the router and the engines of all replicas.
//!
//! The routing rule and the choice of replica are those of `routerwise-route`, so what is seen here is what a gateway does. Every engine
//! is alone on its share unless interference is asked for: contention of neighbours for memory bandwidth is not in the profiles either.

mod report;

use rand::RngExt;
use routerwise_route::balance::less_loaded_of_two;
use routerwise_route::policy::{Policy, prompt_hash};
use routerwise_types::plan::Plan;
use routerwise_types::{Scenario, Timestamp};

use crate::arrivals::{UnitSchedule, stream};
use crate::constants::Constants;
use crate::engine::{Detail, Engine, Event};
use crate::sweep::{CannotSimulate, Job};
use report::Journal;

pub use report::{Answered, Played, Served};

/// How long to play, and with which chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Requests to send. The first and last tenth are played but not measured.
    pub n_requests: usize,
    /// Seed of arrivals, lengths and prompts.
    pub seed: u64,
}

/// How much slower an engine's memory gets by neighbours that are always busy and have the rest of its GPUs.
///
/// The factor on memory time is `1 + interference · Σ share · utilisation` over the other replicas on the GPU, the worst of a replica's
/// GPUs counting. Published cases on GPUs shared by MPS (decode 6 to 20 % slower, prefill hardly) lie between 0.1 and 0.4; nobody has
/// verified the form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interference(pub f64);

impl Interference {
    /// Every engine is as fast as it is alone.
    pub const OFF: Self = Self(0.0);
}

/// Plays one policy of a plan (an index) at its own rate with the scenario's arrivals, lengths and prompts.
///
/// # Errors
/// [`CannotSimulate`] when the engine model lacks something that the plan uses.
pub fn play(scenario: &Scenario, plan: &Plan, policy_ix: usize, settings: Settings) -> Result<Played, CannotSimulate> {
    play_with(scenario, plan, policy_ix, settings, Interference::OFF)
}

/// [`play`] with engines that slow each other down.
///
/// # Errors
/// As of [`play`].
///
/// # Panics
/// When the plan is not of the scenario, or has no such policy.
pub fn play_with(
    scenario: &Scenario,
    plan: &Plan,
    policy_ix: usize,
    settings: Settings,
    interference: Interference,
) -> Result<Played, CannotSimulate> {
    let mut replicas = replicas(scenario, plan, policy_ix, interference)?;
    let running = plan.models.iter().map(|model| model.configuration.is_some());
    let policy = Policy::new(&plan.policies[policy_ix], running.collect());
    let prompts = Prompts::new(scenario);
    let workload = &scenario.workload;
    let schedule = UnitSchedule::draw(workload.arrivals, &workload.lengths, settings.n_requests, settings.seed);
    let mut random = stream(settings.seed, "prompts");
    let mut journal = Journal::new(settings.n_requests);
    let mut scores = vec![0.0; scenario.models.len()];
    let mut outstanding = Vec::new();
    for (number, arrival) in (0u64..).zip(schedule.at_rate(plan.policies[policy_ix].rate)) {
        for replica in replicas.iter_mut().flatten() {
            replica.advance(arrival.at, &mut journal);
        }
        let prompt = prompts.draw(random.random::<f64>());
        for (score, column) in scores.iter_mut().zip(&scenario.scores.columns) {
            *score = column[prompt];
        }
        let answered = policy.choose(&scores, prompts.hashes[prompt]).and_then(|model| {
            outstanding.clear();
            outstanding.extend(replicas[model].iter().map(|replica| replica.engine.outstanding()));
            let replica = less_loaded_of_two(&outstanding, number)?;
            let engine = &mut replicas[model][replica].engine;
            let accepted = engine.submit(arrival.at, number, arrival.lengths);
            accepted.is_ok().then_some((model, replica))
        });
        journal.sent(arrival, prompt, answered, &scores);
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

fn replicas(
    scenario: &Scenario,
    plan: &Plan,
    policy_ix: usize,
    interference: Interference,
) -> Result<Vec<Vec<Replica>>, CannotSimulate> {
    let constants = Constants::shipped();
    let mut all = Vec::with_capacity(plan.models.len());
    for (model_ix, (planned, model)) in plan.models.iter().zip(&scenario.models).enumerate() {
        let mut engines = Vec::new();
        if let Some(configuration) = planned.configuration {
            let interconnect = scenario.cluster.interconnect_of(configuration.gpu_type_ix);
            let job = Job {
                model,
                gpu: &scenario.cluster.gpu_types[configuration.gpu_type_ix],
                interconnect: interconnect.expect("a configuration's GPU type is one that the cluster has"),
                tensor_parallel: configuration.tensor_parallel,
                share: configuration.share,
                workload: &scenario.workload,
            };
            for (kv_cache, gpus) in planned.kv_cache.iter().zip(&planned.replicas) {
                let slowdown = 1.0 + interference.0 * neighbours(plan, policy_ix, model_ix, gpus);
                engines.push(Replica {
                    engine: Engine::new(job.replica(&constants, *kv_cache, slowdown)?.spec, Detail::Requests),
                    events: Vec::new(),
                });
            }
        }
        all.push(engines);
    }
    Ok(all)
}

/// `Σ share · utilisation` of what else sits on the GPUs of a replica: the largest over them.
fn neighbours(plan: &Plan, policy_ix: usize, model_ix: usize, gpus: &[usize]) -> f64 {
    let demand = |ix: usize| {
        let share = plan.models[ix]
            .configuration
            .map_or(0.0, |configuration| configuration.share.value());
        share * plan.utilisation_under(ix, policy_ix).value()
    };
    let on_gpu = |gpu: &usize| {
        let of_model = |ix: usize| {
            let shards = plan.models[ix].replicas.iter().flatten().filter(|other| *other == gpu);
            shards.map(|_| demand(ix)).sum::<f64>()
        };
        (0..plan.models.len()).map(of_model).sum::<f64>() - demand(model_ix)
    };
    gpus.iter().map(on_gpu).fold(0.0, f64::max)
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
        let prompts = &scenario.scores.prompts;
        let text = prompts
            .iter()
            .map(|prompt| prompt.text.as_deref().unwrap_or(&prompt.id));
        Self {
            cumulative: cumulative.collect(),
            hashes: text.map(prompt_hash).collect(),
        }
    }

    /// The prompt for a number in [0, 1).
    fn draw(&self, uniform: f64) -> usize {
        self.cumulative
            .partition_point(|sum| *sum <= uniform)
            .min(self.cumulative.len() - 1)
    }
}
