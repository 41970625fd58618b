//! What engines say about themselves, as far as they do.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use routerwise_route::event::Gauges;

use super::ReplicaLabels;

/// By replica; those whose engine says nothing, or said it too long ago, are not there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Engines {
    running: Family<ReplicaLabels, Gauge>,
    waiting: Family<ReplicaLabels, Gauge>,
    kv_used: Family<ReplicaLabels, Gauge<f64, AtomicU64>>,
    others: Family<ReplicaLabels, Gauge>,
}

impl Engines {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let engines = Self::default();
        registry.register(
            "routerwise_engine_running",
            "Requests in an engine's batch, as it says",
            engines.running.clone(),
        );
        registry.register(
            "routerwise_engine_waiting",
            "Requests that wait for a place in it, as it says",
            engines.waiting.clone(),
        );
        registry.register(
            "routerwise_engine_kv_used_ratio",
            "Part of an engine's KV cache in use, as it says",
            engines.kv_used.clone(),
        );
        registry.register(
            "routerwise_engine_others",
            "Requests of others on an engine: what it says less what this gateway has sent there",
            engines.others.clone(),
        );
        engines
    }

    pub(crate) fn clear(&self) {
        self.running.clear();
        self.waiting.clear();
        self.kv_used.clear();
        self.others.clear();
    }

    pub(crate) fn set(&self, labels: &ReplicaLabels, gauges: &Gauges, others: u32) {
        self.running.get_or_create(labels).set(i64::from(gauges.running));
        self.waiting.get_or_create(labels).set(i64::from(gauges.waiting));
        self.kv_used.get_or_create(labels).set(f64::from(gauges.kv_used));
        self.others.get_or_create(labels).set(i64::from(others));
    }
}
