//! `cluster.toml`: nodes, their GPUs and links.

use std::collections::BTreeMap;
use std::ops::Range;

use routerwise_types::Bytes;
use routerwise_types::cluster::{Cluster, Interconnect, Node};

use crate::catalogue::{Catalogue, GpuEntry};
use crate::defaults;
use crate::quantity::{BANDWIDTH, COMPUTE, MEMORY, PRICE, SHARE};
use crate::text::{Document, Table, Value, nearest, quoted};

/// How the links between GPUs are written.
pub(crate) const INTERCONNECTS: [(&str, Interconnect); 3] = [
    ("nvswitch", Interconnect::Nvswitch),
    ("nvlink-pairs", Interconnect::NvlinkPairs),
    ("pcie", Interconnect::Pcie),
];

/// What one `[[node]]` says, before its GPU is looked up.
struct NodeEntry {
    name: String,
    span: Range<usize>,
    count: u32,
    gpu: String,
    gpu_span: Range<usize>,
    n_gpus: usize,
    interconnect: Option<Interconnect>,
    /// Price of one of its GPUs per hour, and where that is said.
    price: Option<(f64, Range<usize>)>,
}

/// Reads the cluster; `None` when anything in it is wrong.
pub(crate) fn read(document: &Document, catalogue: &Catalogue) -> Option<Cluster> {
    let mut root = document.root()?;
    let usable = root.or_default("usable-memory", &defaults::USABLE_MEMORY, |value| {
        value.quantity(&SHARE)
    });
    let gpus = gpu_entries(document, &mut root, catalogue);
    let nodes: Vec<NodeEntry> = root
        .require("node", "[{ name = \"node\", gpu = \"a100-80gb-sxm\", gpus = 4 }]")
        .and_then(Value::list)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|value| node_entry(value.table()?))
        .collect();
    root.finish();
    let cluster = Assembly::new(document, &gpus).cluster(nodes, usable?);
    (!document.has_errors()).then_some(cluster)
}

/// The catalogue's GPUs and those that the file adds or overrides.
fn gpu_entries(document: &Document, root: &mut Table<'_>, catalogue: &Catalogue) -> BTreeMap<String, GpuEntry> {
    let mut gpus = catalogue.gpus.clone();
    let mut own = Vec::new();
    for value in root.take("gpu").and_then(Value::list).unwrap_or_default() {
        let span = value.span();
        let Some(entry) = value.table().and_then(|table| gpu_entry(table, &gpus)) else {
            continue;
        };
        if own.contains(&entry.name) {
            let problem = document.problem(format!("two `[[gpu]]` entries are named `{}`", entry.name));
            document.note(span, "the second one", problem.help("rename or remove one of them"));
        }
        own.push(entry.name.clone());
        gpus.insert(entry.name.clone(), entry);
    }
    gpus
}

/// One `[[gpu]]`: numbers that it does not give come from the entry that it is `like`, or from the one that it overrides.
pub(crate) fn gpu_entry(mut table: Table<'_>, known: &BTreeMap<String, GpuEntry>) -> Option<GpuEntry> {
    let name = table.name("GPU type");
    let like = table.optional("like", |value| {
        let like = value.string()?;
        known
            .get(&like)
            .or_else(|| value.refuse(format!("no GPU type is named `{like}`"), known_gpus(&like, known)))
    });
    let base = like.flatten().or_else(|| known.get(name.as_ref()?));
    let memory = table.or_usual("memory", "\"80 GB\"", base.map(|base| base.memory), |value| {
        value.quantity(&MEMORY).map(Bytes::ceil)
    });
    let peak_flops = table.or_usual(
        "peak-flops",
        "\"312 TFLOP/s\"",
        base.map(|base| base.peak_flops),
        |value| value.quantity(&COMPUTE),
    );
    let bandwidth = table.or_usual(
        "bandwidth",
        "\"2039 GB/s\"",
        base.map(|base| base.peak_bandwidth),
        |value| value.quantity(&BANDWIDTH),
    );
    let interconnect = table.or_usual(
        "interconnect",
        "\"pcie\"",
        base.map(|base| base.interconnect),
        |value| value.choice(&INTERCONNECTS),
    );
    let price = table.optional("price-per-hour", |value| value.quantity(&PRICE));
    let source = table.optional("source", Value::string);
    table.finish();
    let base_source = || base.map_or_else(|| "this scenario".to_owned(), |base| base.source.clone());
    Some(GpuEntry {
        name: name?,
        memory: memory?,
        peak_flops: peak_flops?,
        peak_bandwidth: bandwidth?,
        interconnect: interconnect?,
        price_per_hour: price?.or_else(|| base.and_then(|base| base.price_per_hour)),
        source: source?.unwrap_or_else(base_source),
    })
}

fn known_gpus(name: &str, known: &BTreeMap<String, GpuEntry>) -> String {
    let nearest = nearest(name, known.keys().map(String::as_str));
    let nearest = nearest.map_or(String::new(), |nearest| format!("did you mean `{nearest}`? "));
    format!("{nearest}known: {}; describe others in `[[gpu]]`", quoted(known.keys()))
}

