//! The live arrival rate: smooth while it stays the same, quick when it does not.

use routerwise_types::Timestamp;

/// Time constants of the quick and the calm mean, seconds.
const QUICK: f64 = 2.0;
const CALM: f64 = 40.0;
/// Standard deviations of a Poisson stream's quick mean that the two may differ by before the quick one is believed. At 4 one in
/// ten thousand looks at a steady stream is wrong, and a doubled rate of 15 requests/s is seen within a second.
const SURPRISE: f64 = 4.0;

/// An exponentially fading count of arrivals.
///
/// The mean over a time constant `T` counts about `2·λ·T` arrivals, so its standard deviation on a Poisson stream is `√(λ / 2T)`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rate {
    at: Timestamp,
    quick: f64,
    calm: f64,
}

impl Rate {
    /// Believes in this rate until it sees another.
    pub(crate) fn expecting(rate: f64, now: Timestamp) -> Self {
        Self {
            at: now,
            quick: rate,
            calm: rate,
        }
    }

    fn fade(&mut self, now: Timestamp) {
        let passed = now.since(self.at).value();
        if passed > 0.0 {
            self.quick *= (-passed / QUICK).exp();
            self.calm *= (-passed / CALM).exp();
            self.at = now;
        }
    }

    /// One arrival.
    pub(crate) fn count(&mut self, now: Timestamp) {
        self.fade(now);
        self.quick += 1.0 / QUICK;
        self.calm += 1.0 / CALM;
    }

    /// Requests/s now. Where the quick mean cannot be chance, the calm one starts again from it.
    pub(crate) fn settle(&mut self, now: Timestamp) -> f64 {
        self.fade(now);
        let deviation = (self.calm.max(1.0 / CALM) / (2.0 * QUICK)).sqrt();
        if (self.quick - self.calm).abs() > SURPRISE * deviation {
            self.calm = self.quick;
        }
        self.calm
    }

    /// The last settled rate.
    pub(crate) fn current(&self) -> f64 {
        self.calm
    }
}

#[cfg(test)]
mod tests {
    use routerwise_types::hash::{mix, uniform};

    use super::*;

    /// Plays a Poisson stream from `start` to `end` and settles every second; gives the rates found.
    fn play(rate: &mut Rate, per_second: f64, start: f64, end: f64) -> Vec<f64> {
        let (mut now, mut found, mut n) = (start, Vec::new(), 0u64);
        let mut next_look = start + 1.0;
        while now < end {
            n += 1;
            now -= (1.0 - uniform(mix(n ^ start.to_bits()))).ln() / per_second;
            while next_look < now.min(end) {
                found.push(rate.settle(Timestamp::from_seconds(next_look)));
                next_look += 1.0;
            }
            rate.count(Timestamp::from_seconds(now));
        }
        found
    }

    #[test]
    fn a_steady_rate_is_found_to_a_few_per_cent() {
        let mut rate = Rate::expecting(15.0, Timestamp::START);
        let found = play(&mut rate, 15.0, 0.0, 300.0);
        let mean = found.iter().sum::<f64>() / found.len() as f64;
        let worst = found.iter().map(|rate| (rate / 15.0 - 1.0).abs()).fold(0.0, f64::max);
        assert!((mean / 15.0 - 1.0).abs() < 0.02 && worst < 0.2, "{mean} {worst}");
    }

    #[test]
    fn a_doubled_rate_is_believed_within_seconds_and_a_halved_one_too() {
        let mut rate = Rate::expecting(15.0, Timestamp::START);
        play(&mut rate, 15.0, 0.0, 60.0);
        let up = play(&mut rate, 30.0, 60.0, 120.0);
        assert!(up[4] > 24.0, "{:?}", &up[..8]);
        let down = play(&mut rate, 15.0, 120.0, 180.0);
        assert!(down[7] < 20.0, "{:?}", &down[..10]);
    }

    #[test]
    fn silence_is_a_rate_of_nothing() {
        let mut rate = Rate::expecting(15.0, Timestamp::START);
        assert!(rate.settle(Timestamp::from_seconds(120.0)) < 1.0);
    }
}
