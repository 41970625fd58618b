//! `profiles/*.json`: measured or simulated latency, as `routerwise profile` writes it.

mod conditions;
mod shape;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use routerwise_types::Scenario;
use routerwise_types::catalogue::Model;
use routerwise_types::cluster::Cluster;
use routerwise_types::profile::{Conditions, PROFILE_SCHEMA, Profile, ProfileKey, ProfileSet};
use routerwise_types::workload::Workload;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::file::{self, Wrong};
use crate::problem::{Problem, Problems};
use crate::text::quoted;

/// What profiles are checked against: the names that the scenario has, and for each pair of them the conditions.
pub(crate) struct Against<'a> {
    models: Vec<&'a str>,
    gpu_types: Vec<&'a str>,
    /// By model and GPU type.
    expected: BTreeMap<&'a str, BTreeMap<&'a str, Conditions>>,
}

impl<'a> Against<'a> {
    pub(crate) fn new(cluster: &'a Cluster, models: &'a [Model], workload: &'a Workload) -> Self {
        let mut expected: BTreeMap<&str, BTreeMap<&str, Conditions>> = BTreeMap::new();
        for (gpu_type_ix, gpu) in cluster.gpu_types.iter().enumerate() {
            let Some(interconnect) = cluster.interconnect_of(gpu_type_ix) else {
                continue;
            };
            for model in models {
                let conditions = Conditions::expected(model, workload, interconnect);
                expected.entry(&model.name).or_default().insert(&gpu.name, conditions);
            }
        }
        Self {
            models: models.iter().map(|model| model.name.as_str()).collect(),
            gpu_types: cluster.gpu_types.iter().map(|gpu| gpu.name.as_str()).collect(),
            expected,
        }
    }

    fn expected(&self, key: &ProfileKey) -> Option<&Conditions> {
        self.expected.get(key.model.as_str())?.get(key.gpu_type.as_str())
    }
}

/// What was found in the folder.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) profiles: Vec<Profile>,
    pub(crate) problems: Vec<Problem>,
}

/// Reads all files of a folder, in the order of their names. A folder that is not there holds no profiles.
pub(crate) fn read(folder: &Path, against: &Against<'_>) -> Read {
    let mut read = Read::default();
    let files = match json_files(folder) {
        Ok(files) => files,
        Err(wrong) => {
            read.problems.push(wrong.at(folder));
            return read;
        }
    };
    let mut seen: BTreeMap<_, PathBuf> = BTreeMap::new();
    for path in files {
        match parse(&path) {
            Err(wrong) => read.problems.push(wrong.at(&path)),
            Ok(profiles) => {
                let mut findings = Findings::new(&path);
                for profile in profiles {
                    check(&profile, against, &mut findings);
                    if let Some(other) = seen.insert(identity(&profile.key), path.clone()) {
                        let help = format!("keep one of them; the other is in {}", other.display());
                        let what = "there are two profiles of this configuration";
                        findings.error(&profile.key, what.into(), help);
                    }
                    read.profiles.push(profile);
                }
                read.problems.extend(findings.problems());
            }
        }
    }
    read.profiles.retain(|profile| against.expected(&profile.key).is_some());
    read
}

fn json_files(folder: &Path) -> Result<Vec<PathBuf>, Wrong> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    let mut files: Vec<PathBuf> = listed.map_err(|error| {
        Wrong::new(
            format!("cannot be listed: {error}"),
            "give a folder that holds profile files",
        )
    })?;
    files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    Ok(files)
}

/// The part of a file that says how the rest is to be read.
#[derive(Deserialize)]
struct Layout {
    schema: u32,
}

/// The profiles of one file.
fn parse(path: &Path) -> Result<Vec<Profile>, Wrong> {
    let text = file::text(path)?;
    let malformed = |error: serde_json::Error| {
        Wrong::new(
            format!("is no profile file: {error}"),
            "`routerwise schema profile` says what belongs there; write it again with `routerwise profile`",
        )
    };
    let layout: Layout = serde_json::from_str(&text).map_err(malformed)?;
    if layout.schema != PROFILE_SCHEMA {
        return Err(Wrong::new(
            format!(
                "has layout version {}, this program reads {PROFILE_SCHEMA}",
                layout.schema
            ),
            "write it again with `routerwise profile` of this version",
        ));
    }
    let set: ProfileSet = serde_json::from_str(&text).map_err(malformed)?;
    Ok(set.profiles)
}

fn check(profile: &Profile, against: &Against<'_>, findings: &mut Findings<'_>) {
    let key = &profile.key;
    shape::check(profile, findings);
    if !against.models.contains(&key.model.as_str()) {
        let what = format!("the scenario has no model `{}`, so this is left out", key.model);
        findings.warning(key, what, format!("models are {}", quoted(&against.models)));
    }
    if !against.gpu_types.contains(&key.gpu_type.as_str()) {
        let what = format!("the scenario has no GPU type `{}`, so this is left out", key.gpu_type);
        findings.warning(key, what, format!("GPU types are {}", quoted(&against.gpu_types)));
    }
    if let Some(now) = against.expected(key) {
        conditions::check(profile, now, findings);
    }
}

