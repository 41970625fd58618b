//! Running out of work is not a proof that nothing exists.

mod support;

use routerwise_plan::Outcome;

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
