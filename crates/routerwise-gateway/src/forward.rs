//! A request on its way: read it, choose, send, try again where that may help, and pass the answer on.

mod attempts;
mod explain;
mod race;
mod receipt;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use routerwise_route::facts::{ModelSet, Priority};
use routerwise_types::hash::prompt_hash;
use tokio::time::Instant;

use crate::api::{Endpoint, no_such_model};
use crate::ask::{self, Ask};
use crate::body;
use crate::error::{Cause, Refusal};
use crate::exchange::Exchange;
use crate::force::{Force, Target};
use crate::headers::Wishes;
use crate::response::Out;
use crate::scorer::by_fraction;

/// Tokens that are set aside for an answer whose length the request leaves to the engine.
const USUAL_OUTPUT: u64 = 1024;

/// A request that has been read and may be sent.
#[derive(Debug)]
struct Ready {
    /// Path and query, as the client wrote them.
    path: String,
    headers: HeaderMap,
    body: Bytes,
    /// Where in the body the model stands.
    span: std::ops::Range<usize>,
    allowed: ModelSet,
    /// What is allowed where `allowed` holds one model alone because the planned fractions chose it.
    beside_fraction: Option<ModelSet>,
    wants: Wants,
    /// When the whole answer must be there.
    until: Instant,
}

/// What its headers ask for, without their text.
#[derive(Clone, Copy, Debug, Default)]
struct Wants {
    least_score: Option<f32>,
    ttft_target: Option<Duration>,
    deadline: Option<Duration>,
    session: Option<u64>,
    priority: Option<u8>,
}

/// Reads, sends and answers a request whose key is known.
pub(crate) async fn run(mut exchange: Exchange, request: Request<Incoming>) -> Response<Out> {
    let force = Arc::clone(&exchange.force);
    let gateway = Arc::clone(&exchange.gateway);
    let (parts, body) = request.into_parts();
    if let Some(key) = &exchange.key
        && let Err(refusal) = key.take_request(std::time::Instant::now())
    {
        return exchange.refuse(refusal);
    }
    let limits = &force.settings.limits;
    let timeouts = &force.settings.timeouts;
    match gateway.door.enter(limits, timeouts).await {
        Ok(place) => exchange.place = Some(place),
        Err(refusal) => return exchange.refuse(refusal),
    }
    // Held until the answer begins: a body may have to be sent again.
    let (body, _held) = match body::read(&parts.headers, body, &gateway.door, limits, timeouts).await {
        Ok(read) => read,
        Err(refusal) => return exchange.refuse(refusal),
    };
    exchange.read = Instant::now();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let ready = match prepare(&mut exchange, &force, path, parts.headers, body).await {
        Ok(ready) => ready,
        Err(refusal) => return exchange.refuse(refusal),
    };
    if exchange.endpoint == Endpoint::Route {
        let answer = explain::answer(&exchange, &force, &ready);
        return exchange.answer(answer);
    }
    attempts::run(exchange, &force, ready).await
}

