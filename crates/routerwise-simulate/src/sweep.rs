//! The profile of a configuration: its latency at loads that find the knee by themselves.
//!
//! An engine whose queue never runs empty shows what it can finish; the loads are parts of that, denser where the curve bends. What an
//! engine did not keep up with is no latency (it grows as long as one measures) and is left out; the profile ends at
//! the largest load that was sustained.

use std::ops::Range;
use std::sync::Arc;

use routerwise_types::catalogue::Model;
use routerwise_types::cluster::{GpuType, Interconnect};
use routerwise_types::profile::{Conditions, LoadPoint, Profile, ProfileKey, ProfileSource};
use routerwise_types::report::latency_stat;
use routerwise_types::units::{GpuShare, RequestsPerSecond, Seconds};
use routerwise_types::workload::{Lengths, Metric, Workload};
use routerwise_types::{Bytes, Fingerprint};

use crate::arrivals::UnitSchedule;
use crate::constants::{Constants, EngineConstants, GpuConstants};
use crate::cost::{NoCost, StepCost};
use crate::engine::{EngineSpec, NoEngine};
use crate::load::{self, LoadRun};

/// Loads of a profile as parts of the saturated rate.
const LOADS: [f64; 12] = [0.05, 0.15, 0.30, 0.45, 0.60, 0.70, 0.78, 0.85, 0.90, 0.94, 0.97, 0.99];

/// A load is sustained when at least this part of it is finished while it arrives; the rest is the scatter of the batch.
const SUSTAINED: f64 = 0.95;

/// One configuration to profile: one replica, alone on its GPUs.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The model.
    pub model: &'a Model,
    /// The GPUs.
    pub gpu: &'a GpuType,
    /// The links between them.
    pub interconnect: Interconnect,
    /// Shards.
    pub tensor_parallel: u32,
    /// Share of each GPU.
    pub share: GpuShare,
    /// Arrival process and length mix.
    pub workload: &'a Workload,
}

/// How a sweep is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sweep {
    /// Seed of the run.
    pub seed: u64,
    /// Requests measured at each load.
    pub n_requests: usize,
}

/// A profile and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Swept {
    /// The profile.
    pub profile: Profile,
    /// Requests simulated, warm-up included.
    pub n_requests: u64,
    /// Iterations simulated.
    pub n_iterations: u64,
    /// Lengths of the mix that the engine would refuse and that were left out.
    pub n_lengths_refused: usize,
}

/// Why a configuration cannot be profiled.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CannotSimulate {
    /// No iteration time.
    #[error(transparent)]
    NoCost(#[from] NoCost),
    /// No engine.
    #[error(transparent)]
    NoEngine(#[from] NoEngine),
    /// Nobody measured this engine build.
    #[error("no constants for the engine `{engine}`; there are some for {known}")]
    UnknownEngine {
        /// Name in the scenario.
        engine: String,
        /// Names that there are.
        known: String,
    },
    /// Every request of the workload is too long for the engine.
    #[error("`{model}` with {kv_cache} of KV cache takes not one of the workload's requests: {reason}")]
    NothingFits {
        /// Model name.
        model: String,
        /// The KV cache.
        kv_cache: Bytes,
        /// Why the first of them is refused.
        reason: crate::engine::Refused,
    },
}

/// The engine of one replica, and what its speed rests on.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The engine.
    pub spec: Arc<EngineSpec>,
    /// The GPU's constants.
    pub gpu: GpuConstants,
    /// The engine build's constants.
    pub engine: EngineConstants,
}

/// One replica, without what is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Hosting<'a> {
    /// The model.
    pub model: &'a Model,
    /// The GPUs.
    pub gpu: &'a GpuType,
    /// The links between them.
    pub interconnect: Interconnect,
    /// Shards.
    pub tensor_parallel: u32,
    /// Share of each GPU.
    pub share: GpuShare,
}

impl Hosting<'_> {
    /// The engine with this KV cache over its shards, its memory slowed by `memory_slowdown` (1: not at all).
    ///
    /// # Errors
    /// [`CannotSimulate`] when constants or cache are missing.
    pub fn replica(
        &self,
        constants: &Constants,
        kv_cache: Bytes,
        memory_slowdown: f64,
    ) -> Result<Replica, CannotSimulate> {
        let name = &self.model.engine.name;
        let engine = constants.for_engine(name).cloned().ok_or_else(|| {
            let known: Vec<String> = constants
                .engines
                .iter()
                .map(|known| format!("`{}`", known.engine))
                .collect();
            CannotSimulate::UnknownEngine {
                engine: name.clone(),
                known: known.join(", "),
            }
        })?;
        let gpu = constants.for_gpu(self.gpu);
        let share = self.share.value();
        let cost = StepCost::new(
            self.model,
            &gpu,
            &engine,
            self.interconnect,
            self.tensor_parallel,
            share,
        )?;
        let cost = cost.with_memory_slowed(memory_slowdown);
        let spec = EngineSpec::new(self.model, &cost, &engine, kv_cache)?;
        Ok(Replica {
            spec: Arc::new(spec),
            gpu,
            engine,
        })
    }
}

