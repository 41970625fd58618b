//! What came of a script.

use std::ops::Range;

use routerwise_route::core::Snapshot;
use routerwise_route::decision::Refusal;
use routerwise_types::Timestamp;
use routerwise_types::plan::Plan;
use routerwise_types::report::RequestRecord;
use routerwise_types::workload::{Metric, Scope, Slo, Statistic};

use super::seconds;
use crate::arrivals::Arrival;

/// What came of a script.
#[derive(Clone, Debug, PartialEq)]
pub struct LivePlayed {
    /// Every request, in order of arrival.
    pub requests: Vec<LiveRequest>,
    /// What the router knew after every solve.
    pub timeline: Vec<LivePoint>,
    slos: Vec<Slo>,
    routes: Vec<String>,
    n_models: usize,
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveRequest {
    /// When it came, began to be answered and was done.
    pub record: RequestRecord,
    /// Index of its route in the plan.
    pub route: usize,
    /// Index of its prompt in the scores.
    pub prompt_ix: usize,
    /// Model and replica that it went to last.
    pub to: Option<(usize, usize)>,
    /// Score of the answer.
    pub score: f32,
    /// Attempts that it took.
    pub n_attempts: u32,
    /// Whether it was marked as the least bad that could be done.
    pub degraded: bool,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not known at the end.
    Open,
    /// Answered to the end.
    Answered,
    /// Turned away.
    Refused(Refusal),
    /// Its replica died after the first token.
    Broken,
    /// No engine takes it.
    TooLong,
}

/// What a router knew at one time about one route.
#[derive(Clone, Debug, PartialEq)]
pub struct LivePoint {
    /// When, in seconds.
    pub at: f64,
    /// Index of the route in the plan.
    pub route: usize,
    /// Requests/s.
    pub rate: f64,
    /// Prices with queues as long as they reckon with.
    pub base_prices: Vec<f64>,
    /// Part of the requests that prices mean to send to each model.
    pub fractions: Vec<f64>,
    /// Whether an objective is out of reach.
    pub out_of_reach: bool,
    /// Mean slowness of each model's replicas.
    pub slowness: Vec<f64>,
}

/// What a stretch of time had.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveSummary {
    /// Requests that came.
    pub n_requests: usize,
    /// Of them answered.
    pub n_answered: usize,
    /// Mean score over all that came: what was not answered scores 0.
    pub quality: f64,
    /// For each objective of the plan: its left-hand side over what was answered.
    pub slo_values: Vec<f64>,
    /// Mean TTFT of what was answered, seconds.
    pub ttft: f64,
    /// Its 95th percentile.
    pub ttft_p95: f64,
    /// Part of what was answered that went to each model.
    pub fractions: Vec<f64>,
}

impl LiveRequest {
    pub(super) fn new(arrival: Arrival, route: usize, prompt_ix: usize) -> Self {
        Self {
            record: RequestRecord {
                arrived: arrival.at,
                first_token: arrival.at,
                finished: arrival.at,
                lengths: arrival.lengths,
            },
            route,
            prompt_ix,
            to: None,
            score: 0.0,
            n_attempts: 0,
            degraded: false,
            outcome: Outcome::Open,
        }
    }

    pub(super) fn sent_to(&mut self, to: (usize, usize), score: f32, degraded: bool) {
        self.to = Some(to);
        self.score = score;
        self.degraded = degraded;
    }
}

impl LivePoint {
    /// Every route's.
    pub(super) fn all(now: Timestamp, snapshot: &Snapshot) -> impl Iterator<Item = Self> {
        let slowness = snapshot.models.iter().map(|model| model.slowness);
        let slowness: Vec<f64> = slowness.collect();
        let routes = snapshot.routes.iter().enumerate();
        routes.map(move |(nth, route)| Self {
            at: seconds(now).value(),
            route: nth,
            rate: route.rate,
            base_prices: route.base_prices.clone(),
            fractions: route.fractions.clone(),
            out_of_reach: route.out_of_reach,
            slowness: slowness.clone(),
        })
    }
}

