//! A report in the format of llm-d-benchmark: "benchmark report" v0.2.1, which other load generators' results are turned into too.
//!
//! Written as JSON, which is YAML as well. What we do not know (the stack behind the endpoint) is left out.

use std::path::Path;

use chrono::{DateTime, SecondsFormat};
use routerwise_inputs::write_atomically;
use routerwise_types::Fingerprint;
use routerwise_types::answer::bench::{BenchReport, Latency, Served};
use serde_json::{Value, json};

use crate::failure::Failure;

/// Writes the report whole or not at all.
pub(super) fn write(path: &Path, report: &BenchReport) -> Result<(), Failure> {
    let text = format!("{:#}\n", document(report));
    let doing = format!("writing `{}`", path.display());
    write_atomically(path, text.as_bytes()).map_err(Failure::environment(doing))
}

fn document(report: &BenchReport) -> Value {
    let measured = &report.measured;
    let started = report.started_unix_s;
    let run = Fingerprint::of(&(&report.endpoint, &report.model, &report.load, started.to_bits()));
    let all = &measured.all;
    json!({
        "version": "0.2.1",
        "run": {
            "uid": run.to_string(),
            "time": {
                "start": iso(started),
                "end": iso(started + measured.lasted.value()),
                "duration": format!("PT{:.3}S", measured.lasted.value()),
            },
            "description": format!("{} at {}; {}", report.model, report.endpoint, report.load),
        },
        "scenario": { "load": load(report) },
        "results": {
            "request_performance": {
                "aggregate": {
                    "requests": {
                        "total": measured.n_requests,
                        "failures": measured.n_failed,
                        "incomplete": measured.n_unfinished,
                        "input_length": mean("count", all.input_tokens),
                        "output_length": mean("count", all.output_tokens),
                    },
                    "latency": {
                        "time_to_first_token": statistics("s", all.ttft.as_ref()),
                        "time_per_output_token": statistics("s/token", all.tpot.as_ref()),
                        "inter_token_latency": statistics("s/token", all.itl.as_ref()),
                        "request_latency": statistics("s", all.e2e.as_ref()),
                    },
                    "throughput": throughput(all, measured.achieved.value()),
                },
            },
        },
    })
}

fn load(report: &BenchReport) -> Value {
    let measured = &report.measured;
    let length = |tokens: f64| json!({ "distribution": "other", "value": tokens });
    let source = if report.prompts.starts_with("filler") {
        "random"
    } else {
        "sampled"
    };
    json!({
        "metadata": {
            "cfg_id": Fingerprint::of(&(&report.load, &report.prompts, report.seed)).to_string(),
            "description": format!("{}; {}; seed {}", report.load, report.prompts, report.seed),
        },
        "standardized": {
            "tool": "routerwise",
            "tool_version": env!("CARGO_PKG_VERSION"),
            "source": source,
            "input_seq_len": length(measured.all.input_tokens),
            "output_seq_len": length(measured.all.output_tokens),
            "rate_qps": measured.offered.map(|offered| offered.value()),
        },
        "native": {},
    })
}

fn throughput(all: &Served, achieved: f64) -> Value {
    let output = all.output_tokens_per_second;
    let input = all.input_tokens * all.rate.value();
    json!({
        "input_token_rate": mean("tokens/s", input),
        "output_token_rate": mean("tokens/s", output),
        "total_token_rate": mean("tokens/s", input + output),
        "request_rate": mean("queries/s", achieved),
    })
}

fn mean(units: &str, value: f64) -> Value {
    json!({ "units": units, "mean": value })
}

fn statistics(units: &str, latency: Option<&Latency>) -> Value {
    latency.map_or(Value::Null, |latency| {
        json!({
            "units": units,
            "mean": latency.mean.value(),
            "p50": latency.p50.value(),
            "p90": latency.p90.value(),
            "p95": latency.p95.value(),
            "p99": latency.p99.value(),
            "max": latency.longest.value(),
        })
    })
}

/// Seconds since 1970 as `2026-11-24T22:05:09Z`.
#[expect(clippy::cast_possible_truncation, reason = "years of four digits")]
fn iso(unix: f64) -> String {
    let time = DateTime::from_timestamp(unix.clamp(0.0, 2e11) as i64, 0).unwrap_or_default();
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_calendars_do() {
        assert_eq!(iso(0.0), "1970-01-01T00:00:00Z");
        assert_eq!(iso(951_782_400.0), "2000-02-29T00:00:00Z");
        assert_eq!(iso(1_795_471_509.7), "2026-11-23T22:05:09Z");
    }
}
