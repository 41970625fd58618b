//! Plans made by hand, and scores of prompts.

use routerwise_types::plan::Plan;
use routerwise_types::quality::{Prompt, Scores};
use serde_json::json;

/// `small` at price 0 and `large` at price 0.2, half of the prompts each.
pub(crate) fn two_models(n_small: usize, n_large: usize) -> Plan {
    of(&[("small", n_small, 0.0), ("large", n_large, 0.2)])
}

/// Models by name, replicas and price; each gets as many prompts as any other.
pub(crate) fn of(models: &[(&str, usize, f64)]) -> Plan {
    let model = |name: &str, n: usize| {
        json!({
            "name": name, "gpu_type": "a100-80gb-sxm", "utilisation": 0.5,
            "configuration": {"gpu_type_ix": 0, "tensor_parallel": 1, "share": 0.5, "n_replicas": n},
            "replicas": (0..n).map(|gpu| vec![gpu]).collect::<Vec<_>>(),
            "kv_cache": vec![1_000_000; n],
        })
    };
    let latency = json!({"ttft": 0.1, "tpot": 0.01, "e2e": 1.0});
    let fraction = 1.0 / models.len() as f64;
    let routed = |price: f64| json!({"price": price, "fraction": fraction, "quality": 0.5, "latency": latency.clone()});
    let mut plan = json!({
        "schema": routerwise_types::plan::PLAN_SCHEMA,
        "id": "0123456789abcdef0123456789abcdef", "parent": null,
        "inputs": {"cluster": "a", "models": "b", "workload": "c", "scores": "d", "profiles": "e"},
        "rate": 10.0, "slos": [], "objective": null, "planning": null,
        "models": models.iter().map(|(name, n, _)| model(name, *n)).collect::<Vec<_>>(),
        "policies": [{
            "level": "always", "route": "all", "rate": 10.0, "weight": 1.0,
            "models": models.iter().map(|(_, _, price)| routed(*price)).collect::<Vec<_>>(),
            "routing": {"tie_tolerance": 1e-6, "salt": 1, "ties": []},
            "prediction": {"quality": 0.5, "slo_values": [], "latency": latency.clone(), "latency_without_headroom": latency},
        }],
        "certificate": {
            "quality": 0.5, "upper_bound": 0.5, "gap": 0.0, "space": "test", "setups_in_space": 1.0, "setups_bounded": 1,
            "setups_packed": 1, "setups_solved": 1, "evaluations": 1, "dual_points": [],
        },
    });
    plan["objective"] = json!({"aim": {"kind": "maximise-quality"}, "budget": {}});
    plan["planning"] =
        json!({"headroom": 0.1, "utilisation_floor": 0.0, "tolerance": 1e-4, "max_solves": 10, "max_work": 10});
    serde_json::from_value(plan).unwrap()
}

/// Scores of `small` and `large` for each prompt.
pub(crate) fn scores(known: &[(String, Vec<f32>)]) -> Scores {
    let prompt = |(text, _): &(String, Vec<f32>)| Prompt {
        id: text.clone(),
        weight: 1.0,
        text: Some(text.clone()),
        tokens: None,
    };
    Scores {
        routes: Vec::new(),
        models: vec!["small".to_owned(), "large".to_owned()],
        prompts: known.iter().map(prompt).collect(),
        columns: (0..2)
            .map(|model| known.iter().map(|(_, scores)| scores[model]).collect())
            .collect(),
        output_tokens: vec![None, None],
    }
}
