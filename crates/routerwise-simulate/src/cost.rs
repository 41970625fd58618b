//! Time of one iteration of a continuous-batching engine.
//!
//! ```text
//! t = t_host + c_L·L + t_comm(tp) + sqrt( compute² + memory² )
//!       + attention FLOPs / (F_att·tp·g_c) + KV bytes / (B_kv·tp·g_m)
//! compute = linear FLOPs / (F·tp·g_c) + expert FLOPs / (F_e·tp·g_c)
//! memory  = bytes of the weights that the batch touches / (B·tp·g_m)
//! ```
//!
//! The root of squares stands between "compute and memory overlap fully" (max) and "not at all" (sum) and fits the measured
//! operators better than either. `g_c`, `g_m` are the speeds under an MPS share. Kernels of mixture-of-experts layers reach a
//! third to a half of `F` (`F_e`), and a layer of them costs `c_e` besides for routing and gathering.

use routerwise_types::catalogue::{Architecture, Model};
use routerwise_types::cluster::Interconnect;

use crate::constants::{AllReduce, EngineConstants, GpuConstants};

/// What one iteration processes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepWork {
    /// Prompt tokens prefilled in this iteration.
    pub prefill_tokens: f64,
    /// Query-key pairs of those tokens' attention (causal: token at position `p` attends to `p + 1`).
    pub prefill_pairs: f64,
    /// Cached tokens that those chunks read back from earlier chunks.
    pub prefill_cached_tokens: f64,
    /// Sequences that finish their prefill here and so need the output matrix.
    pub prefill_sequences: f64,
    /// Sequences that decode one token.
    pub decode_sequences: f64,
    /// Cached tokens that the decoding sequences read.
    pub decode_cached_tokens: f64,
}

/// The iteration time of one replica as a function of its work, all constants folded in.
#[derive(Clone, Debug)]
pub struct StepCost {
    fixed_seconds: f64,
    host_sequence_seconds: f64,
    host_prompt_seconds: f64,
    floor_seconds: f64,
    prefill_factor: f64,
    /// Compute of the layers per token, of the output matrix per sampled token.
    token_seconds: f64,
    sample_seconds: f64,
    /// Reading what every batch reads, and all experts.
    weight_seconds: f64,
    expert_weight_seconds: f64,
    /// Part of the experts that one token leaves unread (0 without experts).
    expert_unread: f64,
    pair_seconds: f64,
    kv_token_seconds: f64,
    all_reduce_seconds: f64,
    all_reduce_token_seconds: f64,
}

/// Why a configuration has no iteration time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoCost {
    /// The model has no architecture.
    #[error("`{0}` has no architecture, so its speed cannot be computed")]
    NoArchitecture(String),
    /// Nobody measured an all-reduce at this degree on these links.
    #[error("no all-reduce constants for tensor-parallel {tensor_parallel} on {interconnect:?} links of `{gpu_type}`")]
    NoAllReduce {
        /// GPU type.
        gpu_type: String,
        /// Links.
        interconnect: Interconnect,
        /// Degree.
        tensor_parallel: u32,
    },
}

