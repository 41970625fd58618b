//! A plan played: the whole is what its parts are alone.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod shared;

use routerwise_route::router::{Ask, Router};
use routerwise_simulate::arrivals::UnitSchedule;
use routerwise_simulate::constants::Constants;
use routerwise_simulate::load;
use routerwise_simulate::world::{Deployment, Interference, Played, Settings, play, play_routed, play_with};
use routerwise_types::cluster::{Cluster, Interconnect, Node};
use routerwise_types::plan::{
    Certificate, PLAN_SCHEMA, Plan, PlannedLatency, PlannedModel, Prediction, RoutePolicy, RoutedModel, Routing,
    TieSplit,
};
use routerwise_types::quality::{Prompt, Scores};
use routerwise_types::report::latency_stat;
use routerwise_types::scenario::Inputs;
use routerwise_types::setup::Configuration;
use routerwise_types::workload::{Lengths, Metric, Scope, Slo, Statistic};
use routerwise_types::{Bytes, Fingerprint, Fraction, GpuShare, Price, RequestsPerSecond, Scenario, Score, Seconds};
use shared::{gpu, job, models, workload};

const SETTINGS: Settings = Settings {
    n_requests: 5_000,
    seed: 5,
};

/// Mistral 7B and Llama 2 13B on two GPUs; every prompt has the same scores.
fn scenario() -> Scenario {
    let none = || Fingerprint(String::new());
    let models: Vec<_> = models().into_iter().take(2).collect();
    let prompt = |i: u32| Prompt {
        id: format!("prompt {i}"),
        weight: 1.0,
        text: None,
        tokens: None,
    };
    Scenario {
        cluster: Cluster {
            gpu_types: vec![gpu()],
            nodes: vec![Node {
                name: "node".to_owned(),
                gpu_type_ix: 0,
                n_gpus: 2,
                interconnect: Interconnect::Nvswitch,
            }],
        },
        scores: Scores {
            models: models.iter().map(|model| model.name.clone()).collect(),
            prompts: (0..5_000).map(prompt).collect(),
            columns: vec![vec![0.5; 5_000], vec![0.5; 5_000]],
            routes: Vec::new(),
            output_tokens: vec![None, None],
        },
        models,
        workload: workload(),
        profiles: Vec::new(),
        fingerprints: Inputs {
            cluster: none(),
            models: none(),
            workload: none(),
            scores: none(),
            profiles: none(),
        },
    }
}

/// A model on these GPUs, one replica on each, half of every GPU.
fn planned(scenario: &Scenario, model_ix: usize, gpus: &[usize]) -> PlannedModel {
    let model = &scenario.models[model_ix];
    PlannedModel {
        name: model.name.clone(),
        configuration: (!gpus.is_empty()).then(|| Configuration {
            gpu_type_ix: 0,
            tensor_parallel: 1,
            share: GpuShare::new(0.5).unwrap(),
            n_replicas: u32::try_from(gpus.len()).unwrap(),
        }),
        gpu_type: Some("a100-80gb-sxm".to_owned()),
        replicas: gpus.iter().map(|gpu| vec![*gpu]).collect(),
        kv_cache: gpus.iter().map(|_| model.kv_reserve).collect(),
        utilisation: Fraction::new(0.6).unwrap(),
    }
}

