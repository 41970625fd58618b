//! Plays a load against an endpoint: open loop, where requests are sent when they are due and wait for nobody, or closed loop, where
//! each of some users waits for an answer before asking again.
//!
//! Latency counts from the *intended* time of a request. A client that is late, or that waits for a slow server before it sends
//! the next request, would otherwise leave out exactly the waiting that it is there to measure.

use std::cell::{Cell, RefCell};
use std::ops::{ControlFlow, Range};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use routerwise_simulate::arrivals::Arrival;
use routerwise_types::report::itls;
use routerwise_types::sketch::Sketch;
use routerwise_types::workload::Lengths;
use routerwise_types::{Seconds, Timestamp};
use tokio::sync::Notify;

use crate::client::{Broken, Client};
use crate::exchange::{Clock, Heard};
use crate::pacer::Pacer;
use crate::prompts::Prompts;
use crate::record::{Answer, Failed, FailureKind, Outcome, Record};
use crate::schedule::Schedule;
use crate::target::Target;

/// What is sent when.
#[derive(Clone, Debug)]
pub enum Load {
    /// Every request at its time.
    Open(Schedule),
    /// Every user as fast as the answers come.
    Closed(Users),
}

/// Users who wait for their answer before they ask again.
#[derive(Clone, Debug, PartialEq)]
pub struct Users {
    /// How many.
    pub n_users: usize,
    /// How long each of them thinks between an answer and the next question.
    pub think: Seconds,
    /// Lengths of the questions, in order; used again from the start when there are too few.
    pub lengths: Vec<Lengths>,
    /// Questions asked in all, if that ends the run.
    pub n_requests: Option<usize>,
    /// Time after which nobody asks again, if that ends the run.
    pub lasts: Option<Seconds>,
}

/// Which requests count. Those before it find the server colder, those after it emptier than it is in between.
#[derive(Clone, Debug, PartialEq)]
pub enum Window {
    /// Those with these numbers.
    Requests(Range<usize>),
    /// Those intended for this time.
    Time(Range<Timestamp>),
}

impl Window {
    /// Whether a request counts.
    #[must_use]
    pub fn holds(&self, ix: usize, intended: Timestamp) -> bool {
        match self {
            Self::Requests(numbers) => numbers.contains(&ix),
            Self::Time(times) => times.contains(&intended),
        }
    }
}

/// How to play.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is sent when.
    pub load: Load,
    /// What is asked.
    pub prompts: Prompts,
    /// Which requests count.
    pub window: Window,
    /// An answer that is not whole by then has failed.
    pub timeout: Duration,
    /// Requests in flight above which none is sent: a server that answers nothing must not take this machine down.
    pub max_in_flight: usize,
    /// Whether the gaps of each answer are handed on with its record.
    pub with_gaps: bool,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Time since its start.
    pub elapsed: Seconds,
    /// Requests sent.
    pub n_sent: usize,
    /// Requests answered.
    pub n_answered: usize,
    /// Requests failed.
    pub n_failed: usize,
    /// Requests that wait for their answer.
    pub n_in_flight: usize,
    /// Requests of the schedule; nothing where only time ends it.
    pub n_requests: Option<usize>,
    /// When the last request is to be sent, where that is known.
    pub end: Option<Seconds>,
    /// Mean time to first token of the last answers; nothing before the first.
    pub ttft: Option<Seconds>,
}

/// Who watches a run while it goes on.
pub trait Watch {
    /// Called some times a second. [`ControlFlow::Break`] ends the run; what was measured is kept.
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()>;

