//! Results of other load generators: guidellm, aiperf and vLLM's `bench serve`, as requests with their times.
//!
//! Only files with every single request are taken: a profile needs distributions, and a mean and three quantiles are none.
//! What a file does not say stays unsaid here; nothing is guessed.

mod aiperf;
mod guidellm;
mod vllm;

use routerwise_types::profile::LoadPoint;
use routerwise_types::report::{RequestRecord, latency_stat};
use routerwise_types::workload::{Arrivals, Lengths, Metric};
use routerwise_types::{RequestsPerSecond, Timestamp};

/// One load that another tool has sent.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportedRun {
    /// The tool.
    pub tool: &'static str,
    /// Rate at which it was to send, where it says so.
    pub offered: Option<f64>,
    /// How arrivals were spread, where it says so; nothing where users waited for answers.
    pub arrivals: Option<Arrivals>,
    /// Whether it sent all it could: its latency is then that of a queue as long as the run, and only its rate says something.
    pub flooded: bool,
    /// How long it took, in seconds.
    pub lasted: f64,
    /// The requests that were answered, in order of their start.
    pub requests: Vec<RequestRecord>,
    /// Those that were not.
    pub n_failed: usize,
}

/// Why a file is not imported: the end of a sentence that starts with its name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotImport {
    /// Nobody's format that is known here.
    #[error("is no result of guidellm (JSON), aiperf (profile_export.jsonl) or vllm bench serve (JSON)")]
    Unknown,
    /// A quantity is missing.
    #[error("is a result of {tool} and lacks {what}")]
    Lacks {
        /// The tool.
        tool: &'static str,
        /// What is missing.
        what: String,
        /// How to make it write that.
        help: &'static str,
    },
}

/// Reads a file's text.
///
/// # Errors
/// [`CannotImport`] with what is missing.
pub fn read(text: &str) -> Result<Vec<ImportedRun>, CannotImport> {
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        if value.get("benchmarks").is_some() {
            return guidellm::read(&value);
        }
        if value.get("request_throughput").is_some() {
            return vllm::read(&value).map(|run| vec![run]);
        }
        if value.get("metrics").is_none() {
            return Err(CannotImport::Unknown);
        }
    }
    aiperf::read(text).map(|run| vec![run])
}

impl ImportedRun {
    /// Mean tokens of a question and of an answer.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn mean_lengths(&self) -> (f64, f64) {
        let n = self.requests.len().max(1) as f64;
        let mean = |of: fn(&Lengths) -> u32| {
            self.requests
                .iter()
                .map(|request| f64::from(of(&request.lengths)))
                .sum::<f64>()
                / n
        };
        (mean(|lengths| lengths.input), mean(|lengths| lengths.output))
    }

    /// One load of a profile; nothing when it has no request of more than one token.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn load_point(&self) -> Option<LoadPoint> {
        let achieved = RequestsPerSecond::new(self.requests.len() as f64 / self.lasted.max(1e-9)).ok()?;
        let offered = match self.offered {
            Some(rate) => RequestsPerSecond::new(rate).ok()?,
            None => achieved,
        };
        Some(LoadPoint {
            offered,
            achieved,
            n_requests: self.requests.len() as u64,
            ttft: latency_stat(&self.requests, Metric::Ttft)?,
            tpot: latency_stat(&self.requests, Metric::Tpot)?,
            e2e: latency_stat(&self.requests, Metric::E2e)?,
        })
    }
}

/// One request by its times in seconds on the tool's clock.
struct Times {
    start: f64,
    first_token: f64,
    end: f64,
    lengths: Lengths,
}

/// Requests in order of their start, on a clock that starts with the first; and the time from there to the last end.
fn ordered(mut times: Vec<Times>) -> (Vec<RequestRecord>, f64) {
    times.sort_by(|a, b| a.start.total_cmp(&b.start));
    let zero = times.first().map_or(0.0, |first| first.start);
    let end = times.iter().map(|times| times.end).fold(zero, f64::max);
    let at = |time: f64| Timestamp::from_seconds(time - zero);
    let records = times.iter().map(|times| RequestRecord {
        arrived: at(times.start),
        first_token: at(times.first_token),
        finished: at(times.end),
        lengths: times.lengths,
    });
    (records.collect(), end - zero)
}

