//! A token bucket that can be given back to. Libraries that limit rates cannot take back what was reserved and not used.

use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub(super) struct Bucket {
    level: f64,
    full: f64,
    at: Instant,
}

impl Bucket {
    /// A minute's worth, full at first, or as full as the one it replaces.
    pub(super) fn per_minute(limit: u32, before: Option<&Self>, now: Instant) -> Self {
        let full = f64::from(limit);
        Self {
            level: before.map_or(full, |before| before.level.min(full)),
            full,
            at: before.map_or(now, |before| before.at),
        }
    }

    /// Takes so much, or says how long to wait for it.
    pub(super) fn take(&mut self, amount: f64, now: Instant) -> Result<(), Duration> {
        let per_second = self.full / 60.0;
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level = (self.level + passed * per_second).min(self.full);
        self.at = self.at.max(now);
        if self.level >= amount {
            self.level -= amount;
            return Ok(());
        }
        let wait = (amount - self.level) / per_second;
        Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::from_secs(3600)))
    }

    /// Gives back; a negative amount is taken even where there is too little, and has to be waited for later.
    pub(super) fn give(&mut self, amount: f64) {
        self.level = (self.level + amount).min(self.full);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_fills_it_again() {
        let start = Instant::now();
        let mut bucket = Bucket::per_minute(60, None, start);
        assert!(bucket.take(60.0, start).is_ok());
        let wait = bucket.take(2.0, start).unwrap_err();
        assert!((wait.as_secs_f64() - 2.0).abs() < 1e-9);
        assert!(bucket.take(2.0, start + Duration::from_secs(2)).is_ok());
        assert!(bucket.take(61.0, start + Duration::from_secs(600)).is_err());
    }

    #[test]
    fn what_was_used_on_top_is_waited_for_later() {
        let start = Instant::now();
        let mut bucket = Bucket::per_minute(60, None, start);
        assert!(bucket.take(10.0, start).is_ok());
        bucket.give(-80.0);
        assert!(bucket.take(1.0, start + Duration::from_secs(10)).is_err());
        assert!(bucket.take(1.0, start + Duration::from_secs(31)).is_ok());
    }

    #[test]
    fn a_clock_that_goes_back_takes_nothing_away() {
        let start = Instant::now() + Duration::from_secs(100);
        let mut bucket = Bucket::per_minute(60, None, start);
        assert!(bucket.take(1.0, start - Duration::from_secs(50)).is_ok());
        assert!(bucket.take(59.0, start).is_ok());
    }
}
