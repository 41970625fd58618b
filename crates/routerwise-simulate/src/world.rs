//! A plan played on one virtual clock: arrivals, the router and the engines of all replicas.
//!
//! The routing rule and the choice of replica are those of `routerwise-route`, so what is seen here is what a gateway does. Every engine
//! is alone on its share unless interference is asked for: contention of neighbours for memory bandwidth is not in the profiles either.

mod report;

use std::sync::Arc;

use rand::RngExt;
use routerwise_route::balance::less_loaded_of_two;
use routerwise_route::policy::{Policy, prompt_hash};
use routerwise_route::router::{Ask, Router};
use routerwise_types::plan::{Plan, PlannedModel};
use routerwise_types::workload::Slo;
use routerwise_types::{RequestsPerSecond, Scenario, Timestamp};

use crate::arrivals::{Arrival, UnitSchedule, stream};
use crate::constants::Constants;
use crate::engine::{Detail, Engine, EngineSpec, Event, EventKind};
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

/// Plays one policy of a plan (an index) at its own rate with the scenario's arrivals, lengths and prompts. The other routes at its level are
/// played with it.
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
    let together = plan.policies_at(&plan.policies[policy_ix].level);
    let at = together.iter().position(|ix| *ix == policy_ix);
    let mut played = play_level(scenario, plan, &together, settings, interference)?;
    Ok(played.swap_remove(at.expect("a policy is one of those at its level")))
}

/// Plays the policies of one load level together: requests of all routes on one cluster, what came of each route by itself.
///
/// # Errors
/// As of [`play`].
///
/// # Panics
/// When the plan is not of the scenario, or has no such policies.
pub fn play_level(
    scenario: &Scenario,
    plan: &Plan,
    policies: &[usize],
    settings: Settings,
    interference: Interference,
) -> Result<Vec<Played>, CannotSimulate> {
    let running: Vec<bool> = plan.models.iter().map(|model| model.configuration.is_some()).collect();
    let rules: Vec<Policy> = policies
        .iter()
        .map(|ix| Policy::new(&plan.policies[*ix], running.clone()))
        .collect();
    let utilisation = |ix: usize| plan.utilisation_under(ix, policies[0]).value();
    let utilisation: Vec<f64> = (0..plan.models.len()).map(utilisation).collect();
    let slos = |ix: usize| -> Vec<Slo> {
        let own = plan.slos_of(&plan.policies[ix]);
        own.map(|slo_ix| plan.slos[slo_ix].clone()).collect()
    };
    let slos: Vec<Vec<Slo>> = policies.iter().map(|ix| slos(*ix)).collect();
    let rate: f64 = policies.iter().map(|ix| plan.policies[*ix].rate.value()).sum();
    let cluster = Deployment {
        models: &plan.models,
        utilisation,
        slos: &[],
        rate: RequestsPerSecond::new(rate).expect("a sum of rates"),
    };
    let sources = rules
        .iter()
        .zip(policies)
        .enumerate()
        .map(|(route, (rule, ix))| Source {
            router: rule,
            prompts: Prompts::new(scenario, route),
            part: plan.policies[*ix].rate.value() / rate,
        });
    let journal = play_sources(scenario, &cluster, sources.collect(), settings, interference)?;
    let routes = slos.iter().enumerate();
    Ok(routes
        .map(|(route, slos)| journal.report(route, slos, plan.models.len()))
        .collect())
}

/// What runs where, what arrives and what is asked of it.
#[derive(Clone, Debug)]
pub struct Deployment<'a> {
    /// One entry per model of the scenario.
    pub models: &'a [PlannedModel],
    /// Load of each over its capacity, for interference.
    pub utilisation: Vec<f64>,
    /// Objectives that are read off what was played.
    pub slos: &'a [Slo],
    /// Arrival rate.
    pub rate: RequestsPerSecond,
}

/// Plays any routing rule on any deployment, with the scenario's arrivals, lengths and prompts. A request whose answer the router
/// rejects asks the next model when that answer is complete; its first token is that of the answer that stands.
///
/// # Errors
/// As of [`play`].
///
/// # Panics
/// When the deployment is not of the scenario.
pub fn play_routed(
    scenario: &Scenario,
    deployment: &Deployment<'_>,
    router: &dyn Router,
    settings: Settings,
    interference: Interference,
) -> Result<Played, CannotSimulate> {
    let source = Source {
        router,
        prompts: Prompts::new(scenario, 0),
        part: 1.0,
    };
    let journal = play_sources(scenario, deployment, vec![source], settings, interference)?;
    Ok(journal.report(0, deployment.slos, deployment.models.len()))
}

/// What one route sends, and who decides where it goes.
struct Source<'a> {
    router: &'a dyn Router,
    prompts: Prompts,
    /// Part of all requests.
    part: f64,
}

