//! The GPUs that data sets mean by their words.

use anyhow::Result;
use routerwise_simulate::constants::{Constants, GpuConstants};
use routerwise_types::cluster::GpuType;
use routerwise_types::units::Bytes;

/// Constants of a GPU by catalogue name, memory in GB and data-sheet peaks; scaled where it was not fitted.
fn gpu(constants: &Constants, name: &str, memory_gb: u64, tflops: f64, gbs: f64) -> GpuConstants {
    constants.for_gpu(&GpuType {
        name: name.to_owned(),
        memory: Bytes(memory_gb * 1_000_000_000),
        usable_memory: Bytes(memory_gb * 900_000_000),
        peak_flops: tflops * 1e12,
        peak_bandwidth: gbs * 1e9,
        price_per_hour: None,
    })
}

/// The GPU that a data set means by a word.
///
/// # Errors
/// When it is unknown here.
pub fn gpu_by_word(constants: &Constants, word: &str) -> Result<GpuConstants> {
    Ok(match word {
        "a100-40" | "Nvidia A100 GPU" => gpu(constants, "a100-40gb-sxm", 40, 312.0, 1555.0),
        "a100-80" | "a100-80gb" => gpu(constants, "a100-80gb-sxm", 80, 312.0, 2039.0),
        "h100" | "h100-80gb" | "H100-80GB" | "h100_sxm" | "Nvidia H100 GPU" => {
            gpu(constants, "h100-80gb-sxm", 80, 989.4, 3350.0)
        }
        "h200_sxm" => gpu(constants, "h200-141gb-sxm", 141, 989.4, 4800.0),
        "a10" => gpu(constants, "a10-24gb", 24, 125.0, 600.0),
        "RTX4090" => gpu(constants, "rtx-4090-24gb", 24, 165.2, 1008.0),
        "RTXPRO6000" => gpu(constants, "rtx-pro-6000-96gb", 96, 503.8, 1792.0),
        _ => anyhow::bail!("unknown GPU `{word}`"),
    })
}