/// A count of tokens in a value.
fn tokens(value: Option<&serde_json::Value>) -> Option<u32> {
    let value = value?.as_f64().filter(|value| (1.0..1e9).contains(value))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Some(value.round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> ImportedRun {
        read(text).unwrap().remove(0)
    }

    #[track_caller]
    fn is_as_written(run: &ImportedRun) {
        // Two requests: 0.5 s and 0.25 s to the first of 3 tokens, which take 0.2 s more.
        let point = run.load_point().unwrap();
        assert_eq!(
            (point.n_requests, run.requests[0].lengths),
            (2, Lengths { input: 64, output: 3 })
        );
        assert!((point.ttft.mean.value() - 0.375).abs() < 1e-6, "{point:?}");
        assert!((point.tpot.mean.value() - 0.1).abs() < 1e-6, "{point:?}");
        assert!((point.e2e.mean.value() - 0.575).abs() < 1e-6, "{point:?}");
    }

    #[test]
    fn vllm_bench_is_read_with_its_arrays_and_refused_without() {
        let text = include_str!("import/samples/vllm.json");
        let read_ = run(text);
        is_as_written(&read_);
        assert_eq!(
            (read_.offered, read_.arrivals, read_.n_failed),
            (Some(2.0), Some(Arrivals::Poisson), 1)
        );
        let summary = text.replace("\"ttfts\"", "\"not_ttfts\"");
        let refused = read(&summary).unwrap_err();
        assert!(
            matches!(&refused, CannotImport::Lacks { help, .. } if help.contains("--save-detailed")),
            "{refused}"
        );
        let endless = text.replace("\"request_rate\": 2.0", "\"request_rate\": \"inf\"");
        let read_ = run(&endless);
        assert_eq!((read_.offered, read_.arrivals, read_.flooded), (None, None, true));
        let users = endless.replace("\"max_concurrency\": null", "\"max_concurrency\": 4");
        assert!(!run(&users).flooded);
        let bursty = run(&text.replace("\"burstiness\": 1.0", "\"burstiness\": 0.25"));
        assert_eq!(bursty.arrivals, Some(Arrivals::Gamma { cv: 2.0 }));
    }

    #[test]
    fn guidellm_is_read_from_the_targeted_start_and_refused_without_requests() {
        let text = include_str!("import/samples/guidellm.json");
        let read_ = run(text);
        is_as_written(&read_);
        assert_eq!(
            (read_.offered, read_.arrivals, read_.n_failed),
            (Some(2.0), Some(Arrivals::Poisson), 1)
        );
        let summary = text.replace("\"successful\"", "\"summarised\"");
        assert!(matches!(read(&summary), Err(CannotImport::Lacks { .. })));
    }

    /// Two benchmarks of a sweep with two requests each, as guidellm 0.8.1 wrote them; words and arguments were taken out.
    #[test]
    fn what_guidellm_itself_wrote_is_read() {
        let runs = read(include_str!("import/samples/guidellm-0.8.1.json")).unwrap();
        let [throughput, constant] = &runs[..] else {
            panic!("{runs:?}")
        };
        assert!(throughput.flooded && throughput.offered.is_none());
        assert_eq!((constant.flooded, constant.arrivals), (false, Some(Arrivals::Constant)));
        assert!((constant.offered.unwrap() - 115.75).abs() < 1e-9 && (constant.lasted - 8.0).abs() < 0.01);
        assert_eq!(constant.requests.len(), 2);
        for request in &constant.requests {
            assert_eq!(request.lengths.output, 20);
            assert!(
                (0.005..0.2).contains(&request.ttft().value()) && request.e2e().value() < 1.0,
                "{request:?}"
            );
        }
    }

    #[test]
    fn aiperf_is_read_from_its_lines_without_the_warm_up() {
        let read_ = run(include_str!("import/samples/aiperf.jsonl"));
        is_as_written(&read_);
        assert_eq!((read_.arrivals, read_.n_failed), (None, 1));
        let no_stream = include_str!("import/samples/aiperf.jsonl").replace("time_to_first_token", "other");
        assert!(matches!(read(&no_stream), Err(CannotImport::Lacks { .. })));
    }

    #[test]
    fn what_nobody_wrote_is_not_taken_for_a_result() {
        for text in ["", "{}", "hello", "[1, 2]", "{\"a\": 1}\n{\"b\": 2}\n"] {
            assert_eq!(read(text), Err(CannotImport::Unknown), "{text}");
        }
    }
}
