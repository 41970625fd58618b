//! Measured iterations, and what the engine model says of them.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use routerwise_simulate::constants::{EngineConstants, GpuConstants};
use routerwise_simulate::cost::{StepCost, StepWork};
use routerwise_types::catalogue::Model;
use routerwise_types::cluster::Interconnect;

use crate::error_stats::Comparison;
use crate::held_out::Part;
use crate::known_models::{model, unlimited};
use crate::table::Table;

/// A model at a tensor-parallel degree and a share.
#[derive(Clone, Debug)]
pub struct Case {
    /// The model.
    pub model: Model,
    /// Tensor-parallel degree.
    pub tensor_parallel: u32,
    /// Share of the GPU.
    pub share: f64,
}

/// One measured iteration.
#[derive(Clone, Debug)]
pub struct Iteration {
    /// Index into [`Iterations::cases`].
    pub case_ix: usize,
    /// What it processed.
    pub work: StepWork,
    /// How long it took.
    pub seconds: f64,
    /// Whether it may be fitted on.
    pub part: Part,
}

/// Measured iterations of one GPU type.
#[derive(Clone, Debug)]
pub struct Iterations {
    /// Links between the GPUs.
    pub interconnect: Interconnect,
    /// The cases.
    pub cases: Vec<Case>,
    /// The iterations.
    pub rows: Vec<Iteration>,
}

impl Iterations {
    /// None yet.
    #[must_use]
    pub fn new(interconnect: Interconnect) -> Self {
        let (cases, rows) = (Vec::new(), Vec::new());
        Self {
            interconnect,
            cases,
            rows,
        }
    }

    /// The index of a case, added where it is new.
    pub fn case_ix(&mut self, model: &Model, tensor_parallel: u32, share: f64) -> usize {
        let same = |case: &Case| {
            case.model.name == model.name
                && case.tensor_parallel == tensor_parallel
                && (case.share - share).abs() < 1e-9
        };
        self.cases.iter().position(same).unwrap_or_else(|| {
            let model = model.clone();
            self.cases.push(Case {
                model,
                tensor_parallel,
                share,
            });
            self.cases.len() - 1
        })
    }

    /// The iterations that the constants may follow.
    #[must_use]
    pub fn fitted_part(&self) -> Self {
        let rows = self
            .rows
            .iter()
            .filter(|row| row.part == Part::Fitted)
            .cloned()
            .collect();
        Self { rows, ..self.clone() }
    }

    /// Predicted seconds of every iteration.
    ///
    /// # Panics
    /// When `gpu` lacks the links of one of the cases.
    #[must_use]
    pub fn predicted(&self, gpu: &GpuConstants, engine: &EngineConstants) -> Vec<f64> {
        let cost = |case: &Case| {
            StepCost::new(
                &case.model,
                gpu,
                engine,
                self.interconnect,
                case.tensor_parallel,
                case.share,
            )
            .expect("cases have an architecture and their links are fitted before")
        };
        let costs: Vec<StepCost> = self.cases.iter().map(cost).collect();
        self.rows
            .iter()
            .map(|row| costs[row.case_ix].seconds(&row.work))
            .collect()
    }

    /// `ln(predicted / measured)` of every iteration, for the optimiser.
    #[must_use]
    pub fn log_errors(&self, gpu: &GpuConstants, engine: &EngineConstants) -> Vec<f64> {
        let predicted = self.predicted(gpu, engine);
        predicted
            .iter()
            .zip(&self.rows)
            .map(|(predicted, row)| (predicted / row.seconds).ln())
            .collect()
    }

    /// Predictions beside measurements.
    #[must_use]
    pub fn comparisons(&self, set: &str, gpu: &GpuConstants, engine: &EngineConstants) -> Vec<Comparison> {
        let compare = |(row, predicted): (&Iteration, f64)| Comparison {
            set: set.to_owned(),
            gpu: gpu.gpu_type.clone(),
            model: self.cases[row.case_ix].model.name.clone(),
            tensor_parallel: self.cases[row.case_ix].tensor_parallel,
            part: row.part,
            predicted,
            measured: row.seconds,
        };
        self.rows.iter().zip(self.predicted(gpu, engine)).map(compare).collect()
    }
}

/// An engine without a host: iterations that are sums of operators have none.
#[must_use]
pub fn no_engine() -> EngineConstants {
    EngineConstants {
        engine: "operators only".to_owned(),
        host_step_seconds: vec![(1, 0.0)],
        host_sequence_seconds: 0.0,
        host_prompt_seconds: 0.0,
        launch_floor_seconds: 0.0,
        prefill_factor: 1.0,
        request_seconds: 0.0,
        source: "no host time".to_owned(),
    }
}

/// Work of an iteration that prefills one prompt chunk and decodes a batch of equal contexts.
#[must_use]
pub fn work(chunk: f64, cached: f64, decode_sequences: f64, context: f64) -> StepWork {
    StepWork {
        prefill_tokens: chunk,
        prefill_pairs: chunk * cached + chunk * (chunk + 1.0) / 2.0,
        prefill_cached_tokens: cached,
        prefill_sequences: if chunk > 0.0 { 1.0 } else { 0.0 },
        decode_sequences,
        decode_cached_tokens: decode_sequences * context,
    }
}

