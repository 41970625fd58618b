//! The engine model against measured serving.
//!
//! A *load level* is one closed loop, one rate, or twenty requests in a row of a replayed log. It lies **below the knee** when
//!
//! - closed loop: it answers less than 80 % of the requests per second that the best level of its series answers;
//! - log or rate: the engine kept up: first tokens came at 95 % or more of the rate at which requests did.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use routerwise_simulate::arrivals::UnitSchedule;
use routerwise_simulate::constants::{Constants, EngineConstants};
use routerwise_simulate::cost::StepCost;
use routerwise_types::catalogue::{Engine, Model};
use routerwise_types::cluster::Interconnect;
use routerwise_types::units::RequestsPerSecond;
use routerwise_types::workload::{Arrivals, Lengths};

use crate::error_stats::Comparison;
use crate::held_out::Part;
use crate::iterations::{degree, work};
use crate::known_gpus::gpu_by_word;
use crate::known_models::{model, unlimited};
use crate::replay::{Played, closed_loop, mean, open_loop, spec};
use crate::table::Table;
use crate::tgis;

/// Requests in a row of a log that make one load level.
const LEVEL: usize = 20;

/// Compares the model with every measured serving set.
///
/// # Errors
/// When a table of the data folder cannot be read.
pub fn compare_all(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<()> {
    blis_requests(data, constants, comparisons)?;
    blis_stages(data, constants, comparisons)?;
    llmservingsim_requests(data, constants, comparisons)?;
    llm_pilot(data, constants, comparisons)?;
    llm_k8s(data, constants, comparisons)?;
    hw_router(data, constants, comparisons)
}

fn engine_of(constants: &Constants, name: &str) -> Result<EngineConstants> {
    constants
        .for_engine(name)
        .cloned()
        .with_context(|| format!("no engine `{name}` was fitted"))
}

pub(crate) fn limited(name: &str, max_num_seqs: f64, max_num_batched_tokens: f64) -> Result<Model> {
    let limits = Engine {
        max_num_seqs: degree(max_num_seqs),
        max_num_batched_tokens: degree(max_num_batched_tokens),
        ..unlimited("")
    };
    model(name, 2.0, limits).with_context(|| format!("unknown model `{name}`"))
}

/// Tokens of KV cache beside the weights when an engine may use 90 % of the memory and needs 1.5 GB a GPU for itself.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of tokens, clamped first"
)]
pub(crate) fn kv_tokens(model: &Model, memory: f64, tensor_parallel: u32) -> u64 {
    let per_token = model
        .architecture
        .as_ref()
        .map_or(f64::INFINITY, |a| a.kv_bytes_per_token(2.0));
    let free = (0.9 * memory - 1.5e9) * f64::from(tensor_parallel) - model.weights.as_f64();
    (free / per_token).clamp(0.0, 1e9) as u64
}

pub(crate) fn lengths(input: f64, output: f64) -> Lengths {
    Lengths {
        input: degree(input).max(1),
        output: degree(output).max(1),
    }
}

/// What a comparison belongs to.
struct Label<'a> {
    set: &'a str,
    gpu: &'a str,
    model: &'a str,
    tensor_parallel: u32,
    part: Part,
}

fn push(comparisons: &mut Vec<Comparison>, label: &Label, metric: &str, below: bool, pair: (Option<f64>, Option<f64>)) {
    if let (Some(predicted), Some(measured)) = pair {
        let side = if below { "below the knee" } else { "above the knee" };
        comparisons.push(Comparison {
            set: format!("serving: {}: {metric} {side}", label.set),
            gpu: label.gpu.to_owned(),
            model: label.model.to_owned(),
            tensor_parallel: label.tensor_parallel,
            part: label.part,
            predicted,
            measured,
        });
    }
}

pub(crate) fn means(played: &[Played]) -> (Option<f64>, Option<f64>) {
    (
        mean(played.iter().map(Played::ttft)),
        mean(played.iter().filter_map(Played::tpot)),
    )
}