    /// Called soon after a request is over, with the gaps between the pieces of its answer if they are asked for, and those who
    /// have answered so far.
    fn finished(&mut self, _ix: usize, _record: &Record, _gaps: &[f32], _answerers: &[Answerer]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn progress(&mut self, _: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// What was played.
#[derive(Clone, Debug)]
pub struct Played {
    /// Every request in order, whether it counts or not.
    pub records: Vec<Record>,
    /// Which of them count.
    pub window: Window,
    /// Who answered, by index: model and replica as the gateway named them, else the model that was asked for.
    pub answerers: Vec<Answerer>,
    /// Gaps between the pieces of the answers that count, by answerer.
    pub gaps: Vec<Gaps>,
    /// When it started.
    pub started: SystemTime,
    /// How long it took, until the last answer.
    pub lasted: Seconds,
    /// Whether it was stopped before its end.
    pub stopped: bool,
    /// Connections that were opened.
    pub n_connections: u64,
    /// Whether users waited for answers, so that nothing could be late.
    pub closed: bool,
}

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Answerer {
    /// Model.
    pub model: String,
    /// Replica, where a gateway names it.
    pub replica: Option<String>,
}

/// Gaps between the pieces of answers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gaps {
    /// Their distribution.
    pub sketch: Sketch,
    /// The longest, in seconds.
    pub longest: f64,
}

/// Why nothing could be played.
#[derive(Debug, thiserror::Error)]
pub enum CannotPlay {
    /// The host has no address.
    #[error("`{url}` cannot be reached")]
    NoAddress {
        /// The endpoint.
        url: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// No runtime or thread.
    #[error("this machine gives no thread or event queue")]
    Runtime(#[source] std::io::Error),
}

/// Plays a load to its end, or until the watcher ends it. Blocks; everything runs on one thread.
///
/// # Errors
/// [`CannotPlay`] before anything is sent. What fails later is in the records.
pub fn play(target: &Target, settings: &Settings, watch: &mut dyn Watch) -> Result<Played, CannotPlay> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().map_err(CannotPlay::Runtime)?;
    let url = target.url();
    let client = runtime.block_on(Client::new(Arc::new(target.clone())));
    let client = client.map_err(|broken| CannotPlay::NoAddress {
        url,
        source: match broken {
            Broken::Name(error) => error,
            other => std::io::Error::other(other.to_string()),
        },
    })?;
    let run = Rc::new(Run::new(client, settings));
    let local = tokio::task::LocalSet::new();
    let stopped = local.block_on(&runtime, run.to_the_end(watch))?;
    // Whatever is still under way ends here, with its connection.
    drop(local);
    Ok(run.played(stopped))
}

/// A run under way.
#[derive(Debug)]
struct Run {
    client: Client,
    settings: Settings,
    clock: Clock,
    started: SystemTime,
    records: RefCell<Vec<Record>>,
    answerers: RefCell<Vec<Answerer>>,
    gaps: RefCell<Vec<Gaps>>,
    /// Over, but not yet handed to the watcher.
    over: RefCell<Vec<(usize, Vec<f32>)>>,
    n_in_flight: Cell<usize>,
    n_answered: Cell<usize>,
    n_failed: Cell<usize>,
    ttft: Cell<Option<f64>>,
    /// Told when the last request in flight is over.
    idle: Notify,
}

/// How often the watcher is called.
const TICK: Duration = Duration::from_millis(100);

impl Run {
    fn new(client: Client, settings: &Settings) -> Self {
        Self {
            client,
            settings: settings.clone(),
            clock: Clock(Instant::now()),
            started: SystemTime::now(),
            records: RefCell::default(),
            answerers: RefCell::default(),
            gaps: RefCell::default(),
            over: RefCell::default(),
            n_in_flight: Cell::new(0),
            n_answered: Cell::new(0),
            n_failed: Cell::new(0),
            ttft: Cell::new(None),
            idle: Notify::new(),
        }
    }

    /// Returns whether it was stopped before its end.
    async fn to_the_end(self: &Rc<Self>, watch: &mut dyn Watch) -> Result<bool, CannotPlay> {
        let mut sending = std::pin::pin!(self.send_all());
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                sent = &mut sending => {
                    sent?;
                    return Ok(self.tell(watch).is_break());
                }
                _ = ticks.tick() => {
                    if self.tell(watch).is_break() {
                        return Ok(true);
                    }
                }
            }
        }
    }

    async fn send_all(self: &Rc<Self>) -> Result<(), CannotPlay> {
        match &self.settings.load {
            Load::Open(schedule) => self.open(schedule).await?,
            Load::Closed(users) => self.closed(users).await,
        }
        while self.n_in_flight.get() > 0 {
            self.idle.notified().await;
        }
        Ok(())
    }

    async fn open(self: &Rc<Self>, schedule: &Schedule) -> Result<(), CannotPlay> {
        let times = schedule.arrivals.iter().map(|arrival| arrival.at).collect();
        let pacer = Pacer::start(self.clock.0, times).map_err(CannotPlay::Runtime)?;
        let mut sent = 0;
        while sent < schedule.arrivals.len() {
            let due = pacer.more_than(sent).await;
            for arrival in &schedule.arrivals[sent..due] {
                self.submit(*arrival);
            }
            sent = due;
        }
        Ok(())
    }

    /// Sends a request in a task of its own.
    fn submit(self: &Rc<Self>, arrival: Arrival) {
        let ix = self.enter(arrival);
        if self.n_in_flight.get() >= self.settings.max_in_flight {
            self.fail(ix, FailureKind::NotSent, None);
            return;
        }
        self.n_in_flight.set(self.n_in_flight.get() + 1);
        let run = Rc::clone(self);
        tokio::task::spawn_local(async move {
            run.ask(ix, arrival.lengths).await;
            run.n_in_flight.set(run.n_in_flight.get() - 1);
            if run.n_in_flight.get() == 0 {
                run.idle.notify_one();
            }
        });
    }

    async fn closed(self: &Rc<Self>, users: &Users) {
        let lasts = users.lasts.map(|lasts| Timestamp::from_seconds(lasts.value()));
        let n_requests = users.n_requests.unwrap_or(usize::MAX);
        let lengths: Rc<[Lengths]> = users.lengths.as_slice().into();
        let mut at_work = tokio::task::JoinSet::new();
        for _ in 0..users.n_users {
            let run = Rc::clone(self);
            let (lengths, think) = (Rc::clone(&lengths), users.think.value());
            at_work.spawn_local(async move {
                loop {
                    let (now, ix) = (run.clock.now(), run.records.borrow().len());
                    if ix >= n_requests || lasts.is_some_and(|lasts| now >= lasts) {
                        return;
                    }
                    let lengths = lengths[ix % lengths.len()];
                    run.enter(Arrival { at: now, lengths });
                    run.n_in_flight.set(run.n_in_flight.get() + 1);
                    run.ask(ix, lengths).await;
                    run.n_in_flight.set(run.n_in_flight.get() - 1);
                    if think > 0.0 {
                        tokio::time::sleep(Duration::from_secs_f64(think)).await;
                    }
                }
            });
        }
        while at_work.join_next().await.is_some() {}
    }

    fn enter(&self, arrival: Arrival) -> usize {
        let mut records = self.records.borrow_mut();
        records.push(Record {
            intended: arrival.at,
            sent: arrival.at,
            asked: arrival.lengths,
            outcome: Outcome::Unfinished,
        });
        records.len() - 1
    }

    async fn ask(&self, ix: usize, asked: Lengths) {
        let request = self.client.target.request(&self.settings.prompts.ask(ix, asked));
        self.records.borrow_mut()[ix].sent = self.clock.now();
        let (heard, result) = Heard::from(&self.client, request, self.clock, self.settings.timeout).await;
        match result {
            Ok(()) => self.answered(ix, asked, &heard),
            Err((kind, detail)) => self.fail(ix, kind, Some(detail)),
        }
    }

    fn answered(&self, ix: usize, asked: Lengths, heard: &Heard) {
        let (Some(first), Some(last)) = (heard.pieces.first(), heard.pieces.last()) else {
            unreachable!("an answer without a piece is a failure");
        };
        let (lengths, counted) = heard.lengths(asked);
        let answerer = self.answerer(heard);
        let intended = {
            let record = &mut self.records.borrow_mut()[ix];
            record.outcome = Outcome::Answered(Answer {
                first_token: *first,
                finished: *last,
                lengths,
                counted,
                n_pieces: u32::try_from(heard.pieces.len()).unwrap_or(u32::MAX),
                answerer,
            });
            record.intended
        };
        let gaps = || itls(&heard.pieces).map(Seconds::value);
        if self.settings.window.holds(ix, intended) {
            let seen = &mut self.gaps.borrow_mut()[usize::from(answerer)];
            for gap in gaps() {
                seen.sketch.add(gap);
                seen.longest = seen.longest.max(gap);
            }
        }
        let ttft = first.since(intended).value();
        let smoothed = self.ttft.get().map_or(ttft, |before| before + 0.05 * (ttft - before));
        self.ttft.set(Some(smoothed));
        self.n_answered.set(self.n_answered.get() + 1);
        let kept = if self.settings.with_gaps {
            gaps().map(narrow).collect()
        } else {
            Vec::new()
        };
        self.over.borrow_mut().push((ix, kept));
    }

    fn fail(&self, ix: usize, kind: FailureKind, detail: Option<String>) {
        let at = self.clock.now();
        self.records.borrow_mut()[ix].outcome = Outcome::Failed(Failed {
            at,
            kind,
            detail: detail.map(Into::into),
        });
        self.n_failed.set(self.n_failed.get() + 1);
        self.over.borrow_mut().push((ix, Vec::new()));
    }

    fn answerer(&self, heard: &Heard) -> u16 {
        let model = heard.model.as_deref().unwrap_or(&self.client.target.model);
        let replica = heard.replica.as_deref();
        let mut known = self.answerers.borrow_mut();
        let same = |answerer: &Answerer| answerer.model == model && answerer.replica.as_deref() == replica;
        let ix = known.iter().position(same).unwrap_or_else(|| {
            known.push(Answerer {
                model: model.to_owned(),
                replica: replica.map(str::to_owned),
            });
            self.gaps.borrow_mut().push(Gaps::default());
            known.len() - 1
        });
        // A server that names itself anew every time is counted with the last that there is room for.
        u16::try_from(ix).unwrap_or(u16::MAX)
    }

    /// Hands what is over to the watcher, and how far the run is.
    fn tell(&self, watch: &mut dyn Watch) -> ControlFlow<()> {
        let over = std::mem::take(&mut *self.over.borrow_mut());
        for (ix, gaps) in over {
            watch.finished(ix, &self.records.borrow()[ix], &gaps, &self.answerers.borrow())?;
        }
        let (n_requests, end) = match &self.settings.load {
            Load::Open(schedule) => (
                Some(schedule.arrivals.len()),
                Some(schedule.end.since(Timestamp::START)),
            ),
            Load::Closed(users) => (users.n_requests, users.lasts),
        };
        watch.progress(&Progress {
            elapsed: self.clock.now().since(Timestamp::START),
            n_sent: self.records.borrow().len(),
            n_answered: self.n_answered.get(),
            n_failed: self.n_failed.get(),
            n_in_flight: self.n_in_flight.get(),
            n_requests,
            end,
            ttft: self.ttft.get().and_then(|ttft| Seconds::new(ttft).ok()),
        })
    }

    fn played(&self, stopped: bool) -> Played {
        let records = self.records.take();
        let ends = records.iter().filter_map(Record::ended);
        let lasted = ends.max().unwrap_or_else(|| self.clock.now()).since(Timestamp::START);
        Played {
            records,
            window: self.settings.window.clone(),
            answerers: self.answerers.take(),
            gaps: self.gaps.take(),
            started: self.started,
            lasted,
            stopped,
            n_connections: self.client.n_opened(),
            closed: matches!(self.settings.load, Load::Closed(_)),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a gap needs no more than seven digits")]
fn narrow(gap: f64) -> f32 {
    gap as f32
}
