//! What a router knows, for metrics and pages.

use routerwise_types::Timestamp;

use super::RouterCore;
use crate::event::Gauges;
use crate::replica::Breaker;

/// What a router knows.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Every model of the plan, in its order.
    pub models: Vec<ModelSnapshot>,
    /// Every route.
    pub routes: Vec<RouteSnapshot>,
    /// Requests that wait.
    pub queued: usize,
}

/// One model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSnapshot {
    /// Its name.
    pub name: String,
    /// Observed over predicted latency of its serving replicas together.
    pub slowness: f64,
    /// Its replicas.
    pub replicas: Vec<ReplicaSnapshot>,
}

/// One replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplicaSnapshot {
    /// Attempts in flight.
    pub outstanding: u32,
    /// Whether the last active health check was good.
    pub healthy: bool,
    /// Its breaker.
    pub breaker: Breaker,
    /// Whether requests may be sent to it now, be it one that tries it.
    pub ready: bool,
    /// Whether it was not removed.
    pub present: bool,
    /// Part of its share that it gets.
    pub ramp: f64,
    /// Observed over predicted latency.
    pub slowness: f64,
    /// What its engine said last, unless that was too long ago.
    pub gauges: Option<Gauges>,
    /// Requests on its engine that are not ours, as far as it says so.
    pub others: u32,
}

/// One route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSnapshot {
    /// Its name.
    pub name: String,
    /// Index into the plan's policies of the one in force.
    pub policy: usize,
    /// Requests/s that arrive.
    pub rate: f64,
    /// Whether prices are re-solved; otherwise they are the plan's.
    pub live: bool,
    /// What each model costs it now, its queues included; infinite with no replica left.
    pub prices: Vec<f64>,
    /// The same with queues as long as prices reckon with.
    pub base_prices: Vec<f64>,
    /// Part of its requests that prices mean to send to each model.
    pub fractions: Vec<f64>,
    /// Price of each objective over its requests, for all of its limit.
    pub slo_prices: Vec<f64>,
    /// What of each such limit is used up, headroom included; empty until prices are re-solved.
    pub slo_parts: Vec<f64>,
    /// Part of its requests that prices mean to turn away.
    pub refused: f64,
    /// Whether an objective is out of reach at the live rate.
    pub out_of_reach: bool,
    /// Score vectors in its sample.
    pub n_sampled: usize,
}

impl RouterCore {
    /// What the router knows now.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let models = self.models.iter().enumerate().map(|(ix, model)| ModelSnapshot {
            slowness: self.slowness(ix),
            name: model.name.clone(),
            replicas: model
                .replicas
                .iter()
                .map(|replica| ReplicaSnapshot {
                    outstanding: replica.outstanding,
                    healthy: replica.is_healthy(),
                    breaker: replica.breaker(),
                    ready: replica.is_ready(now),
                    present: replica.is_present(),
                    ramp: replica.ramp(now, &self.settings.health),
                    slowness: replica.slowness(),
                    gauges: replica.gauges(now, &self.settings.health),
                    others: replica.others(now, &self.settings.health),
                })
                .collect(),
        });
        let routes = self.routes.iter().enumerate().map(|(ix, route)| {
            let live = route.live.as_ref();
            let prices = (0..self.models.len()).map(|model| self.price_or_infinity(now, ix, model));
            RouteSnapshot {
                name: route.settings.name.clone(),
                policy: route.level().policy_ix,
                rate: route.rate.current(),
                live: live.is_some(),
                prices: prices.collect(),
                base_prices: live
                    .map_or(route.level().policy.prices(), |live| &live.prices.prices)
                    .to_vec(),
                fractions: live.map_or_else(|| route.usual_fractions(), |live| live.prices.fractions.clone()),
                slo_prices: live
                    .map_or(&route.level().row_prices, |live| &live.prices.row_prices)
                    .clone(),
                slo_parts: live.map_or_else(Vec::new, |live| live.prices.rows.clone()),
                refused: live.map_or(0.0, |live| live.prices.refused),
                out_of_reach: live.is_some_and(|live| live.out_of_reach),
                n_sampled: route.sample.len(),
            }
        });
        Snapshot {
            models: models.collect(),
            routes: routes.collect(),
            queued: self.queue.len(),
        }
    }
}
