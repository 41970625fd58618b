//! JSON Schemas of the files that programs write.

use routerwise_types::answer::bench::{BenchRecord, BenchReport};
use routerwise_types::answer::decision::RouteDecision;
use routerwise_types::answer::difference::Difference;
use routerwise_types::answer::engines::Engines;
use routerwise_types::answer::frontier::Frontier;
use routerwise_types::answer::labelling::Labelling;
use routerwise_types::answer::live::LiveSimulation;
use routerwise_types::answer::predictors::{Evaluation, PromptScores};
use routerwise_types::answer::profiles::ProfileComparison;
use routerwise_types::answer::replay::Replay;
use routerwise_types::answer::serving::Serving;
use routerwise_types::answer::setups::{ExhaustiveSearch, Spread};
use routerwise_types::answer::{Explanation, NoPlan, Simulation, Verification};
use routerwise_types::comparison::Comparison;
use routerwise_types::decisions::DecisionRecord;
use routerwise_types::plan::Plan;
use routerwise_types::profile::ProfileSet;
use schemars::{JsonSchema, Schema, schema_for};

use crate::report::Report;

/// A kind of file that RouterWise writes.
#[derive(Clone, Copy, Debug)]
pub struct Document {
    /// Its name on the command line; its schema is `docs/reference/schemas/<name>.json`.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    schema: fn() -> Schema,
}

/// All of them.
pub const DOCUMENTS: &[Document] = &[
    Document::of::<Plan>("plan", "A plan, as `routerwise plan` writes it"),
    Document::of::<ProfileSet>("profile", "Latency profiles, as `routerwise profile` writes them"),
    Document::of::<Report>("check", "The report of `routerwise check --format json`"),
    Document::of::<NoPlan>(
        "no-plan",
        "What `routerwise plan --format json` prints where there is no plan",
    ),
    Document::of::<Explanation>("explain", "The report of `routerwise explain --format json`"),
    Document::of::<Frontier>("frontier", "What `routerwise plan --frontier … --format json` prints"),
    Document::of::<Difference>("diff", "The report of `routerwise diff --format json`"),
    Document::of::<Verification>("verify", "The report of `routerwise verify --format json`"),
    Document::of::<Simulation>("simulate", "The report of `routerwise simulate --format json`"),
    Document::of::<LiveSimulation>(
        "simulate-live",
        "The report of `routerwise simulate --live-prices --format json`",
    ),
    Document::of::<ProfileComparison>(
        "compare-profiles",
        "What `routerwise profile compare --format json` prints",
    ),
    Document::of::<Comparison>("compare", "The report of `routerwise compare --format json`"),
    Document::of::<ExhaustiveSearch>(
        "exhaustive",
        "The report of `routerwise plan --search exhaustive --format json`",
    ),
    Document::of::<Spread>("spread", "The report of `routerwise plan --spread --format json`"),
    Document::of::<BenchReport>("bench", "The report of `routerwise bench --format json`"),
    Document::of::<BenchRecord>(
        "bench-record",
        "A line of the file that `routerwise bench --records` writes",
    ),
    Document::of::<Labelling>("label", "The report of `routerwise label --format json`"),
    Document::of::<Engines>("emulate", "What `routerwise emulate --format json` prints"),
    Document::of::<Evaluation>(
        "evaluate",
        "The report of `routerwise evaluate --format json` and of `routerwise train --format json`",
    ),
    Document::of::<PromptScores>("score", "What `routerwise score --format json` prints"),
    Document::of::<RouteDecision>("route", "What `POST /v1/route` of the gateway answers"),
    Document::of::<DecisionRecord>("decision", "A line of the gateway's decision log"),
    Document::of::<Serving>("serve", "What `routerwise serve --format json` prints"),
    Document::of::<Replay>("replay", "The report of `routerwise replay --format json`"),
];

impl Document {
    const fn of<T: JsonSchema>(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            schema: || schema_for!(T),
        }
    }

    /// Its JSON Schema, as indented text with a final line break.
    ///
    /// # Panics
    /// Never: a schema is made of strings, numbers and maps with string keys.
    #[must_use]
    pub fn schema(self) -> String {
        let text = serde_json::to_string_pretty(&(self.schema)()).expect("a schema holds only what JSON holds");
        format!("{text}\n")
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Run with `UPDATE_SCHEMAS=1` to write them anew.
    #[test]
    fn the_documented_schemas_are_current() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/schemas");
        for document in DOCUMENTS {
            let path = folder.join(format!("{}.json", document.name));
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                crate::write_atomically(&path, document.schema().as_bytes()).unwrap();
            }
            let documented = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                documented == document.schema(),
                "{} is out of date: run `UPDATE_SCHEMAS=1 cargo test -p routerwise-inputs schema`",
                path.display()
            );
        }
    }
}
