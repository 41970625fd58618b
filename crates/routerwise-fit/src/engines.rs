//! What engine builds cost on the host, from whole-engine measurements on GPUs whose operators are fitted.
//!
//! Each build has a list of samples: a measured latency, and the latency that the model gives it for any engine constants. One
//! request alone, one batch of equal requests, or a closed loop in its steady state need no simulation to be predicted.

mod samples;

use std::path::Path;

use anyhow::Result;
use routerwise_simulate::constants::{Constants, EngineConstants};

use crate::error_stats::Comparison;
use crate::held_out::Part;
use crate::tgis;
use routerwise_simulate::optimise::fit;

/// A latency of one engine build, measured and predicted.
struct Sample {
    comparison: Comparison,
    predict: Box<dyn Fn(&EngineConstants) -> f64>,
}

/// Fits every engine build and records the errors. `constants` has the GPUs; its engines are not read.
///
/// # Errors
/// When a table of the data folder cannot be read.
pub fn fit_all(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<Vec<EngineConstants>> {
    let mut engines = vec![
        vllm_0_11(data, constants, comparisons)?,
        vllm_0_6(data, constants, comparisons)?,
    ];
    engines.push(vllm_2023(data, constants, comparisons)?);
    engines.extend(tgis::fit(data, constants)?);
    Ok(engines)
}

/// Degrees without a measurement of their own take the next lower one's host time.
fn build(engine: &str, p: &[f64], steps: &[(u32, usize)], source: &str) -> EngineConstants {
    EngineConstants {
        engine: engine.to_owned(),
        host_step_seconds: steps
            .iter()
            .map(|&(tensor_parallel, ix)| (tensor_parallel, p[ix]))
            .collect(),
        host_sequence_seconds: 0.0,
        host_prompt_seconds: 0.0,
        launch_floor_seconds: 0.0,
        prefill_factor: 1.0,
        request_seconds: 0.0,
        source: source.to_owned(),
    }
}

fn fit_samples(samples: &[Sample], start: &[f64], build: impl Fn(&[f64]) -> EngineConstants) -> EngineConstants {
    let fitted: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.comparison.part == Part::Fitted)
        .collect();
    let found = fit(start, |p| {
        let engine = build(p);
        fitted
            .iter()
            .map(|sample| ((sample.predict)(&engine) / sample.comparison.measured).ln())
            .collect()
    });
    build(&found)
}

fn record(samples: Vec<Sample>, engine: &EngineConstants, comparisons: &mut Vec<Comparison>) {
    comparisons.extend(samples.into_iter().map(|sample| Comparison {
        predicted: (sample.predict)(engine),
        ..sample.comparison
    }));
}

/// vLLM 0.11 (V1, CUDA graphs): one GPU from requests that were alone in the engine, more GPUs from closed loops.
fn vllm_0_11(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<EngineConstants> {
    let (alone, request_seconds) = samples::blis_alone(data, constants)?;
    let source =
        "blis_vllm (tp 1, requests alone on an H100) and silicon_points (tp 2 to 8, closed loops on H100, H200)";
    let name = "vllm-0.11";
    let one = fit_samples(&alone, &[5e-4, 1.1], |p| EngineConstants {
        prefill_factor: p[1],
        request_seconds,
        ..build(name, p, &[(1, 0)], source)
    });
    let loops = samples::silicon_loops(data, constants)?;
    let steps = [(2, 0), (4, 1), (8, 2)];
    let several = fit_samples(&loops, &[1.5e-3, 2e-3, 2.5e-3], |p| EngineConstants {
        prefill_factor: one.prefill_factor,
        request_seconds,
        ..build(name, p, &steps, source)
    });
    let host_step_seconds = [&one.host_step_seconds[..], &several.host_step_seconds[..]].concat();
    let engine = EngineConstants {
        host_step_seconds,
        ..one
    };
    record(alone, &engine, comparisons);
    record(loops, &engine, comparisons);
    Ok(engine)
}

/// vLLM 0.4 to 0.6 of 2024: batches of equal requests.
fn vllm_0_6(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<EngineConstants> {
    let samples = samples::argonne_batches(data, constants)?;
    let source = "argonne_bench: vLLM batches on A100-40 and H100, 2024; request time of vllm-0.11";
    let request_seconds = 2e-3;
    let engine = fit_samples(&samples, &[1.4e-3, 2.2e-3, 3.1e-3, 6e-5, 1.2], |p| EngineConstants {
        host_sequence_seconds: p[3],
        prefill_factor: p[4],
        request_seconds,
        ..build("vllm-0.6", p, &[(1, 0), (2, 1), (4, 2)], source)
    });
    record(samples, &engine, comparisons);
    Ok(engine)
}

/// Eager vLLM of 2023: single steps on A100.
fn vllm_2023(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<EngineConstants> {
    let samples = samples::muxserve_steps(data, constants)?;
    let source = "muxserve_mps at the whole GPU: single steps on A100; no request time measured";
    let engine = fit_samples(&samples, &[4e-4, 1.4, 5e-5, 1e-3], |p| EngineConstants {
        launch_floor_seconds: p[0],
        prefill_factor: p[1],
        host_sequence_seconds: p[2],
        ..build("vllm-2023-eager", p, &[(1, 3)], source)
    });
    record(samples, &engine, comparisons);
    record(samples::splitwise_steps(data, constants)?, &engine, comparisons);
    Ok(engine)
}
