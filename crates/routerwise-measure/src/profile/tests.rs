//! The profiler against the engine model in simulated time: all of its decisions, none of the waiting.

use std::path::Path;

use routerwise_simulate::constants::Constants;
use routerwise_simulate::sweep::{self, Job, Sweep};
use routerwise_types::Scenario;
use routerwise_types::profile::{Evidence, Measured, Profile};
use routerwise_types::units::{GpuShare, Seconds};
use routerwise_types::workload::{Lengths, Metric};

use super::measure::{Interrupted, Subject, Task, measure, profile};
use super::points::Seen;
use super::probe::{OpenLoop, Played, Probe, ProbeFailure, SimulatedProbe};
use super::sampler::{Settings, Stop};
use super::visit::{Visit, spent};

fn tiny() -> Scenario {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/tiny");
    let loaded = routerwise_inputs::load(&routerwise_inputs::Paths::in_folder(&folder));
    loaded.expect("the shipped scenario is right").scenario
}

fn job(scenario: &Scenario) -> Job<'_> {
    Job {
        model: &scenario.models[0],
        gpu: &scenario.cluster.gpu_types[0],
        interconnect: scenario.cluster.interconnect_of(0).expect("the type has a node"),
        tensor_parallel: 1,
        share: GpuShare::WHOLE,
        workload: &scenario.workload,
    }
}

fn probe(scenario: &Scenario) -> SimulatedProbe {
    let job = job(scenario);
    let replica = job.replica(&Constants::shipped(), job.model.kv_reserve, 1.0);
    SimulatedProbe::new(replica.expect("the shipped scenario can be simulated").spec)
}

fn task(scenario: &Scenario, budget: f64) -> Task<'_> {
    Task {
        settings: Settings {
            precision: 0.1,
            budget: Seconds::new(budget).unwrap(),
            metrics: vec![Metric::Ttft, Metric::Tpot],
        },
        arrivals: scenario.workload.arrivals,
        lengths: &scenario.workload.lengths,
        seed: 7,
    }
}

fn subject(scenario: &Scenario) -> Subject {
    let swept = swept(scenario);
    Subject {
        key: swept.key,
        conditions: swept.conditions,
        server: "the engine model".into(),
        version: None,
        seed: 7,
    }
}

/// What the twelve fixed loads say.
fn swept(scenario: &Scenario) -> Profile {
    let sweep = Sweep {
        seed: 3,
        n_requests: 4_000,
    };
    sweep::profile(&job(scenario), sweep, &Constants::shipped())
        .unwrap()
        .profile
}

fn measured(scenario: &Scenario, budget: f64) -> (Stop, Vec<Visit>, Profile) {
    let task = task(scenario, budget);
    let mut visits = Seen::default();
    let stop = measure(&task, &mut probe(scenario), &mut visits, |_| Ok::<(), ()>(()), &|_| ());
    let profile = profile(&subject(scenario), &task.settings, &visits).expect("some load is sustained");
    (stop.unwrap(), visits.visits().to_vec(), profile)
}

fn evidence(profile: &Profile) -> &Measured {
    match profile.evidence.as_deref() {
        Some(Evidence::Measured(measured)) => measured,
        other => panic!("{other:?}"),
    }
}

#[test]
fn with_time_enough_the_curve_is_as_sure_as_asked_for_and_agrees_with_the_sweep() {
    let scenario = tiny();
    let (stop, _, measured) = measured(&scenario, 4_000.0);
    assert_eq!(stop, Stop::Precise);
    assert!(evidence(&measured).uncertainty <= 0.1);
    let swept = swept(&scenario);
    let ratio = measured.capacity.value() / swept.capacity.value();
    assert!(0.92 < ratio && ratio < 1.08, "{ratio}");
    let at = |profile: &Profile, rate: f64, metric| {
        use routerwise_plan::curve::{LatencyCurve, Reading};
        use routerwise_types::workload::Statistic;
        let curve = LatencyCurve::from_profile(profile, Reading::Statistic(metric, Statistic::Mean));
        curve.expect("it has points").at(rate).expect("below both capacities")
    };
    for part in [0.2, 0.5, 0.7, 0.85] {
        let rate = part * swept.capacity.value();
        for metric in [Metric::Ttft, Metric::Tpot, Metric::E2e] {
            let (found, wanted) = (at(&measured, rate, metric), at(&swept, rate, metric));
            assert!(
                (found / wanted - 1.0).abs() < 0.1,
                "{metric} at {part}: {found} {wanted}"
            );
        }
    }
}

#[test]
fn a_small_budget_is_kept_and_still_finds_the_knee() {
    let scenario = tiny();
    let (stop, visits, small) = measured(&scenario, 60.0);
    assert_eq!(stop, Stop::BudgetSpent);
    assert!(spent(&visits) < 66.0, "{}", spent(&visits));
    let ratio = small.capacity.value() / swept(&scenario).capacity.value();
    assert!(0.8 < ratio && ratio < 1.15, "{ratio}");
    let above = evidence(&small).not_sustained.expect("some load is too much").value();
    assert!(above / small.capacity.value() < 1.06);
}

#[test]
fn no_luck_with_the_arrivals_makes_the_knee_far_too_low() {
    let scenario = tiny();
    for (seed, ratio) in knees(&scenario, 30, 0.1, 120.0) {
        assert!(0.88 < ratio && ratio < 1.15, "seed {seed}: {ratio} of the capacity");
    }
}

