//! A run on a terminal.

use std::io::{self, Write};

use routerwise_measure::probe::Probed;
use routerwise_types::Seconds;
use routerwise_types::answer::bench::{BenchReport, Latency, Measured, SendLag, Served};
use routerwise_types::sketch::Sketch;

use super::load::Loaded;
use crate::table::table;

/// Prints all that a person wants to know.
pub(super) fn report(report: &BenchReport, out: &mut dyn Write) -> io::Result<()> {
    let measured = &report.measured;
    writeln!(out, "Bench of `{}` at {}", report.model, report.endpoint)?;
    writeln!(out, " {}; {}; seed {}\n", report.load, report.prompts, report.seed)?;
    counts(measured, out)?;
    latencies(&measured.all, out)?;
    if let Some(ttft) = &measured.all.ttft {
        histogram("TTFT", &ttft.sketch, out)?;
    }
    goodput(measured, out)?;
    answerers(measured, out)?;
    failures(measured, out)?;
    verdicts(report, out)
}

fn counts(measured: &Measured, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        " {} requests in {}, {} of them counted ({} to {}): {} answered, {} failed{}",
        measured.n_sent,
        measured.lasted,
        measured.n_requests,
        measured.from,
        measured.to,
        measured.n_answered,
        measured.n_failed,
        if measured.n_unfinished > 0 {
            format!(", {} unfinished", measured.n_unfinished)
        } else {
            String::new()
        }
    )?;
    let offered = measured
        .offered
        .map_or(String::new(), |offered| format!("sent {offered}, "));
    writeln!(
        out,
        " {offered}completed {}; {:.1} in flight on average; {:.0} answer tokens/s; {:.0} tokens in, {:.0} out on average\n",
        measured.achieved,
        measured.in_flight,
        measured.all.output_tokens_per_second,
        measured.all.input_tokens,
        measured.all.output_tokens
    )
}

fn latencies(served: &Served, out: &mut dyn Write) -> io::Result<()> {
    let rows = [
        ("TTFT", &served.ttft),
        ("TPOT", &served.tpot),
        ("ITL", &served.itl),
        ("E2E", &served.e2e),
    ];
    let rows = rows.iter().filter_map(|(name, latency)| {
        let latency = latency.as_ref()?;
        let shown = |time: Seconds| time.to_string();
        Some([
            (*name).to_owned(),
            shown(latency.mean),
            shown(latency.ci95),
            shown(latency.p50),
            shown(latency.p90),
            shown(latency.p95),
            shown(latency.p99),
            shown(latency.longest),
        ])
    });
    let header = ["", "mean", "±", "P50", "P90", "P95", "P99", "longest"];
    writeln!(out, "{}\n", table(header, "lrrrrrrr", rows))
}

const BAR: usize = 40;
const N_BARS: usize = 12;

/// Bars of equal ratio between the shortest and the longest; a long tail does not press the rest together.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts stay far below 2^53; a bar has at most 40 letters"
)]
fn histogram(name: &str, sketch: &Sketch, out: &mut dyn Write) -> io::Result<()> {
    let (Some(least), Some(most)) = (sketch.quantile(0.0), sketch.quantile(1.0)) else {
        return Ok(());
    };
    let (from, to) = (
        least / (1.0 + Sketch::RELATIVE_ERROR),
        most * (1.0 + 2.0 * Sketch::RELATIVE_ERROR),
    );
    let ratio = (to / from).powf(1.0 / N_BARS as f64);
    let total = sketch.count() as f64;
    let above = |limit: f64| sketch.exceedance(limit).unwrap_or_default();
    let parts: Vec<(f64, f64)> = (0..N_BARS)
        .map(|bar| {
            let low = from * ratio.powi(bar as i32);
            (low * ratio, (above(low) - above(low * ratio)).max(0.0))
        })
        .collect();
    let largest = parts.iter().map(|(_, part)| *part).fold(0.0, f64::max).max(1e-12);
    writeln!(out, " {name} up to")?;
    for (high, part) in parts {
        let length = ((part / largest) * BAR as f64).round() as usize;
        let high = Seconds::new(high).map_or_else(|_| String::new(), |high| high.to_string());
        writeln!(out, " {high:>10} {:BAR$} {:.0}", "█".repeat(length), part * total)?;
    }
    writeln!(out)
}

fn goodput(measured: &Measured, out: &mut dyn Write) -> io::Result<()> {
    let (Some(goodput), Some(good)) = (measured.goodput, measured.good) else {
        return Ok(());
    };
    let limits = measured
        .limits
        .iter()
        .map(|limit| format!("{} ≤ {}", limit.metric, limit.target));
    let limits: Vec<String> = limits.collect();
    writeln!(
        out,
        " Goodput: {goodput} keep {} ({good} of all that count)\n",
        limits.join(" and ")
    )
}

