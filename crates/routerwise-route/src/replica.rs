//! One replica as a router sees it: what is in flight, whether it works, how much of its share it gets.

use routerwise_types::{Seconds, Timestamp};

use crate::event::{Failure, Gauges};
use crate::settings::HealthSettings;

/// Weight of one attempt in the mean of failures.
const FAILURE_WEIGHT: f64 = 0.05;
/// Seconds over which what others send to an engine is averaged for prices: as calm as they are.
const OTHERS: f64 = 10.0;
/// Part of its KV cache above which an engine starts a request only when another one ends, and what its work counts for then.
const FULL: f32 = 0.95;
const FULL_COUNTS: f64 = 2.0;

/// One replica as a router sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    /// Attempts in flight.
    pub outstanding: u32,
    reported: Option<Reported>,
    /// Requests of others on its engine, averaged.
    others_calm: f64,
    slowness: Slowness,
    present: bool,
    healthy: bool,
    breaker: Breaker,
    failures_in_a_row: u32,
    failing: f64,
    times_opened: u32,
    /// Since when it gets more and more of its share; nothing when it has all of it.
    ramping_since: Option<Timestamp>,
}

/// What an engine said about itself.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reported {
    at: Timestamp,
    gauges: Gauges,
    /// Requests that it has and that are not ours.
    others: u32,
}

/// A circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// Requests go through.
    Closed,
    /// None does until then.
    Open {
        /// When one may try.
        until: Timestamp,
    },
    /// One is trying.
    Probing,
}

/// What changed for prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capacity {
    Same,
    Changed,
}

impl Capacity {
    fn of(before: bool, after: bool) -> Self {
        if before == after { Self::Same } else { Self::Changed }
    }
}

impl Replica {
    /// One that the plan has: it gets its whole share from the start.
    pub(crate) fn planned() -> Self {
        Self {
            outstanding: 0,
            reported: None,
            others_calm: 0.0,
            slowness: Slowness::default(),
            present: true,
            healthy: true,
            breaker: Breaker::Closed,
            failures_in_a_row: 0,
            failing: 0.0,
            times_opened: 0,
            ramping_since: None,
        }
    }

    /// One that comes later.
    pub(crate) fn added(now: Timestamp) -> Self {
        Self {
            ramping_since: Some(now),
            ..Self::planned()
        }
    }

    /// One that another router knew: all that it learned, and nothing in flight from here.
    pub(crate) fn inherited(now: Timestamp, old: &Self, as_expected: bool) -> Self {
        Self {
            outstanding: 0,
            slowness: if as_expected { old.slowness } else { Slowness::default() },
            // Whoever is trying tells the other router.
            breaker: match old.breaker {
                Breaker::Probing => Breaker::Open { until: now },
                other => other,
            },
            ..old.clone()
        }
    }

    /// The state of its breaker.
    #[must_use]
    pub fn breaker(&self) -> Breaker {
        self.breaker
    }

