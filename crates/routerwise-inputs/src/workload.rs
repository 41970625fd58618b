//! `workload.toml`: what arrives, and what it must get.

mod level;
mod objective;
mod route;
mod slo;

use std::ops::Range;
use std::path::{Path, PathBuf};

use routerwise_types::workload::{Arrivals, Lengths, Planning, Workload};
use routerwise_types::{Fraction, RequestsPerSecond};

use crate::defaults;
use crate::quantity::{FACTOR, FRACTION, MARGIN, RATE, TOLERANCE};
use crate::text::{Document, Table, Value};
use crate::trace::{self, Trace};

/// Longest prompt or answer that may be written, in tokens.
const MOST_TOKENS: u32 = 100_000_000;

/// How arrivals are asked for.
#[derive(Clone, Copy)]
enum ArrivalsEntry {
    Plain(Arrivals),
    /// As bursty as the trace.
    FromTrace,
}

/// `[trace]`, and what its file holds.
struct TraceEntry {
    span: Range<usize>,
    trace: Trace,
    speed: Option<f64>,
    max_lengths: usize,
}

/// Reads the workload; `None` when anything in it is wrong. A trace's path is relative to the file.
pub(crate) fn read(document: &Document) -> Option<Workload> {
    let mut root = document.root()?;
    let rate = root.optional("rate", |value| value.quantity(&RATE));
    let arrivals = arrivals(&mut root);
    let trace_key = root.take("trace");
    let has_trace = trace_key.is_some();
    let trace = trace_key.and_then(|value| trace_entry(document, value.table()?));
    let lengths = lengths(&mut root, has_trace, trace.as_ref());
    let levels = level::read(&mut root);
    let slos = slo::read(&mut root);
    let has_rate = rate.is_none_or(|rate| rate.is_some());
    let n_levels = levels.as_ref().map_or(1, Vec::len);
    let routes = route::read(&mut root, n_levels, slos.as_deref().unwrap_or_default(), has_rate);
    let objective = objective::read(&mut root);
    let planning = match root.take("planning") {
        Some(value) => value.table().and_then(planning),
        None => planning(root.empty("planning")),
    };
    root.finish();
    let of_routes = routes.as_ref().and_then(|routes| routes.rate);
    let rate = rate.map(|rate| rate.or(of_routes));
    let rate = rate.and_then(|rate| rate_in_force(document, &root, rate, has_trace, trace.as_ref()));
    let arrivals = arrivals.and_then(|arrivals| arrivals_in_force(&root, arrivals, has_trace, trace.as_ref()));
    let routes = routes?;
    let mut slos = slos?;
    slos.extend(routes.slos);
    let workload = Workload {
        rate: rate?,
        levels: levels?,
        routes: routes.list,
        arrivals: arrivals?,
        lengths: lengths?,
        slos,
        objective: objective?,
        planning: planning?,
    };
    (!document.has_errors()).then_some(workload)
}

fn arrivals(root: &mut Table<'_>) -> Option<ArrivalsEntry> {
    let Some(value) = root.take("arrivals") else {
        root.put_in_force("arrivals", defaults::ARRIVALS.value.into(), defaults::ARRIVALS.why);
        return Some(ArrivalsEntry::Plain(Arrivals::Poisson));
    };
    if !value.is_table() {
        return value.choice(&[
            ("poisson", ArrivalsEntry::Plain(Arrivals::Poisson)),
            ("constant", ArrivalsEntry::Plain(Arrivals::Constant)),
            ("trace", ArrivalsEntry::FromTrace),
        ]);
    }
    let mut table = value.table()?;
    let cv = table
        .require("gamma-cv", "1.5")
        .and_then(|value| value.quantity(&FACTOR));
    table.finish();
    Some(ArrivalsEntry::Plain(Arrivals::Gamma { cv: cv? }))
}

fn trace_entry(document: &Document, mut table: Table<'_>) -> Option<TraceEntry> {
    let span = table.span();
    let trace = table.require("file", "\"trace.parquet\"").and_then(|value| {
        let path = beside(document.path(), &value.string()?);
        match trace::read(&path) {
            Ok(trace) => Some(trace),
            Err(wrong) => value.refuse(format!("`{}` {}", path.display(), wrong.what), wrong.help),
        }
    });
    let speed = table.optional("speed", |value| value.quantity(&FACTOR));
    let max_lengths = table.or_default("max-lengths", &defaults::MAX_LENGTHS, |value| {
        value.integer(1..=1_000_000)
    });
    table.finish();
    let trace = trace?;
    if trace.n_raised > 0 {
        let message = format!(
            "requests of the trace without prompt or answer tokens: {}",
            trace.n_raised
        );
        let problem = document
            .problem(message)
            .help("they are counted with one token")
            .warning();
        document.note(span.clone(), "declared here", problem);
    }
    Some(TraceEntry {
        span,
        trace,
        speed: speed?,
        max_lengths: usize::try_from(max_lengths?).ok()?,
    })
}

/// A path as written in a file: relative to that file.
fn beside(file: &Path, written: &str) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(written)
}

/// Fixed, listed, or those of the trace.
fn lengths(root: &mut Table<'_>, has_trace: bool, trace: Option<&TraceEntry>) -> Option<Vec<Lengths>> {
    let Some(value) = root.take("lengths") else {
        if !has_trace {
            let problem = root.problem("the file says neither how long requests are nor where a trace of them is");
            root.note(problem.help(
                "add `lengths = { input = 512, output = 128 }`, a list `lengths = [[512, 128], [64, 900]]`, or `[trace]` with `file = \"…\"`",
            ));
        }
        let entry = trace?;
        return Some(trace::thin(&entry.trace.lengths, entry.max_lengths));
    };
    if value.is_table() {
        let mut table = value.table()?;
        let input = table
            .require("input", "512")
            .and_then(|value| value.integer(1..=MOST_TOKENS));
        let output = table
            .require("output", "128")
            .and_then(|value| value.integer(1..=MOST_TOKENS));
        table.finish();
        return Some(vec![Lengths {
            input: input?,
            output: output?,
        }]);
    }
    let pairs: Vec<Option<Lengths>> = value.list()?.into_iter().map(pair).collect();
    pairs.into_iter().collect()
}

