//! The metrics of an engine, by the names and with the buckets of vLLM's V1 engine (0.11 to 0.26), and how late it is.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};
use routerwise_simulate::engine::{Engine, Limits};

use crate::options::Replica;
use crate::request::Reason;

const TTFT: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];
const PER_TOKEN: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];
const REQUEST: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];
const STEP_TOKENS: [f64; 13] = [
    1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
];
const LAG: [f64; 12] = [
    0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0,
];

type Labels = Vec<(&'static str, String)>;

/// Everything that is counted. Clones count into the same.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    running: Gauge,
    waiting: Gauge,
    waiting_by_reason: Family<Labels, Gauge>,
    kv_usage: Gauge<f64, AtomicU64>,
    pub(crate) preemptions: Counter,
    pub(crate) prompt_tokens: Counter,
    pub(crate) generation_tokens: Counter,
    success: Family<Labels, Counter>,
    pub(crate) step_tokens: Histogram,
    pub(crate) ttft: Histogram,
    pub(crate) itl: Histogram,
    tpot: Histogram,
    e2e: Histogram,
    queue: Histogram,
    inference: Histogram,
    prefill: Histogram,
    decode: Histogram,
    request_prompt_tokens: Histogram,
    request_generation_tokens: Histogram,
    request_max_generation_tokens: Histogram,
    params_n: Histogram,
    params_max_tokens: Histogram,
    pub(crate) lag_engine: Histogram,
    pub(crate) lag_socket: Histogram,
}

/// When a request came to its stations, and what it asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) arrived: Instant,
    pub(crate) started: Instant,
    pub(crate) first: Instant,
    pub(crate) last: Instant,
    pub(crate) input: u32,
    pub(crate) output: u32,
    pub(crate) n: u32,
    pub(crate) max_tokens: u32,
    pub(crate) reason: Reason,
}

/// What is scraped.
pub(crate) struct Exposition(Registry);

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exposition")
    }
}

impl Exposition {
    /// In the text format of `OpenMetrics`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.0).expect("writing to a string");
        text
    }
}

impl Metrics {
    pub(crate) fn new(replica: &Replica) -> (Self, Exposition) {
        let limits = replica.limits();
        let model_name = ("model_name".into(), replica.model.clone().into());
        let mut registry = Registry::with_labels([model_name, ("engine".into(), "0".into())].into_iter());
        let metrics = register(&mut registry, limits);
        let info: Family<Labels, Gauge> = Family::default();
        info.get_or_create(&vec![
            ("block_size", limits.block_size.to_string()),
            ("cache_dtype", "auto".to_owned()),
            ("enable_prefix_caching", "False".to_owned()),
            ("num_gpu_blocks", limits.kv_blocks.to_string()),
        ])
        .set(1);
        registry.register("vllm:cache_config_info", "Information of the cache", info);
        for reason in [Reason::Stop, Reason::Length] {
            drop(metrics.success.get_or_create(&reason_label(reason.name())));
        }
        (metrics, Exposition(registry))
    }

    /// The gauges, after the engine did something.
    pub(crate) fn observe_engine(&self, engine: &Engine, limits: &Limits) {
        let running = i64::try_from(engine.running()).unwrap_or(i64::MAX);
        let waiting = i64::try_from(engine.outstanding()).unwrap_or(i64::MAX) - running;
        self.running.set(running);
        self.waiting.set(waiting);
        self.waiting_by_reason
            .get_or_create(&vec![("reason", "capacity".to_owned())])
            .set(waiting);
        self.kv_usage
            .set(as_f64(engine.kv_blocks_used()) / as_f64(limits.kv_blocks));
    }

    /// A request that has all of its tokens.
    pub(crate) fn observe_finished(&self, course: &Course) {
        let seconds = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
        let decode = seconds(course.first, course.last);
        self.e2e.observe(seconds(course.arrived, course.last));
        self.queue.observe(seconds(course.arrived, course.started));
        self.prefill.observe(seconds(course.started, course.first));
        self.inference.observe(seconds(course.started, course.last));
        self.decode.observe(decode);
        if course.output > 1 {
            self.tpot.observe(decode / f64::from(course.output - 1));
        }
        self.request_prompt_tokens.observe(f64::from(course.input));
        self.request_generation_tokens.observe(f64::from(course.output));
        self.request_max_generation_tokens.observe(f64::from(course.output));
        self.params_n.observe(f64::from(course.n));
        self.params_max_tokens.observe(f64::from(course.max_tokens));
        self.success.get_or_create(&reason_label(course.reason.name())).inc();
    }

    /// A request whose caller went away.
    pub(crate) fn observe_aborted(&self) {
        self.success.get_or_create(&reason_label("abort")).inc();
    }

    /// How late something happened.
    pub(crate) fn lag(histogram: &Histogram, due: Instant, now: Instant) {
        let late: Duration = now.saturating_duration_since(due);
        histogram.observe(late.as_secs_f64());
    }
}

