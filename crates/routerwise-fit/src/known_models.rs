//! Architectures of the models that were measured, from their published `config.json`.
//!
//! The catalogue that ships holds models people run today; this list holds what the data sets measured, old ones included.

use routerwise_types::catalogue::{Architecture, Engine, Experts, Model};
use routerwise_types::units::{Bytes, GpuShare};

/// `(names, layers, hidden, heads, kv heads, head width, feed-forward, matrices, vocabulary, tied, experts and active)`.
type Row = (&'static [&'static str], [u32; 8], bool, Option<(u32, u32)>);

#[rustfmt::skip]
const KNOWN: &[Row] = &[
    (&["llama-7b", "llama-2-7b", "meta-llama/Llama-2-7b-hf", "huggyllama/llama-7b"], [32, 4096, 32, 32, 128, 11008, 3, 32000], false, None),
    (&["llama-13b"], [40, 5120, 40, 40, 128, 13824, 3, 32000], false, None),
    (&["llama-65b"], [80, 8192, 64, 64, 128, 22016, 3, 32000], false, None),
    (&["llama-2-70b", "llama2-70b", "meta-llama/Llama-2-70b-hf"], [80, 8192, 64, 8, 128, 28672, 3, 32000], false, None),
    (&["meta-llama/Meta-Llama-3-8B", "meta-llama/Llama-3.1-8B", "Llama-3.1-8B", "meta-llama/Llama-3.1-8B-Instruct",
       "nvidia/Llama-3.1-8B-Instruct-FP8"], [32, 4096, 32, 8, 128, 14336, 3, 128_256], false, None),
    (&["meta-llama/Llama-3.1-70B", "meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.1-70B-Instruct",
       "nvidia/Llama-3.1-70B-Instruct-FP8"], [80, 8192, 64, 8, 128, 28672, 3, 128_256], false, None),
    (&["codellama-34b", "codellama/CodeLlama-34b-Instruct-hf"], [48, 8192, 64, 8, 128, 22016, 3, 32000], false, None),
    (&["Qwen/Qwen-72B"], [80, 8192, 64, 64, 128, 24576, 3, 152_064], false, None),
    (&["Qwen/Qwen1.5-7B"], [32, 4096, 32, 32, 128, 11008, 3, 151_936], false, None),
    (&["Qwen/Qwen2-7B"], [28, 3584, 28, 4, 128, 18944, 3, 152_064], false, None),
    (&["Qwen/Qwen2-72B"], [80, 8192, 64, 8, 128, 29568, 3, 152_064], false, None),
    (&["Qwen2.5-3B-Instruct"], [36, 2048, 16, 2, 128, 11008, 3, 151_936], true, None),
    (&["Qwen2.5-14B-Instruct"], [48, 5120, 40, 8, 128, 13824, 3, 152_064], false, None),
    (&["Qwen/Qwen3-32B"], [64, 5120, 64, 8, 128, 25600, 3, 151_936], false, None),
    (&["Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-30B-A3B-Instruct-2507"], [48, 2048, 32, 4, 128, 768, 3, 151_936], false, Some((128, 8))),
    (&["Qwen/Qwen3-235B-A22B-FP8"], [94, 4096, 64, 4, 128, 1536, 3, 151_936], false, Some((128, 8))),
    (&["mixtral-8x7b-v0-1", "mistralai/Mixtral-8x7B-v0.1"], [32, 4096, 32, 8, 128, 14336, 3, 32000], false, Some((8, 2))),
    (&["Mistral-7B-Instruct-v0.3"], [32, 4096, 32, 8, 128, 14336, 3, 32768], false, None),
    (&["Phi-3-mini-128k-instruct"], [32, 3072, 32, 32, 96, 8192, 3, 32064], false, None),
    (&["microsoft/phi-2"], [32, 2560, 32, 32, 80, 10240, 2, 51200], false, None),
    (&["EleutherAI/gpt-neox-20b"], [44, 6144, 64, 64, 96, 24576, 2, 50432], false, None),
    (&["EleutherAI/gpt-j-6b"], [28, 4096, 16, 16, 256, 16384, 2, 50400], false, None),
    (&["bigcode/starcoder"], [40, 6144, 48, 1, 128, 24576, 2, 49152], true, None),
    (&["ibm/mpt-7b-instruct2"], [32, 4096, 32, 32, 128, 16384, 2, 50432], true, None),
    (&["Salesforce/codegen2-16B"], [34, 6144, 24, 24, 256, 24576, 2, 51200], false, None),
    (&["facebook/opt-6.7b"], [32, 4096, 32, 32, 128, 16384, 2, 50272], true, None),
    (&["bigscience/bloom-7b1"], [30, 4096, 32, 32, 128, 16384, 2, 250_880], true, None),
    (&["bloom-176b"], [70, 14336, 112, 112, 128, 57344, 2, 250_880], true, None),
];

