//! What `explain` says agrees with planning again, and the runner-up with planning every setup.

#![expect(clippy::unwrap_used, reason = "the scenarios are ours")]

mod support;

use routerwise_plan::explain::{alternatives, price_meanings, rate_limits, runner_up, values, what_would_help};
use routerwise_plan::{Outcome, plan};
use routerwise_types::answer::explanation::Held;
use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;
use routerwise_types::units::RequestsPerSecond;
use routerwise_types::workload::{Aim, Budget, Level, Objective};

fn scenario(shares: &[f64], may_be_off: bool, n_gpus: usize) -> Scenario {
    support::scenario(&support::Shape {
        sizes: &support::PAPER_MODELS[..3],
        n_gpus,
        tensor_parallel: &[1],
        shares,
        max_replicas: 1,
        may_be_off,
        floor: 0.0,
        rate: 30.0,
        target: 0.25,
        columns: support::continuous_scores(&support::PAPER_MODELS[..3], 300, 7),
    })
}

fn planned(scenario: &Scenario) -> Plan {
    plan(scenario, None).unwrap().plan().unwrap().clone()
}

/// With one setup there is, the multipliers bound what a change is worth, and are near it when the change is small.
#[test]
fn first_order_bounds_what_planning_again_finds_for_a_fixed_setup() {
    let scenario = scenario(&[1.0], false, 3);
    let plan = planned(&scenario);
    let found = values(&scenario, &plan).unwrap();
    let gap = plan.certificate.gap + 1e-5;
    for value in found.iter().filter(|value| !value.change.contains("one more")) {
        let (first_order, gain) = (value.first_order.unwrap(), value.gain.unwrap());
        assert!(value.finished);
        assert!(gain <= first_order + gap, "{value:?}");
        assert!(gain >= -gap && first_order >= -1e-9, "{value:?}");
        assert!(first_order - gain <= 0.3 * first_order + 2e-4, "{value:?}");
    }
    assert!(found[0].first_order.unwrap() > 1e-5, "the target binds: {found:?}");
    assert_eq!(found.len(), 3, "10 ms, traffic, one GPU type");
}

#[test]
fn what_changes_are_worth_is_what_planning_them_finds() {
    let scenario = scenario(&[0.5, 1.0], true, 2);
    let found = what_would_help(&scenario, &planned(&scenario)).unwrap();
    let mut less = scenario.clone();
    less.workload.rate = RequestsPerSecond::new(27.0).unwrap();
    let best = planned(&less);
    let worth = found.iter().find(|worth| worth.change == "10 % less traffic").unwrap();
    assert!(worth.finished, "{worth:?}");
    assert!(
        (worth.quality.unwrap() - best.quality().value()).abs() < 2e-4,
        "{worth:?}"
    );
    for worth in &found {
        assert!(
            worth.quality.is_none_or(|quality| quality <= worth.upper_bound + 1e-9),
            "{worth:?}"
        );
    }
    assert!(found.iter().any(|worth| worth.change.starts_with("one more")));
}

#[test]
fn a_gpu_has_a_price_when_more_of_them_would_help() {
    let scenario = scenario(&[0.5, 1.0], true, 2);
    let plan = planned(&scenario);
    let found = values(&scenario, &plan).unwrap();
    let gpu = found.iter().find(|value| value.change.starts_with("one more")).unwrap();
    assert!(gpu.gain.unwrap() > 0.0 && gpu.first_order.unwrap() > 0.0, "{gpu:?}");
}

#[test]
fn the_runner_up_agrees_with_planning_every_setup() {
    let shares = [0.5, 1.0];
    let scenario = scenario(&shares, false, 3);
    let plan = planned(&scenario);
    let mut qualities = Vec::new();
    for setup in 0..8usize {
        let mut fixed = scenario.clone();
        for (model_ix, model) in fixed.models.iter_mut().enumerate() {
            let share = model.shares[(setup >> model_ix) & 1];
            model.shares = vec![share];
        }
        if let Some(plan) = routerwise_plan::plan(&fixed, None).unwrap().plan() {
            qualities.push(plan.quality().value());
        }
    }
    qualities.sort_by(f64::total_cmp);
    let [.., second, best] = qualities[..] else {
        panic!("{qualities:?}")
    };
    assert!((plan.quality().value() - best).abs() < 2e-4);
    let found = alternatives(&scenario, &plan).unwrap();
    let runner_up = runner_up(&found).unwrap().setup.clone().unwrap();
    assert!(
        (runner_up.quality.value() - second).abs() < 2e-4,
        "{runner_up:?} {qualities:?}"
    );
    assert!(runner_up.upper_bound >= second - 1e-6);
    // The worth of its changes at the plan's prices bounds it.
    let worth: f64 = runner_up.differences.iter().map(|difference| difference.worth).sum();
    assert!(runner_up.quality.value() <= plan.certificate.upper_bound + worth + 1e-4);
    // No model may be off, so holding one off leaves nothing.
    let off = found.iter().filter(|alternative| alternative.held == Held::Off);
    assert!(off.clone().count() == 3 && off.clone().all(|alternative| alternative.setup.is_none()));
}

