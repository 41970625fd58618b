//! `models.toml`: the models that may run, and how.

mod degrees;
mod engine;

use std::ops::Range;

use routerwise_types::catalogue::{Architecture, Model, ModelMemory};
use routerwise_types::cluster::Cluster;
use routerwise_types::{Bytes, GpuShare};

use crate::catalogue::{ArchitectureEntry, Catalogue, architecture};
use crate::defaults;
use crate::quantity::{MEMORY, SHARE, whole};
use crate::text::{Document, Table, Value, nearest, quoted};

/// Bytes per number of each way to store it.
const DTYPES: [(&str, f64); 6] = [
    ("bf16", 2.0),
    ("fp16", 2.0),
    ("fp32", 4.0),
    ("fp8", 1.0),
    ("int8", 1.0),
    ("int4", 0.5),
];

/// What the file says.
#[derive(Debug)]
pub(crate) struct Models {
    pub(crate) models: Vec<Model>,
    /// For each model, its column in the scores.
    pub(crate) score_columns: Vec<String>,
    /// For each model, where it is declared.
    pub(crate) spans: Vec<Range<usize>>,
    /// Whether prompts with a missing score are left out.
    pub(crate) drop_null_rows: bool,
}

struct Entry {
    model: Model,
    score_column: String,
    span: Range<usize>,
}

/// Reads the models; `None` when anything in them is wrong. Without a cluster (because its file is wrong) what depends on the
/// GPUs is not checked.
pub(crate) fn read(document: &Document, catalogue: &Catalogue, cluster: Option<&Cluster>) -> Option<Models> {
    let mut root = document.root()?;
    let drop_null_rows = root.or_default("drop-null-rows", &defaults::DROP_NULL_ROWS, Value::boolean);
    let mut found = Models {
        models: Vec::new(),
        score_columns: Vec::new(),
        spans: Vec::new(),
        drop_null_rows: drop_null_rows.unwrap_or_default(),
    };
    let entries = root
        .require(
            "model",
            "[{ name = \"llama-3.1-8b\", architecture = \"llama-3.1-8b\" }]",
        )
        .and_then(Value::list);
    for value in entries.unwrap_or_default() {
        let Some(entry) = value.table().and_then(|table| entry(table, catalogue, cluster)) else {
            continue;
        };
        if found.models.iter().any(|model| model.name == entry.model.name) {
            let problem = document.problem(format!("two models are named `{}`", entry.model.name));
            let problem = problem.help("rename one of them; `scores = \"…\"` lets both read one column");
            document.note(entry.span.clone(), "the second one", problem);
        }
        found.models.push(entry.model);
        found.score_columns.push(entry.score_column);
        found.spans.push(entry.span);
    }
    root.finish();
    (!document.has_errors()).then_some(found)
}

fn entry(mut table: Table<'_>, catalogue: &Catalogue, cluster: Option<&Cluster>) -> Option<Entry> {
    let span = table.span();
    let name = table.name("model");
    let known = known_architecture(&mut table, catalogue);
    let (architecture, context) = known.clone().flatten().unzip();
    let bytes_per_weight = dtype(&mut table, "dtype");
    let bytes_per_kv = dtype(&mut table, "kv-dtype");
    let weights = weights(&mut table, known.is_some(), architecture.as_ref(), bytes_per_weight);
    let overhead_per_shard = overhead(&mut table);
    let kv_per_token = match (&architecture, bytes_per_kv) {
        (Some(architecture), Some(bytes)) => Some(architecture.kv_bytes_per_token(bytes)),
        _ => None,
    };
    let kv_reserve = engine::kv_reserve(&mut table, known.is_some(), kv_per_token);
    let engine = engine::read(&mut table, context.flatten(), kv_reserve, kv_per_token);
    let shares = shares(&mut table);
    let max_replicas = table.or_default("max-replicas", &defaults::MAX_REPLICAS, |value| {
        value.integer(1..=10_000)
    });
    let may_be_off = table.or_default("may-be-off", &defaults::MAY_BE_OFF, Value::boolean);
    let score_column = table.optional("scores", Value::string);
    let memory = match (weights, kv_reserve, overhead_per_shard) {
        (Some(weights), Some(kv_reserve), Some(overhead_per_shard)) => Some(ModelMemory {
            weights,
            kv_reserve,
            overhead_per_shard,
        }),
        _ => None,
    };
    let tensor_parallel = degrees::read(&mut table, architecture.as_ref(), memory, cluster);
    table.finish();
    let memory = memory?;
    let name = name?;
    Some(Entry {
        score_column: score_column?.unwrap_or_else(|| name.clone()),
        model: Model {
            name,
            architecture,
            weights: memory.weights,
            bytes_per_weight: bytes_per_weight?,
            bytes_per_kv: bytes_per_kv?,
            tensor_parallel: tensor_parallel?,
            shares: shares?,
            max_replicas: max_replicas?,
            may_be_off: may_be_off?,
            kv_reserve: memory.kv_reserve,
            overhead_per_shard: memory.overhead_per_shard,
            engine: engine?,
        },
        span,
    })
}

