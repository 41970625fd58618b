//! The receipt: headers that say which model answered, and why.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::exchange::{Current, Exchange};

const MODEL: HeaderName = HeaderName::from_static("x-routerwise-model");
const REPLICA: HeaderName = HeaderName::from_static("x-routerwise-replica");
const SCORE: HeaderName = HeaderName::from_static("x-routerwise-score");
const PRICE: HeaderName = HeaderName::from_static("x-routerwise-price");
const MARGIN: HeaderName = HeaderName::from_static("x-routerwise-margin");
const PLAN: HeaderName = HeaderName::from_static("x-routerwise-plan");
const REASON: HeaderName = HeaderName::from_static("x-routerwise-reason");
const DEGRADED: HeaderName = HeaderName::from_static("x-routerwise-degraded");
const HEDGE: HeaderName = HeaderName::from_static("x-routerwise-hedge");
const TRIES: HeaderName = HeaderName::from_static("x-routerwise-tries");

/// Puts the receipt on an answer. Addresses of replicas stay inside: clients get the number.
pub(super) fn put(headers: &mut HeaderMap, exchange: &Exchange, current: &Current) {
    let send = &current.send;
    let mut text = String::with_capacity(32);
    let mut put = |name: HeaderName, write: &dyn Fn(&mut String)| {
        text.clear();
        write(&mut text);
        // Names of models may have characters that headers may not.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(name, value);
        }
    };
    let number = |text: &mut String, value: f64| {
        let _ = write!(text, "{value:.4}");
    };
    put(MODEL, &|text| text.push_str(&exchange.force.names[send.ticket.model]));
    put(REPLICA, &|text| {
        let _ = write!(text, "{}", send.ticket.replica);
    });
    if !exchange.facts.scores.is_empty() {
        put(SCORE, &|text| number(text, send.score));
        if let Some(margin) = send.margin {
            put(MARGIN, &|text| number(text, margin));
        }
    }
    put(PRICE, &|text| number(text, send.price));
    put(PLAN, &|text| text.push_str(&exchange.force.plan_name));
    put(REASON, &|text| text.push_str(current.reason));
    if send.degraded {
        put(DEGRADED, &|text| text.push_str("true"));
    }
    if let Some(hedge) = &exchange.hedge {
        put(HEDGE, &|text| text.push_str(hedge.outcome()));
    }
    if !exchange.failed.is_empty() {
        put(TRIES, &|text| {
            let _ = write!(text, "{}", exchange.failed.len() + 1);
        });
    }
}
