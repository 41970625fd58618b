//! The GPUs and model architectures that ship with the binary, each with its source. Files of a scenario may override them.

use std::collections::BTreeMap;
use std::path::Path;

use routerwise_types::Bytes;
use routerwise_types::catalogue::{Architecture, Experts};
use routerwise_types::cluster::{GpuType, Interconnect};

use crate::cluster::gpu_entry;
use crate::quantity::PARAMETERS;
use crate::text::{Document, Table, Value};

const GPUS: &str = include_str!("../catalogue/gpus.toml");
const MODELS: &str = include_str!("../catalogue/models.toml");

/// What is known without a scenario.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// GPU types by name.
    pub gpus: BTreeMap<String, GpuEntry>,
    /// Model architectures by name.
    pub architectures: BTreeMap<String, ArchitectureEntry>,
}

/// A GPU type, before it is known how much of its memory may be used.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuEntry {
    /// Name.
    pub name: String,
    /// Memory that the driver reports.
    pub memory: Bytes,
    /// Peak dense bf16 (or fp16) tensor throughput, FLOP/s.
    pub peak_flops: f64,
    /// Peak memory bandwidth, bytes/s.
    pub peak_bandwidth: f64,
    /// How such GPUs are usually linked.
    pub interconnect: Interconnect,
    /// Price of one GPU per hour.
    pub price_per_hour: Option<f64>,
    /// Where the numbers come from.
    pub source: String,
}

/// A model architecture.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchitectureEntry {
    /// Its numbers.
    pub architecture: Architecture,
    /// Longest context that it was trained for, in tokens.
    pub context: u32,
    /// Parameters that its makers publish.
    pub published_params: f64,
    /// Where the numbers come from.
    pub source: String,
}

impl Catalogue {
    /// The one that ships with the binary.
    ///
    /// # Panics
    /// Never: a test reads it.
    #[must_use]
    pub fn shipped() -> Self {
        let gpus = entries("catalogue/gpus.toml", GPUS, "gpu", |table, known| {
            let entry = gpu_entry(table, known)?;
            Some((entry.name.clone(), entry))
        });
        let architectures = entries("catalogue/models.toml", MODELS, "architecture", |mut table, _| {
            let name = table.name("architecture");
            let entry = architecture_entry(table);
            Some((name?, entry?))
        });
        Self { gpus, architectures }
    }
}

impl GpuEntry {
    /// The type, of whose memory engines may use a part.
    pub(crate) fn gpu_type(&self, usable_memory: f64) -> GpuType {
        GpuType {
            name: self.name.clone(),
            memory: self.memory,
            usable_memory: Bytes::ceil((self.memory.as_f64() * usable_memory).floor()),
            peak_flops: self.peak_flops,
            peak_bandwidth: self.peak_bandwidth,
            price_per_hour: self.price_per_hour,
        }
    }
}

