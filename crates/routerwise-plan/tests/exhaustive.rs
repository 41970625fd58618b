//! The paper's search finds what the joint search finds, where both search the same setups.

mod support;

use routerwise_plan::exhaustive::{Exhausted, USUAL, exhaust};
use routerwise_plan::problem::Problem;
use routerwise_types::scenario::Scenario;
use support::{PAPER_MODELS, Shape, continuous_scores, scenario};

/// How far step sizes and stopping rules leave it below the optimum.
const TOLERANCE: f64 = 1e-3;

/// Whole GPUs only and one replica of every model: then every retained setup can be placed, and both spaces are the same.
fn whole_gpus(n_models: usize, rate: f64, target: f64) -> Scenario {
    let sizes = &PAPER_MODELS[..n_models];
    scenario(&Shape {
        sizes,
        n_gpus: 4,
        tensor_parallel: &[1, 2],
        shares: &[1.0],
        max_replicas: 1,
        may_be_off: false,
        floor: 0.5,
        rate,
        target,
        columns: continuous_scores(sizes, 500, 7),
    })
}

fn exhausted(problem: &Problem) -> Exhausted {
    exhaust(problem, &USUAL, &mut |_| ()).expect("one objective")
}

#[test]
fn it_reaches_what_the_joint_search_proves_best() {
    let cases = [
        (2, 20.0, 0.2),
        (2, 50.0, 0.1),
        (3, 40.0, 0.2),
        (3, 60.0, 0.15),
        (3, 80.0, 0.3),
    ];
    for (n_models, rate, target) in cases {
        let scenario = whole_gpus(n_models, rate, target);
        let problem = Problem::new(&scenario).expect("complete");
        let plan = routerwise_plan::solve(&scenario, &problem, None).expect("feasible");
        let found = exhausted(&problem);
        let best = found.best.expect("feasible");
        let quality = best.quality.expect("its fractions can be routed");
        let reference = plan.certificate.quality.value();
        assert!(
            quality <= plan.certificate.upper_bound + TOLERANCE * 0.1,
            "{quality} above {reference}"
        );
        assert!(quality >= reference - TOLERANCE, "{quality} below {reference}");
        assert!(
            (best.score - quality).abs() <= TOLERANCE,
            "{} is not {quality}",
            best.score
        );
        assert!(best.latency <= 1.0);
    }
}
