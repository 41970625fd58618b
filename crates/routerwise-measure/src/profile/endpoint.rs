//! An engine behind an OpenAI-compatible endpoint, in real time.

use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use routerwise_simulate::arrivals::Arrival;
use routerwise_types::Timestamp;
use routerwise_types::report::RequestRecord;
use routerwise_types::units::Seconds;
use routerwise_types::workload::Lengths;

use super::probe::{Flow, OpenLoop, Played, Probe, ProbeFailure};
use crate::play::{self, Load, Progress, Settings, Users, Watch, Window};
use crate::probe::{CannotStart, probe};
use crate::prompts::Prompts;
use crate::record::{FailureKind, Outcome, Record};
use crate::schedule::Schedule;
use crate::target::Target;

/// The longest that one question may take when it is asked alone.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Requests in flight above which an overloaded engine gets no more.
const MAX_IN_FLIGHT: usize = 8_192;
/// Requests in a row that find no connection, after which the engine counts as gone.
const GONE: usize = 20;

/// An engine behind an endpoint.
#[derive(Debug)]
pub struct EndpointProbe<'a> {
    target: &'a Target,
    interrupt: &'a AtomicBool,
    seed: u64,
    words_per_token: f64,
    /// Visits made: every one asks other questions, so that no cache of an earlier one helps.
    n_played: u64,
}

impl<'a> EndpointProbe<'a> {
    /// Asks one question, of which it learns how many words make a token; `interrupt` ends what is under way.
    ///
    /// # Errors
    /// [`CannotStart`] with what is wrong with the endpoint.
    pub fn new(
        target: &'a Target,
        typical: Lengths,
        seed: u64,
        interrupt: &'a AtomicBool,
    ) -> Result<Self, CannotStart> {
        let mut made = Self {
            target,
            interrupt,
            seed,
            words_per_token: 1.0,
            n_played: 0,
        };
        // A shorter question teaches the same and fits where words are several tokens each.
        let words = (typical.input / 4).clamp(16, 256);
        let asked = Lengths {
            input: words,
            output: 1,
        };
        let probed = probe(target, &made.prompts(), asked, TIMEOUT)?;
        if let Some(usage) = probed.usage.filter(|usage| usage.prompt_tokens > 0) {
            made.words_per_token = (f64::from(words) / f64::from(usage.prompt_tokens)).clamp(0.02, 4.0);
        }
        Ok(made)
    }

    fn prompts(&self) -> Prompts {
        Prompts::Filler {
            seed: self
                .seed
                .wrapping_add(self.n_played.wrapping_mul(0xbf58_476d_1ce4_e5b9)),
            words_per_token: self.words_per_token,
        }
    }

    fn play(&mut self, load: Load, n_requests: usize, watch: &mut Eye<'_>) -> Result<play::Played, ProbeFailure> {
        self.n_played += 1;
        let settings = Settings {
            load,
            prompts: self.prompts(),
            window: Window::Requests(0..n_requests),
            timeout: TIMEOUT,
            max_in_flight: MAX_IN_FLIGHT,
            with_gaps: false,
        };
        let played = play::play(self.target, &settings, watch).map_err(|error| ProbeFailure::Engine {
            what: match std::error::Error::source(&error) {
                Some(source) => format!("{error}: {source}"),
                None => error.to_string(),
            },
            help: "see that the engine runs, and repeat the command".into(),
        })?;
        if self.interrupt.load(Ordering::Relaxed) {
            return Err(ProbeFailure::Interrupted);
        }
        Ok(played)
    }

    /// Asks one more question: an engine that answers is there, and is done with what it was asked before.
    fn see_that_it_lives(&mut self, what_failed: &str) -> Result<(), ProbeFailure> {
        self.n_played += 1;
        let small = Lengths { input: 8, output: 1 };
        match probe(self.target, &self.prompts(), small, TIMEOUT) {
            Ok(_) => Ok(()),
            Err(error) => Err(ProbeFailure::Engine {
                what: format!("the engine stopped answering ({what_failed}): {error}"),
                help: "start it again and repeat the command, which goes on from here".into(),
            }),
        }
    }
}

/// Watches a visit: ends it when all that is measured is over, when patience is, or when the engine is gone.
struct Eye<'a> {
    interrupt: &'a AtomicBool,
    window: Range<usize>,
    /// Requests of the window that are not over.
    n_open: usize,
    give_up: Timestamp,
    n_unconnected: usize,
}

