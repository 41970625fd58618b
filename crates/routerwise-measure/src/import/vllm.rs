//! `vllm bench serve --save-result --save-detailed`.

use routerwise_types::workload::{Arrivals, Lengths};
use serde_json::Value;

use super::{CannotImport, ImportedRun, Times, ordered, tokens};

const TOOL: &str = "vllm bench serve";

pub(super) fn read(value: &Value) -> Result<ImportedRun, CannotImport> {
    let lacks = |what: &str| CannotImport::Lacks {
        tool: TOOL,
        what: what.to_owned(),
        help: "run it with `--save-result --save-detailed`: a profile needs every request",
    };
    let array = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_array)
            .ok_or_else(|| lacks(&format!("the array `{name}`")))
    };
    let (inputs, outputs) = (array("input_lens")?, array("output_lens")?);
    let (ttfts, itls) = (array("ttfts")?, array("itls")?);
    if [inputs.len(), outputs.len(), itls.len()] != [ttfts.len(); 3] {
        return Err(lacks("a part of its arrays: they are not equally long"));
    }
    let lasted = value
        .get("duration")
        .and_then(Value::as_f64)
        .ok_or_else(|| lacks("`duration`"))?;
    // Newer files say when each request started; the order is that of sending in all of them.
    let starts = value.get("start_times").and_then(Value::as_array);
    let start = |ix: usize| starts.and_then(|starts| starts.get(ix)?.as_f64());
    let mut times = Vec::new();
    for ix in 0..ttfts.len() {
        let gaps: f64 = itls[ix]
            .as_array()
            .map_or(0.0, |gaps| gaps.iter().filter_map(Value::as_f64).sum());
        let ttft = ttfts[ix].as_f64().filter(|ttft| *ttft > 0.0);
        // A failed request has no time to first token and no tokens.
        if let (Some(ttft), Some(input), Some(output)) = (ttft, tokens(inputs.get(ix)), tokens(outputs.get(ix))) {
            let start = start(ix).unwrap_or_default();
            times.push(Times {
                start,
                first_token: start + ttft,
                end: start + ttft + gaps,
                lengths: Lengths { input, output },
            });
        }
    }
    if times.is_empty() {
        return Err(lacks("a single answered request"));
    }
    let offered = value
        .get("request_rate")
        .and_then(Value::as_f64)
        .filter(|rate| rate.is_finite());
    let burstiness = value
        .get("burstiness")
        .and_then(Value::as_f64)
        .filter(|burstiness| *burstiness > 0.0);
    Ok(ImportedRun {
        tool: TOOL,
        offered,
        arrivals: offered.and(burstiness).map(spread),
        flooded: offered.is_none() && value.get("max_concurrency").and_then(Value::as_u64).is_none(),
        lasted,
        n_failed: ttfts.len() - times.len(),
        requests: ordered(times).0,
    })
}

/// Its burstiness is the shape of gamma-distributed gaps: a coefficient of variation of one over its root.
fn spread(burstiness: f64) -> Arrivals {
    if (burstiness - 1.0).abs() < 1e-9 {
        Arrivals::Poisson
    } else {
        Arrivals::Gamma {
            cv: 1.0 / burstiness.sqrt(),
        }
    }
}
