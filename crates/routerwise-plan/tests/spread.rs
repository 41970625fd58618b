//! Every setup solved: the best that can be placed is the plan's, and the paper's search finds the best of those it looks at.

mod support;

use routerwise_plan::exhaustive::{USUAL, exhaust};
use routerwise_plan::problem::Problem;
use routerwise_plan::spread::{SetupQuality, edges, spread, spread_of};
use routerwise_types::answer::setups::PlacementLimit;
use routerwise_types::scenario::Scenario;
use support::{PAPER_MODELS, Shape, continuous_scores, scenario};

/// Two solvers, each to within the problem's tolerance.
const TOLERANCE: f64 = 2e-4;
/// How far the step sizes of the paper's search leave it below the optimum.
const STEPS: f64 = 2e-3;

/// One replica, every model on, all compute in use.
fn small(n_models: usize, n_gpus: usize, rate: f64, target: f64) -> Scenario {
    let sizes = &PAPER_MODELS[..n_models];
    scenario(&Shape {
        sizes,
        n_gpus,
        tensor_parallel: &[1, 2],
        shares: &[0.25, 0.5, 0.75, 1.0],
        max_replicas: 1,
        may_be_off: false,
        floor: 1.0,
        rate,
        target,
        columns: continuous_scores(sizes, 300, 7),
    })
}

fn best(setups: &[SetupQuality], limit: PlacementLimit) -> Option<f64> {
    spread_of(setups, limit, &edges(setups)).best
}

#[test]
fn the_best_setup_that_fits_is_the_plan() {
    for (n_models, n_gpus, rate, target) in [
        (2, 2, 25.0, 0.1),
        (2, 2, 40.0, 0.3),
        (3, 3, 30.0, 0.2),
        (3, 4, 70.0, 0.2),
    ] {
        let scenario = small(n_models, n_gpus, rate, target);
        let problem = Problem::new(&scenario).expect("complete");
        let setups = spread(&problem, &mut |_| ());
        let plan = routerwise_plan::solve(&scenario, &problem, None).map(|plan| plan.certificate.quality.value());
        let best = best(&setups, PlacementLimit::SharesAndMemory);
        match (best, plan) {
            (Some(best), Some(plan)) => assert!((best - plan).abs() <= TOLERANCE, "{n_models} {rate}: {best} {plan}"),
            (None, None) => {}
            other => panic!("{n_models} models at {rate}: {other:?}"),
        }
        let proven = setups.iter().all(|setup| match (setup.quality, setup.upper_bound) {
            (Some(quality), Some(upper)) => 0.0 <= upper - quality && upper - quality <= problem.tolerance,
            (quality, upper) => quality.is_none() && upper.is_none(),
        });
        assert!(proven, "every setup is solved or proven infeasible");
    }
}

#[test]
fn the_papers_search_finds_the_best_of_the_setups_it_retains() {
    let scenario = small(3, 3, 30.0, 0.2);
    let problem = Problem::new(&scenario).expect("complete");
    let setups = spread(&problem, &mut |_| ());
    let found = exhaust(&problem, &USUAL, &mut |_| ()).expect("one objective");
    for (limit, found) in [
        (PlacementLimit::FirstFitMemory, &found.best),
        (PlacementLimit::SharesAndMemory, &found.best_that_fits),
    ] {
        let best = best(&setups, limit).expect("feasible");
        let score = found.as_ref().expect("feasible").score;
        assert!((best - score).abs() <= STEPS, "{limit:?}: {best} {score}");
    }
    assert_eq!(found.counts.retained_by_compute, setups.len() as u64);
}

#[test]
fn most_retained_setups_cannot_be_placed_and_the_best_may_be_one_of_them() {
    let scenario = small(3, 4, 70.0, 0.2);
    let setups = spread(&Problem::new(&scenario).expect("complete"), &mut |_| ());
    let edges = edges(&setups);
    let [all, real] =
        [PlacementLimit::Compute, PlacementLimit::SharesAndMemory].map(|limit| spread_of(&setups, limit, &edges));
    assert!(
        real.n_setups < all.n_setups && real.best <= all.best,
        "{real:?} {all:?}"
    );
    assert_eq!(all.histogram.iter().sum::<u64>(), all.n_feasible);
}
