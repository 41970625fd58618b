//! Metrics of one model and one route, looked up once: a request then only adds to them.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::metrics::{Metrics, ModelLabels, RouteModelLabels};

type FloatCounter = Counter<f64, std::sync::atomic::AtomicU64>;
type FloatGauge = Gauge<f64, std::sync::atomic::AtomicU64>;

/// Of one model.
#[derive(Debug)]
pub(crate) struct ModelMeters {
    pub(crate) ttft_predicted: FloatCounter,
    pub(crate) ttft_realised: FloatCounter,
}

/// Of one route.
#[derive(Debug)]
pub(crate) struct RouteMeters {
    pub(crate) name: Arc<str>,
    /// By model.
    pub(crate) models: Vec<RouteModelMeters>,
}

/// Of one model of one route.
#[derive(Debug)]
pub(crate) struct RouteModelMeters {
    pub(crate) routed: Counter,
    pub(crate) score: FloatCounter,
    pub(crate) price: FloatGauge,
    pub(crate) moved_by_price: Counter,
    pub(crate) met: Counter,
    pub(crate) missed: Counter,
}

impl ModelMeters {
    pub(crate) fn new(model: &Arc<str>, metrics: &Metrics) -> Self {
        let labels = ModelLabels {
            model: Arc::clone(model),
        };
        Self {
            ttft_predicted: metrics.ttft_predicted.get_or_create_owned(&labels),
            ttft_realised: metrics.ttft_realised.get_or_create_owned(&labels),
        }
    }
}

impl RouteMeters {
    pub(crate) fn new(name: &str, models: &[Arc<str>], metrics: &Metrics) -> Self {
        let name: Arc<str> = name.into();
        let of = |model: &Arc<str>| {
            let labels = RouteModelLabels {
                route: Arc::clone(&name),
                model: Arc::clone(model),
            };
            RouteModelMeters {
                routed: metrics.routed.get_or_create_owned(&labels),
                score: metrics.score.get_or_create_owned(&labels),
                price: metrics.price.get_or_create_owned(&labels),
                moved_by_price: metrics.moved_by_price.get_or_create_owned(&labels),
                met: metrics.objective_met.get_or_create_owned(&labels),
                missed: metrics.objective_missed.get_or_create_owned(&labels),
            }
        };
        Self {
            models: models.iter().map(of).collect(),
            name: Arc::clone(&name),
        }
    }
}
