//! Samples of each engine build.

use std::path::Path;

use anyhow::{Context, Result};
use routerwise_simulate::constants::{Constants, EngineConstants, GpuConstants};
use routerwise_simulate::cost::{StepCost, StepWork};
use routerwise_types::catalogue::Model;
use routerwise_types::cluster::Interconnect;

use super::Sample;
use crate::error_stats::Comparison;
use crate::held_out::Part;
use crate::iterations::{degree, work};
use crate::known_gpus::gpu_by_word;
use crate::known_models::{model, unlimited};
use crate::table::Table;

/// Tokens of the prompts of blis' CodeLlama experiments that every request shares; prefix caching was on.
const SHARED_PREFIX: f64 = 1024.0;

/// A model on GPUs: what a prediction needs besides the engine.
#[derive(Clone)]
struct Place {
    model: Model,
    gpu: GpuConstants,
    interconnect: Interconnect,
    tensor_parallel: u32,
}

impl Place {
    fn cost(&self, engine: &EngineConstants) -> StepCost {
        StepCost::new(
            &self.model,
            &self.gpu,
            engine,
            self.interconnect,
            self.tensor_parallel,
            1.0,
        )
        .expect("known models have an architecture, and every GPU has every link")
    }

    fn sample(
        &self,
        set: &str,
        part: Part,
        measured: f64,
        predict: impl Fn(&StepCost, &EngineConstants) -> f64 + 'static,
    ) -> Sample {
        let place = self.clone();
        let comparison = Comparison {
            set: set.to_owned(),
            gpu: self.gpu.gpu_type.clone(),
            model: self.model.name.clone(),
            tensor_parallel: self.tensor_parallel,
            part,
            predicted: f64::NAN,
            measured,
        };
        let predict = move |engine: &EngineConstants| predict(&place.cost(engine), engine);
        Sample {
            comparison,
            predict: Box::new(predict),
        }
    }
}

fn known(name: &str, bytes_per_weight: f64) -> Result<Model> {
    model(name, bytes_per_weight, unlimited("")).with_context(|| format!("unknown model `{name}`"))
}

/// Prefill of one prompt in chunks of at most `budget` tokens, of which `cached` come from the prefix cache.
fn prefill_seconds(cost: &StepCost, tokens: f64, cached: f64, budget: f64) -> f64 {
    let mut done = cached;
    let mut seconds = 0.0;
    while done < tokens {
        let chunk = (tokens - done).min(budget);
        let mut step = work(chunk, done, 0.0, 0.0);
        step.prefill_sequences = if done + chunk < tokens { 0.0 } else { 1.0 };
        seconds += cost.seconds(&step);
        done += chunk;
    }
    seconds
}

/// Mean decode step while answers of `output` tokens grow behind prompts of `input`.
fn decode_seconds(cost: &StepCost, batch: f64, input: f64, output: f64) -> f64 {
    cost.seconds(&work(0.0, 0.0, batch, input + output / 2.0))
}

/// Requests of `blis_vllm` that met no other: time from schedule to first token, and per token after it; and the median time that
/// a request takes to reach the scheduler. Held out: the experiment with a token budget of 64.
pub(super) fn blis_alone(data: &Path, constants: &Constants) -> Result<(Vec<Sample>, f64)> {
    let file = Table::read(&data.join("blis_vllm/otel_requests.parquet"))?;
    let number = |column: &str, row: usize| -> Result<f64> { Ok(file.numbers(column)?[row]) };
    let mut samples = Vec::new();
    let mut front_end = Vec::new();
    let mut rows: Vec<usize> = (0..file.n_rows()).collect();
    let (experiments, arrivals) = (file.text("experiment")?, file.numbers("arrival_s")?);
    rows.sort_by(|&a, &b| {
        experiments[a]
            .cmp(&experiments[b])
            .then(arrivals[a].total_cmp(&arrivals[b]))
    });
    let end = |row: usize| -> Result<f64> { Ok(arrivals[row] + number("e2e_s", row)?) };
    for three in rows.windows(3) {
        let &[before, row, after] = three else { continue };
        // The first of an experiment warms the engine up and is never in the middle of three.
        let same = experiments[before] == experiments[row] && experiments[row] == experiments[after];
        if !same || end(before)? > arrivals[row] || end(row)? > arrivals[after] {
            continue;
        }
        let experiment = &experiments[row];
        let place = Place {
            model: known(&file.text("model")?[row], 2.0)?,
            gpu: gpu_by_word(constants, "h100")?,
            interconnect: Interconnect::Nvswitch,
            tensor_parallel: 1,
        };
        let part = Part::held_out_if(experiment == "jan20-codellama-prefill");
        let cached = if experiment.contains("codellama") {
            SHARED_PREFIX
        } else {
            0.0
        };
        let (input, output) = (number("input_tokens", row)?, number("output_tokens", row)?);
        let budget = number("max_num_batched_tokens", row)?;
        let prefill = number("prefill_s", row)?;
        samples.push(place.sample(
            "engine: vllm-0.11: prefill of a request alone",
            part,
            prefill,
            move |cost, _| prefill_seconds(cost, input, cached, budget),
        ));
        if output >= 10.0 {
            let tpot = number("decode_s", row)? / (output - 1.0);
            samples.push(place.sample(
                "engine: vllm-0.11: TPOT of a request alone",
                part,
                tpot,
                move |cost, _| decode_seconds(cost, 1.0, input, output),
            ));
        }
        if part == Part::Fitted {
            front_end.push(number("ttft_s", row)? - number("queue_s", row)? - prefill);
        }
    }
    front_end.sort_by(f64::total_cmp);
    let median = front_end
        .get(front_end.len() / 2)
        .copied()
        .context("found no request alone")?;
    Ok((samples, median))
}

