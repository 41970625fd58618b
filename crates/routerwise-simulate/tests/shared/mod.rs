//! The paper's models on the GPU that it measured, under a synthetic mix of lengths.

use std::sync::Arc;

use routerwise_simulate::constants::Constants;
use routerwise_simulate::cost::StepCost;
use routerwise_simulate::engine::{Detail, Engine as EngineMachine, EngineSpec, EventKind, Limits};
use routerwise_simulate::sweep::{Job, Swept};
use routerwise_types::Timestamp;
use routerwise_types::catalogue::{Architecture, Engine, Model};
use routerwise_types::cluster::{GpuType, Interconnect};
use routerwise_types::units::{Bytes, Fraction, GpuShare, RequestsPerSecond};
use routerwise_types::workload::{Arrivals, Lengths, Level, Objective, Planning, Workload};

/// Mistral 7B, Llama 2 13B, Yi 34B.
pub(crate) fn models() -> Vec<Model> {
    vec![
        model("mistral-7b", [32, 4096, 32, 8, 14336, 32_000], 14_480_000_000),
        model("llama-2-13b", [40, 5120, 40, 40, 13824, 32_000], 26_030_000_000),
        model("yi-34b", [60, 7168, 56, 8, 20480, 64_000], 68_780_000_000),
    ]
}

/// Layers, hidden size, heads, KV heads, feed-forward width, vocabulary (from the models' `config.json`).
fn model(name: &str, numbers: [u32; 6], weights: u64) -> Model {
    let [
        n_layers,
        hidden_size,
        n_heads,
        n_kv_heads,
        intermediate_size,
        vocab_size,
    ] = numbers;
    Model {
        name: name.to_owned(),
        architecture: Some(Architecture {
            n_layers,
            hidden_size,
            n_heads,
            n_kv_heads,
            head_dim: 128,
            intermediate_size,
            mlp_matrices: 3,
            vocab_size,
            tied_embeddings: false,
            experts: None,
        }),
        weights: Bytes(weights),
        bytes_per_weight: 2.0,
        bytes_per_kv: 2.0,
        tensor_parallel: vec![1, 2, 4],
        shares: (1..=10)
            .map(|tenths| GpuShare::new(f64::from(tenths) / 10.0).expect("valid by hand"))
            .collect(),
        max_replicas: 1,
        may_be_off: false,
        kv_reserve: Bytes(16_000_000_000),
        overhead_per_shard: Bytes(2_000_000_000),
        engine: Engine {
            name: "vllm-0.11".to_owned(),
            max_num_seqs: 256,
            max_num_batched_tokens: 8192,
            block_size: 16,
            max_model_len: 4096,
        },
    }
}

/// Constants that no later fit changes: tests of speed and of counts stand on them.
pub(crate) fn constants() -> Constants {
    let mut constants = Constants::shipped();
    constants.gpus.retain(|known| known.gpu_type == "a100-80gb-sxm");
    constants.engines.retain(|known| known.engine == "vllm-0.11");
    let gpu = &mut constants.gpus[0];
    (gpu.flops, gpu.flops_attention) = (266e12, 141e12);
    (gpu.bandwidth, gpu.bandwidth_kv) = (1.560e12, 1.588e12);
    (gpu.step_seconds, gpu.layer_seconds) = (0.0, 55e-6);
    gpu.share_response.points = vec![(0.3, 0.37, 0.67), (0.5, 0.58, 0.89), (0.7, 0.78, 0.97), (1.0, 1.0, 1.0)];
    for link in &mut gpu.all_reduce {
        (link.latency, link.bandwidth) = (5e-6, 86e9);
    }
    let engine = &mut constants.engines[0];
    engine.host_step_seconds = vec![(1, 0.5e-3), (2, 1.0e-3), (4, 1.5e-3)];
    (engine.host_sequence_seconds, engine.launch_floor_seconds) = (1e-6, 0.0);
    (engine.prefill_factor, engine.request_seconds) = (1.05, 2e-3);
    engine.host_prompt_seconds = 0.0;
    constants
}

