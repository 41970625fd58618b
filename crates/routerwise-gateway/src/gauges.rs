//! What engines say about themselves: what other gateways and clients send to an engine is in its own counts alone.
//!
//! Engines whose metrics nobody here knows, and those that have none, are asked again once in a while: they may be replaced by one that has.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use routerwise_route::event::{Event, Gauges};
use tokio::task::JoinSet;

use crate::force::Force;
use crate::upstream::Upstream;

/// Longest wait for an answer: what comes later says little about now.
const LIMIT: Duration = Duration::from_secs(1);
/// Metrics longer than this are no engine's.
const MOST_BYTES: usize = 4 << 20;
/// Questions that an engine without known metrics is spared.
const SPARED: u32 = 60;

/// One of the three.
#[derive(Clone, Copy, Debug)]
enum Gauge {
    Running,
    Waiting,
    KvUsed,
}

/// Names of vLLM (`gpu_cache` before 0.11), SGLang, llama.cpp and TensorRT-LLM.
const NAMES: [(&str, Gauge); 12] = [
    ("vllm:num_requests_running", Gauge::Running),
    ("vllm:num_requests_waiting", Gauge::Waiting),
    ("vllm:kv_cache_usage_perc", Gauge::KvUsed),
    ("vllm:gpu_cache_usage_perc", Gauge::KvUsed),
    ("sglang:num_running_reqs", Gauge::Running),
    ("sglang:num_queue_reqs", Gauge::Waiting),
    ("sglang:token_usage", Gauge::KvUsed),
    ("llamacpp:requests_processing", Gauge::Running),
    ("llamacpp:requests_deferred", Gauge::Waiting),
    ("trtllm_num_requests_running", Gauge::Running),
    ("trtllm_num_requests_waiting", Gauge::Waiting),
    ("trtllm_kv_cache_utilization", Gauge::KvUsed),
];

/// How often an engine is still spared the question.
#[derive(Debug, Default)]
pub(crate) struct Spared(AtomicU32);

impl Spared {
    fn is_asked(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        left == 0
    }

    fn knows_nothing(&self) {
        self.0.store(SPARED, Ordering::Relaxed);
    }
}

/// Asks until what is in force is so no more.
pub(crate) async fn run(force: Weak<Force>) {
    let Some(every) = force.upgrade().and_then(|force| force.settings.engine_metrics.every) else {
        return;
    };
    loop {
        let Some(now) = force.upgrade().filter(|force| !*force.over().borrow()) else {
            return;
        };
        ask_all(&now).await;
        drop(now);
        tokio::time::sleep(every).await;
    }
}

async fn ask_all(force: &Arc<Force>) {
    let mut questions = JoinSet::new();
    for (model, upstreams) in force.replicas.all().iter().enumerate() {
        for (replica, upstream) in upstreams.iter().enumerate() {
            let Some(upstream) = upstream.clone().filter(|upstream| upstream.spared.is_asked()) else {
                continue;
            };
            let path = force.settings.engine_metrics.path.clone();
            let own = force.desk.outstanding(model, replica);
            questions.spawn(async move { (model, replica, own, ask(&upstream, &path).await) });
        }
    }
    while let Some(done) = questions.join_next().await {
        if let Ok((model, replica, own, Some(gauges))) = done {
            force.desk.observe(Event::Metrics {
                model,
                replica,
                gauges,
                own,
            });
        }
    }
}

async fn ask(upstream: &Upstream, path: &str) -> Option<Gauges> {
    // Who does not answer at all may be starting, and is asked again at once.
    let (status, text) = upstream.read(path, LIMIT, MOST_BYTES).await?;
    let gauges = status.is_success().then(|| read(&text)).flatten();
    if gauges.is_none() && !status.is_server_error() {
        upstream.spared.knows_nothing();
    }
    gauges
}

/// Reads the gauges out of a Prometheus text; nothing where no known engine says how much it runs.
///
/// Engines with several schedulers have a line for each: requests add up, and the fullest cache is the one that counts.
fn read(text: &[u8]) -> Option<Gauges> {
    let (mut running, mut waiting, mut kv_used) = (None, 0.0, 0.0f64);
    for line in text.split(|byte| *byte == b'\n') {
        // Names first: nearly all lines are others.
        let end = line.iter().position(|byte| matches!(byte, b'{' | b' ' | b'\t'));
        let Some(end) = end else { continue };
        let Some((_, gauge)) = NAMES.iter().find(|(name, _)| name.as_bytes() == &line[..end]) else {
            continue;
        };
        let Some(value) = value(&line[end..]) else { continue };
        match gauge {
            Gauge::Running => running = Some(running.unwrap_or(0.0) + value),
            Gauge::Waiting => waiting += value,
            Gauge::KvUsed => kv_used = kv_used.max(value),
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "float to integer saturates, and no value is negative"
    )]
    Some(Gauges {
        running: running? as u32,
        waiting: waiting as u32,
        kv_used: kv_used.min(1.0) as f32,
    })
}

/// The value after a name: labels before it, perhaps a time after it.
fn value(rest: &[u8]) -> Option<f64> {
    let rest = std::str::from_utf8(rest).ok()?;
    let after = rest.rsplit_once('}').map_or(rest, |(_, after)| after);
    let value: f64 = after.split_ascii_whitespace().next()?.parse().ok()?;
    (value.is_finite() && value >= 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gauges(running: u32, waiting: u32, kv_used: f32) -> Option<Gauges> {
        Some(Gauges {
            running,
            waiting,
            kv_used,
        })
    }

    #[test]
    fn each_engine_is_understood_by_its_own_names() {
        let vllm = b"# HELP vllm:num_requests_running Running.\n# TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"a } b\"} 7.0\n\
            vllm:num_requests_waiting{engine=\"0\",model_name=\"x\"} 2.0\n\
            vllm:num_requests_waiting_by_reason{reason=\"capacity\"} 99\n\
            vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\n";
        assert_eq!(read(vllm), gauges(7, 2, 0.5));
        let sglang = b"sglang:num_running_reqs{tp_rank=\"0\"} 3\nsglang:num_queue_reqs{} 1\nsglang:token_usage 0.25\n";
        assert_eq!(read(sglang), gauges(3, 1, 0.25));
        let llama = b"llamacpp:requests_processing 1\nllamacpp:requests_deferred 4 1700000000000\n";
        assert_eq!(read(llama), gauges(1, 4, 0.0));
        let tensorrt = b"trtllm_num_requests_running 2\ntrtllm_num_requests_waiting 0\ntrtllm_kv_cache_utilization 1\n";
        assert_eq!(read(tensorrt), gauges(2, 0, 1.0));
    }

    #[test]
    fn schedulers_of_one_engine_add_up() {
        let two = b"vllm:num_requests_running{engine=\"0\"} 7\nvllm:num_requests_running{engine=\"1\"} 5\n\
            vllm:kv_cache_usage_perc{engine=\"0\"} 0.5\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n";
        assert_eq!(read(two), gauges(12, 0, 0.75));
    }

    #[test]
    fn what_is_no_engine_s_says_nothing() {
        for text in [
            &b""[..],
            b"<html>",
            b"{\"choices\":[]}",
            b"vllm:num_requests_running",
            b"vllm:num_requests_running{} NaN",
            b"vllm:num_requests_running -1",
            b"vllm:num_requests_waiting 3",
            b"\xff\xfe vllm:num_requests_running 3",
        ] {
            assert_eq!(read(text), None, "{}", String::from_utf8_lossy(text));
        }
        assert_eq!(read(b"vllm:num_requests_running 1e300\n"), gauges(u32::MAX, 0, 0.0));
    }
}
