//! A scenario of two models and a plan for it, made once.

#![allow(clippy::unwrap_used, reason = "a failure here is a failed test")]
#![expect(clippy::cast_possible_truncation, reason = "scores are f32")]

use std::sync::OnceLock;

use routerwise_route::policy::mix;
use routerwise_simulate::sweep::{Sweep, profile};
use routerwise_types::cluster::{Cluster, Interconnect, Node};
use routerwise_types::hash::uniform;
use routerwise_types::plan::Plan;
use routerwise_types::quality::{Prompt, Scores};
use routerwise_types::scenario::Inputs;
use routerwise_types::workload::{Metric, PromptFilter, Route, Scope, Slo, Statistic};
use routerwise_types::{Fingerprint, GpuShare, RequestsPerSecond, Scenario, Seconds};

use super::shared::{constants, gpu, job, models, workload};

pub(crate) const TARGET: f64 = 0.3;
const N_PROMPTS: u32 = 2_000;

/// Two models on halves of two GPUs, at three quarters of what one replica of the one and two of the other can take.
pub(crate) fn planned() -> &'static (Scenario, Plan) {
    static PLANNED: OnceLock<(Scenario, Plan)> = OnceLock::new();
    PLANNED.get_or_init(|| {
        let none = || Fingerprint(String::new());
        let mut models: Vec<_> = models().into_iter().take(2).collect();
        for (model, max_replicas) in models.iter_mut().zip([2, 1]) {
            model.tensor_parallel = vec![1];
            model.shares = vec![GpuShare::new(0.5).unwrap()];
            model.max_replicas = max_replicas;
        }
        let (gpu, mut workload) = (gpu(), workload());
        let sweep = Sweep {
            seed: 1,
            n_requests: 1_000,
        };
        let swept = models.iter().map(|model| {
            profile(&job(model, &gpu, &workload, 1, 0.5), sweep, &constants())
                .unwrap()
                .profile
        });
        let profiles: Vec<_> = swept.collect();
        let capacity = 2.0 * profiles[0].capacity.value() + profiles[1].capacity.value();
        workload.rate = RequestsPerSecond::new(0.75 * capacity).unwrap();
        workload.slos = vec![Slo {
            route: None,
            metric: Metric::Ttft,
            statistic: Statistic::Mean,
            scope: Scope::Workload,
            target: Seconds::new(TARGET).unwrap(),
        }];
        let score = |model: u64, prompt: u32| {
            0.1 + 0.2 * model as f32 + 0.6 * uniform(mix(u64::from(prompt) * 2 + model)) as f32
        };
        let prompt = |i: u32| Prompt {
            id: format!("prompt {i}"),
            weight: 1.0,
            text: None,
            tokens: None,
        };
        let scenario = Scenario {
            cluster: Cluster {
                gpu_types: vec![gpu],
                nodes: vec![Node {
                    name: "node".to_owned(),
                    gpu_type_ix: 0,
                    n_gpus: 2,
                    interconnect: Interconnect::Nvswitch,
                }],
            },
            scores: Scores {
                routes: Vec::new(),
                models: models.iter().map(|model| model.name.clone()).collect(),
                prompts: (0..N_PROMPTS).map(prompt).collect(),
                columns: (0..2)
                    .map(|model| (0..N_PROMPTS).map(|i| score(model, i)).collect())
                    .collect(),
                output_tokens: vec![None, None],
            },
            models,
            workload,
            profiles,
            fingerprints: Inputs {
                cluster: none(),
                models: none(),
                workload: none(),
                scores: none(),
                profiles: none(),
            },
        };
        let outcome = routerwise_plan::plan(&scenario, None).unwrap();
        let plan = outcome
            .plan()
            .expect("three quarters of the capacity can be met")
            .clone();
        assert!(plan.models.iter().map(|model| model.replicas.len()).sum::<usize>() >= 2);
        (scenario, plan)
    })
}

/// Mean TTFT that the routes of [`planned_routes`] ask for: who waits for an answer, and who does not.
pub(crate) const TARGETS: [f64; 2] = [0.12, 1.0];

/// The same cluster and models for two classes of traffic, `chat` and `batch`, with every second prompt and half of the rate each.
#[allow(dead_code, reason = "each test file uses its own part")]
pub(crate) fn planned_routes() -> &'static (Scenario, Plan) {
    static PLANNED: OnceLock<(Scenario, Plan)> = OnceLock::new();
    PLANNED.get_or_init(|| {
        let mut scenario = planned().0.clone();
        let names = ["chat", "batch"];
        let slo = scenario.workload.slos[0].clone();
        let of = |(name, target): (&str, f64)| Slo {
            route: Some(name.to_owned()),
            target: Seconds::new(target).unwrap(),
            ..slo.clone()
        };
        scenario.workload.slos = names.into_iter().zip(TARGETS).map(of).collect();
        let route = |name: &str| Route {
            name: name.to_owned(),
            part: 0.5,
            weight: 0.5,
            prompts: PromptFilter::All,
            models: None,
        };
        scenario.workload.routes = names.into_iter().map(route).collect();
        let n_prompts = scenario.scores.n_prompts();
        let every_second = |first: usize| (first..n_prompts).step_by(2).collect();
        scenario.scores.routes = (0..2).map(every_second).collect();
        let outcome = routerwise_plan::plan(&scenario, None).unwrap();
        let plan = outcome.plan().expect("the target of all is between theirs").clone();
        (scenario, plan)
    })
}
