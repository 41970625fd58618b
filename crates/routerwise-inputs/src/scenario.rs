//! The files of a scenario, read together.

use std::path::{Path, PathBuf};

use routerwise_types::catalogue::Model;
use routerwise_types::cluster::Cluster;
use routerwise_types::scenario::Inputs;
use routerwise_types::workload::{Route, Workload};
use routerwise_types::{Fingerprint, Scenario};

use crate::catalogue::Catalogue;
use crate::defaults::InForce;
use crate::models::Models;
use crate::problem::{Problem, Problems};
use crate::text::{Document, nearest, quoted};
use crate::{cluster, file, models, profiles, scores, workload};

/// Where the files of a scenario are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The GPUs.
    pub cluster: PathBuf,
    /// The models.
    pub models: PathBuf,
    /// The workload.
    pub workload: PathBuf,
    /// The scores, Parquet or CSV.
    pub scores: PathBuf,
    /// A folder of profile files; it need not exist.
    pub profiles: PathBuf,
}

impl Paths {
    /// The usual names in one folder: `cluster.toml`, `models.toml`, `workload.toml`, `scores.parquet` (or `scores.csv` where that
    /// is what the folder has) and `profiles/`.
    #[must_use]
    pub fn in_folder(folder: &Path) -> Self {
        let csv = folder.join("scores.csv");
        let parquet = folder.join("scores.parquet");
        Self {
            cluster: folder.join("cluster.toml"),
            models: folder.join("models.toml"),
            workload: folder.join("workload.toml"),
            scores: if csv.exists() && !parquet.exists() {
                csv
            } else {
                parquet
            },
            profiles: folder.join("profiles"),
        }
    }
}

/// A scenario and what its reader should be told about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The validated inputs.
    pub scenario: Scenario,
    /// What is doubtful but usable.
    pub warnings: Vec<Problem>,
    /// Values that no file says and that are in force all the same.
    pub defaults: Vec<InForce>,
    /// Prompts that were left out because a model has no score for them.
    pub n_prompts_dropped: usize,
    /// For each model what its columns of the scores file are named after.
    pub score_columns: Vec<String>,
}

/// Reads and validates all files of a scenario.
///
/// # Errors
/// Every problem of every file. What one file says is checked against another only when that other file is right.
pub fn load(paths: &Paths) -> Result<Loaded, Problems> {
    let catalogue = Catalogue::shipped();
    let mut reading = Reading::default();
    let cluster = reading.toml(&paths.cluster, |document| cluster::read(document, &catalogue));
    let models = reading.toml(&paths.models, |document| {
        models::read(document, &catalogue, cluster.as_ref())
    });
    let workload = reading.toml(&paths.workload, workload::read);
    let routes = workload.as_ref().map_or(&[][..], |workload| &workload.routes);
    let scores = models
        .as_ref()
        .and_then(|models| reading.scores(&paths.scores, models, routes));
    if models.is_none() && !paths.scores.is_file() {
        reading.missing(&paths.scores);
    }
    if let (Some(models), Some(workload)) = (&models, &workload) {
        reading.long_requests(&paths.workload, &models.models, workload);
    }
    if let (Some(models), Some(workload)) = (&models, &workload) {
        reading.models_of_routes(&paths.workload, &models.models, workload);
    }
    if let (Some(cluster), Some(workload)) = (&cluster, &workload) {
        reading.prices(&paths.cluster, cluster, workload);
    }
    let profiles = match (&cluster, &models, &workload) {
        (Some(cluster), Some(models), Some(workload)) => {
            let against = profiles::Against::new(cluster, &models.models, workload);
            let read = profiles::read(&paths.profiles, &against);
            reading.problems.extend(read.problems);
            read.profiles
        }
        _ => Vec::new(),
    };
    if reading.problems.iter().any(|problem| !problem.is_warning()) {
        return Err(Problems(reading.problems));
    }
    let (Some(cluster), Some(models), Some(workload), Some((scores, fingerprint))) =
        (cluster, models, workload, scores)
    else {
        unreachable!("what could not be read has been noted as a problem");
    };
    let fingerprints = Inputs {
        cluster: Fingerprint::of(&cluster),
        models: Fingerprint::of(&models.models),
        workload: Fingerprint::of(&workload),
        scores: fingerprint,
        profiles: Fingerprint::of(&profiles),
    };
    Ok(Loaded {
        n_prompts_dropped: scores.n_dropped,
        score_columns: models.score_columns,
        scenario: Scenario {
            cluster,
            models: models.models,
            workload,
            scores: scores.scores,
            profiles,
            fingerprints,
        },
        warnings: reading.problems,
        defaults: reading.defaults,
    })
}

