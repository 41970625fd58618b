//! Request traces: arrival times and token lengths, in the formats that public traces come in.

use std::path::Path;

use routerwise_types::workload::Lengths;
use serde::Deserialize;

use crate::columns;
use crate::file::{self, Wrong};

/// A request trace.
#[derive(Debug)]
pub(crate) struct Trace {
    /// Token lengths in order of arrival.
    pub(crate) lengths: Vec<Lengths>,
    /// Mean rate in requests per second, where arrivals are spread over time.
    pub(crate) rate: Option<f64>,
    /// Coefficient of variation of the gaps, where there are at least two.
    pub(crate) gap_cv: Option<f64>,
    /// Requests whose prompt or answer was given as empty and is counted with one token.
    pub(crate) n_raised: usize,
}

/// One request as a file has it.
struct Row {
    arrival: f64,
    input: f64,
    output: f64,
}

/// Reads Parquet (`arrival_s`, `input_tokens`, `output_tokens`), CSV (those, or Azure's `TIMESTAMP`, `ContextTokens`,
/// `GeneratedTokens`) or Mooncake's JSON lines (`timestamp` in ms, `input_length`, `output_length`), by the file's ending.
pub(crate) fn read(path: &Path) -> Result<Trace, Wrong> {
    let rows = match path.extension().and_then(|ending| ending.to_str()) {
        Some("parquet") => parquet_rows(path)?,
        Some("csv") => csv_rows(path)?,
        Some("jsonl") => json_rows(path)?,
        _ => {
            return Err(Wrong::new(
                "has no ending that says what it holds",
                "traces are `.parquet`, `.csv` (ours or Azure's) or `.jsonl` (Mooncake's)",
            ));
        }
    };
    trace(&rows)
}

/// Keeps at most `most` lengths, evenly spaced over the trace, in its order: deterministic, and bursts and drifts stay in.
pub(crate) fn thin(lengths: &[Lengths], most: usize) -> Vec<Lengths> {
    if lengths.len() <= most {
        return lengths.to_vec();
    }
    (0..most).map(|n| lengths[n * lengths.len() / most]).collect()
}

fn parquet_rows(path: &Path) -> Result<Vec<Row>, Wrong> {
    let names = ["arrival_s", "input_tokens", "output_tokens"];
    let columns = columns::read(path, &|name| names.contains(&name))?;
    let column = |name| {
        let numbers = columns.numbers(name).unwrap_or_else(|| {
            Err(Wrong::new(
                format!("has no column `{name}`"),
                "a trace has `arrival_s` (seconds), `input_tokens` and `output_tokens`",
            ))
        })?;
        // A missing number is refused below, with its row, like any other that is none.
        Ok(numbers.into_iter().map(|number| number.unwrap_or(f64::NAN)))
    };
    let rows = column("arrival_s")?
        .zip(column("input_tokens")?)
        .zip(column("output_tokens")?);
    Ok(rows
        .map(|((arrival, input), output)| Row { arrival, input, output })
        .collect())
}

#[derive(Deserialize)]
struct OwnLine {
    arrival_s: f64,
    input_tokens: f64,
    output_tokens: f64,
}

#[derive(Deserialize)]
struct AzureLine {
    #[serde(rename = "TIMESTAMP")]
    timestamp: String,
    #[serde(rename = "ContextTokens")]
    context_tokens: f64,
    #[serde(rename = "GeneratedTokens")]
    generated_tokens: f64,
}

fn csv_rows(path: &Path) -> Result<Vec<Row>, Wrong> {
    let mut reader = csv::Reader::from_reader(file::open(path)?);
    let headers = reader.headers().map_err(|error| csv_wrong(&error))?.clone();
    let has = |name: &str| headers.iter().any(|header| header == name);
    let mut rows = Vec::new();
    if has("TIMESTAMP") {
        for (line, row) in (2..).zip(reader.into_deserialize::<AzureLine>()) {
            let row = row.map_err(|error| csv_wrong(&error))?;
            let arrival = seconds_of(&row.timestamp).ok_or_else(|| {
                Wrong::new(
                    format!("has the timestamp `{}` in line {line}", row.timestamp),
                    "expected is `2023-11-16 18:15:46.6805900`",
                )
            })?;
            rows.push(Row {
                arrival,
                input: row.context_tokens,
                output: row.generated_tokens,
            });
        }
    } else {
        for row in reader.into_deserialize::<OwnLine>() {
            let row = row.map_err(|error| csv_wrong(&error))?;
            rows.push(Row {
                arrival: row.arrival_s,
                input: row.input_tokens,
                output: row.output_tokens,
            });
        }
    }
    Ok(rows)
}

