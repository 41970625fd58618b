//! Many clients at once, and what each of them saw.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part; the panic is the report"
)]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// An answer that takes longer hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) model: &'static str,
    pub(crate) stream: bool,
    pub(crate) tokens: u32,
}

pub(crate) const STREAM: Ask = Ask {
    model: "small",
    stream: true,
    tokens: 12,
};

pub(crate) const WHOLE: Ask = Ask {
    stream: false,
    ..STREAM
};

impl Ask {
    pub(crate) fn body(self, nth: usize) -> String {
        let Self { model, stream, tokens } = self;
        format!(
            r#"{{"model":"{model}","stream":{stream},"max_tokens":{tokens},"ignore_eos":true,"messages":[{{"role":"user","content":"question {nth}"}}]}}"#
        )
    }

    pub(crate) fn request(self, nth: usize) -> String {
        let body = self.body(nth);
        format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    }
}

/// How one request ended for its client.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) stream: bool,
    pub(crate) status: u16,
    /// Why it failed, in the gateway's words; nothing where all of the answer came.
    pub(crate) failed: Option<String>,
    pub(crate) text: String,
    pub(crate) took: Duration,
}

/// Sends a request and reads all that comes.
pub(crate) fn ask(url: &str, ask: Ask, nth: usize) -> Seen {
    let start = Instant::now();
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(ask.request(nth).as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    if let Err(error) = end {
        let hangs = matches!(
            error.kind(),
            std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
        );
        assert!(!hangs, "request {nth} hangs after {}", String::from_utf8_lossy(&bytes));
    }
    read(&String::from_utf8(bytes).unwrap(), ask.stream, start.elapsed())
}

/// What an answer says.
pub(crate) fn read(text: &str, stream: bool, took: Duration) -> Seen {
    let (head, rest) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer in {text:?}"));
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    let head = head.to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let (body, complete) = match length {
        Some(length) => (rest.to_owned(), rest.len() == length),
        None => unchunk(rest),
    };
    let failed = if status != 200 {
        Some(code(&body).unwrap_or_else(|| panic!("no code in {text:?}")))
    } else if !complete {
        Some("truncated".to_owned())
    } else if stream {
        fault_of(&body)
    } else {
        serde_json::from_str::<Value>(&body)
            .is_err()
            .then(|| "malformed".to_owned())
    };
    Seen {
        stream,
        status,
        failed,
        text: text.to_owned(),
        took,
    }
}

/// What is wrong with a stream.
fn fault_of(body: &str) -> Option<String> {
    let events = || {
        body.split("\n\n")
            .filter_map(|event| event.trim().strip_prefix("data: "))
    };
    if let Some(code) = events().find_map(code) {
        return Some(code);
    }
    if events().any(|event| event != "[DONE]" && serde_json::from_str::<Value>(event).is_err()) {
        return Some("malformed".to_owned());
    }
    (events().last() != Some("[DONE]")).then(|| "truncated".to_owned())
}

/// The gateway's own word for it; an engine's errors have a number there.
fn code(body: &str) -> Option<String> {
    let json: Value = serde_json::from_str(body).ok()?;
    let error = json.get("error")?;
    Some(match &error["code"] {
        Value::String(code) => code.clone(),
        Value::Number(status) => match status.as_u64().unwrap() {
            429 => "upstream_429".to_owned(),
            500.. => "upstream_5xx".to_owned(),
            _ => "bad_request".to_owned(),
        },
        _ => return None,
    })
}

/// The body, and whether it came to its end.
fn unchunk(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else {
            break;
        };
        if size == 0 {
            return (body, true);
        }
        body.push_str(&after[..size.min(after.len())]);
        rest = after.get(size + 2..).unwrap_or("");
    }
    (body, false)
}

/// What all clients saw.
#[derive(Debug, Default)]
pub(crate) struct Tally(pub(crate) Vec<Seen>);

impl Tally {
    pub(crate) fn n(&self) -> usize {
        self.0.len()
    }

    /// Failures by cause.
    pub(crate) fn failed(&self) -> BTreeMap<String, usize> {
        let mut by_cause = BTreeMap::new();
        for cause in self.0.iter().filter_map(|seen| seen.failed.clone()) {
            *by_cause.entry(cause).or_insert(0) += 1;
        }
        by_cause
    }

    #[track_caller]
    pub(crate) fn all_answered(&self) {
        let first = self.0.iter().find(|seen| seen.failed.is_some());
        assert!(
            first.is_none(),
            "{:?} of {}; the first: {first:?}",
            self.failed(),
            self.n()
        );
    }

    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

/// So many requests, so many at once, each kind in turn.
pub(crate) fn crowd(url: &str, n: usize, at_once: usize, kinds: &[Ask]) -> Tally {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut seen = Vec::new();
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            if nth >= n {
                return seen;
            }
            seen.push(ask(url, kinds[nth % kinds.len()], nth));
        }
    };
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..at_once.min(n)).map(|_| scope.spawn(work)).collect();
        Tally(clients.into_iter().flat_map(|client| client.join().unwrap()).collect())
    })
}