/// Everything between the body and the decision.
async fn prepare(
    exchange: &mut Exchange,
    force: &Arc<Force>,
    path: String,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Ready, Refusal> {
    let arrived = exchange.started;
    let wishes = Wishes::read(&headers)?;
    let ask = ask::read(&body)?;
    let target = force.target(&ask.model).ok_or_else(|| no_such_model(&ask.model))?;
    exchange.facts.asked = Some(match target {
        Target::Route(route) => Arc::clone(&force.routes[route].name),
        Target::Model(model) => Arc::clone(&force.names[model]),
    });
    if !force.may_ask(exchange.key.as_deref(), target) {
        let message = format!("this API key may not ask `{}`", ask.model);
        return Err(Refusal::new(Cause::Forbidden, message).param("model"));
    }
    // Not chosen by prompt: from here on it is as if the client had named the model.
    let target = match target {
        Target::Route(route) if exchange.endpoint == Endpoint::Embeddings => {
            Target::Model(embedder(force, route, &ask.model)?)
        }
        target => target,
    };
    let routed = matches!(target, Target::Route(_));
    let mut allowed = match target {
        Target::Model(model) => ModelSet::only(model),
        Target::Route(_) => ModelSet::ALL,
    };
    if let Some(names) = &wishes.models {
        allowed = allowed.and(named(force, names)?);
    }
    let wants = Wants {
        least_score: wishes.least_score,
        ttft_target: wishes.ttft_target,
        deadline: wishes.deadline,
        session: wishes.session.map(prompt_hash),
        priority: wishes.priority,
    };
    let hash = prompt_hash(&ask.prompt);
    let facts = &mut exchange.facts;
    facts.routed = routed;
    facts.route = force.route_of(target);
    facts.stream = ask.stream;
    facts.input_tokens = ask.input_tokens;
    facts.prompt_hash = Some(hash);
    facts.prefix = Some(ask.prefix);
    facts.ttft_target = wants.ttft_target.map(|target| target.as_secs_f64());
    if force.settings.log.as_ref().is_some_and(|log| log.prompts) {
        facts.prompt = Some(ask.prompt.to_string());
    }
    let mut beside_fraction = None;
    if routed {
        facts.scores = scores(force, &ask, hash).await;
        if facts.scores.is_empty() {
            exchange.gateway.metrics.unscored.inc();
            let may = force.desk.models_of(facts.route).and(allowed);
            if let Some(model) = by_fraction(force.policy(facts.route), hash, |model| may.has(model)) {
                beside_fraction = Some(std::mem::replace(&mut allowed, ModelSet::only(model)));
            }
        }
    }
    if exchange.endpoint != Endpoint::Route
        && let Some(key) = &exchange.key
    {
        let output = match exchange.endpoint {
            Endpoint::Embeddings => 0,
            _ => ask.output_limit.unwrap_or(USUAL_OUTPUT),
        };
        exchange.reservation = key.reserve(ask.input_tokens.saturating_add(output), std::time::Instant::now())?;
    }
    let total = force.settings.timeouts.total;
    let patience = wants.deadline.map_or(total, |deadline| deadline.min(total));
    Ok(Ready {
        path,
        headers,
        span: ask.span.clone(),
        allowed,
        beside_fraction,
        wants,
        until: arrived + patience,
        body: body.clone(),
    })
}

/// The model that answers the embeddings of a route: the one that was set, or the only one that it may choose.
fn embedder(force: &Force, route: usize, asked: &str) -> Result<usize, Refusal> {
    let settings = &force.settings.routes[route];
    if let Some(model) = settings.embeddings.as_ref().and_then(|name| force.model_ix(name)) {
        return Ok(model);
    }
    let may = force.desk.models_of(route);
    let mut models = (0..force.names.len()).filter(|model| may.has(*model));
    if let (Some(only), None) = (models.next(), models.next()) {
        return Ok(only);
    }
    let known: Vec<String> = force.names.iter().map(|name| format!("`{name}`")).collect();
    let message = format!(
        "embeddings of different models do not compare, and `{asked}` may choose among several: name one of {}, or set \
         `embeddings = \"MODEL\"` for this route in the gateway's settings",
        known.join(", ")
    );
    Err(Refusal::new(Cause::BadRequest, message).param("model"))
}

/// The models that a header allows.
fn named(force: &Force, names: &[&str]) -> Result<ModelSet, Refusal> {
    let mut set = ModelSet::NONE;
    for name in names {
        let model = force.model_ix(name).ok_or_else(|| {
            let shown: String = name.chars().take(100).collect();
            Refusal::new(
                Cause::BadRequest,
                format!("the header `x-routerwise-models` names `{shown}`, which is no model of the plan"),
            )
        })?;
        set = set.with(model);
    }
    Ok(set)
}

/// The scores of a prompt; none where nothing knows them.
async fn scores(force: &Arc<Force>, ask: &Ask<'_>, hash: u64) -> Vec<f32> {
    let mut scores = vec![0.0; force.names.len()];
    if !force.scorer.waits(hash) {
        let known = force.scorer.score(&ask.prompt, &ask.before, hash, &mut scores);
        return if known { scores } else { Vec::new() };
    }
    let (force, prompt, before) = (Arc::clone(force), ask.prompt.to_string(), ask.before.to_string());
    let scored = tokio::task::spawn_blocking(move || {
        force
            .scorer
            .score(&prompt, &before, hash, &mut scores)
            .then_some(scores)
    });
    scored.await.ok().flatten().unwrap_or_default()
}

impl Wants {
    fn priority(&self) -> Priority {
        self.priority.map_or(Priority::USUAL, Priority)
    }
}
