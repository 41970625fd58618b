//! One engine under one load.

use std::ops::Range;
use std::sync::Arc;

use routerwise_types::Timestamp;
use routerwise_types::report::RequestRecord;
use routerwise_types::units::RequestsPerSecond;
use routerwise_types::workload::Lengths;

use crate::arrivals::{Arrival, UnitSchedule};
use crate::engine::{Counts, Detail, Engine, EngineSpec, Event, EventKind};

/// What one engine did under one load.
#[derive(Clone, Debug)]
pub struct LoadRun {
    /// The requests of the window, in order of arrival.
    pub records: Vec<RequestRecord>,
    /// Rate at which requests were finished while those of the window arrived.
    pub achieved: RequestsPerSecond,
    /// Totals of the engine, requests before and after the window included.
    pub counts: Counts,
}

/// Plays a schedule at a rate and measures the requests of a window. Arrivals go on until the last of the window is finished, so
/// that it sees as much company as the others; where the schedule ends it is played once more.
///
/// # Panics
/// When the engine refuses a request of the schedule, or the window is not inside it.
#[must_use]
pub fn run(spec: &Arc<EngineSpec>, schedule: &UnitSchedule, rate: RequestsPerSecond, window: Range<usize>) -> LoadRun {
    let mut run = Running::new(spec, schedule.len(), window);
    for arrival in schedule.twice_at_rate(rate) {
        if run.n_open == 0 {
            break;
        }
        run.advance(arrival.at);
        run.submit(arrival);
    }
    run.advance(Timestamp(u64::MAX));
    run.result()
}

/// Rate at which an engine finishes requests when its queue never runs empty: all of `requests` are there from the start. Left out are the
/// first quarter, before which the batch has not found its mixture of old and new requests, and the time after the last
/// request left the queue.
#[must_use]
pub fn saturated_rate(spec: &Arc<EngineSpec>, requests: &[Lengths]) -> (RequestsPerSecond, Counts) {
    let mut engine = Engine::new(Arc::clone(spec), Detail::Requests);
    for (request, lengths) in (0u64..).zip(requests) {
        engine
            .submit(Timestamp::START, request, *lengths)
            .expect("schedules are drawn from lengths that fit");
    }
    let mut events = Vec::new();
    engine.advance(Timestamp(u64::MAX), &mut events);
    let times = |kind| {
        events
            .iter()
            .filter(move |event| event.kind == kind)
            .map(|event| event.at)
    };
    let finished: Vec<Timestamp> = times(EventKind::Finished).collect();
    let queue_ends = times(EventKind::FirstToken).next_back().unwrap_or_default();
    let first = finished.len() / 4;
    let last = finished.partition_point(|at| *at <= queue_ends);
    let rate = if first + 10 < last {
        rate_between(last - 1 - first, finished[first], finished[last - 1])
    } else {
        // All fit in one batch: there is no time at which the queue matters.
        rate_between(
            finished.len(),
            Timestamp::START,
            finished.last().copied().unwrap_or_default(),
        )
    };
    (rate, engine.counts())
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn rate_between(n: usize, from: Timestamp, to: Timestamp) -> RequestsPerSecond {
    RequestsPerSecond::new(n as f64 / to.since(from).value().max(1e-9)).expect("a count over a positive time")
}

/// A run under way.
struct Running {
    engine: Engine,
    window: Range<usize>,
    records: Vec<RequestRecord>,
    finished: Vec<Timestamp>,
    /// Requests of the window that are not finished.
    n_open: usize,
    events: Vec<Event>,
}

impl Running {
    fn new(spec: &Arc<EngineSpec>, n_requests: usize, window: Range<usize>) -> Self {
        Self {
            engine: Engine::new(Arc::clone(spec), Detail::Requests),
            n_open: window.len(),
            window,
            records: Vec::with_capacity(n_requests),
            finished: Vec::with_capacity(n_requests),
            events: Vec::new(),
        }
    }

    fn submit(&mut self, arrival: Arrival) {
        let request = self.records.len() as u64;
        self.engine
            .submit(arrival.at, request, arrival.lengths)
            .expect("schedules are drawn from lengths that fit");
        self.records.push(RequestRecord {
            arrived: arrival.at,
            first_token: arrival.at,
            finished: arrival.at,
            lengths: arrival.lengths,
        });
    }

    fn advance(&mut self, now: Timestamp) {
        self.engine.advance(now, &mut self.events);
        for event in self.events.drain(..) {
            let ix = usize::try_from(event.request).expect("an index into the records");
            match event.kind {
                EventKind::FirstToken => self.records[ix].first_token = event.at,
                EventKind::Finished => {
                    self.records[ix].finished = event.at;
                    self.finished.push(event.at);
                    self.n_open -= usize::from(self.window.contains(&ix));
                }
                EventKind::Started | EventKind::Token | EventKind::Preempted => {}
            }
        }
    }

    fn result(mut self) -> LoadRun {
        self.records.truncate(self.window.end);
        self.records.drain(..self.window.start);
        let from = self.records.first().map_or(Timestamp::START, |first| first.arrived);
        let to = self.records.last().map_or(Timestamp::START, |last| last.arrived);
        let n = self.finished.partition_point(|at| *at <= to) - self.finished.partition_point(|at| *at <= from);
        LoadRun {
            records: self.records,
            achieved: rate_between(n, from, to),
            counts: self.engine.counts(),
        }
    }
}
