//! aiperf's `profile_export.jsonl`: one request a line.

use routerwise_types::workload::Lengths;
use serde_json::Value;

use super::{CannotImport, ImportedRun, Times, ordered, tokens};

const TOOL: &str = "aiperf";

pub(super) fn read(text: &str) -> Result<ImportedRun, CannotImport> {
    let lacks = |what: &str| CannotImport::Lacks {
        tool: TOOL,
        what: what.to_owned(),
        help: "run it with `--streaming` and import `profile_export.jsonl` of its artifacts",
    };
    let mut times = Vec::new();
    let mut n_failed = 0;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    for line in lines {
        let value: Value = serde_json::from_str(line).map_err(|_| CannotImport::Unknown)?;
        if value.get("metadata").is_none() || value.get("metrics").is_none() {
            return Err(CannotImport::Unknown);
        }
        let phase = value["metadata"]["benchmark_phase"].as_str();
        if phase.is_some_and(|phase| phase != "profiling") {
            continue;
        }
        if !value["error"].is_null() || value["metadata"]["was_cancelled"] == true {
            n_failed += 1;
            continue;
        }
        times.push(one(&value).ok_or_else(|| lacks("times or tokens of a request"))?);
    }
    if times.is_empty() {
        return Err(if n_failed > 0 {
            lacks("a single answered request")
        } else {
            CannotImport::Unknown
        });
    }
    let (requests, lasted) = ordered(times);
    Ok(ImportedRun {
        tool: TOOL,
        offered: None,
        arrivals: None,
        flooded: false,
        lasted,
        requests,
        n_failed,
    })
}

fn one(value: &Value) -> Option<Times> {
    let start = value["metadata"]["request_start_ns"].as_f64()? * 1e-9;
    let metrics = value.get("metrics")?;
    Some(Times {
        start,
        first_token: start + seconds(metrics.get("time_to_first_token")?)?,
        end: start + seconds(metrics.get("request_latency")?)?,
        lengths: Lengths {
            input: tokens(metrics.get("input_sequence_length")?.get("value"))?,
            output: tokens(metrics.get("output_sequence_length")?.get("value"))?,
        },
    })
}

/// A value with its unit.
fn seconds(metric: &Value) -> Option<f64> {
    let value = metric.get("value")?.as_f64().filter(|value| *value >= 0.0)?;
    let factor = match metric.get("unit")?.as_str()? {
        "ns" => 1e-9,
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" | "sec" => 1.0,
        _ => return None,
    };
    Some(value * factor)
}
