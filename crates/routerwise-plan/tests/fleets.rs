//! Fleets with replicas and memory that binds: the rounded relaxation finds a setup near its bound, and the same one every time.

mod support;

use routerwise_plan::problem::Problem;
use routerwise_types::plan::{Measure, Plan};
use support::fleet::Fleet;

fn plan(fleet: &Fleet) -> Plan {
    let mut scenario = fleet.scenario();
    scenario.workload.planning.tolerance = 2e-3;
    let problem = Problem::new(&scenario).expect("the synthetic scenario is complete");
    routerwise_plan::solve(&scenario, &problem, None).expect("feasible")
}

#[test]
fn a_fleet_is_planned_close_to_its_bound() {
    let fleet = Fleet::of_a100s(4, 2, 500);
    let found = plan(&fleet);
    let certificate = &found.certificate;
    assert!(
        certificate.gap < 1e-2 * certificate.quality.value(),
        "gap {}",
        certificate.gap
    );
    assert_eq!(found, plan(&fleet));
}

/// 67 GB shards that leave no memory beside shards that fill a GPU by share: only a row over both measures knows.
#[test]
fn shards_that_exclude_each_other_in_different_measures_have_a_price() {
    let found = plan(&Fleet::of_a100s(4, 2, 500));
    let prices = found
        .certificate
        .dual_points
        .iter()
        .flat_map(|point| &point.resource_prices);
    let packed = |measure: Measure| measure == Measure::Packed;
    assert!(
        prices
            .filter(|row| packed(row.measure) && !row.sizes.is_empty())
            .any(|row| row.price > 1e-4)
    );
}
