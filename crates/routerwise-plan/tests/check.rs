//! `check` finds nothing in a good plan, and finds every corruption of one.

#![expect(clippy::unwrap_used, reason = "the scenarios are ours")]

mod support;

use routerwise_plan::check::check;
use routerwise_plan::plan;
use routerwise_types::Fingerprint;
use routerwise_types::plan::{Measure, PackedSize, Plan, ResourcePrice, TieSplit};
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Configuration;
use routerwise_types::units::{Bytes, Fraction, GpuShare, Price, RequestsPerSecond, Score, Seconds};
use routerwise_types::workload::{Metric, Scope, Slo, Statistic};

/// Three models on four GPUs with a tight enough target that all of them get prompts; real amounts of memory.
fn scenario() -> Scenario {
    let mut scenario = support::scenario(&support::Shape {
        sizes: &support::PAPER_MODELS[..3],
        n_gpus: 4,
        tensor_parallel: &[1, 2],
        shares: &[0.3, 0.5, 0.7, 1.0],
        max_replicas: 2,
        may_be_off: false,
        floor: 0.5,
        rate: 30.0,
        target: 0.15,
        columns: support::continuous_scores(&support::PAPER_MODELS[..3], 300, 7),
    });
    scenario.cluster.gpu_types[0].usable_memory = Bytes(90_000_000_000);
    scenario.workload.planning.headroom = 0.1;
    scenario.workload.slos.push(Slo {
        metric: Metric::E2e,
        statistic: Statistic::Quantile { q: 0.9 },
        scope: Scope::EachModel,
        target: Seconds::new(8.0).unwrap(),
        route: None,
    });
    scenario
}

fn planned(scenario: &Scenario) -> Plan {
    plan(scenario, None)
        .unwrap()
        .plan()
        .expect("the target can be met")
        .clone()
}

#[test]
fn nothing_is_found_in_a_good_plan() {
    let scenario = scenario();
    assert_eq!(check(&scenario, &planned(&scenario)), vec![]);
    for (n_models, n_gpus) in [(3, 4), (3, 8), (4, 4), (4, 8)] {
        for target in [0.1, 0.2, 0.4] {
            let scenario = support::paper(n_models, n_gpus, 30.0, target, 2000);
            let found = check(&scenario, &planned(&scenario));
            assert_eq!(found, vec![], "{n_models} models on {n_gpus} GPUs, {target} s");
        }
    }
}

/// Corrupts a good plan, stamps it anew, and expects a message that contains every one of the words.
#[track_caller]
fn caught(corrupt: impl FnOnce(&mut Plan), words: &[&str]) {
    let scenario = scenario();
    let mut plan = planned(&scenario);
    corrupt(&mut plan);
    plan.id = plan.fingerprint();
    reported(&scenario, &plan, words);
}

#[track_caller]
fn reported(scenario: &Scenario, plan: &Plan, words: &[&str]) {
    let messages: Vec<String> = check(scenario, plan).iter().map(ToString::to_string).collect();
    let names = |message: &&String| words.iter().all(|word| message.contains(word));
    assert!(
        messages.iter().any(|message| names(&message)),
        "nothing says {words:?} in:\n{}",
        messages.join("\n")
    );
}

fn shorten<T>(list: &mut Vec<T>) {
    list.truncate(list.len() - 1);
}

/// The first model's configuration, which every plan of the scenario has.
fn first(plan: &mut Plan) -> &mut Configuration {
    plan.models[0].configuration.as_mut().expect("no model may be off")
}

/// Index of a model that gets some but not all prompts.
fn served(plan: &Plan) -> usize {
    let partly = |w: f64| 0.01 < w && w < 0.99;
    let found = plan.policies[0]
        .models
        .iter()
        .position(|model| partly(model.fraction.value()));
    found.expect("the target makes several models share the prompts")
}

