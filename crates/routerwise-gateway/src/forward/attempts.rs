//! Sending, and sending again: on another replica first, then to the next best model, never after the first byte of an answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};
use routerwise_route::decision::{Decision, Refusal as Shed, Send};
use routerwise_route::facts::{RequestFacts, Tried};
use routerwise_types::Timestamp;
use routerwise_types::hash::{mix, uniform};
use tokio::time::{Instant, sleep, timeout_at};

use super::race::{self, Outcome};
use super::{Ready, receipt};
use crate::error::{Cause, Refusal};
use crate::exchange::Exchange;
use crate::force::{Force, seconds};
use crate::headers::{REQUEST_ID, strip_hop_by_hop, to_engine};
use crate::peek::Peek;
use crate::relay::{Relay, Terms};
use crate::response::Out;
use crate::upstream::Answer;

/// Stands for a try whose replica may be tried again: it counts against attempts and budget, and names no replica.
const FORGOTTEN: Tried = Tried {
    model: usize::MAX,
    replica: 0,
};

/// Sends a request until it is answered, or nothing is left to try.
pub(super) async fn run(mut exchange: Exchange, force: &Arc<Force>, mut ready: Ready) -> Response<Out> {
    let mut tried: Vec<Tried> = Vec::new();
    let mut waited = false;
    let mut last: Option<(Answer, Cause)> = None;
    let keep_credentials = force.keys.is_empty();
    let mut headers = std::mem::take(&mut ready.headers);
    to_engine(&mut headers, keep_credentials);
    headers.insert(REQUEST_ID, exchange.id.clone());
    loop {
        let facts = facts(&exchange, force, &ready, &tried, waited);
        let (decision, turn) = force.desk.route(&facts);
        let send = match decision {
            Decision::Send(send) => send,
            Decision::Wait { .. } => {
                // Rather another model than waiting for the one that the fractions chose.
                if let Some(others) = ready.beside_fraction.take() {
                    ready.allowed = others;
                    continue;
                }
                // An engine that is there and says no has said it: only those that are gone are waited for.
                if last.is_some() {
                    drop(turn);
                    return give_up(exchange, last, Shed::NoReplica, Duration::from_secs(1));
                }
                waited = true;
                let turn = turn.expect("who has to wait has a turn");
                if timeout_at(ready.until, turn.come()).await.is_err() {
                    return exchange.refuse(waited_too_long());
                }
                continue;
            }
            Decision::Shed { why, retry_after } => {
                let after = Duration::try_from_secs_f64(retry_after.value()).unwrap_or(Duration::from_secs(1));
                // All were tried: those that may still be asked get another chance, if the budget has one.
                if why == Shed::NoReplica && tried.iter().any(|tried| *tried != FORGOTTEN) {
                    if let Some(others) = ready.beside_fraction.take() {
                        ready.allowed = others;
                        continue;
                    }
                    tried.fill(FORGOTTEN);
                    continue;
                }
                return give_up(exchange, last, why, after);
            }
        };
        note(&mut exchange, force, &ready, send);
        let cause = match race::run(&mut exchange, force, &ready, &headers, &mut tried, send).await {
            Outcome::Answer(answer) => return relay(exchange, force, &ready, answer, None),
            Outcome::Failed { cause, answer } => {
                last = answer.map(|answer| (answer, cause)).or(last);
                cause
            }
        };
        if cause == Cause::Deadline || Instant::now() >= ready.until {
            let message = "the answer did not begin before the deadline of the request";
            return exchange.refuse(Refusal::new(Cause::Deadline, message));
        }
        sleep(backoff(force, tried.len(), exchange.number)).await;
    }
}

pub(super) fn facts<'a>(
    exchange: &'a Exchange,
    force: &Force,
    ready: &Ready,
    tried: &'a [Tried],
    waited: bool,
) -> RequestFacts<'a> {
    let known = &exchange.facts;
    let hash = known.prompt_hash.unwrap_or(0);
    let arrived = force.desk.at(exchange.started);
    RequestFacts {
        prompt_tokens: u32::try_from(known.input_tokens).unwrap_or(u32::MAX),
        route: known.route,
        allowed: ready.allowed,
        least_score: ready.wants.least_score,
        ttft_target: ready.wants.ttft_target.map(seconds),
        deadline: ready.wants.deadline.map(|deadline| later(arrived, deadline)),
        session: ready.wants.session,
        prefix: ready.wants.session.or(known.prefix),
        priority: ready.wants.priority(),
        tried,
        waited,
        ..RequestFacts::new(&known.scores, exchange.number, hash, arrived)
    }
}

fn later(at: Timestamp, span: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
}

