//! A streamed answer, read piece by piece as it comes: server-sent events whose data are OpenAI's chunks.
//!
//! A load generator reads a hundred thousand chunks a second, so a chunk is looked at with substring searches. That is safe for
//! the member names that are searched for: inside a JSON string their closing quote would follow a backslash. Chunks
//! that hold anything else (usage, errors, what we do not know) are parsed.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::Deserialize;

/// What one chunk said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// It carries a part of the answer.
    Token,
    /// Nothing that counts: a role, an empty text.
    Nothing,
    /// The stream is over, as it should be.
    Done,
    /// The server gave up in the middle, in its words.
    Error(String),
    /// It is no chunk of OpenAI's.
    Malformed,
}

/// What the server counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Usage {
    /// Tokens of the question.
    #[serde(default)]
    pub prompt_tokens: u32,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: u32,
}

/// Reads a stream of events.
#[derive(Debug, Default)]
pub struct EventReader {
    /// The start of a line whose end has not come.
    pending: Vec<u8>,
    /// What the server counted, once it said so.
    pub usage: Option<Usage>,
    /// Whether a choice gave the reason for its end: after that nothing of the answer is missing.
    pub finished: bool,
}

/// Longest line that is believed to be one.
const LONGEST_LINE: usize = 16 << 20;

impl EventReader {
    /// Takes the bytes that came and calls back with every chunk that is complete by now.
    pub fn feed(&mut self, bytes: &[u8], chunk: &mut dyn FnMut(Chunk)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            let read = if self.pending.is_empty() {
                self.line(line)
            } else {
                let mut whole = std::mem::take(&mut self.pending);
                whole.extend_from_slice(line);
                let read = self.line(&whole);
                whole.clear();
                self.pending = whole;
                read
            };
            if let Some(read) = read {
                chunk(read);
            }
        }
        self.pending.extend_from_slice(rest);
        if self.pending.len() > LONGEST_LINE {
            self.pending.clear();
            chunk(Chunk::Malformed);
        }
    }

    /// What stood on the last line, where the stream ended without a line break.
    pub fn end(&mut self) -> Option<Chunk> {
        let line = std::mem::take(&mut self.pending);
        self.line(&line)
    }

    fn line(&mut self, line: &[u8]) -> Option<Chunk> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Comments keep a connection alive; names and ids of events say nothing here.
        let data = line.strip_prefix(b"data:")?;
        Some(self.data(data.trim_ascii()))
    }

    fn data(&mut self, data: &[u8]) -> Chunk {
        if data == b"[DONE]" {
            return Chunk::Done;
        }
        if data.first() != Some(&b'{') || data.last() != Some(&b'}') {
            return Chunk::Malformed;
        }
        let members = &*MEMBERS;
        self.finished |= has_text(&members.finish_reason, data);
        if starts_with(&members.usage, data, b"{") {
            // Some servers send the count so far with every chunk: the last one stands. Most send null until then.
            if let Ok(Counted { usage: Some(usage) }) = serde_json::from_slice(data) {
                self.usage = Some(usage);
            }
        }
        if members.text.iter().any(|member| has_text(member, data)) {
            return Chunk::Token;
        }
        rare(data)
    }
}

/// A chunk without text: parsed, because it may be an error or no chunk at all.
fn rare(data: &[u8]) -> Chunk {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else {
        return Chunk::Malformed;
    };
    if let Some(error) = value.get("error").filter(|error| !error.is_null()) {
        let message = error.get("message").unwrap_or(error);
        return Chunk::Error(message.as_str().map_or_else(|| message.to_string(), str::to_owned));
    }
    let choices = value.get("choices").and_then(|choices| choices.as_array());
    let calls = |choice: &serde_json::Value| {
        choice["delta"]["tool_calls"]
            .as_array()
            .is_some_and(|calls| !calls.is_empty())
    };
    match choices {
        Some(choices) if choices.iter().any(calls) => Chunk::Token,
        Some(_) => Chunk::Nothing,
        None if value.get("usage").is_some() => Chunk::Nothing,
        None => Chunk::Malformed,
    }
}

