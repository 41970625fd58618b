//! What is sent when: stages and ramps of an arrival process, or a trace at any speed.
//!
//! A process is drawn at one request per second and its clock is then bent: at time `t` as many requests have come as the
//! integral of the rate says. So every process (Poisson, gamma, constant) can follow every course of the rate.

use routerwise_simulate::arrivals::{Arrival, UnitSchedule};
use routerwise_types::workload::{Arrivals, Lengths};
use routerwise_types::{RequestsPerSecond, Seconds, Timestamp};

/// Everything that is to be sent, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    /// When, and how long question and answer are to be.
    pub arrivals: Vec<Arrival>,
    /// When it is over: never before the last arrival.
    pub end: Timestamp,
}

/// A time in which the rate stays as it is or goes evenly from one to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// Rate at its start.
    pub from: RequestsPerSecond,
    /// Rate at its end.
    pub to: RequestsPerSecond,
    /// How long it lasts.
    pub lasts: Seconds,
}

impl Stage {
    /// One rate for a while.
    #[must_use]
    pub fn steady(rate: RequestsPerSecond, lasts: Seconds) -> Self {
        Self {
            from: rate,
            to: rate,
            lasts,
        }
    }

    /// Requests that come in it on average.
    fn n_requests(&self) -> f64 {
        (self.from.value() + self.to.value()) / 2.0 * self.lasts.value()
    }

    /// Time since its start at which `n` requests have come: `a·t + (b − a)·t² / 2T = n`, solved so that equal rates divide by
    /// no zero.
    fn time_of(&self, n: f64) -> f64 {
        let (a, b, lasts) = (self.from.value(), self.to.value(), self.lasts.value());
        let root = (a * a + 2.0 * (b - a) / lasts * n).max(0.0).sqrt();
        if a + root > 0.0 {
            (2.0 * n / (a + root)).min(lasts)
        } else {
            0.0
        }
    }
}

impl Schedule {
    /// Draws a process that follows the stages, lengths from a mix.
    ///
    /// # Panics
    /// When the mix is empty.
    #[must_use]
    pub fn staged(arrivals: Arrivals, stages: &[Stage], mix: &[Lengths], seed: u64) -> Self {
        let expected: f64 = stages.iter().map(Stage::n_requests).sum();
        let unit = UnitSchedule::draw(arrivals, mix, whole(expected), seed);
        let one = RequestsPerSecond::new(1.0).expect("one is a rate");
        let bent = unit.at_rate(one).map(|arrival| Arrival {
            at: Timestamp::from_seconds(bend(stages, arrival.at.as_seconds())),
            ..arrival
        });
        Self::ending(bent.collect(), stages.iter().map(|stage| stage.lasts.value()).sum())
    }

    /// A unit schedule at a rate: what a profile plays at each load.
    #[must_use]
    pub fn at_rate(unit: &UnitSchedule, rate: RequestsPerSecond) -> Self {
        Self::ending(unit.at_rate(rate).collect(), 0.0)
    }

    /// A trace: seconds since its start with the lengths of each request, in any order. `speed` 2 plays it in half of its time.
    #[must_use]
    pub fn trace(requests: &[(f64, Lengths)], speed: f64) -> Self {
        let first = requests.iter().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
        let mut arrivals: Vec<Arrival> = requests
            .iter()
            .map(|(at, lengths)| Arrival {
                at: Timestamp::from_seconds((at - first) / speed),
                lengths: *lengths,
            })
            .collect();
        arrivals.sort_by_key(|arrival| arrival.at);
        Self::ending(arrivals, 0.0)
    }

    fn ending(arrivals: Vec<Arrival>, end: f64) -> Self {
        let last = arrivals.last().map_or(Timestamp::START, |last| last.at);
        Self {
            end: last.max(Timestamp::from_seconds(end)),
            arrivals,
        }
    }

    /// Leaves out what comes after the first `n` requests.
    #[must_use]
    pub fn first(mut self, n: usize) -> Self {
        if n < self.arrivals.len() {
            self.arrivals.truncate(n);
            self.end = self.arrivals.last().map_or(Timestamp::START, |last| last.at);
        }
        self
    }

    /// Leaves out what comes after a time.
    #[must_use]
    pub fn until(mut self, end: Seconds) -> Self {
        let end = Timestamp::from_seconds(end.value());
        if end < self.end {
            self.arrivals
                .truncate(self.arrivals.partition_point(|arrival| arrival.at < end));
            self.end = end;
        }
        self
    }

    /// Requests per second on average; nothing when it takes no time.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "schedules stay far below 2^53 requests")]
    pub fn mean_rate(&self) -> Option<RequestsPerSecond> {
        let span = Some(self.end.as_seconds()).filter(|span| *span > 0.0)?;
        RequestsPerSecond::new(self.arrivals.len() as f64 / span).ok()
    }
}

