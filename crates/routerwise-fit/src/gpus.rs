//! Constants of each measured GPU, from operators.
//!
//! 1. prefill attention `F_att` from its own table (its share of whole iterations is too small to see below 8 000 tokens);
//! 2. links in pairs and over PCIe from theirs ([`crate::links`]);
//! 3. `F`, `B`, `B_kv`, time per layer and per step and the all-reduce of every degree from sums of operators over whole
//!    iterations, all degrees together: the small matrices of a shard run below `F`, and a step pays that as latency.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result};
use routerwise_simulate::constants::{AllReduce, GpuConstants, ShareResponse};
use routerwise_types::cluster::Interconnect;

use crate::error_stats::Comparison;
use crate::experts::fit_experts;
use crate::held_out::Part;
use crate::iterations::{Iterations, composed, degree, llmservingsim, no_engine};
use crate::known_models::architecture;
use crate::links;
use crate::table::Table;
use routerwise_simulate::optimise::fit;

/// Part of the peak bandwidth that weights are read at where caches are small (A100 0.76, H100 0.88, L40S 0.78).
const REACHABLE: f64 = 0.88;

/// Fits every measured GPU and records the errors.
///
/// # Errors
/// When a table of the data folder cannot be read.
pub fn fit_all(data: &Path, response: &ShareResponse, comparisons: &mut Vec<Comparison>) -> Result<Vec<GpuConstants>> {
    let nvswitch = |gpu, table, comparisons: &mut Vec<Comparison>| {
        links::in_graph(data, gpu, table, Interconnect::Nvswitch, comparisons)
    };
    let a100_switched = nvswitch("a100-80gb-sxm", "a100_sxm", comparisons)?;
    let h100_switched = nvswitch("h100-80gb-sxm", "h100_sxm", comparisons)?;
    let a100_pairs = links::in_pairs(data, "a100-80gb-pcie", "a100", &a100_switched, comparisons)?;
    let h100_pairs = links::in_pairs(data, "h100-80gb-pcie", "h100", &h100_switched, comparisons)?;
    let mut pcie = links::in_graph(data, "l40s-48gb", "l40s", Interconnect::Pcie, comparisons)?;
    pcie[2] = links::nccl_over_pcie(data, 8, comparisons)?;
    let borrowed_pcie = links::borrowed(&pcie, "l40s-48gb");
    let borrowed_switched = links::borrowed(&a100_switched, "a100-80gb-sxm");
    let borrowed_pairs = links::borrowed(&a100_pairs, "pairs of a100");
    let a40_pairs = links::a40_pairs(&a100_pairs);

    let all = |links: [&[AllReduce]; 3]| links.concat();
    let mut a100 = blank("a100-80gb-sxm", 312e12, 2039e9, response);
    a100.all_reduce = all([&a100_switched, &a100_pairs, &borrowed_pcie]);
    let mut h100 = blank("h100-80gb-sxm", 989.4e12, 3350e9, response);
    h100.all_reduce = all([&h100_switched, &h100_pairs, &borrowed_pcie]);
    let mut l40s = blank("l40s-48gb", 362.05e12, 864e9, response);
    l40s.all_reduce = all([&pcie, &borrowed_pairs, &borrowed_switched]);
    let mut consumer = [
        blank("rtx-4090-24gb", 165.2e12, 1008e9, response),
        blank("rtx-pro-6000-96gb", 503.8e12, 1792e9, response),
    ];
    for gpu in &mut consumer {
        gpu.all_reduce = all([&borrowed_pcie, &borrowed_pairs, &borrowed_switched]);
    }
    for (gpu, table, links) in [
        (&mut a100, "a100_sxm", Interconnect::Nvswitch),
        (&mut h100, "h100_sxm", Interconnect::Nvswitch),
        (&mut l40s, "l40s", Interconnect::Pcie),
    ] {
        gpu.flops_attention = attention(data, table, &gpu.gpu_type, comparisons)?;
        fit_iterations(gpu, &composed(data, table, links)?, comparisons);
        gpu.flops_fp8 = fp8(data, table, gpu)?;
        fit_experts(data, table, gpu, comparisons)?;
        gpu.source = format!("aiconfigurator {table}: sums of vLLM 0.14 operators, bf16");
    }
    let [rtx_4090, rtx_pro] = &mut consumer;
    fit_with_attention(
        rtx_4090,
        &llmservingsim(data, "RTX4090", &["meta-llama/Llama-3.1-8B"])?,
        comparisons,
    );
    let names = ["meta-llama/Llama-3.1-8B", "Qwen/Qwen3-32B"];
    fit_with_attention(rtx_pro, &llmservingsim(data, "RTXPRO6000", &names)?, comparisons);
    for gpu in [rtx_4090, rtx_pro] {
        gpu.flops_experts = l40s.flops_experts * gpu.flops / l40s.flops;
        gpu.expert_layer_seconds = l40s.expert_layer_seconds;
    }
    let mut a40 = a40(data, &a100, comparisons)?;
    a40.all_reduce = all([&a40_pairs, &borrowed_pcie, &borrowed_switched]);
    for (table, gpu) in [("a100", &a100), ("h100", &h100)] {
        let linear = vidur_linear(data, table)?;
        record_linear(
            &format!("cross-check: linear layers of vidur {table}"),
            gpu,
            &linear,
            comparisons,
        );
    }
    let [rtx_4090, rtx_pro] = consumer;
    Ok(vec![a100, h100, l40s, a40, rtx_4090, rtx_pro])
}

