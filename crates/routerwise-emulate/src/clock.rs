//! The engine's time on the clock of this machine.

use std::time::{Duration, Instant};

use routerwise_types::Timestamp;

/// Maps the clock to the engine's time and back. Never a sum of waits: every deadline is taken from the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    since: Instant,
    at_since: Timestamp,
    speed: f64,
}

impl Clock {
    /// A clock that starts now; `speed` seconds of the engine pass in one.
    pub(crate) fn new(since: Instant, speed: f64) -> Self {
        Self {
            since,
            at_since: Timestamp::START,
            speed,
        }
    }

    /// The engine's time at a point of the clock.
    pub(crate) fn to_engine(self, at: Instant) -> Timestamp {
        let gone = at.saturating_duration_since(self.since).as_secs_f64() * self.speed;
        Timestamp(self.at_since.0 + Timestamp::from_seconds(gone).0)
    }

    /// When the clock will show a time of the engine.
    pub(crate) fn to_wall(self, at: Timestamp) -> Instant {
        let to_go = at.since(self.at_since).value() / self.speed;
        self.since + Duration::try_from_secs_f64(to_go).unwrap_or(Duration::from_secs(86_400 * 365))
    }

    /// From `now` on time passes at another speed.
    pub(crate) fn set_speed(&mut self, now: Instant, speed: f64) {
        self.at_since = self.to_engine(now);
        self.since = now;
        self.speed = speed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_time_goes_on_from_where_it_was_when_the_speed_changes() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut clock = Clock::new(start, 10.0);
        assert_eq!(clock.to_engine(start + second), Timestamp::from_seconds(10.0));
        clock.set_speed(start + second, 0.5);
        assert_eq!(clock.to_engine(start + 3 * second), Timestamp::from_seconds(11.0));
        assert_eq!(clock.to_wall(Timestamp::from_seconds(11.0)), start + 3 * second);
    }
}
