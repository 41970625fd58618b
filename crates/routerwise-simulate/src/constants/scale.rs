//! Constants of a GPU that nobody measured, from the fitted one that is nearest by data sheet.

use routerwise_types::cluster::GpuType;

use super::{Constants, GpuConstants};

/// Shipped constants of a GPU type: its own where it was fitted, else those of the nearest fitted GPU, with compute and
/// bandwidth scaled by the data sheets' peaks and `fitted: false`.
#[must_use]
pub fn for_gpu(gpu: &GpuType) -> GpuConstants {
    for_gpu_in(&Constants::shipped(), gpu)
}

/// # Panics
/// When `constants` lists no GPU: the shipped file does, and the fit writes no file without.
pub(super) fn for_gpu_in(constants: &Constants, gpu: &GpuType) -> GpuConstants {
    if let Some(own) = constants.gpus.iter().find(|known| known.gpu_type == gpu.name) {
        return own.clone();
    }
    let nearest = constants
        .gpus
        .iter()
        .filter(|known| known.fitted)
        .min_by(|a, b| distance(a, gpu).total_cmp(&distance(b, gpu)))
        .expect("constants list at least one fitted GPU");
    scaled(nearest, gpu)
}

/// How unlike two GPUs are: orders of magnitude between their peaks, compute and bandwidth added up.
fn distance(known: &GpuConstants, gpu: &GpuType) -> f64 {
    (gpu.peak_flops / known.peak_flops).ln().abs() + (gpu.peak_bandwidth / known.peak_bandwidth).ln().abs()
}

/// Launch and link latencies do not follow the peaks and stay as they are.
fn scaled(known: &GpuConstants, gpu: &GpuType) -> GpuConstants {
    let compute = gpu.peak_flops / known.peak_flops;
    let memory = gpu.peak_bandwidth / known.peak_bandwidth;
    GpuConstants {
        gpu_type: gpu.name.clone(),
        peak_flops: gpu.peak_flops,
        peak_bandwidth: gpu.peak_bandwidth,
        flops: known.flops * compute,
        flops_fp8: known.flops_fp8.map(|flops| flops * compute),
        flops_experts: known.flops_experts * compute,
        bandwidth: known.bandwidth * memory,
        flops_attention: known.flops_attention * compute,
        bandwidth_kv: known.bandwidth_kv * memory,
        fitted: false,
        source: format!(
            "scaled from {} by data sheet: compute x {compute:.3}, memory bandwidth x {memory:.3}; links as there",
            known.gpu_type
        ),
        ..known.clone()
    }
}

#[cfg(test)]
mod tests {
    use routerwise_types::units::Bytes;

    use super::*;

    fn gpu(name: &str, peak_flops: f64, peak_bandwidth: f64) -> GpuType {
        GpuType {
            name: name.to_owned(),
            memory: Bytes(80_000_000_000),
            usable_memory: Bytes(76_000_000_000),
            peak_flops,
            peak_bandwidth,
            price_per_hour: None,
        }
    }

    #[test]
    fn a_fitted_gpu_keeps_its_own_constants() {
        assert!(for_gpu(&gpu("a100-80gb-sxm", 312e12, 2039e9)).fitted);
    }

    #[test]
    fn an_unknown_gpu_is_scaled_from_the_nearest_and_says_so() {
        let base = for_gpu(&gpu("h100-80gb-sxm", 989e12, 3350e9));
        let h200 = for_gpu(&gpu("h200-141gb-sxm", base.peak_flops, base.peak_bandwidth * 1.25));
        assert!(!h200.fitted && h200.source.contains("h100-80gb-sxm"), "{}", h200.source);
        assert!((h200.flops / base.flops - 1.0).abs() < 1e-9);
        assert!((h200.bandwidth / base.bandwidth - 1.25).abs() < 1e-9);
        assert_eq!(h200.all_reduce, base.all_reduce);
    }
}
