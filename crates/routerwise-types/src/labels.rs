//! Labelling: which prompts to ask, and of whom.

use std::fmt;

use serde_json::{Map, Value};

use crate::units::Seconds;

/// A prompt that is to be answered by every model, and what a right answer looks like.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Names it once in the scores file.
    pub id: String,
    /// The text that a predictor will read.
    pub text: String,
    /// A whole chat as the JSON list that is sent; without one the text is sent as the user's message.
    pub chat: Option<Value>,
    /// The right answer, where it is known.
    pub reference: Option<String>,
    /// Where it comes from, such as the name of a task.
    pub source: Option<String>,
    /// How often it is asked, relative to the others; positive.
    pub weight: f64,
}

/// An OpenAI-compatible endpoint and how it may be used.
#[derive(Clone, PartialEq)]
pub struct Endpoint {
    /// Name of the model in the scores file.
    pub name: String,
    /// Up to and with `/v1`.
    pub url: String,
    /// Name under which the endpoint knows it.
    pub served_name: String,
    /// Environment variable that holds the key.
    pub key_env: Option<String>,
    /// System message of every request.
    pub system: Option<String>,
    /// Requests sent in a second; no limit where absent.
    pub requests_per_second: Option<f64>,
    /// Requests in flight at once.
    pub concurrency: u32,
    /// Longest answer.
    pub max_tokens: u32,
    /// Sampling temperature.
    pub temperature: f64,
    /// Longest wait for one answer.
    pub timeout: Seconds,
    /// What its tokens cost.
    pub price: Option<TokenPrice>,
    /// Further fields of every request.
    pub extra: Map<String, Value>,
}

/// Without the URL, the system message and the further fields: they may hold secrets.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("name", &self.name)
            .field("served_name", &self.served_name)
            .finish_non_exhaustive()
    }
}

/// Money for a million tokens, in whatever currency the user thinks in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenPrice {
    /// Tokens read.
    pub input: f64,
    /// Tokens written.
    pub output: f64,
}

impl TokenPrice {
    /// What so many tokens cost.
    #[must_use]
    pub fn of(self, input_tokens: f64, output_tokens: f64) -> f64 {
        (self.input * input_tokens + self.output * output_tokens) / 1e6
    }
}
