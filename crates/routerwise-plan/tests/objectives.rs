//! Objectives beside the highest quality agree with planning every part of the cluster, and their proofs hold.

#![expect(clippy::unwrap_used, reason = "the scenarios are ours")]

mod support;

use routerwise_plan::check::check;
use routerwise_plan::problem::Unplannable;
use routerwise_plan::{Outcome, plan};
use routerwise_types::cluster::{Cluster, Interconnect, Node};
use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;
use routerwise_types::units::{Fraction, RequestsPerSecond, Score, Seconds};
use routerwise_types::workload::{Aim, Budget, Level, Metric, Objective};

fn scenario(n_gpus: usize, rate: f64) -> Scenario {
    support::scenario(&support::Shape {
        sizes: &support::PAPER_MODELS[..3],
        n_gpus,
        tensor_parallel: &[1, 2],
        shares: &[0.5, 1.0],
        max_replicas: 2,
        may_be_off: true,
        floor: 0.0,
        rate,
        target: 0.3,
        columns: support::continuous_scores(&support::PAPER_MODELS[..3], 300, 7),
    })
}

/// A fast type at 4 per hour and a slow one, which takes half the load at twice the latency, at 1.5; two GPUs of each on nodes of their own.
fn two_types(rate: f64) -> Scenario {
    let mut scenario = scenario(2, rate);
    let fast = scenario.cluster.gpu_types[0].clone();
    let slow = routerwise_types::cluster::GpuType {
        name: "slow".into(),
        price_per_hour: Some(1.5),
        ..fast
    };
    scenario.cluster.gpu_types[0].price_per_hour = Some(4.0);
    scenario.cluster.gpu_types.push(slow);
    let node = scenario.cluster.nodes[0].clone();
    scenario.cluster.nodes.push(Node {
        name: "node-2".into(),
        gpu_type_ix: 1,
        ..node
    });
    let half = |rate: RequestsPerSecond| RequestsPerSecond::new(rate.value() / 2.0).unwrap();
    let twice = |seconds: Seconds| Seconds::new(seconds.value() * 2.0).unwrap();
    let slower: Vec<_> = scenario
        .profiles
        .iter()
        .cloned()
        .map(|mut profile| {
            profile.key.gpu_type = "slow".into();
            profile.capacity = half(profile.capacity);
            for point in &mut profile.points {
                (point.offered, point.achieved) = (half(point.offered), half(point.achieved));
                point.ttft.mean = twice(point.ttft.mean);
            }
            profile
        })
        .collect();
    scenario.profiles.extend(slower);
    scenario
}

fn with(scenario: &Scenario, aim: Aim, budget: Budget) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.workload.objective = Objective { aim, budget };
    scenario
}

fn cut(scenario: &Scenario, per_node: &[usize]) -> Scenario {
    let mut scenario = scenario.clone();
    for (node, n_gpus) in scenario.cluster.nodes.iter_mut().zip(per_node) {
        node.n_gpus = *n_gpus;
    }
    scenario
}

