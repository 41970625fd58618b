//! The planning problem in dense form: candidates per model, constraint rows, resources.

use std::sync::Arc;

use routerwise_types::catalogue::Model;
use routerwise_types::cluster::Cluster;
use routerwise_types::profile::Profile;
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Configuration;
use routerwise_types::units::{Bytes, GpuShare};
use routerwise_types::workload::{Metric, Scope, Slo, Statistic, Workload};

use crate::curve::{LatencyCurve, Reading};
use crate::flow::{Flow, Interval};
use crate::prices::kernel::ScoreTable;
use crate::resources::{self, Resource};
use crate::search::region::Region;
use crate::traffic::Traffic;

/// Everything the search reads.
#[derive(Clone, Debug)]
pub struct Problem {
    /// Scores of all models on the prompts of each route; shared with what is restricted from it.
    pub tables: Vec<Arc<ScoreTable>>,
    /// What each model may be run as.
    pub models: Vec<ModelOptions>,
    /// Constraints at each load level, route after route; flows are relative to their limits, so each reads `Σ_i φ_i ≤ 1`.
    pub rows: Vec<Row>,
    /// The GPUs.
    pub cluster: Cluster,
    /// What all setups share: one row per budget, which every packable setup keeps to.
    pub resources: Vec<Resource>,
    /// What one GPU's share is counted in: `units_per_gpu` units.
    pub units_per_gpu: u32,
    /// Least number of units that a setup must use.
    pub least_units: u32,
    /// Arrival rate with headroom at the first load level, requests/s.
    pub rate: f64,
    /// Load levels and routes, and what each counts for.
    pub traffic: Traffic,
    /// The search stops when nothing can be better by more than this.
    pub tolerance: f64,
    /// Most inner problems to solve.
    pub max_solves: u32,
}

/// One constraint over the workload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Which SLO it comes from.
    pub slo_ix: usize,
    /// Whose requests it counts.
    pub route: usize,
    /// Its right-hand side: seconds, or a share of requests.
    pub limit: f64,
}

/// What one model may be run as.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// Model name.
    pub name: String,
    /// The candidates; the one that is off, where allowed, is first.
    pub candidates: Vec<Candidate>,
}

/// One way to run a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The configuration, or off.
    pub configuration: Option<Configuration>,
    /// Its flow at the first load level.
    pub flow: Flow,
    /// Its flows at the others.
    pub further: Box<[Flow]>,
    /// Share units over all shards of all replicas.
    pub units: u32,
    /// Share units of one shard.
    pub shard_units: u32,
    /// Memory of one shard.
    pub shard_memory: Bytes,
    /// Rows of [`Problem::resources`] that it takes part of, and how much of each.
    pub takes: Box<[(u32, f64)]>,
    /// Index into the scenario's profiles.
    pub profile_ix: Option<usize>,
}

impl Candidate {
    /// Its flow at a load level.
    #[must_use]
    pub fn flow_at(&self, level: usize) -> &Flow {
        if level == 0 {
            &self.flow
        } else {
            &self.further[level - 1]
        }
    }

    /// Number of replicas; none when off.
    #[must_use]
    pub fn n_replicas(&self) -> u32 {
        self.configuration.map_or(0, |configuration| configuration.n_replicas)
    }
}

