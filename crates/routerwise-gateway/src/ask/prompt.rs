//! What is asked: the last thing that the user said, and how much there is to read.
//!
//! Chat completions, completions, responses and messages put it in different places. Whatever does not look as expected is left to the
//! engine to judge: it has no text here, and its scores are those of a prompt that nobody knows.

use std::borrow::Cow;
use std::fmt;

use routerwise_types::hash::prompt_hash;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::text_of;

/// English takes about four bytes a token in the vocabularies of today's models.
const BYTES_PER_TOKEN: u64 = 4;

/// What an image or another part that is no text is counted as: a high-resolution image of the vision models of today.
const TOKENS_PER_PART: u64 = 1000;

#[derive(Debug, Default)]
pub(super) struct Said<'a> {
    pub(super) last: Cow<'a, str>,
    /// What the user said before that, which a short last word refers to.
    pub(super) before: Cow<'a, str>,
    pub(super) tokens: u64,
    pub(super) prefix: u64,
}

/// Bytes of the first thing that the user said that tell conversations apart.
const PREFIX_BYTES: usize = 1024;

/// Hash of the beginning of a conversation, as it is written.
fn prefix(first: &RawValue) -> u64 {
    let text = first.get();
    let end = (0..=PREFIX_BYTES.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end));
    prompt_hash(&text[..end.unwrap_or(0)])
}

/// What was said, wherever it stands.
pub(super) fn said<'a>(
    messages: Option<&'a RawValue>,
    prompt: Option<&'a RawValue>,
    input: Option<&'a RawValue>,
) -> Said<'a> {
    let Some(raw) = messages.or(input).or(prompt) else {
        return Said::default();
    };
    if let Some(text) = text_of(raw) {
        return Said {
            tokens: tokens_in(&text),
            prefix: prefix(raw),
            last: text,
            before: Cow::default(),
        };
    }
    serde_json::from_str::<Turns<'a>>(raw.get())
        .map(|turns| Said {
            last: turns.last.map(words).unwrap_or_default(),
            before: turns.before.map(words).unwrap_or_default(),
            tokens: turns.tokens,
            prefix: turns.first.map_or(0, prefix),
        })
        .unwrap_or_default()
}

fn tokens_in(text: &str) -> u64 {
    (text.len() as u64).div_ceil(BYTES_PER_TOKEN)
}

/// One message, or one item of `input`.
#[derive(Deserialize)]
struct Turn<'a> {
    #[serde(borrow)]
    role: Option<&'a RawValue>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
}

/// One part of a message.
#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

/// Keeps of all messages only what is needed.
struct Turns<'a> {
    first: Option<&'a RawValue>,
    last: Option<&'a RawValue>,
    before: Option<&'a RawValue>,
    tokens: u64,
}

impl<'de> Deserialize<'de> for Turns<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Turns<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of messages or texts")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut turns: A) -> Result<Self::Value, A::Error> {
                let mut kept = Turns {
                    first: None,
                    last: None,
                    before: None,
                    tokens: 0,
                };
                while let Some(raw) = turns.next_element::<&'de RawValue>()? {
                    let text = raw.get();
                    if text.starts_with('"') {
                        // A list of prompts: the first stands for all.
                        kept.last = kept.last.or(Some(raw));
                        kept.first = kept.last;
                        kept.tokens += text.len() as u64 / BYTES_PER_TOKEN;
                    } else if let Ok(turn) = serde_json::from_str::<Turn<'de>>(text) {
                        kept.tokens += turn.content.map_or(0, tokens_of);
                        if turn.role.is_some_and(|role| role.get() == "\"user\"") {
                            kept.before = kept.last;
                            kept.last = turn.content.or(kept.last);
                            kept.first = kept.first.or(turn.content);
                        }
                    } else {
                        // A prompt of token numbers: one each.
                        kept.tokens += 1;
                    }
                }
                Ok(kept)
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

fn tokens_of(content: &RawValue) -> u64 {
    if content.get().starts_with('"') {
        return content.get().len() as u64 / BYTES_PER_TOKEN;
    }
    let parts: Vec<Part<'_>> = serde_json::from_str(content.get()).unwrap_or_default();
    let part = |part: &Part<'_>| match part.text {
        Some(text) => text.get().len() as u64 / BYTES_PER_TOKEN,
        None => TOKENS_PER_PART,
    };
    parts.iter().map(part).sum()
}

/// The text of a content: itself, or its text parts one below the other.
fn words(content: &RawValue) -> Cow<'_, str> {
    if let Some(text) = text_of(content) {
        return text;
    }
    let parts: Vec<Part<'_>> = serde_json::from_str(content.get()).unwrap_or_default();
    let texts: Vec<Cow<'_, str>> = parts.iter().filter_map(|part| text_of(part.text?)).collect();
    match <[_; 1]>::try_from(texts) {
        Ok([only]) => only,
        Err(texts) => Cow::Owned(texts.join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;

    fn prompt(body: &str) -> String {
        read(body.as_bytes()).unwrap().prompt.into_owned()
    }

    #[test]
    fn the_last_thing_the_user_said_is_the_prompt() {
        let body = r#"{"model":"a","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"one"},
            {"role":"assistant","content":"1"},{"role":"user","content":"t\u0077o"},{"role":"tool","content":"x"}]}"#;
        assert_eq!(prompt(body), "two");
        let parts = r#"{"model":"a","messages":[{"role":"user","content":[{"type":"text","text":"look"},
            {"type":"image_url","image_url":{"url":"data:…"}},{"type":"text","text":"here"}]}]}"#;
        assert_eq!(prompt(parts), "look\nhere");
    }

    #[test]
    fn completions_and_responses_have_theirs_elsewhere() {
        assert_eq!(prompt(r#"{"model":"a","prompt":"once"}"#), "once");
        assert_eq!(prompt(r#"{"model":"a","prompt":["once","twice"]}"#), "once");
        assert_eq!(prompt(r#"{"model":"a","prompt":[1,2,3]}"#), "");
        assert_eq!(prompt(r#"{"model":"a","input":"why?"}"#), "why?");
        let items = r#"{"model":"a","input":[{"role":"user","content":[{"type":"input_text","text":"why?"}]}]}"#;
        assert_eq!(prompt(items), "why?");
    }

    #[test]
    fn what_looks_like_nothing_known_has_no_text() {
        assert_eq!(prompt(r#"{"model":"a","messages":"odd"}"#), "odd");
        assert_eq!(prompt(r#"{"model":"a","messages":{"a":1}}"#), "");
        assert_eq!(prompt(r#"{"model":"a","messages":[[[]]]}"#), "");
    }

    #[test]
    fn images_count_as_a_fixed_number_of_tokens_whatever_their_bytes() {
        let image = "A".repeat(100_000);
        let body = format!(
            r#"{{"model":"a","messages":[{{"role":"user","content":[{{"type":"image_url","image_url":{{"url":"{image}"}}}}]}}]}}"#
        );
        assert_eq!(read(body.as_bytes()).unwrap().input_tokens, 1000);
        assert_eq!(read(br#"{"model":"a","prompt":[1,2,3]}"#).unwrap().input_tokens, 3);
    }
}
