//! The one place that holds the router: the clock that it is asked with, and the requests that wait for it.
//!
//! A decision takes about a microsecond, so the router stands behind a lock that is never held across an await. Solving new prices takes
//! milliseconds, needs no lock, and leaves the runtime.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use routerwise_route::RouterCore;
use routerwise_route::core::{RefreshJob, Same, Snapshot, Solved};
use routerwise_route::decision::{Decision, Receipt};
use routerwise_route::event::Event;
use routerwise_route::facts::{ModelSet, RequestFacts};
use routerwise_types::Timestamp;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep_until};

/// How often the router is looked after although nothing happened: prices may be due, and breakers may let one request through.
const TICK: Duration = Duration::from_millis(100);
/// The same while requests wait.
const TICK_WAITING: Duration = Duration::from_millis(10);

/// A deadline that is already over must not keep a core busy.
const SHORTEST: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(crate) struct Desk {
    core: Mutex<RouterCore>,
    waiters: Mutex<BTreeMap<u64, oneshot::Sender<()>>>,
    n_waiting: AtomicUsize,
    changed: Notify,
    start: Instant,
}

impl Desk {
    pub(crate) fn new(core: RouterCore, start: Instant) -> Arc<Self> {
        Arc::new(Self {
            core: Mutex::new(core),
            waiters: Mutex::default(),
            n_waiting: AtomicUsize::new(0),
            changed: Notify::new(),
            start,
        })
    }

    /// Takes over what the desk that it replaces has learned; both go by the same clock.
    pub(crate) fn inherit(&self, before: &Self, same: &Same) {
        let now = self.now();
        let old = before.core();
        self.core().inherit(now, &old, same);
    }

    /// When its clock began.
    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    /// Time on a clock that never goes back.
    pub(crate) fn now(&self) -> Timestamp {
        self.at(Instant::now())
    }

    pub(crate) fn at(&self, instant: Instant) -> Timestamp {
        let passed = instant.saturating_duration_since(self.start).as_nanos();
        Timestamp(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// A router that panicked half way through a change may be wrong by a request or two, and is better than none.
    fn core(&self) -> MutexGuard<'_, RouterCore> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiters(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<()>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides. A request that has to wait is told when its turn has come.
    pub(crate) fn route(&self, facts: &RequestFacts<'_>) -> (Decision, Option<Turn<'_>>) {
        self.route_at(self.now(), facts)
    }

    fn route_at(&self, now: Timestamp, facts: &RequestFacts<'_>) -> (Decision, Option<Turn<'_>>) {
        let decision = self.core().route(now, facts);
        if !matches!(decision, Decision::Wait { .. }) {
            return (decision, None);
        }
        let (call, called) = oneshot::channel();
        self.waiters().insert(facts.request, call);
        self.n_waiting.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        let turn = Turn {
            desk: self,
            request: facts.request,
            called,
        };
        (decision, Some(turn))
    }

    pub(crate) fn explain(&self, facts: &RequestFacts<'_>) -> Receipt {
        let now = self.now();
        self.core().explain(now, facts)
    }

    /// Models that may answer requests of a route at all.
    pub(crate) fn models_of(&self, route: usize) -> ModelSet {
        self.core().models_of(route)
    }

    /// Attempts in flight on a replica.
    pub(crate) fn outstanding(&self, model: usize, replica: usize) -> u32 {
        self.core().outstanding(model, replica)
    }

    pub(crate) fn observe(&self, event: Event) {
        self.observe_at(self.now(), event);
    }

    fn observe_at(&self, now: Timestamp, event: Event) {
        self.core().observe(now, event);
        if self.n_waiting() > 0 {
            self.changed.notify_one();
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let now = self.now();
        self.core().snapshot(now)
    }

    pub(crate) fn n_waiting(&self) -> usize {
        self.n_waiting.load(Ordering::Relaxed)
    }

    /// Calls those whose turn has come, and starts a solve when one is due.
    fn look_after(self: &Arc<Self>) {
        let now = self.now();
        while self.call_next(now).is_some() {}
        if let Some(job) = self.due(now) {
            let desk = Arc::clone(self);
            tokio::task::spawn_blocking(move || desk.take_over(desk.now(), job.solve()));
        }
    }

    /// Calls the next one whose turn has come; gives its number.
    fn call_next(&self, now: Timestamp) -> Option<u64> {
        // Two statements: the lock must be free again before a waiter is called.
        let ready = self.core().next_ready(now);
        let request = ready?;
        if let Some(call) = self.waiters().remove(&request) {
            // Whoever has gone away meanwhile needs no call.
            let _ = call.send(());
        }
        Some(request)
    }

    /// The solve that is due.
    fn due(&self, now: Timestamp) -> Option<RefreshJob> {
        self.core().refresh(now)
    }

    /// Solved prices come into force.
    fn take_over(&self, now: Timestamp, solved: Solved) {
        self.core().apply(now, solved);
    }

    /// When to look again: at the router's next deadline, and every tick, because that is cheap and forgets nothing.
    fn next(&self) -> Instant {
        let now = self.now();
        let tick = if self.n_waiting() > 0 { TICK_WAITING } else { TICK };
        let deadline = self
            .core()
            .next_deadline()
            .map(|at| Duration::from_nanos(at.0.saturating_sub(now.0)));
        Instant::now() + deadline.map_or(tick, |deadline| deadline.clamp(SHORTEST, tick))
    }

    /// Looks after the router until nobody uses it any more.
    pub(crate) async fn keep(desk: Weak<Self>) {
        loop {
            let Some(strong) = desk.upgrade() else { return };
            strong.look_after();
            let next = strong.next();
            // Holding it while nothing happens would keep a router alive that nobody uses any more: for one tick at most.
            tokio::select! {
                () = sleep_until(next) => {}
                () = strong.changed.notified() => {}
            }
        }
    }
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    desk: &'a Desk,
    request: u64,
    called: oneshot::Receiver<()>,
}

impl Turn<'_> {
    /// Until its turn has come, or its time is over.
    pub(crate) async fn come(mut self) {
        let _ = (&mut self.called).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.desk.n_waiting.fetch_sub(1, Ordering::Relaxed);
        // Still in the list: its client went away before its turn came.
        if self.desk.waiters().remove(&self.request).is_some() {
            let request = self.request;
            self.desk.observe(Event::Abandoned { request });
        }
    }
}

#[cfg(test)]
mod tests;
