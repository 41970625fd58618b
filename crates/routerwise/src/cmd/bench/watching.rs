//! What happens while a run goes on: progress on a terminal, records into their file, and Ctrl-C.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::{ProgressBar, ProgressStyle};
use routerwise_measure::play::{Answerer, Played, Progress, Watch, Window};
use routerwise_measure::record::{Outcome, Record};
use routerwise_measure::target::Target;
use routerwise_types::Timestamp;
use routerwise_types::answer::bench::{BENCH_SCHEMA, BenchHeader, BenchRecord};
use serde::Serialize;

use crate::failure::Failure;

/// Exit code of a program that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Watches a run.
pub(super) struct Watching {
    bar: ProgressBar,
    interrupted: Arc<AtomicBool>,
    records: Option<Records>,
}

/// A file of records that is written while the run goes on, so that a run that is killed leaves what it measured.
struct Records {
    path: PathBuf,
    file: BufWriter<File>,
    window: Window,
    /// What kept it from being written; the run goes on without it.
    broken: Option<io::Error>,
    n_written: usize,
}

impl Watching {
    pub(super) fn new(records: Option<&Path>, target: &Target, started: f64, window: &Window) -> Result<Self, Failure> {
        let header = BenchHeader {
            schema: BENCH_SCHEMA,
            endpoint: target.url(),
            model: target.model().to_owned(),
            started_unix_s: started,
        };
        let records = records.map(|path| Records::create(path, &header, window)).transpose()?;
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{bar:30} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&interrupted);
        // Without a handler Ctrl-C ends the program at once, as anywhere.
        let _ = ctrlc::set_handler(move || {
            if flag.swap(true, Ordering::Relaxed) {
                std::process::exit(INTERRUPTED);
            }
        });
        Ok(Self {
            bar,
            interrupted,
            records,
        })
    }

    /// Writes who answered and what was not finished, and returns what is to be said about the file.
    pub(super) fn finish(self, played: &Played) -> Option<String> {
        self.bar.finish_and_clear();
        self.records.and_then(|records| records.finish(played))
    }
}

impl Watch for Watching {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if let Some(records) = &mut self.records {
            records.keep(|file| file.flush());
        }
        let (at, of) = match (progress.end, progress.n_requests) {
            (Some(end), _) => (progress.elapsed.value() / end.value().max(1e-9), 1.0),
            (None, Some(n)) => (count(progress.n_sent), count(n)),
            (None, None) => (0.0, 1.0),
        };
        self.bar.set_length(1_000);
        self.bar.set_position(thousandths(at / of));
        self.bar.set_message(in_words(progress));
        if self.interrupted.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn finished(&mut self, ix: usize, record: &Record, gaps: &[f32], answerers: &[Answerer]) -> ControlFlow<()> {
        if let Some(records) = &mut self.records {
            records.write(ix, record, gaps, answerers);
        }
        ControlFlow::Continue(())
    }
}

fn in_words(progress: &Progress) -> String {
    let end = progress.end.map_or(String::new(), |end| format!(" of {end}"));
    let ttft = progress.ttft.map_or(String::new(), |ttft| format!(", TTFT {ttft}"));
    format!(
        "{}{end}: {} sent, {} answered, {} failed, {} in flight{ttft}",
        progress.elapsed, progress.n_sent, progress.n_answered, progress.n_failed, progress.n_in_flight
    )
}

impl Records {
    fn create(path: &Path, header: &BenchHeader, window: &Window) -> Result<Self, Failure> {
        let doing = || Failure::environment(format!("writing `{}`", path.display()));
        let mut records = Self {
            path: path.to_owned(),
            file: BufWriter::new(File::create(path).map_err(doing())?),
            window: window.clone(),
            broken: None,
            n_written: 0,
        };
        records.line(header);
        records.keep(|file| file.flush());
        match records.broken.take() {
            Some(error) => Err(doing()(error)),
            None => Ok(records),
        }
    }

    fn keep(&mut self, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        if self.broken.is_none() {
            self.broken = write(&mut self.file).err();
        }
    }

    fn line(&mut self, value: &impl Serialize) {
        self.keep(|file| {
            serde_json::to_writer(&mut *file, value)?;
            file.write_all(b"\n")
        });
    }

    fn write(&mut self, ix: usize, record: &Record, gaps: &[f32], answerers: &[Answerer]) {
        let at = Timestamp::as_seconds;
        let measured = self.window.holds(ix, record.intended);
        let mut line = BenchRecord {
            request: ix,
            arrival_s: at(record.intended),
            sent_s: at(record.sent),
            first_token_s: None,
            end_s: record.ended().map(at),
            input_tokens: record.asked.input,
            output_tokens: record.asked.output,
            measured,
            model: None,
            replica: None,
            gaps_s: gaps.to_vec(),
            error: None,
        };
        match &record.outcome {
            Outcome::Answered(answer) => {
                let answerer = answerers.get(usize::from(answer.answerer));
                line.first_token_s = Some(at(answer.first_token));
                (line.input_tokens, line.output_tokens) = (answer.lengths.input, answer.lengths.output);
                line.model = answerer.map(|answerer| answerer.model.clone());
                line.replica = answerer.and_then(|answerer| answerer.replica.clone());
            }
            Outcome::Failed(failed) => {
                line.error = Some(match &failed.detail {
                    Some(detail) => format!("{}: {detail}", failed.kind),
                    None => failed.kind.to_string(),
                });
            }
            Outcome::Unfinished => line.error = Some("unfinished when the run was stopped".to_owned()),
        }
        self.line(&line);
        self.n_written += 1;
    }

    /// What was still under way when the run was stopped comes last. A file that could not be written loses the records, not the run.
    fn finish(mut self, played: &Played) -> Option<String> {
        for (ix, record) in played.records.iter().enumerate() {
            if record.outcome == Outcome::Unfinished {
                self.write(ix, record, &[], &played.answerers);
            }
        }
        self.keep(|file| file.flush());
        let error = self.broken?;
        Some(format!(
            "`{}` could not be written to its end ({error}): it holds a part of the {} requests",
            self.path.display(),
            self.n_written
        ))
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first")]
fn thousandths(part: f64) -> u64 {
    (part.clamp(0.0, 1.0) * 1_000.0) as u64
}
