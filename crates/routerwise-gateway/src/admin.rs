//! The administration, on a listener of its own: metrics, reload, and what the router knows.

use std::sync::Arc;

use http::header::{CONTENT_TYPE, ORIGIN};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use serde::Serialize;

use crate::api;
use crate::error::{Cause, Refusal};
use crate::gateway::Gateway;
use crate::response::{Out, json, text};

/// Answers a request.
pub(crate) async fn handle(gateway: &Arc<Gateway>, request: Request<Incoming>) -> Response<Out> {
    if let Some(answer) = api::health(gateway, request.method(), request.uri().path()) {
        return answer;
    }
    match answer(gateway, &request).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn answer(gateway: &Arc<Gateway>, request: &Request<Incoming>) -> Result<Response<Out>, Refusal> {
    authorize(gateway, request)?;
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            gateway.measure();
            let mut response = text(StatusCode::OK, gateway.metrics.text());
            let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            Ok(response)
        }
        (&Method::GET, "/admin/state") => Ok(json(&State::of(gateway))),
        (&Method::POST, "/admin/reload") => {
            let gateway = Arc::clone(gateway);
            let reloaded = tokio::task::spawn_blocking(move || gateway.reload()).await;
            match reloaded.map_err(|_| "the reload broke off".to_owned()).flatten() {
                Ok(plan) => Ok(json(&Reloaded { plan })),
                Err(why) => Err(Refusal::new(Cause::BadRequest, why)),
            }
        }
        (_, "/metrics" | "/admin/state") => Err(wrong_method("GET")),
        (_, "/admin/reload") => Err(wrong_method("POST")),
        _ => Err(Refusal::new(Cause::NoSuchPath, "there is nothing at this path")),
    }
}

fn wrong_method(allowed: &'static str) -> Refusal {
    Refusal::new(Cause::NoSuchPath, "this path does not take this method").allow(allowed)
}

/// Where any key opens the administration, only such a key does. Pages in a browser never do: loopback does not keep them out.
fn authorize(gateway: &Gateway, request: &Request<Incoming>) -> Result<(), Refusal> {
    if request.headers().contains_key(ORIGIN) {
        return Err(Refusal::new(
            Cause::Forbidden,
            "pages in a browser may not ask the administration",
        ));
    }
    let force = gateway.force();
    if !force.keys.have_admin() {
        return Ok(());
    }
    match force.keys.authenticate(request.headers(), gateway.calendar())? {
        Some(holder) if holder.key.admin => Ok(()),
        _ => Err(Refusal::new(
            Cause::Forbidden,
            "this API key does not open the administration",
        )),
    }
}

#[derive(Serialize)]
struct Reloaded {
    plan: String,
}

#[derive(Serialize)]
struct State {
    plan: String,
    in_flight: usize,
    waiting: usize,
    models: Vec<Model>,
    routes: Vec<Route>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    replicas: Vec<Replica>,
}

#[derive(Serialize)]
struct Replica {
    address: Option<String>,
    up: bool,
    in_flight: u32,
    slowness: f64,
    ramp: f64,
    /// What its engine says about itself; absent where it says nothing.
    engine: Option<Engine>,
}

#[derive(Serialize)]
struct Engine {
    running: u32,
    waiting: u32,
    kv_used: f32,
    /// Requests on it that this gateway did not send.
    others: u32,
}

#[derive(Serialize)]
struct Route {
    name: String,
    level: String,
    /// Requests/s.
    rate: f64,
    /// Whether prices are solved from what is seen; otherwise they are the plan's.
    live: bool,
    /// Absent where a model has no replica left, which costs more than anything.
    prices: Vec<Option<f64>>,
    /// Part of its requests that prices mean to send to each model.
    fractions: Vec<f64>,
    /// Whether an objective is out of reach.
    out_of_reach: bool,
}

impl State {
    fn of(gateway: &Gateway) -> Self {
        let force = gateway.force();
        let snapshot = force.desk.snapshot();
        let slots = force.replicas.all();
        let models = snapshot
            .models
            .iter()
            .zip(slots.iter())
            .map(|(model, upstreams)| Model {
                name: model.name.clone(),
                replicas: model
                    .replicas
                    .iter()
                    .zip(upstreams)
                    .map(|(replica, upstream)| Replica {
                        address: upstream.as_ref().map(|upstream| upstream.name().to_owned()),
                        up: replica.ready,
                        in_flight: replica.outstanding,
                        slowness: replica.slowness,
                        ramp: replica.ramp,
                        engine: replica.gauges.map(|gauges| Engine {
                            running: gauges.running,
                            waiting: gauges.waiting,
                            kv_used: gauges.kv_used,
                            others: replica.others,
                        }),
                    })
                    .collect(),
            });
        let routes = snapshot.routes.iter().zip(&force.routes).map(|(route, meters)| Route {
            name: meters.name.to_string(),
            level: force.plan.policies[route.policy].level.clone(),
            rate: route.rate,
            live: route.live,
            fractions: route.fractions.clone(),
            out_of_reach: route.out_of_reach,
            prices: route
                .prices
                .iter()
                .map(|price| price.is_finite().then_some(*price))
                .collect(),
        });
        Self {
            plan: force.plan_name.clone(),
            in_flight: gateway.door.n_in_flight(),
            waiting: gateway.door.n_waiting() + force.desk.n_waiting(),
            models: models.collect(),
            routes: routes.collect(),
        }
    }
}
