//! `routerwise check`: are the inputs right, and which values are in force?

use std::io::Write;

use crate::cli::{Format, ScenarioArgs};
use crate::failure::{Answer, Failure};

/// Validate all inputs of a scenario and print the values in force, defaults included
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let loaded = args.scenario.load()?;
    match args.format {
        Format::Table => writeln!(out, "{:#?}", loaded.scenario.cluster)?,
        Format::Json => writeln!(out, "{:?}", loaded.scenario.fingerprints)?,
    }
    Ok(Answer::Yes)
}