/// Sums of vLLM's operators (`aiconfigurator`) for whole iterations; held out: every iteration of CodeLlama-34b.
///
/// # Errors
/// When the table cannot be read.
pub fn composed(data: &Path, gpu: &str, interconnect: Interconnect) -> Result<Iterations> {
    let table = Table::read(&data.join("fits/composed_iterations.parquet"))?;
    let (gpus, models, degrees) = (table.text("gpu")?, table.text("model")?, table.numbers("tp")?);
    let (chunks, batches) = (table.numbers("prefill_tokens")?, table.numbers("decode_batch")?);
    let (contexts, millis) = (table.numbers("decode_ctx_each")?, table.numbers("gpu_ms")?);
    let mut iterations = Iterations::new(interconnect);
    for row in (0..table.n_rows()).filter(|&row| gpus[row] == gpu) {
        let name = &models[row];
        let model = model(name, 2.0, unlimited("")).with_context(|| format!("unknown model `{name}`"))?;
        let case_ix = iterations.case_ix(&model, degree(degrees[row]), 1.0);
        iterations.rows.push(Iteration {
            case_ix,
            work: work(chunks[row], 0.0, batches[row], contexts[row]),
            seconds: millis[row] / 1e3,
            part: Part::held_out_if(name.contains("CodeLlama-34b")),
        });
    }
    Ok(iterations)
}

/// Sums of operators that `llmservingsim` measured, tp 1. Iterations that only decode or only prefill are fitted, one in five
/// held out; those that mix are held out: their attention kernel is timed at mixes that a scheduler rarely makes.
///
/// # Errors
/// When the table cannot be read.
pub fn llmservingsim(data: &Path, gpu: &str, names: &[&str]) -> Result<Iterations> {
    let table = Table::read(&data.join("llmservingsim/ops.parquet"))?;
    let mut iterations = Iterations::new(Interconnect::Pcie);
    for name in names {
        let model = model(name, 2.0, unlimited("")).with_context(|| format!("unknown model `{name}`"))?;
        let layers = model.architecture.as_ref().map_or(0.0, |a| f64::from(a.n_layers));
        let ours = |row: usize| -> Result<bool> {
            let same = table.text("gpu")?[row] == gpu && table.text("model")?[row] == *name;
            Ok(same && degree(table.numbers("tp")?[row]) == 1)
        };
        let mut per_layer = Curve::default();
        let mut per_step = Curve::default();
        let mut per_sequence = Curve::default();
        let mut attention = Vec::new();
        for row in 0..table.n_rows() {
            if !ours(row)? {
                continue;
            }
            let micros = table.numbers("time_us")?[row];
            let tokens = table.numbers("tokens")?[row];
            match (table.text("table")?[row].as_str(), table.text("layer")?[row].as_str()) {
                ("dense", "embedding" | "final_layernorm") => per_step.add(tokens, micros),
                // Two norms in a layer.
                ("dense", "layernorm") => per_layer.add(tokens, 2.0 * micros),
                ("dense", _) => per_layer.add(tokens, micros),
                ("per_sequence", _) => per_sequence.add(table.numbers("sequences")?[row], micros),
                _ => attention.push((row, micros)),
            }
        }
        let case_ix = iterations.case_ix(&model, 1, 1.0);
        for (row, attention_micros) in attention {
            let (chunk, cached) = (table.numbers("prefill_chunk")?[row], table.numbers("kv_prefill")?[row]);
            let (batch, context) = (table.numbers("n_decode")?[row], table.numbers("kv_decode")?[row]);
            let work = work(chunk, cached, batch, context);
            let tokens = chunk + batch;
            let sequences = work.prefill_sequences + batch;
            let micros =
                layers * (per_layer.at(tokens) + attention_micros) + per_step.at(tokens) + per_sequence.at(sequences);
            let key = format!("{gpu}/{name}/{chunk}/{cached}/{batch}/{context}");
            let mixed = chunk > 0.0 && batch > 0.0;
            let part = Part::held_out_if(mixed || Part::by_hash(&key, 5) == Part::HeldOut);
            iterations.rows.push(Iteration {
                case_ix,
                work,
                seconds: micros / 1e6,
                part,
            });
        }
    }
    Ok(iterations)
}

/// A sum of operator times over a grid, linear between its points.
#[derive(Debug, Default)]
struct Curve {
    points: BTreeMap<u32, f64>,
}

impl Curve {
    fn add(&mut self, at: f64, micros: f64) {
        *self.points.entry(degree(at)).or_default() += micros;
    }

    fn at(&self, at: f64) -> f64 {
        let key = degree(at);
        let below = self.points.range(..=key).next_back();
        let above = self.points.range(key..).next();
        match (below, above) {
            (Some((&x0, &y0)), Some((&x1, &y1))) if x1 > x0 => {
                y0 + (y1 - y0) * (at - f64::from(x0)) / f64::from(x1 - x0)
            }
            (Some((&x0, &y0)), None) => y0 * at / f64::from(x0),
            (_, Some((_, &y))) => y,
            (None, None) => 0.0,
        }
    }
}

/// A small count that the tables keep as a float.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are small and positive"
)]
pub fn degree(value: f64) -> u32 {
    value.round() as u32
}