fn pair(value: Value<'_>) -> Option<Lengths> {
    let span_keeper = value.place();
    let numbers: Vec<Option<u32>> = value
        .list()?
        .iter()
        .map(|value| value.integer(1..=MOST_TOKENS))
        .collect();
    match numbers.as_slice() {
        [input, output] => Some(Lengths {
            input: (*input)?,
            output: (*output)?,
        }),
        _ => span_keeper.refuse(
            format!("a length is a pair of numbers, found is a list of {}", numbers.len()),
            "write two: `[prompt tokens, answer tokens]`",
        ),
    }
}

fn rate_in_force(
    document: &Document,
    root: &Table<'_>,
    written: Option<f64>,
    has_trace: bool,
    trace: Option<&TraceEntry>,
) -> Option<RequestsPerSecond> {
    let rate = match (written, trace) {
        (Some(_), Some(entry)) if entry.speed.is_some() => {
            let problem = document.problem("the file has both `rate` and the trace's `speed`");
            let problem = problem.help("keep `rate` for a rate of its own, or `speed` for a multiple of the trace's");
            document.note(entry.span.clone(), "its speed is here", problem);
            return None;
        }
        (Some(rate), _) => rate,
        (None, Some(entry)) => {
            let Some(rate) = entry.trace.rate else {
                let problem = document.problem("all requests of the trace arrive at one time, so it has no rate");
                document.note(
                    entry.span.clone(),
                    "declared here",
                    problem.help("add `rate = \"10 /s\"`"),
                );
                return None;
            };
            let speed = entry.speed.unwrap_or(defaults::TRACE_SPEED.value);
            if entry.speed.is_none() {
                root.put_in_force("trace.speed", speed.to_string(), defaults::TRACE_SPEED.why);
            }
            rate * speed
        }
        (None, None) => {
            if !has_trace {
                let problem = root.problem("the file has no arrival rate");
                root.note(problem.help("add `rate = \"10 /s\"`, or `[trace]` with `file = \"…\"` to take the trace's"));
            }
            return None;
        }
    };
    RequestsPerSecond::new(rate).ok()
}

/// Gaps of a trace that vary clearly more than Poisson's, which costs latency at the same rate.
const BURSTY: f64 = 1.3;

fn arrivals_in_force(
    root: &Table<'_>,
    entry: ArrivalsEntry,
    has_trace: bool,
    trace: Option<&TraceEntry>,
) -> Option<Arrivals> {
    match (entry, trace) {
        (ArrivalsEntry::Plain(arrivals), Some(entry)) => {
            if arrivals == Arrivals::Poisson && entry.trace.gap_cv.is_some_and(|cv| cv > BURSTY) {
                let cv = entry.trace.gap_cv.unwrap_or_default();
                let problem = root.problem(format!(
                    "the trace's gaps have a coefficient of variation of {cv:.1}, planned are Poisson arrivals with 1.0"
                ));
                let problem = problem
                    .help("write `arrivals = \"trace\"` to plan for the trace's burstiness")
                    .warning();
                root.note_at(entry.span.clone(), problem);
            }
            Some(arrivals)
        }
        (ArrivalsEntry::Plain(arrivals), None) => Some(arrivals),
        (ArrivalsEntry::FromTrace, Some(entry)) => {
            let cv = entry.trace.gap_cv.filter(|cv| *cv > 0.0);
            if cv.is_none() {
                let problem = root.problem("the trace has too few arrivals to say how bursty it is");
                root.note_at(entry.span.clone(), problem.help("write `arrivals = \"poisson\"`"));
            }
            Some(Arrivals::Gamma { cv: cv? })
        }
        (ArrivalsEntry::FromTrace, None) => {
            if !has_trace {
                let problem = root.problem("`arrivals = \"trace\"`, but there is no `[trace]`");
                root.note(problem.help("add `[trace]` with `file = \"…\"`, or write `arrivals = \"poisson\"`"));
            }
            None
        }
    }
}

fn planning(mut table: Table<'_>) -> Option<Planning> {
    let headroom = match table.take("headroom") {
        Some(value) => value.quantity(&MARGIN),
        None => {
            table.put_in_force("headroom", "10 %".into(), defaults::HEADROOM.why);
            Some(defaults::HEADROOM.value)
        }
    };
    let utilisation_floor = match table.take("utilisation-floor") {
        Some(value) => value.quantity(&FRACTION),
        None => {
            table.put_in_force("utilisation-floor", "0 %".into(), defaults::UTILISATION_FLOOR.why);
            Some(defaults::UTILISATION_FLOOR.value)
        }
    };
    let tolerance = table.or_default("tolerance", &defaults::TOLERANCE, |value| value.quantity(&TOLERANCE));
    let max_solves = table.or_default("max-solves", &defaults::MAX_SOLVES, |value| value.integer(1..=u32::MAX));
    let max_work = table.or_default("max-work", &defaults::MAX_WORK, |value| value.integer(1..=u32::MAX));
    table.finish();
    Some(Planning {
        headroom: headroom?,
        utilisation_floor: Fraction::new(utilisation_floor?).ok()?,
        tolerance: tolerance?,
        max_solves: max_solves?,
        max_work: max_work?,
    })
}
