//! JSON Schemas of the files that programs write.

use routerwise_types::answer::bench::{BenchRecord, BenchReport};
use routerwise_types::answer::decision::RouteDecision;
use routerwise_types::answer::difference::Difference;
use routerwise_types::answer::engines::Engines;
use routerwise_types::answer::frontier::Frontier;
use routerwise_types::answer::labelling::Labelling;
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
use schemars::schema_for;

use crate::report::Report;

/// A kind of file that RouterWise writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// A plan.
    Plan,
    /// Latency profiles.
    Profile,
    /// What `routerwise check --format json` prints.
    Check,
    /// What `routerwise plan --format json` prints where there is no plan.
    NoPlan,
    /// What `routerwise explain --format json` prints.
    Explain,
    /// What `routerwise plan --frontier … --format json` prints.
    Frontier,
    /// What `routerwise diff --format json` prints.
    Diff,
    /// What `routerwise verify --format json` prints.
    Verify,
    /// What `routerwise simulate --format json` prints.
    Simulate,
    /// What `routerwise profile compare --format json` prints.
    CompareProfiles,
    /// What `routerwise compare --format json` prints.
    Compare,
    /// What `routerwise plan --search exhaustive --format json` prints.
    Exhaustive,
    /// What `routerwise plan --spread --format json` prints.
    Spread,
    /// What `routerwise bench --format json` prints.
    Bench,
    /// A line of what `routerwise bench --records` writes.
    BenchRecord,
    /// What `routerwise label --format json` prints.
    Label,
    /// What `routerwise emulate --format json` prints.
    Emulate,
    /// What `routerwise evaluate --format json` and `routerwise train --format json` print.
    Evaluate,
    /// What `routerwise score --format json` prints.
    Score,
    /// What `POST /v1/route` of the gateway answers.
    Route,
    /// A line of the gateway's decision log.
    Decision,
    /// What `routerwise serve --format json` prints.
    Serve,
    /// What `routerwise replay --format json` prints.
    Replay,
}

impl Document {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::Plan,
        Self::Profile,
        Self::Check,
        Self::NoPlan,
        Self::Explain,
        Self::Frontier,
        Self::Diff,
        Self::Verify,
        Self::Simulate,
        Self::CompareProfiles,
        Self::Compare,
        Self::Exhaustive,
        Self::Spread,
        Self::Bench,
        Self::BenchRecord,
        Self::Label,
        Self::Emulate,
        Self::Evaluate,
        Self::Score,
        Self::Route,
        Self::Decision,
        Self::Serve,
        Self::Replay,
    ];

    /// Its name on the command line; its schema is `docs/reference/schemas/<name>.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Profile => "profile",
            Self::Check => "check",
            Self::NoPlan => "no-plan",
            Self::Explain => "explain",
            Self::Frontier => "frontier",
            Self::Diff => "diff",
            Self::Verify => "verify",
            Self::Simulate => "simulate",
            Self::CompareProfiles => "compare-profiles",
            Self::Compare => "compare",
            Self::Exhaustive => "exhaustive",
            Self::Spread => "spread",
            Self::Bench => "bench",
            Self::BenchRecord => "bench-record",
            Self::Label => "label",
            Self::Emulate => "emulate",
            Self::Evaluate => "evaluate",
            Self::Score => "score",
            Self::Route => "route",
            Self::Decision => "decision",
            Self::Serve => "serve",
            Self::Replay => "replay",
        }
    }

    /// Its JSON Schema, as indented text with a final line break.
    ///
    /// # Panics
    /// Never: a schema is made of strings, numbers and maps with string keys.
    #[must_use]
    pub fn schema(self) -> String {
        let schema = match self {
            Self::Plan => schema_for!(Plan),
            Self::Profile => schema_for!(ProfileSet),
            Self::Check => schema_for!(Report),
            Self::NoPlan => schema_for!(NoPlan),
            Self::Explain => schema_for!(Explanation),
            Self::Frontier => schema_for!(Frontier),
            Self::Diff => schema_for!(Difference),
            Self::Verify => schema_for!(Verification),
            Self::Simulate => schema_for!(Simulation),
            Self::CompareProfiles => schema_for!(ProfileComparison),
            Self::Compare => schema_for!(Comparison),
            Self::Exhaustive => schema_for!(ExhaustiveSearch),
            Self::Spread => schema_for!(Spread),
            Self::Bench => schema_for!(BenchReport),
            Self::BenchRecord => schema_for!(BenchRecord),
            Self::Label => schema_for!(Labelling),
            Self::Emulate => schema_for!(Engines),
            Self::Evaluate => schema_for!(Evaluation),
            Self::Score => schema_for!(PromptScores),
            Self::Route => schema_for!(RouteDecision),
            Self::Decision => schema_for!(DecisionRecord),
            Self::Serve => schema_for!(Serving),
            Self::Replay => schema_for!(Replay),
        };
        let text = serde_json::to_string_pretty(&schema).expect("a schema holds only what JSON holds");
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
        for document in Document::ALL {
            let path = folder.join(format!("{}.json", document.name()));
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
