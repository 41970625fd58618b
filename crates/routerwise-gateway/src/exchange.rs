//! One request from its first line to the last byte of its answer: what is known of it, and its account when it ends.
//!
//! However it ends (answered, refused, broken off, the client gone), it is counted and logged once: whoever drops an exchange that was
//! not closed has lost its client.

mod account;

use std::sync::Arc;
use std::time::SystemTime;

use http::{HeaderValue, Response, StatusCode};
use routerwise_route::decision::{Hedge, Send};
use routerwise_route::event::{Event, Failure};
use routerwise_types::Seconds;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::api::Endpoint;
use crate::error::{Cause, Refusal};
use crate::force::Force;
use crate::gateway::Gateway;
use crate::headers::REQUEST_ID;
use crate::keys::{Holder, Reservation};
use crate::metrics::OVERTAKEN;
use crate::peek::Seen;
use crate::response::Out;
use crate::server::Alive;

/// Reason of an answer that a second copy gave.
const HEDGE: &str = "hedge";

/// One request.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) force: Arc<Force>,
    pub(crate) number: u64,
    pub(crate) id: HeaderValue,
    pub(crate) endpoint: Endpoint,
    pub(crate) started: Instant,
    /// When its body was there; until then it waits for its client.
    pub(crate) read: Instant,
    pub(crate) at: SystemTime,
    pub(crate) key: Option<Arc<Holder>>,
    pub(crate) reservation: Reservation,
    /// Its place among the requests in flight.
    pub(crate) place: Option<OwnedSemaphorePermit>,
    pub(crate) facts: Facts,
    /// Keeps its connection from being taken for idle.
    pub(crate) alive: Option<Arc<Alive>>,
    /// The try that is under way, or answered.
    pub(crate) current: Option<Current>,
    /// The second copy that is under way beside it.
    rival: Option<Current>,
    /// What is known of that copy.
    pub(crate) hedge: Option<Hedged>,
    pub(crate) failed: Vec<Try>,
    pub(crate) first_byte: Option<Instant>,
    closed: bool,
}

/// What its body and headers say.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    /// Route or model that it names.
    pub(crate) asked: Option<Arc<str>>,
    pub(crate) routed: bool,
    pub(crate) route: usize,
    pub(crate) stream: bool,
    pub(crate) input_tokens: u64,
    pub(crate) prompt_hash: Option<u64>,
    /// Hash of the beginning of its conversation.
    pub(crate) prefix: Option<u64>,
    /// Kept for the log alone, and only where that was switched on.
    pub(crate) prompt: Option<String>,
    /// By model; empty where nothing predicts them.
    pub(crate) scores: Vec<f32>,
    pub(crate) ttft_target: Option<f64>,
}

/// A try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Current {
    pub(crate) send: Send,
    pub(crate) reason: &'static str,
    /// Whether the router still counts it as in flight.
    open: bool,
}

/// A second copy, for the account.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hedged {
    pub(crate) send: Send,
    pub(crate) hedge: Hedge,
    /// Whether it was the one that was answered; nothing while neither was.
    pub(crate) won: Option<bool>,
}

/// One of two copies of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copy {
    First,
    Second,
}

/// A try that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Try {
    pub(crate) model: usize,
    pub(crate) replica: usize,
    pub(crate) cause: Cause,
}

/// How an exchange ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    /// What the client was told; 0 where it was gone before.
    pub(crate) status: u16,
    /// Why it was not answered to its end.
    pub(crate) cause: Option<Cause>,
    pub(crate) seen: Option<Seen>,
}

impl Exchange {
    pub(crate) fn new(
        gateway: &Arc<Gateway>,
        force: Arc<Force>,
        endpoint: Endpoint,
        number: u64,
        id: HeaderValue,
    ) -> Self {
        let started = Instant::now();
        Self {
            gateway: Arc::clone(gateway),
            force,
            number,
            id,
            endpoint,
            started,
            read: started,
            at: gateway.calendar(),
            key: None,
            reservation: Reservation::none(),
            place: None,
            facts: Facts::default(),
            alive: None,
            current: None,
            rival: None,
            hedge: None,
            failed: Vec::new(),
            first_byte: None,
            closed: false,
        }
    }

    /// A try begins.
    pub(crate) fn sent(&mut self, send: Send, reason: &'static str) {
        self.current = Some(Current {
            send,
            reason,
            open: true,
        });
    }

    /// A second copy is under way beside the first one.
    pub(crate) fn hedged(&mut self, send: Send, hedge: Hedge) {
        self.rival = Some(Current {
            send,
            reason: HEDGE,
            open: true,
        });
        self.hedge = Some(Hedged { send, hedge, won: None });
    }

    /// One of two copies failed: the other one is the try that is under way.
    pub(crate) fn copy_failed(&mut self, copy: Copy, cause: Cause, status: Option<StatusCode>) {
        if copy == Copy::Second {
            std::mem::swap(&mut self.current, &mut self.rival);
        }
        self.failed(cause, status);
        self.current = self.rival.take();
    }

    /// One of two copies was answered, and the other one is cancelled.
    pub(crate) fn copy_won(&mut self, copy: Copy) {
        if copy == Copy::Second {
            std::mem::swap(&mut self.current, &mut self.rival);
        }
        if let Some(hedge) = &mut self.hedge {
            hedge.won = Some(copy == Copy::Second);
        }
        let Some(loser) = self.rival.take() else { return };
        let ticket = loser.send.ticket;
        self.force.desk.observe(Event::Overtaken(ticket));
        self.count_attempt(ticket.model, ticket.replica, OVERTAKEN);
    }

