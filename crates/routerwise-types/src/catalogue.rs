//! The models that may run and what each needs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::{Bytes, GpuShare};

/// The numbers of a decoder-only transformer that decide its speed and memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Architecture {
    /// Transformer layers `L`.
    pub n_layers: u32,
    /// Hidden size `d`.
    pub hidden_size: u32,
    /// Query heads.
    pub n_heads: u32,
    /// Key/value heads (fewer than query heads with grouped-query attention).
    pub n_kv_heads: u32,
    /// Width of one head.
    pub head_dim: u32,
    /// Width of the feed-forward layer (of one expert with mixture of experts).
    pub intermediate_size: u32,
    /// Matrices in one feed-forward block: 3 for gated (SwiGLU, GeGLU), 2 for plain.
    pub mlp_matrices: u32,
    /// Vocabulary size.
    pub vocab_size: u32,
    /// Whether the output matrix is the embedding matrix.
    pub tied_embeddings: bool,
    /// Mixture of experts, where the model has it.
    pub experts: Option<Experts>,
}

/// Mixture of experts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Experts {
    /// Experts per layer.
    pub n_experts: u32,
    /// Experts that each token visits.
    pub n_active: u32,
    /// Width of the experts that every token visits besides (0: none).
    pub shared_intermediate_size: u32,
}

impl Architecture {
    fn attention_params_per_layer(&self) -> f64 {
        let (d, q, kv) = (
            f64::from(self.hidden_size),
            f64::from(self.n_heads),
            f64::from(self.n_kv_heads),
        );
        d * f64::from(self.head_dim) * (2.0 * q + 2.0 * kv)
    }

    fn expert_params(&self) -> f64 {
        f64::from(self.hidden_size) * f64::from(self.intermediate_size) * f64::from(self.mlp_matrices)
    }

    fn shared_expert_params(&self) -> f64 {
        self.experts.as_ref().map_or(0.0, |experts| {
            f64::from(self.hidden_size) * f64::from(experts.shared_intermediate_size) * f64::from(self.mlp_matrices)
        })
    }

    /// Weights of the linear layers that one token passes through, without embedding and output matrix.
    #[must_use]
    pub fn active_linear_params(&self) -> f64 {
        let visited = self.experts.as_ref().map_or(1.0, |experts| f64::from(experts.n_active));
        f64::from(self.n_layers)
            * (self.attention_params_per_layer() + visited * self.expert_params() + self.shared_expert_params())
    }

    /// Expected weights of the linear layers that a batch of `tokens` reads from memory at least once: with mixture of
    /// experts and uniform routing a token leaves an expert unread with probability `1 − active/experts`.
    #[must_use]
    pub fn touched_linear_params(&self, tokens: f64) -> f64 {
        let touched = self.experts.as_ref().map_or(1.0, |experts| {
            let all = f64::from(experts.n_experts);
            all * (1.0 - (1.0 - f64::from(experts.n_active) / all).powf(tokens))
        });
        f64::from(self.n_layers)
            * (self.attention_params_per_layer() + touched * self.expert_params() + self.shared_expert_params())
    }

    /// Weights of the output matrix (the LM head).
    #[must_use]
    pub fn head_params(&self) -> f64 {
        f64::from(self.hidden_size) * f64::from(self.vocab_size)
    }

    /// All weights (norms and biases, below 0.1 %, left out).
    #[must_use]
    pub fn total_params(&self) -> f64 {
        let experts = self
            .experts
            .as_ref()
            .map_or(1.0, |experts| f64::from(experts.n_experts));
        let embeddings = if self.tied_embeddings { 1.0 } else { 2.0 };
        f64::from(self.n_layers)
            * (self.attention_params_per_layer() + experts * self.expert_params() + self.shared_expert_params())
            + embeddings * self.head_params()
    }

    /// Bytes of KV cache that one token takes over all layers and all shards, at `bytes_per_value`.
    #[must_use]
    pub fn kv_bytes_per_token(&self, bytes_per_value: f64) -> f64 {
        2.0 * f64::from(self.n_layers) * f64::from(self.n_kv_heads) * f64::from(self.head_dim) * bytes_per_value
    }
}

/// How an engine batches, and what its host side costs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Engine {
    /// Name of the engine profile whose host overheads apply, such as `vllm-0.11`.
    pub name: String,
    /// Most sequences in one iteration (`--max-num-seqs`).
    pub max_num_seqs: u32,
    /// Most tokens in one iteration (`--max-num-batched-tokens`).
    pub max_num_batched_tokens: u32,
    /// Tokens in one KV block (`--block-size`).
    pub block_size: u32,
    /// Longest context in tokens (`--max-model-len`).
    pub max_model_len: u32,
}

