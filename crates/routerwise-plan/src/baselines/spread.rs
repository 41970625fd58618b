//! How latencies are spread, as weighted values: what is needed for quantiles of a mixture and of requests that ask one model after
//! another, whose latencies add up.

use routerwise_types::profile::{LoadPoint, Profile};
use routerwise_types::workload::Metric;

/// Weighted values in seconds; weights sum to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spread(Vec<(f64, f64)>);

/// Values that a load point's sketch is read at, and that a sum is thinned to.
const N_VALUES: u32 = 100;

impl Spread {
    /// One replica's latencies at a load: those of the two load points around it, in proportion.
    pub(crate) fn at(profile: &Profile, metric: Metric, load: f64) -> Self {
        let points = &profile.points;
        let after = points.partition_point(|point| point.offered.value() < load);
        if after == 0 || after == points.len() {
            return points
                .get(after.min(points.len().saturating_sub(1)))
                .map_or_else(Self::default, |point| of_point(point, metric));
        }
        let (low, high) = (&points[after - 1], &points[after]);
        let span = high.offered.value() - low.offered.value();
        let part = (load - low.offered.value()) / span;
        Self::mix([(1.0 - part, &of_point(low, metric)), (part, &of_point(high, metric))])
    }

    /// One or the other, by chance.
    pub(crate) fn mix<'a>(parts: impl IntoIterator<Item = (f64, &'a Self)>) -> Self {
        let values = parts
            .into_iter()
            .flat_map(|(part, spread)| spread.0.iter().map(move |(value, weight)| (*value, part * weight)));
        Self(values.filter(|(_, weight)| *weight > 0.0).collect())
    }

    /// One after the other, independently.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        let sums = self
            .0
            .iter()
            .flat_map(|(a, weight)| other.0.iter().map(move |(b, part)| (a + b, weight * part)));
        Self(sums.collect()).thinned()
    }

    /// The same in fewer values.
    fn thinned(self) -> Self {
        let sorted = self.sorted();
        let weight = 1.0 / f64::from(N_VALUES);
        let value = |i: u32| sorted.sorted_quantile((f64::from(i) + 0.5) * weight).unwrap_or(0.0);
        Self((0..N_VALUES).map(|i| (value(i), weight)).collect())
    }

    fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| a.0.total_cmp(&b.0));
        self
    }

    fn sorted_quantile(&self, q: f64) -> Option<f64> {
        let wanted = q * self.0.iter().map(|(_, weight)| weight).sum::<f64>();
        let mut sum = 0.0;
        let found = self.0.iter().find(|(_, weight)| {
            sum += weight;
            sum >= wanted - 1e-12
        });
        found.or(self.0.last()).map(|(value, _)| *value)
    }

    /// The value below which the part `q` lies; nothing of nothing.
    pub(crate) fn quantile(self, q: f64) -> Option<f64> {
        self.sorted().sorted_quantile(q)
    }

    /// Part of the sums with another spread, independently, above a limit.
    pub(crate) fn exceedance_with(&self, other: Self, limit: f64) -> f64 {
        let other = other.sorted();
        let mut above = 0.0;
        let mut from: Vec<f64> = other
            .0
            .iter()
            .rev()
            .map(|(_, weight)| {
                above += weight;
                above
            })
            .collect();
        from.reverse();
        from.push(0.0);
        let part = |(value, weight): &(f64, f64)| {
            let at = other.0.partition_point(|(added, _)| value + added <= limit);
            weight * from[at]
        };
        self.0.iter().map(part).sum()
    }

    /// Part above a limit.
    pub(crate) fn exceedance(&self, limit: f64) -> f64 {
        self.0
            .iter()
            .filter(|(value, _)| *value > limit)
            .map(|(_, weight)| weight)
            .sum()
    }
}

fn of_point(point: &LoadPoint, metric: Metric) -> Spread {
    let weight = 1.0 / f64::from(N_VALUES);
    let sketch = &point.stat(metric).sketch;
    let values = (0..N_VALUES).filter_map(|i| sketch.quantile((f64::from(i) + 0.5) * weight));
    Spread(values.map(|value| (value, weight)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_mixtures_have_the_quantiles_of_dice() {
        let die = Spread((1..=6).map(|eyes| (f64::from(eyes), 1.0 / 6.0)).collect());
        let two = die.plus(&die);
        assert!(
            (two.exceedance(6.5) - 21.0 / 36.0).abs() < 0.02,
            "{}",
            two.exceedance(6.5)
        );
        assert_eq!(two.quantile(0.5), Some(7.0));
        assert!((die.exceedance_with(die.clone(), 6.5) - 21.0 / 36.0).abs() < 1e-12);
        let zero = Spread(vec![(0.0, 1.0)]);
        let half = Spread::mix([(0.5, &zero), (0.5, &die)]);
        assert_eq!(half.clone().quantile(0.4), Some(0.0));
        assert!((half.exceedance(3.5) - 0.25).abs() < 1e-12);
    }
}