    /// The copy that is left was answered.
    pub(crate) fn last_copy_won(&mut self) {
        let second = self.current.is_some_and(|current| current.reason == HEDGE);
        if let Some(hedge) = &mut self.hedge {
            hedge.won = Some(second);
        }
    }

    /// The first byte of an answer came.
    pub(crate) fn first_byte(&mut self) {
        self.first_byte = Some(Instant::now());
        if let Some(current) = self.current.filter(|current| current.open && self.facts.stream) {
            self.force.desk.observe(Event::FirstToken(current.send.ticket));
        }
    }

    /// The try under way failed, and another one may follow.
    pub(crate) fn failed(&mut self, cause: Cause, status: Option<StatusCode>) {
        let Some(current) = self.current.as_mut() else { return };
        let ticket = current.send.ticket;
        self.failed.push(Try {
            model: ticket.model,
            replica: ticket.replica,
            cause,
        });
        if std::mem::take(&mut current.open) {
            let failure = failure(cause, status);
            self.force.desk.observe(Event::Failed { ticket, failure });
        }
        self.count_attempt(ticket.model, ticket.replica, cause.name());
    }

    /// Ends with an error of the gateway's own.
    pub(crate) fn refuse(mut self, refusal: Refusal) -> Response<Out> {
        self.close(End {
            status: refusal.code().as_u16(),
            cause: Some(refusal.cause),
            seen: None,
        });
        let mut response = refusal.into_response();
        self.sign(&mut response);
        response
    }

    /// Ends with something whole.
    pub(crate) fn answer(mut self, mut response: Response<Out>) -> Response<Out> {
        self.close(End {
            status: response.status().as_u16(),
            cause: None,
            seen: None,
        });
        self.sign(&mut response);
        response
    }

    fn sign(&self, response: &mut Response<Out>) {
        response.headers_mut().insert(REQUEST_ID, self.id.clone());
    }

    /// The account. Only the first one counts.
    pub(crate) fn close(&mut self, end: End) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        self.tell_router(&end);
        let tokens = end.seen.map(|seen| seen.usage);
        let output = end.seen.and_then(|seen| seen.usage.completion_tokens.or(seen.n_events));
        // Nothing was answered: nothing was used. An answer of unknown length keeps what was set aside for it.
        match (self.first_byte, output) {
            (None, _) => self.reservation.settle(0),
            (Some(_), Some(output)) => {
                let input = tokens
                    .and_then(|usage| usage.prompt_tokens)
                    .unwrap_or(self.facts.input_tokens);
                self.reservation.settle(input + output);
            }
            (Some(_), None) => {}
        }
        self.count(&end, output);
        self.log(&end, output);
        self.place = None;
    }

    fn tell_router(&mut self, end: &End) {
        if let Some(rival) = self.rival.take() {
            let ticket = rival.send.ticket;
            self.force.desk.observe(Event::Cancelled(ticket));
            let outcome = end.cause.unwrap_or(Cause::ClientGone).name();
            self.count_attempt(ticket.model, ticket.replica, outcome);
        }
        let Some(current) = self.current.as_mut() else { return };
        if !std::mem::take(&mut current.open) {
            return;
        }
        let ticket = current.send.ticket;
        let status = StatusCode::from_u16(end.status).ok();
        let (event, outcome) = match end.cause {
            None | Some(Cause::BadRequest) => {
                let ttft = self.first_byte.filter(|_| self.facts.stream).map(|first| {
                    let sent = self.force.desk.at(first);
                    sent.since(ticket.at)
                });
                let output = end.seen.and_then(|seen| seen.usage.completion_tokens.or(seen.n_events));
                let event = Event::Finished {
                    ticket,
                    ttft,
                    output_tokens: u32::try_from(output.unwrap_or(0)).unwrap_or(u32::MAX),
                };
                (event, "ok")
            }
            Some(cause @ (Cause::ClientGone | Cause::Stopping)) => (Event::Cancelled(ticket), cause.name()),
            Some(cause) => {
                let failure = failure(cause, status);
                (Event::Failed { ticket, failure }, cause.name())
            }
        };
        self.force.desk.observe(event);
        self.count_attempt(ticket.model, ticket.replica, outcome);
    }

    /// Seconds from the request to the first byte of its answer.
    pub(crate) fn ttft(&self) -> Option<Seconds> {
        let first = self.first_byte?;
        Seconds::new(first.saturating_duration_since(self.started).as_secs_f64()).ok()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if !self.closed {
            self.close(End {
                status: 0,
                cause: Some(Cause::ClientGone),
                seen: None,
            });
        }
    }
}

/// A failure in the router's words.
fn failure(cause: Cause, status: Option<StatusCode>) -> Failure {
    match cause {
        Cause::FirstByte | Cause::GivenUp => Failure::FirstByteTimeout,
        Cause::Stalled => Failure::Stalled,
        Cause::Truncated => Failure::Truncated,
        Cause::Malformed => Failure::Malformed,
        Cause::Deadline => Failure::TotalTimeout,
        Cause::Upstream429 => Failure::Status(429),
        Cause::Upstream5xx => Failure::Status(status.map_or(500, |status| status.as_u16())),
        _ => Failure::Connect,
    }
}
