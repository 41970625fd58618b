//! What is in force where a file says nothing, each with its reason.

use routerwise_types::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

/// A value that stands in for one that was not written.
#[derive(Debug)]
pub(crate) struct Default<T> {
    pub(crate) value: T,
    pub(crate) why: &'static str,
}

/// A default that a file left in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InForce {
    /// What it is a property of, such as "model `llama-8b`".
    pub of: String,
    /// The key that was not written.
    pub key: &'static str,
    /// The value in force.
    pub value: String,
    /// Why this one.
    pub why: &'static str,
}

/// Of the memory on the box, what engines may use.
pub(crate) const USABLE_MEMORY: Default<f64> = Default {
    value: 0.9,
    why: "vLLM's own `--gpu-memory-utilization`: the rest is CUDA contexts, fragmentation and safety",
};

pub(crate) const NODE_COUNT: Default<u32> = Default {
    value: 1,
    why: "one entry, one node",
};

pub(crate) const DTYPE: Default<&str> = Default {
    value: "bf16",
    why: "what most open weights are published in",
};

pub(crate) const SHARE_STEP: Default<f64> = Default {
    value: 0.1,
    why: "ten shares of a GPU, as in the paper",
};

pub(crate) const MAX_REPLICAS: Default<u32> = Default {
    value: 8,
    why: "as many as a usual node has GPUs",
};

pub(crate) const MAY_BE_OFF: Default<bool> = Default {
    value: true,
    why: "a model that does not pay for its memory is better left out",
};

/// In tokens; in bytes it depends on the model.
pub(crate) const KV_RESERVE_TOKENS: u32 = 32_768;
pub(crate) const KV_RESERVE_WHY: &str = "room for about 25 requests of 1300 tokens at once, so that batching works";

pub(crate) const OVERHEAD: Default<Bytes> = Default {
    value: Bytes(2_000_000_000),
    why: "activations of a 2048-token batch, CUDA graphs and the CUDA context of one engine process",
};

pub(crate) const TENSOR_PARALLEL_WHY: &str =
    "the powers of two that divide the heads, exist in one node and leave room for the weights";

pub(crate) const ENGINE: Default<&str> = Default {
    value: "vllm-0.11",
    why: "the newest engine whose host overhead was fitted",
};

pub(crate) const MAX_NUM_SEQS: Default<u32> = Default {
    value: 256,
    why: "vLLM 0.11's server on GPUs up to the A100 (1024 on H100 and larger)",
};

pub(crate) const MAX_NUM_BATCHED_TOKENS: Default<u32> = Default {
    value: 2048,
    why: "vLLM 0.11's server on GPUs up to the A100 (8192 on H100 and larger)",
};

pub(crate) const BLOCK_SIZE: Default<u32> = Default {
    value: 16,
    why: "vLLM's own on NVIDIA GPUs",
};

pub(crate) const MAX_MODEL_LEN_WHY: &str = "the model's context, cut to what its KV reserve holds: engines refuse to start with less cache than one request may need";

pub(crate) const TRACE_SPEED: Default<f64> = Default {
    value: 1.0,
    why: "the trace as it was recorded",
};

/// Most length pairs that are kept of a trace.
pub(crate) const MAX_LENGTHS: Default<u32> = Default {
    value: 4096,
    why: "evenly spaced over the trace and in its order; the demo keeps its means within 3 %",
};

pub(crate) const ARRIVALS: Default<&str> = Default {
    value: "poisson",
    why: "many independent users; write `arrivals = \"trace\"` for the burstiness of the trace",
};

pub(crate) const STATISTIC: Default<&str> = Default {
    value: "mean",
    why: "the paper's objective",
};

pub(crate) const SCOPE: Default<&str> = Default {
    value: "workload",
    why: "the paper's objective",
};

pub(crate) const ROUTE_WEIGHT: Default<&str> = Default {
    value: "its part",
    why: "every request counts alike, whichever route it is of",
};

pub(crate) const ROUTE_PROMPTS: Default<&str> = Default {
    value: "by name",
    why: "those with its name in the column `route` of the scores file",
};

pub(crate) const OBJECTIVE: Default<&str> = Default {
    value: "maximise-quality",
    why: "the best answers that the latency objective allows",
};

pub(crate) const HEADROOM: Default<f64> = Default {
    value: 0.1,
    why: "near the knee latency is almost vertical: a capacity that is 10 % off must not break the objective",
};

pub(crate) const UTILISATION_FLOOR: Default<f64> = Default {
    value: 0.0,
    why: "no setup is left out for using little",
};

pub(crate) const TOLERANCE: Default<f64> = Default {
    value: 1e-4,
    why: "a hundredth of a point of quality, far below what scores resolve",
};

pub(crate) const MAX_SOLVES: Default<u32> = Default {
    value: 10_000,
    why: "a bound that is not met in practice: a few solves prove a plan",
};

pub(crate) const MAX_WORK: Default<u32> = Default {
    value: routerwise_types::workload::USUAL_WORK,
    why: "millions of steps: some seconds, after which the plan states its gap",
};

pub(crate) const DROP_NULL_ROWS: Default<bool> = Default {
    value: false,
    why: "a prompt without a score is a gap in the data that somebody should know about",
};