    /// Whether the last active health check was good.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.healthy
    }

    /// Whether it was not removed.
    #[must_use]
    pub fn is_present(&self) -> bool {
        self.present
    }

    /// Whether requests may be sent to it now, a single one included.
    #[must_use]
    pub fn is_ready(&self, now: Timestamp) -> bool {
        self.present
            && self.healthy
            && match self.breaker {
                Breaker::Closed => true,
                Breaker::Open { until } => until <= now,
                Breaker::Probing => false,
            }
    }

    /// When an open breaker lets a request through.
    pub(crate) fn opening(&self) -> Option<Timestamp> {
        match self.breaker {
            Breaker::Open { until } if self.present && self.healthy => Some(until),
            _ => None,
        }
    }

    /// Whether it takes part in the capacity: a probe does not.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.present && self.healthy && self.breaker == Breaker::Closed
    }

    /// Part of its share that it gets now, between 0 and 1.
    #[must_use]
    pub fn ramp(&self, now: Timestamp, settings: &HealthSettings) -> f64 {
        let Some(since) = self.ramping_since else { return 1.0 };
        let part = now.since(since).value() / settings.ramp.value().max(1e-9);
        (settings.ramp_from + (1.0 - settings.ramp_from) * part).min(1.0)
    }

    /// Outstanding work relative to what it is meant to get: what balancing compares.
    #[must_use]
    pub fn work(&self, now: Timestamp, settings: &HealthSettings) -> f64 {
        let full = self.gauges(now, settings).is_some_and(|gauges| gauges.kv_used >= FULL);
        let counts = if full { FULL_COUNTS } else { 1.0 };
        let load = f64::from(self.load(now, settings));
        (load + 1.0) * counts * self.slowness() / self.ramp(now, settings)
    }

    /// Requests on its engine: ours, and those that others sent there as far as the engine says so.
    #[must_use]
    pub fn load(&self, now: Timestamp, settings: &HealthSettings) -> u32 {
        self.outstanding.saturating_add(self.others(now, settings))
    }

    /// What its engine said last, unless that was too long ago.
    #[must_use]
    pub fn gauges(&self, now: Timestamp, settings: &HealthSettings) -> Option<Gauges> {
        self.fresh(now, settings).map(|reported| reported.gauges)
    }

    /// Requests on its engine that are not ours; none where the engine says nothing.
    #[must_use]
    pub fn others(&self, now: Timestamp, settings: &HealthSettings) -> u32 {
        self.fresh(now, settings).map_or(0, |reported| reported.others)
    }

    /// The same, averaged.
    pub(crate) fn others_calm(&self, now: Timestamp, settings: &HealthSettings) -> f64 {
        self.fresh(now, settings).map_or(0.0, |_| self.others_calm)
    }

    fn fresh(&self, now: Timestamp, settings: &HealthSettings) -> Option<Reported> {
        self.reported
            .filter(|reported| now.since(reported.at) <= settings.gauges_kept)
    }

    /// Its engine says what it has to do; `own` of that was ours when it was asked.
    pub(crate) fn reported(&mut self, now: Timestamp, gauges: Gauges, own: u32) {
        // Between question and answer our own come and go: what is ours at either end is not taken for that of others.
        let own = self.outstanding.max(own);
        let others = gauges.running.saturating_add(gauges.waiting).saturating_sub(own);
        let passed = self.reported.map(|last| now.since(last.at).value());
        let weight = passed.map_or(1.0, |passed| 1.0 - (-passed / OTHERS).exp());
        self.others_calm += weight * (f64::from(others) - self.others_calm);
        self.reported = Some(Reported {
            at: now,
            gauges,
            others,
        });
    }

    /// Observed over predicted latency: 2 is twice as slow.
    #[must_use]
    pub fn slowness(&self) -> f64 {
        self.slowness.calm.exp()
    }

    /// An answer took so many times as long as predicted.
    pub(crate) fn took(&mut self, now: Timestamp, ratio: f64) {
        self.slowness.learn(now, ratio);
    }

    /// An attempt was sent; says whether it is a probe.
    pub(crate) fn sent(&mut self, now: Timestamp) -> bool {
        self.outstanding += 1;
        let probe = matches!(self.breaker, Breaker::Open { until } if until <= now);
        if probe {
            self.breaker = Breaker::Probing;
        }
        probe
    }

    pub(crate) fn done(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    pub(crate) fn succeeded(&mut self, now: Timestamp, probe: bool) -> Capacity {
        let before = self.is_serving();
        self.failures_in_a_row = 0;
        self.failing *= 1.0 - FAILURE_WEIGHT;
        if probe && self.breaker == Breaker::Probing {
            self.breaker = Breaker::Closed;
            self.failing = 0.0;
            self.ramping_since = Some(now);
        }
        if self.breaker == Breaker::Closed && self.ramping_since.is_none() {
            self.times_opened = 0;
        }
        Capacity::of(before, self.is_serving())
    }

    pub(crate) fn failed(
        &mut self,
        now: Timestamp,
        probe: bool,
        failure: Failure,
        settings: &HealthSettings,
    ) -> Capacity {
        let before = self.is_serving();
        if probe && self.breaker == Breaker::Probing {
            self.open(now, settings);
        } else if failure.is_replicas_fault() {
            self.failures_in_a_row += 1;
            self.failing += FAILURE_WEIGHT * (1.0 - self.failing);
            let broken = self.failures_in_a_row >= settings.failures_in_a_row || self.failing > settings.failing_part;
            if broken && self.breaker == Breaker::Closed {
                self.open(now, settings);
            }
        }
        Capacity::of(before, self.is_serving())
    }

    /// A probe ended without saying anything: the next request may be one.
    pub(crate) fn probe_lost(&mut self, now: Timestamp) {
        if self.breaker == Breaker::Probing {
            self.breaker = Breaker::Open { until: now };
        }
    }

    fn open(&mut self, now: Timestamp, settings: &HealthSettings) {
        let times = 2.0f64.powi(i32::try_from(self.times_opened.min(20)).expect("at most 20"));
        let open = (settings.open_first.value() * times).min(settings.open_most.value());
        self.times_opened += 1;
        self.failures_in_a_row = 0;
        self.breaker = Breaker::Open {
            until: after(now, Seconds::new(open).unwrap_or(settings.open_most)),
        };
    }

    pub(crate) fn checked(&mut self, now: Timestamp, up: bool) -> Capacity {
        let before = self.is_serving();
        if up && !self.healthy {
            self.ramping_since = Some(now);
        }
        self.healthy = up;
        // The request that tries it may take long: one that answers its checks may be tried by others meanwhile.
        if up {
            self.probe_lost(now);
        }
        Capacity::of(before, self.is_serving())
    }

    pub(crate) fn removed(&mut self) -> Capacity {
        let before = self.is_serving();
        self.present = false;
        Capacity::of(before, false)
    }

    pub(crate) fn returned(&mut self, now: Timestamp) -> Capacity {
        let before = self.is_serving();
        *self = Self {
            outstanding: self.outstanding,
            ..Self::added(now)
        };
        Capacity::of(before, true)
    }
}