/// What has been found so far, over all files.
#[derive(Default)]
struct Reading {
    problems: Vec<Problem>,
    defaults: Vec<InForce>,
}

impl Reading {
    fn toml<T>(&mut self, path: &Path, read: impl FnOnce(&Document) -> Option<T>) -> Option<T> {
        let text = match file::text(path) {
            Ok(text) => text,
            Err(wrong) => {
                self.problems.push(wrong.at(path));
                return None;
            }
        };
        let document = Document::new(path, text);
        let value = read(&document);
        let (problems, defaults) = document.finish();
        self.problems.extend(problems);
        self.defaults.extend(defaults);
        value
    }

    fn scores(&mut self, path: &Path, models: &Models, routes: &[Route]) -> Option<(scores::Read, Fingerprint)> {
        match scores::read(path, models, routes) {
            Err(problems) => {
                self.problems.extend(problems);
                None
            }
            Ok(scores) => Some((scores, Fingerprint::of_bytes(&file::bytes(path).ok()?))),
        }
    }

    /// Without models it is not known which columns count, but that the file is not there can be said all the same.
    fn missing(&mut self, path: &Path) {
        if let Err(wrong) = file::open(path) {
            self.problems.push(wrong.at(path));
        }
    }

    /// An objective that counts cost needs the price of every GPU type.
    fn prices(&mut self, path: &Path, cluster: &Cluster, workload: &Workload) {
        if !workload.objective.counts_cost() {
            return;
        }
        for gpu_type in cluster.gpu_types.iter().filter(|gpu| gpu.price_per_hour.is_none()) {
            let message = format!(
                "the objective counts cost, but `{}` has no price per hour",
                gpu_type.name
            );
            let help = "add `gpu-price-per-hour = 2.50` to one of its nodes, or `price-per-hour` to its `[[gpu]]`";
            self.problems.push(Problem::new(path, message).help(help));
        }
    }

    /// Routes may only name models that there are.
    fn models_of_routes(&mut self, path: &Path, models: &[Model], workload: &Workload) {
        for route in &workload.routes {
            let known = || models.iter().map(|model| model.name.as_str());
            for name in route
                .models
                .iter()
                .flatten()
                .filter(|name| !known().any(|known| known == *name))
            {
                let nearest = nearest(name, known());
                let hint = nearest.map_or(String::new(), |nearest| format!("did you mean `{nearest}`? "));
                let message = format!("route `{}` may be answered by `{name}`, which is no model", route.name);
                let help = format!("{hint}there are {}", quoted(known()));
                self.problems.push(Problem::new(path, message).help(help));
            }
        }
    }

    /// Warns of requests that a model's engine would refuse for their length.
    fn long_requests(&mut self, path: &Path, models: &[Model], workload: &Workload) {
        for model in models {
            let limit = model.engine.max_model_len;
            let longer = |tokens: u64| tokens > u64::from(limit);
            let n_longer = workload
                .lengths
                .iter()
                .filter(|lengths| longer(u64::from(lengths.input) + u64::from(lengths.output)))
                .count();
            if n_longer > 0 {
                let n_all = workload.lengths.len();
                let message = format!(
                    "{n_longer} of {n_all} request lengths exceed the {limit} tokens that `{}` takes",
                    model.name
                );
                let help = "raise its `max-model-len` and `kv-reserve`, or plan a workload with shorter requests";
                self.problems.push(Problem::new(path, message).help(help).warning());
            }
        }
    }
}