/// Takes down where a request goes.
fn note(exchange: &mut Exchange, force: &Force, ready: &Ready, send: Send) {
    let reason = if ready.beside_fraction.is_some() {
        "planned-fractions"
    } else {
        send.reason.name()
    };
    let ticket = send.ticket;
    let first = exchange.failed.is_empty();
    exchange.sent(send, reason);
    if !first {
        return;
    }
    let meters = &force.routes[ticket.route].models[ticket.model];
    meters.routed.inc();
    meters.score.inc_by(send.score);
    let scores = &exchange.facts.scores;
    if exchange.facts.routed && scores.iter().any(|score| f64::from(*score) > send.score) {
        meters.moved_by_price.inc();
    }
    if send.degraded {
        exchange.gateway.metrics.degraded.inc();
    }
    let overhead = exchange.read.elapsed().as_secs_f64();
    exchange.gateway.metrics.overhead.observe(overhead);
}

/// Up to so long, twice as long after each further try; drawn, so that many requests that failed together do not come again together.
fn backoff(force: &Force, n_tried: usize, number: u64) -> Duration {
    let exponent = u32::try_from(n_tried).unwrap_or(u32::MAX).clamp(1, 6) - 1;
    let longest = force.settings.retries.backoff * 2u32.pow(exponent);
    longest.mul_f64(uniform(mix(number ^ mix(n_tried as u64))))
}

/// Nothing is left to try: what the last replica said, or why there was none.
fn waited_too_long() -> Refusal {
    Refusal::new(Cause::Deadline, "the request waited until its deadline")
}

fn give_up(exchange: Exchange, last: Option<(Answer, Cause)>, why: Shed, after: Duration) -> Response<Out> {
    // Whichever clock strikes first, the router's or the gateway's, the answer is the same.
    if why == Shed::Deadline {
        return exchange.refuse(waited_too_long());
    }
    if let Some((answer, cause)) = last {
        let is_json = answer
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let force = Arc::clone(&exchange.force);
        let ready = None;
        if is_json {
            return finish(exchange, &force, ready, answer, Some(cause), Some(after));
        }
        let status = answer.status;
        let message = format!("the model's engine answered {status}");
        return exchange.refuse(Refusal::new(cause, message).status(status).after(after));
    }
    if let Some(failed) = exchange.failed.last() {
        let cause = failed.cause;
        let message = match cause {
            Cause::Connect => "no connection to the model's engine",
            Cause::FirstByte => "the model did not begin to answer in time",
            Cause::GivenUp => "the model's engine failed its checks before it answered",
            Cause::Malformed => "the model's engine answered something that is not HTTP",
            _ => "the connection to the model's engine broke off before it answered",
        };
        return exchange.refuse(Refusal::new(cause, message).after(after));
    }
    let refusal = match why {
        // Its replicas are looked for, and may come.
        Shed::NoModel if !exchange.force.settings.discover.is_empty() => {
            Refusal::new(Cause::NoModel, "no replica that may answer this request is there now")
        }
        Shed::NoModel => {
            Refusal::new(Cause::NoSuchModel, "no model that may answer this request is running").param("model")
        }
        Shed::Overload => Refusal::new(Cause::Shed, "the latency objective of this route cannot be met now"),
        Shed::QueueFull => Refusal::new(Cause::Overloaded, "too many requests wait for a replica")
            .status(StatusCode::TOO_MANY_REQUESTS),
        Shed::Deadline => waited_too_long(),
        Shed::Expired => Refusal::new(Cause::Overloaded, "no replica became free in time"),
        Shed::NoReplica | Shed::NoRetry => {
            Refusal::new(Cause::NoModel, "no replica that may answer this request is up")
        }
    };
    exchange.refuse(refusal.after(after))
}

fn relay(exchange: Exchange, force: &Arc<Force>, ready: &Ready, answer: Answer, cause: Option<Cause>) -> Response<Out> {
    // The engine found the request wrong: it is answered, and not as it was meant.
    let cause = cause.or((answer.status.is_client_error()).then_some(Cause::BadRequest));
    let cause = cause.or((answer.status.is_server_error()).then_some(Cause::Upstream5xx));
    finish(exchange, force, Some(ready), answer, cause, None)
}

/// Begins to pass an answer on.
fn finish(
    mut exchange: Exchange,
    force: &Arc<Force>,
    ready: Option<&Ready>,
    answer: Answer,
    cause: Option<Cause>,
    after: Option<Duration>,
) -> Response<Out> {
    let Answer {
        status,
        mut headers,
        first,
        rest,
    } = answer;
    if cause.is_none() {
        exchange.first_byte();
    }
    strip_hop_by_hop(&mut headers);
    headers.insert(REQUEST_ID, exchange.id.clone());
    if let Some(after) = after.filter(|_| !headers.contains_key(RETRY_AFTER)) {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if let Some(current) = exchange.current {
        receipt::put(&mut headers, &exchange, &current);
    }
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let peek = Peek::new(kind, headers.contains_key(CONTENT_ENCODING));
    let terms = Terms {
        status: status.as_u16(),
        cause,
        marked: exchange.endpoint.is_marked() && cause.is_none(),
        stall: force.settings.timeouts.stall,
        until: ready.map_or_else(|| Instant::now() + force.settings.timeouts.stall, |ready| ready.until),
    };
    let mut response = Response::new(Out::Relay(Box::new(Relay::new(exchange, first, rest, peek, &terms))));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