/// Quality of the best plan on the first GPUs of each node; nothing where there is none.
fn quality(scenario: &Scenario, per_node: &[usize]) -> Option<f64> {
    match plan(&cut(scenario, per_node), None) {
        Ok(outcome) => outcome.plan().map(|plan| plan.quality().value()),
        Err(Unplannable::NothingRuns) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Every part of a cluster of one or two nodes, with its quality.
fn parts(scenario: &Scenario) -> Vec<(Vec<usize>, Option<f64>)> {
    let mut parts = vec![Vec::new()];
    for node in &scenario.cluster.nodes {
        let longer = parts
            .iter()
            .flat_map(|part: &Vec<usize>| (0..=node.n_gpus).map(move |n| part.iter().copied().chain([n]).collect()));
        parts = longer.collect();
    }
    let some = parts
        .into_iter()
        .filter(|part: &Vec<usize>| part.iter().any(|n| *n > 0));
    some.map(|part| {
        let quality = quality(scenario, &part);
        (part, quality)
    })
    .collect()
}

fn solved(scenario: &Scenario) -> Plan {
    let outcome = plan(scenario, None).unwrap();
    let Outcome::Optimal(plan) = outcome else {
        panic!("{}: {outcome:?}", scenario.workload.objective)
    };
    assert_eq!(check(scenario, &plan), vec![], "{}", scenario.workload.objective);
    *plan
}

/// The plan of a minimised latency names its limit among its objectives; so must the scenario that it is checked against.
fn solved_latency(scenario: &Scenario) -> Plan {
    let outcome = plan(scenario, None).unwrap();
    let Outcome::Optimal(plan) = outcome else {
        panic!("{outcome:?}")
    };
    let mut reached = scenario.clone();
    reached.workload.slos.clone_from(&plan.slos);
    reached.fingerprints = plan.inputs.clone();
    assert_eq!(check(&reached, &plan), vec![]);
    *plan
}

fn score(value: f64) -> Score {
    Score::new(value).unwrap()
}

#[test]
fn fewest_gpus_agrees_with_planning_every_number() {
    for rate in [20.0, 60.0] {
        let scenario = scenario(4, rate);
        let by_number: Vec<Option<f64>> = (1..=4).map(|n| quality(&scenario, &[n])).collect();
        assert!(by_number.windows(2).all(|pair| pair[0] <= pair[1].map(|q| q + 1e-4)));
        for number in 1..=4 {
            let Some(quality) = by_number[number - 1] else { continue };
            // Just below what so many GPUs reach.
            let quality_floor = score(quality - 5e-4);
            let fewest = 1 + by_number
                .iter()
                .position(|q| q.is_some_and(|q| q >= quality_floor.value()))
                .unwrap();
            let plan = solved(&with(&scenario, Aim::MinimiseGpus { quality_floor }, Budget::NONE));
            let achievement = plan.achievement.as_ref().unwrap();
            assert_eq!(
                achievement.gpus_per_node,
                [fewest],
                "{rate}/s, at least {quality_floor}"
            );
            assert!((achievement.bound - achievement.value).abs() < 1e-9);
            assert!(plan.quality() >= quality_floor);
        }
    }
}

#[test]
fn a_quality_that_nothing_reaches_is_told_from_one_that_is_out_of_reach_of_the_slo() {
    let scenario = scenario(4, 20.0);
    let aim = Aim::MinimiseGpus {
        quality_floor: score(0.99),
    };
    let Outcome::BelowFloor(below) = plan(&with(&scenario, aim, Budget::NONE), None).unwrap() else {
        panic!("no plan answers nearly everything right")
    };
    let best = quality(&scenario, &[4]).unwrap();
    assert!((below.quality - best).abs() < 2e-4 && below.upper_bound < 0.99);
    let mut tight = scenario;
    tight.workload.slos[0].target = Seconds::new(1e-4).unwrap();
    let outcome = plan(&with(&tight, aim, Budget::NONE), None).unwrap();
    assert!(matches!(outcome, Outcome::Infeasible(_)), "{outcome:?}");
}

#[test]
fn lowest_cost_agrees_with_planning_every_mix_of_types() {
    let scenario = two_types(30.0);
    let parts = parts(&scenario);
    let cost = |part: &[usize]| support::as_f64(part[0]) * 4.0 + support::as_f64(part[1]) * 1.5;
    let mut seen = Vec::new();
    for (_, quality) in parts.iter().filter(|(_, quality)| quality.is_some()) {
        let quality_floor = score(quality.unwrap() - 5e-4);
        let enough = parts
            .iter()
            .filter(|(_, q)| q.is_some_and(|q| q >= quality_floor.value()));
        let cheapest = enough.map(|(part, _)| cost(part)).fold(f64::INFINITY, f64::min);
        let plan = solved(&with(&scenario, Aim::MinimiseCost { quality_floor }, Budget::NONE));
        let achievement = plan.achievement.unwrap();
        assert!(
            (achievement.value - cheapest).abs() < 1e-9,
            "at least {quality_floor}: {achievement:?}"
        );
        assert!((achievement.bound - cheapest).abs() < 1e-9);
        seen.push(cheapest);
    }
    seen.sort_by(f64::total_cmp);
    seen.dedup();
    assert!(seen.len() >= 3, "the floors must ask for different mixes: {seen:?}");
}

#[test]
fn highest_quality_within_a_budget_agrees_with_planning_every_mix() {
    let scenario = two_types(30.0);
    let parts = parts(&scenario);
    let budgets = [
        (Some(2), None),
        (None, Some(5.5)),
        (Some(3), Some(9.0)),
        (None, Some(3.0)),
    ];
    for (max_gpus, max_cost_per_hour) in budgets {
        let budget = Budget {
            max_gpus,
            max_cost_per_hour,
        };
        let allowed = parts.iter().filter(|(part, _)| budget.allows(&scenario.cluster, part));
        let best = allowed.filter_map(|(_, quality)| *quality).fold(0.0, f64::max);
        let plan = solved(&with(&scenario, Aim::MaximiseQuality, budget));
        let achievement = plan.achievement.as_ref().unwrap();
        assert!(
            (plan.quality().value() - best).abs() < 3e-4,
            "{budget:?}: {} against {best}",
            plan.quality()
        );
        assert!(achievement.bound >= best - 1e-6 && achievement.bound <= best + 3e-4);
    }
}

#[test]
fn lowest_latency_is_bracketed_by_targets_that_can_and_cannot_be_met() {
    let scenario = scenario(4, 30.0);
    let loose = quality(&scenario, &[4]).unwrap();
    for (metric, below) in [(Metric::Ttft, 0.01), (Metric::Ttft, 0.05), (Metric::E2e, 0.05)] {
        let quality_floor = score(loose - below);
        let plan = solved_latency(&with(
            &scenario,
            Aim::MinimiseLatency { metric, quality_floor },
            Budget::NONE,
        ));
        let achievement = plan.achievement.as_ref().unwrap();
        assert!(plan.quality() >= quality_floor);
        assert!(achievement.bound <= achievement.value && achievement.value <= achievement.bound * 1.006);
        if metric == Metric::Ttft {
            // Planning for the highest quality at the two ends of the bracket says the same.
            let at = |target: f64| {
                let mut scenario = scenario.clone();
                scenario.workload.slos[0].target = Seconds::new(target).unwrap();
                quality(&scenario, &[4]).unwrap_or(0.0)
            };
            assert!(at(achievement.value * (1.0 + 1e-6)) >= quality_floor.value() - 1e-4);
            assert!(at(achievement.bound) < quality_floor.value());
        }
    }
}

/// Two nodes of two GPUs: the larger model needs both of a node.
#[test]
fn parts_of_several_nodes_respect_their_links() {
    let mut scenario = scenario(2, 20.0);
    let node = scenario.cluster.nodes[0].clone();
    scenario.cluster = Cluster {
        nodes: vec![
            Node {
                interconnect: Interconnect::NvlinkPairs,
                ..node.clone()
            },
            Node {
                name: "node-2".into(),
                interconnect: Interconnect::NvlinkPairs,
                ..node
            },
        ],
        ..scenario.cluster
    };
    let all = quality(&scenario, &[2, 2]).unwrap();
    let quality_floor = score(all - 0.02);
    let scenario = with(&scenario, Aim::MinimiseGpus { quality_floor }, Budget::NONE);
    let plan = solved(&scenario);
    let taken: usize = plan.achievement.as_ref().unwrap().gpus_per_node.iter().sum();
    let fewest = (1..=4).find(|n| {
        quality(&scenario_of(&scenario), &[*n.min(&2), n - n.min(&2)]).is_some_and(|q| q >= quality_floor.value())
    });
    assert_eq!(Some(taken), fewest);
}

/// One GPU of one of two nodes: too slow for the traffic, and proven to be.
#[test]
fn a_budget_that_nothing_fits_is_infeasible_not_undecided() {
    let mut scenario = scenario(2, 200.0);
    let node = scenario.cluster.nodes[0].clone();
    scenario.cluster.nodes.push(Node {
        name: "node-2".into(),
        ..node
    });
    let budget = Budget {
        max_gpus: Some(1),
        max_cost_per_hour: None,
    };
    let outcome = plan(&with(&scenario, Aim::MaximiseQuality, budget), None).unwrap();
    assert!(matches!(outcome, Outcome::Infeasible(_)), "{outcome:?}");
}

fn scenario_of(scenario: &Scenario) -> Scenario {
    with(scenario, Aim::MaximiseQuality, Budget::NONE)
}

#[test]
fn objectives_that_lack_an_input_say_which() {
    let scenario = scenario(2, 20.0);
    let quality_floor = score(0.5);
    let error = plan(
        &with(&scenario, Aim::MinimiseCost { quality_floor }, Budget::NONE),
        None,
    )
    .unwrap_err();
    assert!(error.to_string().contains("`gpu` has no price"), "{error}");
    let mut floored = with(&scenario, Aim::MinimiseGpus { quality_floor }, Budget::NONE);
    floored.workload.planning.utilisation_floor = Fraction::new(0.5).unwrap();
    assert_eq!(plan(&floored, None).unwrap_err(), Unplannable::FloorOnPart);
    let mut poor = two_types(20.0);
    poor.workload.objective.budget.max_cost_per_hour = Some(1.0);
    assert_eq!(plan(&poor, None).unwrap_err(), Unplannable::NoGpuWithinBudget);
}

/// Changes a plan with a proof and expects the checker to say so.
#[track_caller]
fn caught(scenario: &Scenario, change: impl FnOnce(&mut Plan), words: &str) {
    let mut plan = solved(scenario);
    change(&mut plan);
    plan.id = plan.fingerprint();
    let messages: Vec<String> = check(scenario, &plan).iter().map(ToString::to_string).collect();
    assert!(
        messages.iter().any(|message| message.contains(words)),
        "nothing says {words:?} in {messages:#?}"
    );
}

#[test]
fn a_wrong_achievement_is_found() {
    let base = scenario(4, 60.0);
    let three = quality(&base, &[3]).unwrap();
    let aim = Aim::MinimiseGpus {
        quality_floor: score(three - 5e-4),
    };
    let scenario = with(&base, aim, Budget::NONE);
    let taken = solved(&scenario).achievement.unwrap().gpus_per_node[0];
    assert!(taken > 1, "there must be something to prove");
    let of = |plan: &mut Plan, change: fn(&mut routerwise_types::plan::Achievement)| {
        change(plan.achievement.as_mut().unwrap());
    };
    caught(&scenario, |plan| plan.achievement = None, "achievement: found nothing");
    caught(&scenario, |plan| of(plan, |a| a.value -= 1.0), "achievement.value");
    caught(&scenario, |plan| of(plan, |a| a.bound += 1.0), "achievement.bound");
    caught(&scenario, |plan| of(plan, |a| a.limits.clear()), "achievement.bound");
    caught(&scenario, |plan| of(plan, |a| a.gpus_per_node[0] -= 1), "one on node-1");
    caught(&scenario, |plan| of(plan, |a| a.gpus_per_node[0] = 9), "at most [4]");
    caught(&scenario, |plan| of(plan, |a| a.limits[0].gpus[0] = 4), "allow");
    caught(
        &scenario,
        |plan| of(plan, |a| a.limits[0].gpus[0] = 5),
        "GPUs that there are",
    );
    caught(
        &scenario,
        |plan| of(plan, |a| a.limits[0].target = Some(Seconds::ZERO)),
        "a latency that is minimised",
    );
    caught(&scenario, |plan| of(plan, |a| a.limits[0].dual_points.clear()), "allow");
    caught(
        &scenario,
        |plan| of(plan, |a| a.limits[0].upper_bound = Some(0.1)),
        "allow",
    );
    caught(
        &scenario,
        |plan| of(plan, |a| a.cost_per_hour = Some(1.0)),
        "cost_per_hour",
    );
    caught(
        &scenario,
        |plan| plan.objective.budget.max_gpus = Some(1),
        "objective: found",
    );
}

/// The GPUs must do for the busiest level; the quality is that of all levels together.
#[test]
fn fewest_gpus_and_lowest_latency_with_several_load_levels() {
    let mut scenario = scenario(4, 60.0);
    scenario.workload.levels = [("day", 1.0), ("night", 0.4)]
        .map(|(name, part)| Level {
            name: name.to_owned(),
            part,
            hours: 12.0,
        })
        .to_vec();
    let by_number: Vec<Option<f64>> = (1..=4).map(|n| quality(&scenario, &[n])).collect();
    let three = by_number[2].unwrap();
    let quality_floor = score(three - 5e-4);
    let fewest = 1 + by_number
        .iter()
        .position(|q| q.is_some_and(|q| q >= quality_floor.value()))
        .unwrap();
    let plan = solved(&with(&scenario, Aim::MinimiseGpus { quality_floor }, Budget::NONE));
    assert_eq!(plan.achievement.unwrap().gpus_per_node, [fewest]);
    let metric = Metric::Ttft;
    let plan = solved_latency(&with(
        &scenario,
        Aim::MinimiseLatency { metric, quality_floor },
        Budget::NONE,
    ));
    assert_eq!(plan.policies.len(), 2);
    let achievement = plan.achievement.unwrap();
    assert!(
        achievement.value <= achievement.bound * 1.006,
        "{} {}",
        achievement.value,
        achievement.bound
    );
}
