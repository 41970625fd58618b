//! How much may be going on at once: requests in flight, requests that wait for a place, and bytes of bodies that are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use routerwise_types::serve::{Limits, Timeouts};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::{Cause, Refusal};

/// The door.
#[derive(Debug)]
pub(crate) struct Door {
    places: Arc<Semaphore>,
    n_places: AtomicUsize,
    waiting: AtomicUsize,
    held: AtomicUsize,
}

impl Door {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits.in_flight)),
            n_places: AtomicUsize::new(limits.in_flight),
            waiting: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        }
    }

    /// Takes over a new number of places. Fewer than are taken: those that are given back next are not given out again.
    pub(crate) fn resize(&self, limits: &Limits) {
        let before = self.n_places.load(Ordering::Relaxed);
        if limits.in_flight >= before {
            self.places.add_permits(limits.in_flight - before);
            self.n_places.store(limits.in_flight, Ordering::Relaxed);
        } else {
            let gone = self.places.forget_permits(before - limits.in_flight);
            self.n_places.store(before - gone, Ordering::Relaxed);
        }
    }

    pub(crate) fn n_waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn n_in_flight(&self) -> usize {
        let places = self.n_places.load(Ordering::Relaxed);
        places.saturating_sub(self.places.available_permits())
    }

    pub(crate) fn n_held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// A place among the requests in flight.
    pub(crate) async fn enter(&self, limits: &Limits, timeouts: &Timeouts) -> Result<OwnedSemaphorePermit, Refusal> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        let full = |what: &'static str| Refusal::new(Cause::Overloaded, what);
        let Some(_waiter) = Counted::add(&self.waiting, 1, limits.queue) else {
            return Err(full("the gateway has as many requests in flight and waiting as it may"));
        };
        match timeout(timeouts.queue, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(full("the gateway is stopping")),
            Err(_) => Err(full("no place among the requests in flight became free in time")),
        }
    }

    /// Room for so many more bytes of a body.
    pub(crate) fn hold<'a>(&'a self, held: &mut Held<'a>, bytes: usize, limits: &Limits) -> Result<(), Refusal> {
        match Counted::add(&self.held, bytes, limits.buffered) {
            Some(more) => {
                held.0.push(more);
                Ok(())
            }
            None => Err(Refusal::new(
                Cause::Overloaded,
                "the gateway holds as many bytes of request bodies as it may",
            )),
        }
    }
}

/// Bytes of one body.
#[derive(Debug, Default)]
pub(crate) struct Held<'a>(Vec<Counted<'a>>);

/// Part of a count, taken off it when dropped.
#[derive(Debug)]
struct Counted<'a> {
    count: &'a AtomicUsize,
    part: usize,
}

impl<'a> Counted<'a> {
    fn add(count: &'a AtomicUsize, part: usize, most: usize) -> Option<Self> {
        let before = count.fetch_add(part, Ordering::Relaxed);
        let counted = Self { count, part };
        // Dropped again where it is too much.
        (before.saturating_add(part) <= most).then_some(counted)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(self.part, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn small() -> (Limits, Timeouts) {
        let limits = Limits {
            in_flight: 1,
            queue: 1,
            buffered: 10,
            ..Limits::default()
        };
        let timeouts = Timeouts {
            queue: Duration::from_millis(20),
            ..Timeouts::default()
        };
        (limits, timeouts)
    }

    #[tokio::test]
    async fn who_finds_no_place_waits_a_while_and_then_is_told() {
        let (limits, timeouts) = small();
        let door = Door::new(&limits);
        let first = door.enter(&limits, &timeouts).await.unwrap();
        let refusal = door.enter(&limits, &timeouts).await.unwrap_err();
        assert_eq!(refusal.cause, Cause::Overloaded);
        assert_eq!((door.n_waiting(), door.n_in_flight()), (0, 1));
        drop(first);
        assert!(door.enter(&limits, &timeouts).await.is_ok());
    }

    #[tokio::test]
    async fn the_queue_has_an_end() {
        let (limits, timeouts) = small();
        let patient = Timeouts {
            queue: Duration::from_secs(60),
            ..timeouts
        };
        let door = Arc::new(Door::new(&limits));
        let _first = door.enter(&limits, &patient).await.unwrap();
        let second = door.enter(&limits, &patient);
        tokio::pin!(second);
        assert!(timeout(Duration::from_millis(1), second.as_mut()).await.is_err());
        assert!(door.enter(&limits, &patient).await.is_err());
    }

    #[tokio::test]
    async fn a_new_size_counts_at_once() {
        let (limits, timeouts) = small();
        let door = Door::new(&limits);
        let _first = door.enter(&limits, &timeouts).await.unwrap();
        let two = Limits { in_flight: 2, ..limits };
        door.resize(&two);
        assert!(door.enter(&two, &timeouts).await.is_ok());
    }

    #[test]
    fn bytes_are_given_back() {
        let (limits, _) = small();
        let door = Door::new(&limits);
        let mut held = Held::default();
        door.hold(&mut held, 8, &limits).unwrap();
        assert!(door.hold(&mut Held::default(), 3, &limits).is_err());
        assert_eq!(door.n_held(), 8);
        drop(held);
        assert_eq!(door.n_held(), 0);
    }
}
