//! Memory has a price where it binds, and the checker reads it.

mod support;

use routerwise_plan::check::check;
use routerwise_types::plan::{Measure, ResourcePrice};
use routerwise_types::scenario::Scenario;
use routerwise_types::units::Bytes;

/// Four models on four GPUs that cannot hold a replica of each on every GPU.
fn short_of_memory() -> Scenario {
    let sizes = &support::PAPER_MODELS;
    let mut scenario = support::scenario(&support::Shape {
        sizes,
        n_gpus: 4,
        tensor_parallel: &[1, 2, 4],
        shares: &[0.25, 0.5, 1.0],
        max_replicas: 4,
        may_be_off: true,
        floor: 0.0,
        rate: 20.0,
        target: 0.2,
        columns: support::continuous_scores(sizes, 500, 7),
    });
    scenario.cluster.gpu_types[0].usable_memory = Bytes(56_000_000_000);
    scenario
}

fn prices(scenario: &Scenario) -> Vec<ResourcePrice> {
    let outcome = routerwise_plan::plan(scenario, None).expect("the synthetic scenario is complete");
    let plan = outcome.plan().expect("feasible");
    assert_eq!(check(scenario, plan), vec![]);
    assert!(plan.certificate.gap < 2e-4, "gap {}", plan.certificate.gap);
    let points = plan.certificate.dual_points.iter();
    points.flat_map(|point| point.resource_prices.clone()).collect()
}

#[test]
fn memory_costs_something_only_where_it_binds() {
    let memory = |price: &ResourcePrice| price.measure == Measure::Memory && price.price > 1e-6;
    let mut scenario = short_of_memory();
    assert!(prices(&scenario).iter().any(memory));
    scenario.cluster.gpu_types[0].usable_memory = Bytes(56_000_000_000_000);
    assert!(!prices(&scenario).iter().any(memory));
}
