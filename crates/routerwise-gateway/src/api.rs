//! The front door: which path does what.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use crate::error::{Cause, Refusal};
use crate::exchange::Exchange;
use crate::force::{Force, Target};
use crate::forward;
use crate::gateway::Gateway;
use crate::headers::request_id;
use crate::keys::Holder;
use crate::response::{Out, json, text};
use crate::server::Alive;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Chat,
    Completions,
    Embeddings,
    Responses,
    Messages,
    Models,
    /// The decision without the request being sent.
    Route,
    Unknown,
}

impl Endpoint {
    fn of(path: &str) -> Self {
        match path {
            "/v1/chat/completions" => Self::Chat,
            "/v1/completions" => Self::Completions,
            "/v1/embeddings" => Self::Embeddings,
            "/v1/responses" => Self::Responses,
            "/v1/messages" => Self::Messages,
            "/v1/route" => Self::Route,
            path if path == "/v1/models" || path.starts_with("/v1/models/") => Self::Models,
            _ => Self::Unknown,
        }
    }

    /// Its path; also its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::Models => "/v1/models",
            Self::Route => "/v1/route",
            Self::Unknown => "other",
        }
    }

    /// What the GenAI conventions call it.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Completions => "text_completion",
            Self::Embeddings => "embeddings",
            _ => "chat",
        }
    }

    /// Whether its streams end with `[DONE]` or an event that says so.
    pub(crate) fn is_marked(self) -> bool {
        !matches!(self, Self::Embeddings)
    }

    fn methods(self) -> &'static str {
        match self {
            Self::Models => "GET, HEAD, OPTIONS",
            _ => "POST, OPTIONS",
        }
    }
}

/// Answers a request.
pub(crate) async fn handle(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Out> {
    let path = request.uri().path();
    // Load balancers ask these without keys, and often: they are no requests that count.
    if let Some(answer) = health(gateway, request.method(), path) {
        return answer;
    }
    let endpoint = Endpoint::of(path);
    let number = gateway.next_number();
    let id = request_id(request.headers(), number, gateway.run);
    let mut exchange = Exchange::new(gateway, gateway.force(), endpoint, number, id);
    exchange.alive = request.extensions().get::<Arc<Alive>>().cloned();
    if endpoint == Endpoint::Unknown {
        return exchange.refuse(Refusal::new(Cause::NoSuchPath, "there is nothing at this path"));
    }
    match (request.method(), endpoint) {
        (&Method::OPTIONS, _) => return exchange.answer(options(endpoint)),
        (&Method::GET | &Method::HEAD, Endpoint::Models) => {}
        (&Method::POST, endpoint) if endpoint != Endpoint::Models => {}
        _ => {
            let refusal = Refusal::new(Cause::NoSuchPath, "this path does not take this method");
            return exchange.refuse(refusal.allow(endpoint.methods()));
        }
    }
    match exchange.force.keys.authenticate(request.headers(), exchange.at) {
        Ok(key) => exchange.key = key,
        Err(refusal) => return exchange.refuse(refusal),
    }
    if endpoint == Endpoint::Models {
        return match models(&exchange.force, exchange.key.as_deref(), request.uri().path()) {
            Ok(response) => exchange.answer(response),
            Err(refusal) => exchange.refuse(refusal),
        };
    }
    forward::run(exchange, request).await
}

/// `/health`: the process lives. `/ready`: it should get requests.
pub(crate) fn health(gateway: &Gateway, method: &Method, path: &str) -> Option<Response<Out>> {
    if path != "/health" && path != "/ready" {
        return None;
    }
    if method != Method::GET && method != Method::HEAD {
        let refusal = Refusal::new(Cause::NoSuchPath, "this path does not take this method");
        return Some(refusal.allow("GET, HEAD").into_response());
    }
    if path == "/health" {
        return Some(text(StatusCode::OK, "ok\n"));
    }
    Some(if gateway.is_stopping() {
        text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if gateway.force().is_ready() {
        text(StatusCode::OK, "ready\n")
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "no replica is well\n")
    })
}

fn options(endpoint: Endpoint) -> Response<Out> {
    let mut response = Response::new(Out::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let methods = http::HeaderValue::from_static(endpoint.methods());
    response.headers_mut().insert(http::header::ALLOW, methods);
    response
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
}

#[derive(Serialize)]
struct List<'a> {
    object: &'static str,
    data: Vec<Model<'a>>,
}

/// Routes and models that a key may ask; one of them where the path names it.
fn models(force: &Force, key: Option<&Holder>, path: &str) -> Result<Response<Out>, Refusal> {
    let slots = force.replicas.all();
    let looked_for = |model: &str| {
        force
            .settings
            .discover
            .iter()
            .any(|discover| discover.like.model == model)
    };
    let served = |model: usize| slots[model].iter().any(Option::is_some) || looked_for(&force.names[model]);
    let routes = force.settings.routes.iter().map(|route| route.name.as_str());
    let models = force
        .names
        .iter()
        .enumerate()
        .filter(|(ix, _)| served(*ix))
        .map(|(_, name)| &**name);
    let allowed = |name: &&str| key.is_none_or(|key| key.may_ask(name));
    let entry = |id| Model {
        id,
        object: "model",
        created: 0,
        owned_by: "routerwise",
    };
    let mut data = routes.chain(models).filter(allowed).map(entry);
    match path.strip_prefix("/v1/models").unwrap_or_default().strip_prefix('/') {
        None | Some("") => Ok(json(&List {
            object: "list",
            data: data.collect(),
        })),
        Some(wanted) => {
            let wanted = percent(wanted);
            data.find(|model| model.id == wanted)
                .map(|model| json(&model))
                .ok_or_else(|| no_such_model(&wanted))
        }
    }
}

pub(crate) fn no_such_model(name: &str) -> Refusal {
    let shown: String = name.chars().take(100).collect();
    Refusal::new(
        Cause::NoSuchModel,
        format!("no route or model is called `{shown}`; `GET /v1/models` lists them"),
    )
    .param("model")
}

/// Undoes the escapes of a path: names of models have slashes.
fn percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = (byte == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match escaped {
            Some(plain) => {
                bytes.push(plain);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Force {
    /// Whether a key may ask a target.
    pub(crate) fn may_ask(&self, key: Option<&Holder>, target: Target) -> bool {
        let name: &str = match target {
            Target::Route(route) => &self.settings.routes[route].name,
            Target::Model(model) => &self.names[model],
        };
        key.is_none_or(|key| key.may_ask(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes_are_found_by_path() {
        assert_eq!(percent("org%2Fmodel"), "org/model");
        assert_eq!(percent("a%zz%4"), "a%zz%4");
        assert_eq!(percent("%C3%A4"), "ä");
    }
}
