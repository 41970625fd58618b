//! What happens while a plan is played: traffic that changes, replicas that die, slow down and come back.

use routerwise_types::Timestamp;
use routerwise_types::workload::Lengths;

use crate::arrivals::{Arrival, UnitSchedule};

/// What happens while a plan is played.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Requests/s from a time in seconds on; the first begins at 0. Between two of them the rate is that of the first.
    pub rates: Vec<(f64, f64)>,
    /// What happens to replicas, in order of time.
    pub incidents: Vec<Incident>,
    /// When it ends, seconds.
    pub end: f64,
    /// Seconds from when prices are due to when they are in force: 0 unless it is to be seen what late feedback does.
    pub apply_after: f64,
    /// Part of the requests that comes by each route of the plan; empty where it is as planned.
    pub mix: Vec<f64>,
}

/// Something that happens to a replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incident {
    /// When, seconds.
    pub at: f64,
    /// Which model's.
    pub model: usize,
    /// Which of its replicas.
    pub replica: usize,
    /// What.
    pub what: What,
}

/// What happens to a replica.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Its process is gone: what it was doing is lost, and nobody can connect.
    Dies,
    /// A fresh process is there.
    Returns,
    /// Everything takes so many times as long as when it was started.
    Slows(f64),
}

impl Script {
    /// One rate, and nothing happens.
    #[must_use]
    pub fn steady(rate: f64, end: f64) -> Self {
        Self {
            rates: vec![(0.0, rate)],
            incidents: Vec::new(),
            end,
            apply_after: 0.0,
            mix: Vec::new(),
        }
    }

    /// A rate that rises or falls evenly, in steps of a second.
    #[must_use]
    pub fn drift(from: f64, to: f64, end: f64) -> Self {
        let mut rates = Vec::new();
        let mut at = 0.0;
        while at < end {
            rates.push((at, from + (to - from) * at / end));
            at += 1.0;
        }
        Self {
            rates,
            incidents: Vec::new(),
            end,
            apply_after: 0.0,
            mix: Vec::new(),
        }
    }

    /// Requests that it takes.
    #[must_use]
    pub fn n_requests(&self) -> f64 {
        let ends = self.rates.iter().skip(1).map(|(at, _)| *at).chain([self.end]);
        self.rates
            .iter()
            .zip(ends)
            .map(|((from, rate), to)| rate * (to - from).max(0.0))
            .sum()
    }

    /// A unit schedule stretched so that the rate is this at every time.
    pub(super) fn arrivals(&self, times: &[f64], lengths: &[Lengths]) -> Vec<Arrival> {
        let mut segment = 0;
        let (mut now, mut done) = (0.0, 0.0);
        let mut arrivals = Vec::with_capacity(times.len());
        for (time, lengths) in times.iter().zip(lengths) {
            loop {
                let (_, rate) = self.rates[segment];
                let until = self.rates.get(segment + 1).map_or(f64::INFINITY, |(at, _)| *at);
                let at = now + (time - done) / rate;
                if at <= until {
                    (now, done) = (at, *time);
                    break;
                }
                done += (until - now) * rate;
                now = until;
                segment += 1;
            }
            if now > self.end {
                break;
            }
            arrivals.push(Arrival {
                at: Timestamp::from_seconds(now),
                lengths: *lengths,
            });
        }
        arrivals
    }
}

/// The arrivals of a script.
pub(super) fn arrivals(script: &Script, schedule: &UnitSchedule) -> Vec<Arrival> {
    script.arrivals(schedule.unit_times(), schedule.lengths())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_follow_the_rate() {
        let script = Script {
            rates: vec![(0.0, 10.0), (100.0, 30.0)],
            incidents: Vec::new(),
            end: 200.0,
            apply_after: 0.0,
            mix: Vec::new(),
        };
        assert!((script.n_requests() - 4_000.0).abs() < 1e-9);
        let times: Vec<f64> = (0..5_000).map(f64::from).collect();
        let lengths = vec![Lengths { input: 1, output: 1 }; 5_000];
        let arrivals = script.arrivals(&times, &lengths);
        let before = arrivals
            .iter()
            .filter(|arrival| arrival.at < Timestamp::from_seconds(100.0))
            .count();
        assert_eq!((arrivals.len(), before), (4_001, 1_000));
    }
}
