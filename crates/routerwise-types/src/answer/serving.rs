//! What `routerwise serve` says when it listens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;

/// Where a gateway listens: `routerwise serve --format json` prints it as one line once it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// Layout version.
    pub schema: u32,
    /// The plan in force.
    pub plan: Fingerprint,
    /// Where requests come in, without `/v1`.
    pub url: String,
    /// Where metrics and administration are.
    pub admin: Option<String>,
    /// Its process.
    pub pid: u32,
}