/// What makes two keys the same. Shares are rounded to hundredths of a per cent on reading, so equal ones have equal bits.
fn identity(key: &ProfileKey) -> (String, String, u32, u64) {
    let share = key.share.value().to_bits();
    (key.model.clone(), key.gpu_type.clone(), key.tensor_parallel, share)
}

/// `` `llama-8b` tp=1 share=50 % on `a100-80gb-sxm` ``.
fn name(key: &ProfileKey) -> String {
    format!(
        "`{}` tp={} share={} on `{}`",
        key.model, key.tensor_parallel, key.share, key.gpu_type
    )
}

/// Problems of one file's profiles; what several have in common is told once.
pub(crate) struct Findings<'a> {
    path: &'a Path,
    /// By what is the matter: what to do, whether it is a warning, and which profiles.
    found: BTreeMap<String, (String, Weight, Vec<String>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Error,
    Warning,
}

impl<'a> Findings<'a> {
    fn new(path: &'a Path) -> Self {
        Self {
            path,
            found: BTreeMap::new(),
        }
    }

    pub(crate) fn error(&mut self, key: &ProfileKey, what: String, help: String) {
        self.note(key, what, help, Weight::Error);
    }

    pub(crate) fn warning(&mut self, key: &ProfileKey, what: String, help: String) {
        self.note(key, what, help, Weight::Warning);
    }

    fn note(&mut self, key: &ProfileKey, what: String, help: String, weight: Weight) {
        let (_, _, names) = self.found.entry(what).or_insert((help, weight, Vec::new()));
        names.push(name(key));
    }

    fn problems(self) -> impl Iterator<Item = Problem> {
        let path = self.path;
        self.found.into_iter().map(move |(what, (help, weight, names))| {
            let more = match names.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            let problem = Problem::new(path, format!("{}{more}: {what}", names[0])).help(help);
            match weight {
                Weight::Error => problem,
                Weight::Warning => problem.warning(),
            }
        })
    }
}

/// How many of a model's configurations have a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Coverage {
    /// Model name.
    pub model: String,
    /// GPU types, tensor-parallel degrees and shares that the scenario allows and memory has room for.
    pub n_configurations: usize,
    /// Those of them with a profile.
    pub n_profiled: usize,
}

/// The keys of all profiles that a scenario can use: every GPU type, tensor-parallel degree and share that is allowed and fits.
#[must_use]
pub fn possible_keys(cluster: &Cluster, model: &Model) -> Vec<ProfileKey> {
    let mut keys = Vec::new();
    for (gpu_type_ix, gpu) in cluster.gpu_types.iter().enumerate() {
        for &tensor_parallel in &model.tensor_parallel {
            let shards = usize::try_from(tensor_parallel).unwrap_or(usize::MAX);
            if model.shard_memory(tensor_parallel) > gpu.usable_memory
                || cluster.linked_groups(gpu_type_ix, shards).is_empty()
            {
                continue;
            }
            keys.extend(model.shares.iter().map(|&share| ProfileKey {
                model: model.name.clone(),
                gpu_type: gpu.name.clone(),
                tensor_parallel,
                share,
            }));
        }
    }
    keys
}

/// Says for each model how many of its configurations have a profile.
#[must_use]
pub fn coverage(scenario: &Scenario) -> Vec<Coverage> {
    let profiled: BTreeSet<_> = scenario.profiles.iter().map(|profile| identity(&profile.key)).collect();
    scenario
        .models
        .iter()
        .map(|model| {
            let keys = possible_keys(&scenario.cluster, model);
            Coverage {
                model: model.name.clone(),
                n_configurations: keys.len(),
                n_profiled: keys
                    .iter()
                    .filter(|possible| profiled.contains(&identity(possible)))
                    .count(),
            }
        })
        .collect()
}

/// What a plan needs beyond a valid scenario: at least one profile of every model.
///
/// # Errors
/// A problem for every model that has none.
pub fn require(scenario: &Scenario, folder: &Path) -> Result<(), Problems> {
    let missing = coverage(scenario)
        .into_iter()
        .filter(|coverage| coverage.n_profiled == 0);
    let problems: Vec<Problem> = missing
        .map(|coverage| {
            Problem::new(
                folder,
                format!(
                    "has no profile of `{}` in any of its {} configurations",
                    coverage.model, coverage.n_configurations
                ),
            )
            .help("make them with `routerwise profile --simulate <scenario>`, or take the model out")
        })
        .collect();
    if problems.is_empty() {
        Ok(())
    } else {
        Err(Problems(problems))
    }
}
