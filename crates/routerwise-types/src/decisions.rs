//! The decision log of the gateway: one line per request, what was decided and what came of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the log's layout.
pub const DECISION_SCHEMA: u32 = 1;

/// One request: what was decided, why, and what came of it. Prompts are in it only where that was switched on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRecord {
    /// Layout version: [`DECISION_SCHEMA`].
    pub schema: u32,
    /// When it came in, in seconds since 1970.
    pub at: f64,
    /// Its id, as in `x-request-id`.
    pub id: String,
    /// Path that was asked.
    pub endpoint: String,
    /// Route or model that it named; absent where neither was found.
    pub asked: Option<String>,
    /// Whether a route chose the model.
    pub routed: bool,
    /// Name of its API key.
    pub key: Option<String>,
    /// The plan in force.
    pub plan: String,
    /// Hash of its prompt, hexadecimal: the same for the same prompt.
    pub prompt_hash: Option<String>,
    /// Its prompt, where that was switched on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub prompt: Option<String>,
    /// Predicted score of every model; empty where nothing predicts them.
    pub scores: BTreeMap<String, f32>,
    /// The model that answered, or was asked last.
    pub model: Option<String>,
    /// Where its replica is.
    pub replica: Option<String>,
    /// Why that model.
    pub reason: Option<String>,
    /// What it cost, in units of score.
    pub price: Option<f64>,
    /// By how much its score less its price exceeded the runner-up's.
    pub margin: Option<f64>,
    /// Tries that failed, in order.
    pub failed_tries: Vec<FailedTry>,
    /// The second copy that was asked for elsewhere, where one was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hedge: Option<HedgeRecord>,
    /// Status that the client got; 0 where it was gone before.
    pub status: u16,
    /// Why it was not answered to its end; absent where it was.
    pub cause: Option<String>,
    /// Whether it asked for a stream.
    pub stream: bool,
    /// Tokens of the prompt: as the engine counts them, or estimated.
    pub prompt_tokens: u64,
    /// Tokens of the answer, as far as known.
    pub output_tokens: Option<u64>,
    /// Seconds to the first byte of the answer's body.
    pub first_byte: Option<f64>,
    /// Seconds to its end.
    pub duration: f64,
}

/// A second copy of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HedgeRecord {
    /// The model that it went to.
    pub model: String,
    /// Where its replica is.
    pub replica: String,
    /// `predicted`: the first one was going to miss its target; `late`: it took longer than nearly all do.
    pub why: String,
    /// Seconds after the first one.
    pub after: f64,
    /// Which one was answered: `won` (this one), `lost` (the first one) or `unanswered`.
    pub outcome: String,
}

/// A try that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailedTry {
    /// The model.
    pub model: String,
    /// Where its replica is.
    pub replica: String,
    /// Why it failed.
    pub cause: String,
}
