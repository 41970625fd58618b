//! What `routerwise emulate` starts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::GpuShare;

/// The engines that listen, as `routerwise emulate --format json` prints and `--endpoints` writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Engines {
    /// Layout version: [`ANSWER_SCHEMA`](super::ANSWER_SCHEMA).
    pub schema: u32,
    /// In the order of their ports.
    pub engines: Vec<ListeningEngine>,
}

/// One engine that listens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListeningEngine {
    /// `http://host:port`, without `/v1`.
    pub url: String,
    /// The model that it answers for.
    pub model: String,
    /// Which of the model's replicas it is, from 0.
    pub replica: usize,
    /// GPU type.
    pub gpu_type: String,
    /// Shards.
    pub tensor_parallel: u32,
    /// Share of each GPU.
    pub share: GpuShare,
    /// Longest context in tokens.
    pub max_model_len: u32,
    /// Most sequences in one iteration.
    pub max_num_seqs: u32,
    /// Tokens that its KV cache holds.
    pub kv_cache_tokens: u64,
}
