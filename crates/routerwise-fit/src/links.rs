//! All-reduce on the links that were measured.
//!
//! `seconds = latency + 2(tp − 1)/tp · bytes / bandwidth`. Inside CUDA graphs (aiconfigurator) there is no launch in the latency;
//! the NCCL tables (vidur) have it, so there the launch is taken off: what the same table shows above the graph on a switched node.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use routerwise_simulate::constants::AllReduce;
use routerwise_types::cluster::Interconnect;

use crate::error_stats::Comparison;
use crate::held_out::Part;
use crate::iterations::degree;
use crate::table::Table;
use routerwise_simulate::optimise::fit;

/// Messages of one token of a small model up to a long prefill of a large one.
const BYTES: std::ops::RangeInclusive<f64> = 8e3..=1.4e8;

/// One measured message.
struct Message {
    bytes: f64,
    seconds: f64,
    part: Part,
}

/// All-reduce of each degree inside a CUDA graph; held out: one message size in five.
///
/// # Errors
/// When a table cannot be read.
pub fn in_graph(
    data: &Path,
    gpu: &str,
    table: &str,
    interconnect: Interconnect,
    comparisons: &mut Vec<Comparison>,
) -> Result<Vec<AllReduce>> {
    let file = Table::read(&data.join(format!("aiconfigurator/{table}_custom_allreduce.parquet")))?;
    let mut links = Vec::new();
    for tensor_parallel in [2, 4, 8] {
        let mut messages = Vec::new();
        for row in 0..file.n_rows() {
            let bytes = 2.0 * file.numbers("message_elems")?[row];
            let ours = degree(file.numbers("num_gpus")?[row]) == tensor_parallel
                && file.text("backend")?[row] == "vllm_graph"
                && file.text("source_version")?[row] == "0.14.0"
                && BYTES.contains(&bytes);
            if ours {
                let part = Part::by_hash(&format!("{bytes}"), 5);
                let seconds = file.numbers("latency_ms")?[row] / 1e3;
                messages.push(Message { bytes, seconds, part });
            }
        }
        let (latency, bandwidth) = fit_messages(&messages, tensor_parallel);
        record(
            comparisons,
            gpu,
            interconnect,
            tensor_parallel,
            &messages,
            latency,
            bandwidth,
        );
        links.push(AllReduce {
            interconnect,
            tensor_parallel,
            latency,
            bandwidth,
            source: format!("aiconfigurator {table}: vLLM all-reduce in a CUDA graph"),
        });
    }
    Ok(links)
}

/// All-reduce of A100s or H100s linked in pairs; degree 8 was not measured and takes degree 4's.
///
/// # Errors
/// When the table cannot be read.
pub fn in_pairs(
    data: &Path,
    gpu: &str,
    generation: &str,
    switched: &[AllReduce],
    comparisons: &mut Vec<Comparison>,
) -> Result<Vec<AllReduce>> {
    let mut links: Vec<AllReduce> = Vec::new();
    for tensor_parallel in [2, 4] {
        let messages = nccl(
            data,
            &format!("{generation}_pairwise_nvlink"),
            "all_reduce",
            tensor_parallel,
        )?;
        let (with_launch, bandwidth) = fit_messages(&messages, tensor_parallel);
        let interconnect = Interconnect::NvlinkPairs;
        record(
            comparisons,
            gpu,
            interconnect,
            tensor_parallel,
            &messages,
            with_launch,
            bandwidth,
        );
        let switched_messages = nccl(data, &format!("{generation}_dgx"), "all_reduce", tensor_parallel)?;
        let (switched_with_launch, _) = fit_messages(&switched_messages, tensor_parallel);
        let in_graph = switched.iter().find(|link| link.tensor_parallel == tensor_parallel);
        let in_graph = in_graph.map_or(0.0, |link| link.latency);
        let launch = switched_with_launch - in_graph;
        links.push(AllReduce {
            interconnect,
            tensor_parallel,
            latency: (with_launch - launch).max(in_graph),
            bandwidth,
            source: format!("vidur {generation} linked in pairs: NCCL less its launch"),
        });
    }
    if let Some(four) = links.last().cloned() {
        links.push(AllReduce {
            tensor_parallel: 8,
            source: format!("{}; tp 4's, not measured", four.source),
            ..four
        });
    }
    Ok(links)
}

/// A40s in pairs: the A100's, with the bandwidth of the bridge by data sheet (112.5 against 600 GB/s). The table of A40 "pairs"
/// moves 4 GB/s, which is no bridge, and is not used.
#[must_use]
pub fn a40_pairs(a100_pairs: &[AllReduce]) -> Vec<AllReduce> {
    let mut links = borrowed(a100_pairs, "pairs of a100");
    for link in links.iter_mut().filter(|link| link.tensor_parallel == 2) {
        link.bandwidth *= 112.5 / 600.0;
        link.source = format!("{}; bandwidth x 0.19, as the bridges' data sheets", link.source);
    }
    links
}