/// A time some seconds later.
pub(crate) fn after(now: Timestamp, span: Seconds) -> Timestamp {
    Timestamp(now.0.saturating_add(Timestamp::from_seconds(span.value()).0))
}

/// Answers, and seconds, that the quick and the calm mean are taken over at least: noise averages out over a hundred answers, an engine that
/// halves its speed is seen after a dozen. Answers of one moment share their batch and say much the same, so time counts as well.
const QUICK: (f64, f64) = (8.0, 2.0);
const CALM: (f64, f64) = (100.0, 40.0);
/// Standard deviations of the quick mean that it must differ by to be believed, and those that are usual.
const SURPRISE: f64 = 4.0;
const USUAL: f64 = 2.0;
/// One answer counts as at most this many times as slow, or as quick, as predicted.
const SLOWEST: f64 = 16.0;

/// Logarithm of observed over predicted latency.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Slowness {
    at: Timestamp,
    quick: f64,
    calm: f64,
    /// Of one answer.
    variance: f64,
    /// Of the quick mean around the calm one, as it was.
    spread: f64,
}

impl Default for Slowness {
    fn default() -> Self {
        Self {
            at: Timestamp::START,
            quick: 0.0,
            calm: 0.0,
            variance: 0.1,
            spread: 0.0,
        }
    }
}

impl Slowness {
    fn learn(&mut self, now: Timestamp, ratio: f64) {
        let answer = ratio.clamp(1.0 / SLOWEST, SLOWEST).ln();
        let passed = now.since(self.at).value();
        self.at = self.at.max(now);
        let weight = |(answers, seconds): (f64, f64)| f64::min(1.0 / answers, passed / seconds);
        let (quick, calm) = (weight(QUICK), weight(CALM));
        self.variance += ((answer - self.quick).powi(2) - self.variance) / CALM.0;
        self.quick += quick * (answer - self.quick);
        self.calm += calm * (answer - self.calm);
        // Variance of an exponential mean of what is independent: that of one times weight / (2 − weight). What comes together is not.
        let chance = (self.variance * quick / (2.0 - quick)).max(self.spread);
        let apart = (self.quick - self.calm).powi(2);
        let surprise = SURPRISE.powi(2) * chance;
        // What surprises is no measure of what is usual.
        self.spread += calm * (apart.min(USUAL.powi(2) * chance) - self.spread);
        if apart > surprise {
            self.calm = self.quick;
        }
    }
}

#[cfg(test)]
mod tests {
    use routerwise_types::hash::uniform;

    use super::*;
    use crate::policy::mix;

    /// Noise of something by its number, as a logarithm: mean 0, standard deviation 0.2.
    fn noise(nth: u64) -> f64 {
        (uniform(mix(nth + 1)) - 0.5) * 0.2 * 12.0f64.sqrt()
    }

    /// Slowness after so many answers a second for some seconds, of an engine with so much in common among answers of a half second.
    fn worst(per_second: u64, seconds: u64, together: bool) -> f64 {
        let mut slowness = Slowness::default();
        let mut worst = 0.0f64;
        for nth in 0..per_second * seconds {
            let now = nth as f64 / per_second as f64;
            let shared = if together { nth * 2 / per_second } else { nth };
            let ratio = (noise(shared) + noise(1_000_000 + nth)).exp();
            slowness.learn(Timestamp::from_seconds(now), ratio);
            if now > 60.0 {
                worst = worst.max(slowness.calm.abs());
            }
        }
        worst
    }

    #[test]
    fn answers_of_one_batch_are_not_taken_for_a_change() {
        for together in [false, true] {
            for per_second in [2, 20, 200] {
                let worst = worst(per_second, 600, together);
                assert!(worst < 0.12, "{per_second}/s, together {together}: {worst}");
            }
        }
    }

    #[test]
    fn an_engine_that_halves_its_speed_is_seen_within_seconds() {
        for per_second in [2u64, 20, 200] {
            let mut slowness = Slowness::default();
            let mut seen = None;
            for nth in 0..per_second * 200 {
                let now = nth as f64 / per_second as f64;
                let slower = if now < 120.0 { 0.0 } else { 2.0f64.ln() };
                slowness.learn(Timestamp::from_seconds(now), (noise(nth) + slower).exp());
                if now >= 120.0 && slowness.calm > 0.4 {
                    seen = seen.or(Some(now - 120.0));
                }
            }
            let seen = seen.expect("a minute is enough");
            assert!(seen < 4.0 + 10.0 / per_second as f64, "{per_second}/s: after {seen} s");
        }
    }
}
