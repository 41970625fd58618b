//! The engine model fitted to measured profiles, and profiles of the configurations that were not measured.
//!
//! Four constants carry an engine from one configuration to another: the host time of every iteration, the time that a request takes until the
//! scheduler sees it, and factors on the GPU type's compute and bandwidth. They are fitted, on relative errors, to what the engine
//! does alone (TTFT, TPOT), under loads up to four fifths of its capacity, and at capacity, each load played in simulated time.

use routerwise_simulate::arrivals::UnitSchedule;
use routerwise_simulate::constants::{Constants, EngineConstants, GpuConstants};
use routerwise_simulate::load;
use routerwise_simulate::optimise::fit_simulated;
use routerwise_simulate::sweep::{self, Job, Sweep, window};
use routerwise_types::profile::{Evidence, FillError, Filled, FittedConstants, LoadPoint, Profile, ProfileSource};
use routerwise_types::report::latency_stat;
use routerwise_types::units::RequestsPerSecond;
use routerwise_types::workload::{Lengths, Metric};

/// Loads above this part of the capacity are not fitted to: what happens there is the capacity's business.
const BELOW_KNEE: f64 = 0.8;
/// Requests played at each load.
const PLAYED: usize = 300;
/// Loads of each profile that are fitted to.
const LOADS: usize = 4;
/// Host step and request seconds, factors on compute and bandwidth: where the search starts when nothing is known.
const START: [f64; 4] = [1e-3, 1e-3, 1.0, 1.0];
/// A request that the engine's model is told to sit alone has this long until the next comes, seconds.
const ALONE_RATE: f64 = 1e-5;

/// A configuration that was measured.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The configuration.
    pub job: Job<'a>,
    /// What was measured.
    pub profile: &'a Profile,
}

/// An engine on a GPU type, fitted.
#[derive(Clone, Debug)]
pub struct Fit {
    /// Constants with the fitted engine and GPU type in place of what they had.
    pub constants: Constants,
    /// What was found.
    pub fitted: FittedConstants,
    /// How far it is off where it was fitted.
    pub residual: FillError,
    /// How far it is off where it was not, each configuration left out in turn; nothing with fewer than two.
    pub left_out: Option<FillError>,
    /// Configurations that it was fitted to.
    pub n_measured: usize,
}

/// Fits an engine on one GPU type; nothing where no configuration can be simulated.
#[must_use]
pub fn fit(known: &[Known<'_>], shipped: &Constants) -> Option<Fit> {
    let cases: Vec<Case<'_>> = known.iter().filter_map(|known| Case::new(*known)).collect();
    let first = cases.first()?;
    let base = Base::new(&first.known.job, shipped)?;
    let fitted = base.fit(&cases.iter().collect::<Vec<_>>());
    let errors = |case: &Case<'_>, at: &[f64]| base.errors(case, at);
    let residual = FillError::median(cases.iter().map(|case| errors(case, &fitted)).collect());
    let left_out = (cases.len() > 1).then(|| {
        let without = |ix: usize| {
            cases
                .iter()
                .enumerate()
                .filter(move |(other, _)| *other != ix)
                .map(|(_, case)| case)
        };
        let errors = (0..cases.len()).map(|ix| errors(&cases[ix], &base.fit(&without(ix).collect::<Vec<_>>())));
        FillError::median(errors.collect())
    });
    Some(Fit {
        constants: base.constants(&fitted),
        fitted: constants_of(&fitted),
        residual: residual?,
        left_out: left_out.flatten(),
        n_measured: cases.len(),
    })
}

/// The profile of a configuration that was not measured; nothing where it cannot be simulated.
#[must_use]
pub fn fill(fit: &Fit, job: &Job<'_>, sweep: Sweep) -> Option<Profile> {
    let swept = sweep::profile(job, sweep, &fit.constants).ok()?;
    Some(Profile {
        source: ProfileSource::Filled,
        evidence: Some(Box::new(Evidence::Filled(Filled {
            n_measured: fit.n_measured as u64,
            constants: fit.fitted,
            residual: fit.residual,
            left_out: fit.left_out,
        }))),
        ..swept.profile
    })
}

fn constants_of(at: &[f64]) -> FittedConstants {
    FittedConstants {
        host_step_seconds: at[0],
        request_seconds: at[1],
        compute: at[2],
        bandwidth: at[3],
    }
}

/// A measured configuration with what is fitted to of it.
struct Case<'a> {
    known: Known<'a>,
    lengths: Vec<Lengths>,
    points: Vec<&'a LoadPoint>,
    schedule: UnitSchedule,
}