/// The route for a number in [0, 1), by the part of the requests that each has.
pub(crate) fn drawn(mut parts: impl ExactSizeIterator<Item = f64>, uniform: f64) -> usize {
    let last = parts.len() - 1;
    let mut sum = 0.0;
    let of = parts.position(|part| {
        sum += part;
        uniform < sum
    });
    of.unwrap_or(last)
}

fn play_sources(
    scenario: &Scenario,
    deployment: &Deployment<'_>,
    sources: Vec<Source<'_>>,
    settings: Settings,
    interference: Interference,
) -> Result<Journal, CannotSimulate> {
    let mut world = World {
        replicas: replicas(scenario, deployment, interference)?,
        hashes: hashes(scenario),
        journal: Journal::new(settings.n_requests),
        columns: &scenario.scores.columns,
        sources,
        completed: Vec::new(),
    };
    let workload = &scenario.workload;
    let schedule = UnitSchedule::draw(workload.arrivals, &workload.lengths, settings.n_requests, settings.seed);
    let mut random = stream(settings.seed, "prompts");
    let mut of_routes = stream(settings.seed, "routes");
    for (number, arrival) in (0u64..).zip(schedule.at_rate(deployment.rate)) {
        world.advance(arrival.at);
        let parts = world.sources.iter().map(|source| source.part);
        let route = drawn(parts, of_routes.random::<f64>());
        let prompt_ix = world.sources[route].prompts.draw(random.random::<f64>());
        let answered = world.send(number, route, arrival, prompt_ix, &[]);
        let scores = world.scores(prompt_ix);
        world.journal.sent(arrival, route, prompt_ix, answered, &scores);
    }
    world.advance(Timestamp(u64::MAX));
    Ok(world.journal)
}

/// Everything that moves.
struct World<'a> {
    replicas: Vec<Vec<Replica>>,
    /// Hash of every prompt.
    hashes: Vec<u64>,
    journal: Journal,
    columns: &'a [Vec<f32>],
    sources: Vec<Source<'a>>,
    /// Requests whose answer was just completed, for routers that may reject it.
    completed: Vec<(u64, Timestamp)>,
}

impl World<'_> {
    fn scores(&self, prompt_ix: usize) -> Vec<f32> {
        self.columns.iter().map(|column| column[prompt_ix]).collect()
    }

    /// Whether any route may reject an answer.
    fn asks_again(&self) -> bool {
        self.sources.iter().any(|source| source.router.asks_again())
    }

    /// Lets time pass up to and including `now`.
    fn advance(&mut self, now: Timestamp) {
        while self.asks_again() {
            // Nothing may run ahead of an answer that sends a request elsewhere.
            let engines = self.replicas.iter().flatten().map(|replica| &replica.engine);
            match engines.filter_map(Engine::next_event).min() {
                Some(next) if next <= now => self.advance_all(next),
                _ => break,
            }
            self.ask_again();
        }
        self.advance_all(now);
    }

    fn advance_all(&mut self, now: Timestamp) {
        let asks_again = self.asks_again();
        for replica in self.replicas.iter_mut().flatten() {
            replica.engine.advance(now, &mut replica.events);
            for event in replica.events.drain(..) {
                self.journal.note(event);
                if asks_again && event.kind == EventKind::Finished {
                    self.completed.push((event.request, event.at));
                }
            }
        }
    }

    /// Puts every answer that was just completed to the router.
    fn ask_again(&mut self) {
        for (number, at) in std::mem::take(&mut self.completed) {
            let (route, prompt_ix, lengths, answered) = self.journal.so_far(number);
            let arrival = Arrival { at, lengths };
            if let Some(to) = self.send(number, route, arrival, prompt_ix, &answered) {
                let score = self.columns[to.0][prompt_ix];
                self.journal.sent_again(number, to, score);
            }
        }
    }

    /// Asks the router for a model and hands the request to one of its replicas: model and replica, where one takes it.
    fn send(
        &mut self,
        number: u64,
        route: usize,
        arrival: Arrival,
        prompt_ix: usize,
        answered: &[usize],
    ) -> Option<(usize, usize)> {
        let outstanding = |replica: &Replica| replica.engine.outstanding();
        let per_replica: Vec<f64> = self.replicas.iter().map(|of_model| per_replica(of_model)).collect();
        let model = self.sources[route].router.next(&Ask {
            scores: &self.scores(prompt_ix),
            request: number,
            prompt_hash: self.hashes[prompt_ix],
            outstanding: &per_replica,
            answered,
        })?;
        let outstanding: Vec<usize> = self.replicas[model].iter().map(outstanding).collect();
        let replica = less_loaded_of_two(&outstanding, number)?;
        let engine = &mut self.replicas[model][replica].engine;
        let accepted = engine.submit(arrival.at, number, arrival.lengths);
        accepted.is_ok().then_some((model, replica))
    }
}

