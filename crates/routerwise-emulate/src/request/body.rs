//! Bodies of requests.

use routerwise_types::hash::{mix, prompt_hash};
use serde::Deserialize;
use serde_json::Value;

use super::{Kind, Streaming};
use crate::error::ApiError;
use crate::tokens;

/// What both kinds of request have in common.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    pub(super) model: Option<String>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    n: Option<i64>,
    stop: Option<OneOrMany<String>>,
    #[serde(default)]
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    #[serde(default)]
    pub(super) ignore_eos: bool,
    min_tokens: Option<u32>,
    pub(super) seed: Option<i64>,
    #[serde(default)]
    pub(super) include_stop_str_in_output: bool,
    temperature: Option<f64>,
    top_p: Option<f64>,
    messages: Option<Vec<Message>>,
    prompt: Option<PromptField>,
    prompt_token_ids: Option<Vec<i64>>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
    #[serde(default)]
    continuous_usage_stats: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

#[derive(Debug, Deserialize)]
struct Message {
    #[serde(rename = "role")]
    _role: String,
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Part {
    Text(String),
    Other(serde_json::Map<String, Value>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum PromptField {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<i64>),
    ManyTokens(Vec<Vec<i64>>),
}

/// One prompt: how long it is, and what tells it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prompt {
    pub(super) tokens: u32,
    pub(super) hash: u64,
}

impl Prompt {
    fn of_text(text: &str) -> Self {
        Self {
            tokens: tokens::count(text),
            hash: prompt_hash(text),
        }
    }

    fn of_tokens(ids: &[i64]) -> Self {
        Self {
            tokens: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            hash: ids.iter().fold(0, |hash, id| mix(hash ^ id.cast_unsigned())),
        }
    }
}

/// Reads a body and its prompts.
pub(super) fn read(kind: Kind, bytes: &[u8]) -> Result<(Wanted, Vec<Prompt>), ApiError> {
    let wanted: Wanted = serde_json::from_slice(bytes)
        .map_err(|error| ApiError::bad_request(format!("invalid request body: {error}")))?;
    let prompts = match (&wanted.prompt_token_ids, kind) {
        (Some(ids), _) => vec![Prompt::of_tokens(ids)],
        (None, Kind::Chat) => vec![chat_prompt(&wanted)?],
        (None, Kind::Completion) => completion_prompts(&wanted)?,
    };
    Ok((wanted, prompts))
}

fn chat_prompt(wanted: &Wanted) -> Result<Prompt, ApiError> {
    let messages = wanted.messages.as_deref().unwrap_or_default();
    if messages.is_empty() {
        return Err(ApiError::bad_request("`messages` must hold at least one message").of("messages"));
    }
    let mut prompt = Prompt { tokens: 0, hash: 0 };
    let mut add = |part: Prompt| {
        prompt.tokens = prompt.tokens.saturating_add(part.tokens);
        prompt.hash = mix(prompt.hash ^ part.hash);
    };
    for content in messages.iter().filter_map(|message| message.content.as_ref()) {
        match content {
            Content::Text(text) => add(Prompt::of_text(text)),
            Content::Parts(parts) => parts.iter().map(part).for_each(&mut add),
        }
    }
    Ok(prompt)
}

fn part(part: &Part) -> Prompt {
    let text = match part {
        Part::Text(text) => Some(text.as_str()),
        Part::Other(fields) => fields.get("text").and_then(Value::as_str),
    };
    text.map_or(
        Prompt {
            tokens: tokens::TOKENS_PER_PART,
            hash: 1,
        },
        Prompt::of_text,
    )
}

fn completion_prompts(wanted: &Wanted) -> Result<Vec<Prompt>, ApiError> {
    let prompts: Vec<Prompt> = match &wanted.prompt {
        None => Vec::new(),
        Some(PromptField::Text(text)) => vec![Prompt::of_text(text)],
        Some(PromptField::Texts(texts)) => texts.iter().map(|text| Prompt::of_text(text)).collect(),
        Some(PromptField::Tokens(ids)) => vec![Prompt::of_tokens(ids)],
        Some(PromptField::ManyTokens(many)) => many.iter().map(|ids| Prompt::of_tokens(ids)).collect(),
    };
    if prompts.is_empty() {
        return Err(ApiError::bad_request("`prompt` must be a text, a list of texts, or token ids").of("prompt"));
    }
    Ok(prompts)
}

impl Wanted {
    /// `max_completion_tokens` is the newer name and wins.
    pub(super) fn max_tokens(&self) -> Result<Option<u32>, ApiError> {
        let Some(tokens) = self.max_completion_tokens.or(self.max_tokens) else {
            return Ok(None);
        };
        if tokens < 1 {
            let message = format!("max_tokens must be at least 1, got {tokens}.");
            return Err(ApiError::bad_request(message).of("max_tokens"));
        }
        Ok(Some(u32::try_from(tokens).unwrap_or(u32::MAX)))
    }

    pub(super) fn min_tokens(&self) -> u32 {
        self.min_tokens.unwrap_or(0)
    }

    pub(super) fn n(&self) -> Result<u32, ApiError> {
        match self.n.unwrap_or(1) {
            n @ 1.. => Ok(u32::try_from(n).unwrap_or(u32::MAX)),
            n => Err(ApiError::bad_request(format!("n must be at least 1, got {n}.")).of("n")),
        }
    }

    pub(super) fn check_sampling(&self) -> Result<(), ApiError> {
        let wrong = |name, value: f64, rule: &str| {
            Err(ApiError::bad_request(format!("{name} must be {rule}, got {value}.")).of(name))
        };
        match (self.temperature, self.top_p) {
            (Some(value), _) if value < 0.0 => wrong("temperature", value, "non-negative"),
            (_, Some(value)) if !(0.0 < value && value <= 1.0) => wrong("top_p", value, "in (0, 1]"),
            _ => Ok(()),
        }
    }

    pub(super) fn stops(&self) -> Result<Vec<&str>, ApiError> {
        let stops: Vec<&str> = match &self.stop {
            None => Vec::new(),
            Some(OneOrMany::One(stop)) => vec![stop],
            Some(OneOrMany::Many(stops)) => stops.iter().map(String::as_str).collect(),
        };
        if stops.contains(&"") {
            return Err(ApiError::bad_request("stop cannot contain an empty string.").of("stop"));
        }
        Ok(stops)
    }

    pub(super) fn streaming(&self) -> Result<Option<Streaming>, ApiError> {
        let streams = self.stream.unwrap_or(false);
        match (&self.stream_options, streams) {
            (Some(_), false) => Err(
                ApiError::bad_request("Stream options can only be defined when `stream=True`.").of("stream_options"),
            ),
            (None, _) => Ok(streams.then(Streaming::default)),
            (Some(options), true) => {
                let continuous_usage = options.continuous_usage_stats.unwrap_or(false);
                Ok(Some(Streaming {
                    usage: options.include_usage.unwrap_or(false),
                    continuous_usage: continuous_usage && options.include_usage.unwrap_or(false),
                }))
            }
        }
    }
}
