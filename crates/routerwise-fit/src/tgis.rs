//! IBM's TGIS of autumn 2023 (`llm_pilot`): closed loops of 1 to 128 users.
//!
//! TGIS runs new prompts in a batch of their own while the others wait, and does much per prompt in Python. This engine mixes
//! prompts and decoding; what a prompt costs the others there, `host_prompt_seconds` stands for here. The launch floor is the host
//! CPU's: A100 and H100 machines have an entry each.
//!
//! Fitted on the levels below the knee of llama-7b and starcoder at tp 1 and 4. Held out: gpt-neox-20b, every series at tp 2, every
//! level above the knee, and mpt-7b, whose batches are padded (another code path of TGIS).

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use routerwise_simulate::constants::{Constants, EngineConstants, GpuConstants};
use routerwise_types::catalogue::Model;
use routerwise_types::cluster::Interconnect;
use routerwise_types::workload::Lengths;

use crate::held_out::Part;
use crate::iterations::degree;
use crate::known_gpus::gpu_by_word;
use crate::replay::{closed_loop, mean, spec};
use crate::serving::{kv_tokens, lengths, limited, means};
use crate::table::Table;
use routerwise_simulate::optimise::fit_simulated;

/// Simulated time of a loop while fitting: long enough for means, a third of what was measured.
const FIT_SECONDS: f64 = 40.0;

/// A closed loop of some users.
#[derive(Debug)]
pub struct Level {
    users: u32,
    requests: Vec<Lengths>,
    /// Measured mean, seconds.
    pub ttft: Option<f64>,
    /// Measured mean, seconds.
    pub tpot: Option<f64>,
    /// Whether it answers less than 80 % of what the best level of its series does.
    pub below_knee: bool,
}

/// One model on one kind and number of GPUs.
#[derive(Debug)]
pub struct Series {
    /// The model.
    pub model: Model,
    /// The GPU.
    pub gpu: GpuConstants,
    /// The data set's word for it.
    pub word: String,
    /// Tensor-parallel degree.
    pub tensor_parallel: u32,
    /// By number of users.
    pub levels: Vec<Level>,
    kv_tokens: u64,
}

impl Series {
    /// Whether TGIS padded this model's batches.
    #[must_use]
    pub fn padded(&self) -> bool {
        self.model.name.contains("mpt")
    }

    /// Whether a level may be fitted on.
    #[must_use]
    pub fn part(&self, level: &Level) -> Part {
        let other_model = self.model.name.contains("neox") || self.padded();
        Part::held_out_if(other_model || self.tensor_parallel == 2 || !level.below_knee)
    }

    /// Mean TTFT and TPOT of a level in the simulator's engine.
    ///
    /// # Errors
    /// When a request does not fit the engine.
    pub fn play(&self, level: &Level, engine: &EngineConstants, seconds: f64) -> Result<(Option<f64>, Option<f64>)> {
        let links = Interconnect::Nvswitch;
        let spec = spec(
            &self.model,
            &self.gpu,
            engine,
            links,
            self.tensor_parallel,
            self.kv_tokens,
        )?;
        Ok(means(&closed_loop(&spec, level.users, &level.requests, seconds)?))
    }
}

/// Fits one engine per kind of host.
///
/// # Errors
/// When the table cannot be read.
pub fn fit(data: &Path, constants: &Constants) -> Result<Vec<EngineConstants>> {
    let all = series(data, constants)?;
    let mut engines = Vec::new();
    for word in ["a100", "h100"] {
        let fitted: Vec<(&Series, &Level)> = all
            .iter()
            .filter(|series| series.word == word)
            .flat_map(|series| series.levels.iter().map(move |level| (series, level)))
            .filter(|(series, level)| series.part(level) == Part::Fitted)
            .collect();
        let found = fit_simulated(&[3e-4, 1.3, 1e-3, 8e-3, 8e-3, 1e-5], |p| {
            let engine = build(word, p);
            let errors = fitted.iter().flat_map(|(series, level)| {
                // Every request of the fitted series fits the engine: the comparison plays them all and says so.
                let (ttft, tpot) = series.play(level, &engine, FIT_SECONDS).unwrap_or_default();
                [error(ttft, level.ttft), error(tpot, level.tpot)]
            });
            errors.collect()
        });
        engines.push(build(word, &found));
    }
    Ok(engines)
}

fn error(predicted: Option<f64>, measured: Option<f64>) -> f64 {
    predicted
        .zip(measured)
        .map_or(0.0, |(predicted, measured)| (predicted / measured).ln())
}

fn build(word: &str, p: &[f64]) -> EngineConstants {
    EngineConstants {
        engine: format!("tgis-2023-{word}"),
        host_step_seconds: vec![(1, p[2])],
        host_sequence_seconds: p[5],
        host_prompt_seconds: p[4],
        launch_floor_seconds: p[0],
        prefill_factor: p[1],
        request_seconds: p[3],
        source: format!("llm_pilot: closed loops on {word}, TGIS, 2023"),
    }
}

/// All series on A100 and H100 whose requests were published.
///
/// # Errors
/// When the table cannot be read.
pub fn series(data: &Path, constants: &Constants) -> Result<Vec<Series>> {
    let file = Table::read(&data.join("llm_pilot/requests.parquet"))?;
    let (models, gpus, degrees) = (file.text("model")?, file.text("gpu")?, file.numbers("n_gpus")?);
    let (users, starts) = (file.numbers("users")?, file.numbers("start_s")?);
    let mut rows: BTreeMap<(&str, &str, u32), BTreeMap<u32, Vec<usize>>> = BTreeMap::new();
    for row in 0..file.n_rows() {
        let levels = rows
            .entry((&models[row], &gpus[row], degree(degrees[row])))
            .or_default();
        levels.entry(degree(users[row])).or_default().push(row);
    }
    let mut all = Vec::new();
    for ((name, word, tensor_parallel), levels) in rows {
        let model = limited(name, 256.0, 16384.0)?;
        let memory = if word == "a100" { 40e9 } else { 80e9 };
        let gpu = gpu_by_word(constants, if word == "a100" { "a100-40" } else { word })?;
        let best = levels.values().map(Vec::len).max().unwrap_or(0);
        let level = |(users, mut rows): (u32, Vec<usize>)| -> Result<Level> {
            rows.sort_by(|&a, &b| starts[a].total_cmp(&starts[b]));
            level(&file, users, &rows, 10 * rows.len() < 8 * best)
        };
        all.push(Series {
            kv_tokens: kv_tokens(&model, memory, tensor_parallel),
            model,
            gpu,
            word: word.to_owned(),
            tensor_parallel,
            levels: levels.into_iter().map(level).collect::<Result<_>>()?,
        });
    }
    Ok(all)
}

fn level(file: &Table, users: u32, rows: &[usize], below_knee: bool) -> Result<Level> {
    let (inputs, outputs) = (file.numbers("input_tokens")?, file.numbers("output_tokens")?);
    let (ttfts, itls) = (file.numbers("ttft_ms")?, file.numbers("itl_mean_ms")?);
    let between = rows.iter().map(|&row| itls[row] / 1e3).filter(|itl| !itl.is_nan());
    Ok(Level {
        users,
        requests: rows.iter().map(|&row| lengths(inputs[row], outputs[row])).collect(),
        ttft: mean(rows.iter().map(|&row| ttfts[row] / 1e3)),
        tpot: mean(between),
        below_knee,
    })
}
