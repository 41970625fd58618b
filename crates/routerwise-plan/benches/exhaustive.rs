//! The joint plan against the paper's exhaustive search on the same input, in one run. Fails when an answer changes, or when the
//! exhaustive search beats the proven bound with a setup that can be placed.

#![expect(clippy::print_stderr, reason = "counts beside the times")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock; what it times does not"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use routerwise_plan::exhaustive::{USUAL, exhaust};
use routerwise_plan::packing::Packing;
use routerwise_plan::problem::Problem;
use routerwise_plan::spread::{SetupQuality, edges, spread, spread_of};
use routerwise_types::answer::setups::PlacementLimit;
use routerwise_types::scenario::Scenario;

const N_PROMPTS: usize = 36_000;
const N_PLANS: u32 = 20;

/// An input, and the quality of its joint plan.
struct Case {
    name: &'static str,
    n_models: usize,
    n_gpus: usize,
    /// Requests/s.
    rate: f64,
    /// Mean TTFT in seconds.
    target: f64,
    expected: f64,
    /// Takes minutes: only with `-- long`.
    is_long: bool,
}

const CASES: [Case; 3] = [
    Case {
        name: "3-models-4-gpus-tight",
        n_models: 3,
        n_gpus: 4,
        rate: 50.0,
        target: 0.2,
        expected: 0.5557,
        is_long: false,
    },
    Case {
        name: "3-models-4-gpus-loose",
        n_models: 3,
        n_gpus: 4,
        rate: 20.0,
        target: 0.2,
        expected: 0.5786,
        is_long: false,
    },
    Case {
        name: "4-models-8-gpus",
        n_models: 4,
        n_gpus: 8,
        rate: 50.0,
        target: 0.2,
        expected: 0.6088,
        is_long: true,
    },
];

fn main() {
    let long = std::env::args().any(|arg| arg == "long");
    for case in CASES.iter().filter(|case| long || !case.is_long) {
        run(case);
    }
}

fn run(case: &Case) {
    let scenario = support::paper(case.n_models, case.n_gpus, case.rate, case.target, N_PROMPTS);
    let problem = Problem::new(&scenario).expect("the synthetic scenario is complete");
    let (quality, bound, joint) = joint(case, &scenario, &problem);
    let (setups, all_solved) = timed(|| spread(&problem, &mut |_| ()));
    let (found, exhaustive) = timed(|| exhaust(&problem, &USUAL, &mut |_| ()).expect("one objective"));
    let best = found.best.expect("feasible");
    let that_fits = found.best_that_fits.and_then(|best| best.quality).unwrap_or(f64::NAN);
    assert!(
        that_fits <= bound + problem.tolerance,
        "{}: {that_fits} is above the proven bound",
        case.name
    );
    let times = |slow: Duration| slow.as_secs_f64() / joint.as_secs_f64();
    eprintln!("{}", case.name);
    eprintln!(
        "  joint plan        {joint:>10.2?}        quality {quality:.5}, gap {:.1e}",
        bound - quality
    );
    eprintln!(
        "  every setup, ours {all_solved:>10.2?} {:>6.0}x quality {:.5} of what fits, {:.5} of what the paper retains",
        times(all_solved),
        of(&setups, PlacementLimit::SharesAndMemory),
        of(&setups, PlacementLimit::FirstFitMemory),
    );
    eprintln!(
        "  exhaustive search {exhaustive:>10.2?} {:>6.0}x quality {that_fits:.5} of what fits, {:.5} of what it retains ({})",
        times(exhaustive),
        best.quality.unwrap_or(f64::NAN),
        if matches!(best.packing, Packing::Placed(_)) {
            "fits"
        } else {
            "does not fit"
        }
    );
    eprintln!("  {:?}", found.counts);
}

/// Quality, proven bound and time of the joint plan.
fn joint(case: &Case, scenario: &Scenario, problem: &Problem) -> (f64, f64, Duration) {
    let (plan, time) = timed(|| {
        for _ in 1..N_PLANS {
            std::hint::black_box(routerwise_plan::solve(scenario, problem, None));
        }
        routerwise_plan::solve(scenario, problem, None).expect("feasible")
    });
    let quality = plan.certificate.quality.value();
    assert!((quality - case.expected).abs() < 1.5e-4, "{}: {quality}", case.name);
    (quality, plan.certificate.upper_bound, time / N_PLANS)
}

fn of(setups: &[SetupQuality], limit: PlacementLimit) -> f64 {
    spread_of(setups, limit, &edges(setups)).best.unwrap_or(f64::NAN)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let done = work();
    (done, start.elapsed())
}