#[test]
fn a_tampered_id_schema_or_input_is_found() {
    let scenario = scenario();
    let mut plan = planned(&scenario);
    plan.id = Fingerprint("0".into());
    reported(&scenario, &plan, &["id: found `0`"]);
    caught(|plan| plan.schema = 99, &["schema: found 99, expected 3"]);
    caught(
        |plan| plan.inputs.scores = Fingerprint("x".into()),
        &["inputs.scores: found `x`"],
    );
    caught(
        |plan| plan.rate = RequestsPerSecond::new(7.0).unwrap(),
        &["rate: found 7.00"],
    );
    caught(|plan| plan.planning.headroom = 0.0, &["planning"]);
    caught(
        |plan| plan.slos[0].target = Seconds::new(1.0).unwrap(),
        &["slos: found"],
    );
    caught(|plan| plan.models[0].name = "other".into(), &["models: found `other`"]);
    caught(|plan| plan.policies.clear(), &["policies: found []"]);
    caught(
        |plan| plan.policies[0].models[0].barred = true,
        &["barred: found true, expected false"],
    );
    caught(
        |plan| plan.policies[0].level = "night".into(),
        &["policies: found [(\"night\""],
    );
    caught(
        |plan| plan.policies[0].weight = Fraction::new(0.5).unwrap(),
        &["policies[0].weight: found 0.5"],
    );
    caught(
        |plan| plan.policies[0].rate = RequestsPerSecond::new(7.0).unwrap(),
        &["policies[0].rate: found 7"],
    );
    caught(
        |plan| plan.certificate.dual_points[0].policies.clear(),
        &["dual_points[0]"],
    );
    caught(|plan| plan.models.swap(0, 1), &["models: found `13b`, `7b`"]);
    caught(
        |plan| shorten(&mut plan.policies[0].prediction.slo_values),
        &["policies: found 3 models and 1 slo_values"],
    );
}

#[test]
fn a_configuration_that_is_not_allowed_is_found() {
    caught(|plan| first(plan).tensor_parallel = 4, &["tensor_parallel: found 4"]);
    caught(
        |plan| first(plan).share = GpuShare::new(0.4).unwrap(),
        &["share: found 40 %"],
    );
    caught(
        |plan| first(plan).n_replicas = 3,
        &["n_replicas: found 3, expected 1 to 2"],
    );
    caught(|plan| first(plan).gpu_type_ix = 5, &["gpu_type"]);
    caught(
        |plan| plan.models[0].gpu_type = Some("other".into()),
        &["gpu_type: found Some(\"other\")"],
    );
    caught(
        |plan| plan.models[0].configuration = None,
        &["configuration: found off"],
    );
}

#[test]
fn a_configuration_without_a_profile_is_found() {
    let mut scenario = scenario();
    let mut plan = planned(&scenario);
    let key = *first(&mut plan);
    scenario.profiles.retain(|profile| {
        profile.key.model != "7b"
            || profile.key.tensor_parallel != key.tensor_parallel
            || profile.key.share != key.share
    });
    reported(&scenario, &plan, &["`7b`, configuration", "one that has a profile"]);
}

#[test]
fn shards_that_overlap_or_lie_nowhere_are_found() {
    caught(|plan| plan.models[0].replicas[0][0] = 17, &["replica 0: found [17"]);
    caught(
        |plan| plan.models[0].replicas[0].push(0),
        &["replica 0", "different GPUs"],
    );
    caught(|plan| shorten(&mut plan.models[0].replicas), &["replicas: found"]);
    caught(|plan| shorten(&mut plan.models[0].kv_cache), &["kv_cache: found"]);
    caught(
        |plan| {
            // Everybody on the first GPUs.
            for model in &mut plan.models {
                for gpus in &mut model.replicas {
                    *gpus = (0..gpus.len()).collect();
                }
            }
        },
        &["node-1/0: found", "% of its compute"],
    );
}