impl Watch for Eye<'_> {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        let late = progress.elapsed.value() > self.give_up.as_seconds();
        if self.interrupt.load(Ordering::Relaxed) || late || self.n_open == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn finished(&mut self, ix: usize, record: &Record, _: &[f32], _: &[play::Answerer]) -> ControlFlow<()> {
        self.n_open -= usize::from(self.window.contains(&ix));
        let unconnected = matches!(&record.outcome, Outcome::Failed(failed) if failed.kind == FailureKind::Connect);
        self.n_unconnected = if unconnected { self.n_unconnected + 1 } else { 0 };
        if self.n_unconnected >= GONE {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

impl Probe for EndpointProbe<'_> {
    fn one_by_one(&mut self, requests: &[Lengths]) -> Result<Played, ProbeFailure> {
        let mut eye = Eye {
            interrupt: self.interrupt,
            window: 0..requests.len(),
            n_open: requests.len(),
            give_up: Timestamp(u64::MAX),
            n_unconnected: 0,
        };
        let users = Users {
            n_users: 1,
            think: Seconds::ZERO,
            lengths: requests.to_vec(),
            n_requests: Some(requests.len()),
            lasts: None,
        };
        let played = self.play(Load::Closed(users), requests.len(), &mut eye)?;
        if let Some(reason) = first_failure(&played.records) {
            self.see_that_it_lives(&reason)?;
            return Err(ProbeFailure::Engine {
                what: format!("one request alone failed: {reason}"),
                help: "what fails without load is no matter of speed: see the engine's log".into(),
            });
        }
        Ok(Played {
            records: answered(&played.records),
            flow: Flow::default(),
            n_sent: played.records.len() as u64,
            n_failed: 0,
            first_failure: None,
            spent: played.lasted,
        })
    }

    fn open_loop(&mut self, load: &OpenLoop<'_>) -> Result<Played, ProbeFailure> {
        let arrivals: Vec<Arrival> = load.schedule.twice_at_rate(load.rate).collect();
        let (from, to) = (arrivals[load.window.start].at, arrivals[load.window.end - 1].at);
        let give_up = Timestamp::from_seconds(to.as_seconds() + load.patience.value());
        let mut eye = Eye {
            interrupt: self.interrupt,
            window: load.window.clone(),
            n_open: load.window.len(),
            give_up,
            n_unconnected: 0,
        };
        let schedule = Schedule {
            end: arrivals.last().map_or(to, |last| last.at),
            arrivals,
        };
        let played = self.play(Load::Open(schedule), load.window.end, &mut eye)?;
        let records = &played.records;
        let window = &records[load.window.start.min(records.len())..load.window.end.min(records.len())];
        let answered = answered(window);
        let n_failed = load.window.len() - answered.len();
        if n_failed > 0 {
            let reason = first_failure(window).unwrap_or_else(|| "requests were not answered in time".into());
            self.see_that_it_lives(&reason)?;
        }
        let ended = records.iter().filter_map(Record::request).map(|record| record.finished);
        // Where nothing was answered the time went by all the same.
        let lasted = to.since(Timestamp::START);
        let flow = Flow {
            n_arrived: load.window.len() as u64 - 1,
            n_finished: ended.filter(|at| from < *at && *at <= to).count() as u64,
            seconds: to.since(from).value(),
        };
        Ok(Played {
            flow,
            n_sent: records.len() as u64,
            n_failed: n_failed as u64,
            first_failure: (n_failed > 0)
                .then(|| first_failure(window).unwrap_or_else(|| format!("no answer within {}", load.patience))),
            spent: if played.lasted < lasted { lasted } else { played.lasted },
            records: answered,
        })
    }
}

fn answered(records: &[Record]) -> Vec<RequestRecord> {
    records.iter().filter_map(Record::request).collect()
}

fn first_failure(records: &[Record]) -> Option<String> {
    records.iter().find_map(|record| match &record.outcome {
        Outcome::Failed(failed) => Some(match &failed.detail {
            Some(detail) => format!("{}: {detail}", failed.kind),
            None => failed.kind.to_string(),
        }),
        Outcome::Answered(_) | Outcome::Unfinished => None,
    })
}