impl<'a> Case<'a> {
    fn new(known: Known<'a>) -> Option<Self> {
        let longest = u64::from(known.job.model.engine.max_model_len);
        let fits = |lengths: &&Lengths| u64::from(lengths.input) + u64::from(lengths.output) <= longest;
        let lengths: Vec<Lengths> = known.job.workload.lengths.iter().filter(fits).copied().collect();
        if lengths.is_empty() || known.job.model.architecture.is_none() {
            return None;
        }
        let limit = BELOW_KNEE * known.profile.capacity.value();
        let below: Vec<&LoadPoint> = known
            .profile
            .points
            .iter()
            .filter(|point| point.offered.value() <= limit)
            .collect();
        let every = below.len().div_ceil(LOADS).max(1);
        let points = below.iter().rev().step_by(every).copied().collect();
        let schedule = UnitSchedule::draw(known.job.workload.arrivals, &lengths, window(PLAYED).end, 1);
        Some(Self {
            known,
            lengths,
            points,
            schedule,
        })
    }
}

/// What the factors are on.
struct Base {
    shipped: Constants,
    gpu: GpuConstants,
    engine: EngineConstants,
}

impl Base {
    fn new(job: &Job<'_>, shipped: &Constants) -> Option<Self> {
        let name = &job.model.engine.name;
        let known = shipped.for_engine(name).or_else(|| shipped.engines.first())?;
        Some(Self {
            gpu: shipped.for_gpu(job.gpu),
            engine: EngineConstants {
                engine: name.clone(),
                ..known.clone()
            },
            shipped: shipped.clone(),
        })
    }

    fn constants(&self, at: &[f64]) -> Constants {
        let (host, request, compute, memory) = (at[0], at[1], at[2], at[3]);
        let engine = EngineConstants {
            host_step_seconds: vec![(1, host)],
            request_seconds: request,
            source: "fitted to measured profiles".to_owned(),
            ..self.engine.clone()
        };
        let gpu = GpuConstants {
            flops: self.gpu.flops * compute,
            flops_fp8: self.gpu.flops_fp8.map(|flops| flops * compute),
            flops_experts: self.gpu.flops_experts * compute,
            flops_attention: self.gpu.flops_attention * compute,
            bandwidth: self.gpu.bandwidth * memory,
            bandwidth_kv: self.gpu.bandwidth_kv * memory,
            source: format!("{}; factors fitted to measured profiles", self.gpu.source),
            ..self.gpu.clone()
        };
        let mut constants = self.shipped.clone();
        constants.engines.retain(|other| other.engine != engine.engine);
        constants.engines.push(engine);
        constants.gpus.retain(|other| other.gpu_type != gpu.gpu_type);
        constants.gpus.push(gpu);
        constants
    }