/// A GPU before its fit: start values are the data sheet's peaks.
fn blank(gpu_type: &str, peak_flops: f64, peak_bandwidth: f64, response: &ShareResponse) -> GpuConstants {
    GpuConstants {
        gpu_type: gpu_type.to_owned(),
        peak_flops,
        peak_bandwidth,
        flops: peak_flops,
        flops_fp8: None,
        flops_experts: 0.5 * peak_flops,
        expert_layer_seconds: 3e-5,
        bandwidth: peak_bandwidth,
        flops_attention: 0.5 * peak_flops,
        bandwidth_kv: peak_bandwidth,
        step_seconds: 1e-4,
        layer_seconds: 2e-5,
        all_reduce: Vec::new(),
        share_response: response.clone(),
        fitted: true,
        source: "llmservingsim: sums of vLLM operators, bf16".to_owned(),
    }
}

fn with(gpu: &GpuConstants, p: &[f64]) -> GpuConstants {
    GpuConstants {
        flops: p[0],
        bandwidth: p[1],
        bandwidth_kv: p[2],
        step_seconds: p[3],
        layer_seconds: p[4],
        flops_attention: p.get(5).copied().unwrap_or(gpu.flops_attention),
        ..gpu.clone()
    }
}

fn start(gpu: &GpuConstants) -> Vec<f64> {
    vec![
        gpu.flops,
        gpu.bandwidth,
        gpu.bandwidth_kv,
        gpu.step_seconds,
        gpu.layer_seconds,
    ]
}

/// Everything but attention, whose constant is known; the links of the iterations' degrees along with the rest.
fn fit_iterations(gpu: &mut GpuConstants, iterations: &Iterations, comparisons: &mut Vec<Comparison>) {
    let fitted = iterations.fitted_part();
    let degrees: BTreeSet<u32> = iterations.cases.iter().map(|case| case.tensor_parallel).collect();
    let own =
        |link: &AllReduce| link.interconnect == iterations.interconnect && degrees.contains(&link.tensor_parallel);
    let links: Vec<usize> = (0..gpu.all_reduce.len())
        .filter(|&ix| own(&gpu.all_reduce[ix]))
        .collect();
    let mut start = start(gpu);
    let n_own = start.len();
    start.extend(
        links
            .iter()
            .flat_map(|&ix| [gpu.all_reduce[ix].latency, gpu.all_reduce[ix].bandwidth]),
    );
    let with_links = |p: &[f64]| {
        let mut gpu = with(gpu, &p[..n_own]);
        for (&ix, pair) in links.iter().zip(p[n_own..].chunks(2)) {
            (gpu.all_reduce[ix].latency, gpu.all_reduce[ix].bandwidth) = (pair[0], pair[1]);
        }
        gpu
    };
    let found = fit(&start, |p| fitted.log_errors(&with_links(p), &no_engine()));
    *gpu = with_links(&found);
    comparisons.extend(iterations.comparisons("operators: iteration", gpu, &no_engine()));
}

