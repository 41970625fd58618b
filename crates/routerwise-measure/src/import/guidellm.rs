//! guidellm's JSON: one run for each of its benchmarks.

use routerwise_types::workload::{Arrivals, Lengths};
use serde_json::Value;

use super::{CannotImport, ImportedRun, Times, ordered, tokens};

const TOOL: &str = "guidellm";

pub(super) fn read(value: &Value) -> Result<Vec<ImportedRun>, CannotImport> {
    let benchmarks = value["benchmarks"]
        .as_array()
        .filter(|benchmarks| !benchmarks.is_empty());
    let benchmarks = benchmarks.ok_or_else(|| lacks("benchmarks"))?;
    benchmarks.iter().map(run).collect()
}

fn lacks(what: &str) -> CannotImport {
    CannotImport::Lacks {
        tool: TOOL,
        what: what.to_owned(),
        help: "write its JSON with all requests (`--output kind=json`) and let it stream: a profile needs every request",
    }
}

fn run(benchmark: &Value) -> Result<ImportedRun, CannotImport> {
    let answered = benchmark["requests"]["successful"].as_array();
    let answered = answered.ok_or_else(|| lacks("the list `requests.successful`"))?;
    let times: Option<Vec<Times>> = answered.iter().map(one).collect();
    let times = times.filter(|times| !times.is_empty());
    let times = times.ok_or_else(|| lacks("the time of first tokens, or the tokens, of a request"))?;
    let failed = benchmark["requests"]["errored"].as_array();
    let strategy = ["/config/strategy", "/args/strategy"]
        .iter()
        .find_map(|place| benchmark.pointer(place));
    let kind = strategy
        .and_then(|strategy| strategy.get("type_"))
        .and_then(Value::as_str);
    let rate = strategy
        .and_then(|strategy| strategy.get("rate"))
        .and_then(Value::as_f64);
    let (requests, span) = ordered(times);
    Ok(ImportedRun {
        tool: TOOL,
        offered: rate,
        arrivals: match kind {
            Some("poisson") => Some(Arrivals::Poisson),
            Some("constant") => Some(Arrivals::Constant),
            _ => None,
        },
        flooded: kind == Some("throughput"),
        lasted: benchmark["duration"]
            .as_f64()
            .filter(|lasted| *lasted > 0.0)
            .unwrap_or(span),
        n_failed: failed.map_or(0, Vec::len),
        requests,
    })
}

/// From when it was to be sent, where that is said.
fn one(request: &Value) -> Option<Times> {
    let timings = request.pointer("/info/timings")?;
    let at = |name: &str| timings.get(name).and_then(Value::as_f64);
    Some(Times {
        start: at("targeted_start").or_else(|| at("request_start"))?,
        first_token: at("first_token_iteration")?,
        end: at("last_token_iteration").or_else(|| at("request_end"))?,
        lengths: Lengths {
            input: tokens(request.get("prompt_tokens"))?,
            output: tokens(request.get("output_tokens"))?,
        },
    })
}
