//! JSON Schemas of the files that programs write.

use routerwise_types::plan::Plan;
use routerwise_types::profile::ProfileSet;
use schemars::schema_for;

/// A kind of file that RouterWise writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// A plan.
    Plan,
    /// Latency profiles.
    Profile,
}

impl Document {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Plan, Self::Profile];

    /// Its name on the command line; its schema is `docs/reference/schemas/<name>.json`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Profile => "profile",
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
        };
        let text = serde_json::to_string_pretty(&schema).expect("a schema holds only what JSON holds");
        format!("{text}\n")
    }
}
