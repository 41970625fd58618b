//! `diff` names every change, and nothing else.

#![expect(clippy::unwrap_used, reason = "the scenarios are ours")]

mod support;

use routerwise_plan::diff::diff;
use routerwise_plan::plan;
use routerwise_types::answer::difference::ModelMove;
use routerwise_types::plan::Plan;
use routerwise_types::units::{Bytes, Fraction, RequestsPerSecond};

fn planned(rate: f64, parent: Option<&Plan>) -> Plan {
    let scenario = support::scenario(&support::Shape {
        sizes: &support::PAPER_MODELS[..3],
        n_gpus: 4,
        tensor_parallel: &[1, 2],
        shares: &[0.5, 1.0],
        max_replicas: 2,
        may_be_off: true,
        floor: 0.0,
        rate,
        target: 0.15,
        columns: support::continuous_scores(&support::PAPER_MODELS[..3], 300, 7),
    });
    plan(&scenario, parent).unwrap().plan().unwrap().clone()
}

#[test]
fn a_plan_does_not_differ_from_itself_or_from_its_own_successor() {
    let first = planned(30.0, None);
    let found = diff(&first, &first);
    assert!(found.same && !found.replaces && found.models.is_empty() && found.settings.is_empty());
    let second = planned(30.0, Some(&first));
    assert_ne!(first.id, second.id);
    let found = diff(&first, &second);
    assert!(found.same && found.replaces);
}

#[test]
fn more_traffic_shows_in_rate_fractions_and_quality() {
    let (quiet, busy) = (planned(20.0, None), planned(60.0, None));
    let found = diff(&quiet, &busy);
    assert!(!found.same);
    assert_eq!(found.settings[0].name, "rate");
    assert!(found.quality.by() < 0.0);
    let policy = &found.policies[0];
    assert!((policy.rate.by() - 40.0).abs() < 1e-9);
    assert!(policy.moved > 0.01);
    let sum: f64 = policy.models.iter().map(|model| model.fraction.by()).sum();
    assert!(sum.abs() < 1e-6, "what one model loses another gains: {sum}");
    assert!(policy.slos[0].limit.by().abs() < 1e-12 && policy.slos[0].value.after > 0.0);
}

#[test]
fn each_kind_of_move_has_its_name() {
    let before = planned(30.0, None);
    let at = before
        .models
        .iter()
        .position(|model| model.configuration.is_some())
        .unwrap();
    let moved = |change: &dyn Fn(&mut Plan)| {
        let mut after = before.clone();
        change(&mut after);
        let found = diff(&before, &after);
        assert_eq!(found.models.len(), 1);
        found.models[0].clone()
    };
    let off = moved(&|plan| {
        let model = &mut plan.models[at];
        model.configuration = None;
        model.gpu_type = None;
        model.replicas.clear();
        model.kv_cache.clear();
    });
    assert_eq!(off.change, ModelMove::SwitchedOff);
    assert_eq!((off.stopped.len(), off.n_kept), (before.models[at].replicas.len(), 0));
    let more = moved(&|plan| {
        let model = &mut plan.models[at];
        model.configuration.as_mut().unwrap().n_replicas += 1;
        model.replicas.push(vec![9; model.replicas[0].len()]);
        model.kv_cache.push(Bytes(1));
    });
    assert_eq!((more.change, more.started.len()), (ModelMove::ScaledUp, 1));
    assert_eq!(more.n_kept, before.models[at].replicas.len());
    let elsewhere = moved(&|plan| plan.models[at].replicas[0] = vec![7; plan.models[at].replicas[0].len()]);
    assert_eq!(
        (elsewhere.change, elsewhere.started.len(), elsewhere.stopped.len()),
        (ModelMove::Moved, 1, 1)
    );
    let resized = moved(&|plan| plan.models[at].kv_cache[0] = Bytes(1));
    assert_eq!((resized.change, resized.n_resized), (ModelMove::Resized, 1));
    let other = moved(&|plan| plan.models[at].configuration.as_mut().unwrap().tensor_parallel = 4);
    assert_eq!(other.change, ModelMove::Reconfigured);
    let renamed = diff(&before, &{
        let mut after = before.clone();
        after.models[at].name = "other".into();
        after
    });
    let kinds: Vec<ModelMove> = renamed.models.iter().map(|model| model.change).collect();
    assert_eq!(kinds, [ModelMove::Added, ModelMove::Removed]);
}

#[test]
fn the_order_of_replicas_and_of_their_shards_makes_no_difference() {
    let mut before = planned(30.0, None);
    before.models[0].replicas = vec![vec![0, 1], vec![2, 3]];
    before.models[0].kv_cache = vec![Bytes(1), Bytes(2)];
    let mut after = before.clone();
    after.models[0].replicas = vec![vec![3, 2], vec![1, 0]];
    after.models[0].kv_cache = vec![Bytes(2), Bytes(1)];
    assert!(diff(&before, &after).models.is_empty());
}

#[test]
fn what_only_one_plan_has_is_named() {
    let before = planned(30.0, None);
    let mut after = before.clone();
    after.policies[0].level = "night".into();
    after.planning.headroom = 0.2;
    after.planning.utilisation_floor = Fraction::new(0.5).unwrap();
    after.rate = RequestsPerSecond::new(1.0).unwrap();
    let found = diff(&before, &after);
    assert_eq!(found.unmatched_policies, ["night, all (new)", "always, all (gone)"]);
    let names: Vec<&str> = found.settings.iter().map(|setting| setting.name.as_str()).collect();
    assert_eq!(names, ["rate", "headroom", "utilisation floor"]);
}