impl StepCost {
    /// Folds the constants for one configuration of a model.
    ///
    /// # Errors
    /// [`NoCost`] when the architecture or the link constants are missing.
    pub fn new(
        model: &Model,
        gpu: &GpuConstants,
        engine: &EngineConstants,
        interconnect: Interconnect,
        tensor_parallel: u32,
        share: f64,
    ) -> Result<Self, NoCost> {
        let architecture = model
            .architecture
            .as_ref()
            .ok_or_else(|| NoCost::NoArchitecture(model.name.clone()))?;
        let tp = f64::from(tensor_parallel);
        let layers = f64::from(architecture.n_layers);
        let (g_c, g_m) = gpu.share_response.at(share);
        let (all_reduce_seconds, all_reduce_token_seconds) = if tensor_parallel == 1 {
            (0.0, 0.0)
        } else {
            let link = all_reduce(gpu, interconnect, tensor_parallel).ok_or_else(|| NoCost::NoAllReduce {
                gpu_type: gpu.gpu_type.clone(),
                interconnect,
                tensor_parallel,
            })?;
            let bytes_per_token = f64::from(architecture.hidden_size) * 2.0;
            let per_token = 2.0 * (tp - 1.0) / tp * bytes_per_token / link.bandwidth;
            (2.0 * layers * link.latency, 2.0 * layers * per_token)
        };
        let linear = linear_flops(model, gpu) * tp * g_c;
        // fp8 speeds the experts up as it does the other layers.
        let expert = gpu.flops_experts / gpu.flops * linear;
        let weights = gpu.bandwidth * tp * g_m / model.bytes_per_weight;
        let params = Params::of(architecture);
        Ok(Self {
            fixed_seconds: host_step_seconds(engine, tensor_parallel)
                + gpu.step_seconds
                + layers * (gpu.layer_seconds + params.expert_layer * gpu.expert_layer_seconds),
            host_sequence_seconds: engine.host_sequence_seconds,
            host_prompt_seconds: engine.host_prompt_seconds,
            floor_seconds: engine.launch_floor_seconds * layers,
            prefill_factor: engine.prefill_factor,
            token_seconds: 2.0 * (params.dense / linear + params.experts_active / expert),
            sample_seconds: 2.0 * architecture.head_params() / linear,
            weight_seconds: (params.dense + architecture.head_params()) / weights,
            expert_weight_seconds: params.experts_all / weights,
            expert_unread: params.expert_unread,
            pair_seconds: 4.0 * layers * f64::from(architecture.n_heads) * f64::from(architecture.head_dim)
                / (gpu.flops_attention * tp * g_c),
            kv_token_seconds: architecture.kv_bytes_per_token(model.bytes_per_kv) / (gpu.bandwidth_kv * tp * g_m),
            all_reduce_seconds,
            all_reduce_token_seconds,
        })
    }

    /// Seconds that one iteration takes.
    #[must_use]
    pub fn seconds(&self, work: &StepWork) -> f64 {
        let tokens = work.prefill_tokens + work.decode_sequences;
        let sampled = work.prefill_sequences + work.decode_sequences;
        let compute = self.token_seconds * tokens + self.sample_seconds * sampled;
        let experts = if self.expert_weight_seconds > 0.0 {
            self.expert_weight_seconds * (1.0 - self.expert_unread.powf(tokens))
        } else {
            0.0
        };
        let linear = compute.hypot(self.weight_seconds + experts);
        let attention = work.prefill_pairs * self.pair_seconds;
        let kv = (work.decode_cached_tokens + work.prefill_cached_tokens) * self.kv_token_seconds;
        let communication = self.all_reduce_seconds + self.all_reduce_token_seconds * tokens;
        let factor = if work.prefill_tokens > 0.0 {
            self.prefill_factor
        } else {
            1.0
        };
        let gpu = factor * (linear + attention + kv + communication) + self.fixed_seconds;
        gpu.max(self.floor_seconds)
            + self.host_sequence_seconds * sampled
            + self.host_prompt_seconds * work.prefill_sequences
    }
}

/// Time of an iteration that only decodes, as a function of its cached tokens: `max(fixed + per_cached_token · cached, least)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DecodeSeconds {
    /// Seconds whatever the cached tokens.
    pub fixed: f64,
    /// Seconds per cached token that the batch reads.
    pub per_cached_token: f64,
    /// The launch floor with the host time of this batch on top, seconds.
    pub least: f64,
}

/// What the simulator asks of the formula beyond one iteration's time.
impl StepCost {
    /// [`StepCost::seconds`] of an iteration that decodes `n_sequences` and prefills nothing.
    #[must_use]
    pub fn decode_affine(&self, n_sequences: f64) -> DecodeSeconds {
        let without_cache = Self {
            floor_seconds: 0.0,
            ..self.clone()
        };
        DecodeSeconds {
            fixed: without_cache.seconds(&StepWork {
                decode_sequences: n_sequences,
                ..StepWork::default()
            }),
            per_cached_token: self.kv_token_seconds,
            least: self.floor_seconds + self.host_sequence_seconds * n_sequences,
        }
    }