/// One language model that the cluster may host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Model {
    /// Unique name, and the name in the scores.
    pub name: String,
    /// Architecture; without it the model can be planned from profiles but not simulated.
    pub architecture: Option<Architecture>,
    /// Weights over all shards of one replica.
    pub weights: Bytes,
    /// Bytes of one weight (2 for bf16, 1 for fp8, 0.5 for 4-bit).
    pub bytes_per_weight: f64,
    /// Bytes of one KV value (2 for bf16, 1 for fp8).
    pub bytes_per_kv: f64,
    /// Allowed tensor-parallel degrees, rising.
    pub tensor_parallel: Vec<u32>,
    /// Allowed shares of a GPU, rising.
    pub shares: Vec<GpuShare>,
    /// Most replicas.
    pub max_replicas: u32,
    /// Whether the model may be left out of the plan.
    pub may_be_off: bool,
    /// KV cache that one replica must have, over its shards.
    pub kv_reserve: Bytes,
    /// Activations and runtime that each shard needs besides weights and KV cache.
    pub overhead_per_shard: Bytes,
    /// The engine that runs it.
    pub engine: Engine,
}

impl Model {
    /// Memory that one shard needs on its GPU: `weights/tp + overhead + KV reserve/tp`.
    #[must_use]
    pub fn shard_memory(&self, tensor_parallel: u32) -> Bytes {
        let memory = ModelMemory {
            weights: self.weights,
            kv_reserve: self.kv_reserve,
            overhead_per_shard: self.overhead_per_shard,
        };
        memory.of_shard(tensor_parallel)
    }
}

/// What a model needs of its GPUs' memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelMemory {
    /// [`Model::weights`].
    pub weights: Bytes,
    /// [`Model::kv_reserve`].
    pub kv_reserve: Bytes,
    /// [`Model::overhead_per_shard`].
    pub overhead_per_shard: Bytes,
}

impl ModelMemory {
    /// Memory that one shard needs on its GPU.
    #[must_use]
    pub fn of_shard(&self, tensor_parallel: u32) -> Bytes {
        let tp = f64::from(tensor_parallel);
        Bytes::ceil(self.weights.as_f64() / tp + self.kv_reserve.as_f64() / tp) + self.overhead_per_shard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama-3.1-8B: 8.03 B parameters, 128 KiB of KV cache a token at bf16 (both published by Meta).
    #[test]
    fn llama_3_1_8b_has_the_published_size() {
        let llama = Architecture {
            n_layers: 32,
            hidden_size: 4096,
            n_heads: 32,
            n_kv_heads: 8,
            head_dim: 128,
            intermediate_size: 14336,
            mlp_matrices: 3,
            vocab_size: 128_256,
            tied_embeddings: false,
            experts: None,
        };
        assert!((llama.total_params() / 8.03e9 - 1.0).abs() < 0.001);
        assert!((llama.kv_bytes_per_token(2.0) - 131_072.0).abs() < 1e-9);
        assert!((llama.touched_linear_params(7.0) - llama.active_linear_params()).abs() < 1.0);
    }

    /// Mixtral-8x7B: 46.7 B parameters, 12.9 B active (Jiang et al. 2024).
    #[test]
    fn mixtral_8x7b_has_the_published_size_and_reads_all_experts_in_a_large_batch() {
        let mixtral = Architecture {
            n_layers: 32,
            hidden_size: 4096,
            n_heads: 32,
            n_kv_heads: 8,
            head_dim: 128,
            intermediate_size: 14336,
            mlp_matrices: 3,
            vocab_size: 32_000,
            tied_embeddings: false,
            experts: Some(Experts {
                n_experts: 8,
                n_active: 2,
                shared_intermediate_size: 0,
            }),
        };
        let active = mixtral.active_linear_params() + 2.0 * mixtral.head_params();
        assert!((mixtral.total_params() / 46.7e9 - 1.0).abs() < 0.001);
        assert!((active / 12.9e9 - 1.0).abs() < 0.005);
        assert!((mixtral.touched_linear_params(1.0) / mixtral.active_linear_params() - 1.0).abs() < 1e-9);
        assert!((mixtral.touched_linear_params(64.0) + 2.0 * mixtral.head_params()) / mixtral.total_params() > 0.999);
    }
}
