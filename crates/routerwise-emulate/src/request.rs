//! What a client asked for, checked as vLLM checks it. Fields that are not known here are accepted.

mod body;
mod stop;

use http::{HeaderMap, StatusCode};
use routerwise_simulate::engine::Limits;
use routerwise_types::hash::mix;
use routerwise_types::workload::Lengths;

use crate::error::ApiError;
use crate::options::OutputTokens;
use body::Prompt;

/// The header that says how many tokens each prompt of a request has, whatever its text.
pub(crate) const PROMPT_TOKENS: &str = "x-prompt-tokens";

/// Most answers of one request.
const MOST_ANSWERS: usize = 1024;

/// What `/v1/completions` makes when nothing else is asked for.
const COMPLETION_TOKENS: u32 = 16;

/// Which of the two ways to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Chat,
    Completion,
}

/// Why an answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// At its own end, or at a stop word.
    Stop,
    /// At the most tokens it might have.
    Length,
}

impl Reason {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// One answer, decided before it is made.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) lengths: Lengths,
    /// What its words are drawn from.
    pub(crate) hash: u64,
    pub(crate) reason: Reason,
    /// Bytes of its text, where a stop word cuts it short.
    pub(crate) cut: Option<usize>,
    /// That stop word.
    pub(crate) stopped_by: Option<String>,
}

/// How an answer is streamed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Streaming {
    /// With a last chunk that says how many tokens there were.
    pub(crate) usage: bool,
    /// With that in every chunk.
    pub(crate) continuous_usage: bool,
}

/// A request that will be answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ask {
    pub(crate) kind: Kind,
    pub(crate) answers: Vec<Answer>,
    /// Answers to each prompt.
    pub(crate) n: u32,
    pub(crate) max_tokens: u32,
    /// Tokens of all prompts.
    pub(crate) prompt_tokens: u32,
    pub(crate) streaming: Option<Streaming>,
}

/// What decides how requests are answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) model: &'a str,
    pub(crate) limits: &'a Limits,
    pub(crate) output_tokens: &'a OutputTokens,
    pub(crate) seed: u64,
}

impl Rules<'_> {
    /// Reads a request.
    pub(crate) fn read(&self, kind: Kind, headers: &HeaderMap, bytes: &[u8]) -> Result<Ask, ApiError> {
        let (wanted, prompts) = body::read(kind, bytes)?;
        self.check_model(wanted.model.as_deref())?;
        let stated = stated_tokens(headers)?;
        let n = wanted.n()?;
        if prompts.len() * n as usize > MOST_ANSWERS {
            return Err(ApiError::bad_request(format!("at most {MOST_ANSWERS} answers to one request")).of("n"));
        }
        wanted.check_sampling()?;
        let stops = wanted.stops()?;
        let min_tokens = wanted.min_tokens();
        let mut ask = Ask {
            kind,
            answers: Vec::with_capacity(prompts.len() * n as usize),
            n,
            max_tokens: 0,
            prompt_tokens: 0,
            streaming: wanted.streaming()?,
        };
        for prompt in &prompts {
            let input = stated.unwrap_or(prompt.tokens);
            let most = self.most_tokens(kind, input, wanted.max_tokens()?)?;
            if min_tokens > most {
                let message = format!("min_tokens must be less than or equal to max_tokens={most}, got {min_tokens}.");
                return Err(ApiError::bad_request(message).of("min_tokens"));
            }
            ask.max_tokens = most;
            ask.prompt_tokens = ask.prompt_tokens.saturating_add(input);
            for ix in 0..n {
                let hash = self.hash(prompt, wanted.seed, ix);
                let drawn = match wanted.ignore_eos {
                    true => most,
                    false => self.output_tokens.draw(hash).max(min_tokens),
                };
                let output = drawn.min(most);
                let mut answer = Answer {
                    lengths: Lengths { input, output },
                    hash,
                    // An answer that ends of itself with the last token that it may have has ended of itself.
                    reason: if drawn > most || wanted.ignore_eos {
                        Reason::Length
                    } else {
                        Reason::Stop
                    },
                    cut: None,
                    stopped_by: None,
                };
                stop::cut_short(&mut answer, &stops, min_tokens, wanted.include_stop_str_in_output);
                ask.answers.push(answer);
            }
        }
        Ok(ask)
    }

    /// Who names no model means the one that there is.
    pub(crate) fn check_model(&self, wanted: Option<&str>) -> Result<(), ApiError> {
        match wanted {
            Some(unknown) if unknown != self.model => {
                let message = format!("The model `{unknown}` does not exist.");
                Err(ApiError::new(StatusCode::NOT_FOUND, message).of("model"))
            }
            _ => Ok(()),
        }
    }

    /// Tokens of a request's prompts.
    pub(crate) fn count(&self, kind: Kind, headers: &HeaderMap, bytes: &[u8]) -> Result<u32, ApiError> {
        let (_, prompts) = body::read(kind, bytes)?;
        let stated = stated_tokens(headers)?;
        Ok(prompts.iter().map(|prompt| stated.unwrap_or(prompt.tokens)).sum())
    }

    /// Tokens that an answer may have, as vLLM counts them.
    fn most_tokens(&self, kind: Kind, input: u32, wanted: Option<u32>) -> Result<u32, ApiError> {
        let context = self.limits.max_model_len;
        if input == 0 {
            return Err(ApiError::bad_request("The decoder prompt cannot be empty"));
        }
        if input >= context {
            return Err(ApiError::bad_request(format!(
                "This model's maximum context length is {context} tokens. However, your request has {input} input tokens. Please reduce the length of the input messages."
            )));
        }
        let room = context - input;
        let most = match (wanted, kind) {
            (Some(most), _) => most,
            (None, Kind::Chat) => room,
            (None, Kind::Completion) => COMPLETION_TOKENS.min(room),
        };
        if most > room {
            return Err(ApiError::bad_request(format!(
                "'max_tokens' or 'max_completion_tokens' is too large: {most}. This model's maximum context length is {context} tokens and your request has {input} input tokens ({most} > {context} - {input})."
            ))
            .of("max_tokens"));
        }
        Ok(most)
    }

    /// The same prompt, seed and place among the answers: the same answer.
    fn hash(&self, prompt: &Prompt, seed: Option<i64>, ix: u32) -> u64 {
        let seed = seed.unwrap_or_default().cast_unsigned();
        mix(mix(mix(self.seed ^ prompt.hash) ^ seed) ^ u64::from(ix))
    }
}

fn stated_tokens(headers: &HeaderMap) -> Result<Option<u32>, ApiError> {
    let Some(value) = headers.get(PROMPT_TOKENS) else {
        return Ok(None);
    };
    let tokens = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    match tokens {
        Some(tokens) => Ok(Some(tokens)),
        None => Err(ApiError::bad_request(format!(
            "the header `{PROMPT_TOKENS}` must be a number of tokens"
        ))),
    }
}