#[test]
fn a_model_that_is_held_differs_from_the_plan() {
    let scenario = scenario(&[0.5, 1.0], true, 2);
    let plan = planned(&scenario);
    for alternative in alternatives(&scenario, &plan).unwrap() {
        let Some(setup) = alternative.setup else { continue };
        let held = setup
            .differences
            .iter()
            .find(|difference| difference.model == alternative.model)
            .unwrap();
        match alternative.held {
            Held::On => assert!(held.other.is_some()),
            Held::Off => assert!(held.other.is_none()),
            Held::Otherwise => assert_ne!(held.other, held.planned),
        }
        let sum: f64 = setup.fractions.iter().map(|w| w.value()).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert!(setup.quality.value() <= plan.certificate.upper_bound + 1e-6);
    }
}

#[test]
fn rates_in_reach_have_a_plan_and_rates_out_of_reach_have_none() {
    let mut scenario = scenario(&[0.5, 1.0], true, 3);
    scenario.workload.planning.headroom = 0.1;
    let plan = planned(&scenario);
    let limits = rate_limits(&scenario, &plan);
    let brackets = [limits.as_planned, limits.same_setup, limits.any_setup];
    for limit in brackets {
        let refuted = limit.refuted.unwrap();
        assert!(limit.reached < refuted && refuted.value() <= limit.reached.value() * 1.0051);
    }
    assert!(
        brackets
            .windows(2)
            .all(|pair| pair[0].reached.value() <= pair[1].reached.value() * 1.0051)
    );
    let outcome = |scenario: &Scenario, rate: RequestsPerSecond| {
        let mut scenario = scenario.clone();
        scenario.workload.rate = rate;
        routerwise_plan::plan(&scenario, None).unwrap()
    };
    assert!(outcome(&scenario, limits.any_setup.reached).plan().is_some());
    let beyond = outcome(&scenario, limits.any_setup.refuted.unwrap());
    assert!(matches!(beyond, Outcome::Infeasible(_)));
    // With nothing but the plan's own configurations.
    let mut fixed = scenario.clone();
    for (model, planned) in fixed.models.iter_mut().zip(&plan.models) {
        match planned.configuration {
            Some(configuration) => {
                model.shares = vec![configuration.share];
                model.may_be_off = false;
            }
            None => model.shares.clear(),
        }
    }
    assert!(outcome(&fixed, limits.same_setup.reached).plan().is_some());
    assert!(outcome(&fixed, limits.same_setup.refuted.unwrap()).plan().is_none());
}

#[test]
fn the_cheapest_model_is_the_measure_of_the_others() {
    let scenario = scenario(&[0.5, 1.0], true, 3);
    let plan = planned(&scenario);
    let meanings = price_meanings(&plan);
    assert_eq!(meanings.len(), 3);
    for meaning in meanings.iter().filter(|meaning| meaning.runs) {
        assert!(meaning.above_cheapest >= 0.0);
        assert!(meaning.model != meaning.cheapest || meaning.above_cheapest.abs() < 1e-12);
        // The toll is the marginal latency times its price.
        if let Some(added) = meaning.added_latency {
            let per_second = plan.policies[0].prediction.slo_values[0].price;
            assert!((added.value() * 100.0 * per_second - meaning.price.value()).abs() < 1e-9);
        }
    }
}

/// What is explained of a plan on some of the GPUs is about those.
#[test]
fn a_plan_within_a_budget_is_explained_on_its_gpus() {
    let mut scenario = scenario(&[0.5, 1.0], true, 3);
    scenario.workload.objective = Objective {
        aim: Aim::MaximiseQuality,
        budget: Budget {
            max_gpus: Some(2),
            max_cost_per_hour: None,
        },
    };
    let plan = planned(&scenario);
    let found = values(&scenario, &plan).unwrap();
    let gpu = found.iter().find(|value| value.change.starts_with("one more")).unwrap();
    scenario.workload.objective.budget.max_gpus = Some(3);
    let three = planned(&scenario).quality().value();
    assert!((gpu.quality.unwrap() - three).abs() < 2e-4);
}

/// Day and night, each with its own prices.
#[test]
fn several_load_levels_are_explained_together() {
    let mut scenario = scenario(&[1.0], false, 3);
    scenario.workload.levels = vec![level("day", 1.0), level("night", 0.5)];
    let plan = planned(&scenario);
    assert_eq!(price_meanings(&plan).len(), 6);
    let gap = plan.certificate.gap + 1e-5;
    for value in values(&scenario, &plan).unwrap() {
        let (first_order, gain) = (value.first_order.unwrap(), value.gain.unwrap());
        let is_gpu = value.change.contains("one more");
        assert!(is_gpu || gain <= first_order + gap, "{value:?}");
    }
    let limits = rate_limits(&scenario, &plan);
    assert!(limits.as_planned.reached <= limits.same_setup.refuted.unwrap());
    for alternative in alternatives(&scenario, &plan).unwrap() {
        let Some(setup) = alternative.setup else { continue };
        let sum: f64 = setup.fractions.iter().map(|w| w.value()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{setup:?}");
    }
}

fn level(name: &str, part: f64) -> Level {
    Level {
        name: name.to_owned(),
        part,
        hours: 12.0,
    }
}