fn node_entry(mut table: Table<'_>) -> Option<NodeEntry> {
    let span = table.span();
    let name = table.name("node");
    let count = table.or_default("count", &defaults::NODE_COUNT, |value| value.integer(1..=10_000));
    let gpu = table
        .require("gpu", "\"a100-80gb-sxm\"")
        .and_then(|value| Some((value.string()?, value.span())));
    let n_gpus = table.require("gpus", "4").and_then(|value| value.integer(1..=72));
    let interconnect = table.optional("interconnect", |value| value.choice(&INTERCONNECTS));
    let price = table.optional("gpu-price-per-hour", |value| {
        Some((value.quantity(&PRICE)?, value.span()))
    });
    table.finish();
    let (gpu, gpu_span) = gpu?;
    Some(NodeEntry {
        name: name?,
        span,
        count: count?,
        gpu,
        gpu_span,
        n_gpus: usize::try_from(n_gpus?).ok()?,
        interconnect: interconnect?,
        price: price?,
    })
}

/// Node entries becoming a cluster.
struct Assembly<'a> {
    document: &'a Document,
    gpus: &'a BTreeMap<String, GpuEntry>,
    cluster: Cluster,
}

impl<'a> Assembly<'a> {
    fn new(document: &'a Document, gpus: &'a BTreeMap<String, GpuEntry>) -> Self {
        let cluster = Cluster {
            gpu_types: Vec::new(),
            nodes: Vec::new(),
        };
        Self {
            document,
            gpus,
            cluster,
        }
    }

    fn cluster(mut self, entries: Vec<NodeEntry>, usable: f64) -> Cluster {
        for entry in entries {
            if let Some(gpu) = self.gpus.get(&entry.gpu) {
                self.add(&entry, gpu, usable);
            } else {
                let problem = self
                    .document
                    .problem(format!("no GPU type is named `{}`", entry.gpu))
                    .help(known_gpus(&entry.gpu, self.gpus));
                self.document.note(entry.gpu_span, "declared here", problem);
            }
        }
        self.cluster
    }

    fn add(&mut self, entry: &NodeEntry, gpu: &GpuEntry, usable: f64) {
        let types = &mut self.cluster.gpu_types;
        let gpu_type_ix = types
            .iter()
            .position(|known| known.name == gpu.name)
            .unwrap_or_else(|| {
                types.push(gpu.gpu_type(usable));
                types.len() - 1
            });
        let interconnect = entry.interconnect.unwrap_or(gpu.interconnect);
        self.check_links(entry, gpu_type_ix, interconnect);
        self.set_price(entry, gpu_type_ix);
        for number in 1..=entry.count {
            let name = if entry.count == 1 {
                entry.name.clone()
            } else {
                format!("{}-{number}", entry.name)
            };
            if self.cluster.nodes.iter().any(|node| node.name == name) {
                let problem = self
                    .document
                    .problem(format!("two nodes are named `{name}`"))
                    .help("rename one of them (an entry with `count = n` makes `name-1` to `name-n`)");
                self.document.note(entry.span.clone(), "the second one", problem);
                return;
            }
            self.cluster.nodes.push(Node {
                name,
                gpu_type_ix,
                n_gpus: entry.n_gpus,
                interconnect,
            });
        }
    }

    /// A GPU type has one price: what one of its nodes says holds for all of them.
    fn set_price(&mut self, entry: &NodeEntry, gpu_type_ix: usize) {
        let Some((price, span)) = &entry.price else { return };
        let gpu_type = &mut self.cluster.gpu_types[gpu_type_ix];
        match gpu_type.price_per_hour {
            Some(other) if (other - price).abs() > 1e-9 => {
                let problem = self
                    .document
                    .problem(format!("`{}` costs {other} per hour elsewhere and {price} on node `{}`", entry.gpu, entry.name))
                    .help(format!(
                        "say it once; for GPUs at another price define a type: `[[gpu]]` with `name = \"{}-spot\"`, `like = \"{}\"` and `price-per-hour`",
                        entry.gpu, entry.gpu
                    ));
                self.document.note(span.clone(), "declared here", problem);
            }
            _ => gpu_type.price_per_hour = Some(*price),
        }
    }

    /// A profile is of a GPU type with its links, so one type cannot have two kinds.
    fn check_links(&self, entry: &NodeEntry, gpu_type_ix: usize, interconnect: Interconnect) {
        let Some(other) = self.cluster.nodes.iter().find(|node| node.gpu_type_ix == gpu_type_ix) else {
            return;
        };
        if other.interconnect != interconnect {
            let problem = self
                .document
                .problem(format!(
                    "`{}` is linked by {} on node `{}` and by {} on node `{}`",
                    entry.gpu,
                    spelled(other.interconnect),
                    other.name,
                    spelled(interconnect),
                    entry.name
                ))
                .help(format!(
                    "define a variant type, and use it on one of them: `[[gpu]]` with `name = \"{}-variant\"` and `like = \"{}\"`",
                    entry.gpu, entry.gpu
                ));
            self.document.note(entry.span.clone(), "this node", problem);
        }
    }
}

/// How a kind of link is written.
#[must_use]
pub fn spelled(interconnect: Interconnect) -> &'static str {
    INTERCONNECTS
        .iter()
        .find(|(_, known)| *known == interconnect)
        .map_or("", |(name, _)| name)
}