/// By model and by replica, where a gateway says which answered.
fn answerers(measured: &Measured, out: &mut dyn Write) -> io::Result<()> {
    if measured.models.is_empty() {
        return Ok(());
    }
    let shown = |latency: &Option<Latency>| {
        latency
            .as_ref()
            .map_or_else(|| "-".to_owned(), |latency| latency.mean.to_string())
    };
    let p95 = |latency: &Option<Latency>| {
        latency
            .as_ref()
            .map_or_else(|| "-".to_owned(), |latency| latency.p95.to_string())
    };
    let rows = measured.models.iter().flat_map(|model| {
        let replicas = measured.replicas.iter().filter(|replica| replica.model == model.model);
        std::iter::once(model).chain(replicas)
    });
    let rows = rows.map(|served| {
        let name = match &served.replica {
            Some(replica) => format!("  {replica}"),
            None => served.model.clone().unwrap_or_default(),
        };
        [
            name,
            served.part.to_string(),
            format!("{:.2} /s", served.rate.value()),
            served
                .goodput
                .map_or_else(|| "-".to_owned(), |goodput| format!("{:.2} /s", goodput.value())),
            shown(&served.ttft),
            p95(&served.ttft),
            shown(&served.tpot),
            shown(&served.e2e),
        ]
    });
    let header = [
        "answered by",
        "part",
        "rate",
        "goodput",
        "TTFT",
        "P95 TTFT",
        "TPOT",
        "E2E",
    ];
    writeln!(out, "{}\n", table(header, "lrrrrrrr", rows))
}

fn failures(measured: &Measured, out: &mut dyn Write) -> io::Result<()> {
    for failure in &measured.failures {
        let example = failure
            .example
            .as_ref()
            .map_or(String::new(), |example| format!(", such as: {example}"));
        writeln!(
            out,
            " Failed, {}: {} ({} that count){example}",
            failure.kind, failure.n, failure.n_measured
        )?;
    }
    Ok(())
}

fn verdicts(report: &BenchReport, out: &mut dyn Write) -> io::Result<()> {
    let measured = &report.measured;
    if measured.offered.is_some() {
        let lag = &measured.lag;
        writeln!(
            out,
            " Sent {} late on average, P99 {}, at most {}{}",
            lag.mean,
            lag.p99,
            lag.longest,
            if lag.kept_up {
                "."
            } else {
                ": THE LOAD GENERATOR DID NOT KEEP UP."
            }
        )?;
    }
    if let Some(saturation) = measured.saturation.filter(|saturation| saturation.saturated) {
        writeln!(
            out,
            " SATURATED: the server completed {:.2} requests for each that was sent, and {} in flight became {} in the second half. Its latency \
             grows as long as one measures.",
            saturation.completed, saturation.in_flight_before, saturation.in_flight_after
        )?;
    }
    for note in &report.notes {
        writeln!(out, " Note: {note}.")?;
    }
    Ok(())
}

/// How late, in words.
pub(super) fn lag(lag: &SendLag) -> String {
    if lag.n_not_sent > 0 {
        format!(
            "{} requests were not sent, because too many were in flight or this machine had no sockets left; raise `--max-in-flight` and the limit \
             of open files, or lower the rate",
            lag.n_not_sent
        )
    } else {
        format!(
            "requests were sent {} late on average and up to {}; lower the rate, or run on a machine with a core to spare",
            lag.mean, lag.longest
        )
    }
}

/// What is to be kept in mind when the numbers are read.
pub(super) fn notes(model: &str, measured: &Measured, loaded: &Loaded, probed: &Probed) -> Vec<String> {
    let mut notes = Vec::new();
    if measured.n_uncounted > 0 {
        notes.push(format!(
            "the server did not count the tokens of {} answers; each piece of them counts as one",
            measured.n_uncounted
        ));
    }
    let asked = loaded.mean_input_tokens();
    let found = measured.all.input_tokens;
    let off = found / asked.max(1.0) - 1.0;
    if loaded.filler && measured.n_answered > 0 && measured.n_uncounted == 0 && off.abs() > 0.1 {
        notes.push(format!(
            "the server counted {found:.0} tokens in a question of {asked:.0} words: its vocabulary or its template differs from one token a word"
        ));
    }
    if 0 < measured.n_answered && measured.n_answered < 100 {
        notes.push(format!(
            "{} answers say little about quantiles; run longer",
            measured.n_answered
        ));
    }
    if measured.all.tpot.is_none() && measured.n_answered > 0 {
        notes.push("no answer had two tokens, so there is no TPOT".to_owned());
    }
    if model == "auto" && !probed.names_model {
        notes.push("nothing says which model answered: only a gateway with `x-routerwise-model` does".to_owned());
    }
    notes
}