/// Compares a log with its replay, level by level.
fn compare_levels(comparisons: &mut Vec<Comparison>, label: &Label, measured: &[Played], replayed: &[Played]) {
    for (measured, replayed) in measured.chunks(LEVEL).zip(replayed.chunks(LEVEL)) {
        let (Some(first), Some(last)) = (measured.first(), measured.last()) else {
            continue;
        };
        // An incomplete level says little.
        if measured.len() < LEVEL / 2 {
            continue;
        }
        let below = last.arrival - first.arrival >= 0.95 * (last.first - first.first);
        let ((ttft, tpot), (ttft_replayed, tpot_replayed)) = (means(measured), means(replayed));
        push(comparisons, label, "mean TTFT", below, (ttft_replayed, ttft));
        push(comparisons, label, "mean TPOT", below, (tpot_replayed, tpot));
    }
}

/// Logs of vLLM 0.11 on one H100. CodeLlama's prompts share 1 024 tokens that the prefix cache holds: they are taken off.
fn blis_requests(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<()> {
    let file = Table::read(&data.join("blis_vllm/otel_requests.parquet"))?;
    let number = |column: &str, row: usize| -> Result<f64> { Ok(file.numbers(column)?[row]) };
    for (experiment, kv, shared) in [
        ("jan21-llama7b-train", 119_008, 0.0),
        ("jan20-codellama-prefill", 44_640, 1024.0),
        ("jan20-codellama-prefill-mbt4096", 44_640, 1024.0),
    ] {
        let mut log = Vec::new();
        let mut model = None;
        for row in (0..file.n_rows()).filter(|&row| file.text("experiment").is_ok_and(|e| e[row] == experiment)) {
            let name = &file.text("model")?[row];
            model = Some((
                name.clone(),
                limited(
                    name,
                    number("max_num_seqs", row)?,
                    number("max_num_batched_tokens", row)?,
                )?,
            ));
            let (arrival, output) = (number("arrival_s", row)?, number("output_tokens", row)?);
            let played = Played {
                arrival,
                first: arrival + number("ttft_s", row)?,
                last: arrival + number("e2e_s", row)?,
                output,
            };
            log.push((played, lengths(number("input_tokens", row)? - shared, output)));
        }
        log.sort_by(|a, b| a.0.arrival.total_cmp(&b.0.arrival));
        let (name, model) = model.with_context(|| format!("found no requests of `{experiment}`"))?;
        let gpu = gpu_by_word(constants, "h100")?;
        let engine = engine_of(constants, "vllm-0.11")?;
        let spec = spec(&model, &gpu, &engine, Interconnect::Nvswitch, 1, kv)?;
        let requests: Vec<(f64, Lengths)> = log.iter().map(|(played, lengths)| (played.arrival, *lengths)).collect();
        let measured: Vec<Played> = log.into_iter().map(|(played, _)| played).collect();
        let label = Label {
            set: "blis_vllm requests",
            gpu: &gpu.gpu_type,
            model: &format!(
                "{name}, {}",
                if experiment.ends_with("prefill") {
                    "budget 64"
                } else {
                    "budget 4096"
                }
            ),
            tensor_parallel: 1,
            part: Part::held_out_if(experiment == "jan20-codellama-prefill"),
        };
        // The first request compiles kernels.
        compare_levels(comparisons, &label, &measured[1..], &open_loop(&spec, &requests)?[1..]);
    }
    Ok(())
}

/// Stages of vLLM 0.15 on H100. At most `n_sys · users_per_sys` users wait at a time, so the stages at 8 and 20 requests/s are one
/// closed loop of theirs; system prompts are in the prefix cache.
fn blis_stages(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<()> {
    let file = Table::read(&data.join("blis_vllm/serving_points.csv"))?;
    for row in 0..file.n_rows() {
        let number = |column: &str| -> Result<f64> { Ok(file.numbers(column)?[row]) };
        let (name, workload) = (&file.text("model")?[row], &file.text("workload")?[row]);
        let model = limited(name, number("max_num_seqs")?, number("max_num_batched_tokens")?)?;
        let tensor_parallel = degree(number("tp")?);
        let gpu = gpu_by_word(constants, "h100")?;
        let engine = engine_of(constants, "vllm-0.11")?;
        let kv = kv_tokens(&model, 80e9, tensor_parallel);
        let spec = spec(&model, &gpu, &engine, Interconnect::Nvswitch, tensor_parallel, kv)?;
        let mix = [lengths(number("question_len")?, number("output_len")?)];
        let rate: Option<f64> = file.text("stage_rates_rps")?[row].parse().ok();
        let played = match rate {
            Some(rate) => {
                let schedule = UnitSchedule::draw(Arrivals::Poisson, &mix, degree(rate * 1200.0) as usize, 1);
                let rate = RequestsPerSecond::new(rate)?;
                let requests: Vec<(f64, Lengths)> =
                    schedule.at_rate(rate).map(|a| (a.at.as_seconds(), a.lengths)).collect();
                open_loop(&spec, &requests)?
            }
            None => closed_loop(&spec, degree(number("n_sys")? * number("users_per_sys")?), &mix, 600.0)?,
        };
        let label = Label {
            set: "blis_vllm stages",
            gpu: &gpu.gpu_type,
            model: &format!("{name}, {workload}"),
            tensor_parallel,
            part: Part::HeldOut,
        };
        let (ttft, tpot) = means(&played);
        let below = rate.is_some();
        push(
            comparisons,
            &label,
            "mean TTFT",
            below,
            (ttft, Some(number("ttft_mean_ms")? / 1e3)),
        );
        push(
            comparisons,
            &label,
            "mean TPOT",
            below,
            (tpot, Some(number("tpot_mean_ms_derived")? / 1e3)),
        );
    }
    Ok(())
}

/// Logs of vLLM 0.19 on consumer GPUs, overloaded on purpose.
fn llmservingsim_requests(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<()> {
    let file = Table::read(&data.join("llmservingsim/vllm_requests.parquet"))?;
    for (word, name, memory) in [
        ("RTX4090", "Llama-3.1-8B", 25.4e9),
        ("RTXPRO6000", "Llama-3.1-8B", 102.6e9),
        ("RTXPRO6000", "Qwen3-30B-A3B-Instruct-2507", 102.6e9),
    ] {
        let mut log = Vec::new();
        let mut limits = (256.0, 2048.0);
        for row in 0..file.n_rows() {
            let number = |column: &str| -> Result<f64> { Ok(file.numbers(column)?[row]) };
            if file.text("gpu")?[row] == word && file.text("model")?[row] == name {
                limits = (number("max_num_seqs")?, number("max_num_batched_tokens")?);
                let played = Played {
                    arrival: number("arrival_s")?,
                    first: number("first_token_s")?,
                    last: number("last_token_s")?,
                    output: number("output_tokens")?,
                };
                log.push((played, lengths(number("input_tokens")?, played.output)));
            }
        }
        log.sort_by(|a, b| a.0.arrival.total_cmp(&b.0.arrival));
        let model = limited(name, limits.0, limits.1)?;
        let gpu = gpu_by_word(constants, word)?;
        let engine = engine_of(constants, "vllm-0.11")?;
        let spec = spec(
            &model,
            &gpu,
            &engine,
            Interconnect::Pcie,
            1,
            kv_tokens(&model, memory, 1),
        )?;
        let requests: Vec<(f64, Lengths)> = log.iter().map(|(played, lengths)| (played.arrival, *lengths)).collect();
        let measured: Vec<Played> = log.into_iter().map(|(played, _)| played).collect();
        let label = Label {
            set: "llmservingsim requests",
            gpu: &gpu.gpu_type,
            model: name,
            tensor_parallel: 1,
            part: Part::HeldOut,
        };
        compare_levels(comparisons, &label, &measured, &open_loop(&spec, &requests)?);
    }
    Ok(())
}

/// Closed loops on TGIS, 2023.
fn llm_pilot(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<()> {
    for series in tgis::series(data, constants)? {
        let engine = engine_of(constants, &format!("tgis-2023-{}", series.word))?;
        for level in &series.levels {
            let label = Label {
                set: if series.padded() {
                    "llm_pilot, padded batches"
                } else {
                    "llm_pilot"
                },
                gpu: &series.gpu.gpu_type,
                model: &series.model.name,
                tensor_parallel: series.tensor_parallel,
                part: series.part(level),
            };
            let (ttft, tpot) = series.play(level, &engine, 120.0)?;
            push(comparisons, &label, "mean TTFT", level.below_knee, (ttft, level.ttft));
            push(comparisons, &label, "mean TPOT", level.below_knee, (tpot, level.tpot));
        }
    }
    Ok(())
}

/// Poisson arrivals on eight A100-40 (pipeline-parallel rows left out). Only the mean lengths are known.
fn llm_k8s(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<()> {
    let file = Table::read(&data.join("llm_k8s/serving_points.csv"))?;
    let model = limited("meta-llama/Llama-3.3-70B-Instruct", 256.0, 2048.0)?;
    let gpu = gpu_by_word(constants, "a100-40")?;
    let engine = engine_of(constants, "vllm-0.11")?;
    let spec = spec(
        &model,
        &gpu,
        &engine,
        Interconnect::Nvswitch,
        8,
        kv_tokens(&model, 40e9, 8),
    )?;
    for row in 0..file.n_rows() {
        let number = |column: &str| -> Result<f64> { Ok(file.numbers(column)?[row]) };
        let rate = number("request_rate")?;
        if degree(number("tp")?) != 8 {
            continue;
        }
        let prompts = number("num_prompts")?;
        let mix = [lengths(
            number("total_input_tokens")? / prompts,
            number("total_output_tokens")? / prompts,
        )];
        let schedule = UnitSchedule::draw(Arrivals::Poisson, &mix, degree(prompts) as usize, 1);
        let requests: Vec<(f64, Lengths)> = if rate.is_finite() {
            schedule
                .at_rate(RequestsPerSecond::new(rate)?)
                .map(|a| (a.at.as_seconds(), a.lengths))
                .collect()
        } else {
            schedule.lengths().iter().map(|lengths| (0.0, *lengths)).collect()
        };
        let label = Label {
            set: "llm_k8s",
            gpu: &gpu.gpu_type,
            model: "Llama-3.3-70B",
            tensor_parallel: 8,
            part: Part::HeldOut,
        };
        let (ttft, tpot) = means(&open_loop(&spec, &requests)?);
        // 200 requests at 16 a second are over before the engine has settled: only the finite lower rates are below the knee.
        let below = rate <= 4.0;
        push(
            comparisons,
            &label,
            "mean TTFT",
            below,
            (ttft, Some(number("mean_ttft_ms")? / 1e3)),
        );
        push(
            comparisons,
            &label,
            "mean TPOT",
            below,
            (tpot, Some(number("mean_tpot_ms")? / 1e3)),
        );
    }
    Ok(())
}

/// Engines that share a GPU by time slicing, each predicted as if it were alone: TPOT at the batch that a request saw when it came.
fn hw_router(data: &Path, constants: &Constants, comparisons: &mut Vec<Comparison>) -> Result<()> {
    let file = Table::read(&data.join("hw_router/requests.parquet"))?;
    let gpu = gpu_by_word(constants, "h100")?;
    let engine = engine_of(constants, "vllm-0.11")?;
    let mut costs = BTreeMap::new();
    for row in 0..file.n_rows() {
        let number = |column: &str| -> Result<f64> { Ok(file.numbers(column)?[row]) };
        let name = &file.text("model_hf")?[row];
        if !costs.contains_key(name) {
            let model = limited(name, 256.0, 8192.0)?;
            costs.insert(
                name.clone(),
                StepCost::new(&model, &gpu, &engine, Interconnect::Nvswitch, 1, 1.0)?,
            );
        }
        let (batch, output) = (number("running_req_count")? + 1.0, number("d_tokens")?);
        let predicted = costs[name].seconds(&work(0.0, 0.0, batch, number("p_tokens")? + output / 2.0));
        if output >= 16.0 {
            comparisons.push(Comparison {
                set: "serving: hw_router: TPOT of a request, neighbours ignored".to_owned(),
                gpu: gpu.gpu_type.clone(),
                model: name.clone(),
                tensor_parallel: 1,
                part: Part::HeldOut,
                predicted,
                measured: number("tpot_s_per_token")?,
            });
        }
    }
    Ok(())
}