impl LivePlayed {
    pub(super) fn new(requests: Vec<LiveRequest>, timeline: Vec<LivePoint>, plan: &Plan) -> Self {
        Self {
            requests,
            timeline,
            slos: plan.slos.clone(),
            routes: plan.routes().into_iter().map(str::to_owned).collect(),
            n_models: plan.models.len(),
        }
    }

    /// Prices of a route in force at a time in seconds; empty before the first solve and for rules without.
    #[must_use]
    pub fn prices_at(&self, route: usize, at: f64) -> Vec<f64> {
        let own = self.timeline.iter().filter(|point| point.route == route);
        let last = own.take_while(|point| point.at <= at).last();
        last.map_or_else(Vec::new, |point| point.base_prices.clone())
    }

    /// What came between two times in seconds.
    #[must_use]
    pub fn between(&self, window: Range<f64>) -> LiveSummary {
        self.summary(window, None)
    }

    /// What came by one route between two times in seconds.
    #[must_use]
    pub fn of_route(&self, route: usize, window: Range<f64>) -> LiveSummary {
        self.summary(window, Some(route))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    fn summary(&self, window: Range<f64>, route: Option<usize>) -> LiveSummary {
        let came = |request: &&LiveRequest| {
            let own = route.is_none_or(|route| request.route == route);
            own && window.contains(&seconds(request.record.arrived).value())
        };
        let requests: Vec<&LiveRequest> = self.requests.iter().filter(came).collect();
        let answered: Vec<&LiveRequest> = requests
            .iter()
            .copied()
            .filter(|request| request.outcome == Outcome::Answered)
            .collect();
        let of = |model: usize| {
            answered
                .iter()
                .filter(|request| request.to.is_some_and(|to| to.0 == model))
                .count()
        };
        let n = answered.len().max(1) as f64;
        let ttft = |request: &&LiveRequest| request.record.ttft().value();
        LiveSummary {
            n_requests: requests.len(),
            n_answered: answered.len(),
            quality: answered.iter().map(|request| f64::from(request.score)).sum::<f64>()
                / requests.len().max(1) as f64,
            slo_values: self.slos.iter().map(|slo| self.slo_value(slo, &answered)).collect(),
            ttft: answered.iter().map(ttft).sum::<f64>() / n,
            ttft_p95: quantile(answered.iter().map(ttft).collect(), 0.95),
            fractions: (0..self.n_models).map(|model| of(model) as f64 / n).collect(),
        }
    }

    /// Of those answers that it counts.
    fn slo_value(&self, slo: &Slo, answered: &[&LiveRequest]) -> f64 {
        let counts = |request: &&&LiveRequest| {
            slo.route
                .as_ref()
                .is_none_or(|route| *route == self.routes[request.route])
        };
        let counted: Vec<&LiveRequest> = answered.iter().filter(counts).copied().collect();
        slo_value(slo, &counted)
    }
}

/// The least value that so large a part of them does not exceed; 0 of none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place among a count of requests"
)]
fn quantile(mut values: Vec<f64>, q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let nth = (q * values.len() as f64).ceil() as usize;
    values.get(nth.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Mean, or share above the target, over answers; of an objective on each model the same over all of them.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn slo_value(slo: &Slo, answered: &[&LiveRequest]) -> f64 {
    let latency = |metric: Metric| {
        answered
            .iter()
            .filter_map(move |request| request.record.latency(metric))
    };
    let values: Vec<f64> = latency(slo.metric).map(|seconds| seconds.value()).collect();
    let n = values.len().max(1) as f64;
    match (slo.scope, slo.statistic) {
        (Scope::Workload | Scope::EachModel, Statistic::Mean) => values.iter().sum::<f64>() / n,
        (_, Statistic::Quantile { .. }) => {
            values.iter().filter(|value| **value > slo.target.value()).count() as f64 / n
        }
    }
}
