//! The gateway's deciding half, as the simulator calls it.

use routerwise_route::RouterCore;
use routerwise_route::core::{RefreshJob, Snapshot, Solved};
use routerwise_route::decision::Decision;
use routerwise_route::event::Event;
use routerwise_route::facts::RequestFacts;
use routerwise_types::Timestamp;

/// What the simulator asks. A [`RouterCore`] answers; so does a gateway's desk with a core inside, which must then decide the same.
pub trait Deciding {
    /// See [`RouterCore::route`].
    fn route(&mut self, now: Timestamp, facts: &RequestFacts<'_>) -> Decision;
    /// See [`RouterCore::observe`].
    fn observe(&mut self, now: Timestamp, event: Event);
    /// See [`RouterCore::refresh`].
    fn refresh(&mut self, now: Timestamp) -> Option<RefreshJob>;
    /// See [`RouterCore::apply`].
    fn apply(&mut self, now: Timestamp, solved: Solved);
    /// See [`RouterCore::next_ready`].
    fn next_ready(&mut self, now: Timestamp) -> Option<u64>;
    /// See [`RouterCore::next_deadline`].
    fn next_deadline(&self) -> Option<Timestamp>;
    /// See [`RouterCore::n_waiting`].
    fn n_waiting(&self) -> usize;
    /// See [`RouterCore::snapshot`].
    fn snapshot(&self, now: Timestamp) -> Snapshot;
}

impl Deciding for RouterCore {
    fn route(&mut self, now: Timestamp, facts: &RequestFacts<'_>) -> Decision {
        self.route(now, facts)
    }

    fn observe(&mut self, now: Timestamp, event: Event) {
        self.observe(now, event);
    }

    fn refresh(&mut self, now: Timestamp) -> Option<RefreshJob> {
        self.refresh(now)
    }

    fn apply(&mut self, now: Timestamp, solved: Solved) {
        self.apply(now, solved);
    }

    fn next_ready(&mut self, now: Timestamp) -> Option<u64> {
        self.next_ready(now)
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.next_deadline()
    }

    fn n_waiting(&self) -> usize {
        self.n_waiting()
    }

    fn snapshot(&self, now: Timestamp) -> Snapshot {
        self.snapshot(now)
    }
}