/// Why a scenario cannot be planned.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Unplannable {
    /// Nothing arrives.
    #[error("the arrival rate is 0, so there is nothing to plan")]
    NoTraffic,
    /// No prompts.
    #[error("there are no scored prompts")]
    NoPrompts,
    /// No prompts of one route.
    #[error("the route `{route}` has no scored prompts")]
    NoPromptsOf {
        /// Route name.
        route: String,
    },
    /// A model may not be off and can not run either.
    #[error(
        "`{model}` must run (`may-be-off = false`) but none of its configurations has a profile, fits in memory and meets the SLO when idle"
    )]
    NoConfiguration {
        /// Model name.
        model: String,
    },
    /// More models, or more ways to run one, than the search can number.
    #[error("{found} {what} are more than the {most} that can be planned")]
    TooMany {
        /// What there is too much of.
        what: String,
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// Cost counts, and a GPU has none.
    #[error("the objective counts cost, but `{gpu_type}` has no price per hour")]
    NoPrice {
        /// GPU type name.
        gpu_type: String,
    },
    /// Fewer GPUs and a floor on how many to use.
    #[error("an objective that leaves GPUs empty cannot be met with a `utilisation-floor`")]
    FloorOnPart,
    /// Not even one.
    #[error("the budget does not pay for a single GPU")]
    NoGpuWithinBudget,
    /// Nothing can run.
    #[error("no model has a configuration that has a profile, fits in memory and meets the SLO when idle")]
    NothingRuns,
}

impl Problem {
    /// Reads the scenario's curves at its rate with headroom.
    ///
    /// # Errors
    /// [`Unplannable`] says what is missing.
    pub fn new(scenario: &Scenario) -> Result<Self, Unplannable> {
        let workload = &scenario.workload;
        if workload.rate.value() <= 0.0 {
            return Err(Unplannable::NoTraffic);
        }
        if scenario.scores.prompts.is_empty() {
            return Err(Unplannable::NoPrompts);
        }
        if let Some(empty) = scenario.scores.routes.iter().position(Vec::is_empty) {
            return Err(Unplannable::NoPromptsOf {
                route: workload.route_name(empty).to_owned(),
            });
        }
        at_most(scenario.models.len(), MOST_MODELS, || "models".to_owned())?;
        let rates: Vec<f64> = (0..workload.levels.len())
            .map(|level| workload.rate_at(level).value() * (1.0 + workload.planning.headroom))
            .collect();
        let rows = rows(workload);
        let units_per_gpu = units_per_gpu(&scenario.models);
        let mut models = Vec::with_capacity(scenario.models.len());
        for model in &scenario.models {
            let candidates = candidates(scenario, model, &rows, &rates, units_per_gpu);
            if candidates.is_empty() {
                return Err(Unplannable::NoConfiguration {
                    model: model.name.clone(),
                });
            }
            at_most(candidates.len(), MOST_CANDIDATES, || {
                format!("configurations of `{}`", model.name)
            })?;
            models.push(ModelOptions {
                name: model.name.clone(),
                candidates,
            });
        }
        if models.iter().all(|model| {
            model
                .candidates
                .iter()
                .all(|candidate| candidate.configuration.is_none())
        }) {
            return Err(Unplannable::NothingRuns);
        }
        let mut problem = Self {
            tables: (0..workload.n_routes()).map(|route| table(scenario, route)).collect(),
            models,
            traffic: Traffic::of(workload, rows.iter().map(|row| row.route).collect()),
            rows,
            least_units: least_units(
                &scenario.cluster,
                units_per_gpu,
                workload.planning.utilisation_floor.value(),
            ),
            cluster: scenario.cluster.clone(),
            units_per_gpu,
            rate: rates[0],
            tolerance: workload.planning.tolerance,
            max_solves: workload.planning.max_solves,
            resources: Vec::new(),
        };
        problem.resources = resources::rows(&problem);
        let mut models = std::mem::take(&mut problem.models);
        for candidate in models.iter_mut().flat_map(|model| &mut model.candidates) {
            candidate.takes = resources::takes(&problem, &problem.resources, candidate);
        }
        problem.models = models;
        resources::strengthen(&mut problem);
        Ok(problem)
    }

    /// Adds a row, and to every candidate what it takes of it.
    pub(crate) fn add_resource(&mut self, resource: Resource) {
        let row = u32::try_from(self.resources.len()).unwrap_or(u32::MAX);
        let mut models = std::mem::take(&mut self.models);
        for candidate in models.iter_mut().flat_map(|model| &mut model.candidates) {
            let taken = resource.taken(self, candidate);
            if taken > 0.0 {
                let takes = candidate.takes.iter().copied().chain([(row, taken)]);
                candidate.takes = takes.collect();
            }
        }
        self.models = models;
        self.resources.push(resource);
    }

