//! Latency of one replica as a function of its load: piecewise linear, never falling, ending at capacity.
//!
//! Constant below the first measured load, linear between measured loads, and *undefined* beyond the last one or beyond capacity:
//! nothing is extrapolated. Noise that makes a measured curve fall is removed by isotonic regression (pool adjacent violators,
//! weighted by sample count), and how much that changed is kept.

use routerwise_types::profile::{LoadPoint, Profile};
use routerwise_types::workload::{Metric, Statistic};

/// What of a load point a curve follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// A mean or a quantile, in seconds.
    Statistic(Metric, Statistic),
    /// Share of requests above a deadline in seconds.
    Exceedance(Metric, f64),
}

/// A never falling piecewise-linear function of one replica's load in requests/s.
///
/// ```
/// use routerwise_plan::curve::{LatencyCurve, Sample};
///
/// let measured = [(1.0, 0.080), (3.0, 0.120), (5.0, 0.400)];
/// let samples = measured.map(|(load, value)| Sample { load, value, weight: 2000 });
/// let ttft = LatencyCurve::new(&samples, 4.0).unwrap();
/// assert_eq!(ttft.at(0.5), Some(0.080)); // constant below the first load
/// assert!((ttft.at(2.0).unwrap() - 0.100).abs() < 1e-12); // linear between loads
/// assert_eq!(ttft.at(4.5), None); // nothing beyond capacity
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct LatencyCurve {
    loads: Vec<f64>,
    values: Vec<f64>,
    correction: f64,
}

impl LatencyCurve {
    /// Reads one curve off a profile; nothing when the profile has no usable point.
    #[must_use]
    pub fn from_profile(profile: &Profile, reading: Reading) -> Option<Self> {
        let mut samples = Vec::with_capacity(profile.points.len());
        for point in &profile.points {
            samples.push(Sample {
                load: point.offered.value(),
                value: read(point, reading)?,
                weight: point.n_requests.max(1),
            });
        }
        Self::new(&samples, profile.capacity.value())
    }

    /// From samples in rising order of load; the curve ends at `capacity` or at the last sample, whichever comes first.
    #[must_use]
    pub fn new(samples: &[Sample], capacity: f64) -> Option<Self> {
        let mut loads: Vec<f64> = samples.iter().map(|sample| sample.load).collect();
        let (mut values, correction) = isotonic(samples);
        let last = *loads.last()?;
        if capacity < last {
            let end = interpolate(&loads, &values, capacity);
            let keep = loads.iter().take_while(|load| **load < capacity).count();
            loads.truncate(keep);
            values.truncate(keep);
            loads.push(capacity);
            values.push(end);
        }
        Some(Self {
            loads,
            values,
            correction,
        })
    }

    /// Value at a load, or nothing beyond the curve's end.
    #[must_use]
    pub fn at(&self, load: f64) -> Option<f64> {
        (load <= self.end()).then(|| interpolate(&self.loads, &self.values, load))
    }

    /// Highest load that the curve covers, requests/s.
    #[must_use]
    pub fn end(&self) -> f64 {
        self.loads.last().copied().unwrap_or(0.0)
    }

    /// Largest relative change that isotonic regression made to a sample.
    #[must_use]
    pub fn correction(&self) -> f64 {
        self.correction
    }

    /// Highest load at which the value is still at most `limit`; nothing when it is above it even when idle.
    #[must_use]
    pub fn load_within(&self, limit: f64) -> Option<f64> {
        if self.values.first().is_none_or(|idle| *idle > limit) {
            return None;
        }
        let Some(beyond) = self.values.iter().position(|value| *value > limit) else {
            return Some(self.end());
        };
        let (x0, x1) = (self.loads[beyond - 1], self.loads[beyond]);
        let (y0, y1) = (self.values[beyond - 1], self.values[beyond]);
        Some(x0 + (x1 - x0) * (limit - y0) / (y1 - y0))
    }

    /// Corners of the curve as `(load, value)`.
    pub fn corners(&self) -> impl ExactSizeIterator<Item = (f64, f64)> + '_ {
        self.loads.iter().copied().zip(self.values.iter().copied())
    }
}

/// One measured point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Requests/s.
    pub load: f64,
    /// Seconds, or a share of requests.
    pub value: f64,
    /// Requests measured.
    pub weight: u64,
}

