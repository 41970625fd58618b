//! Prometheus metrics: the GenAI conventions' names, so that existing pages work, and names of our own for what nobody else has.
//!
//! Labels come from bounded sets: models and routes of the plan, replicas that are configured, keys by name, causes. What clients write
//! never becomes a label.

mod engines;
mod labels;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::error::Cause;
use engines::Engines;
pub(crate) use labels::{
    AttemptLabels, CauseLabels, GenAi, HedgeLabels, KeyLabels, ModelLabels, PlanLabels, ReplicaLabels, RequestLabels,
    ResultLabels, RouteModelLabels, SourceLabels, TokenLabels,
};

type FloatGauge = Gauge<f64, AtomicU64>;
type FloatCounter = Counter<f64, AtomicU64>;

/// How an attempt may end.
const OUTCOMES: [&str; 14] = [
    "ok",
    OVERTAKEN,
    Cause::Connect.name(),
    Cause::Reset.name(),
    Cause::FirstByte.name(),
    Cause::GivenUp.name(),
    Cause::Upstream429.name(),
    Cause::Upstream5xx.name(),
    Cause::Malformed.name(),
    Cause::Truncated.name(),
    Cause::Stalled.name(),
    Cause::Deadline.name(),
    Cause::ClientGone.name(),
    Cause::Stopping.name(),
];
/// An attempt that was cancelled because a second copy of its request was faster.
pub(crate) const OVERTAKEN: &str = "overtaken";

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) duration: Family<GenAi, Histogram, fn() -> Histogram>,
    pub(crate) ttft: Family<GenAi, Histogram, fn() -> Histogram>,
    pub(crate) tpot: Family<GenAi, Histogram, fn() -> Histogram>,
    pub(crate) tokens: Family<TokenLabels, Histogram, fn() -> Histogram>,
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) failures: Family<CauseLabels, Counter>,
    pub(crate) attempts: Family<AttemptLabels, Counter>,
    pub(crate) hedges: Family<HedgeLabels, Counter>,
    pub(crate) resent: Counter,
    pub(crate) overhead: Histogram,
    pub(crate) routed: Family<RouteModelLabels, Counter>,
    pub(crate) score: Family<RouteModelLabels, FloatCounter>,
    pub(crate) price: Family<RouteModelLabels, FloatGauge>,
    pub(crate) moved_by_price: Family<RouteModelLabels, Counter>,
    pub(crate) unscored: Counter,
    pub(crate) ttft_predicted: Family<ModelLabels, FloatCounter>,
    pub(crate) ttft_realised: Family<ModelLabels, FloatCounter>,
    pub(crate) objective_met: Family<RouteModelLabels, Counter>,
    pub(crate) objective_missed: Family<RouteModelLabels, Counter>,
    pub(crate) degraded: Counter,
    pub(crate) plan: Family<PlanLabels, Gauge>,
    pub(crate) replica_up: Family<ReplicaLabels, Gauge>,
    pub(crate) replica_in_flight: Family<ReplicaLabels, Gauge>,
    pub(crate) engines: Engines,
    pub(crate) discovered: Family<SourceLabels, Gauge>,
    pub(crate) discovery_failures: Family<SourceLabels, Counter>,
    pub(crate) in_flight: Gauge,
    pub(crate) waiting: Gauge,
    pub(crate) buffered: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) connections_refused: Counter,
    pub(crate) handshake_failures: Counter,
    pub(crate) key_requests: Family<KeyLabels, Counter>,
    pub(crate) key_tokens: Family<KeyLabels, Counter>,
    pub(crate) log_written: Counter,
    pub(crate) log_lost: Counter,
    pub(crate) log_errors: Counter,
    pub(crate) reloads: Family<ResultLabels, Counter>,
}

