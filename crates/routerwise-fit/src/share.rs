//! Speed under an MPS share, from whole-model latencies on an A100 whose process was capped (`muxserve_mps`).
//!
//! ```text
//! t = smooth max( launch · L,  layer · L + sqrt((FLOPs/(F·g_c))² + (weight bytes/(B·g_m))²) + KV bytes/(B_kv·g_m) )
//! ```
//!
//! The engine was eager: batches that the GPU finishes before the host has launched the next layer do not show the share at all,
//! so the launch floor is fitted along and taken out. Beyond tp 1 the all-reduce of that engine (NCCL) is added; it does not feel
//! the share. `F`, `B`, `B_kv`, `layer` and `launch` here are that engine's and are not shipped.
//! Fitted at tp 1 on LLaMA 7B and 13B; held out: one (model, tp, batch, length) in four at all its shares, and every tp above 1.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use routerwise_simulate::constants::ShareResponse;

use crate::error_stats::Comparison;
use crate::held_out::Part;
use crate::iterations::degree;
use crate::known_models::architecture;
use crate::links;
use crate::table::Table;
use routerwise_simulate::optimise::fit;

/// Measured shares below the whole GPU, in percent.
const SHARES: [u32; 7] = [30, 40, 50, 60, 70, 80, 90];
/// How sharp the maximum of host and GPU time is: at 8 it is off by 9 % where both are equal, as the measurements are.
const SHARPNESS: f64 = 8.0;

/// One measured prefill or decode step.
struct Row {
    model: String,
    tensor_parallel: u32,
    share_pct: u32,
    layers: f64,
    flops: f64,
    weight_bytes: f64,
    kv_bytes: f64,
    all_reduce_seconds: f64,
    seconds: f64,
    decode: bool,
    part: Part,
}

/// Fits the response and records the errors: of the step time itself, and of the slowdown against the whole GPU.
///
/// # Errors
/// When the table cannot be read.
pub fn fit_response(data: &Path, comparisons: &mut Vec<Comparison>) -> Result<ShareResponse> {
    let rows = rows(data, &links::nccl_on_a100(data)?)?;
    let mut start = vec![200e12, 1.6e12, 1.2e12, 1e-4, 3.5e-4];
    start.extend(SHARES.map(|share| f64::from(share) / 100.0));
    start.extend(SHARES.map(|share| (0.4 + f64::from(share) / 100.0).min(1.0)));
    let fitted: Vec<&Row> = rows.iter().filter(|row| row.part == Part::Fitted).collect();
    let found = fit(&start, |p| {
        fitted
            .iter()
            .map(|row| (seconds(row, p, row.share_pct) / row.seconds).ln())
            .collect()
    });
    record(&rows, &found, comparisons);
    let point = |ix: usize| (f64::from(SHARES[ix]) / 100.0, found[5 + ix], found[12 + ix]);
    let mut points: Vec<(f64, f64, f64)> = (0..SHARES.len()).map(point).collect();
    points.push((1.0, 1.0, 1.0));
    rising(&mut points);
    Ok(ShareResponse { points })
}

/// Parameters: `F, B, B_kv, layer, launch`, then `g_c` and `g_m` of every share.
fn seconds(row: &Row, p: &[f64], share_pct: u32) -> f64 {
    let (g_c, g_m) = match SHARES.iter().position(|&share| share == share_pct) {
        Some(ix) => (p[5 + ix], p[12 + ix]),
        None => (1.0, 1.0),
    };
    let tp = f64::from(row.tensor_parallel);
    let linear = f64::hypot(row.flops / (p[0] * tp * g_c), row.weight_bytes / (p[1] * tp * g_m));
    let gpu = p[3] * row.layers + linear + row.kv_bytes / (p[2] * tp * g_m) + row.all_reduce_seconds;
    let host = p[4] * row.layers;
    (gpu.powf(SHARPNESS) + host.powf(SHARPNESS)).powf(1.0 / SHARPNESS)
}