/// The architecture that a data set means by this name.
#[must_use]
pub fn architecture(name: &str) -> Option<Architecture> {
    let (
        _,
        [
            n_layers,
            hidden_size,
            n_heads,
            n_kv_heads,
            head_dim,
            intermediate_size,
            mlp_matrices,
            vocab_size,
        ],
        tied,
        experts,
    ) = KNOWN.iter().find(|(names, ..)| names.contains(&name))?;
    Some(Architecture {
        n_layers: *n_layers,
        hidden_size: *hidden_size,
        n_heads: *n_heads,
        n_kv_heads: *n_kv_heads,
        head_dim: *head_dim,
        intermediate_size: *intermediate_size,
        mlp_matrices: *mlp_matrices,
        vocab_size: *vocab_size,
        tied_embeddings: *tied,
        experts: experts.map(|(n_experts, n_active)| Experts {
            n_experts,
            n_active,
            shared_intermediate_size: 0,
        }),
    })
}

/// A known model with `bytes_per_weight` and the engine's batching limits; the KV cache is kept in 16 bits.
#[must_use]
pub fn model(name: &str, bytes_per_weight: f64, engine: Engine) -> Option<Model> {
    let architecture = architecture(name)?;
    Some(Model {
        name: name.to_owned(),
        weights: Bytes::ceil(architecture.total_params() * bytes_per_weight),
        architecture: Some(architecture),
        bytes_per_weight,
        bytes_per_kv: 2.0,
        tensor_parallel: vec![1, 2, 4, 8],
        shares: vec![GpuShare::WHOLE],
        max_replicas: 1,
        may_be_off: false,
        kv_reserve: Bytes(0),
        overhead_per_shard: Bytes(0),
        engine,
    })
}

/// Batching limits that no measurement reaches, where only the time of a given batch is asked for.
#[must_use]
pub fn unlimited(engine: &str) -> Engine {
    Engine {
        name: engine.to_owned(),
        max_num_seqs: u32::MAX,
        max_num_batched_tokens: u32::MAX,
        block_size: 16,
        max_model_len: u32::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parameter counts as published, in billions.
    #[test]
    fn known_models_have_their_published_size() {
        for (name, billions) in [
            ("llama-65b", 65.2),
            ("meta-llama/Llama-2-70b-hf", 69.0),
            ("codellama/CodeLlama-34b-Instruct-hf", 33.7),
            ("EleutherAI/gpt-neox-20b", 20.6),
            ("bigcode/starcoder", 15.5),
            ("Qwen/Qwen3-32B", 32.8),
            ("Qwen3-30B-A3B-Instruct-2507", 30.5),
            ("Qwen/Qwen3-235B-A22B-FP8", 235.0),
            ("bloom-176b", 176.2),
        ] {
            let size = architecture(name).unwrap().total_params() / 1e9;
            assert!((size / billions - 1.0).abs() < 0.02, "{name}: {size}");
        }
        assert!(architecture("no such model").is_none());
    }
}