fn overhead(table: &mut Table<'_>) -> Option<Bytes> {
    match table.take("overhead") {
        Some(value) => value.quantity(&MEMORY).map(Bytes::ceil),
        None => {
            table.put_in_force("overhead", defaults::OVERHEAD.value.to_string(), defaults::OVERHEAD.why);
            Some(defaults::OVERHEAD.value)
        }
    }
}

/// The architecture and its context, from the catalogue or written out; `Some(None)` where the file gives weights alone.
fn known_architecture(table: &mut Table<'_>, catalogue: &Catalogue) -> Option<Option<(Architecture, Option<u32>)>> {
    let Some(value) = table.take("architecture") else {
        return Some(None);
    };
    if value.is_table() {
        let mut numbers = value.table()?;
        let read = architecture(&mut numbers);
        numbers.finish();
        return Some(Some((read?, None)));
    }
    let name = value.string()?;
    let Some(ArchitectureEntry {
        architecture, context, ..
    }) = catalogue.architectures.get(&name)
    else {
        let names = catalogue.architectures.keys().map(String::as_str);
        let nearest =
            nearest(&name, names.clone()).map_or(String::new(), |nearest| format!("did you mean `{nearest}`? "));
        return value.refuse(
            format!("no architecture is named `{name}`"),
            format!(
                "{nearest}known: {}; others can be written as `[model.architecture]`",
                quoted(names)
            ),
        );
    };
    Some(Some((architecture.clone(), Some(*context))))
}

fn dtype(table: &mut Table<'_>, key: &'static str) -> Option<f64> {
    match table.take(key) {
        Some(value) => value.choice(&DTYPES),
        None => {
            table.put_in_force(key, defaults::DTYPE.value.into(), defaults::DTYPE.why);
            Some(2.0)
        }
    }
}

/// As written, or counted from the architecture.
fn weights(
    table: &mut Table<'_>,
    architecture_is_right: bool,
    architecture: Option<&Architecture>,
    bytes_per_weight: Option<f64>,
) -> Option<Bytes> {
    if let Some(value) = table.take("weights") {
        return value.quantity(&MEMORY).map(Bytes::ceil);
    }
    if architecture.is_none() && architecture_is_right {
        let problem = table
            .problem(format!("the {} has neither `architecture` nor `weights`", table.what()))
            .help("add `architecture = \"llama-3.1-8b\"`, or `weights = \"140 GB\"` to plan it from profiles alone");
        table.note(problem);
    }
    Some(Bytes::ceil(architecture?.total_params() * bytes_per_weight?))
}

/// A list of shares, or all multiples of a step up to the whole GPU.
fn shares(table: &mut Table<'_>) -> Option<Vec<GpuShare>> {
    let list = table.take("shares");
    let step = table.take("share-step");
    if let (Some(_), Some(step)) = (&list, &step) {
        return step.refuse(
            format!("the {} has both `shares` and `share-step`", step.what()),
            "keep one of them",
        );
    }
    if let Some(list) = list {
        let list = list.list()?;
        let read: Vec<Option<GpuShare>> = list.iter().map(|value| share(value.quantity(&SHARE)?)).collect();
        let mut shares = read.into_iter().collect::<Option<Vec<GpuShare>>>()?;
        shares.sort_by(|a, b| a.value().total_cmp(&b.value()));
        shares.dedup();
        return Some(shares);
    }
    let step = match step {
        Some(value) => {
            let step = value.quantity(&SHARE)?;
            if step < 0.01 {
                return value.refuse(
                    "a step below 1 % of a GPU is finer than MPS can divide",
                    "write at least \"1 %\"",
                );
            }
            step
        }
        None => {
            table.put_in_force("share-step", "10 %".into(), defaults::SHARE_STEP.why);
            defaults::SHARE_STEP.value
        }
    };
    let n_steps = whole(1.0 / step + 1e-9);
    (1..=n_steps).map(|n| share((f64::from(n) * step).min(1.0))).collect()
}

/// Rounded to a hundredth of a per cent, so that a share is the same number however it was written: 7 × 10 %, 70 % or 0.7.
fn share(value: f64) -> Option<GpuShare> {
    GpuShare::new((value * 1e4).round() / 1e4).ok()
}
