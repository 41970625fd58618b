//! Constants of the engine model: fitted to public measurements, or scaled from a fitted GPU by data sheet.

mod scale;

use serde::{Deserialize, Serialize};

pub use scale::for_gpu;

/// Version of the layout of `constants.json`.
pub const CONSTANTS_SCHEMA: u32 = 1;

/// What `cargo xtask fit` wrote last.
const SHIPPED: &str = include_str!("../constants.json");

/// All constants, as `cargo xtask fit` writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constants {
    /// Layout version.
    pub schema: u32,
    /// GPUs with fitted constants.
    pub gpus: Vec<GpuConstants>,
    /// Engine builds.
    pub engines: Vec<EngineConstants>,
}

/// How fast one GPU type is in practice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuConstants {
    /// Catalogue name of the GPU type, such as `a100-80gb-sxm`.
    pub gpu_type: String,
    /// Peak dense bf16 tensor throughput by data sheet, FLOP/s: what scaling to another GPU starts from.
    pub peak_flops: f64,
    /// Peak memory bandwidth by data sheet, bytes/s.
    pub peak_bandwidth: f64,
    /// Sustained throughput of linear layers in 16 bits, FLOP/s.
    pub flops: f64,
    /// The same with weights and activations in fp8, where the GPU multiplies in fp8.
    pub flops_fp8: Option<f64>,
    /// Sustained throughput of mixture-of-experts layers in 16 bits, FLOP/s.
    pub flops_experts: f64,
    /// GPU time of every mixture-of-experts layer for routing and gathering, seconds.
    pub expert_layer_seconds: f64,
    /// Sustained bandwidth when reading weights, bytes/s.
    pub bandwidth: f64,
    /// Sustained throughput of prefill attention, FLOP/s.
    pub flops_attention: f64,
    /// Sustained bandwidth when reading the KV cache, bytes/s.
    pub bandwidth_kv: f64,
    /// GPU time of every iteration beyond the terms below, seconds.
    pub step_seconds: f64,
    /// GPU time of every layer beyond the terms below, seconds.
    pub layer_seconds: f64,
    /// All-reduce by interconnect and tensor-parallel degree.
    pub all_reduce: Vec<AllReduce>,
    /// Speed under an MPS share.
    pub share_response: ShareResponse,
    /// Whether these were fitted to measurements of this very GPU.
    pub fitted: bool,
    /// Where the numbers come from.
    pub source: String,
}

/// Cost of one all-reduce: `latency + 2(tp − 1)/tp · bytes / bandwidth`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllReduce {
    /// Links it was measured on.
    pub interconnect: routerwise_types::cluster::Interconnect,
    /// Tensor-parallel degree.
    pub tensor_parallel: u32,
    /// Seconds.
    pub latency: f64,
    /// Bytes/s.
    pub bandwidth: f64,
    /// Where the numbers come from: measured on this GPU, or taken from another.
    pub source: String,
}

/// Speed under an MPS share relative to the whole GPU: points `(share, compute g_c, memory g_m)`, rising by share, linear
/// between them; the last is `(1, 1, 1)`. Below the first point both go linearly to 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareResponse {
    /// `(share, g_c, g_m)`.
    pub points: Vec<(f64, f64, f64)>,
}

/// What an engine build costs on the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConstants {
    /// Such as `vllm-0.11`.
    pub engine: String,
    /// Host time of every iteration that the GPU waits for, by tensor-parallel degree: `(tp, seconds)`, rising.
    pub host_step_seconds: Vec<(u32, f64)>,
    /// Host time per sequence in the batch, seconds.
    pub host_sequence_seconds: f64,
    /// Host time of the iteration in which a prompt is completed, per prompt, seconds (tokenising and cache set-up in the engine's
    /// own loop).
    pub host_prompt_seconds: f64,
    /// Launch floor per layer of engines without CUDA graphs, seconds (0 with graphs): an iteration takes at least this times layers.
    pub launch_floor_seconds: f64,
    /// Factor on GPU time of iterations that prefill.
    pub prefill_factor: f64,
    /// Time from a request's arrival at the server until the scheduler may see it (HTTP, tokenising), seconds.
    pub request_seconds: f64,
    /// Where the numbers come from.
    pub source: String,
}