/// Both models are tied on every prompt; the first gets `part` of them.
fn plan(scenario: &Scenario, rate: f64, first: &[usize], second: &[usize], part: f64) -> Plan {
    let latency = PlannedLatency {
        ttft: Seconds::ZERO,
        tpot: Seconds::ZERO,
        e2e: Seconds::ZERO,
    };
    let slo = |metric, statistic, scope, target| Slo {
        metric,
        statistic,
        scope,
        target: Seconds::new(target).unwrap(),
        route: None,
    };
    let routed = || RoutedModel {
        price: Price::ZERO,
        barred: false,
        fraction: Fraction::ONE,
        quality: None,
        latency: None,
    };
    let p95 = Statistic::Quantile { q: 0.95 };
    Plan {
        schema: PLAN_SCHEMA,
        id: Fingerprint(String::new()),
        parent: None,
        inputs: scenario.fingerprints.clone(),
        rate: RequestsPerSecond::new(rate).unwrap(),
        slos: vec![
            slo(Metric::Ttft, Statistic::Mean, Scope::Workload, 0.4),
            slo(Metric::Ttft, p95, Scope::Workload, 0.2),
            slo(Metric::E2e, Statistic::Mean, Scope::EachModel, 10.0),
            slo(Metric::Tpot, p95, Scope::EachModel, 0.1),
        ],
        objective: scenario.workload.objective,
        achievement: None,
        planning: scenario.workload.planning,
        models: vec![planned(scenario, 0, first), planned(scenario, 1, second)],
        realised: Vec::new(),
        policies: vec![RoutePolicy {
            level: "always".to_owned(),
            route: "all".to_owned(),
            rate: RequestsPerSecond::new(rate).unwrap(),
            weight: Fraction::ONE,
            models: vec![routed(), routed()],
            routing: Routing {
                tie_tolerance: 1e-6,
                salt: 1,
                ties: vec![TieSplit {
                    models: vec![0, 1],
                    parts: vec![part, 1.0 - part],
                }],
            },
            prediction: Prediction {
                quality: Score::new(0.5).unwrap(),
                slo_values: Vec::new(),
                latency,
                latency_without_headroom: latency,
            },
        }],
        certificate: Certificate {
            quality: Score::new(0.5).unwrap(),
            upper_bound: 1.0,
            gap: 0.5,
            space: "by hand".to_owned(),
            setups_in_space: 1.0,
            setups_bounded: 0,
            setups_packed: 0,
            setups_solved: 0,
            evaluations: 0,
            dual_points: Vec::new(),
        },
    }
}

fn mean(played: &Played, metric: Metric) -> f64 {
    let stat = match metric {
        Metric::Ttft => &played.all.ttft,
        Metric::Tpot => &played.all.tpot,
        Metric::E2e => &played.all.e2e,
    };
    stat.as_ref().unwrap().mean.value()
}

#[test]
fn one_replica_of_one_model_does_what_its_profile_says() {
    let scenario = scenario();
    let plan = plan(&scenario, 5.0, &[0], &[], 1.0);
    let played = play(&scenario, &plan, 0, SETTINGS).unwrap();
    let gpu = gpu();
    let replica = job(&scenario.models[0], &gpu, &scenario.workload, 1, 0.5)
        .replica(&Constants::shipped(), scenario.models[0].kv_reserve, 1.0)
        .unwrap();
    let workload = &scenario.workload;
    let schedule = UnitSchedule::draw(workload.arrivals, &workload.lengths, SETTINGS.n_requests, SETTINGS.seed);
    let alone = load::run(&replica.spec, &schedule, plan.rate, 500..4_500).records;
    for metric in [Metric::Ttft, Metric::Tpot, Metric::E2e] {
        // The same requests on the same engine: the same to the nanosecond.
        let wanted = latency_stat(&alone, metric).unwrap().mean.value();
        assert!((mean(&played, metric) - wanted).abs() < 1e-9, "{metric}");
    }
    assert_eq!(played.n_refused, 0);
    assert_eq!(played.models[1].n_requests, 0);
}

#[test]
fn ties_are_split_as_planned_and_every_request_is_answered_once() {
    let scenario = scenario();
    let played = play(&scenario, &plan(&scenario, 6.0, &[0], &[1], 0.7), 0, SETTINGS).unwrap();
    let [first, second] = played.models.as_slice() else {
        panic!("two models")
    };
    assert!(
        (first.fraction - 0.7).abs() < 0.03 && first.fraction_ci95 < 0.04,
        "{}",
        first.fraction
    );
    assert_eq!(first.n_requests + second.n_requests, 4_000);
    assert!((played.all.quality - 0.5).abs() < 1e-6);
    assert!(played.requests.iter().all(|answered| {
        let record = &answered.record;
        record.arrived < record.first_token && record.first_token <= record.finished
    }));
}

#[test]
fn two_replicas_share_the_work_and_wait_less_than_one() {
    let scenario = scenario();
    let one = play(&scenario, &plan(&scenario, 5.0, &[0], &[], 1.0), 0, SETTINGS).unwrap();
    let two = play(&scenario, &plan(&scenario, 5.0, &[0, 1], &[], 1.0), 0, SETTINGS).unwrap();
    let on_first = two.requests.iter().filter(|answered| answered.replica_ix == 0).count();
    assert!((1_800..2_200).contains(&on_first), "{on_first}");
    assert!(mean(&two, Metric::E2e) < mean(&one, Metric::E2e));
}