/// TPOT of closed loops of `silicon_points` (vLLM, dense models, H100 and H200), in the steady state: a decode step of all users,
/// and during an answer every other user prefills once. Where prompts are more than eight answers long most users are in their
/// prefill and the formula does not hold: left out. Held out: one (model, GPU, tp, lengths, users) in three.
pub(super) fn silicon_loops(data: &Path, constants: &Constants) -> Result<Vec<Sample>> {
    let file = Table::read(&data.join("silicon_points/points.parquet"))?;
    let mut samples = Vec::new();
    for row in 0..file.n_rows() {
        let number = |column: &str| -> Result<f64> { Ok(file.numbers(column)?[row]) };
        let (name, system) = (&file.text("model_path")?[row], &file.text("system")?[row]);
        let tensor_parallel = degree(number("tp_size")?);
        let (input, output, users) = (number("isl")?, number("osl")?, number("concurrency")?);
        let tpot = number("tpot_ms")? / 1e3;
        let ours = file.text("backend")?[row] == "vllm"
            && ["h100_sxm", "h200_sxm"].contains(&system.as_str())
            && tensor_parallel > 1
            && tensor_parallel <= 8
            && !number("tpot_ms")?.is_nan();
        let Some(dense) = model(name, 2.0, unlimited("")).filter(|_| ours) else {
            continue;
        };
        let fp8 = file.text("gemm_quant_mode")?[row].starts_with("fp8");
        let model = known(name, if fp8 { 1.0 } else { 2.0 })?;
        let gpu = gpu_by_word(constants, system)?;
        let memory = if system == "h200_sxm" { 141e9 } else { 80e9 };
        // With more users than the KV cache holds, requests wait and preempt: that is for the simulator.
        let architecture = dense.architecture.context("known models have an architecture")?;
        let free = 0.9 * memory * f64::from(tensor_parallel) - model.weights.as_f64();
        let full = users * (input + output) * architecture.kv_bytes_per_token(2.0) > free;
        if full || input > 8.0 * output || architecture.experts.is_some() {
            continue;
        }
        let key = format!("{name}/{system}/{tensor_parallel}/{input}/{output}/{users}");
        let place = Place {
            model,
            gpu,
            interconnect: Interconnect::Nvswitch,
            tensor_parallel,
        };
        samples.push(place.sample(
            "engine: vllm-0.11: TPOT of a closed loop",
            Part::by_hash(&key, 3),
            tpot,
            move |cost, _| {
                let step = decode_seconds(cost, users, input, output);
                let alone = cost.seconds(&work(0.0, 0.0, 1.0, input));
                let prefill = prefill_seconds(cost, input, 0.0, 8192.0) - alone;
                step + (users - 1.0) * prefill.max(0.0) / output
            },
        ));
    }
    Ok(samples)
}

