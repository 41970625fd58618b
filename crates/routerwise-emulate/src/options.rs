//! How an emulated engine behaves.

mod faults;
mod outputs;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use routerwise_simulate::constants::Constants;
use routerwise_simulate::cost::StepCost;
use routerwise_simulate::engine::{EngineSpec, Limits};
use routerwise_types::catalogue::{Architecture, Engine, Model};
use routerwise_types::cluster::Interconnect;
use routerwise_types::units::{Bytes, GpuShare};

pub(crate) use faults::{Fate, Midway};
pub use faults::{Faults, WrongFaults};
pub use outputs::{OutputTokens, WrongOutputTokens};

/// Which engine is emulated.
#[derive(Clone, Debug)]
pub struct Replica {
    /// The name by which clients ask for it.
    pub model: String,
    /// What it can hold and how fast it is.
    pub spec: Arc<EngineSpec>,
}

impl Replica {
    /// A model of the size of Llama 3.1 8B on one A100 80 GB: for tests to which the engine does not matter.
    ///
    /// # Panics
    /// Never in a build that passed its tests: the doc test of this crate starts it.
    #[must_use]
    pub fn example(model: &str) -> Self {
        Self::example_with(model, |_| ())
    }

    /// The same, of which something is different: flags of the engine, or its KV cache (`kv_reserve`).
    ///
    /// # Panics
    /// When that is no engine of the shipped constants, or it has no cache.
    #[must_use]
    pub fn example_with(model: &str, change: impl FnOnce(&mut Model)) -> Self {
        let constants = Constants::shipped();
        let mut described = example_model(model);
        change(&mut described);
        let engine = constants.for_engine(&described.engine.name);
        let engine = engine.expect("the shipped constants have this engine");
        let gpu = constants.gpus.iter().find(|gpu| gpu.gpu_type == "a100-80gb-sxm");
        let gpu = gpu.expect("the shipped constants have this GPU");
        let cost = StepCost::new(&described, gpu, engine, Interconnect::Nvswitch, 1, 1.0);
        let cost = cost.expect("one GPU needs no links");
        let spec = EngineSpec::new(&described, &cost, engine, described.kv_reserve);
        Self {
            model: model.to_owned(),
            spec: Arc::new(spec.expect("the model has an architecture and a cache")),
        }
    }

    /// The limits of its engine.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.spec.limits()
    }
}

fn example_model(name: &str) -> Model {
    let architecture = Architecture {
        n_layers: 32,
        hidden_size: 4096,
        n_heads: 32,
        n_kv_heads: 8,
        head_dim: 128,
        intermediate_size: 14_336,
        mlp_matrices: 3,
        vocab_size: 128_256,
        tied_embeddings: false,
        experts: None,
    };
    Model {
        name: name.to_owned(),
        weights: Bytes::ceil(architecture.total_params() * 2.0),
        kv_reserve: Bytes::ceil(32_768.0 * architecture.kv_bytes_per_token(2.0)),
        architecture: Some(architecture),
        bytes_per_weight: 2.0,
        bytes_per_kv: 2.0,
        tensor_parallel: vec![1],
        shares: vec![GpuShare::WHOLE],
        max_replicas: 1,
        may_be_off: false,
        overhead_per_shard: Bytes(2_000_000_000),
        engine: Engine {
            name: "vllm-0.11".to_owned(),
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            block_size: 16,
            max_model_len: 8192,
        },
    }
}

/// How it behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens; port 0 takes any that is free.
    pub listen: SocketAddr,
    /// How many seconds of the engine pass in one of the clock's.
    pub speed: f64,
    /// The key that `/v1` and `/emulate` ask for as `Authorization: Bearer …`.
    pub api_key: Option<String>,
    /// Seed of answer lengths and words: replicas that share it answer alike.
    pub seed: u64,
    /// Seed of faults.
    pub fault_seed: u64,
    /// How long answers are that nobody cuts short.
    pub output_tokens: OutputTokens,
    /// Faults from the start.
    pub faults: Faults,
    /// For how long it answers 503 at first.
    pub start_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            speed: 1.0,
            api_key: None,
            seed: 1,
            fault_seed: 1,
            output_tokens: OutputTokens::default(),
            faults: Faults::default(),
            start_delay: Duration::ZERO,
        }
    }
}
