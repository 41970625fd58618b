//! Constants with four significant digits: what the fits are good for, and what keeps the shipped file the same on every machine.

use routerwise_simulate::constants::{AllReduce, Constants, EngineConstants, GpuConstants, ShareResponse};

/// All constants rounded.
#[must_use]
pub fn rounded(constants: &Constants) -> Constants {
    Constants {
        schema: constants.schema,
        gpus: constants.gpus.iter().map(gpu).collect(),
        engines: constants.engines.iter().map(engine).collect(),
    }
}

/// One GPU rounded.
#[must_use]
pub fn gpu(gpu: &GpuConstants) -> GpuConstants {
    let point = |&(share, compute, memory): &(f64, f64, f64)| (share, digits(compute), digits(memory));
    let link = |link: &AllReduce| AllReduce {
        latency: small(link.latency),
        bandwidth: digits(link.bandwidth),
        ..link.clone()
    };
    GpuConstants {
        flops: digits(gpu.flops),
        flops_fp8: gpu.flops_fp8.map(digits),
        flops_experts: digits(gpu.flops_experts),
        expert_layer_seconds: small(gpu.expert_layer_seconds),
        bandwidth: digits(gpu.bandwidth),
        flops_attention: digits(gpu.flops_attention),
        bandwidth_kv: digits(gpu.bandwidth_kv),
        step_seconds: small(gpu.step_seconds),
        layer_seconds: small(gpu.layer_seconds),
        all_reduce: gpu.all_reduce.iter().map(link).collect(),
        share_response: ShareResponse {
            points: gpu.share_response.points.iter().map(point).collect(),
        },
        ..gpu.clone()
    }
}

fn engine(engine: &EngineConstants) -> EngineConstants {
    let step = |&(tensor_parallel, seconds): &(u32, f64)| (tensor_parallel, small(seconds));
    EngineConstants {
        host_step_seconds: engine.host_step_seconds.iter().map(step).collect(),
        host_sequence_seconds: small(engine.host_sequence_seconds),
        host_prompt_seconds: small(engine.host_prompt_seconds),
        launch_floor_seconds: small(engine.launch_floor_seconds),
        prefill_factor: digits(engine.prefill_factor),
        request_seconds: small(engine.request_seconds),
        ..engine.clone()
    }
}

fn digits(value: f64) -> f64 {
    format!("{value:.3e}").parse().unwrap_or(value)
}

/// A time that the optimiser drove towards 0 is 0: nothing here is told apart below 10 ns.
fn small(seconds: f64) -> f64 {
    if seconds < 1e-8 { 0.0 } else { digits(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_kept_and_nothing_becomes_zero_that_is_not() {
        assert!((digits(2.708_649e14) - 2.709e14).abs() < 1.0);
        assert!((small(5.4e-6) - 5.4e-6).abs() < 1e-12);
        assert!(small(1.9e-13).abs() < f64::EPSILON);
    }
}