/// A queue that grows takes longer to show than visits last, but what gets done tells.
#[test]
fn an_engine_with_few_places_is_not_believed_after_a_short_look() {
    let mut scenario = tiny();
    for model in &mut scenario.models {
        model.engine.max_num_seqs = 4;
    }
    for (seed, ratio) in knees(&scenario, 20, 0.5, 60.0) {
        assert!(0.88 < ratio && ratio < 1.3, "seed {seed}: {ratio} of the capacity");
    }
}

/// The capacity that profiles of some seeds find, over the real one.
fn knees(scenario: &Scenario, n_seeds: u64, precision: f64, budget: f64) -> Vec<(u64, f64)> {
    let capacity = swept(scenario).capacity.value();
    let found = (0..n_seeds).map(|seed| {
        let usual = task(scenario, budget);
        let settings = Settings {
            precision,
            ..usual.settings.clone()
        };
        let task = Task {
            seed,
            settings,
            ..usual
        };
        let mut visits = Seen::default();
        measure(&task, &mut probe(scenario), &mut visits, |_| Ok::<(), ()>(()), &|_| ()).unwrap();
        let found = profile(&subject(scenario), &task.settings, &visits).expect("some load is sustained");
        (seed, found.capacity.value() / capacity)
    });
    found.collect()
}

#[test]
fn an_engine_alone_shows_its_prefill_and_decode_rate() {
    let scenario = tiny();
    let (_, _, profile) = measured(&scenario, 300.0);
    let alone = evidence(&profile).alone;
    let decode = alone.decode_rate.unwrap();
    assert!((decode * alone.tpot.value() - 1.0).abs() < 1e-9);
    let idle = profile.points.first().unwrap();
    assert!((alone.ttft.value() / idle.ttft.mean.value() - 1.0).abs() < 0.2);
    // A 1.5B model in bf16 is 3 GFLOP a token, 100 000 of them a second at 312 TFLOP/s; the short prompt waits for the weights as
    // well, so that the difference comes out a little faster than that.
    let prefill = alone.prefill_rate.unwrap();
    assert!(10_000.0 < prefill && prefill < 200_000.0, "{prefill}");
}

#[test]
fn a_run_that_is_cut_anywhere_goes_on_and_ends_the_same() {
    let scenario = tiny();
    let task = task(&scenario, 300.0);
    let (_, whole, _) = measured(&scenario, 300.0);
    for cut in [0, 1, 5, whole.len() - 1] {
        // As they come back from a file.
        let text = serde_json::to_string(&whole[..cut]).unwrap();
        let mut visits = Seen::of(serde_json::from_str(&text).unwrap());
        measure(&task, &mut probe(&scenario), &mut visits, |_| Ok::<(), ()>(()), &|_| ()).unwrap();
        assert_eq!(visits.visits(), whole, "cut after {cut}");
    }
}

/// An engine that dies after some visits.
struct Mortal(SimulatedProbe, usize);

impl Mortal {
    fn live(&mut self) -> Result<(), ProbeFailure> {
        self.1 = self.1.checked_sub(1).ok_or_else(|| ProbeFailure::Engine {
            what: "it died".into(),
            help: "start it again".into(),
        })?;
        Ok(())
    }
}

impl Probe for Mortal {
    fn one_by_one(&mut self, requests: &[Lengths]) -> Result<Played, ProbeFailure> {
        self.live()?;
        self.0.one_by_one(requests)
    }

    fn open_loop(&mut self, load: &OpenLoop<'_>) -> Result<Played, ProbeFailure> {
        self.live()?;
        self.0.open_loop(load)
    }
}

#[test]
fn what_was_measured_before_an_engine_died_is_kept() {
    let scenario = tiny();
    let (mut visits, mut kept) = (Seen::default(), 0);
    let keep = |_: &Visit| {
        kept += 1;
        Ok::<(), ()>(())
    };
    let mut mortal = Mortal(probe(&scenario), 6);
    let died = measure(&task(&scenario, 300.0), &mut mortal, &mut visits, keep, &|_| ());
    assert!(matches!(died, Err(Interrupted::Probe(ProbeFailure::Engine { .. }))));
    assert_eq!((visits.visits().len(), kept), (6, 6));
}

#[test]
fn an_engine_that_never_keeps_up_ends_the_search() {
    /// Answers one request in a hundred.
    struct Hopeless(SimulatedProbe);
    impl Probe for Hopeless {
        fn one_by_one(&mut self, requests: &[Lengths]) -> Result<Played, ProbeFailure> {
            self.0.one_by_one(requests)
        }
        fn open_loop(&mut self, load: &OpenLoop<'_>) -> Result<Played, ProbeFailure> {
            let mut played = self.0.open_loop(load)?;
            played.n_failed = played.records.len() as u64;
            played.records.clear();
            played.flow.n_finished = 0;
            Ok(played)
        }
    }
    let scenario = tiny();
    let mut visits = Seen::default();
    let task = task(&scenario, 3_000.0);
    let stop = measure(
        &task,
        &mut Hopeless(probe(&scenario)),
        &mut visits,
        |_| Ok::<(), ()>(()),
        &|_| (),
    );
    assert_eq!(stop.unwrap(), Stop::NeverKeepsUp);
    assert!(profile(&subject(&scenario), &task.settings, &visits).is_none());
}