impl Job<'_> {
    /// The engine with this KV cache over its shards, its memory slowed by `memory_slowdown` (1: not at all).
    ///
    /// # Errors
    /// [`CannotSimulate`] when constants or cache are missing.
    pub fn replica(
        &self,
        constants: &Constants,
        kv_cache: Bytes,
        memory_slowdown: f64,
    ) -> Result<Replica, CannotSimulate> {
        let hosting = Hosting {
            model: self.model,
            gpu: self.gpu,
            interconnect: self.interconnect,
            tensor_parallel: self.tensor_parallel,
            share: self.share,
        };
        hosting.replica(constants, kv_cache, memory_slowdown)
    }

    fn key(&self) -> ProfileKey {
        ProfileKey {
            model: self.model.name.clone(),
            gpu_type: self.gpu.name.clone(),
            tensor_parallel: self.tensor_parallel,
            share: self.share,
        }
    }
}

/// Profiles one configuration.
///
/// # Errors
/// [`CannotSimulate`] when constants, cache or fitting requests are missing.
pub fn profile(job: &Job<'_>, sweep: Sweep, constants: &Constants) -> Result<Swept, CannotSimulate> {
    let model = job.model;
    let replica = job.replica(constants, model.kv_reserve, 1.0)?;
    let mix = fitting_lengths(job, &replica.spec)?;
    let window = window(sweep.n_requests);
    let schedule = UnitSchedule::draw(job.workload.arrivals, &mix, window.end, sweep.seed);
    let (saturated, mut counts) = load::saturated_rate(&replica.spec, schedule.lengths());

    let mut points = Vec::with_capacity(LOADS.len());
    for part in LOADS {
        let offered = RequestsPerSecond::new(saturated.value() * part).expect("part of a valid rate");
        let run = load::run(&replica.spec, &schedule, offered, window.clone());
        counts.finished += run.counts.finished;
        counts.iterations += run.counts.iterations;
        points.push(load_point(offered, &run));
    }
    let sustained = |point: &LoadPoint| point.achieved.value() >= SUSTAINED * point.offered.value();
    let n_sustained = points.iter().rposition(sustained).map_or(1, |last| last + 1);
    points.truncate(n_sustained);
    let capacity = points.last().map_or(saturated, |last| last.offered);
    let profile = Profile {
        key: job.key(),
        source: ProfileSource::Simulated {
            seed: sweep.seed,
            constants: Fingerprint::of(&(&replica.gpu, &replica.engine)),
            fitted: replica.gpu.fitted,
            share_extrapolated: job.share.value() < replica.gpu.share_response.measured_from(),
        },
        conditions: Conditions::expected(model, job.workload, job.interconnect),
        points,
        capacity,
        evidence: None,
    };
    Ok(Swept {
        profile,
        n_requests: counts.finished,
        n_iterations: counts.iterations,
        n_lengths_refused: job.workload.lengths.len() - mix.len(),
    })
}

/// The lengths of the mix that the engine does not refuse.
fn fitting_lengths(job: &Job<'_>, spec: &EngineSpec) -> Result<Vec<Lengths>, CannotSimulate> {
    let lengths = &job.workload.lengths;
    let fitting: Vec<Lengths> = lengths
        .iter()
        .copied()
        .filter(|lengths| spec.limits().accept(*lengths).is_ok())
        .collect();
    let refused = lengths.iter().find_map(|lengths| spec.limits().accept(*lengths).err());
    match (fitting.is_empty(), refused) {
        (true, Some(reason)) => Err(CannotSimulate::NothingFits {
            model: job.model.name.clone(),
            kv_cache: job.model.kv_reserve,
            reason,
        }),
        _ => Ok(fitting),
    }
}

fn load_point(offered: RequestsPerSecond, run: &LoadRun) -> LoadPoint {
    let stat = |metric| {
        // Where every answer has one token there is no time per further token: it is 0 for curves.
        latency_stat(&run.records, metric).unwrap_or(routerwise_types::profile::LatencyStat {
            mean: Seconds::ZERO,
            ci95: Seconds::ZERO,
            sketch: routerwise_types::sketch::Sketch::default(),
        })
    };
    LoadPoint {
        offered,
        achieved: run.achieved,
        n_requests: run.records.len() as u64,
        ttft: stat(Metric::Ttft),
        tpot: stat(Metric::Tpot),
        e2e: stat(Metric::E2e),
    }
}

/// Where the window of a run with `n_requests` measured requests lies: a quarter of them warms the engine up before.
#[must_use]
pub fn window(n_requests: usize) -> Range<usize> {
    let warm_up = n_requests / 4;
    warm_up..warm_up + n_requests
}