    /// The same problem with only the candidates that a region allows, in their order.
    pub(crate) fn restricted(&self, region: &Region) -> Self {
        self.with_candidates(self.traffic.clone(), |model| {
            let candidates = &self.models[model].candidates;
            let allowed = region.allowed[model].iter();
            allowed.map(|c| candidates[usize::from(*c)].clone()).collect()
        })
    }

    /// One load level of one setup by itself.
    pub(crate) fn at_level(&self, level: usize, candidates: &[usize], rate: f64) -> Self {
        let of_level = self.with_candidates(self.traffic.at_level(level), |model| {
            let candidate = &self.models[model].candidates[candidates[model]];
            vec![Candidate {
                flow: candidate.flow_at(level).clone(),
                further: Box::default(),
                ..candidate.clone()
            }]
        });
        Self { rate, ..of_level }
    }

    /// The same problem with other candidates of each model.
    fn with_candidates(&self, traffic: Traffic, candidates: impl Fn(usize) -> Vec<Candidate>) -> Self {
        let models = self.models.iter().enumerate().map(|(at, model)| ModelOptions {
            name: model.name.clone(),
            candidates: candidates(at),
        });
        Self {
            tables: self.tables.clone(),
            models: models.collect(),
            rows: self.rows.clone(),
            cluster: self.cluster.clone(),
            resources: self.resources.clone(),
            traffic,
            ..*self
        }
    }

    /// One setup with every model held as it is at some load of all, level by level and model by model.
    pub(crate) fn held_at(&self, candidates: &[usize], loads: &[f64]) -> Self {
        let n_models = self.models.len();
        self.with_candidates(self.traffic.clone(), |model| {
            let candidate = &self.models[model].candidates[candidates[model]];
            let held = |level: usize| {
                let load = loads[level * n_models + model];
                candidate.flow_at(level).held_at(load, self.traffic.n_routes())
            };
            vec![Candidate {
                flow: held(0),
                further: (1..self.n_levels()).map(held).collect(),
                ..candidate.clone()
            }]
        })
    }

    /// Number of load levels.
    #[must_use]
    pub fn n_levels(&self) -> usize {
        self.traffic.n_levels()
    }

    /// Scores where there is one route, or those of the first.
    #[must_use]
    pub fn table(&self) -> &Arc<ScoreTable> {
        &self.tables[0]
    }

    /// Left-hand side of a row at a level, relative to its limit, when one candidate of each model gets fractions of each policy.
    pub(crate) fn row_sum(&self, candidates: &[usize], fractions: &[f64], level: usize, row: usize) -> f64 {
        let n_models = self.models.len();
        let own = self.traffic.policy_of_row(level, row) * n_models;
        let of = |(model, candidate): (usize, &usize)| {
            let flow = self.models[model].candidates[*candidate].flow_at(level);
            let (w, cap) = (fractions[own + model], flow.cap());
            if self.traffic.is_shared() {
                let load = self.traffic.load(fractions, level, model, n_models);
                w * flow.latency(row, load.min(cap))
            } else {
                flow.at(row, w.min(cap))
            }
        };
        candidates.iter().enumerate().map(of).sum()
    }

    /// Every load of every model at every level, unconfined.
    pub(crate) fn all_ranges(&self) -> Vec<Interval> {
        vec![Interval::ALL; self.n_levels() * self.models.len()]
    }

    /// Units of all GPUs together.
    #[must_use]
    pub fn all_units(&self) -> u32 {
        count(self.cluster.n_gpus()) * self.units_per_gpu
    }

    /// Units of the GPUs of one type.
    #[must_use]
    pub fn units_of(&self, gpu_type_ix: usize) -> u32 {
        count(self.cluster.n_gpus_of(gpu_type_ix)) * self.units_per_gpu
    }

