//! Whether two profiles of one configuration differ by more than chance.
//!
//! Means are compared at every load of either profile that both cover, the other curve read between its neighbours. A
//! difference counts when it exceeds its interval, which holds for all comparisons together: with `m` of them each has the level
//! `1 − 5 %/m` (Bonferroni), by Student's t with the 38 degrees of freedom that two means of 20 batches have. What linear
//! interpolation may be off by is added to the interval, so that a curve is not told apart from itself by where it was measured.

use routerwise_types::profile::{Evidence, LoadPoint, Profile};
use routerwise_types::units::RequestsPerSecond;
use routerwise_types::workload::Metric;

/// Chance that profiles of the same engine are told apart.
const LEVEL: f64 = 0.05;
/// 97.5 % quantile of Student's t with 19 degrees of freedom: what turns an interval of 20 batches into a standard error.
const STUDENT_19: f64 = 2.093;
const DEGREES: f64 = 38.0;
const METRICS: [Metric; 3] = [Metric::Ttft, Metric::Tpot, Metric::E2e];
/// How well a capacity is known where a profile does not say: the loads of the simulated sweep lie about so far apart.
const USUAL_KNEE: f64 = 0.05;

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// The load; the capacity has none.
    pub load: Option<RequestsPerSecond>,
    /// The latency; nothing for the capacity.
    pub metric: Option<Metric>,
    /// In the first profile: seconds, or requests/s.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// Half width of the interval of their difference, for all comparisons together.
    pub interval: f64,
}

impl Compared {
    /// Whether the difference is more than chance, and more than `tolerance` of the first value.
    #[must_use]
    pub fn differs(&self, tolerance: f64) -> bool {
        (self.after - self.before).abs() > self.interval.max(tolerance * self.before)
    }
}

/// Compares two profiles of one configuration. `n_pairs` profiles are compared in all.
#[must_use]
pub fn compare(before: &Profile, after: &Profile, n_pairs: usize) -> Vec<Compared> {
    let end = before.capacity.value().min(after.capacity.value());
    let start = first(before).max(first(after));
    let mut loads: Vec<f64> = before
        .points
        .iter()
        .chain(&after.points)
        .map(|point| point.offered.value())
        .filter(|load| start <= *load && *load <= end)
        .collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup_by(|a, b| (*a - *b).abs() < 1e-9 * *b);
    #[expect(clippy::cast_precision_loss, reason = "some hundred comparisons")]
    let n = ((loads.len() * METRICS.len() + 1) * n_pairs.max(1)) as f64;
    let times = student(1.0 - LEVEL / (2.0 * n), DEGREES);
    let mut compared = vec![capacities(before, after)];
    for load in loads {
        for metric in METRICS {
            let (a, b) = (read(before, metric, load), read(after, metric, load));
            compared.push(Compared {
                load: RequestsPerSecond::new(load).ok(),
                metric: Some(metric),
                before: a.mean,
                after: b.mean,
                interval: times * a.error.hypot(b.error) + a.interpolation + b.interpolation,
            });
        }
    }
    compared
}

fn first(profile: &Profile) -> f64 {
    profile
        .points
        .first()
        .map_or(f64::INFINITY, |point| point.offered.value())
}

/// The capacity lies between the largest load that was sustained and the smallest that was not.
fn capacities(before: &Profile, after: &Profile) -> Compared {
    let known_to = |profile: &Profile| {
        let capacity = profile.capacity.value();
        match profile.evidence.as_deref() {
            Some(Evidence::Measured(measured)) => measured
                .not_sustained
                .map_or(USUAL_KNEE * capacity, |above| above.value() - capacity),
            _ => USUAL_KNEE * capacity,
        }
    };
    Compared {
        load: None,
        metric: None,
        before: before.capacity.value(),
        after: after.capacity.value(),
        // The knee itself scatters by about as much as it is searched to.
        interval: 2.0 * (known_to(before) + known_to(after)),
    }
}

/// A curve at a load.
struct Reading {
    mean: f64,
    /// Standard error.
    error: f64,
    interpolation: f64,
}

fn read(profile: &Profile, metric: Metric, load: f64) -> Reading {
    let points = &profile.points;
    let x = |ix: usize| points[ix].offered.value();
    let y = |ix: usize| points[ix].stat(metric).mean.value();
    let error = |point: &LoadPoint| point.stat(metric).ci95.value() / STUDENT_19;
    let right = points.partition_point(|point| point.offered.value() < load * (1.0 - 1e-9));
    let on_it = right < points.len() && (x(right) - load).abs() <= 1e-9 * load;
    if right == 0 || right == points.len() || on_it {
        let ix = right.min(points.len() - 1);
        return Reading {
            mean: y(ix),
            error: error(&points[ix]),
            interpolation: 0.0,
        };
    }
    let left = right - 1;
    let t = (load - x(left)) / (x(right) - x(left));
    Reading {
        mean: y(left) + t * (y(right) - y(left)),
        error: ((1.0 - t) * error(&points[left])).hypot(t * error(&points[right])),
        // A curve that never falls stays between its ends; a convex one below the straight line between them.
        interpolation: (y(right) - y(left)).abs() * t.min(1.0 - t),
    }
}

/// Quantile of Student's t: the normal quantile with Cornish and Fisher's correction, exact to 0.1 % from ten degrees on.
fn student(p: f64, degrees: f64) -> f64 {
    let z = normal(p);
    let (z3, z5) = (z.powi(3), z.powi(5));
    let first = (z3 + z) / (4.0 * degrees);
    let second = (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * degrees * degrees);
    z + first + second
}

/// Quantile of the normal distribution above one half, to 4.5e-4 (Abramowitz and Stegun 26.2.23).
fn normal(p: f64) -> f64 {
    let t = (-2.0 * (1.0 - p).ln()).sqrt();
    let above = 2.515_517 + t * (0.802_853 + t * 0.010_328);
    let below = 1.0 + t * (1.432_788 + t * (0.189_269 + t * 0.001_308));
    t - above / below
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, degrees, wanted) in [
            (0.975, 19.0, 2.093),
            (0.975, 38.0, 2.024),
            (0.999, 38.0, 3.319),
            (0.9995, 38.0, 3.566),
        ] {
            let found = student(p, degrees);
            assert!((found / wanted - 1.0).abs() < 0.004, "{found} {wanted}");
        }
    }
}
