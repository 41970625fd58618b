//! What changes between two plans: models, placement, prices, fractions, objectives, proof.
//!
//! Works on the plan files alone, so plans of other inputs can be compared too. Replicas have no identity of their own: one of the second
//! plan goes on as it is when the first has one of the same model, run in the same way on the same GPUs.

use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::difference::{
    Change, Difference, ModelChange, ModelMove, PolicyChange, RoutedChange, SettingChange, SloChange,
};
use routerwise_types::plan::{Plan, PlannedModel, RoutePolicy};
use routerwise_types::setup::Configuration;
use routerwise_types::units::Bytes;
use routerwise_types::workload::Slo;

/// Compares two plans.
#[must_use]
pub fn diff(before: &Plan, after: &Plan) -> Difference {
    let (policies, unmatched_policies) = policies(before, after);
    let change = |of: fn(&Plan) -> f64| Change {
        before: of(before),
        after: of(after),
    };
    Difference {
        schema: ANSWER_SCHEMA,
        before: before.id.clone(),
        after: after.id.clone(),
        same: without_parent(before) == without_parent(after),
        replaces: after.parent.as_ref() == Some(&before.id),
        inputs: inputs(before, after),
        settings: settings(before, after),
        models: models(before, after),
        policies,
        unmatched_policies,
        quality: change(|plan| plan.certificate.quality.value()),
        upper_bound: change(|plan| plan.certificate.upper_bound),
        gap: change(|plan| plan.certificate.gap),
    }
}

fn without_parent(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    plan.parent = None;
    plan.id = plan.fingerprint();
    plan
}

fn inputs(before: &Plan, after: &Plan) -> Vec<String> {
    let (a, b) = (&before.inputs, &after.inputs);
    let parts = [
        ("cluster", &a.cluster, &b.cluster),
        ("models", &a.models, &b.models),
        ("workload", &a.workload, &b.workload),
        ("scores", &a.scores, &b.scores),
        ("profiles", &a.profiles, &b.profiles),
    ];
    let changed = parts.into_iter().filter(|(_, a, b)| a != b);
    changed.map(|(name, ..)| name.to_owned()).collect()
}

/// Settings in words, those that differ.
fn settings(before: &Plan, after: &Plan) -> Vec<SettingChange> {
    let slos = |plan: &Plan| {
        let words: Vec<String> = plan.slos.iter().map(ToString::to_string).collect();
        words.join(", ")
    };
    let of = |plan: &Plan| {
        let planning = &plan.planning;
        [
            ("rate", plan.rate.to_string()),
            ("latency objectives", slos(plan)),
            ("objective", plan.objective.to_string()),
            ("headroom", format!("{:.0} %", planning.headroom * 100.0)),
            ("utilisation floor", planning.utilisation_floor.to_string()),
            ("tolerance", planning.tolerance.to_string()),
            ("most solves", planning.max_solves.to_string()),
        ]
    };
    let pairs = of(before).into_iter().zip(of(after));
    pairs
        .filter(|(a, b)| a.1 != b.1)
        .map(|(a, b)| SettingChange {
            name: a.0.to_owned(),
            before: a.1,
            after: b.1,
        })
        .collect()
}

fn named<'a>(plan: &'a Plan, name: &str) -> Option<&'a PlannedModel> {
    plan.models.iter().find(|model| model.name == name)
}

fn models(before: &Plan, after: &Plan) -> Vec<ModelChange> {
    let gone = before.models.iter().filter(|model| named(after, &model.name).is_none());
    let of_after = after
        .models
        .iter()
        .map(|model| (named(before, &model.name), Some(model)));
    let pairs = of_after.chain(gone.map(|model| (Some(model), None)));
    pairs.filter_map(|(a, b)| model(a, b)).collect()
}

/// What of a configuration makes one replica unlike another.
fn kind(model: &PlannedModel) -> Option<(Option<&str>, u32, f64)> {
    let Configuration {
        tensor_parallel, share, ..
    } = model.configuration?;
    Some((model.gpu_type.as_deref(), tensor_parallel, share.value()))
}

/// Nothing when the model runs as before, where it ran.
fn model(before: Option<&PlannedModel>, after: Option<&PlannedModel>) -> Option<ModelChange> {
    let name = after.or(before)?.name.clone();
    let same_kind = before.and_then(kind) == after.and_then(kind);
    let (stopped, started, kept) = if same_kind {
        matched(before, after)
    } else {
        (replicas(before), replicas(after), Vec::new())
    };
    let n_resized = kept.iter().filter(|(a, b)| a != b).count();
    let running = |model: Option<&PlannedModel>| model.and_then(|model| model.configuration);
    let (was, is) = (running(before), running(after));
    let change = match (before, after) {
        (None, _) => ModelMove::Added,
        (_, None) => ModelMove::Removed,
        _ => match (was, is) {
            (None, None) => return None,
            (None, Some(_)) => ModelMove::SwitchedOn,
            (Some(_), None) => ModelMove::SwitchedOff,
            _ if !same_kind => ModelMove::Reconfigured,
            (Some(a), Some(b)) if a.n_replicas < b.n_replicas => ModelMove::ScaledUp,
            (Some(a), Some(b)) if a.n_replicas > b.n_replicas => ModelMove::ScaledDown,
            _ if !started.is_empty() || !stopped.is_empty() => ModelMove::Moved,
            _ if n_resized > 0 => ModelMove::Resized,
            _ => return None,
        },
    };
    let gpu_type = |model: Option<&PlannedModel>| model.and_then(|model| model.gpu_type.clone());
    Some(ModelChange {
        name,
        change,
        before: was,
        after: is,
        gpu_type_before: gpu_type(before),
        gpu_type_after: gpu_type(after),
        n_kept: kept.len() - n_resized,
        n_resized,
        started: started.into_iter().map(|replica| replica.0).collect(),
        stopped: stopped.into_iter().map(|replica| replica.0).collect(),
    })
}

