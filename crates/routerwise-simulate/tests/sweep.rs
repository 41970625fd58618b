//! Laws that simulated profiles obey.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod shared;

use std::sync::Arc;

use routerwise_simulate::arrivals::UnitSchedule;
use routerwise_simulate::load;
use routerwise_simulate::sweep::{Sweep, Swept, profile, window};
use routerwise_types::catalogue::Model;
use routerwise_types::profile::{LatencyStat, ProfileSource};
use routerwise_types::report::latency_stat;
use routerwise_types::units::RequestsPerSecond;
use routerwise_types::workload::{Lengths, Metric};
use shared::{Counted, constants, gpu, job, models, workload};

const SWEEP: Sweep = Sweep {
    seed: 1,
    n_requests: 2_000,
};

const METRICS: [Metric; 3] = [Metric::Ttft, Metric::Tpot, Metric::E2e];

fn swept(model_ix: usize, tensor_parallel: u32, share: f64, sweep: Sweep) -> Swept {
    let (models, gpu, workload) = (models(), gpu(), workload());
    let job = job(&models[model_ix], &gpu, &workload, tensor_parallel, share);
    profile(&job, sweep, &constants()).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let bytes = |seed| {
        let sweep = Sweep { seed, n_requests: 200 };
        serde_json::to_string(&swept(0, 1, 0.5, sweep).profile).unwrap()
    };
    assert_eq!(bytes(1), bytes(1));
    assert_ne!(bytes(1), bytes(2));
}

#[test]
fn latency_does_not_fall_with_load_beyond_its_confidence_interval() {
    for (model_ix, tensor_parallel, share) in [(0, 1, 1.0), (0, 1, 0.3), (1, 2, 1.0), (2, 4, 0.5)] {
        let profile = swept(model_ix, tensor_parallel, share, SWEEP).profile;
        for (before, after) in profile.points.iter().zip(&profile.points[1..]) {
            for metric in METRICS {
                let (low, high) = (before.stat(metric), after.stat(metric));
                let slack = low.ci95.value() + high.ci95.value();
                assert!(
                    low.mean.value() <= high.mean.value() + slack,
                    "{:?} {metric}",
                    profile.key
                );
            }
        }
    }
}

#[test]
fn a_profile_ends_at_the_knee() {
    let profile = swept(1, 2, 1.0, SWEEP).profile;
    let (first, last) = (&profile.points[0], profile.points.last().unwrap());
    assert!(last.ttft.mean.value() > 20.0 * first.ttft.mean.value());
    assert_eq!(profile.capacity, last.offered);
    assert!(first.offered.value() < 0.06 * profile.capacity.value());
    assert!(
        profile
            .points
            .iter()
            .all(|point| point.n_requests == 2_000 && point.ttft.sketch.count() == 2_000)
    );
    assert!(matches!(profile.source, ProfileSource::Simulated { fitted: true, .. }));
}

#[test]
fn a_smaller_share_is_never_faster() {
    let (models, gpu, workload) = (models(), gpu(), workload());
    let schedule = UnitSchedule::draw(workload.arrivals, &workload.lengths, 1_000, 3);
    let at_share = |share: f64| {
        let job = job(&models[0], &gpu, &workload, 1, share);
        let replica = job.replica(&constants(), models[0].kv_reserve, 1.0).unwrap();
        let rate = RequestsPerSecond::new(1.0).unwrap();
        let records = load::run(&replica.spec, &schedule, rate, window(800)).records;
        let means = METRICS.map(|metric| latency_stat(&records, metric).unwrap().mean.value());
        (means, load::saturated_rate(&replica.spec, schedule.lengths()).0)
    };
    let shares = [0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1.0].map(at_share);
    for ((slow, few), (fast, many)) in shares.iter().zip(&shares[1..]) {
        assert!(few <= many, "{few} {many}");
        assert!(
            slow.iter().zip(fast).all(|(slow, fast)| slow >= fast),
            "{slow:?} {fast:?}"
        );
    }
}

