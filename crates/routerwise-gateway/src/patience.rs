//! Waiting with an end, also in a process that was stopped for a while (a debugger, a frozen container, a machine that was moved).
//!
//! When it goes on, every limit that passed meanwhile strikes at once, while what came in time waits in the sockets, unread. So whoever
//! wakes far too late looks once more.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

/// Nobody wakes this late in a process that runs.
pub(crate) const LATE: Duration = Duration::from_millis(50);
/// How long others may take to read what came meanwhile.
pub(crate) const AGAIN: Duration = Duration::from_millis(100);

/// The time is over.
#[derive(Debug)]
pub(crate) struct Over;

/// Waits for something until then.
pub(crate) async fn until<T>(at: Instant, something: impl Future<Output = T>) -> Result<T, Over> {
    let mut something = pin!(something);
    if let Ok(done) = timeout_at(at, something.as_mut()).await {
        return Ok(done);
    }
    if Instant::now() < at + LATE {
        return Err(Over);
    }
    timeout(AGAIN, something).await.map_err(|_| Over)
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn a_limit_is_a_limit() {
        assert!(until(Instant::now() + AGAIN, pending::<()>()).await.is_err());
    }

    #[tokio::test]
    async fn who_wakes_too_late_gets_what_came_meanwhile() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let waiting = tokio::spawn(until(Instant::now() + LATE, told));
        tokio::task::yield_now().await;
        // Nothing else runs on this thread: as if the process was stopped.
        std::thread::sleep(3 * LATE);
        tokio::task::yield_now().await;
        tell.send(1).expect("somebody waits");
        assert_eq!(waiting.await.expect("no panic").expect("in time"), Ok(1));
    }
}
