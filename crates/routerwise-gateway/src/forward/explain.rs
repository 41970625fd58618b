//! `POST /v1/route`: the decision without the request being sent.

use http::Response;
use routerwise_route::decision::{Change, Considered, Decision, Verdict};
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::decision::{ConsideredModel, RouteDecision};

use super::Ready;
use super::attempts::facts;
use crate::exchange::Exchange;
use crate::force::Force;
use crate::response::{Out, json};

pub(super) fn answer(exchange: &Exchange, force: &Force, ready: &Ready) -> Response<Out> {
    let receipt = force.desk.explain(&facts(exchange, force, ready, &[], false));
    let scored = !exchange.facts.scores.is_empty();
    let send = receipt.decision.sent();
    let reason = match &receipt.decision {
        Decision::Send(_) if ready.beside_fraction.is_some() => "planned-fractions",
        Decision::Send(send) => send.reason.name(),
        Decision::Wait { .. } => "would-wait",
        Decision::Shed { why, .. } => why.name(),
    };
    let name = |model: usize| force.names[model].to_string();
    json(&RouteDecision {
        schema: ANSWER_SCHEMA,
        plan: force.plan_name.clone(),
        asked: exchange.facts.asked.as_deref().unwrap_or_default().to_owned(),
        level: force.plan.policies[receipt.policy].level.clone(),
        live: receipt.live,
        model: send.map(|send| name(send.ticket.model)),
        replica: send.map(|send| send.ticket.replica),
        reason: reason.to_owned(),
        margin: send.and_then(|send| finite(send.margin?)),
        degraded: send.is_some_and(|send| send.degraded),
        scored,
        models: receipt
            .models
            .iter()
            .enumerate()
            .map(|(model, considered)| entry(name(model), considered, scored))
            .collect(),
        would_change: receipt.changes.iter().map(|change| words(change, &name)).collect(),
    })
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

fn entry(model: String, considered: &Considered, scored: bool) -> ConsideredModel {
    ConsideredModel {
        model,
        score: finite(considered.score).filter(|_| scored),
        price: finite(considered.price),
        worth: finite(considered.worth).filter(|_| scored),
        ttft: considered.ttft.map(|ttft| ttft.value()),
        n_ready: considered.n_ready,
        n_replicas: considered.n_replicas,
        outstanding: considered.outstanding,
        verdict: verdict(considered.verdict),
    }
}

fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Chosen => "chosen".to_owned(),
        Verdict::WorthLess(by) => format!("worth {by:.4} less"),
        Verdict::Tied => "tied, and the prompt's hash chose another".to_owned(),
        Verdict::Off => "off".to_owned(),
        Verdict::Forbidden => "not allowed by the request or its route".to_owned(),
        Verdict::BelowLeastScore => "scores less than the request asks for".to_owned(),
        Verdict::MissesTarget => "predicted to miss the time to first token that the request asks for".to_owned(),
        Verdict::NoReplica => "no replica is up".to_owned(),
        Verdict::Tried => "every replica was tried".to_owned(),
        Verdict::NotSent => "the request would not be sent".to_owned(),
    }
}

fn words(change: &Change, name: &impl Fn(usize) -> String) -> String {
    match change {
        Change::ScoreHigher { model, by } => format!("a score of `{}` higher by more than {by:.4}", name(*model)),
        Change::PriceHigher { model, by } => {
            format!(
                "a price of the chosen model higher by more than {by:.4}, and `{}` would answer",
                name(*model)
            )
        }
    }
}