    /// The same replica with every read of its memory `factor` times as slow: busy neighbours on its GPUs.
    #[must_use]
    pub fn with_memory_slowed(&self, factor: f64) -> Self {
        Self {
            weight_seconds: self.weight_seconds * factor,
            expert_weight_seconds: self.expert_weight_seconds * factor,
            kv_token_seconds: self.kv_token_seconds * factor,
            ..self.clone()
        }
    }
}

/// Weights of all layers by what decides their cost.
struct Params {
    dense: f64,
    experts_active: f64,
    experts_all: f64,
    expert_unread: f64,
    /// 1 with experts, else 0.
    expert_layer: f64,
}

impl Params {
    /// The weights of [`Architecture::touched_linear_params`], split.
    fn of(architecture: &Architecture) -> Self {
        let Some(experts) = &architecture.experts else {
            return Self {
                dense: architecture.active_linear_params(),
                experts_active: 0.0,
                experts_all: 0.0,
                expert_unread: 0.0,
                expert_layer: 0.0,
            };
        };
        let one = f64::from(architecture.n_layers)
            * f64::from(architecture.hidden_size)
            * f64::from(architecture.intermediate_size)
            * f64::from(architecture.mlp_matrices);
        let (all, active) = (f64::from(experts.n_experts), f64::from(experts.n_active));
        Self {
            dense: architecture.active_linear_params() - active * one,
            experts_active: active * one,
            experts_all: all * one,
            expert_unread: 1.0 - active / all,
            expert_layer: 1.0,
        }
    }
}

/// The entry of the largest degree up to this one.
fn host_step_seconds(engine: &EngineConstants, tensor_parallel: u32) -> f64 {
    let entries = &engine.host_step_seconds;
    let below = entries.iter().rev().find(|(degree, _)| *degree <= tensor_parallel);
    below.or(entries.first()).map_or(0.0, |(_, seconds)| *seconds)
}

/// Weights of one byte are multiplied in fp8 where the GPU can; narrower ones are widened and multiplied in 16 bits.
fn linear_flops(model: &Model, gpu: &GpuConstants) -> f64 {
    let fp8 = 0.75 < model.bytes_per_weight && model.bytes_per_weight < 1.5;
    gpu.flops_fp8.filter(|_| fp8).unwrap_or(gpu.flops)
}

fn all_reduce(gpu: &GpuConstants, interconnect: Interconnect, tensor_parallel: u32) -> Option<&AllReduce> {
    gpu.all_reduce
        .iter()
        .find(|link| link.interconnect == interconnect && link.tensor_parallel == tensor_parallel)
}

#[cfg(test)]
mod tests {
    use routerwise_types::catalogue::{Engine, Experts};
    use routerwise_types::units::{Bytes, GpuShare};

    use super::*;
    use crate::constants::Constants;

    fn model(experts: Option<Experts>, bytes_per_weight: f64) -> Model {
        Model {
            name: "test".to_owned(),
            architecture: Some(Architecture {
                n_layers: 32,
                hidden_size: 4096,
                n_heads: 32,
                n_kv_heads: 8,
                head_dim: 128,
                intermediate_size: 14336,
                mlp_matrices: 3,
                vocab_size: 32_000,
                tied_embeddings: false,
                experts,
            }),
            weights: Bytes(0),
            bytes_per_weight,
            bytes_per_kv: 2.0,
            tensor_parallel: vec![1, 2, 4, 8],
            shares: vec![GpuShare::WHOLE],
            max_replicas: 1,
            may_be_off: false,
            kv_reserve: Bytes(0),
            overhead_per_shard: Bytes(0),
            engine: Engine {
                name: "vllm-0.11".to_owned(),
                max_num_seqs: 256,
                max_num_batched_tokens: 8192,
                block_size: 16,
                max_model_len: 8192,
            },
        }
    }

    fn cost(model: &Model, gpu: &str, tensor_parallel: u32, share: f64) -> StepCost {
        let constants = Constants::shipped();
        let gpu = constants.gpus.iter().find(|known| known.gpu_type == gpu).unwrap();
        let engine = constants.for_engine("vllm-0.11").unwrap();
        StepCost::new(model, gpu, engine, Interconnect::Nvswitch, tensor_parallel, share).unwrap()
    }

