//! Several routes on one cluster, against every setup with its loads on a grid: with the loads fixed an independent LP solver does the rest.

#![expect(clippy::unwrap_used, reason = "the numbers here are ours")]

use microlp::{ComparisonOp, Error, LinearExpr, OptimizationDirection, Problem as Lp, SolveOutcome};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use routerwise_plan::check::check;
use routerwise_plan::problem::{Candidate, Problem};
use routerwise_plan::solve;

use routerwise_types::scenario::Scenario;
use routerwise_types::units::Seconds;
use routerwise_types::workload::{Level, PromptFilter, Route, Slo};

use crate::enumeration::packable_setups;
use crate::tiny;

/// What the search may leave open, and what realising its fractions may cost.
const TOLERANCE: f64 = 3e-4;
const MOST_SETUPS: f64 = 30.0;
/// Steps of each load.
const STEPS: u32 = 6;

/// A random small problem with two or three routes.
pub(crate) fn scenario(seed: u64) -> Scenario {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5eed);
    let (mut scenario, _) = tiny::scenario(seed);
    let n = if rng.random_bool(0.25) { 3 } else { 2 };
    let raw: Vec<f64> = (0..n).map(|_| rng.random_range(0.2..1.0)).collect();
    let weighted: Vec<f64> = raw.iter().map(|part| part * rng.random_range(0.5..2.0)).collect();
    let of = |all: &[f64], at: usize| all[at] / all.iter().sum::<f64>();
    let own_weights = rng.random_bool(0.3);
    let models: Vec<String> = scenario.models.iter().map(|model| model.name.clone()).collect();
    scenario.workload.routes = (0..n)
        .map(|at| Route {
            name: format!("route-{at}"),
            part: of(&raw, at),
            weight: of(if own_weights { &weighted } else { &raw }, at),
            prompts: PromptFilter::All,
            models: (rng.random_bool(0.15)).then(|| vec![models[rng.random_range(0..models.len())].clone()]),
        })
        .collect();
    let n_prompts = scenario.scores.n_prompts();
    let share_prompts = rng.random_bool(0.3);
    scenario.scores.routes = (0..n)
        .map(|_| {
            let some: Vec<usize> = (0..n_prompts)
                .filter(|_| share_prompts || rng.random_bool(0.6))
                .collect();
            if some.is_empty() { vec![0] } else { some }
        })
        .collect();
    let for_all = rng.random_bool(0.15);
    if !for_all {
        let slos = std::mem::take(&mut scenario.workload.slos);
        for at in 0..n {
            let factor = rng.random_range(0.7..2.5);
            scenario.workload.slos.extend(slos.iter().map(|slo| Slo {
                target: Seconds::new(slo.target.value() * factor).unwrap(),
                route: Some(format!("route-{at}")),
                ..slo.clone()
            }));
        }
    }
    scenario.workload.planning.tolerance = TOLERANCE;
    scenario.workload.planning.max_work = 60;
    if rng.random_bool(0.15) {
        scenario.workload.levels = [("day", 1.0, 9.0), ("night", 0.4, 15.0)]
            .map(|(name, part, hours)| Level {
                name: name.into(),
                part,
                hours,
            })
            .into();
    }
    scenario
}

/// Best quality on the grid over all setups; rows read `Σ φ ≤ limit`.
fn best(problem: &Problem, limit: f64) -> Option<f64> {
    let setups = packable_setups(problem);
    let of_setup = |setup: &Vec<&Candidate>| -> Option<f64> {
        let levels = 0..problem.traffic.n_levels();
        levels.map(|level| at_level(problem, limit, setup, level)).sum()
    };
    setups.iter().filter_map(of_setup).reduce(f64::max)
}

fn at_level(problem: &Problem, limit: f64, setup: &[&Candidate], level: usize) -> Option<f64> {
    let mut best = None;
    let mut caps = Vec::new();
    grid(problem, limit, setup, level, &mut caps, &mut best);
    best
}

