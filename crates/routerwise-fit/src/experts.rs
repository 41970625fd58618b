//! Mixture-of-experts layers (`aiconfigurator`): their throughput `F_e` and time per layer `c_e`, and whether a batch reads only
//! the experts that it touches.
//!
//! ```text
//! seconds = c_e + sqrt( (FLOPs / F_e)² + (touched weights / B)² )
//! touched = experts · (1 − (1 − active/experts)^tokens)
//! ```
//!
//! `B` is the dense layers'. Routing by a power law, as measured, touches fewer experts than the uniform routing assumed here:
//! the error over batches of 4 to 64 tokens says how much. Held out: every layer with 8 experts of 14336 (Mixtral 8x7B).

use std::path::Path;

use anyhow::Result;
use routerwise_simulate::constants::GpuConstants;

use crate::error_stats::Comparison;
use crate::held_out::Part;
use crate::iterations::degree;
use crate::table::Table;
use routerwise_simulate::optimise::fit;

struct Row {
    tokens: f64,
    flops: f64,
    bytes: f64,
    seconds: f64,
    n_experts: u32,
    tensor_parallel: u32,
    part: Part,
}

/// Fits `F_e` and `c_e` of one GPU whose dense constants are known.
///
/// # Errors
/// When the table cannot be read.
pub fn fit_experts(data: &Path, table: &str, gpu: &mut GpuConstants, comparisons: &mut Vec<Comparison>) -> Result<()> {
    let rows = rows(data, table)?;
    let seconds = |p: &[f64], row: &Row| p[1] + f64::hypot(row.flops / p[0], row.bytes / gpu.bandwidth);
    let found = fit(&[0.5 * gpu.flops, 3e-5], |p| {
        let fitted = rows.iter().filter(|row| row.part == Part::Fitted);
        fitted.map(|row| (seconds(p, row) / row.seconds).ln()).collect()
    });
    let compare = |row: &Row| {
        let size = match row.tokens {
            tokens if tokens < 4.0 => "below 4 tokens",
            tokens if tokens <= 64.0 => "4 to 64 tokens",
            _ => "above 64 tokens",
        };
        Comparison {
            set: format!("experts: layer, {size}"),
            gpu: gpu.gpu_type.clone(),
            model: format!("{} experts", row.n_experts),
            tensor_parallel: row.tensor_parallel,
            part: row.part,
            predicted: seconds(&found, row),
            measured: row.seconds,
        }
    };
    comparisons.extend(rows.iter().map(compare));
    gpu.flops_experts = found[0];
    gpu.expert_layer_seconds = found[1];
    Ok(())
}

fn rows(data: &Path, table: &str) -> Result<Vec<Row>> {
    let file = Table::read(&data.join(format!("aiconfigurator/{table}_moe.parquet")))?;
    let mut rows = Vec::new();
    for row in 0..file.n_rows() {
        let number = |column| -> Result<f64> { Ok(file.numbers(column)?[row]) };
        let (tokens, tp) = (number("num_tokens")?, number("moe_tp_size")?);
        let whole = file.text("moe_dtype")?[row] == "bfloat16" && degree(number("moe_ep_size")?) == 1;
        // Finer slices than a sensible deployment makes run below any throughput and are left out.
        let inter = number("inter_size")?;
        if !whole || tp > 4.0 || tokens > 8192.0 || inter / tp < 384.0 {
            continue;
        }
        let (experts, active) = (number("num_experts")?, number("topk")?);
        let params = 3.0 * number("hidden_size")? * inter / tp;
        rows.push(Row {
            tokens,
            flops: 2.0 * params * active * tokens,
            bytes: 2.0 * params * experts * (1.0 - (1.0 - active / experts).powf(tokens)),
            seconds: number("latency_ms")? / 1e3,
            n_experts: degree(experts),
            tensor_parallel: degree(tp),
            part: Part::held_out_if(degree(experts) == 8 && degree(inter) == 14336),
        });
    }
    Ok(rows)
}