    const PREFILL: StepWork = StepWork {
        prefill_tokens: 4096.0,
        prefill_pairs: 4096.0 * 4097.0 / 2.0,
        prefill_cached_tokens: 0.0,
        prefill_sequences: 1.0,
        decode_sequences: 0.0,
        decode_cached_tokens: 0.0,
    };

    fn decode(sequences: f64) -> StepWork {
        StepWork {
            decode_sequences: sequences,
            decode_cached_tokens: sequences * 1024.0,
            ..StepWork::default()
        }
    }

    #[test]
    fn two_gpus_prefill_faster_than_one_and_slower_than_twice() {
        let model = model(None, 2.0);
        for gpu in ["a100-80gb-sxm", "h100-80gb-sxm"] {
            let (one, two) = (
                cost(&model, gpu, 1, 1.0).seconds(&PREFILL),
                cost(&model, gpu, 2, 1.0).seconds(&PREFILL),
            );
            assert!(0.5 * one < two && two < 0.75 * one, "{gpu}: {one} {two}");
        }
    }

    #[test]
    fn a_smaller_share_slows_prefill_more_than_a_small_decode_batch() {
        let model = model(None, 2.0);
        let (whole, half) = (
            cost(&model, "a100-80gb-sxm", 1, 1.0),
            cost(&model, "a100-80gb-sxm", 1, 0.5),
        );
        let slowdown = |work: &StepWork| half.seconds(work) / whole.seconds(work);
        assert!(slowdown(&PREFILL) > 1.5, "{}", slowdown(&PREFILL));
        assert!(
            slowdown(&decode(4.0)) < 1.25 && slowdown(&decode(4.0)) > 1.0,
            "{}",
            slowdown(&decode(4.0))
        );
    }

    #[test]
    fn one_token_reads_two_of_eight_experts_and_a_large_batch_reads_all() {
        let mixtral = model(
            Some(Experts {
                n_experts: 8,
                n_active: 2,
                shared_intermediate_size: 0,
            }),
            2.0,
        );
        let cost = cost(&mixtral, "h100-80gb-sxm", 1, 1.0);
        let (one, many) = (cost.seconds(&decode(1.0)), cost.seconds(&decode(64.0)));
        assert!(2.5 < many / one && many / one < 5.0, "{one} {many}");
    }

    #[test]
    fn fp8_weights_speed_up_prefill_where_the_gpu_multiplies_in_fp8() {
        let (wide, narrow) = (model(None, 2.0), model(None, 1.0));
        let ratio = |gpu| cost(&narrow, gpu, 1, 1.0).seconds(&PREFILL) / cost(&wide, gpu, 1, 1.0).seconds(&PREFILL);
        assert!(ratio("h100-80gb-sxm") < 0.95);
        assert!(ratio("a100-80gb-sxm") > 0.95, "{}", ratio("a100-80gb-sxm"));
    }

    #[test]
    fn decode_time_is_affine_in_the_cached_tokens() {
        let constants = Constants::shipped();
        for engine in &constants.engines {
            let model = model(None, 2.0);
            let gpu = &constants.gpus[0];
            let cost = StepCost::new(&model, gpu, engine, Interconnect::Nvswitch, 2, 0.5).unwrap();
            for (sequences, cached) in [(1.0, 1.0), (8.0, 4096.0), (256.0, 500_000.0)] {
                let work = StepWork {
                    decode_sequences: sequences,
                    decode_cached_tokens: cached,
                    ..StepWork::default()
                };
                let affine = cost.decode_affine(sequences);
                let seconds = (affine.fixed + affine.per_cached_token * cached).max(affine.least);
                assert!(
                    (cost.seconds(&work) - seconds).abs() < 1e-12,
                    "{}: {work:?}",
                    engine.engine
                );
            }
        }
    }

    #[test]
    fn slower_memory_hurts_decode_more_than_prefill() {
        let cost = cost(&model(None, 2.0), "a100-80gb-sxm", 1, 1.0);
        let slow = cost.with_memory_slowed(1.2);
        let slowdown = |work: &StepWork| slow.seconds(work) / cost.seconds(work);
        assert!(slowdown(&decode(8.0)) > 1.1 && slowdown(&PREFILL) < 1.02);
    }
}