fn read(point: &LoadPoint, reading: Reading) -> Option<f64> {
    match reading {
        Reading::Statistic(metric, Statistic::Mean) => Some(point.stat(metric).mean.value()),
        Reading::Statistic(metric, Statistic::Quantile { q }) => point.stat(metric).sketch.quantile(q),
        Reading::Exceedance(metric, deadline) => point.stat(metric).sketch.exceedance(deadline),
    }
}

fn interpolate(loads: &[f64], values: &[f64], load: f64) -> f64 {
    let after = loads.partition_point(|corner| *corner < load);
    if after == 0 {
        return values[0];
    }
    if after == loads.len() {
        return values[after - 1];
    }
    let (x0, x1) = (loads[after - 1], loads[after]);
    values[after - 1] + (values[after] - values[after - 1]) * (load - x0) / (x1 - x0)
}

/// Weighted pool-adjacent-violators; returns the values and the largest relative change.
#[expect(clippy::cast_precision_loss, reason = "sample counts stay far below 2^53")]
fn isotonic(samples: &[Sample]) -> (Vec<f64>, f64) {
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(samples.len());
    for sample in samples {
        let (mut mean, mut weight, mut count) = (sample.value, sample.weight as f64, 1);
        while let Some(&(before, before_weight, before_count)) = pools.last() {
            if before <= mean {
                break;
            }
            mean = (before * before_weight + mean * weight) / (before_weight + weight);
            weight += before_weight;
            count += before_count;
            pools.pop();
        }
        pools.push((mean, weight, count));
    }
    let values: Vec<f64> = pools
        .iter()
        .flat_map(|&(mean, _, count)| std::iter::repeat_n(mean, count))
        .collect();
    let correction = samples
        .iter()
        .zip(&values)
        .filter(|(sample, _)| sample.value > 0.0)
        .map(|(sample, value)| (value / sample.value - 1.0).abs())
        .fold(0.0, f64::max);
    (values, correction)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn curve(points: &[(f64, f64)], capacity: f64) -> LatencyCurve {
        let samples: Vec<Sample> = points
            .iter()
            .map(|&(load, value)| Sample { load, value, weight: 1 })
            .collect();
        LatencyCurve::new(&samples, capacity).unwrap()
    }

    #[test]
    fn a_curve_is_constant_then_linear_then_ends() {
        let curve = curve(&[(1.0, 2.0), (3.0, 4.0)], 3.0);
        assert_eq!(curve.at(0.0), Some(2.0));
        assert_eq!(curve.at(2.0), Some(3.0));
        assert_eq!(curve.at(3.0), Some(4.0));
        assert_eq!(curve.at(3.01), None);
    }

    #[test]
    fn capacity_cuts_a_curve_off() {
        let curve = curve(&[(1.0, 2.0), (3.0, 4.0), (5.0, 9.0)], 2.0);
        assert!((curve.end() - 2.0).abs() < 1e-12);
        assert_eq!(curve.at(2.0), Some(3.0));
    }

    #[test]
    fn noise_is_pooled_and_reported() {
        let curve = curve(&[(1.0, 1.0), (2.0, 3.0), (3.0, 2.0), (4.0, 5.0)], 4.0);
        assert_eq!(
            curve.corners().map(|(_, y)| y).collect::<Vec<_>>(),
            vec![1.0, 2.5, 2.5, 5.0]
        );
        assert!((curve.correction() - 0.25).abs() < 1e-12);
    }

    #[test]
    fn load_within_a_limit_is_read_off_the_curve() {
        let curve = curve(&[(1.0, 2.0), (3.0, 4.0)], 3.0);
        assert_eq!(curve.load_within(3.0), Some(2.0));
        assert_eq!(curve.load_within(9.0), Some(3.0));
        assert_eq!(curve.load_within(1.0), None);
    }

    proptest! {
        #[test]
        fn a_curve_never_falls(values in prop::collection::vec(0.0f64..10.0, 1..12), probes in prop::collection::vec(0.0f64..12.0, 2)) {
            let points: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, v)| (i as f64 + 1.0, *v)).collect();
            let curve = curve(&points, points.len() as f64);
            let (low, high) = (probes[0].min(probes[1]), probes[0].max(probes[1]));
            if let (Some(a), Some(b)) = (curve.at(low), curve.at(high)) {
                prop_assert!(a <= b + 1e-12);
            }
        }
    }
}