    /// Number of setups by count of candidates alone.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a count for people; may be astronomic")]
    pub fn setups_in_space(&self) -> f64 {
        self.models.iter().map(|model| model.candidates.len() as f64).product()
    }
}

/// Sets of tied models are 64-bit sets.
const MOST_MODELS: usize = 64;
/// Candidates are numbered by 16 bits.
const MOST_CANDIDATES: usize = 1 << 16;

fn at_most(found: usize, most: usize, what: impl FnOnce() -> String) -> Result<(), Unplannable> {
    if found <= most {
        return Ok(());
    }
    Err(Unplannable::TooMany {
        what: what(),
        found,
        most,
    })
}

fn table(scenario: &Scenario, route: usize) -> Arc<ScoreTable> {
    let scores = scenario.scores.of_route(route);
    Arc::new(ScoreTable::new(&scores.columns, &scores.normalised_weights()))
}

/// The constraint rows of a load level, in SLO order for each route.
#[must_use]
pub fn rows(workload: &Workload) -> Vec<Row> {
    let slos = || workload.slos.iter().enumerate();
    let routes = 0..workload.n_routes();
    routes
        .flat_map(|route| slos().map(move |(slo_ix, slo)| (route, slo_ix, slo)))
        .filter(|(route, _, slo)| slo.scope == Scope::Workload && workload.concerns(slo, *route))
        .map(|(route, slo_ix, slo)| Row {
            slo_ix,
            route,
            limit: match slo.statistic {
                Statistic::Mean => slo.target.value(),
                Statistic::Quantile { q } => 1.0 - q,
            },
        })
        .collect()
}

/// What a workload-wide SLO sums over models: the mean, or for a quantile the share of requests above the target.
#[must_use]
pub fn reading(slo: &Slo) -> Reading {
    match slo.statistic {
        Statistic::Mean => Reading::Statistic(slo.metric, Statistic::Mean),
        Statistic::Quantile { .. } => Reading::Exceedance(slo.metric, slo.target.value()),
    }
}

/// Highest load of one replica at which every per-model SLO on a route still holds; nothing when one fails even when idle.
fn load_limit(profile: &Profile, workload: &Workload, route: usize) -> Option<f64> {
    let mut limit = LatencyCurve::from_profile(profile, Reading::Statistic(Metric::Ttft, Statistic::Mean))?.end();
    let slos = workload.slos.iter().filter(|slo| slo.scope == Scope::EachModel);
    for slo in slos.filter(|slo| workload.concerns(slo, route)) {
        let curve = LatencyCurve::from_profile(profile, Reading::Statistic(slo.metric, slo.statistic))?;
        limit = limit.min(curve.load_within(slo.target.value())?);
    }
    Some(limit)
}

