//! A streamed answer: one event per token, written from pieces that are the same for every token.

use std::fmt::Write;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use serde_json::json;
use tokio::time::Sleep;

use super::{Envelope, Lease, is_complete};
use crate::metrics::Metrics;
use crate::options::Midway;
use crate::request::{Answer, Ask, Kind, Reason, Streaming};
use crate::tokens;

/// The body of a streamed answer.
#[derive(Debug)]
pub(crate) struct TokenStream {
    ask: Arc<Ask>,
    streaming: Streaming,
    lease: Lease,
    metrics: Metrics,
    pieces: Pieces,
    /// Tokens made and tokens sent, by answer.
    made: Vec<u32>,
    sent: Vec<u32>,
    /// Bytes of text sent, by answer.
    sent_bytes: Vec<usize>,
    midway: Option<(u32, Midway)>,
    stall: Option<Stall>,
    end: Option<End>,
}

#[derive(Debug)]
enum Stall {
    ForGood,
    Until(Pin<Box<Sleep>>),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Complete,
    /// Broken off, once what was sent before is on its way.
    Breaking,
    Broken,
}

/// What every chunk has in common.
#[derive(Debug)]
struct Pieces {
    /// Up to the index of the answer.
    head: String,
    /// Between index and text.
    before_text: &'static str,
    /// After the text of a token that is not the last.
    after_text: &'static str,
}

impl Pieces {
    fn new(envelope: &Envelope, kind: Kind) -> Self {
        let object = match kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Completion => "text_completion",
        };
        let model = serde_json::to_string(&envelope.model).expect("a string is JSON");
        let head = format!(
            "data: {{\"id\":\"{}\",\"object\":\"{object}\",\"created\":{},\"model\":{model},\"choices\":[",
            envelope.id, envelope.created
        );
        let (before_text, after_text) = match kind {
            Kind::Chat => (
                ",\"delta\":{\"content\":\"",
                "\"},\"logprobs\":null,\"finish_reason\":null}]",
            ),
            Kind::Completion => (
                ",\"text\":\"",
                "\",\"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}]",
            ),
        };
        Self {
            head,
            before_text,
            after_text,
        }
    }
}

impl TokenStream {
    pub(crate) fn new(
        envelope: &Envelope,
        ask: Arc<Ask>,
        lease: Lease,
        midway: Option<(u32, Midway)>,
        metrics: Metrics,
    ) -> Self {
        let n = ask.answers.len();
        // Where the first answer is too short for the fault to come after so many tokens, it comes before the last.
        let last = ask.answers.first().map_or(0, |answer| answer.lengths.output - 1);
        Self {
            streaming: ask.streaming.unwrap_or_default(),
            pieces: Pieces::new(envelope, ask.kind),
            made: vec![0; n],
            sent: vec![0; n],
            sent_bytes: vec![0; n],
            midway: midway.map(|(after, what)| (after.min(last), what)),
            stall: None,
            end: None,
            ask,
            lease,
            metrics,
        }
    }

    /// Writes what was made and not sent.
    fn render(&mut self) -> String {
        let n_tokens: u32 = self.made.iter().zip(&self.sent).map(|(made, sent)| made - sent).sum();
        let per_token = self.pieces.head.len() + 160;
        let mut out = String::with_capacity(per_token * (n_tokens as usize + 1));
        let ask = Arc::clone(&self.ask);
        for (ix, answer) in ask.answers.iter().enumerate() {
            let hold = match self.midway {
                Some((after, _)) if ix == 0 => after,
                _ => u32::MAX,
            };
            for token in self.sent[ix]..self.made[ix].min(hold) {
                if token == 0 && ask.kind == Kind::Chat {
                    self.role(&mut out, ix);
                }
                self.token(&mut out, ix, answer, token);
            }
            self.sent[ix] = self.made[ix].min(hold);
        }
        out
    }

    fn role(&self, out: &mut String, ix: usize) {
        let head = &self.pieces.head;
        let delta = "\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,\"finish_reason\":null}]";
        write!(out, "{head}{{\"index\":{ix},{delta}").expect(TO_STRING);
        self.close_chunk(out, ix, 0);
    }