/// All loads on the grid that together are all of the traffic or a little more.
fn grid(
    problem: &Problem,
    limit: f64,
    setup: &[&Candidate],
    level: usize,
    caps: &mut Vec<f64>,
    best: &mut Option<f64>,
) {
    let so_far: f64 = caps.iter().sum();
    if caps.len() == setup.len() {
        let step = 1.0 / f64::from(STEPS);
        if so_far >= 1.0 - 1e-9 && so_far <= 1.0 + step + 1e-9 {
            let found = held(problem, limit, setup, level, caps);
            *best = best.iter().copied().chain(found).reduce(f64::max);
        }
        return;
    }
    let cap = setup[caps.len()].flow_at(level).cap();
    let mut loads: Vec<f64> = (0..=STEPS)
        .map(|step| f64::from(step) / f64::from(STEPS))
        .filter(|load| *load < cap)
        .collect();
    loads.push(cap);
    for load in loads {
        caps.push(load);
        grid(problem, limit, setup, level, caps, best);
        caps.pop();
    }
}

/// The LP with every model at one load at most, where every request waits as long as then.
fn held(problem: &Problem, limit: f64, setup: &[&Candidate], level: usize, caps: &[f64]) -> Option<f64> {
    let traffic = &problem.traffic;
    let mut lp = Lp::new(OptimizationDirection::Maximize);
    let mut loads: Vec<LinearExpr> = caps.iter().map(|_| LinearExpr::empty()).collect();
    let mut rows: Vec<LinearExpr> = problem.rows.iter().map(|_| LinearExpr::empty()).collect();
    for (route, part) in traffic.parts.iter().enumerate() {
        let table = &problem.tables[route];
        let weight = traffic.weights[level * traffic.n_routes() + route];
        for prompt in 0..table.n_rows() {
            let mut whole = LinearExpr::empty();
            for (model, candidate) in setup.iter().enumerate() {
                let flow = candidate.flow_at(level);
                let may = caps[model] <= flow.reach(route) + 1e-12;
                let worth = weight * table.weight(prompt) * table.score(model, prompt);
                let sent = lp.add_var(worth, (0.0, if may { 1.0 } else { 0.0 }));
                whole.add(sent, 1.0);
                loads[model].add(sent, part * table.weight(prompt));
                for (row, sum) in problem.rows.iter().enumerate().zip(&mut rows) {
                    let wait = flow.latency(row.0, caps[model]) * table.weight(prompt);
                    if row.1.route == route && wait > 1e-9 {
                        sum.add(sent, wait);
                    }
                }
            }
            lp.add_constraint(whole, ComparisonOp::Eq, 1.0);
        }
    }
    for (load, cap) in loads.into_iter().zip(caps) {
        lp.add_constraint(load, ComparisonOp::Le, *cap);
    }
    for sum in rows {
        lp.add_constraint(sum, ComparisonOp::Le, limit);
    }
    match lp.solve() {
        Ok(SolveOutcome::Solution(solution)) => Some(solution.objective()),
        Ok(SolveOutcome::Interrupted(_)) => panic!("no limit was set"),
        Err(Error::Infeasible) => None,
        Err(error) => panic!("the reference LP failed: {error}"),
    }
}

/// What came of one problem.
pub(crate) enum Outcome {
    Planned { gap: f64, above: f64 },
    Nothing,
}

