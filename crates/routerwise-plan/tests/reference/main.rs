//! The search against full enumeration with LPs by an independent solver, on several hundred random small problems.

mod enumeration;
mod routes;
mod tiny;

use routerwise_plan::check::check;
use routerwise_plan::problem::Problem;
use routerwise_plan::solve;
use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;
use routerwise_types::units::Seconds;
use routerwise_types::workload::Level;
use tiny::ScoreKind;

/// How far the plan's quality may lie from the reference's.
const TOLERANCE: f64 = 1e-5;
/// More setups than this take the reference too long.
const MOST_SETUPS: f64 = 150.0;

/// The problems of a range of seeds that can be planned at all and are small enough.
fn problems(seeds: std::ops::Range<u64>) -> impl Iterator<Item = (u64, Scenario, ScoreKind, Problem)> {
    seeds.filter_map(|seed| {
        let (scenario, kind) = tiny::scenario(seed);
        let problem = Problem::new(&scenario).ok()?;
        (problem.setups_in_space() <= MOST_SETUPS).then_some((seed, scenario, kind, problem))
    })
}

/// One problem: agreement with the reference, a bound that bounds, nothing for `check` to find, a fixed point.
fn agrees(seed: u64, scenario: &Scenario, problem: &Problem) -> Result<bool, String> {
    let reference = enumeration::best(problem, 1.0);
    let Some(plan) = solve(scenario, problem, None) else {
        // On the very edge of feasibility rounding decides.
        let wrong = reference.and_then(|_| enumeration::best(problem, 1.0 - 1e-5));
        let message = |quality| format!("seed {seed}: no plan was found, the reference reaches {quality}");
        return wrong.map_or(Ok(false), |quality| Err(message(quality)));
    };
    let Some(reference) = reference.or_else(|| enumeration::best(problem, 1.0 + 1e-5)) else {
        return Err(format!(
            "seed {seed}: planned, but the reference finds nothing feasible"
        ));
    };
    let mut wrong = Vec::new();
    let certificate = &plan.certificate;
    if (certificate.quality.value() - reference).abs() > TOLERANCE {
        wrong.push(format!(
            "quality {}, the reference reaches {reference}",
            certificate.quality
        ));
    }
    if certificate.gap > 1e-5 {
        wrong.push(format!("a gap of {} is left", certificate.gap));
    }
    if certificate.upper_bound < reference - 1e-6 {
        wrong.push(format!(
            "the bound {} lies below the reference {reference}",
            certificate.upper_bound
        ));
    }
    wrong.extend(check(scenario, &plan).iter().map(ToString::to_string));
    let again = solve(scenario, problem, Some(&plan));
    if again.is_none_or(|again| !same(&again, &plan)) {
        wrong.push("planning again gives another plan".into());
    }
    if wrong.is_empty() {
        return Ok(true);
    }
    Err(format!("seed {seed}: {}", wrong.join("\n  ")))
}

/// Whether two plans differ in name and parent at most.
fn same(again: &Plan, plan: &Plan) -> bool {
    let renamed = Plan {
        id: plan.id.clone(),
        parent: plan.parent.clone(),
        ..again.clone()
    };
    renamed == *plan
}

#[test]
fn search_agrees_with_enumeration() {
    let (mut wrong, mut feasible, mut infeasible, mut shared) = (Vec::new(), 0, 0, 0);
    for (seed, scenario, _, problem) in problems(0..700) {
        match agrees(seed, &scenario, &problem) {
            Ok(true) => feasible += 1,
            Ok(false) => infeasible += 1,
            Err(message) => wrong.push(message),
        }
        shared += u32::from(problem.models.len() > 1);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // What the generator makes must stay worth solving.
    assert!(
        feasible > 200 && infeasible > 100 && shared > 300,
        "{feasible} feasible, {infeasible} infeasible, {shared} with several models"
    );
}

/// Each of these once went wrong.
#[test]
fn bugs_that_enumeration_found_stay_fixed() {
    let seeds = [
        // Multipliers of 0 chose which fraction to split, always the same one: no plan in 1000 solves.
        345, // Weighted fractions summed to 1 + 1e-8, and no capacity sufficed.
        1191, 1346, 1861, 2052, 2908, 4260, 4427, 4519, 5466, 5517, 5994, 7146,
    ];
    for seed in seeds {
        let (scenario, _) = tiny::scenario(seed);
        let problem = Problem::new(&scenario).unwrap();
        assert_eq!(agrees(seed, &scenario, &problem), Ok(true));
    }
}

/// One setup for several load levels: the reference solves each level of each setup by itself.
#[test]
fn load_levels_agree_with_enumeration() {
    let (mut wrong, mut feasible, mut infeasible) = (Vec::new(), 0, 0);
    for seed in 8000..8400 {
        let (mut scenario, _) = tiny::scenario(seed);
        scenario.workload.levels = (0..2 + seed % 2)
            .map(|level| Level {
                name: format!("level-{level}"),
                part: [1.0, 0.3, 0.7][usize::try_from(level).unwrap()],
                hours: [6.0, 14.0, 4.0][usize::try_from(level).unwrap()],
            })
            .collect();
        let Ok(problem) = Problem::new(&scenario) else { continue };
        if problem.setups_in_space() > MOST_SETUPS {
            continue;
        }
        match agrees(seed, &scenario, &problem) {
            Ok(true) => feasible += 1,
            Ok(false) => infeasible += 1,
            Err(message) => wrong.push(message),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(
        feasible > 100 && infeasible > 50,
        "{feasible} feasible, {infeasible} infeasible"
    );
}

#[test]
fn a_looser_slo_never_scores_less() {
    let mut compared = 0;
    for (seed, scenario, _, problem) in problems(2000..2250) {
        let Some(tight) = solve(&scenario, &problem, None) else {
            continue;
        };
        let mut looser = scenario.clone();
        for slo in &mut looser.workload.slos {
            slo.target = Seconds::new(1.3 * slo.target.value()).unwrap();
        }
        let loose = solve(&looser, &Problem::new(&looser).unwrap(), None);
        let loose = loose.unwrap_or_else(|| panic!("seed {seed}: nothing meets looser targets"));
        let (tight, loose) = (tight.certificate.quality.value(), loose.certificate.quality.value());
        assert!(
            loose >= tight - 5e-6,
            "seed {seed}: {tight} falls to {loose} with looser targets"
        );
        compared += 1;
    }
    assert!(compared > 80, "{compared} compared");
}

/// With all scores equal, prices say nothing: the tie splits alone must keep every SLO, prompt by prompt.
#[test]
fn with_all_scores_equal_the_realised_fractions_still_match() {
    let mut shared = 0;
    for (seed, scenario, kind, problem) in problems(3000..5000) {
        if kind != ScoreKind::AllEqual {
            continue;
        }
        if let Some(plan) = solve(&scenario, &problem, None) {
            assert_eq!(check(&scenario, &plan), vec![], "seed {seed}");
            let partly = |w: f64| 1e-3 < w && w < 1.0 - 1e-3;
            shared += u32::from(
                plan.policies[0]
                    .models
                    .iter()
                    .any(|model| partly(model.fraction.value())),
            );
        }
    }
    assert!(shared > 5, "only {shared} plans share prompts out among equal models");
}