/// GPUs and KV cache of one replica.
type Replica = (Vec<usize>, Option<Bytes>);
/// KV cache before and after of a replica that stays.
type Caches = (Option<Bytes>, Option<Bytes>);

fn replicas(model: Option<&PlannedModel>) -> Vec<Replica> {
    let of = |model: &PlannedModel| {
        let caches = model.kv_cache.iter().copied().map(Some).chain(std::iter::repeat(None));
        model.replicas.iter().cloned().zip(caches).collect()
    };
    model.map_or_else(Vec::new, of)
}

/// Replicas only before, only after, and the KV caches of those that stay. Which shard is on which of a replica's GPUs makes no
/// difference.
fn matched(before: Option<&PlannedModel>, after: Option<&PlannedModel>) -> (Vec<Replica>, Vec<Replica>, Vec<Caches>) {
    let sorted = |gpus: &[usize]| {
        let mut gpus = gpus.to_vec();
        gpus.sort_unstable();
        gpus
    };
    let mut stopped = replicas(before);
    let (mut started, mut kept) = (Vec::new(), Vec::new());
    for replica in replicas(after) {
        let on_same = |old: &Replica| sorted(&old.0) == sorted(&replica.0);
        // Of several on the same GPUs, the one with as much cache.
        let unchanged = stopped.iter().position(|old| on_same(old) && old.1 == replica.1);
        match unchanged.or_else(|| stopped.iter().position(on_same)) {
            Some(at) => kept.push((stopped.remove(at).1, replica.1)),
            None => started.push(replica),
        }
    }
    (stopped, started, kept)
}

fn policies(before: &Plan, after: &Plan) -> (Vec<PolicyChange>, Vec<String>) {
    let (mut changes, mut unmatched) = (Vec::new(), Vec::new());
    let words = |policy: &RoutePolicy| format!("{}, {}", policy.level, policy.route);
    for policy in &after.policies {
        match before.policy(&policy.level, &policy.route) {
            Some(was) => changes.push(policy_change(before, was, after, policy)),
            None => unmatched.push(format!("{} (new)", words(policy))),
        }
    }
    let gone = before.policies.iter();
    let gone = gone.filter(|policy| after.policy(&policy.level, &policy.route).is_none());
    unmatched.extend(gone.map(|policy| format!("{} (gone)", words(policy))));
    (changes, unmatched)
}

fn policy_change(before: &Plan, was: &RoutePolicy, after: &Plan, is: &RoutePolicy) -> PolicyChange {
    let routed = |plan: &Plan, policy: &RoutePolicy, name: &str| {
        let at = plan.models.iter().position(|model| model.name == name);
        at.and_then(|at| policy.models.get(at))
            .map_or((0.0, 0.0), |routed| (routed.price.value(), routed.fraction.value()))
    };
    let gone = before.models.iter().filter(|model| named(after, &model.name).is_none());
    let names = after.models.iter().chain(gone).map(|model| model.name.as_str());
    let models: Vec<RoutedChange> = names
        .map(|name| {
            let (a, b) = (routed(before, was, name), routed(after, is, name));
            RoutedChange {
                name: name.to_owned(),
                price: Change {
                    before: a.0,
                    after: b.0,
                },
                fraction: Change {
                    before: a.1,
                    after: b.1,
                },
            }
        })
        .collect();
    PolicyChange {
        level: is.level.clone(),
        route: is.route.clone(),
        rate: Change {
            before: was.rate.value(),
            after: is.rate.value(),
        },
        quality: Change {
            before: was.prediction.quality.value(),
            after: is.prediction.quality.value(),
        },
        moved: 0.5 * models.iter().map(|model| model.fraction.by().abs()).sum::<f64>(),
        models,
        slos: slos(before, was, after, is),
        mean_ttft: Change {
            before: was.prediction.latency.ttft.value(),
            after: is.prediction.latency.ttft.value(),
        },
    }
}

/// Objectives that both have: of the same metric, statistic and scope.
fn slos(before: &Plan, was: &RoutePolicy, after: &Plan, is: &RoutePolicy) -> Vec<SloChange> {
    let same = |a: &Slo, b: &Slo| a.metric == b.metric && a.statistic == b.statistic && a.scope == b.scope;
    let pairs = after.slos_of(is).zip(&is.prediction.slo_values);
    pairs
        .filter_map(|(slo_ix, value)| {
            let slo = &after.slos[slo_ix];
            let old = before.slos_of(was).find(|ix| same(&before.slos[*ix], slo))?;
            let old = before.slo_value(was, old)?;
            Some(SloChange {
                slo: slo.clone(),
                limit: Change {
                    before: old.limit,
                    after: value.limit,
                },
                value: Change {
                    before: old.value,
                    after: value.value,
                },
                price: Change {
                    before: old.price,
                    after: value.price,
                },
            })
        })
        .collect()
}
