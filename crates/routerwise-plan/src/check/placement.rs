//! Allowed configurations, on GPUs that exist, are linked and have room for them.

use std::collections::BTreeSet;

use routerwise_types::catalogue::Model;
use routerwise_types::plan::{Plan, PlannedModel};
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Configuration;
use routerwise_types::units::Bytes;

use super::space::{percent, profile_of};
use super::{Violation, mismatch};

pub(super) fn violations(scenario: &Scenario, plan: &Plan) -> Vec<Violation> {
    let mut found = Vec::new();
    for (model, planned) in scenario.models.iter().zip(&plan.models) {
        match &planned.configuration {
            None => found.extend(off(model, planned)),
            Some(configuration) => {
                found.extend(allowed(scenario, model, planned, configuration));
                found.extend(placed(scenario, planned, configuration));
            }
        }
    }
    if found.is_empty() {
        found.extend(room(scenario, plan));
        found.extend(floor(scenario, plan));
    }
    found
}

fn off(model: &Model, planned: &PlannedModel) -> Vec<Violation> {
    let mut found = Vec::new();
    if !model.may_be_off {
        found.push(mismatch(
            place(planned, "configuration"),
            "off",
            "a configuration: it may not be off",
        ));
    }
    if !planned.replicas.is_empty() || !planned.kv_cache.is_empty() || planned.gpu_type.is_some() {
        found.push(mismatch(
            place(planned, "replicas"),
            "replicas of a model that is off",
            "none",
        ));
    }
    found
}

fn place(planned: &PlannedModel, part: &str) -> String {
    format!("`{}`, {part}", planned.name)
}

fn allowed(
    scenario: &Scenario,
    model: &Model,
    planned: &PlannedModel,
    configuration: &Configuration,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let at = |part| place(planned, part);
    let gpu_type = scenario
        .cluster
        .gpu_types
        .get(configuration.gpu_type_ix)
        .map(|gpu_type| gpu_type.name.clone());
    if gpu_type.is_none() || planned.gpu_type != gpu_type {
        found.push(mismatch(
            at("gpu_type"),
            format!("{:?}", planned.gpu_type),
            format!("{gpu_type:?}"),
        ));
    }
    if !model.tensor_parallel.contains(&configuration.tensor_parallel) {
        let expected = format!("one of {:?}", model.tensor_parallel);
        found.push(mismatch(
            at("tensor_parallel"),
            configuration.tensor_parallel.to_string(),
            expected,
        ));
    }
    let close = |share: f64| (share - configuration.share.value()).abs() < 1e-9;
    if !model.shares.iter().any(|share| close(share.value())) {
        let shares: Vec<String> = model.shares.iter().map(ToString::to_string).collect();
        found.push(mismatch(
            at("share"),
            configuration.share.to_string(),
            format!("one of {}", shares.join(", ")),
        ));
    }
    if configuration.n_replicas == 0 || configuration.n_replicas > model.max_replicas {
        let expected = format!("1 to {}", model.max_replicas);
        found.push(mismatch(
            at("n_replicas"),
            configuration.n_replicas.to_string(),
            expected,
        ));
    }
    if found.is_empty() && profile_of(scenario, model, configuration).is_none() {
        found.push(mismatch(
            at("configuration"),
            configuration.to_string(),
            "one that has a profile",
        ));
    }
    found
}

/// Each replica has its shards on different, linked GPUs of the right type, and its KV cache.
fn placed(scenario: &Scenario, planned: &PlannedModel, configuration: &Configuration) -> Vec<Violation> {
    let mut found = Vec::new();
    let n_replicas = configuration.n_replicas as usize;
    for (part, n) in [
        ("replicas", planned.replicas.len()),
        ("kv_cache", planned.kv_cache.len()),
    ] {
        if n != n_replicas {
            found.push(mismatch(place(planned, part), n.to_string(), n_replicas.to_string()));
        }
    }
    let tensor_parallel = configuration.tensor_parallel as usize;
    let groups = scenario
        .cluster
        .linked_groups(configuration.gpu_type_ix, tensor_parallel);
    for (index, gpus) in planned.replicas.iter().enumerate() {
        let distinct: BTreeSet<usize> = gpus.iter().copied().collect();
        let linked = groups.iter().any(|group| gpus.iter().all(|gpu| group.contains(gpu)));
        if gpus.len() != tensor_parallel || distinct.len() != tensor_parallel || !linked {
            let expected =
                format!("{tensor_parallel} different GPUs of its type that are linked, in one of {groups:?}");
            found.push(mismatch(
                place(planned, &format!("replica {index}")),
                format!("{gpus:?}"),
                expected,
            ));
        }
    }
    found
}

/// On every GPU, shares and memory are within what there is, with the KV caches as handed out.
fn room(scenario: &Scenario, plan: &Plan) -> Vec<Violation> {
    let mut found = Vec::new();
    let n_gpus = scenario.cluster.n_gpus();
    let (mut shares, mut memory, mut shards) = (vec![0u64; n_gpus], vec![Bytes(0); n_gpus], vec![0u64; n_gpus]);
    for (model, planned) in scenario.models.iter().zip(&plan.models) {
        let Some(configuration) = &planned.configuration else {
            continue;
        };
        let tp = f64::from(configuration.tensor_parallel);
        for (index, (gpus, kv_cache)) in planned.replicas.iter().zip(&planned.kv_cache).enumerate() {
            if *kv_cache < model.kv_reserve {
                let at = place(planned, &format!("kv_cache of replica {index}"));
                found.push(mismatch(
                    at,
                    kv_cache.to_string(),
                    format!("at least {}", model.kv_reserve),
                ));
            }
            let shard = Bytes::ceil((model.weights.as_f64() + kv_cache.as_f64()) / tp) + model.overhead_per_shard;
            let at_least = model.shard_memory(configuration.tensor_parallel);
            for gpu in gpus {
                shares[*gpu] += percent(configuration.share);
                memory[*gpu] = memory[*gpu] + shard.max(at_least);
                shards[*gpu] += 1;
            }
        }
    }
    for (gpu_ix, gpu) in scenario.cluster.gpus().enumerate() {
        let mut over = |resource, found_: f64, limit: f64| {
            found.push(Violation::Overcommitted {
                gpu: scenario.cluster.gpu_id(gpu_ix),
                resource,
                found: found_,
                limit,
            });
        };
        if shares[gpu_ix] > 100 {
            over("% of its compute", Bytes(shares[gpu_ix]).as_f64(), 100.0);
        }
        let usable = scenario.cluster.gpu_types[gpu.gpu_type_ix].usable_memory;
        // Each shard may be rounded up by two bytes.
        if memory[gpu_ix].saturating_sub(Bytes(2 * shards[gpu_ix])) > usable {
            over("bytes of its memory", memory[gpu_ix].as_f64(), usable.as_f64());
        }
    }
    found
}

fn floor(scenario: &Scenario, plan: &Plan) -> Option<Violation> {
    let configurations = plan.models.iter().filter_map(|model| model.configuration.as_ref());
    let used: u64 = configurations
        .map(|c| percent(c.share) * u64::from(c.tensor_parallel) * u64::from(c.n_replicas))
        .sum();
    let all = Bytes(100 * scenario.cluster.n_gpus() as u64).as_f64();
    let floor = scenario.workload.planning.utilisation_floor;
    let used = Bytes(used).as_f64() / all;
    (used < floor.value() - 1e-9).then(|| {
        let found = format!("{:.1} % of the cluster's compute in use", 100.0 * used);
        mismatch("setup", found, format!("at least {floor}"))
    })
}
