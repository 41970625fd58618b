//! Request traces: arrival times and token lengths, in the formats that public traces come in, and in our own records of what was sent.

use std::path::Path;

use routerwise_types::workload::Lengths;
use serde::Deserialize;

use crate::columns;
use crate::file::{self, Wrong};
use crate::problem::Problems;

/// The requests of a trace, in the order of the file: seconds on the file's clock, and the lengths of each.
///
/// # Errors
/// What is wrong with the file.
pub fn requests(path: &Path) -> Result<Vec<(f64, Lengths)>, Problems> {
    let rows = rows(path).and_then(|rows| Ok((lengths(&rows)?.0, rows)));
    let (lengths, rows) = rows.map_err(|wrong| Problems(vec![wrong.at(path)]))?;
    Ok(rows.iter().map(|row| row.arrival).zip(lengths).collect())
}

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

/// Reads a trace and says how it is spread.
pub(crate) fn read(path: &Path) -> Result<Trace, Wrong> {
    trace(&rows(path)?)
}

/// Reads Parquet (`arrival_s`, `input_tokens`, `output_tokens`), CSV (those, Azure's `TIMESTAMP`, `ContextTokens`,
/// `GeneratedTokens`, or BurstGPT's `Timestamp`, `Request tokens`, `Response tokens`), or JSON lines (Mooncake's `timestamp` in ms,
/// `input_length`, `output_length`, or the records of a bench), by the file's ending.
fn rows(path: &Path) -> Result<Vec<Row>, Wrong> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("parquet") => parquet_rows(path),
        Some("csv") => csv_rows(path),
        Some("jsonl") => json_rows(path),
        _ => Err(Wrong::new(
            "has no ending that says what it holds",
            "traces are `.parquet`, `.csv` (ours, Azure's or BurstGPT's) or `.jsonl` (Mooncake's, or records of a bench)",
        )),
    }
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

#[derive(Deserialize)]
struct BurstLine {
    #[serde(rename = "Timestamp")]
    timestamp: f64,
    #[serde(rename = "Request tokens")]
    request_tokens: f64,
    #[serde(rename = "Response tokens")]
    response_tokens: f64,
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
    } else if has("Request tokens") {
        for row in reader.into_deserialize::<BurstLine>() {
            let row = row.map_err(|error| csv_wrong(&error))?;
            rows.push(Row {
                arrival: row.timestamp,
                input: row.request_tokens,
                output: row.response_tokens,
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
        "expected are the columns `arrival_s,input_tokens,output_tokens`, Azure's `TIMESTAMP,ContextTokens,GeneratedTokens`, or BurstGPT's \
         `Timestamp`, `Request tokens` and `Response tokens`",
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

/// A line of Mooncake's, of ours, or the first one of our records, which is none.
#[derive(Deserialize)]
struct JsonLine {
    timestamp: Option<f64>,
    input_length: Option<f64>,
    output_length: Option<f64>,
    arrival_s: Option<f64>,
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    endpoint: Option<String>,
}

impl JsonLine {
    fn row(&self) -> Option<Row> {
        let mooncake = || Some((self.timestamp? * 1e-3, self.input_length?, self.output_length?));
        let own = || Some((self.arrival_s?, self.input_tokens?, self.output_tokens?));
        let (arrival, input, output) = mooncake().or_else(own)?;
        Some(Row { arrival, input, output })
    }
}

fn json_rows(path: &Path) -> Result<Vec<Row>, Wrong> {
    let text = file::text(path)?;
    let mut rows = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |what: String| {
            Wrong::new(
                format!("cannot be read in line {number}: {what}"),
                "expected are lines with `timestamp` (ms), `input_length` and `output_length`, or with `arrival_s`, `input_tokens` and \
                 `output_tokens`",
            )
        };
        let read: JsonLine = serde_json::from_str(line).map_err(|error| wrong(error.to_string()))?;
        match read.row() {
            Some(row) => rows.push(row),
            None if number == 1 && read.endpoint.is_some() => {}
            None => return Err(wrong("a time or a length is missing".to_owned())),
        }
    }
    Ok(rows)
}

/// Lengths in the order of the file, and how many were raised to one token.
fn lengths(rows: &[Row]) -> Result<(Vec<Lengths>, usize), Wrong> {
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
    Ok((lengths, n_raised))
}

fn trace(rows: &[Row]) -> Result<Trace, Wrong> {
    let (lengths, n_raised) = lengths(rows)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(name: &str, text: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let found = requests(&path).unwrap();
        let start = found[0].0;
        let found: Vec<(f64, u32, u32)> = found
            .iter()
            .map(|(at, lengths)| (at - start, lengths.input, lengths.output))
            .collect();
        let wanted = [(0.0, 20, 5), (1.5, 30, 1)];
        let near = |(a, b): (&(f64, u32, u32), &(f64, u32, u32))| (a.0 - b.0).abs() < 1e-6 && (a.1, a.2) == (b.1, b.2);
        assert!(
            found.len() == 2 && found.iter().zip(&wanted).all(near),
            "{name}: {found:?}"
        );
    }

    #[test]
    fn every_public_layout_reads_alike() {
        reads("own.csv", "arrival_s,input_tokens,output_tokens\n2,20,5\n3.5,30,0\n");
        reads(
            "azure.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59.5000000,20,5\n2023-11-17 00:00:01.0000000,30,1\n",
        );
        reads(
            "burstgpt.csv",
            "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
             5,1,2.1,ChatGPT,20,5,25,Conversation log\n6.5,2,0,GPT-4,30,0,30,API log\n",
        );
        reads(
            "mooncake.jsonl",
            "{\"timestamp\":3000,\"input_length\":20,\"output_length\":5,\"hash_ids\":[1]}\n\n\
             {\"timestamp\":4500,\"input_length\":30,\"output_length\":1,\"hash_ids\":[1,2]}\n",
        );
        reads(
            "records.jsonl",
            "{\"schema\":1,\"endpoint\":\"http://h/v1\",\"model\":\"m\",\"started_unix_s\":1.0}\n\
             {\"request\":0,\"arrival_s\":0.5,\"sent_s\":0.5,\"input_tokens\":20,\"output_tokens\":5,\"measured\":true}\n\
             {\"request\":1,\"arrival_s\":2.0,\"sent_s\":2.0,\"input_tokens\":30,\"output_tokens\":1,\"measured\":true}\n",
        );
    }

    #[test]
    fn a_line_without_a_length_is_refused_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("half.jsonl");
        std::fs::write(
            &path,
            "{\"timestamp\":1,\"input_length\":2,\"output_length\":3}\n{\"timestamp\":2}\n",
        )
        .unwrap();
        assert!(requests(&path).unwrap_err().0[0].message().contains("line 2"));
    }
}