#[test]
fn memory_that_is_not_there_is_found() {
    caught(
        |plan| plan.models[0].kv_cache[0] = Bytes(1),
        &["kv_cache of replica 0: found 1 bytes, expected at least"],
    );
    caught(
        |plan| plan.models[0].kv_cache[0] = Bytes(500_000_000_000),
        &["bytes of its memory"],
    );
}

#[test]
fn a_setup_below_the_utilisation_floor_is_found() {
    let mut scenario = scenario();
    let plan = planned(&scenario);
    scenario.workload.planning.utilisation_floor = Fraction::ONE;
    let used: f64 = plan
        .models
        .iter()
        .filter_map(|model| model.configuration)
        .map(|c| c.share.value() * f64::from(c.tensor_parallel) * f64::from(c.n_replicas))
        .sum();
    if used < 4.0 - 1e-9 {
        reported(&scenario, &plan, &["setup: found", "at least 100.0 %"]);
    }
}

#[test]
fn prices_fractions_and_qualities_that_do_not_belong_together_are_found() {
    caught(
        |plan| {
            let ix = served(plan);
            plan.policies[0].models[ix].price = Price::new(plan.policies[0].models[ix].price.value() + 0.05).unwrap();
        },
        &["fraction: found"],
    );
    caught(
        |plan| {
            let ix = served(plan);
            plan.policies[0].models[ix].fraction =
                Fraction::new(plan.policies[0].models[ix].fraction.value() + 1e-4).unwrap();
        },
        &["fraction: found"],
    );
    caught(
        |plan| {
            let ix = served(plan);
            plan.policies[0].models[ix].quality = Score::new(0.01).ok();
        },
        &["quality: found 0.01"],
    );
    caught(
        |plan| {
            let ix = served(plan);
            plan.policies[0].models[ix].quality = None;
        },
        &["quality: found none"],
    );
    caught(
        |plan| plan.policies[0].prediction.quality = Score::new(0.99).unwrap(),
        &["prediction.quality: found 0.99"],
    );
}

#[test]
fn tie_splits_that_are_none_are_found() {
    let add = |models: Vec<usize>, parts: Vec<f64>| {
        move |plan: &mut Plan| plan.policies[0].routing.ties.push(TieSplit { models, parts })
    };
    caught(add(vec![1, 0], vec![0.5, 0.5]), &["ties", "rising"]);
    caught(add(vec![0], vec![1.0]), &["ties", "two or more"]);
    caught(add(vec![0, 9], vec![0.5, 0.5]), &["ties", "model indices"]);
    caught(add(vec![0, 1], vec![0.5, 0.6]), &["ties", "summing to 1"]);
    caught(add(vec![0, 1], vec![-0.5, 1.5]), &["ties", "at least 0"]);
    caught(add(vec![0, 1], vec![1.0]), &["ties", "one part"]);
    caught(
        |plan| plan.policies[0].routing.tie_tolerance = 2.0,
        &["tie_tolerance: found 2"],
    );
}

#[test]
fn latencies_and_slo_values_that_are_made_up_are_found() {
    let low = |_| Seconds::new(1e-3).unwrap();
    caught(
        |plan| {
            let ix = served(plan);
            plan.policies[0].models[ix].latency = plan.policies[0].models[ix].latency.map(|mut latency| {
                latency.tpot = low(());
                latency
            });
        },
        &["latency, TPOT: found 0.001"],
    );
    caught(
        |plan| {
            let ix = served(plan);
            plan.policies[0].models[ix].latency = None;
        },
        &["latency: found none"],
    );
    caught(
        |plan| {
            let ix = served(plan);
            plan.models[ix].utilisation = Fraction::ZERO;
        },
        &["utilisation: found 0"],
    );
    caught(
        |plan| plan.policies[0].prediction.latency.e2e = low(()),
        &["prediction.latency, E2E"],
    );
    let place = "prediction.latency_without_headroom, TTFT";
    caught(
        |plan| plan.policies[0].prediction.latency_without_headroom.ttft = low(()),
        &[place],
    );
    caught(
        |plan| plan.policies[0].prediction.slo_values[0].value *= 0.9,
        &["slo_values[0].value"],
    );
    caught(
        |plan| plan.policies[0].prediction.slo_values[1].limit *= 2.0,
        &["slo_values[1].limit"],
    );
    caught(
        |plan| plan.policies[0].prediction.slo_values[0].price = -1.0,
        &["slo_values[0].price"],
    );
}

