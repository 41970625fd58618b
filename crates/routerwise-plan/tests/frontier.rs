//! A frontier is monotone, agrees with planning each point by itself, and its bounds hold.

#![expect(clippy::unwrap_used, reason = "the scenarios are ours")]

mod support;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use routerwise_plan::frontier::{Step, frontier, frontier_watched};
use routerwise_plan::plan;
use routerwise_plan::watch::Watch;
use routerwise_types::answer::frontier::{FrontierAxis, FrontierPoint};
use routerwise_types::scenario::Scenario;
use routerwise_types::units::{RequestsPerSecond, Seconds};

fn scenario(n_gpus: usize) -> Scenario {
    support::scenario(&support::Shape {
        sizes: &support::PAPER_MODELS[..3],
        n_gpus,
        tensor_parallel: &[1, 2],
        shares: &[0.5, 1.0],
        max_replicas: 2,
        may_be_off: true,
        floor: 0.0,
        rate: 30.0,
        target: 0.2,
        columns: support::continuous_scores(&support::PAPER_MODELS[..3], 300, 7),
    })
}

/// Quality as a number; nothing where there is no plan counts as less than any.
fn quality(point: &FrontierPoint) -> f64 {
    point.quality.map_or(-1.0, |quality| quality.value())
}

#[track_caller]
fn agrees(axis: FrontierAxis, values: &[f64], change: impl Fn(&mut Scenario, f64)) {
    let scenario = scenario(4);
    let found = frontier(&scenario, axis, values).unwrap();
    assert_eq!(found.points.len(), values.len());
    assert!(found.points.windows(2).all(|pair| pair[0].at < pair[1].at));
    let rises = axis != FrontierAxis::Rate;
    for pair in found.points.windows(2) {
        let (hard, easy) = if rises {
            (&pair[0], &pair[1])
        } else {
            (&pair[1], &pair[0])
        };
        assert!(quality(hard) <= quality(easy), "{axis:?}: {hard:?} {easy:?}");
        assert!(hard.upper_bound.unwrap_or(0.0) <= easy.upper_bound.unwrap_or(0.0) + 1e-12);
    }
    for point in &found.points {
        let mut alone = scenario.clone();
        change(&mut alone, point.at);
        let best = plan(&alone, None)
            .ok()
            .and_then(|outcome| outcome.plan().map(|plan| plan.quality().value()));
        assert_eq!(point.feasible, Some(best.is_some()), "{axis:?} at {}", point.at);
        if let Some(best) = best {
            assert!(
                (quality(point) - best).abs() < 2e-4,
                "{axis:?} at {}: {point:?} {best}",
                point.at
            );
            assert!(point.upper_bound.unwrap() >= best - 1e-9);
        }
    }
    let planned = found.points.iter().filter(|point| point.quality.is_some()).count();
    assert!(planned >= 2, "{planned} of {} points have a plan", values.len());
}

#[test]
fn quality_against_target() {
    agrees(
        FrontierAxis::Target,
        &[0.4, 0.01, 0.05, 0.1, 0.2, 1.0],
        |scenario, value| {
            scenario.workload.slos[0].target = Seconds::new(value).unwrap();
        },
    );
}

#[test]
fn quality_against_rate() {
    agrees(
        FrontierAxis::Rate,
        &[5.0, 20.0, 60.0, 120.0, 400.0],
        |scenario, value| {
            scenario.workload.rate = RequestsPerSecond::new(value).unwrap();
        },
    );
}

#[test]
fn quality_against_gpus() {
    agrees(FrontierAxis::Gpus, &[1.0, 2.0, 3.0, 4.0], |scenario, value| {
        let n = (1..=4).find(|n| (support::as_f64(*n) - value).abs() < 0.1).unwrap();
        scenario.cluster.nodes[0].n_gpus = n;
    });
}

#[test]
fn a_frontier_that_is_stopped_tells_what_it_knows() {
    let scenario = scenario(4);
    let targets = [0.1, 0.2, 0.4];
    let whole = frontier(&scenario, FrontierAxis::Target, &targets).unwrap();
    for n_before in 0..3 {
        let stop = AtomicBool::new(false);
        let steps = RefCell::new(Vec::new());
        let on_point = |step: Step| {
            steps.borrow_mut().push(step);
            stop.fetch_or(step.n_done == n_before, Ordering::Relaxed);
        };
        let watch = Watch::new(&stop, &|_| ());
        let cut = frontier_watched(&scenario, FrontierAxis::Target, &targets, watch, &on_point).unwrap();
        let told = steps.borrow();
        assert!(told.iter().all(|step| step.n_points == 3 && !step.again), "{told:?}");
        for (cut, whole) in cut.points.iter().zip(&whole.points) {
            assert!(quality(cut) <= quality(whole) + 2e-4, "{cut:?} {whole:?}");
            assert!(
                cut.upper_bound
                    .is_none_or(|bound| bound.is_finite() && bound >= quality(whole) - 1e-9),
                "{cut:?} {whole:?}"
            );
            assert_ne!(cut.feasible, Some(false), "stopping proves nothing: {cut:?}");
        }
        for point in 0..n_before {
            assert!((quality(&cut.points[point]) - quality(&whole.points[point])).abs() < 2e-4);
        }
        if n_before == 0 {
            assert!(cut.points.iter().any(|point| point.feasible.is_none()), "{cut:?}");
        }
    }
}
