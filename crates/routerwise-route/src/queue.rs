//! Requests that wait: bounded, higher priorities first, within one by deadline.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use routerwise_types::Timestamp;

use crate::facts::Priority;

/// Order of service: priority, then who gives up first, then who came first.
type Place = (Reverse<Priority>, Timestamp, Timestamp, u64);

/// Requests that wait.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    most: usize,
    places: BTreeSet<Place>,
    /// By when they give up.
    expiries: BTreeSet<(Timestamp, u64)>,
}

impl Queue {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            places: BTreeSet::new(),
            expiries: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Puts a request in; says whether there was room.
    pub(crate) fn push(&mut self, priority: Priority, until: Timestamp, arrived: Timestamp, request: u64) -> bool {
        if self.places.len() >= self.most {
            return false;
        }
        self.places.insert((Reverse(priority), until, arrived, request));
        self.expiries.insert((until, request));
        true
    }

    /// Takes out who has given up, or, when there is room, whose turn it is.
    pub(crate) fn pop(&mut self, now: Timestamp, room: bool) -> Option<u64> {
        if let Some(&(until, request)) = self.expiries.first().filter(|(until, _)| *until <= now) {
            self.expiries.remove(&(until, request));
            self.places.retain(|place| place.3 != request);
            return Some(request);
        }
        if !room {
            return None;
        }
        let (_, until, _, request) = self.places.pop_first()?;
        self.expiries.remove(&(until, request));
        Some(request)
    }

    pub(crate) fn remove(&mut self, request: u64) {
        self.places.retain(|place| place.3 != request);
        self.expiries.retain(|(_, other)| *other != request);
    }

    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(until, _)| *until)
    }
}