#[derive(Deserialize)]
struct Counted {
    usage: Option<Usage>,
}

struct Members {
    text: [Finder<'static>; 4],
    finish_reason: Finder<'static>,
    usage: Finder<'static>,
}

static MEMBERS: LazyLock<Members> = LazyLock::new(|| Members {
    text: ["content", "text", "reasoning_content", "reasoning"].map(member),
    finish_reason: member("finish_reason"),
    usage: member("usage"),
});

fn member(name: &str) -> Finder<'static> {
    Finder::new(format!("\"{name}\":").as_bytes()).into_owned()
}

/// Whether a member of this name is a string that is not empty.
fn has_text(member: &Finder<'static>, data: &[u8]) -> bool {
    values(member, data).any(|value| value.first() == Some(&b'"') && value.get(1).is_some_and(|next| *next != b'"'))
}

fn starts_with(member: &Finder<'static>, data: &[u8], start: &[u8]) -> bool {
    values(member, data).any(|value| value.starts_with(start))
}

/// What follows each member of this name.
fn values<'a>(member: &'a Finder<'static>, data: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let starts = member.find_iter(data);
    starts.map(|at| data[at + member.needle().len()..].trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(reader: &mut EventReader, bytes: &[u8]) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        reader.feed(bytes, &mut |chunk| chunks.push(chunk));
        chunks
    }

    /// As vLLM and llama.cpp send it.
    const STREAM: &str = "data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n\
        : keep-alive\n\n\
        data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" say \\\"content\\\":\"},\"finish_reason\":null}]}\r\n\r\n\
        data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\": {\"content\": \"x\"},\"finish_reason\":null}]}\n\n\
        data: {\"id\":\"1\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n\
        data: {\"id\":\"1\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"total_tokens\":7,\"completion_tokens\":2}}\n\n\
        data: [DONE]\n\n";

    #[test]
    fn a_stream_reads_alike_in_one_piece_and_byte_by_byte() {
        use Chunk::{Done, Nothing, Token};
        let wanted = vec![Nothing, Token, Token, Nothing, Nothing, Done];
        let mut whole = EventReader::default();
        assert_eq!(read(&mut whole, STREAM.as_bytes()), wanted);
        let mut parts = EventReader::default();
        let chunks: Vec<Chunk> = STREAM.bytes().flat_map(|byte| read(&mut parts, &[byte])).collect();
        assert_eq!(chunks, wanted);
        for reader in [whole, parts] {
            let usage = reader.usage.unwrap();
            assert_eq!((usage.prompt_tokens, usage.completion_tokens), (5, 2));
            assert!(reader.finished);
        }
    }

    #[test]
    fn an_empty_text_is_no_token_and_neither_is_a_word_like_a_members_name() {
        let one = |data: &str| EventReader::default().data(data.as_bytes());
        assert_eq!(one(r#"{"choices":[{"delta":{"content":""}}]}"#), Chunk::Nothing);
        assert_eq!(one(r#"{"choices":[{"delta":{"content":null}}]}"#), Chunk::Nothing);
        assert_eq!(one(r#"{"choices":[{"text":"a"}]}"#), Chunk::Token);
        assert_eq!(
            one(r#"{"choices":[{"delta":{"reasoning_content":"hm"}}]}"#),
            Chunk::Token
        );
        assert_eq!(
            one(r#"{"choices":[{"delta":{"tool_calls":[{"index":0}]}}]}"#),
            Chunk::Token
        );
    }

    #[test]
    fn errors_and_rubbish_are_told_apart() {
        let one = |data: &str| EventReader::default().data(data.as_bytes());
        assert_eq!(
            one(r#"{"error":{"message":"out of memory"}}"#),
            Chunk::Error("out of memory".into())
        );
        assert_eq!(one(r#"{"error":"no"}"#), Chunk::Error("no".into()));
        assert_eq!(one("hello"), Chunk::Malformed);
        assert_eq!(one(r#"{"choices":[{"#), Chunk::Malformed);
        assert_eq!(one(r#"{"what":1}"#), Chunk::Malformed);
    }
}