impl Metrics {
    #[expect(clippy::too_many_lines, reason = "one statement per metric, and nothing else")]
    pub(crate) fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        macro_rules! metric {
            ($name:literal, $help:literal, $metric:expr) => {{
                let metric = $metric;
                registry.register($name, $help, metric.clone());
                metric
            }};
        }
        let engines = Engines::new(&mut registry);
        let metrics = Self {
            duration: metric!(
                "gen_ai_server_request_duration_seconds",
                "Time from a request to the end of its answer",
                Family::new_with_constructor(durations as fn() -> Histogram)
            ),
            ttft: metric!(
                "gen_ai_server_time_to_first_token_seconds",
                "Time from a request to the first byte of its stream",
                Family::new_with_constructor(durations as fn() -> Histogram)
            ),
            tpot: metric!(
                "gen_ai_server_time_per_output_token_seconds",
                "Time per token of a stream after the first",
                Family::new_with_constructor(token_times as fn() -> Histogram)
            ),
            tokens: metric!(
                "gen_ai_client_token_usage",
                "Tokens per request, as engines report them",
                Family::new_with_constructor(token_counts as fn() -> Histogram)
            ),
            requests: metric!(
                "routerwise_requests",
                "Requests by what they asked, who answered and with which status",
                Family::default()
            ),
            failures: metric!(
                "routerwise_request_failures",
                "Requests that were not answered to their end, by cause",
                Family::default()
            ),
            attempts: metric!(
                "routerwise_attempts",
                "Requests sent to replicas, by outcome",
                Family::default()
            ),
            hedges: metric!(
                "routerwise_hedges",
                "Second copies of requests by why they were due, and which copy was answered; `denied` where budget or replicas did not allow one",
                Family::default()
            ),
            resent: metric!(
                "routerwise_resent",
                "Requests sent again because a connection that had been used before was closed under them",
                Counter::default()
            ),
            overhead: metric!(
                "routerwise_overhead_seconds",
                "Time that the gateway itself takes: from the whole request to sending it on",
                Histogram::new(overheads())
            ),
            routed: metric!(
                "routerwise_routed",
                "Requests by route and model that answered",
                Family::default()
            ),
            score: metric!(
                "routerwise_predicted_score",
                "Sum of the predicted scores of the models that answered",
                Family::default()
            ),
            price: metric!(
                "routerwise_price",
                "Price of a model, in units of score",
                Family::default()
            ),
            moved_by_price: metric!(
                "routerwise_moved_by_price",
                "Requests that a price sent to another model than the highest score",
                Family::default()
            ),
            unscored: metric!(
                "routerwise_unscored",
                "Requests routed by planned fractions, because nothing predicts their scores",
                Counter::default()
            ),
            ttft_predicted: metric!(
                "routerwise_predicted_ttft_seconds",
                "Sum of the predicted times to first token of streams that came",
                Family::default()
            ),
            ttft_realised: metric!(
                "routerwise_realised_ttft_seconds",
                "Sum of the measured times to first token of the same streams",
                Family::default()
            ),
            objective_met: metric!(
                "routerwise_slo_met",
                "Answers within the target of their request, route or plan",
                Family::default()
            ),
            objective_missed: metric!(
                "routerwise_slo_missed",
                "Answers above the target of their request, route or plan",
                Family::default()
            ),
            degraded: metric!(
                "routerwise_degraded",
                "Requests routed while the objective was out of reach",
                Counter::default()
            ),
            plan: metric!("routerwise_plan_info", "The plan in force", Family::default()),
            replica_up: metric!(
                "routerwise_replica_up",
                "Whether a replica gets requests",
                Family::default()
            ),
            replica_in_flight: metric!(
                "routerwise_replica_in_flight",
                "Requests in flight on a replica",
                Family::default()
            ),
            engines,
            discovered: metric!(
                "routerwise_discovered",
                "Replicas that were found by name or in Kubernetes",
                Family::default()
            ),
            discovery_failures: metric!(
                "routerwise_discovery_failures",
                "Times that replicas could not be looked for",
                Family::default()
            ),
            in_flight: metric!("routerwise_in_flight", "Requests being answered", Gauge::default()),
            waiting: metric!(
                "routerwise_waiting",
                "Requests that wait for a place or a replica",
                Gauge::default()
            ),
            buffered: metric!(
                "routerwise_buffered_bytes",
                "Bytes of request bodies that are held",
                Gauge::default()
            ),
            connections: metric!("routerwise_connections", "Connections of clients", Gauge::default()),
            connections_refused: metric!(
                "routerwise_connections_refused",
                "Connections closed because there were as many as are allowed",
                Counter::default()
            ),
            handshake_failures: metric!(
                "routerwise_handshake_failures",
                "TLS handshakes of clients that failed",
                Counter::default()
            ),
            key_requests: metric!("routerwise_key_requests", "Requests by API key", Family::default()),
            key_tokens: metric!(
                "routerwise_key_tokens",
                "Tokens by API key, prompts and answers together",
                Family::default()
            ),
            log_written: metric!(
                "routerwise_log_written",
                "Decisions written to the log",
                Counter::default()
            ),
            log_lost: metric!(
                "routerwise_log_lost",
                "Decisions that the log could not take in time or not write",
                Counter::default()
            ),
            log_errors: metric!("routerwise_log_errors", "Failed writes of the log", Counter::default()),
            reloads: metric!(
                "routerwise_reloads",
                "Reloads of plan, predictor, keys and settings, by result",
                Family::default()
            ),
            registry: Registry::default(),
        };
        Arc::new(Self { registry, ..metrics })
    }

    /// Drops what was counted of a replica that is gone for good: where they come and go, labels must not grow without end.
    pub(crate) fn forget(&self, model: &Arc<str>, replica: &str) {
        for outcome in OUTCOMES {
            self.attempts.remove(&AttemptLabels {
                model: Arc::clone(model),
                replica: replica.into(),
                outcome,
            });
        }
    }

    /// All of them in the text format of Prometheus.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a text takes all that is written to it");
        text
    }
}

/// From 5 ms to 10 min, as the GenAI conventions advise, and finer around a second.
fn durations() -> Histogram {
    Histogram::new([
        0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 60.0, 120.0, 300.0, 600.0,
    ])
}

fn token_times() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.1, 0.2, 0.4, 1.0,
    ])
}

fn token_counts() -> Histogram {
    Histogram::new([
        1.0,
        4.0,
        16.0,
        64.0,
        256.0,
        1024.0,
        4096.0,
        16384.0,
        65536.0,
        262_144.0,
        1_048_576.0,
    ])
}

fn overheads() -> [f64; 12] {
    [
        10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 50e-3, 0.5,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_pages_look_for() {
        let metrics = Metrics::new();
        metrics.failures.get_or_create(&CauseLabels { cause: "connect" }).inc();
        let labels = GenAi {
            gen_ai_operation_name: "chat",
            gen_ai_provider_name: "routerwise",
            gen_ai_request_model: "auto".into(),
            gen_ai_response_model: "small".into(),
        };
        metrics.ttft.get_or_create(&labels).observe(0.1);
        metrics.duration.get_or_create(&labels).observe(0.1);
        let text = metrics.text();
        for line in [
            "# TYPE gen_ai_server_time_to_first_token_seconds histogram",
            "# TYPE gen_ai_server_request_duration_seconds histogram",
            "routerwise_request_failures_total{cause=\"connect\"} 1",
            "# TYPE routerwise_overhead_seconds histogram",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