fn csv_wrong(error: &csv::Error) -> Wrong {
    Wrong::new(
        format!("cannot be read as a trace: {error}"),
        "expected are the columns `arrival_s,input_tokens,output_tokens`, or Azure's `TIMESTAMP,ContextTokens,GeneratedTokens`",
    )
}

/// Seconds since some fixed day of `2023-11-16 18:15:46.6805900`.
fn seconds_of(timestamp: &str) -> Option<f64> {
    let (date, time) = timestamp.trim().split_once([' ', 'T'])?;
    let date: Vec<i64> = date.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [year, month, day] = date[..] else { return None };
    let time = time.trim_end_matches('Z').split('+').next()?;
    let time: Vec<f64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [hours, minutes, seconds] = time[..] else {
        return None;
    };
    // Days of the civil calendar, with the year starting in March so that the leap day comes last.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days =
        365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (153 * month + 2) / 5 + day;
    // From 2000 on, so that a float keeps the tenth of a microsecond that Azure writes.
    let days = i32::try_from(days - 730_425).ok()?;
    Some(f64::from(days) * 86_400.0 + hours * 3600.0 + minutes * 60.0 + seconds)
}

#[derive(Deserialize)]
struct MooncakeLine {
    timestamp: f64,
    input_length: f64,
    output_length: f64,
}

fn json_rows(path: &Path) -> Result<Vec<Row>, Wrong> {
    let text = file::text(path)?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(ix, line)| {
            let row: MooncakeLine = serde_json::from_str(line).map_err(|error| {
                Wrong::new(
                    format!("cannot be read in line {}: {error}", ix + 1),
                    "expected are lines with `timestamp` (ms), `input_length` and `output_length`",
                )
            })?;
            Ok(Row {
                arrival: row.timestamp * 1e-3,
                input: row.input_length,
                output: row.output_length,
            })
        })
        .collect()
}

fn trace(rows: &[Row]) -> Result<Trace, Wrong> {
    if rows.is_empty() {
        return Err(Wrong::new(
            "holds no requests",
            "take a trace with at least one, or write `lengths` and `rate`",
        ));
    }
    let mut lengths = Vec::with_capacity(rows.len());
    let mut n_raised = 0;
    for (ix, row) in rows.iter().enumerate() {
        let tokens = |value: f64| (0.0..1e9).contains(&value).then(|| crate::quantity::whole(value));
        let (Some(input), Some(output), true) = (tokens(row.input), tokens(row.output), row.arrival.is_finite()) else {
            return Err(Wrong::new(
                format!(
                    "has in request {} the arrival {}, {} prompt tokens and {} answer tokens",
                    ix + 1,
                    row.arrival,
                    row.input,
                    row.output
                ),
                "arrivals are seconds, lengths whole numbers of tokens of at least 0",
            ));
        };
        n_raised += usize::from(input == 0 || output == 0);
        lengths.push(Lengths {
            input: input.max(1),
            output: output.max(1),
        });
    }
    let mut arrivals: Vec<f64> = rows.iter().map(|row| row.arrival).collect();
    arrivals.sort_by(f64::total_cmp);
    let gaps: Vec<f64> = arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let mean_gap = mean(&gaps).filter(|gap| *gap > 0.0);
    let variance =
        mean_gap.and_then(|mean_gap| mean(&gaps.iter().map(|gap| (gap - mean_gap).powi(2)).collect::<Vec<_>>()));
    Ok(Trace {
        lengths,
        rate: mean_gap.map(|gap| 1.0 / gap),
        gap_cv: (gaps.len() > 1).then(|| Some(variance?.sqrt() / mean_gap?)).flatten(),
        n_raised,
    })
}

#[expect(clippy::cast_precision_loss, reason = "traces stay far below 2^53 requests")]
fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
