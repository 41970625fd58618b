//! What the gateway reads of a request body, and the one thing it changes there: the value of `model`.
//!
//! The body is never parsed into a tree and written out again: numbers, escapes, order, white space and fields that nobody knows would
//! not survive. What is needed is borrowed from the bytes, and the new model name is put in the place of the old value.
//!
//! Where a body names a field twice, JSON parsers disagree about which one counts: a key that may ask the small model could get the
//! large one by writing both. Such bodies are refused. Keys written with escapes (`"mod\u0065l"`) are the same keys.

mod prompt;

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::error::{Cause, Refusal};

/// Longest model name that is looked up.
const MOST_NAME_BYTES: usize = 256;

/// The fields that decide something here; each at most once.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow)]
    max_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_completion_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow)]
    n: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// What is known of a request body.
#[derive(Debug)]
pub(crate) struct Ask<'a> {
    /// The model that it names.
    pub(crate) model: Cow<'a, str>,
    /// Where in the body that value stands, quotes included.
    pub(crate) span: Range<usize>,
    /// Whether it wants a stream.
    pub(crate) stream: bool,
    /// Most tokens that it wants back, over all choices; absent where it leaves that to the engine.
    pub(crate) output_limit: Option<u64>,
    /// What is asked: the text of the last thing the user said.
    pub(crate) prompt: Cow<'a, str>,
    /// What the user said before that.
    pub(crate) before: Cow<'a, str>,
    /// Hash of the beginning of the conversation: the same for all of its turns. 0 where nothing was said.
    pub(crate) prefix: u64,
    /// Tokens of all that the engine has to read, estimated.
    pub(crate) input_tokens: u64,
}

/// Reads a body.
pub(crate) fn read(body: &[u8]) -> Result<Ask<'_>, Refusal> {
    let wrong = |what: String| Refusal::new(Cause::BadRequest, what);
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(wrong("the body is not a JSON object".to_owned()));
    }
    let envelope: Envelope<'_> =
        serde_json::from_slice(body).map_err(|error| wrong(format!("the body cannot be read: {error}")))?;
    let raw = envelope
        .model
        .ok_or_else(|| wrong("the body names no `model`".to_owned()).param("model"))?;
    let model: Cow<'_, str> = text_of(raw).ok_or_else(|| wrong("`model` is not a text".to_owned()).param("model"))?;
    if model.is_empty() || model.len() > MOST_NAME_BYTES {
        let message = format!("`model` must have 1 to {MOST_NAME_BYTES} bytes");
        return Err(wrong(message).param("model"));
    }
    // The raw value is a part of the body, so their addresses say where.
    let start = raw.get().as_ptr() as usize - body.as_ptr() as usize;
    let said = prompt::said(envelope.messages, envelope.prompt, envelope.input);
    let limit = [
        envelope.max_completion_tokens,
        envelope.max_output_tokens,
        envelope.max_tokens,
    ]
    .into_iter()
    .find_map(whole);
    Ok(Ask {
        model,
        span: start..start + raw.get().len(),
        stream: envelope.stream.is_some_and(|stream| stream.get() == "true"),
        output_limit: limit.map(|limit| limit.saturating_mul(whole(envelope.n).unwrap_or(1).max(1))),
        prompt: said.last,
        before: said.before,
        prefix: said.prefix,
        input_tokens: said.tokens,
    })
}

/// The body with another model name; the same bytes where the name is the same.
pub(crate) fn with_model(body: &Bytes, span: &Range<usize>, name: &str) -> Bytes {
    let name = serde_json::to_string(name).expect("a text is JSON");
    if body[span.clone()] == *name.as_bytes() {
        return body.clone();
    }
    let mut spliced = BytesMut::with_capacity(body.len() - span.len() + name.len());
    spliced.extend_from_slice(&body[..span.start]);
    spliced.extend_from_slice(name.as_bytes());
    spliced.extend_from_slice(&body[span.end..]);
    spliced.freeze()
}

