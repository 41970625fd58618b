//! An engine with one request at a time: what a curve begins with, and what it is understood by.

use routerwise_types::profile::Alone;
use routerwise_types::report::RequestRecord;
use routerwise_types::units::Seconds;
use routerwise_types::workload::Lengths;

use super::visit::{Stage, Visit};

/// Short and long prompts that are timed.
const N_PROMPTS: usize = 3;
/// The long prompt is at least this many times the short one.
const APART: u32 = 4;

/// Short prompts and then as many long ones, one token of answer each. Both lie inside the mix, so an engine that takes
/// the mix takes them.
///
/// # Panics
/// When there are no lengths.
#[must_use]
pub fn prefill_requests(lengths: &[Lengths]) -> Vec<Lengths> {
    let mut inputs: Vec<u32> = lengths.iter().map(|lengths| lengths.input).collect();
    inputs.sort_unstable();
    let long = inputs[(inputs.len() - 1) * 9 / 10];
    let short = inputs[(inputs.len() - 1) / 10].min((long / APART).max(1));
    let prompt = |input| Lengths { input, output: 1 };
    // The first request of an engine pays for what no later one does, so it is one that the median leaves out.
    let short = std::iter::repeat_n(prompt(short), N_PROMPTS);
    short.chain(std::iter::repeat_n(prompt(long), N_PROMPTS)).collect()
}

/// What the visits with one request at a time say; nothing without them.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "some tens of requests")]
pub fn alone(visits: &[Visit]) -> Option<Alone> {
    let of = |stage| {
        let visits = visits.iter().filter(move |visit| visit.stage == stage);
        visits.flat_map(Visit::records).collect::<Vec<RequestRecord>>()
    };
    let mix = of(Stage::Alone);
    let mean = |values: Vec<f64>| {
        let n = values.len().max(1) as f64;
        Seconds::new(values.iter().sum::<f64>() / n).expect("a mean of latencies")
    };
    if mix.is_empty() {
        return None;
    }
    let tpot = mean(mix.iter().filter_map(RequestRecord::tpot).map(Seconds::value).collect());
    Some(Alone {
        n_requests: mix.len() as u64,
        ttft: mean(mix.iter().map(|record| record.ttft().value()).collect()),
        tpot,
        e2e: mean(mix.iter().map(|record| record.e2e().value()).collect()),
        prefill_rate: prefill_rate(&of(Stage::Prefill)),
        decode_rate: (tpot.value() > 0.0).then(|| 1.0 / tpot.value()),
    })
}

/// Prompt tokens between the two lengths over the time between them.
fn prefill_rate(records: &[RequestRecord]) -> Option<f64> {
    let (short, long) = records.split_at(records.len() / 2);
    let tokens = |records: &[RequestRecord]| median(records.iter().map(|record| f64::from(record.lengths.input)));
    let seconds = |records: &[RequestRecord]| median(records.iter().map(|record| record.ttft().value()));
    let more_tokens = tokens(long)? - tokens(short)?;
    let more_seconds = seconds(long)? - seconds(short)?;
    (more_tokens > 0.0 && more_seconds > 0.0).then(|| more_tokens / more_seconds)
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