/// Everything: these iterations reach 16 000 cached tokens and show attention well.
///
/// The operators were timed one by one on weights that a cache of 72 to 128 MB can hold, so a fit may find more bandwidth than
/// the memory has. Then the bandwidth is set to the part of the peak that the other GPUs reach and the rest fitted around it.
fn fit_with_attention(gpu: &mut GpuConstants, iterations: &Iterations, comparisons: &mut Vec<Comparison>) {
    let fitted = iterations.fitted_part();
    let start = [start(gpu), vec![gpu.flops_attention]].concat();
    let mut found = fit(&start, |p| fitted.log_errors(&with(gpu, p), &no_engine()));
    if found[1] > REACHABLE * gpu.peak_bandwidth {
        let bandwidth = REACHABLE * gpu.peak_bandwidth;
        let pinned = |p: &[f64]| [p[0], bandwidth, p[2], p[3], p[4], p[5]];
        let rest = fit(&start, |p| fitted.log_errors(&with(gpu, &pinned(p)), &no_engine()));
        found = pinned(&rest).to_vec();
        gpu.source = format!("{}; bandwidth set to {REACHABLE} of the peak", gpu.source);
    }
    *gpu = with(gpu, &found);
    comparisons.extend(iterations.comparisons("operators: iteration, mixed by hand held out", gpu, &no_engine()));
}

/// `F_att` of one GPU: seconds = launch + FLOPs / F_att over prompts of one token to 16 384; held out: one shape in five.
fn attention(data: &Path, table: &str, gpu: &str, comparisons: &mut Vec<Comparison>) -> Result<f64> {
    let file = Table::read(&data.join(format!("aiconfigurator/{table}_context_attention.parquet")))?;
    let mut rows = Vec::new();
    for row in 0..file.n_rows() {
        let number = |column| -> Result<f64> { Ok(file.numbers(column)?[row]) };
        let (batch, prompt, heads) = (number("batch_size")?, number("isl")?, number("num_heads")?);
        let flops = 4.0 * heads * number("head_dim")? * batch * prompt * (prompt + 1.0) / 2.0;
        let plain = file.text("attn_dtype")?[row] == "bfloat16"
            && file.text("kv_cache_dtype")?[row] == "bfloat16"
            && file.text("source_version")?[row] == "0.14.0"
            && !file.numbers("window_size").is_ok_and(|window| window[row] > 0.0);
        // Fewer heads than a shard of any model here, and more prompts than an iteration prefills, are left out.
        if plain && degree(number("head_dim")?) == 128 && heads >= 8.0 && batch <= 4.0 && flops > 1e9 {
            let key = format!("{table}/{batch}/{prompt}/{heads}/{}", number("num_key_value_heads")?);
            rows.push((flops, number("latency_ms")? / 1e3, Part::by_hash(&key, 5)));
        }
    }
    let seconds = |p: &[f64], flops: f64| p[0] + flops / p[1];
    let found = fit(&[1e-5, 1e14], |p| {
        let fitted = rows.iter().filter(|row| row.2 == Part::Fitted);
        fitted
            .map(|&(flops, measured, _)| (seconds(p, flops) / measured).ln())
            .collect()
    });
    comparisons.extend(rows.iter().map(|&(flops, measured, part)| Comparison {
        set: "operators: prefill attention".to_owned(),
        gpu: gpu.to_owned(),
        model: "8 to 64 heads".to_owned(),
        tensor_parallel: 1,
        part,
        predicted: seconds(&found, flops),
        measured,
    }));
    Ok(found[1])
}

/// Throughput in fp8: the bf16 one times the ratio of both by the same fit to the same table of matrix products (of the
/// newer vLLM, whose kernels quantise activations on the way).
fn fp8(data: &Path, table: &str, gpu: &GpuConstants) -> Result<Option<f64>> {
    let file = Table::read(&data.join(format!("aiconfigurator/{table}_gemm.parquet")))?;
    let fit_dtype = |dtype: &str, bytes: f64| -> Result<Option<f64>> {
        let mut rows = Vec::new();
        for row in 0..file.n_rows() {
            let (m, n, k) = (
                file.numbers("m")?[row],
                file.numbers("n")?[row],
                file.numbers("k")?[row],
            );
            let ours = file.text("gemm_dtype")?[row] == dtype && file.text("source_version")?[row] == "0.24.0";
            // The shapes of transformer layers: wide, and not more tokens than an iteration has.
            if ours && m <= 8192.0 && (2048.0..=32768.0).contains(&n) && (2048.0..=32768.0).contains(&k) {
                rows.push((2.0 * m * n * k, n * k * bytes, file.numbers("latency_ms")?[row] / 1e3));
            }
        }
        let seconds = |p: &[f64], flops: f64, bytes: f64| p[2] + f64::hypot(flops / p[0], bytes / p[1]);
        let found = fit(&[gpu.flops, gpu.bandwidth, 5e-6], |p| {
            rows.iter()
                .map(|&(flops, bytes, measured)| (seconds(p, flops, bytes) / measured).ln())
                .collect()
        });
        Ok((!rows.is_empty()).then_some(found[0]))
    };
    let (wide, narrow) = (fit_dtype("bfloat16", 2.0)?, fit_dtype("fp8", 1.0)?);
    Ok(wide.zip(narrow).map(|(wide, narrow)| gpu.flops * narrow / wide))
}