    fn token(&mut self, out: &mut String, ix: usize, answer: &Answer, token: u32) {
        let pieces = &self.pieces;
        write!(out, "{}{{\"index\":{ix}{}", pieces.head, pieces.before_text).expect(TO_STRING);
        let at = out.len();
        tokens::append(out, answer.hash, token, token + 1);
        if let Some(cut) = answer.cut {
            out.truncate(at + (out.len() - at).min(cut - self.sent_bytes[ix]));
        }
        self.sent_bytes[ix] += out.len() - at;
        if token + 1 < answer.lengths.output {
            out.push_str(pieces.after_text);
        } else {
            let closes = if self.ask.kind == Kind::Chat { "\"}" } else { "\"" };
            let reason = answer.reason.name();
            let stop_reason = json!(answer.stopped_by);
            let stopped = answer.reason == Reason::Stop && answer.stopped_by.is_some();
            write!(
                out,
                "{closes},\"logprobs\":null,\"finish_reason\":\"{reason}\",\"stop_reason\":{}}}]",
                if stopped {
                    &stop_reason
                } else {
                    &serde_json::Value::Null
                }
            )
            .expect(TO_STRING);
        }
        self.close_chunk(out, ix, token + 1);
    }

    fn close_chunk(&self, out: &mut String, ix: usize, n_made: u32) {
        if self.streaming.continuous_usage {
            let others = self.sent.iter().enumerate().filter(|(other, _)| *other != ix);
            let made = others.map(|(_, sent)| sent).sum::<u32>() + n_made;
            write!(out, ",\"usage\":{}", super::usage(self.ask.prompt_tokens, made)).expect(TO_STRING);
        }
        out.push_str("}\n\n");
    }

    fn finish(&mut self, out: &mut String) {
        if self.streaming.usage {
            let made = self.made.iter().sum();
            let usage = super::usage(self.ask.prompt_tokens, made);
            write!(out, "{}],\"usage\":{usage}}}\n\n", self.pieces.head).expect(TO_STRING);
        }
        out.push_str("data: [DONE]\n\n");
        self.lease.finished = true;
        self.end = Some(End::Complete);
    }

    /// What goes wrong now, if something does.
    fn due_fault(&mut self) -> Option<Midway> {
        let (_, what) = self
            .midway
            .filter(|(after, _)| self.sent[0] == *after && self.made[0] >= *after)?;
        self.midway = None;
        Some(what)
    }
}

const TO_STRING: &str = "writing to a string";

impl Body for TokenStream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = &mut *self;
        loop {
            match &mut this.stall {
                Some(Stall::ForGood) => return Poll::Pending,
                Some(Stall::Until(sleep)) => ready!(sleep.as_mut().poll(context)),
                None => {}
            }
            this.stall = None;
            match this.end {
                Some(End::Complete) => return Poll::Ready(None),
                Some(End::Breaking) => {
                    this.end = Some(End::Broken);
                    return flush_first(context);
                }
                Some(End::Broken) => return Poll::Ready(Some(Err(broken()))),
                None => {}
            }
            if this.made == this.sent {
                let Ok(due) = ready!(this.lease.delivery.poll_more(&mut this.made, context)) else {
                    this.end = Some(End::Broken);
                    continue;
                };
                Metrics::lag(&this.metrics.lag_socket, due, Instant::now());
            }
            let mut out = this.render();
            match this.due_fault() {
                Some(Midway::Truncate) => this.end = Some(End::Breaking),
                Some(Midway::Malformed) => {
                    out.push_str("data: {\"id\":\"chatcmpl-\",\"choices\":[{\"delta\":{\"con\n\n")
                }
                Some(Midway::Stall(None)) => this.stall = Some(Stall::ForGood),
                Some(Midway::Stall(Some(seconds))) => {
                    let sleep = tokio::time::sleep(Duration::from_secs_f64(seconds));
                    this.stall = Some(Stall::Until(Box::pin(sleep)));
                }
                None if this.midway.is_none() && is_complete(&this.ask, &this.sent) => this.finish(&mut out),
                None => {}
            }
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(Bytes::from(out)))));
            }
        }
    }
}

/// A body that breaks off after a part of what it should have.
#[derive(Debug)]
pub(crate) struct BrokenOff {
    part: Option<Bytes>,
    flushed: bool,
}

impl BrokenOff {
    pub(crate) fn after(part: Bytes) -> Self {
        Self {
            part: Some(part),
            flushed: false,
        }
    }
}

impl Body for BrokenOff {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.part.take() {
            Some(part) => Poll::Ready(Some(Ok(Frame::data(part)))),
            None if self.flushed => Poll::Ready(Some(Err(broken()))),
            None => {
                self.flushed = true;
                flush_first(context)
            }
        }
    }
}

/// A connection that hears of an error throws away what it has not sent, so it is given the time to send it.
fn flush_first<T>(context: &Context<'_>) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the engine broke off")
}
