//! Running out of work is not a proof that nothing exists.

mod support;

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};

use routerwise_plan::Outcome;
use routerwise_plan::watch::{Phase, Progress, Watch};

#[test]
fn a_search_that_may_solve_nothing_does_not_claim_infeasibility() {
    let mut scenario = support::paper(3, 4, 20.0, 0.2, 200);
    scenario.workload.planning.max_solves = 0;
    let outcome = routerwise_plan::plan(&scenario, None).expect("the synthetic scenario is complete");
    assert_eq!(outcome, Outcome::Undecided);
}

#[test]
fn a_plan_cut_short_states_a_gap_that_covers_the_best() {
    let mut scenario = support::paper(3, 4, 20.0, 0.2, 200);
    let best = routerwise_plan::plan(&scenario, None).expect("complete");
    let best = best.plan().expect("feasible").certificate.quality.value();
    for max_solves in 1..6 {
        scenario.workload.planning.max_solves = max_solves;
        let outcome = routerwise_plan::plan(&scenario, None).expect("complete");
        if let Some(plan) = outcome.plan() {
            assert!(plan.certificate.upper_bound >= best - 1e-4, "{max_solves} solves");
        } else {
            assert_eq!(outcome, Outcome::Undecided, "{max_solves} solves");
        }
    }
}

#[test]
fn a_search_that_may_work_little_states_what_it_has_with_a_gap_that_covers_the_best() {
    let scenario = support::paper(4, 8, 25.0, 0.3, 400);
    let best = routerwise_plan::plan(&scenario, None).expect("complete");
    let best = best.plan().expect("feasible").certificate.quality.value();
    let mut problem = scenario.clone();
    problem.workload.planning.max_work = 1;
    let outcome = routerwise_plan::plan(&problem, None).expect("complete");
    if let Some(plan) = outcome.plan() {
        assert!(plan.certificate.upper_bound >= best - 1e-4);
    }
}

#[test]
fn a_stopped_search_gives_the_plan_it_has_and_news_never_go_back() {
    let scenario = support::fleet::Fleet::of_a100s(5, 4, 2_000).scenario();
    let stop = AtomicBool::new(false);
    let heard = RefCell::new(Vec::new());
    let tell = |progress: &Progress| {
        heard.borrow_mut().push(*progress);
        if progress.quality.is_some() {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let outcome = routerwise_plan::plan_watched(&scenario, None, Watch::new(&stop, &tell)).expect("complete");
    let Outcome::Feasible { plan, gap } = outcome else {
        panic!("stopped at the first setup: {outcome:?}")
    };
    assert!(gap > 0.0 && routerwise_plan::check::check(&scenario, &plan).is_empty());
    let heard = heard.into_inner();
    assert_eq!(heard.first().map(|progress| progress.phase), Some(Phase::Relaxation));
    for pair in heard.windows(2) {
        assert!(
            pair[1].quality >= pair[0].quality && pair[1].done >= pair[0].done,
            "{pair:?}"
        );
        assert!(pair[1].bound <= pair[0].bound + 1e-12, "{pair:?}");
    }
    let best = routerwise_plan::plan(&scenario, None).expect("complete");
    assert!(best.plan().expect("feasible").certificate.quality.value() >= plan.certificate.quality.value());
}
