//! What an answer says about itself, looked at while its bytes pass: how many tokens it took, whether it came to its end, and whether it
//! makes sense.

use memchr::memmem;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Longest event that is looked at, and how much of the end of an answer that is no stream is kept.
const MOST_LINE: usize = 64 << 10;
const MOST_TAIL: usize = 16 << 10;

/// Tokens that an engine says it read and wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Usage {
    #[serde(alias = "input_tokens")]
    pub(crate) prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    pub(crate) completion_tokens: Option<u64>,
}

/// What was seen so far.
#[derive(Debug)]
pub(crate) enum Peek {
    /// Server-sent events.
    Events(Events),
    /// Anything else: its end may name the tokens.
    Whole(Whole),
    /// Packed bytes, which say nothing.
    Blind,
}

#[derive(Debug, Default)]
pub(crate) struct Whole {
    tail: Vec<u8>,
    /// The beginning is not kept any more.
    cut: bool,
    json: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Events {
    line: Vec<u8>,
    /// A line longer than is looked at goes on.
    skipping: bool,
    n_data: u64,
    ended: bool,
    failed: bool,
    malformed: bool,
    usage: Usage,
}

/// How an answer ended, by what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) usage: Usage,
    /// Events with data, the last marker left out: about one per token.
    pub(crate) n_events: Option<u64>,
    /// Whether a stream said that it is complete.
    pub(crate) ended: bool,
    /// Whether the engine reported an error within a stream.
    pub(crate) failed: bool,
    /// Whether something in it is not the JSON that it should be: its client cannot read it.
    pub(crate) malformed: bool,
}

impl Peek {
    pub(crate) fn new(content_type: &[u8], packed: bool) -> Self {
        if packed {
            Self::Blind
        } else if content_type.starts_with(b"text/event-stream") {
            Self::Events(Events::default())
        } else {
            Self::Whole(Whole {
                json: content_type.starts_with(b"application/json"),
                ..Whole::default()
            })
        }
    }

    pub(crate) fn is_stream(&self) -> bool {
        matches!(self, Self::Events(_))
    }

    /// The next bytes of the answer.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Events(events) => events.feed(bytes),
            Self::Whole(whole) => whole.feed(bytes),
            Self::Blind => {}
        }
    }

    pub(crate) fn seen(&self) -> Seen {
        match self {
            Self::Events(events) => Seen {
                usage: events.usage,
                n_events: Some(events.n_data),
                ended: events.ended,
                failed: events.failed,
                malformed: events.malformed,
            },
            Self::Whole(whole) => Seen {
                usage: usage_in(&whole.tail).unwrap_or_default(),
                n_events: None,
                ended: true,
                failed: false,
                malformed: whole.is_malformed(),
            },
            Self::Blind => Seen {
                usage: Usage::default(),
                n_events: None,
                ended: true,
                failed: false,
                malformed: false,
            },
        }
    }
}

impl Whole {
    fn feed(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(MOST_TAIL)..];
        self.cut |= kept.len() < bytes.len();
        if self.tail.len() + kept.len() > 2 * MOST_TAIL {
            let surplus = self.tail.len() - MOST_TAIL.min(self.tail.len());
            self.tail.drain(..surplus);
            self.cut = true;
        }
        self.tail.extend_from_slice(kept);
    }

    /// Of an answer that is too long to be kept only the end is known.
    fn is_malformed(&self) -> bool {
        let text = self.tail.trim_ascii_end();
        self.json
            && !text.is_empty()
            && if self.cut {
                !matches!(text.last(), Some(b'}' | b']'))
            } else {
                !is_json(text)
            }
    }
}

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

impl Events {
    fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (piece, rest) = (&bytes[..end], &bytes[end + 1..]);
            bytes = rest;
            if self.skipping {
                self.skipping = false;
                self.n_data += 1;
            } else if self.line.is_empty() {
                self.take(piece);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(piece);
                self.take(&line);
                line.clear();
                self.line = line;
            }
        }
        if self.skipping {
            return;
        }
        if self.line.len() + bytes.len() > MOST_LINE {
            self.skipping = true;
            self.line.clear();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    fn take(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(data) = line.strip_prefix(b"data:") else {
            // Messages and responses name their events.
            self.ended |= matches!(line, b"event: message_stop" | b"event: response.completed");
            self.failed |= matches!(line, b"event: error" | b"event: response.failed");
            return;
        };
        let data = data.strip_prefix(b" ").unwrap_or(data);
        if data == b"[DONE]" {
            self.ended = true;
            return;
        }
        self.n_data += 1;
        self.failed |= data.starts_with(b"{\"error\"");
        // No engine spreads the data of an event over several lines. Nothing at all keeps a connection alive.
        self.malformed |= !data.is_empty() && !is_json(data);
        if let Some(usage) = usage_in(data) {
            self.usage.prompt_tokens = usage.prompt_tokens.or(self.usage.prompt_tokens);
            self.usage.completion_tokens = usage.completion_tokens.or(self.usage.completion_tokens);
        }
    }
}