    fn fit(&self, cases: &[&Case<'_>]) -> Vec<f64> {
        fit_simulated(&START, |at| {
            let mut all = Vec::new();
            for case in cases {
                let errors = self.compare(case, at);
                all.extend(errors.ttft.iter().chain(&errors.tpot).copied());
                all.extend(errors.alone);
                // One capacity says as much as all loads below it.
                all.extend([errors.capacity; 3]);
            }
            all
        })
    }

    fn errors(&self, case: &Case<'_>, at: &[f64]) -> CaseErrors {
        self.compare(case, at)
    }

    /// Log errors of the model at these constants.
    fn compare(&self, case: &Case<'_>, at: &[f64]) -> CaseErrors {
        let mut errors = CaseErrors::default();
        let job = &case.known.job;
        let Ok(replica) = job.replica(&self.constants(at), job.model.kv_reserve, 1.0) else {
            return errors;
        };
        let profile = case.known.profile;
        let (saturated, _) = load::saturated_rate(&replica.spec, case.schedule.lengths());
        errors.capacity = log_ratio(saturated.value(), profile.capacity.value());
        for point in &case.points {
            // A model that cannot do this much is as far off here as its capacity is.
            let rate = point.offered.value().min(BELOW_KNEE * saturated.value());
            let rate = RequestsPerSecond::new(rate).expect("a part of a rate");
            let run = load::run(&replica.spec, &case.schedule, rate, window(PLAYED));
            for (metric, errors) in [(Metric::Ttft, &mut errors.ttft), (Metric::Tpot, &mut errors.tpot)] {
                let found = latency_stat(&run.records, metric).map_or(0.0, |stat| stat.mean.value());
                errors.push(log_ratio(found, point.stat(metric).mean.value()));
            }
        }
        if let Some(Evidence::Measured(measured)) = profile.evidence.as_deref() {
            let n = case.lengths.len().min(20);
            let mix = UnitSchedule::draw(job.workload.arrivals, &case.lengths, n, 1);
            let rate = RequestsPerSecond::new(ALONE_RATE).expect("a small rate");
            let run = load::run(&replica.spec, &mix, rate, 0..n);
            for (metric, wanted) in [(Metric::Ttft, measured.alone.ttft), (Metric::Tpot, measured.alone.tpot)] {
                let found = latency_stat(&run.records, metric).map_or(0.0, |stat| stat.mean.value());
                errors.alone.push(log_ratio(found, wanted.value()));
            }
        }
        errors
    }
}

/// Log errors of one configuration.
#[derive(Clone, Debug, Default)]
struct CaseErrors {
    ttft: Vec<f64>,
    tpot: Vec<f64>,
    alone: Vec<f64>,
    capacity: f64,
}

/// `ln(found / wanted)`; 0 where there is nothing to compare, as with the TPOT of answers of one token.
fn log_ratio(found: f64, wanted: f64) -> f64 {
    if found > 0.0 && wanted > 0.0 {
        (found / wanted).ln()
    } else {
        0.0
    }
}

trait Median: Sized {
    fn median(errors: Vec<CaseErrors>) -> Option<Self>;
}

impl Median for FillError {
    fn median(errors: Vec<CaseErrors>) -> Option<Self> {
        let relative = |values: Vec<f64>| {
            let mut values: Vec<f64> = values.into_iter().map(|log| log.exp_m1().abs()).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied()
        };
        Some(Self {
            ttft: relative(errors.iter().flat_map(|case| case.ttft.clone()).collect())?,
            tpot: relative(errors.iter().flat_map(|case| case.tpot.clone()).collect())?,
            capacity: relative(errors.iter().map(|case| case.capacity).collect())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use routerwise_types::Scenario;
    use routerwise_types::units::GpuShare;

    use super::*;

    fn job<'a>(scenario: &'a Scenario, model_ix: usize, share: f64) -> Job<'a> {
        Job {
            model: &scenario.models[model_ix],
            gpu: &scenario.cluster.gpu_types[0],
            interconnect: scenario.cluster.interconnect_of(0).expect("the type has a node"),
            tensor_parallel: 1,
            share: GpuShare::new(share).unwrap(),
            workload: &scenario.workload,
        }
    }

    /// An engine with more host time on a slower GPU than the shipped constants have.
    fn other_engine(job: &Job<'_>) -> Constants {
        Base::new(job, &Constants::shipped())
            .unwrap()
            .constants(&[4e-3, 6e-3, 0.6, 0.7])
    }

    #[test]
    fn an_engine_with_other_constants_is_found_out_and_what_was_not_measured_is_filled_in() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/tiny");
        let loaded = routerwise_inputs::load(&routerwise_inputs::Paths::in_folder(&folder));
        let scenario = loaded.expect("the shipped scenario is right").scenario;
        let truth = other_engine(&job(&scenario, 0, 1.0));
        let sweep = Sweep {
            seed: 5,
            n_requests: 600,
        };
        let jobs = [job(&scenario, 0, 1.0), job(&scenario, 1, 1.0), job(&scenario, 0, 0.5)];
        let measured: Vec<Profile> = jobs
            .iter()
            .map(|job| sweep::profile(job, sweep, &truth).unwrap().profile)
            .collect();
        let known: Vec<Known<'_>> = jobs
            .iter()
            .zip(&measured)
            .map(|(job, profile)| Known { job: *job, profile })
            .collect();
        let fit = fit(&known, &Constants::shipped()).unwrap();
        assert!(
            fit.residual.ttft < 0.05 && fit.residual.capacity < 0.05,
            "{:?}",
            fit.residual
        );
        let left_out = fit.left_out.unwrap();
        assert!(left_out.ttft < 0.15 && left_out.capacity < 0.15, "{left_out:?}");
        assert!(
            (fit.fitted.host_step_seconds / 4e-3 - 1.0).abs() < 0.3,
            "{:?}",
            fit.fitted
        );

        let hidden = job(&scenario, 1, 0.5);
        let filled = fill(&fit, &hidden, sweep).unwrap();
        let wanted = sweep::profile(&hidden, sweep, &truth).unwrap().profile;
        assert_eq!(filled.source, ProfileSource::Filled);
        let off = filled.capacity.value() / wanted.capacity.value() - 1.0;
        assert!(off.abs() < 0.1, "{off}");
    }
}