fn rows(data: &Path, nccl: &BTreeMap<u32, links::SecondsOfBytes>) -> Result<Vec<Row>> {
    let file = Table::read(&data.join("muxserve_mps/profile.parquet"))?;
    let mut rows = Vec::new();
    for row in 0..file.n_rows() {
        let name = &file.text("model")?[row];
        let architecture = architecture(name).with_context(|| format!("unknown model `{name}`"))?;
        let (batch, length) = (file.numbers("batch_size")?[row], file.numbers("seq_len")?[row]);
        let tensor_parallel = degree(file.numbers("tp")?[row]);
        let linear = architecture.active_linear_params();
        let key = format!("{name}/{tensor_parallel}/{batch}/{length}");
        let held_out = tensor_parallel > 1 || Part::by_hash(&key, 4) == Part::HeldOut;
        for (column, decode) in [("prefill_ms", false), ("decode_ms", true)] {
            let millis = file.numbers(column)?[row];
            if millis.is_nan() {
                continue;
            }
            let tokens = if decode { batch } else { batch * length };
            let kv_tokens = if decode { batch * length } else { 0.0 };
            rows.push(Row {
                model: name.clone(),
                tensor_parallel,
                share_pct: degree(file.numbers("mps_sm_pct")?[row]),
                layers: f64::from(architecture.n_layers),
                flops: 2.0 * (linear * tokens + architecture.head_params() * batch),
                weight_bytes: 2.0 * (linear + architecture.head_params()),
                kv_bytes: kv_tokens * architecture.kv_bytes_per_token(2.0),
                all_reduce_seconds: 2.0
                    * f64::from(architecture.n_layers)
                    * nccl.get(&tensor_parallel).map_or(0.0, |seconds| {
                        seconds(2.0 * tokens * f64::from(architecture.hidden_size))
                    }),
                seconds: millis / 1e3,
                decode,
                part: Part::held_out_if(held_out),
            });
        }
    }
    Ok(rows)
}

/// A share that measured a little faster than the next larger one is noise: pool the two.
fn rising(points: &mut [(f64, f64, f64)]) {
    for ix in (1..points.len()).rev() {
        points[ix - 1].1 = points[ix - 1].1.min(points[ix].1);
        points[ix - 1].2 = points[ix - 1].2.min(points[ix].2);
    }
}

fn record(rows: &[Row], p: &[f64], comparisons: &mut Vec<Comparison>) {
    for row in rows {
        let kind = if row.decode { "decode" } else { "prefill" };
        let comparison = |set: String, predicted, measured| Comparison {
            set,
            gpu: "a100-80gb-sxm".to_owned(),
            model: row.model.clone(),
            tensor_parallel: row.tensor_parallel,
            part: row.part,
            predicted,
            measured,
        };
        if row.tensor_parallel == 1 {
            comparisons.push(comparison(
                format!("MPS: {kind} step"),
                seconds(row, p, row.share_pct),
                row.seconds,
            ));
        }
        let same = |other: &&Row| {
            let close = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
            other.share_pct == 100
                && other.model == row.model
                && other.decode == row.decode
                && other.tensor_parallel == row.tensor_parallel
                && close(other.flops, row.flops)
                && close(other.kv_bytes.max(1.0), row.kv_bytes.max(1.0))
        };
        if row.share_pct < 100
            && let Some(whole) = rows.iter().find(same)
        {
            let predicted = seconds(row, p, row.share_pct) / seconds(row, p, 100);
            let share = row.share_pct;
            let set = format!("MPS: {kind} slowdown at {share} %");
            comparisons.push(comparison(set, predicted, row.seconds / whole.seconds));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dip_is_levelled_down_to_what_a_larger_share_reaches() {
        let mut points = vec![(0.7, 0.78, 0.971), (0.8, 0.87, 0.970), (1.0, 1.0, 1.0)];
        rising(&mut points);
        assert!((points[0].2 - 0.970).abs() < 1e-12 && (points[0].1 - 0.78).abs() < 1e-12);
    }
}