impl Constants {
    /// The constants that ship with this build.
    ///
    /// # Panics
    /// Never in a build that passed its tests: one of them parses the file.
    #[must_use]
    pub fn shipped() -> Self {
        serde_json::from_str(SHIPPED).expect("the shipped constants are parsed by a test")
    }

    /// The engine build of this name.
    #[must_use]
    pub fn for_engine(&self, name: &str) -> Option<&EngineConstants> {
        self.engines.iter().find(|engine| engine.engine == name)
    }

    /// Constants of a GPU type: see [`for_gpu`].
    #[must_use]
    pub fn for_gpu(&self, gpu: &routerwise_types::cluster::GpuType) -> GpuConstants {
        scale::for_gpu_in(self, gpu)
    }
}

/// The shipped constants of an engine build.
#[must_use]
pub fn for_engine(name: &str) -> Option<EngineConstants> {
    Constants::shipped().for_engine(name).cloned()
}

impl ShareResponse {
    /// `(g_c, g_m)` at a share.
    #[must_use]
    pub fn at(&self, share: f64) -> (f64, f64) {
        let mut before = (0.0, 0.0, 0.0);
        for &point in &self.points {
            if share <= point.0 {
                let t = (share - before.0) / (point.0 - before.0);
                return (before.1 + t * (point.1 - before.1), before.2 + t * (point.2 - before.2));
            }
            before = point;
        }
        (1.0, 1.0)
    }

    /// The smallest share that was measured; below it the response is extrapolated.
    #[must_use]
    pub fn measured_from(&self) -> f64 {
        self.points.first().map_or(1.0, |point| point.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_constants_parse_and_make_sense() {
        let constants = Constants::shipped();
        assert_eq!(constants.schema, CONSTANTS_SCHEMA);
        for gpu in &constants.gpus {
            assert!(
                0.3 * gpu.peak_flops < gpu.flops && gpu.flops < 1.05 * gpu.peak_flops,
                "{}",
                gpu.gpu_type
            );
            assert!(
                0.6 * gpu.peak_bandwidth < gpu.bandwidth && gpu.bandwidth < 1.05 * gpu.peak_bandwidth,
                "{}",
                gpu.gpu_type
            );
            assert!(!gpu.source.is_empty() && gpu.all_reduce.iter().all(|link| !link.source.is_empty()));
        }
        assert!(for_engine("vllm-0.11").is_some() && for_engine("no such engine").is_none());
    }

    #[test]
    fn every_gpu_has_every_link_at_every_degree() {
        use routerwise_types::cluster::Interconnect::{NvlinkPairs, Nvswitch, Pcie};
        for gpu in Constants::shipped().gpus {
            for (links, tensor_parallel) in [Nvswitch, NvlinkPairs, Pcie]
                .into_iter()
                .flat_map(|l| [2, 4, 8].map(|t| (l, t)))
            {
                let found = gpu
                    .all_reduce
                    .iter()
                    .filter(|link| link.interconnect == links && link.tensor_parallel == tensor_parallel);
                assert_eq!(found.count(), 1, "{} {links:?} {tensor_parallel}", gpu.gpu_type);
            }
        }
    }

    #[test]
    fn a_larger_share_is_never_slower() {
        for gpu in Constants::shipped().gpus {
            for pair in gpu.share_response.points.windows(2) {
                assert!(
                    pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1 && pair[0].2 <= pair[1].2,
                    "{}",
                    gpu.gpu_type
                );
            }
            assert_eq!(gpu.share_response.points.last(), Some(&(1.0, 1.0, 1.0)));
        }
    }

    #[test]
    fn a_share_between_two_measured_ones_is_interpolated() {
        let response = ShareResponse {
            points: vec![(0.5, 0.6, 0.9), (1.0, 1.0, 1.0)],
        };
        let (compute, memory) = response.at(0.75);
        assert!((compute - 0.8).abs() < 1e-12 && (memory - 0.95).abs() < 1e-12);
        assert!((response.at(0.25).0 - 0.3).abs() < 1e-12);
        assert_eq!(response.at(1.0), (1.0, 1.0));
    }
}
