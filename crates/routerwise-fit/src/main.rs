//! `routerwise-fit <data folder>`: fits the constants of the engine model and writes its error table.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use routerwise_fit::{engines, extract, gpus, report, rounded, serving, share};
use routerwise_simulate::constants::{CONSTANTS_SCHEMA, Constants};

/// Fit the constants of the engine model to public measurements.
#[derive(Parser)]
struct Arguments {
    /// Folder with one sub-folder per data set.
    data: PathBuf,
    /// Where the constants go.
    #[arg(long, default_value = "crates/routerwise-simulate/constants.json")]
    out: PathBuf,
    /// Where the error table goes.
    #[arg(long, default_value = "docs/reference/engine-model-errors.md")]
    report: PathBuf,
    /// Where the measurements that ship for tests go.
    #[arg(long, default_value = "data/engine-model")]
    extract: PathBuf,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let data = &arguments.data;
    let mut comparisons = Vec::new();
    let response = share::fit_response(data, &mut comparisons)?;
    let gpus = gpus::fit_all(data, &response, &mut comparisons)?;
    let mut constants = Constants {
        schema: CONSTANTS_SCHEMA,
        gpus,
        engines: Vec::new(),
    };
    constants.engines = engines::fit_all(data, &constants, &mut comparisons)?;
    let constants = rounded::rounded(&constants);
    serving::compare_all(data, &constants, &mut comparisons)?;
    let json = format!("{}\n", serde_json::to_string_pretty(&constants)?);
    std::fs::write(&arguments.out, json).with_context(|| format!("cannot write `{}`", arguments.out.display()))?;
    if let Some(folder) = arguments.report.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    extract::write(data, &arguments.extract)?;
    let page = report::render(&constants, &comparisons);
    std::fs::write(&arguments.report, page).with_context(|| format!("cannot write `{}`", arguments.report.display()))
}