/// Spreads requests that came at the very same time evenly over the time until the next one: some traces were recorded in ticks
/// of seconds, and played as they are they would be bursts that nobody sent. Those of the last tick get as long as the tick before.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "traces stay far below 2^53 requests")]
pub fn spread_ticks(mut requests: Vec<(f64, Lengths)>) -> Vec<(f64, Lengths)> {
    requests.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ticks: Vec<(f64, usize)> = requests
        .chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq())
        .map(|tick| (tick[0].0, tick.len()))
        .collect();
    let mut spread = Vec::with_capacity(requests.len());
    let mut width = 0.0;
    for (ix, &(at, n)) in ticks.iter().enumerate() {
        width = ticks.get(ix + 1).map_or(width, |(next, _)| next - at);
        spread.extend((0..n).map(|k| at + width * k as f64 / n as f64));
    }
    requests.iter_mut().zip(spread).for_each(|(request, at)| request.0 = at);
    requests
}

/// Time at which `n` requests have come.
fn bend(stages: &[Stage], n: f64) -> f64 {
    let (mut left, mut start) = (n, 0.0);
    for stage in stages {
        let here = stage.n_requests();
        if left <= here {
            return start + stage.time_of(left);
        }
        left -= here;
        start += stage.lasts.value();
    }
    start
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first")]
fn whole(n: f64) -> usize {
    n.round().clamp(0.0, 1e9) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIX: [Lengths; 1] = [Lengths { input: 8, output: 2 }];

    fn rate(value: f64) -> RequestsPerSecond {
        RequestsPerSecond::new(value).unwrap()
    }

    fn stage(from: f64, to: f64, lasts: f64) -> Stage {
        Stage {
            from: rate(from),
            to: rate(to),
            lasts: Seconds::new(lasts).unwrap(),
        }
    }

    fn n_between(schedule: &Schedule, from: f64, to: f64) -> usize {
        let times = schedule.arrivals.iter().map(|arrival| arrival.at.as_seconds());
        times.filter(|at| from <= *at && *at < to).count()
    }

    #[test]
    fn a_ramp_sends_as_many_as_the_area_under_it() {
        let stages = [stage(10.0, 10.0, 10.0), stage(10.0, 30.0, 10.0), stage(0.0, 0.0, 5.0)];
        let schedule = Schedule::staged(Arrivals::Constant, &stages, &MIX, 1);
        assert_eq!(schedule.arrivals.len(), 300);
        assert!((schedule.end.as_seconds() - 25.0).abs() < 1e-9);
        assert!(n_between(&schedule, 0.0, 10.0).abs_diff(100) <= 1);
        assert!(n_between(&schedule, 10.0, 15.0).abs_diff(75) <= 1);
        assert!(n_between(&schedule, 15.0, 20.1).abs_diff(125) <= 1);
        assert_eq!(n_between(&schedule, 20.1, 99.0), 0);
    }

    #[test]
    fn a_single_stage_is_the_schedule_that_the_simulator_plays() {
        let unit = UnitSchedule::draw(Arrivals::Poisson, &MIX, 200, 9);
        let staged = Schedule::staged(
            Arrivals::Poisson,
            &[Stage::steady(rate(4.0), Seconds::new(50.0).unwrap())],
            &MIX,
            9,
        );
        let same = Schedule::at_rate(&unit, rate(4.0));
        let pairs = staged.arrivals.iter().zip(&same.arrivals);
        assert!(pairs.clone().count() == 200 && pairs.into_iter().all(|(a, b)| a.at.0.abs_diff(b.at.0) < 10));
    }

    #[test]
    fn a_trace_is_played_in_order_and_at_any_speed() {
        let trace = [(5.0, MIX[0]), (3.0, MIX[0]), (7.0, MIX[0])];
        let seconds = |speed| -> Vec<f64> {
            let schedule = Schedule::trace(&trace, speed);
            schedule
                .arrivals
                .iter()
                .map(|arrival| arrival.at.as_seconds())
                .collect()
        };
        assert_eq!(seconds(1.0), [0.0, 2.0, 4.0]);
        assert_eq!(seconds(2.0), [0.0, 1.0, 2.0]);
        let short = Schedule::trace(&trace, 1.0).until(Seconds::new(3.0).unwrap());
        assert_eq!((short.arrivals.len(), short.end), (2, Timestamp::from_seconds(3.0)));
        assert_eq!(Schedule::trace(&trace, 1.0).first(1).end, Timestamp::START);
    }

    #[test]
    fn ticks_are_spread_over_the_time_to_the_next() {
        let at = [0.0, 0.0, 0.0, 3.0, 6.0, 6.0];
        let spread = spread_ticks(at.map(|at| (at, MIX[0])).to_vec());
        let at: Vec<f64> = spread.iter().map(|(at, _)| *at).collect();
        assert_eq!(at, [0.0, 1.0, 2.0, 3.0, 6.0, 7.5]);
    }
}