pub(crate) fn gpu() -> GpuType {
    GpuType {
        name: "a100-80gb-sxm".to_owned(),
        memory: Bytes(80_000_000_000),
        usable_memory: Bytes(76_000_000_000),
        peak_flops: 312e12,
        peak_bandwidth: 2.039e12,
        price_per_hour: None,
    }
}

/// Poisson arrivals; prompts of 16 to 1 500 tokens, answers of 10 to 600.
pub(crate) fn workload() -> Workload {
    let entry = |i: u32| Lengths {
        input: 16 + (i * 7919 % 53) * (i * 104_729 % 29),
        output: 10 + (i * 1_299_709 % 60) * 10 * (1 + i % 2) / 2,
    };
    Workload {
        rate: RequestsPerSecond::new(10.0).expect("valid by hand"),
        levels: vec![Level::always()],
        routes: Vec::new(),
        arrivals: Arrivals::Poisson,
        lengths: (0..1_000).map(entry).collect(),
        slos: Vec::new(),
        objective: Objective::BEST_QUALITY,
        planning: Planning {
            headroom: 0.1,
            utilisation_floor: Fraction::ZERO,
            tolerance: 1e-4,
            max_solves: 100,
            max_work: 150,
        },
    }
}

pub(crate) fn job<'a>(
    model: &'a Model,
    gpu: &'a GpuType,
    workload: &'a Workload,
    tensor_parallel: u32,
    share: f64,
) -> Job<'a> {
    Job {
        model,
        gpu,
        interconnect: Interconnect::Nvswitch,
        tensor_parallel,
        share: GpuShare::new(share).expect("valid by hand"),
        workload,
    }
}

/// An engine with room for one sequence.
#[allow(dead_code, reason = "not every test file that shares this module needs it")]
pub(crate) fn one_at_a_time() -> EngineSpec {
    let constants = constants();
    let engine = constants.for_engine("vllm-0.11").expect("valid by hand");
    let gpu = constants.for_gpu(&gpu());
    let cost = StepCost::new(&models()[0], &gpu, engine, Interconnect::Nvswitch, 1, 1.0).expect("valid by hand");
    let limits = Limits {
        max_num_seqs: 1,
        max_num_batched_tokens: 8192,
        block_size: 16,
        max_model_len: 4096,
        kv_blocks: 1_000,
    };
    EngineSpec::with_limits(limits, &cost, 0.0)
}

/// Seconds that a request takes to its first and to its last token when it is alone.
#[allow(dead_code, reason = "not every test file that shares this module needs it")]
pub(crate) fn alone(spec: &Arc<EngineSpec>, lengths: Lengths) -> (f64, f64) {
    let mut engine = EngineMachine::new(Arc::clone(spec), Detail::Requests);
    engine.submit(Timestamp::START, 0, lengths).expect("valid by hand");
    let mut events = Vec::new();
    engine.advance(Timestamp(u64::MAX), &mut events);
    let at = |kind| {
        events
            .iter()
            .find(|event| event.kind == kind)
            .expect("valid by hand")
            .at
            .as_seconds()
    };
    (at(EventKind::FirstToken), at(EventKind::Finished))
}

/// What sweeps took, in numbers that do not depend on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(dead_code, reason = "not every file that shares this module needs it")]
pub(crate) struct Counted {
    /// Profiles.
    pub(crate) n_profiles: u64,
    /// Load points that were sustained.
    pub(crate) n_points: u64,
    /// Requests simulated.
    pub(crate) n_requests: u64,
    /// Iterations simulated.
    pub(crate) n_iterations: u64,
}

#[allow(dead_code, reason = "not every file that shares this module needs it")]
impl Counted {
    pub(crate) fn of(swept: &Swept) -> Self {
        Self {
            n_profiles: 1,
            n_points: swept.profile.points.len() as u64,
            n_requests: swept.n_requests,
            n_iterations: swept.n_iterations,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            n_profiles: self.n_profiles + other.n_profiles,
            n_points: self.n_points + other.n_points,
            n_requests: self.n_requests + other.n_requests,
            n_iterations: self.n_iterations + other.n_iterations,
        }
    }
}