/// A JSON text, unescaped; borrowed where it has no escapes.
fn text_of(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

fn whole(raw: Option<&RawValue>) -> Option<u64> {
    raw?.get().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(body: &str) -> String {
        String::from_utf8(read(body.as_bytes()).unwrap_err().body().to_vec()).unwrap()
    }

    #[test]
    fn only_the_value_of_model_changes() {
        let body = Bytes::from_static(br#" {"zz":1.0e2,  "model" : "auto","x":{"model":"inner"},"messages":[]}"#);
        let ask = read(&body).unwrap();
        assert_eq!(ask.model, "auto");
        let sent = with_model(&body, &ask.span, "llama \"8b\"");
        assert_eq!(
            sent,
            Bytes::from_static(br#" {"zz":1.0e2,  "model" : "llama \"8b\"","x":{"model":"inner"},"messages":[]}"#)
        );
    }

    #[test]
    fn the_same_name_leaves_the_very_same_bytes() {
        let body = Bytes::from_static(br#"{"model":"small"}"#);
        let ask = read(&body).unwrap();
        assert_eq!(with_model(&body, &ask.span, "small").as_ptr(), body.as_ptr());
    }

    #[test]
    fn escaped_keys_and_names_are_the_same_keys_and_names() {
        let body = Bytes::from_static(br#"{"mod\u0065l":"\u0061uto"}"#);
        let ask = read(&body).unwrap();
        assert_eq!(ask.model, "auto");
        assert_eq!(
            with_model(&body, &ask.span, "b"),
            Bytes::from_static(br#"{"mod\u0065l":"b"}"#)
        );
    }

    #[test]
    fn a_field_that_stands_twice_is_refused_however_it_is_written() {
        assert!(refused(r#"{"model":"a","model":"b"}"#).contains("duplicate field `model`"));
        assert!(refused(r#"{"model":"a","mod\u0065l":"b"}"#).contains("duplicate field `model`"));
        assert!(refused(r#"{"model":"a","max_tokens":1,"max_tokens":9}"#).contains("duplicate field"));
    }

    #[test]
    fn what_is_no_request_is_refused_with_a_reason() {
        assert!(refused("[\"auto\"]").contains("not a JSON object"));
        assert!(refused("").contains("not a JSON object"));
        assert!(refused(r#"{"model":3}"#).contains("`model` is not a text"));
        assert!(refused(r#"{"model":null}"#).contains("names no `model`"));
        assert!(refused(r#"{"model":"a"} x"#).contains("cannot be read"));
        assert!(refused(r#"{"model":""}"#).contains("1 to 256 bytes"));
        assert!(read(b"{\"model\":\"\xff\"}").is_err());
    }

    #[test]
    fn limits_of_all_three_interfaces_are_read() {
        let limit = |body: &str| read(body.as_bytes()).unwrap().output_limit;
        assert_eq!(limit(r#"{"model":"a","max_tokens":7}"#), Some(7));
        assert_eq!(limit(r#"{"model":"a","max_completion_tokens":7,"n":3}"#), Some(21));
        assert_eq!(
            limit(r#"{"model":"a","max_output_tokens":7,"max_tokens":null}"#),
            Some(7)
        );
        assert_eq!(limit(r#"{"model":"a"}"#), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
        }

        #[test]
        fn splicing_keeps_every_other_byte(
            before in "[a-z]{1,8}", value in "[ -~]{0,20}", name in "\\PC{1,20}", new in "\\PC{1,20}",
        ) {
            prop_assume!(!["model", "stream", "prompt", "input", "messages", "n"].contains(&before.as_str()));
            let text = |text: &str| serde_json::to_string(text).unwrap();
            let (key, rest) = (text(&before), text(&value));
            let body = Bytes::from(format!("{{{key}:{rest},\"model\":{},\"z\":[{rest}]}}", text(&name)));
            let ask = read(&body).unwrap();
            prop_assert_eq!(&*ask.model, name.as_str());
            let sent = with_model(&body, &ask.span, &new);
            prop_assert_eq!(sent, format!("{{{key}:{rest},\"model\":{},\"z\":[{rest}]}}", text(&new)));
        }
    }
}