fn candidates(scenario: &Scenario, model: &Model, rows: &[Row], rates: &[f64], units_per_gpu: u32) -> Vec<Candidate> {
    let mut found = Vec::new();
    if model.may_be_off {
        found.push(Candidate {
            configuration: None,
            flow: Flow::off(rows.len()),
            further: vec![Flow::off(rows.len()); rates.len() - 1].into(),
            units: 0,
            shard_units: 0,
            shard_memory: Bytes(0),
            takes: Box::default(),
            profile_ix: None,
        });
    }
    for (profile_ix, profile) in scenario.profiles.iter().enumerate() {
        let key = &profile.key;
        let listed = key.model == model.name
            && model.tensor_parallel.contains(&key.tensor_parallel)
            && model
                .shares
                .iter()
                .any(|share| (share.value() - key.share.value()).abs() < 1e-9);
        let gpu_type_ix = scenario
            .cluster
            .gpu_types
            .iter()
            .position(|gpu| gpu.name == key.gpu_type);
        let (true, Some(gpu_type_ix)) = (listed, gpu_type_ix) else {
            continue;
        };
        // Up to which load of one replica each route may use it.
        let workload = &scenario.workload;
        let routes = (0..workload.n_routes()).map(|route| {
            let allowed = workload.may_answer(&model.name, route);
            load_limit(profile, workload, route).filter(|_| allowed)
        });
        let reach: Vec<Option<f64>> = routes.collect();
        let Some(limit) = reach.iter().copied().flatten().reduce(f64::max) else {
            continue;
        };
        let Some(curves) = rows
            .iter()
            .map(|row| LatencyCurve::from_profile(profile, reading(&scenario.workload.slos[row.slo_ix])))
            .collect::<Option<Vec<_>>>()
        else {
            continue;
        };
        let limits: Vec<f64> = rows.iter().map(|row| row.limit).collect();
        let one = Configuration {
            gpu_type_ix,
            tensor_parallel: key.tensor_parallel,
            share: key.share,
            n_replicas: 1,
        };
        for n_replicas in 1..=most_replicas(scenario, model, &one, units_per_gpu) {
            // Curves without a row of their own still have to end somewhere: with no rows the flow has one piece.
            let flow = |rate: &f64| {
                let load_per_fraction = rate / f64::from(n_replicas);
                let flow = Flow::new(&curves, &limits, load_per_fraction, limit);
                if reach.len() == 1 {
                    return flow;
                }
                let of_route = |limit: &Option<f64>| limit.map_or(-1.0, |limit| (limit / load_per_fraction).min(1.0));
                flow.with_reach(reach.iter().map(of_route).collect())
            };
            let shard_units = share_units(key.share, units_per_gpu);
            found.push(Candidate {
                configuration: Some(Configuration { n_replicas, ..one }),
                flow: flow(&rates[0]),
                further: rates[1..].iter().map(flow).collect(),
                units: shard_units * key.tensor_parallel * n_replicas,
                shard_units,
                shard_memory: model.shard_memory(key.tensor_parallel),
                takes: Box::default(),
                profile_ix: Some(profile_ix),
            });
        }
    }
    found
}

/// Most replicas of a configuration that its GPUs could hold if nothing else ran there.
fn most_replicas(scenario: &Scenario, model: &Model, one: &Configuration, units_per_gpu: u32) -> u32 {
    let usable = scenario.cluster.gpu_types[one.gpu_type_ix].usable_memory;
    let shard = model.shard_memory(one.tensor_parallel);
    let by_memory = usable.0.checked_div(shard.0).unwrap_or(u64::MAX);
    let by_units = u64::from(units_per_gpu / share_units(one.share, units_per_gpu));
    let per_gpu = by_memory.min(by_units);
    let gpus: usize = scenario
        .cluster
        .linked_groups(one.gpu_type_ix, one.tensor_parallel as usize)
        .iter()
        .map(Vec::len)
        .sum();
    let most = per_gpu * gpus as u64 / u64::from(one.tensor_parallel);
    u32::try_from(most).unwrap_or(u32::MAX).min(model.max_replicas)
}

/// Shares are counted in the largest unit that divides all of them; inputs keep hundredths of a per cent.
fn units_per_gpu(models: &[Model]) -> u32 {
    let step = models
        .iter()
        .flat_map(|model| &model.shares)
        .map(|share| share_units(*share, SHARE_STEPS))
        .fold(SHARE_STEPS, greatest_common_divisor);
    SHARE_STEPS / step.max(1)
}

const SHARE_STEPS: u32 = 10_000;

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// A share in units, rounded up, so that a plan never gives away more than there is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of at most 1 times at most 100"
)]
fn share_units(share: GpuShare, units_per_gpu: u32) -> u32 {
    ((share.value() * f64::from(units_per_gpu) - 1e-9).ceil() as u32).max(1)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a unit count"
)]
fn least_units(cluster: &Cluster, units_per_gpu: u32, floor: f64) -> u32 {
    (f64::from(count(cluster.n_gpus()) * units_per_gpu) * floor - 1e-9)
        .ceil()
        .max(0.0) as u32
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX / 1000)
}
