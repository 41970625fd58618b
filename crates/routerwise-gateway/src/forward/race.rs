//! One try: a request on one replica, and a second copy of it on another one where the first is slow or will be.
//!
//! The first of the two that begins to answer is passed on; the other one is cancelled at once, which its engine notices by the end of
//! the connection, and counts neither as a failure nor against its replica. A copy is one of the tries of a request and comes out of the
//! same budget, so an overload is not made worse than retries may make it.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};
use routerwise_route::decision::{Decision, Hedge, Send};
use routerwise_route::facts::Tried;
use tokio::time::{Instant, timeout};

use super::Ready;
use super::attempts::facts;
use crate::ask::with_model;
use crate::error::Cause;
use crate::exchange::{Copy, Exchange};
use crate::force::Force;
use crate::metrics::{HedgeLabels, Metrics};
use crate::upstream::{Answer, NoAnswer};

/// What became of a try.
pub(super) enum Outcome {
    /// An answer that can be passed on.
    Answer(Answer),
    /// None: what went wrong last, and what a replica said to it.
    Failed { cause: Cause, answer: Option<Answer> },
}

/// Sends a request to a replica, and to another one when that is due. What was tried in vain is accounted for.
pub(super) async fn run(
    exchange: &mut Exchange,
    force: &Arc<Force>,
    ready: &Ready,
    headers: &HeaderMap,
    tried: &mut Vec<Tried>,
    send: Send,
) -> Outcome {
    let question = Question {
        force,
        metrics: Arc::clone(&exchange.gateway.metrics),
        ready,
        headers,
        stream: exchange.facts.stream,
    };
    let mut first = pin!(question.ask(send));
    // Without a stream the first byte comes with the last token, and says nothing about the wait.
    let Some(hedge) = send.hedge.filter(|_| question.stream) else {
        let result = first.await;
        return alone(exchange, tried, send, result);
    };
    let after = Duration::try_from_secs_f64(hedge.after.value()).unwrap_or(Duration::MAX);
    if let Ok(result) = timeout(after, first.as_mut()).await {
        return alone(exchange, tried, send, result);
    }
    let Some(copy) = second(exchange, force, ready, tried, send, hedge) else {
        let result = first.await;
        return alone(exchange, tried, send, result);
    };
    exchange.hedged(copy, hedge);
    let mut second = pin!(question.ask(copy));
    let (which, result) = tokio::select! {
        biased;
        result = first.as_mut() => (Copy::First, result),
        result = second.as_mut() => (Copy::Second, result),
    };
    let (cause, answer) = match judged(result) {
        Outcome::Answer(answer) => {
            exchange.copy_won(which);
            return Outcome::Answer(answer);
        }
        Outcome::Failed { cause, answer } => (cause, answer),
    };
    exchange.copy_failed(which, cause, status(answer.as_ref()));
    let (failed, left, result) = match which {
        Copy::First => (send, copy, second.await),
        Copy::Second => (copy, send, first.await),
    };
    tried.push(named(failed));
    match alone(exchange, tried, left, result) {
        Outcome::Answer(answer) => {
            exchange.last_copy_won();
            Outcome::Answer(answer)
        }
        Outcome::Failed { cause, answer: other } => Outcome::Failed {
            cause,
            answer: other.or(answer),
        },
    }
}

/// The end of a try that has no other one beside it.
fn alone(exchange: &mut Exchange, tried: &mut Vec<Tried>, send: Send, result: Result<Answer, Cause>) -> Outcome {
    let outcome = judged(result);
    if let Outcome::Failed { cause, answer } = &outcome {
        exchange.failed(*cause, status(answer.as_ref()));
        tried.push(named(send));
    }
    outcome
}

/// Where a second copy goes, if there is a place for it and a budget.
fn second(
    exchange: &Exchange,
    force: &Arc<Force>,
    ready: &Ready,
    tried: &[Tried],
    send: Send,
    hedge: Hedge,
) -> Option<Send> {
    let tried: Vec<Tried> = tried.iter().copied().chain([named(send)]).collect();
    let mut facts = facts(exchange, force, ready, &tried, false);
    // Rather another model than none.
    facts.allowed = ready.beside_fraction.unwrap_or(facts.allowed);
    // Who would have to wait for a place is not worth a copy: its turn is dropped here.
    let (decision, _turn) = force.desk.route(&facts);
    if let Decision::Send(copy) = decision {
        return Some(copy);
    }
    let labels = HedgeLabels {
        why: hedge.why.name(),
        outcome: "denied",
    };
    exchange.gateway.metrics.hedges.get_or_create(&labels).inc();
    None
}

fn named(send: Send) -> Tried {
    Tried {
        model: send.ticket.model,
        replica: send.ticket.replica,
    }
}

fn status(answer: Option<&Answer>) -> Option<StatusCode> {
    answer.map(|answer| answer.status)
}

/// An answer that can be passed on, or why another replica should be asked.
fn judged(result: Result<Answer, Cause>) -> Outcome {
    match result {
        Ok(answer) => match retriable(answer.status) {
            None => Outcome::Answer(answer),
            Some(cause) => Outcome::Failed {
                cause,
                answer: Some(answer),
            },
        },
        Err(cause) => Outcome::Failed { cause, answer: None },
    }
}

/// Why an answer is one that another replica may not give.
fn retriable(status: StatusCode) -> Option<Cause> {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Some(Cause::Upstream429),
        // What an engine does not have, no other one of its kind has.
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => None,
        status if status.is_server_error() => Some(Cause::Upstream5xx),
        _ => None,
    }
}

/// What replicas are asked.
struct Question<'a> {
    force: &'a Arc<Force>,
    metrics: Arc<Metrics>,
    ready: &'a Ready,
    headers: &'a HeaderMap,
    stream: bool,
}

impl Question<'_> {
    /// Asks one replica; once more on a new connection where the old one was closed under the request.
    async fn ask(&self, send: Send) -> Result<Answer, Cause> {
        let Some(upstream) = self.force.replicas.get(send.ticket.model, send.ticket.replica) else {
            unreachable!("the router was told that this replica is not there");
        };
        let body = with_model(&self.ready.body, &self.ready.span, upstream.model());
        loop {
            let first_byte = Instant::now() + self.force.settings.timeouts.first_byte;
            // Without a stream the first byte comes with the last token.
            let until = if self.stream {
                first_byte.min(self.ready.until)
            } else {
                self.ready.until
            };
            let asked = upstream.ask(&self.ready.path, self.headers.clone(), body.clone(), until);
            match asked.await {
                Ok(answer) => return Ok(answer),
                // Each such connection is gone then, so this ends with the last one that was idle.
                Err(NoAnswer { reused: true, .. }) => {
                    self.metrics.resent.inc();
                }
                Err(NoAnswer {
                    cause: Cause::FirstByte,
                    ..
                }) if until == self.ready.until => return Err(Cause::Deadline),
                Err(NoAnswer { cause, .. }) => return Err(cause),
            }
        }
    }
}
