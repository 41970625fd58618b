//! What a router knows, for metrics and pages.

use routerwise_types::Timestamp;

use super::RouterCore;
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
    /// Whether it was not removed.
    pub present: bool,
    /// Part of its share that it gets.
    pub ramp: f64,
    /// Observed over predicted latency.
    pub slowness: f64,
}

/// One route.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSnapshot {
    /// Its name.
    pub name: String,
    /// Index into the plan's policies of the one in force.
    pub policy: usize,
    /// What each model costs it now; infinite with no replica left.
    pub prices: Vec<f64>,
}

impl RouterCore {
    /// What the router knows now.
    #[must_use]
    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let models = self.models.iter().map(|model| ModelSnapshot {
            name: model.name.clone(),
            replicas: model
                .replicas
                .iter()
                .map(|replica| ReplicaSnapshot {
                    outstanding: replica.outstanding,
                    healthy: replica.is_healthy(),
                    breaker: replica.breaker(),
                    present: replica.is_present(),
                    ramp: replica.ramp(now, &self.settings.health),
                    slowness: replica.slowness,
                })
                .collect(),
        });
        let price = |route: usize, model: usize| {
            let ready = self.models[model].replicas.iter().any(|replica| replica.is_ready(now));
            if ready { self.price(route, model) } else { f64::INFINITY }
        };
        let routes = self.routes.iter().enumerate().map(|(ix, route)| RouteSnapshot {
            name: route.settings.name.clone(),
            policy: route.levels[route.level].0,
            prices: (0..self.models.len()).map(|model| price(ix, model)).collect(),
        });
        Snapshot {
            models: models.collect(),
            routes: routes.collect(),
            queued: self.queue.len(),
        }
    }
}
