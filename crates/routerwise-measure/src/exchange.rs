//! One question and its streamed answer, with the time of every piece.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use routerwise_types::Timestamp;
use routerwise_types::workload::Lengths;

use crate::client::{Broken, Client, Listener};
use crate::record::FailureKind;
use crate::stream::{Chunk, EventReader};

/// Time since the start of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(pub(crate) Instant);

impl Clock {
    pub(crate) fn now(self) -> Timestamp {
        Timestamp(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// What came, whole or not.
#[derive(Debug)]
pub(crate) struct Heard {
    clock: Clock,
    pub(crate) status: Option<StatusCode>,
    /// `x-routerwise-model` and `x-routerwise-replica`, where a gateway says them.
    pub(crate) model: Option<String>,
    pub(crate) replica: Option<String>,
    /// Whether the body calls itself a stream of events.
    is_stream: bool,
    /// When each piece with text came.
    pub(crate) pieces: Vec<Timestamp>,
    pub(crate) reader: EventReader,
    /// Whether `[DONE]` came.
    done: bool,
    failure: Option<(FailureKind, String)>,
    /// The start of a body that is no stream.
    pub(crate) body: Vec<u8>,
}

/// Bytes of a refusal that are kept for its message.
const KEPT: usize = 4_096;

impl Listener for Heard {
    fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.status = Some(status);
        let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
        self.is_stream = text("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        self.model = text("x-routerwise-model");
        self.replica = text("x-routerwise-replica");
    }

    fn piece(&mut self, bytes: &[u8]) {
        if self.status != Some(StatusCode::OK) || !self.is_stream {
            let room = KEPT.saturating_sub(self.body.len()).min(bytes.len());
            self.body.extend_from_slice(&bytes[..room]);
            return;
        }
        let now = self.clock.now();
        let mut reader = std::mem::take(&mut self.reader);
        reader.feed(bytes, &mut |chunk| self.chunk(chunk, now));
        self.reader = reader;
    }
}

impl Heard {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            status: None,
            model: None,
            replica: None,
            is_stream: false,
            pieces: Vec::new(),
            reader: EventReader::default(),
            done: false,
            failure: None,
            body: Vec::new(),
        }
    }

    /// Sends a question and hears the answer to its end, or until the time is up.
    pub(crate) async fn from(
        client: &Client,
        request: Request<Full<Bytes>>,
        clock: Clock,
        timeout: Duration,
    ) -> (Self, Result<(), (FailureKind, String)>) {
        let mut heard = Self::new(clock);
        let sent = tokio::time::timeout(timeout, client.send(request, &mut heard)).await;
        let result = match sent {
            Ok(Ok(())) => heard.end(),
            Ok(Err(broken)) => heard.broken(&broken),
            Err(_) => Err((
                FailureKind::Timeout,
                format!("no whole answer within {} s", timeout.as_secs_f64()),
            )),
        };
        (heard, result)
    }

    fn chunk(&mut self, chunk: Chunk, now: Timestamp) {
        match chunk {
            Chunk::Token => self.pieces.push(now),
            Chunk::Nothing => {}
            Chunk::Done => self.done = true,
            Chunk::Error(message) => self.failure = Some((FailureKind::InStream, message)),
            Chunk::Malformed => {
                self.failure
                    .get_or_insert((FailureKind::Malformed, "a chunk is no JSON of OpenAI's".into()));
            }
        }
    }

    fn end(&mut self) -> Result<(), (FailureKind, String)> {
        match self.status {
            Some(StatusCode::OK) if !self.is_stream => {
                return Err((FailureKind::Malformed, "the answer is no stream of events".into()));
            }
            Some(StatusCode::OK) => {}
            status => {
                let status = status.map_or(0, |status| status.as_u16());
                return Err((FailureKind::Status(status), self.refusal()));
            }
        }
        if let Some(last) = self.reader.end() {
            let now = self.pieces.last().copied().unwrap_or_default();
            self.chunk(last, now);
        }
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if !self.done && !self.reader.finished {
            return Err((FailureKind::Cut, "the stream ended without `[DONE]` or a reason".into()));
        }
        if self.pieces.is_empty() {
            return Err((FailureKind::Empty, "the answer has no token".into()));
        }
        Ok(())
    }

    fn broken(&mut self, broken: &Broken) -> Result<(), (FailureKind, String)> {
        let kind = match broken {
            Broken::Name(_) | Broken::Connect(_) => FailureKind::Connect,
            Broken::OutOfSockets(_) => FailureKind::OutOfSockets,
            Broken::Http(error) if error.is_parse() => FailureKind::Malformed,
            // A whole answer was there; only the end of the connection was not as it should be.
            Broken::Http(_) if self.done => return self.end(),
            Broken::Http(_) if self.status.is_some() => FailureKind::Cut,
            Broken::Http(_) => FailureKind::Connect,
        };
        Err((kind, broken.to_string()))
    }

    /// A refusal in the server's words.
    pub(crate) fn refusal(&self) -> String {
        let text = String::from_utf8_lossy(&self.body).trim().to_owned();
        let value: Option<serde_json::Value> = serde_json::from_str(&text).ok();
        let message = value.as_ref().and_then(|value| {
            let error = value.get("error").unwrap_or(value);
            error
                .get("message")
                .or_else(|| error.get("detail"))
                .unwrap_or(error)
                .as_str()
        });
        message.map_or_else(|| text.chars().take(200).collect(), str::to_owned)
    }

    /// Tokens of question and answer, and whether the server counted them.
    pub(crate) fn lengths(&self, asked: Lengths) -> (Lengths, bool) {
        match self.reader.usage.filter(|usage| usage.completion_tokens > 0) {
            Some(usage) => (
                Lengths {
                    input: usage.prompt_tokens.max(1),
                    output: usage.completion_tokens,
                },
                true,
            ),
            None => {
                let output = u32::try_from(self.pieces.len()).unwrap_or(u32::MAX);
                (Lengths { output, ..asked }, false)
            }
        }
    }
}
