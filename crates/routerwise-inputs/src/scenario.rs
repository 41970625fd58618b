//! The files of a scenario, read together.

use std::path::{Path, PathBuf};

use routerwise_types::Scenario;

use crate::problem::{Problem, Problems};

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
}

/// Reads and validates all files of a scenario.
///
/// # Errors
/// Every problem of every file.
pub fn load(paths: &Paths) -> Result<Loaded, Problems> {
    Err(Problems(vec![Problem::new(&paths.cluster, "not read yet")]))
}
