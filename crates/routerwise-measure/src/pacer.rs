//! Wakes the player when requests are due.
//!
//! The timers of the runtime are good to a millisecond, which is too coarse beside latencies of some. A thread that only sleeps is
//! good to about a tenth of that, and one wake-up serves all that is due by then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use routerwise_types::Timestamp;
use tokio::sync::Notify;

#[derive(Debug, Default)]
struct Shared {
    /// Requests whose time has come.
    n_due: AtomicUsize,
    stopped: AtomicBool,
    changed: Notify,
}

/// A thread that sleeps from one arrival to the next; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Pacer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Starts to count, from `start` on, the times that have come; they rise.
    pub(crate) fn start(start: Instant, times: Vec<Timestamp>) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("pacer".into());
        let thread = thread.spawn(move || pace(&theirs, start, &times))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// How many times have come, once they are more than `known`.
    pub(crate) async fn more_than(&self, known: usize) -> usize {
        loop {
            let n_due = self.shared.n_due.load(Ordering::Acquire);
            if n_due > known {
                return n_due;
            }
            self.shared.changed.notified().await;
        }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has nothing to tell, and it cannot panic.
            let _ = thread.join();
        }
    }
}

fn pace(shared: &Shared, start: Instant, times: &[Timestamp]) {
    let mut n_due = 0;
    while n_due < times.len() && !shared.stopped.load(Ordering::Acquire) {
        let elapsed = start.elapsed();
        let come = times[n_due..].partition_point(|at| Duration::from_nanos(at.0) <= elapsed);
        if come > 0 {
            n_due += come;
            shared.n_due.store(n_due, Ordering::Release);
            shared.changed.notify_one();
        } else {
            std::thread::park_timeout(Duration::from_nanos(times[n_due].0).saturating_sub(elapsed));
        }
    }
}