#[test]
fn a_missed_slo_and_an_overload_are_found() {
    let mut scenario = scenario();
    let mut plan = planned(&scenario);
    for target in [&mut scenario.workload.slos[0].target, &mut plan.slos[0].target] {
        *target = Seconds::new(0.05).unwrap();
    }
    reported(&scenario, &plan, &["slo_values[0]: mean TTFT", "is missed"]);
    let mut scenario = self::scenario();
    scenario.workload.slos[1].target = Seconds::new(0.1).unwrap();
    reported(&scenario, &plan, &["slo_values[1]: P90 E2E", "is missed"]);
    scenario.workload.rate = RequestsPerSecond::new(3000.0).unwrap();
    reported(&scenario, &plan, &["but its curves end at"]);
}

#[test]
fn a_certificate_that_proves_nothing_is_found() {
    caught(
        |plan| plan.certificate.quality = Score::new(0.9).unwrap(),
        &["certificate.quality"],
    );
    caught(|plan| plan.certificate.gap += 0.1, &["certificate.gap"]);
    caught(|plan| plan.certificate.setups_in_space += 1.0, &["setups_in_space"]);
    caught(|plan| plan.certificate.dual_points.clear(), &["dual points allow inf"]);
    caught(
        |plan| plan.certificate.dual_points[0].policies[0].slo_prices[0] = -1.0,
        &["dual_points[0]"],
    );
    caught(
        |plan| {
            plan.certificate.dual_points[0].resource_prices = vec![ResourcePrice {
                gpu_type: "gpu".into(),
                measure: Measure::Memory,
                k: 0,
                sizes: Vec::new(),
                price: -1.0,
            }];
        },
        &["dual_points[0].resource_prices"],
    );
    // Two halves of a GPU are worth more than the GPU.
    caught(
        |plan| {
            plan.certificate.dual_points[0].resource_prices = vec![ResourcePrice {
                gpu_type: "gpu".into(),
                measure: Measure::Packed,
                k: 0,
                sizes: vec![PackedSize {
                    share: Fraction::new(0.5).unwrap(),
                    memory: Bytes(0),
                    value: 0.6,
                }],
                price: 0.1,
            }];
        },
        &["dual_points[0].resource_prices"],
    );
    caught(
        |plan| plan.certificate.dual_points[0].policies[0].prices[1] = f64::NAN,
        &["dual_points[0]"],
    );
    caught(
        |plan| shorten(&mut plan.certificate.dual_points[0].policies[0].prices),
        &["dual_points[0]"],
    );
    caught(
        |plan| plan.certificate.dual_points[0].policies[0].slo_prices.push(0.0),
        &["dual_points[0]"],
    );
    caught(
        |plan| {
            plan.certificate.upper_bound -= 0.01;
            plan.certificate.gap = 0.0;
        },
        &["upper_bound: found"],
    );
    caught(
        |plan| {
            plan.certificate.upper_bound -= 1e-3;
            plan.certificate.gap = 0.0;
        },
        &["found an upper bound of", "`7b` tp="],
    );
    caught(
        |plan| {
            for point in &mut plan.certificate.dual_points {
                point.policies[0].prices.iter_mut().for_each(|price| *price += 0.02);
                point.policies[0].slo_prices.iter_mut().for_each(|price| *price *= 1.1);
            }
        },
        &["found an upper bound of"],
    );
}