pub(crate) fn agrees(seed: u64, scenario: &Scenario, problem: &Problem) -> Result<Outcome, String> {
    let reference = best(problem, 1.0);
    let Some(plan) = solve(scenario, problem, None) else {
        // On the very edge of feasibility rounding decides.
        let wrong = reference.and_then(|_| best(problem, 1.0 - 1e-5));
        return wrong.map_or(Ok(Outcome::Nothing), |quality| {
            Err(format!(
                "seed {seed}: no plan was found, the reference reaches {quality}"
            ))
        });
    };
    let certificate = &plan.certificate;
    let quality = certificate.quality.value();
    let reference = reference.unwrap_or(0.0);
    let mut wrong: Vec<String> = Vec::new();
    if quality < reference - certificate.gap.max(TOLERANCE) - 1e-6 {
        wrong.push(format!(
            "quality {quality}, the reference reaches {reference}; bound {}",
            certificate.upper_bound
        ));
    }
    if certificate.upper_bound < reference - 1e-6 {
        wrong.push(format!(
            "the bound {} lies below the reference {reference}",
            certificate.upper_bound
        ));
    }
    wrong.extend(check(scenario, &plan).iter().map(ToString::to_string));
    if wrong.is_empty() {
        return Ok(Outcome::Planned {
            gap: certificate.gap,
            above: quality - reference,
        });
    }
    Err(format!("seed {seed}: {}", wrong.join("\n  ")))
}

#[test]
fn routes_do_no_worse_than_any_setup_on_a_grid_of_loads() {
    let (mut wrong, mut planned, mut nothing, mut closed, mut better) = (Vec::new(), 0, 0, 0, 0);
    for seed in 20_000..21_000 {
        let scenario = scenario(seed);
        let Ok(problem) = Problem::new(&scenario) else { continue };
        if problem.setups_in_space() > MOST_SETUPS || problem.models.len() < 2 {
            continue;
        }
        match agrees(seed, &scenario, &problem) {
            Ok(Outcome::Planned { gap, above }) => {
                planned += 1;
                closed += u32::from(gap <= 1.5 * TOLERANCE);
                better += u32::from(above > TOLERANCE);
            }
            Ok(Outcome::Nothing) => nothing += 1,
            Err(message) => wrong.push(message),
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    // What the generator makes must stay worth solving.
    assert!(
        planned > 200 && nothing > 50 && closed * 20 > planned * 19 && better > 3,
        "{planned} planned, {nothing} not, {closed} closed, {better} better than the grid"
    );
}

/// The scenario with two routes that have all prompts, half of the requests and the objectives each.
fn alike(scenario: &Scenario) -> Scenario {
    let mut scenario = scenario.clone();
    let workload = &mut scenario.workload;
    let slos = std::mem::take(&mut workload.slos);
    for at in 0..2 {
        let name = format!("route-{at}");
        workload.slos.extend(slos.iter().map(|slo| Slo {
            route: Some(name.clone()),
            ..slo.clone()
        }));
        workload.routes.push(Route {
            name,
            part: 0.5,
            weight: 0.5,
            prompts: PromptFilter::All,
            models: None,
        });
    }
    let all: Vec<usize> = (0..scenario.scores.n_prompts()).collect();
    scenario.scores.routes = vec![all.clone(), all];
    scenario
}

#[test]
fn routes_that_are_alike_are_planned_like_one() {
    let mut compared = 0;
    for seed in 30_000..30_160 {
        let (mut one, _) = tiny::scenario(seed);
        one.workload.planning.tolerance = TOLERANCE;
        one.workload.planning.max_work = 6;
        let Ok(problem) = Problem::new(&one) else { continue };
        if problem.setups_in_space() > MOST_SETUPS {
            continue;
        }
        let two = alike(&one);
        let plan = solve(&two, &Problem::new(&two).unwrap(), None);
        match (solve(&one, &problem, None), plan) {
            (Some(one), Some(two)) => {
                compared += 1;
                let (one, bound) = (one.quality().value(), two.certificate.upper_bound);
                let two = two.quality().value();
                let gap = bound - two;
                assert!(
                    two <= one + 1.5 * TOLERANCE && two >= one - gap - 1e-6,
                    "seed {seed}: one reaches {one}, two {two} of at most {bound}"
                );
            }
            (None, None) => {}
            (one, two) => panic!("seed {seed}: one {}, two {}", one.is_some(), two.is_some()),
        }
    }
    assert!(compared > 30, "{compared} compared");
}
