//! From a request to its answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::TrySendError;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};
use routerwise_types::hash::mix;
use serde_json::{Value, json};

use super::App;
use crate::delivery::Delivery;
use crate::driver::{Command, Submission};
use crate::error::ApiError;
use crate::options::{Fate, Midway};
use crate::reply::{BrokenOff, Envelope, Lease, TokenStream, whole};
use crate::request::{Ask, Kind, Rules};

/// Largest body, in bytes.
const LARGEST_BODY: usize = 64 << 20;

pub(super) async fn chat(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    answer(&app, Kind::Chat, request).await
}

pub(super) async fn completion(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    answer(&app, Kind::Completion, request).await
}

/// How many tokens a request's prompt would count.
pub(super) async fn tokenize(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, ApiError> {
    let (headers, bytes) = read(request).await?;
    let is_chat = serde_json::from_slice::<Value>(&bytes).is_ok_and(|body| body.get("messages").is_some());
    let kind = if is_chat { Kind::Chat } else { Kind::Completion };
    let count = app.rules().count(kind, &headers, &bytes)?;
    let max_model_len = app.replica.limits().max_model_len;
    let tokens: Vec<u32> = (0..count).collect();
    Ok(Json(
        json!({"count": count, "max_model_len": max_model_len, "tokens": tokens}),
    ))
}

async fn answer(app: &App, kind: Kind, request: Request) -> Result<Response, ApiError> {
    // The engine's own time for receiving and tokenising counts from here.
    let mut arrived = Instant::now();
    let (headers, bytes) = read(request).await?;
    let ask = app.rules().read(kind, &headers, &bytes)?;
    let number = app.n_accepted.fetch_add(1, Ordering::Relaxed);
    if number >= app.crashes_at.load(Ordering::Relaxed) {
        app.crash();
        app.unless_crashed().await;
    }
    let faults = app.faults();
    let fate = faults.fate(app.options.fault_seed, number);
    if let Some(status) = fate.status {
        return Err(refusal(status, faults.retry_after));
    }
    if let Some(seconds) = fate.spike {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
        arrived = Instant::now();
    }
    let ask = Arc::new(ask);
    let lease = app.submit(number, arrived, &ask)?;
    let unique = format!("{:016x}{:016x}", app.salt, mix(app.salt ^ number));
    let envelope = Envelope::new(kind, &unique, &app.replica.model);
    if ask.streaming.is_some() {
        let stream = TokenStream::new(&envelope, ask, lease, fate.midway, app.metrics.clone());
        let head = [
            (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
            (CACHE_CONTROL, "no-cache"),
        ];
        Ok((head, Body::new(stream)).into_response())
    } else {
        at_once(app, &envelope, &ask, lease, fate).await
    }
}

pub(super) async fn read(request: Request) -> Result<(HeaderMap, Bytes), ApiError> {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, LARGEST_BODY).await.map_err(|_| {
        let message = format!("the body has more than {LARGEST_BODY} bytes, or broke off");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message)
    })?;
    Ok((parts.headers, bytes))
}

fn refusal(status: u16, retry_after: u32) -> ApiError {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut error = ApiError::new(status, format!("{} on purpose", status.as_u16()));
    error.retry_after = (status != StatusCode::INTERNAL_SERVER_ERROR).then_some(retry_after);
    error
}

/// The whole answer when it is complete.
async fn at_once(
    app: &App,
    envelope: &Envelope,
    ask: &Ask,
    mut lease: Lease,
    fate: Fate,
) -> Result<Response, ApiError> {
    if lease.wait_for_all(ask).await.is_err() {
        // Who crashed says nothing; the connection is about to be dropped.
        app.unless_crashed().await;
        return Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the engine is gone"));
    }
    let text = whole(envelope, ask).to_string();
    let json = [(CONTENT_TYPE, "application/json")];
    match fate.midway.map(|(_, what)| what) {
        None => {}
        Some(Midway::Stall(Some(seconds))) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
        Some(Midway::Stall(None)) => std::future::pending().await,
        Some(Midway::Malformed) => return Ok((json, text[..text.len() / 2].to_owned()).into_response()),
        Some(Midway::Truncate) => {
            let mut half = Bytes::from(text);
            half.truncate(half.len() / 2);
            return Ok((json, Body::new(BrokenOff::after(half))).into_response());
        }
    }
    Ok((json, text).into_response())
}

impl App {
    pub(super) fn rules(&self) -> Rules<'_> {
        Rules {
            model: &self.replica.model,
            limits: self.replica.limits(),
            output_tokens: &self.options.output_tokens,
            seed: self.options.seed,
        }
    }

    fn submit(&self, id: u64, arrived: Instant, ask: &Arc<Ask>) -> Result<Lease, ApiError> {
        for answer in &ask.answers {
            let accepted = self.replica.limits().accept(answer.lengths);
            accepted.map_err(|refused| ApiError::bad_request(refused.to_string()))?;
        }
        let delivery = Arc::new(Delivery::new(ask.answers.len(), arrived));
        let submission = Submission {
            id,
            arrived,
            ask: Arc::clone(ask),
            delivery: Arc::clone(&delivery),
        };
        self.commands
            .try_send(Command::Submit(submission))
            .map_err(|error| match error {
                TrySendError::Full(_) => refusal(503, 1),
                TrySendError::Disconnected(_) => ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "the engine is gone"),
            })?;
        Ok(Lease {
            id,
            commands: self.commands.clone(),
            delivery,
            finished: false,
        })
    }
}