/// Linear layers of one transformer layer: `(FLOPs, weight bytes, degree, seconds, model, part)`.
struct Linear {
    flops: f64,
    bytes: f64,
    tensor_parallel: u32,
    seconds: f64,
    model: String,
    part: Part,
}

/// Linear, norm and activation operators that vidur measured, per layer; held out: CodeLlama-34b.
fn vidur_linear(data: &Path, table: &str) -> Result<Vec<Linear>> {
    const OPERATORS: [&str; 9] = [
        "input_layernorm",
        "attn_pre_proj",
        "attn_rope",
        "attn_post_proj",
        "post_attention_layernorm",
        "mlp_up_proj",
        "mlp_act",
        "mlp_down_proj",
        "add",
    ];
    let file = Table::read(&data.join(format!("vidur/mlp_{table}.parquet")))?;
    let mut rows = Vec::new();
    for row in 0..file.n_rows() {
        let name = &file.text("model")?[row];
        let architecture = architecture(name).with_context(|| format!("unknown model `{name}`"))?;
        let params = architecture.active_linear_params() / f64::from(architecture.n_layers);
        let mut millis = 0.0;
        for operator in OPERATORS {
            // Some models have no norm after attention: nothing was measured, nothing is added.
            let median = file.numbers(&format!("{operator}.median_ms"))?[row];
            millis += if median.is_nan() { 0.0 } else { median };
        }
        rows.push(Linear {
            flops: 2.0 * params * file.numbers("num_tokens")?[row],
            bytes: 2.0 * params,
            tensor_parallel: degree(file.numbers("num_tensor_parallel_workers")?[row]),
            seconds: millis / 1e3,
            model: name.clone(),
            part: Part::held_out_if(name.contains("CodeLlama-34b")),
        });
    }
    Ok(rows)
}

fn linear_seconds(flops: f64, bandwidth: f64, layer_seconds: f64, row: &Linear) -> f64 {
    let tp = f64::from(row.tensor_parallel);
    layer_seconds + f64::hypot(row.flops / (flops * tp), row.bytes / (bandwidth * tp))
}

fn record_linear(set: &str, gpu: &GpuConstants, rows: &[Linear], comparisons: &mut Vec<Comparison>) {
    comparisons.extend(rows.iter().map(|row| Comparison {
        set: set.to_owned(),
        gpu: gpu.gpu_type.clone(),
        model: row.model.clone(),
        tensor_parallel: row.tensor_parallel,
        part: row.part,
        predicted: linear_seconds(gpu.flops, gpu.bandwidth, gpu.layer_seconds, row),
        measured: row.seconds,
    }));
}

/// A40: linear layers measured; attention, which nobody published, in the A100's proportion to them.
fn a40(data: &Path, a100: &GpuConstants, comparisons: &mut Vec<Comparison>) -> Result<GpuConstants> {
    let mut a40 = blank("a40-48gb", 149.7e12, 696e9, &a100.share_response);
    let rows = vidur_linear(data, "a40")?;
    let found = fit(&[a40.flops, a40.bandwidth, a40.layer_seconds], |p| {
        let fitted = rows.iter().filter(|row| row.part == Part::Fitted);
        fitted
            .map(|row| (linear_seconds(p[0], p[1], p[2], row) / row.seconds).ln())
            .collect()
    });
    (a40.flops, a40.bandwidth, a40.layer_seconds) = (found[0], found[1], found[2]);
    a40.flops_attention = a100.flops_attention * a40.flops / a100.flops;
    a40.bandwidth_kv = a100.bandwidth_kv * a40.bandwidth / a100.bandwidth;
    a40.flops_experts = a100.flops_experts * a40.flops / a100.flops;
    a40.expert_layer_seconds = a100.expert_layer_seconds;
    a40.step_seconds = a100.step_seconds;
    a40.source = "vidur a40: linear layers, fp16; attention in the a100's proportion to them".to_owned();
    record_linear("operators: linear layers", &a40, &rows, comparisons);
    Ok(a40)
}
