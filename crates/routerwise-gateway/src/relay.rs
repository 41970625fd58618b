//! An answer on its way to the client: bytes go through as they come, and what they say is only looked at.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::{Cause, error_json};
use crate::exchange::{End, Exchange};
use crate::patience::{AGAIN, LATE};
use crate::peek::Peek;

/// The rest of an answer.
#[derive(Debug)]
pub(crate) struct Relay {
    first: Option<Bytes>,
    rest: Option<Incoming>,
    length: SizeHint,
    peek: Peek,
    exchange: Exchange,
    status: u16,
    /// What is said about an answer that the replica itself calls an error.
    cause: Option<Cause>,
    /// Chat and completion streams end with a marker; its absence means that something is missing.
    marked: bool,
    stall: Duration,
    /// When the whole answer must be there.
    until: Instant,
    waiting_since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
    /// The alarm went off far too late, and another look was taken.
    looked_again: bool,
}

/// What a relay goes by.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) status: u16,
    pub(crate) cause: Option<Cause>,
    pub(crate) marked: bool,
    pub(crate) stall: Duration,
    pub(crate) until: Instant,
}

impl Relay {
    pub(crate) fn new(exchange: Exchange, first: Option<Bytes>, rest: Incoming, mut peek: Peek, terms: &Terms) -> Self {
        let mut length = rest.size_hint();
        if let Some(first) = &first {
            peek.feed(first);
            let n = first.len() as u64;
            let upper = length.upper();
            // The upper bound first: the lower one may not be above it.
            if let Some(upper) = upper {
                length.set_upper(upper + n);
            }
            length.set_lower(length.lower() + n);
        }
        let mut relay = Self {
            rest: (!rest.is_end_stream()).then_some(rest),
            first,
            length,
            peek,
            exchange,
            status: terms.status,
            cause: terms.cause,
            marked: terms.marked,
            stall: terms.stall,
            until: terms.until,
            waiting_since: None,
            alarm: None,
            looked_again: false,
        };
        if relay.first.is_none() && relay.rest.is_none() {
            relay.finish();
        }
        relay
    }

    /// The answer came to its end.
    fn finish(&mut self) {
        self.rest = None;
        let seen = self.peek.seen();
        let missing = self.marked && self.peek.is_stream() && !seen.ended;
        let cause = match self.cause {
            Some(cause) => Some(cause),
            None if seen.failed => Some(Cause::Upstream5xx),
            None if seen.malformed => Some(Cause::Malformed),
            None if missing => Some(Cause::Truncated),
            None => None,
        };
        self.exchange.close(End {
            status: self.status,
            cause,
            seen: Some(seen),
        });
    }

    /// The answer broke off. Of a stream the client is told in its own way; anything else ends without its end.
    fn break_off(&mut self, cause: Cause) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        // Dropping the connection tells the replica to stop.
        self.rest = None;
        let seen = self.peek.seen();
        self.exchange.close(End {
            status: self.status,
            cause: Some(cause),
            seen: Some(seen),
        });
        let message = match cause {
            Cause::Stalled => "the model stopped answering",
            Cause::Deadline => "the answer took too long",
            _ => "the answer broke off",
        };
        if self.peek.is_stream() {
            let error = error_json(message, cause, None);
            let mut event = Vec::with_capacity(error.len() + 16);
            // What came last may have been half an event.
            event.extend_from_slice(b"\n\ndata: ");
            event.extend_from_slice(&error);
            event.extend_from_slice(b"\n\n");
            return Poll::Ready(Some(Ok(Frame::data(event.into()))));
        }
        Poll::Ready(Some(Err(io::Error::other(message))))
    }

    /// Whether the replica has been silent for too long.
    fn is_late(&mut self, cx: &mut Context<'_>) -> Option<Cause> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let (limit, cause) = if since + self.stall < self.until {
            (since + self.stall, Cause::Stalled)
        } else {
            (self.until, Cause::Deadline)
        };
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep_until(limit)));
        loop {
            // An alarm set for an earlier wait goes off too soon, and is set anew then: cheaper than setting it for each piece.
            if alarm.as_mut().poll(cx).is_pending() {
                return None;
            }
            let now = Instant::now();
            if now >= limit + LATE && !std::mem::replace(&mut self.looked_again, true) {
                alarm.as_mut().reset(now + AGAIN);
            } else if now >= limit {
                return Some(cause);
            } else {
                alarm.as_mut().reset(limit);
            }
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let relay = &mut *self;
        let polled = relay.next(cx);
        if let Some(alive) = &relay.exchange.alive {
            if matches!(polled, Poll::Ready(Some(Ok(_)))) {
                alive.handed_over();
            } else {
                alive.asked();
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.length
    }
}

impl Relay {
    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let relay = self;
        if let Some(first) = relay.first.take() {
            if relay.rest.is_none() {
                relay.finish();
            }
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(rest) = relay.rest.as_mut() else {
            return Poll::Ready(None);
        };
        match Pin::new(rest).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                relay.waiting_since = None;
                relay.looked_again = false;
                if let Some(data) = frame.data_ref() {
                    relay.peek.feed(data);
                }
                // The account is made before the last piece leaves: who has the whole answer finds it in metrics and log.
                if relay.rest.as_ref().is_none_or(Body::is_end_stream) {
                    relay.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => relay.break_off(Cause::Truncated),
            Poll::Ready(None) => {
                relay.finish();
                Poll::Ready(None)
            }
            Poll::Pending => match relay.is_late(cx) {
                Some(cause) => relay.break_off(cause),
                None => Poll::Pending,
            },
        }
    }
}
