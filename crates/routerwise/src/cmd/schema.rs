//! `routerwise schema`: the JSON Schema of a file that RouterWise writes.

use std::io::Write;

use clap::ValueEnum;
use routerwise_inputs::schema::Document;

use crate::failure::{Answer, Failure};

/// Print the JSON Schema of a file that RouterWise writes
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which file
    document: Name,
}

const EXAMPLES: &str = "\
Examples:
  routerwise schema plan > plan.schema.json
  routerwise schema simulate | jq .properties";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Name {
    /// A plan, as `routerwise plan` writes it
    Plan,
    /// Latency profiles, as `routerwise profile` writes them
    Profile,
    /// The report of `routerwise check --format json`
    Check,
    /// What `routerwise plan --format json` prints where there is no plan
    NoPlan,
    /// The report of `routerwise explain --format json`
    Explain,
    /// What `routerwise plan --frontier … --format json` prints
    Frontier,
    /// The report of `routerwise diff --format json`
    Diff,
    /// The report of `routerwise verify --format json`
    Verify,
    /// The report of `routerwise simulate --format json`
    Simulate,
    /// What `routerwise profile compare --format json` prints
    CompareProfiles,
    /// The report of `routerwise compare --format json`
    Compare,
    /// The report of `routerwise plan --search exhaustive --format json`
    Exhaustive,
    /// The report of `routerwise plan --spread --format json`
    Spread,
    /// The report of `routerwise bench --format json`
    Bench,
    /// A line of the file that `routerwise bench --records` writes
    BenchRecord,
    /// The report of `routerwise label --format json`
    Label,
    /// What `routerwise emulate --format json` prints
    Emulate,
    /// The report of `routerwise evaluate --format json` and of `routerwise train --format json`
    Evaluate,
    /// What `routerwise score --format json` prints
    Score,
    /// What `POST /v1/route` of the gateway answers
    Route,
    /// A line of the gateway's decision log
    Decision,
    /// What `routerwise serve --format json` prints
    Serve,
    /// The report of `routerwise replay --format json`
    Replay,
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let document = match args.document {
        Name::Plan => Document::Plan,
        Name::Profile => Document::Profile,
        Name::Check => Document::Check,
        Name::NoPlan => Document::NoPlan,
        Name::Explain => Document::Explain,
        Name::Frontier => Document::Frontier,
        Name::Diff => Document::Diff,
        Name::Verify => Document::Verify,
        Name::Simulate => Document::Simulate,
        Name::CompareProfiles => Document::CompareProfiles,
        Name::Compare => Document::Compare,
        Name::Exhaustive => Document::Exhaustive,
        Name::Spread => Document::Spread,
        Name::Bench => Document::Bench,
        Name::BenchRecord => Document::BenchRecord,
        Name::Label => Document::Label,
        Name::Emulate => Document::Emulate,
        Name::Evaluate => Document::Evaluate,
        Name::Score => Document::Score,
        Name::Route => Document::Route,
        Name::Decision => Document::Decision,
        Name::Serve => Document::Serve,
        Name::Replay => Document::Replay,
    };
    write!(out, "{}", document.schema())?;
    Ok(Answer::Yes)
}