#[test]
fn slos_are_read_off_the_requests() {
    let scenario = scenario();
    let played = play(&scenario, &plan(&scenario, 6.0, &[0], &[1], 0.7), 0, SETTINGS).unwrap();
    let stat = |model_ix: usize| played.models[model_ix].e2e.as_ref().unwrap().mean.value();
    let late = played
        .requests
        .iter()
        .filter(|answered| answered.record.ttft().value() > 0.2)
        .count();
    let tpot = |model_ix: usize| {
        played.models[model_ix]
            .tpot
            .as_ref()
            .unwrap()
            .sketch
            .quantile(0.95)
            .unwrap()
    };
    let wanted = [
        mean(&played, Metric::Ttft),
        late as f64 / 4_000.0,
        stat(0).max(stat(1)),
        tpot(0).max(tpot(1)),
    ];
    for (found, wanted) in played.slo_values.iter().zip(wanted) {
        assert!((found - wanted).abs() <= 0.021 * wanted, "{found} {wanted}");
    }
    assert_eq!(
        played.slo_ci95.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, true, true, false]
    );
}

#[test]
fn busy_neighbours_slow_decoding_down() {
    let scenario = scenario();
    let together = plan(&scenario, 4.0, &[0], &[0], 0.5);
    let apart = plan(&scenario, 4.0, &[0], &[1], 0.5);
    let tpot = |plan: &Plan, interference| {
        let played = play_with(&scenario, plan, 0, SETTINGS, Interference(interference)).unwrap();
        mean(&played, Metric::Tpot)
    };
    assert!(tpot(&together, 0.4) > 1.03 * tpot(&together, 0.0));
    assert!((tpot(&apart, 0.4) - tpot(&apart, 0.0)).abs() < 1e-12);
    assert!((tpot(&apart, 0.0) - tpot(&together, 0.0)).abs() < 1e-12);
}

#[test]
fn the_same_seed_plays_the_same_and_long_requests_are_counted_as_refused() {
    let mut scenario = scenario();
    scenario.workload.lengths.truncate(99);
    scenario.workload.lengths.push(Lengths {
        input: 5_000,
        output: 1,
    });
    let mut plan = plan(&scenario, 5.0, &[0], &[], 1.0);
    plan.models[0].kv_cache = vec![Bytes(8_000_000_000)];
    let played = play(&scenario, &plan, 0, SETTINGS).unwrap();
    assert!((30..50).contains(&played.n_refused), "{}", played.n_refused);
    assert_eq!(play(&scenario, &plan, 0, SETTINGS).unwrap(), played);
    let other = Settings { seed: 6, ..SETTINGS };
    assert_ne!(play(&scenario, &plan, 0, other).unwrap(), played);
}

/// Asks the first model; rejects every answer of it, or none.
struct Rejecting(bool);

impl Router for Rejecting {
    fn next(&self, ask: &Ask<'_>) -> Option<usize> {
        match ask.answered {
            [] => Some(0),
            [0] if self.0 => Some(1),
            _ => None,
        }
    }

    fn asks_again(&self) -> bool {
        true
    }
}

fn played_by(scenario: &Scenario, plan: &Plan, router: &dyn Router) -> Played {
    let deployment = Deployment {
        models: &plan.models,
        utilisation: vec![0.5; plan.models.len()],
        slos: &plan.slos,
        rate: plan.rate,
    };
    play_routed(scenario, &deployment, router, SETTINGS, Interference::OFF).unwrap()
}

#[test]
fn a_rejected_answer_is_waited_for_and_loads_both_models() {
    let scenario = scenario();
    let plan = plan(&scenario, 1.5, &[0], &[1], 1.0);
    let one = play(&scenario, &plan, 0, SETTINGS).unwrap();
    let two = played_by(&scenario, &plan, &Rejecting(true));
    assert_eq!(two.visits, [1.0, 1.0]);
    assert_eq!((two.models[0].n_requests, two.models[1].n_requests), (0, 4_000));
    // Request by request: the first model does what it does alone, and the second starts when it is done.
    for (first, both) in one.requests.iter().zip(&two.requests) {
        assert_eq!(first.record.arrived, both.record.arrived);
        assert!(first.record.finished < both.record.first_token);
    }
    let waited = mean(&two, Metric::Ttft) - mean(&one, Metric::E2e);
    assert!(0.0 < waited && waited < mean(&one, Metric::E2e), "{waited}");
}

#[test]
fn a_router_that_could_ask_again_and_does_not_plays_the_same_as_one_that_cannot() {
    let scenario = scenario();
    let plan = plan(&scenario, 5.0, &[0, 1], &[1], 1.0);
    assert_eq!(
        played_by(&scenario, &plan, &Rejecting(false)),
        play(&scenario, &plan, 0, SETTINGS).unwrap()
    );
}