#[test]
fn two_gpus_are_faster_than_one_and_a_busy_neighbour_is_slower_than_none() {
    let capacity = |tensor_parallel| swept(0, tensor_parallel, 1.0, SWEEP).profile.capacity;
    assert!(capacity(1) < capacity(2) && capacity(2) < capacity(4));
    let (models, gpu, workload) = (models(), gpu(), workload());
    let job = job(&models[0], &gpu, &workload, 1, 0.5);
    let schedule = UnitSchedule::draw(workload.arrivals, &workload.lengths, 1_000, 3);
    let saturated = |slowdown| {
        let replica = job.replica(&constants(), models[0].kv_reserve, slowdown).unwrap();
        load::saturated_rate(&replica.spec, schedule.lengths()).0
    };
    assert!(saturated(1.2) < saturated(1.0));
}

/// With one sequence at a time an engine is a queue with one server: `E[W] = λ·E[S²] / (2(1 − ρ))` (Pollaczek, Khinchine).
#[test]
fn one_sequence_at_a_time_waits_as_long_as_pollaczek_and_khinchine_say() {
    let one = |input, output| Lengths { input, output };
    let mixes = [vec![one(200, 20)], vec![one(100, 5), one(400, 40), one(50, 90)]];
    for mix in mixes {
        let spec = Arc::new(shared::one_at_a_time());
        let alone: Vec<(f64, f64)> = mix.iter().map(|lengths| shared::alone(&spec, *lengths)).collect();
        let n = mix.len() as f64;
        let service = alone.iter().map(|(_, whole)| whole).sum::<f64>() / n;
        let square = alone.iter().map(|(_, whole)| whole * whole).sum::<f64>() / n;
        let prefill = alone.iter().map(|(first, _)| first).sum::<f64>() / n;
        for utilisation in [0.3, 0.6, 0.8] {
            let rate = RequestsPerSecond::new(utilisation / service).unwrap();
            let arrivals = routerwise_types::workload::Arrivals::Poisson;
            let schedule = UnitSchedule::draw(arrivals, &mix, 60_000, 11);
            let run = load::run(&spec, &schedule, rate, 5_000..60_000);
            let LatencyStat { mean, ci95, .. } = latency_stat(&run.records, Metric::Ttft).unwrap();
            let waited = mean.value() - prefill;
            let wanted = rate.value() * square / (2.0 * (1.0 - utilisation));
            assert!(
                (waited - wanted).abs() < 1.5 * ci95.value() && ci95.value() < 0.1 * wanted,
                "{mix:?} at {utilisation}: waited {waited} ± {}, wanted {wanted}",
                ci95.value()
            );
        }
    }
}

#[test]
fn what_cannot_be_simulated_says_why() {
    let (mut models, gpu, workload) = (models(), gpu(), workload());
    models[0].engine.name = "vllm-9".to_owned();
    models[1].engine.max_model_len = 20;
    models[2].architecture = None;
    let refused = |model: &Model| {
        let error = profile(&job(model, &gpu, &workload, 1, 1.0), SWEEP, &constants()).unwrap_err();
        error.to_string()
    };
    assert!(refused(&models[0]).starts_with("no constants for the engine `vllm-9`; there are some for `vllm-"));
    assert!(refused(&models[1]).contains("takes not one of the workload's requests"));
    assert!(refused(&models[2]).contains("has no architecture"));
}

/// The benchmark in small: when these counts change, the simulator decides differently than before.
#[test]
fn a_sweep_takes_as_many_iterations_as_it_did() {
    let sweep = Sweep {
        seed: 1,
        n_requests: 300,
    };
    let all = [(0, 1, 1.0), (1, 2, 0.5), (2, 4, 0.1)]
        .map(|(model_ix, tensor_parallel, share)| Counted::of(&swept(model_ix, tensor_parallel, share, sweep)));
    let expected = Counted {
        n_profiles: 3,
        n_points: 30,
        n_requests: 18_001,
        n_iterations: 322_494,
    };
    assert_eq!(all.into_iter().fold(Counted::default(), Counted::plus), expected);
}