#[expect(clippy::cast_precision_loss, reason = "requests in flight are far below 2^53")]
fn per_replica(replicas: &[Replica]) -> f64 {
    let all: usize = replicas.iter().map(|replica| replica.engine.outstanding()).sum();
    all as f64 / replicas.len().max(1) as f64
}

/// One engine with room for its events.
pub(crate) struct Replica {
    pub(crate) engine: Engine,
    pub(crate) events: Vec<Event>,
}

pub(crate) fn replicas(
    scenario: &Scenario,
    deployment: &Deployment<'_>,
    interference: Interference,
) -> Result<Vec<Vec<Replica>>, CannotSimulate> {
    let slowdown = |model_ix, gpus: &[usize]| 1.0 + interference.0 * neighbours(deployment, model_ix, gpus);
    let of_model = |specs: Vec<Arc<EngineSpec>>| {
        let replicas = specs.into_iter().map(|spec| Replica {
            engine: Engine::new(spec, Detail::Requests),
            events: Vec::new(),
        });
        replicas.collect()
    };
    let specs = specs(scenario, deployment.models, slowdown)?;
    Ok(specs.into_iter().map(of_model).collect())
}

/// The engines of a plan's replicas, by model of the scenario, each as fast as it is alone.
///
/// # Errors
/// [`CannotSimulate`] when the engine model lacks something that the plan uses.
///
/// # Panics
/// When the plan is not of the scenario.
pub fn engine_specs(scenario: &Scenario, models: &[PlannedModel]) -> Result<Vec<Vec<Arc<EngineSpec>>>, CannotSimulate> {
    specs(scenario, models, |_, _| 1.0)
}

/// `memory_slowdown` says by model and GPUs how much slower a replica's memory is.
fn specs(
    scenario: &Scenario,
    models: &[PlannedModel],
    memory_slowdown: impl Fn(usize, &[usize]) -> f64,
) -> Result<Vec<Vec<Arc<EngineSpec>>>, CannotSimulate> {
    let constants = Constants::shipped();
    let mut all = Vec::with_capacity(models.len());
    for (model_ix, (planned, model)) in models.iter().zip(&scenario.models).enumerate() {
        let mut specs = Vec::new();
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
                let slowdown = memory_slowdown(model_ix, gpus);
                specs.push(job.replica(&constants, *kv_cache, slowdown)?.spec);
            }
        }
        all.push(specs);
    }
    Ok(all)
}

/// `Σ share · utilisation` of what else sits on the GPUs of a replica: the largest over them.
fn neighbours(deployment: &Deployment<'_>, model_ix: usize, gpus: &[usize]) -> f64 {
    let demand = |ix: usize| {
        let share = deployment.models[ix]
            .configuration
            .map_or(0.0, |configuration| configuration.share.value());
        share * deployment.utilisation[ix]
    };
    let on_gpu = |gpu: &usize| {
        let of_model = |ix: usize| {
            let shards = deployment.models[ix]
                .replicas
                .iter()
                .flatten()
                .filter(|other| *other == gpu);
            shards.map(|_| demand(ix)).sum::<f64>()
        };
        (0..deployment.models.len()).map(of_model).sum::<f64>() - demand(model_ix)
    };
    gpus.iter().map(on_gpu).fold(0.0, f64::max)
}

/// Hash of every prompt.
pub(crate) fn hashes(scenario: &Scenario) -> Vec<u64> {
    let prompts = scenario.scores.prompts.iter();
    let text = prompts.map(|prompt| prompt.text.as_deref().unwrap_or(&prompt.id));
    text.map(prompt_hash).collect()
}

/// Prompts of a route, to draw from by weight.
pub(crate) struct Prompts {
    cumulative: Vec<f64>,
    /// Their indices in the scores; nothing where they are all.
    own: Option<Vec<usize>>,
}

impl Prompts {
    pub(crate) fn new(scenario: &Scenario, route: usize) -> Self {
        let mut sum = 0.0;
        let weights = scenario.scores.of_route(route).normalised_weights();
        let cumulative = weights.into_iter().map(|weight| {
            sum += weight;
            sum
        });
        Self {
            cumulative: cumulative.collect(),
            own: scenario.scores.routes.get(route).cloned(),
        }
    }

    /// The prompt for a number in [0, 1).
    pub(crate) fn draw(&self, uniform: f64) -> usize {
        let at = self
            .cumulative
            .partition_point(|sum| *sum <= uniform)
            .min(self.cumulative.len() - 1);
        self.own.as_ref().map_or(at, |own| own[at])
    }
}