fn reason_label(reason: &str) -> Labels {
    vec![("finished_reason", reason.to_owned())]
}

/// Registers metrics and hands them on.
struct Register<'a>(&'a mut Registry);

impl Register<'_> {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn counter(&mut self, name: &str, help: &str) -> Counter {
        self.add(name, help, Counter::default())
    }

    fn histogram(&mut self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(name, help, Histogram::new(buckets.iter().copied()))
    }
}

fn register(registry: &mut Registry, limits: &Limits) -> Metrics {
    let tokens = one_two_five(limits.max_model_len);
    let mut new = Register(registry);
    let lag: Family<Labels, Histogram, fn() -> Histogram> = Family::new_with_constructor(|| Histogram::new(LAG));
    let lag = new.add(
        "routerwise_emulate_lag_seconds",
        "How much later something happens than the engine model says",
        lag,
    );
    let lag_of = |stage: &str| lag.get_or_create_owned(&vec![("stage", stage.to_owned())]);
    Metrics {
        lag_engine: lag_of("engine"),
        lag_socket: lag_of("socket"),
        running: new.add("vllm:num_requests_running", "Requests in the batch", Gauge::default()),
        waiting: new.add("vllm:num_requests_waiting", "Requests in the queue", Gauge::default()),
        waiting_by_reason: new.add(
            "vllm:num_requests_waiting_by_reason",
            "Requests in the queue, by why",
            Family::default(),
        ),
        kv_usage: new.add(
            "vllm:kv_cache_usage_perc",
            "Part of the KV cache in use",
            Gauge::default(),
        ),
        preemptions: new.counter("vllm:num_preemptions", "Requests that lost their KV cache"),
        prompt_tokens: new.counter("vllm:prompt_tokens", "Prompt tokens of requests past their prompt"),
        generation_tokens: new.counter("vllm:generation_tokens", "Tokens made"),
        success: new.add("vllm:request_success", "Requests finished, by why", Family::default()),
        step_tokens: new.histogram("vllm:iteration_tokens_total", "Tokens of one iteration", &STEP_TOKENS),
        ttft: new.histogram("vllm:time_to_first_token_seconds", "Time to first token", &TTFT),
        itl: new.histogram("vllm:inter_token_latency_seconds", "Time between tokens", &PER_TOKEN),
        tpot: new.histogram(
            "vllm:request_time_per_output_token_seconds",
            "Time per token after the first, by request",
            &PER_TOKEN,
        ),
        e2e: new.histogram(
            "vllm:e2e_request_latency_seconds",
            "From arrival to last token",
            &REQUEST,
        ),
        queue: new.histogram(
            "vllm:request_queue_time_seconds",
            "From arrival into the batch",
            &REQUEST,
        ),
        inference: new.histogram("vllm:request_inference_time_seconds", "In the batch", &REQUEST),
        prefill: new.histogram("vllm:request_prefill_time_seconds", "Up to the first token", &REQUEST),
        decode: new.histogram("vllm:request_decode_time_seconds", "From first to last token", &REQUEST),
        request_prompt_tokens: new.histogram("vllm:request_prompt_tokens", "Prompt tokens", &tokens),
        request_generation_tokens: new.histogram("vllm:request_generation_tokens", "Tokens made", &tokens),
        request_max_generation_tokens: new.histogram(
            "vllm:request_max_num_generation_tokens",
            "Most tokens of one of the request's answers",
            &tokens,
        ),
        params_n: new.histogram(
            "vllm:request_params_n",
            "Answers asked for",
            &[1.0, 2.0, 5.0, 10.0, 20.0],
        ),
        params_max_tokens: new.histogram("vllm:request_params_max_tokens", "Tokens asked for at most", &tokens),
    }
}

/// 1, 2, 5, 10, … up to the longest context.
fn one_two_five(most: u32) -> Vec<f64> {
    let decades = (0..9).flat_map(|exponent| [1, 2, 5].map(|digit| f64::from(digit * 10_u32.pow(exponent))));
    decades.take_while(|bucket| *bucket <= f64::from(most)).collect()
}

#[expect(clippy::cast_precision_loss, reason = "counts of blocks stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_the_names_and_labels_that_scrapers_look_for() {
        let (metrics, exposition) = Metrics::new(&Replica::example("m"));
        metrics.prompt_tokens.inc_by(7);
        metrics.ttft.observe(0.3);
        let text = exposition.text();
        for line in [
            "vllm:prompt_tokens_total{model_name=\"m\",engine=\"0\"} 7",
            "vllm:num_requests_running{model_name=\"m\",engine=\"0\"} 0",
            "vllm:time_to_first_token_seconds_bucket{model_name=\"m\",engine=\"0\",le=\"0.5\"} 1",
            "vllm:time_to_first_token_seconds_sum{model_name=\"m\",engine=\"0\"} 0.3",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn buckets_of_tokens_end_at_the_context() {
        assert_eq!(one_two_five(100), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert_eq!(one_two_five(99).len(), 6);
    }
}
