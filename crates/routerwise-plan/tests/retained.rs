//! The paper's space has the paper's size: tp {1, 2, 4}, shares 10 to 100 %, one replica, every model on, all compute used.

mod support;

use routerwise_plan::problem::Problem;
use routerwise_plan::space::{Retained, retained};

/// A loose target and ample memory, so that no configuration drops out.
fn counted(n_models: usize, n_gpus: usize) -> Retained {
    let scenario = support::paper(n_models, n_gpus, 1.0, 1000.0, 3);
    retained(&Problem::new(&scenario).expect("every configuration meets so loose a target"))
}

fn counts(by_compute: u64, placeable: u64) -> Retained {
    Retained {
        by_compute,
        placeable,
        placeable_with_memory: placeable,
    }
}

#[test]
fn three_models_on_four_gpus_retain_669_setups_of_which_93_can_be_placed() {
    assert_eq!(counted(3, 4), counts(669, 93));
}

#[test]
fn three_models_on_eight_gpus_retain_141_setups_of_which_30_can_be_placed() {
    assert_eq!(counted(3, 8), counts(141, 30));
}

#[test]
fn four_models_on_four_gpus_retain_16660_setups_of_which_1476_can_be_placed() {
    assert_eq!(counted(4, 4), counts(16_660, 1_476));
}

#[test]
fn four_models_on_eight_gpus_retain_7764_setups_of_which_648_can_be_placed() {
    assert_eq!(counted(4, 8), counts(7_764, 648));
}