/// Batches of equal requests, input as long as output. Held out: Qwen2-7B and Mixtral.
pub(super) fn argonne_batches(data: &Path, constants: &Constants) -> Result<Vec<Sample>> {
    let file = Table::read(&data.join("argonne_bench/throughput.parquet"))?;
    let mut samples = Vec::new();
    for row in 0..file.n_rows() {
        let (name, word) = (&file.text("model")?[row], &file.text("gpu")?[row]);
        let Some(model) = model(name, 2.0, unlimited("")) else {
            continue;
        };
        if file.text("framework")?[row] != "vLLM" || word.contains("GH200") {
            continue;
        }
        let tensor_parallel = degree(file.numbers("n_gpus")?[row]);
        let (length, batch) = (file.numbers("in_out_len")?[row], file.numbers("batch_size")?[row]);
        let memory = if word.contains("A100") { 40e9 } else { 80e9 };
        let kv = model.architecture.as_ref().map_or(0.0, |a| a.kv_bytes_per_token(2.0));
        let free = 0.9 * memory * f64::from(tensor_parallel) - model.weights.as_f64();
        // Batches that the KV cache cannot hold are preempted, which a sum of steps does not show.
        if batch * 2.0 * length * kv > free {
            continue;
        }
        let part = Part::held_out_if(name.contains("Qwen2-7B") || name.contains("Mixtral"));
        let gpu = gpu_by_word(constants, word)?;
        let place = Place {
            model,
            gpu,
            interconnect: Interconnect::Nvswitch,
            tensor_parallel,
        };
        let measured = file.numbers("latency_s")?[row];
        samples.push(
            place.sample("engine: vllm-0.6: batch latency", part, measured, move |cost, _| {
                let tokens = batch * length;
                let prefill = StepWork {
                    prefill_tokens: tokens,
                    prefill_pairs: tokens * (length + 1.0) / 2.0,
                    prefill_sequences: batch,
                    ..StepWork::default()
                };
                cost.seconds(&prefill) + (length - 1.0) * decode_seconds(cost, batch, length, length)
            }),
        );
    }
    Ok(samples)
}

/// Steps of `muxserve_mps` on whole GPUs. Held out: one (model, tp, batch, length) in four.
pub(super) fn muxserve_steps(data: &Path, constants: &Constants) -> Result<Vec<Sample>> {
    let file = Table::read(&data.join("muxserve_mps/profile.parquet"))?;
    let mut samples = Vec::new();
    for row in 0..file.n_rows() {
        if degree(file.numbers("mps_sm_pct")?[row]) != 100 {
            continue;
        }
        let name = &file.text("model")?[row];
        let (batch, length) = (file.numbers("batch_size")?[row], file.numbers("seq_len")?[row]);
        let tensor_parallel = degree(file.numbers("tp")?[row]);
        let part = Part::by_hash(&format!("{name}/{tensor_parallel}/{batch}/{length}"), 4);
        let gpu = gpu_by_word(constants, "a100-80")?;
        let place = Place {
            model: known(name, 2.0)?,
            gpu,
            interconnect: Interconnect::Nvswitch,
            tensor_parallel,
        };
        let (prefill, decode) = (file.numbers("prefill_ms")?[row], file.numbers("decode_ms")?[row]);
        if !prefill.is_nan() {
            samples.push(place.sample(
                "engine: vllm-2023-eager: prefill step",
                part,
                prefill / 1e3,
                move |cost, _| {
                    let tokens = batch * length;
                    cost.seconds(&StepWork {
                        prefill_tokens: tokens,
                        prefill_pairs: tokens * (length + 1.0) / 2.0,
                        prefill_sequences: batch,
                        ..StepWork::default()
                    })
                },
            ));
        }
        if !decode.is_nan() {
            samples.push(place.sample(
                "engine: vllm-2023-eager: decode step",
                part,
                decode / 1e3,
                move |cost, _| cost.seconds(&work(0.0, 0.0, batch, length)),
            ));
        }
    }
    Ok(samples)
}

/// First token and decode step of `splitwise` (another eager engine of 2023): all held out.
pub(super) fn splitwise_steps(data: &Path, constants: &Constants) -> Result<Vec<Sample>> {
    let file = Table::read(&data.join("splitwise/perf_model.parquet"))?;
    let mut samples = Vec::new();
    for row in 0..file.n_rows() {
        let (name, word) = (&file.text("model")?[row], &file.text("hardware")?[row]);
        if word.ends_with("pcap") {
            continue;
        }
        let number = |column: &str| -> Result<f64> { Ok(file.numbers(column)?[row]) };
        let tensor_parallel = degree(number("tensor_parallel")?);
        let (prompt, batch, output) = (number("prompt_size")?, number("batch_size")?, number("token_size")?);
        let gpu = gpu_by_word(constants, word)?;
        let place = Place {
            model: known(name, 2.0)?,
            gpu,
            interconnect: Interconnect::Nvswitch,
            tensor_parallel,
        };
        let (first, step) = (number("prompt_time_ms")?, number("token_time_ms")?);
        if !first.is_nan() {
            samples.push(place.sample(
                "engine: vllm-2023-eager: splitwise first token",
                Part::HeldOut,
                first / 1e3,
                move |cost, _| {
                    let tokens = batch * prompt;
                    cost.seconds(&StepWork {
                        prefill_tokens: tokens,
                        prefill_pairs: tokens * (prompt + 1.0) / 2.0,
                        prefill_sequences: batch,
                        ..StepWork::default()
                    })
                },
            ));
        }
        if !step.is_nan() {
            samples.push(place.sample(
                "engine: vllm-2023-eager: splitwise decode step",
                Part::HeldOut,
                step / 1e3,
                move |cost, _| decode_seconds(cost, batch, prompt, output),
            ));
        }
    }
    Ok(samples)
}
