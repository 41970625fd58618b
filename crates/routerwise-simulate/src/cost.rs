//! Time of one iteration of a continuous-batching engine.
//!
//! ```text
//! t = t_host + c_L·L + t_comm(tp) + sqrt( (linear FLOPs / (F·tp·g_c))² + (weight bytes / (B·tp·g_m))² )
//!       + attention FLOPs / (F_att·tp·g_c) + KV bytes / (B_kv·tp·g_m)
//! ```
//!
//! The root of squares stands between "compute and memory overlap fully" (max) and "not at all" (sum) and fits the measured
//! operators better than either. `g_c`, `g_m` are the speeds under an MPS share.

use routerwise_types::catalogue::Model;
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
    model: Model,
    fixed_seconds: f64,
    host_sequence_seconds: f64,
    floor_seconds: f64,
    prefill_factor: f64,
    /// Seconds per linear FLOP, per weight byte, per attention FLOP, per KV byte, on all shards together.
    per_flop: f64,
    per_weight_byte: f64,
    per_attention_flop: f64,
    per_kv_byte: f64,
    all_reduce_seconds: f64,
    all_reduce_seconds_per_token: f64,
    head_params: f64,
    kv_bytes_per_token: f64,
    attention_flops_per_pair: f64,
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
        let (all_reduce_seconds, all_reduce_seconds_per_token) = if tensor_parallel == 1 {
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
        let host_step = engine
            .host_step_seconds
            .iter()
            .rev()
            .find(|(degree, _)| *degree <= tensor_parallel)
            .or(engine.host_step_seconds.first())
            .map_or(0.0, |(_, seconds)| *seconds);
        Ok(Self {
            fixed_seconds: host_step + gpu.step_seconds + gpu.layer_seconds * layers,
            host_sequence_seconds: engine.host_sequence_seconds,
            floor_seconds: engine.launch_floor_seconds * layers,
            prefill_factor: engine.prefill_factor,
            per_flop: 1.0 / (linear_flops(model, gpu) * tp * g_c),
            per_weight_byte: 1.0 / (gpu.bandwidth * tp * g_m),
            per_attention_flop: 1.0 / (gpu.flops_attention * tp * g_c),
            per_kv_byte: 1.0 / (gpu.bandwidth_kv * tp * g_m),
            all_reduce_seconds,
            all_reduce_seconds_per_token,
            head_params: architecture.head_params(),
            kv_bytes_per_token: architecture.kv_bytes_per_token(model.bytes_per_kv),
            attention_flops_per_pair: 4.0 * layers * f64::from(architecture.n_heads) * f64::from(architecture.head_dim),
            model: model.clone(),
        })
    }

    /// Seconds that one iteration takes.
    ///
    /// # Panics
    /// Never: [`StepCost::new`] has checked that the architecture is there.
    #[must_use]
    pub fn seconds(&self, work: &StepWork) -> f64 {
        let architecture = self.model.architecture.as_ref().expect("checked when built");
        let tokens = work.prefill_tokens + work.decode_sequences;
        let sampled = work.prefill_sequences + work.decode_sequences;
        let flops = 2.0 * (architecture.active_linear_params() * tokens + self.head_params * sampled);
        let weight_bytes =
            (architecture.touched_linear_params(tokens) + self.head_params) * self.model.bytes_per_weight;
        let linear = (flops * self.per_flop).hypot(weight_bytes * self.per_weight_byte);
        let attention = work.prefill_pairs * self.attention_flops_per_pair * self.per_attention_flop;
        let kv = (work.decode_cached_tokens + work.prefill_cached_tokens) * self.kv_bytes_per_token * self.per_kv_byte;
        let communication = self.all_reduce_seconds + self.all_reduce_seconds_per_token * tokens;
        let factor = if work.prefill_tokens > 0.0 {
            self.prefill_factor
        } else {
            1.0
        };
        let gpu = factor * (linear + attention + kv + communication) + self.fixed_seconds;
        gpu.max(self.floor_seconds) + self.host_sequence_seconds * sampled
    }
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