/// The last object called `usage`. Quotes within texts are escaped, so this is a key wherever it stands.
fn usage_in(json: &[u8]) -> Option<Usage> {
    const KEY: &[u8] = b"\"usage\"";
    let at = memmem::rfind(json, KEY)?;
    let value = json[at + KEY.len()..].trim_ascii_start().strip_prefix(b":")?;
    let mut values = serde_json::Deserializer::from_slice(value).into_iter::<Option<Usage>>();
    values.next()?.ok()?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n: ping\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{}\"}}]}\r\n\r\n\
        data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"x\":{}}}\n\ndata: [DONE]\n\n";

    fn seen(pieces: &[&[u8]]) -> Seen {
        let mut peek = Peek::new(b"text/event-stream; charset=utf-8", false);
        pieces.iter().for_each(|piece| peek.feed(piece));
        peek.seen()
    }

    #[test]
    fn tokens_and_the_end_of_a_stream_are_seen() {
        let seen = seen(&[STREAM.as_bytes()]);
        let usage = Usage {
            prompt_tokens: Some(5),
            completion_tokens: Some(2),
        };
        assert_eq!(
            (seen.usage, seen.n_events, seen.ended, seen.failed),
            (usage, Some(3), true, false)
        );
    }

    #[test]
    fn messages_and_responses_end_by_name() {
        let messages = seen(&[
            b"event: message_start\ndata: {\"usage\":{\"input_tokens\":7,\"output_tokens\":1}}\n\n\
            event: message_delta\ndata: {\"usage\":{\"output_tokens\":9}}\n\nevent: message_stop\ndata: {}\n\n",
        ]);
        assert_eq!(messages.usage.prompt_tokens, Some(7));
        assert_eq!(messages.usage.completion_tokens, Some(9));
        assert!(messages.ended);
        assert!(seen(&[b"data: {\"error\":{\"message\":\"x\"}}\n\n"]).failed);
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut peek = Peek::new(b"text/event-stream", false);
        (0..100).for_each(|_| peek.feed(&[b'x'; 4096]));
        let Peek::Events(events) = &peek else {
            unreachable!("a stream")
        };
        assert!(events.line.len() <= MOST_LINE);
        peek.feed(b"\ndata: [DONE]\n");
        assert!(peek.seen().ended);
    }

    #[test]
    fn the_end_of_a_whole_answer_names_its_tokens() {
        let mut peek = Peek::new(b"application/json", false);
        (0..20).for_each(|_| peek.feed(&[b' '; 9000]));
        peek.feed(br#"{"choices":[],"usage" : {"prompt_tokens":3,"completion_tokens":4},"z":1}"#);
        assert_eq!(peek.seen().usage.completion_tokens, Some(4));
        let Peek::Whole(whole) = &peek else {
            unreachable!("not a stream")
        };
        assert!(whole.tail.len() <= 2 * MOST_TAIL);
    }

    #[test]
    fn what_no_client_can_read_is_seen() {
        let malformed = |events: &str| seen(&[events.as_bytes()]).malformed;
        assert!(malformed("data: {\"choices\":[{\"delta\":{\"con\n\ndata: [DONE]\n\n"));
        assert!(!malformed("data: {}\n\n: ping\n\ndata: \n\ndata: [DONE]\n\n"));
        let whole = |kind: &str, text: &[u8]| {
            let mut peek = Peek::new(kind.as_bytes(), false);
            text.chunks(10_000).for_each(|piece| peek.feed(piece));
            peek.seen().malformed
        };
        assert!(whole("application/json", b"{\"choices\":["));
        assert!(!whole("application/json; charset=utf-8", b"{\"choices\":[]}\n"));
        assert!(!whole("application/json", b"") && !whole("text/plain", b"{"));
        let mut long = b"{\"a\":\"".to_vec();
        long.resize(100_000, b'x');
        assert!(whole("application/json", &long));
        long.extend_from_slice(b"\"}");
        assert!(!whole("application/json", &long));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_a_stream_is_cut(cuts in proptest::collection::vec(0..STREAM.len(), 0..12)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let mut from = 0;
            let mut pieces = Vec::new();
            for cut in cuts {
                pieces.push(&STREAM.as_bytes()[from..cut]);
                from = cut;
            }
            pieces.push(&STREAM.as_bytes()[from..]);
            prop_assert_eq!(seen(&pieces), seen(&[STREAM.as_bytes()]));
        }

        #[test]
        fn nothing_that_passes_can_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut events = Peek::new(b"text/event-stream", false);
            events.feed(&bytes);
            let _ = events.seen();
            let mut whole = Peek::new(b"", false);
            whole.feed(&bytes);
            let _ = whole.seen();
        }
    }
}
