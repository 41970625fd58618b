//! `routerwise schema`: the JSON Schema of a file that RouterWise writes.

use std::io::Write;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use routerwise_inputs::schema::{DOCUMENTS, Document};

use crate::failure::{Answer, Failure};

/// Print the JSON Schema of a file that RouterWise writes
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Which file
    #[arg(value_parser = named())]
    document: Document,
}

const EXAMPLES: &str = "\
Examples:
  routerwise schema plan > plan.schema.json
  routerwise schema simulate | jq .properties";

/// Its name is one of a list that `--help` explains.
fn named() -> impl TypedValueParser<Value = Document> {
    let names = DOCUMENTS
        .iter()
        .map(|document| PossibleValue::new(document.name).help(document.about));
    PossibleValuesParser::new(names).map(|name| {
        let mut all = DOCUMENTS.iter().copied();
        all.find(|document| document.name == name)
            .expect("it was found among these")
    })
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    write!(out, "{}", args.document.schema())?;
    Ok(Answer::Yes)
}
