//! What the profiler asks of an engine: to play requests one by one, or at a rate.

use std::ops::Range;
use std::sync::Arc;

use routerwise_simulate::arrivals::UnitSchedule;
use routerwise_simulate::engine::EngineSpec;
use routerwise_simulate::load::{self, LoadRun};
use routerwise_types::report::RequestRecord;
use routerwise_types::units::{RequestsPerSecond, Seconds};
use routerwise_types::workload::Lengths;
use serde::{Deserialize, Serialize};

/// Requests at a rate: each is sent at its time, whether or not earlier ones are answered.
#[derive(Clone, Debug)]
pub struct OpenLoop<'a> {
    /// What is sent when, at one request per second.
    pub schedule: &'a UnitSchedule,
    /// The rate to play it at.
    pub rate: RequestsPerSecond,
    /// The requests that are measured: those before warm the engine up, those behind keep it busy until these are done.
    pub window: Range<usize>,
    /// How long after the last arrival of the window to wait for its answers at most.
    pub patience: Seconds,
}

/// What became of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Played {
    /// Answered requests of the window, in order of arrival.
    pub records: Vec<RequestRecord>,
    /// What came and what went while the window arrived.
    pub flow: Flow,
    /// Requests sent, those outside the window included.
    pub n_sent: u64,
    /// Requests of the window that failed or were given up.
    pub n_failed: u64,
    /// What the first that failed was told.
    pub first_failure: Option<String>,
    /// How long it took.
    pub spent: Seconds,
}

/// What came and what went from the first arrival of a window to its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Requests that arrived after the first.
    pub n_arrived: u64,
    /// Requests that were finished, whenever they arrived.
    pub n_finished: u64,
    /// The time between, seconds.
    pub seconds: f64,
}

/// Why nothing more can be measured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeFailure {
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// The engine does not answer.
    #[error("{what}")]
    Engine {
        /// What was found.
        what: String,
        /// What to do.
        help: String,
    },
}

/// An engine under test.
pub trait Probe {
    /// Sends each request when the one before is answered.
    ///
    /// # Errors
    /// [`ProbeFailure`] when a request fails.
    fn one_by_one(&mut self, requests: &[Lengths]) -> Result<Played, ProbeFailure>;

    /// Sends requests at a rate.
    ///
    /// # Errors
    /// [`ProbeFailure`] when the engine is gone; requests that fail while others are answered are counted.
    fn open_loop(&mut self, load: &OpenLoop<'_>) -> Result<Played, ProbeFailure>;
}

/// The engine model in simulated time: what the profiler's decisions are tested with, and what foretells how long it will take.
#[derive(Clone, Debug)]
pub struct SimulatedProbe {
    spec: Arc<EngineSpec>,
}

impl SimulatedProbe {
    /// An engine without a history.
    #[must_use]
    pub fn new(spec: Arc<EngineSpec>) -> Self {
        Self { spec }
    }
}

/// Gap between requests that never meet, seconds.
const FAR_APART: f64 = 1e5;

impl Probe for SimulatedProbe {
    fn one_by_one(&mut self, requests: &[Lengths]) -> Result<Played, ProbeFailure> {
        let trace: Vec<(f64, Lengths)> = (1u32..)
            .zip(requests)
            .map(|(n, lengths)| (f64::from(n), *lengths))
            .collect();
        let rate = RequestsPerSecond::new(1.0 / FAR_APART).expect("a small rate");
        let run = load::run(&self.spec, &UnitSchedule::replay(&trace), rate, 0..requests.len());
        let busy: f64 = run.records.iter().map(|record| record.e2e().value()).sum();
        Ok(Played {
            flow: Flow::default(),
            n_sent: run.records.len() as u64,
            records: run.records,
            n_failed: 0,
            first_failure: None,
            spent: Seconds::new(busy).expect("a sum of latencies"),
        })
    }

    fn open_loop(&mut self, load: &OpenLoop<'_>) -> Result<Played, ProbeFailure> {
        let run = load::run(&self.spec, load.schedule, load.rate, load.window.clone());
        let flow = flow(&run);
        let last_arrival = run.records.last().map_or(0.0, |last| last.arrived.as_seconds());
        let given_up = last_arrival + load.patience.value();
        let (answered, open): (Vec<RequestRecord>, Vec<RequestRecord>) = run
            .records
            .into_iter()
            .partition(|record| record.finished.as_seconds() <= given_up);
        let last_finished = answered
            .iter()
            .map(|record| record.finished.as_seconds())
            .fold(last_arrival, f64::max);
        Ok(Played {
            flow,
            n_sent: run.counts.finished,
            n_failed: open.len() as u64,
            first_failure: (!open.is_empty()).then(|| format!("no answer within {}", load.patience)),
            spent: Seconds::new(if open.is_empty() { last_finished } else { given_up }).expect("a time"),
            records: answered,
        })
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of requests"
)]
fn flow(run: &LoadRun) -> Flow {
    let ends = run.records.first().zip(run.records.last());
    let seconds = ends.map_or(0.0, |(first, last)| last.arrived.since(first.arrived).value());
    Flow {
        n_arrived: (run.records.len() as u64).saturating_sub(1),
        n_finished: (run.achieved.value() * seconds).round() as u64,
        seconds,
    }
}