/// All-reduce over PCIe by NCCL, which vLLM uses beyond two GPUs without NVLink; held out: one message size in five.
///
/// # Errors
/// When the table cannot be read.
pub fn nccl_over_pcie(data: &Path, tensor_parallel: u32, comparisons: &mut Vec<Comparison>) -> Result<AllReduce> {
    let file = Table::read(&data.join("aiconfigurator/l40s_nccl.parquet"))?;
    let mut messages = Vec::new();
    for row in 0..file.n_rows() {
        let bytes = 2.0 * file.numbers("message_elems")?[row];
        let ours = degree(file.numbers("num_gpus")?[row]) == tensor_parallel
            && file.text("op_name")?[row] == "all_reduce"
            && file.text("nccl_dtype")?[row] == "half"
            && BYTES.contains(&bytes);
        if ours {
            let part = Part::by_hash(&format!("{bytes}"), 5);
            messages.push(Message {
                bytes,
                seconds: file.numbers("latency_ms")?[row] / 1e3,
                part,
            });
        }
    }
    let interconnect = Interconnect::Pcie;
    let (latency, bandwidth) = fit_messages(&messages, tensor_parallel);
    record(
        comparisons,
        "l40s-48gb",
        interconnect,
        tensor_parallel,
        &messages,
        latency,
        bandwidth,
    );
    let source = "aiconfigurator l40s: NCCL all-reduce".to_owned();
    Ok(AllReduce {
        interconnect,
        tensor_parallel,
        latency,
        bandwidth,
        source,
    })
}

/// The same links on another GPU, said so.
#[must_use]
pub fn borrowed(links: &[AllReduce], from: &str) -> Vec<AllReduce> {
    let borrow = |link: &AllReduce| AllReduce {
        source: format!("{}; measured on {from}", link.source),
        ..link.clone()
    };
    links.iter().map(borrow).collect()
}

/// Seconds of an all-reduce of so many bytes.
pub type SecondsOfBytes = Box<dyn Fn(f64) -> f64>;

/// NCCL's all-reduce on a switched A100 node by degree, less the launch, which an eager engine overlaps with the layer before.
///
/// # Errors
/// When the table cannot be read.
pub fn nccl_on_a100(data: &Path) -> Result<BTreeMap<u32, SecondsOfBytes>> {
    let mut by_degree = BTreeMap::new();
    for tensor_parallel in [2, 4, 8] {
        let messages = nccl(data, "a100_dgx", "all_reduce", tensor_parallel)?;
        let (_, bandwidth) = fit_messages(&messages, tensor_parallel);
        let of_bytes: SecondsOfBytes = Box::new(move |bytes| seconds(bytes, tensor_parallel, 0.0, bandwidth));
        by_degree.insert(tensor_parallel, of_bytes);
    }
    Ok(by_degree)
}

fn nccl(data: &Path, fabric: &str, collective: &str, tensor_parallel: u32) -> Result<Vec<Message>> {
    let file = Table::read(&data.join("vidur/network.parquet"))?;
    let mut messages = Vec::new();
    for row in 0..file.n_rows() {
        let bytes = file.numbers("size_bytes")?[row];
        let ours = file.text("fabric")?[row] == fabric
            && file.text("collective")?[row] == collective
            && degree(file.numbers("num_workers")?[row]) == tensor_parallel
            && degree(file.numbers("devices_per_node")?[row]) == tensor_parallel
            && BYTES.contains(&bytes);
        if ours {
            let part = Part::by_hash(&format!("{bytes}"), 5);
            let seconds = file.numbers("median_ms")?[row] / 1e3;
            messages.push(Message { bytes, seconds, part });
        }
    }
    Ok(messages)
}

fn seconds(bytes: f64, tensor_parallel: u32, latency: f64, bandwidth: f64) -> f64 {
    let tp = f64::from(tensor_parallel);
    latency + 2.0 * (tp - 1.0) / tp * bytes / bandwidth
}

fn fit_messages(messages: &[Message], tensor_parallel: u32) -> (f64, f64) {
    let residuals = |p: &[f64]| {
        let fitted = messages.iter().filter(|message| message.part == Part::Fitted);
        fitted
            .map(|m| (seconds(m.bytes, tensor_parallel, p[0], p[1]) / m.seconds).ln())
            .collect()
    };
    let found = fit(&[1e-5, 5e10], residuals);
    (found[0], found[1])
}

fn record(
    comparisons: &mut Vec<Comparison>,
    gpu: &str,
    interconnect: Interconnect,
    tensor_parallel: u32,
    messages: &[Message],
    latency: f64,
    bandwidth: f64,
) {
    comparisons.extend(messages.iter().map(|message| Comparison {
        set: "links: all-reduce".to_owned(),
        gpu: gpu.to_owned(),
        model: format!("{interconnect:?}"),
        tensor_parallel,
        part: message.part,
        predicted: seconds(message.bytes, tensor_parallel, latency, bandwidth),
        measured: message.seconds,
    }));
}