/// Reads a list of tables of a shipped file, in order, so that an entry may refer to earlier ones.
fn entries<T>(
    name: &str,
    text: &str,
    key: &'static str,
    read: impl Fn(Table<'_>, &BTreeMap<String, T>) -> Option<(String, T)>,
) -> BTreeMap<String, T> {
    let document = Document::new(Path::new(name), text.to_owned());
    let mut found = BTreeMap::new();
    let mut root = document.root().expect("a test reads the whole shipped catalogue");
    for value in root.take(key).and_then(Value::list).unwrap_or_default() {
        let entry = value.table().and_then(|table| read(table, &found));
        let (name, entry) = entry.expect("a test reads the whole shipped catalogue");
        let earlier = found.insert(name, entry);
        assert!(earlier.is_none(), "a test reads the whole shipped catalogue");
    }
    root.finish();
    assert!(!document.has_errors(), "a test reads the whole shipped catalogue");
    found
}

fn architecture_entry(mut table: Table<'_>) -> Option<ArchitectureEntry> {
    let architecture = architecture(&mut table);
    let context = table
        .require("context", "131072")
        .and_then(|value| value.integer(1..=u32::MAX));
    let published_params = table
        .require("published-params", "8.03e9")
        .and_then(|value| value.quantity(&PARAMETERS));
    let source = table.require("source", "\"…\"").and_then(|value| value.string());
    table.finish();
    Some(ArchitectureEntry {
        architecture: architecture?,
        context: context?,
        published_params: published_params?,
        source: source?,
    })
}

/// The numbers of an architecture, as the catalogue and `models.toml` write them.
pub(crate) fn architecture(table: &mut Table<'_>) -> Option<Architecture> {
    let mut count = |key, example| {
        table
            .require(key, example)
            .and_then(|value| value.integer(1..=10_000_000))
    };
    let n_layers = count("layers", "32");
    let hidden_size = count("hidden-size", "4096");
    let n_heads = count("heads", "32");
    let n_kv_heads = count("kv-heads", "8");
    let head_dim = count("head-dim", "128");
    let intermediate_size = count("intermediate-size", "14336");
    let vocab_size = count("vocab-size", "128256");
    let mlp_matrices = table.or_usual("mlp-matrices", "3", Some(3), |value| value.integer(2..=3));
    let tied_embeddings = table.or_usual("tied-embeddings", "false", Some(false), Value::boolean);
    let experts = match table.take("experts") {
        Some(value) => value.table().and_then(experts).map(Some),
        None => Some(None),
    };
    Some(Architecture {
        n_layers: n_layers?,
        hidden_size: hidden_size?,
        n_heads: n_heads?,
        n_kv_heads: n_kv_heads?,
        head_dim: head_dim?,
        intermediate_size: intermediate_size?,
        mlp_matrices: mlp_matrices?,
        vocab_size: vocab_size?,
        tied_embeddings: tied_embeddings?,
        experts: experts?,
    })
}

fn experts(mut table: Table<'_>) -> Option<Experts> {
    let n_experts = table.require("count", "8").and_then(|value| value.integer(2..=4096));
    let n_active = table.require("active", "2").and_then(|value| {
        let active = value.integer(1..=4096)?;
        if n_experts.is_some_and(|count| active > count) {
            return value.refuse(
                "more experts are active than there are",
                "lower `active` or raise `count`",
            );
        }
        Some(active)
    });
    let shared = table.or_usual("shared-intermediate-size", "0", Some(0), |value| {
        value.integer(0..=10_000_000)
    });
    table.finish();
    Some(Experts {
        n_experts: n_experts?,
        n_active: n_active?,
        shared_intermediate_size: shared?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_has_the_published_size() {
        let catalogue = Catalogue::shipped();
        assert!(catalogue.architectures.len() > 40);
        for (name, entry) in &catalogue.architectures {
            let ratio = entry.architecture.total_params() / entry.published_params;
            assert!((ratio - 1.0).abs() < 0.03, "{name}: {ratio}");
            assert!(!entry.source.is_empty());
        }
    }

    #[test]
    fn every_gpu_has_plausible_numbers_and_a_source() {
        for (name, gpu) in &Catalogue::shipped().gpus {
            // From T4 to B200 between 40 and 400 FLOP per byte: a slip of a unit or a figure with sparsity would leave it.
            let intensity = gpu.peak_flops / gpu.peak_bandwidth;
            assert!((40.0..450.0).contains(&intensity), "{name}: {intensity}");
            let printed: f64 = name
                .split('-')
                .find_map(|part| part.strip_suffix("gb"))
                .and_then(|gigabytes| gigabytes.parse().ok())
                .unwrap();
            let ratio = gpu.memory.as_f64() / (printed * 1e9);
            assert!((0.98..1.1).contains(&ratio), "{name}: {ratio}");
            assert!(!gpu.source.is_empty());
        }
    }
}
