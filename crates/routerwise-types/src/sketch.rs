//! A mergeable sketch of a latency distribution, small enough to ship with every load point.
//!
//! Values are counted in buckets whose bounds grow by a constant factor, so every quantile is known to a relative error
//! of at most [`Sketch::RELATIVE_ERROR`] (the idea of DDSketch, Masson, Rim, Lee, VLDB 2019). Unlike the published crates it
//! answers *exceedance* (the share of requests above a deadline) and serialises to short, sorted pairs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Counts of values in geometric buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Sketch {
    /// `(bucket, count)`, rising by bucket. Bucket `b` holds values in `(γ^(b−1), γ^b]` seconds with `γ = 1.02 / 0.98`.
    buckets: Vec<(i32, u64)>,
}

impl Sketch {
    /// Largest relative error of a quantile.
    pub const RELATIVE_ERROR: f64 = 0.02;
    const GAMMA: f64 = (1.0 + Self::RELATIVE_ERROR) / (1.0 - Self::RELATIVE_ERROR);
    /// Values below a nanosecond count as one.
    const SMALLEST: f64 = 1e-9;

    /// Sketches values in seconds; negative and non-finite ones are a bug of the caller.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut counts = std::collections::BTreeMap::new();
        for value in values {
            debug_assert!(
                value.is_finite() && value >= 0.0,
                "latencies are finite and not negative, found {value}"
            );
            *counts.entry(Self::bucket(value)).or_insert(0) += 1;
        }
        Self {
            buckets: counts.into_iter().collect(),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "ln of an f64 over ln(1.04) is far inside i32"
    )]
    fn bucket(value: f64) -> i32 {
        (value.max(Self::SMALLEST).ln() / Self::GAMMA.ln()).ceil() as i32
    }

    /// Middle of a bucket: within 2 % of every value in it.
    fn representative(bucket: i32) -> f64 {
        Self::GAMMA.powi(bucket) * 2.0 / (1.0 + Self::GAMMA)
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, n)| n).sum()
    }

    /// The `q`-quantile in seconds (nearest rank), or nothing when no value was counted.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank between 1 and the count"
    )]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.count();
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        self.buckets.iter().find_map(|&(bucket, n)| {
            seen += n;
            (seen >= rank).then(|| Self::representative(bucket))
        })
    }

    /// The share of values above `deadline` seconds (`F̄`); the bucket that holds the deadline is split linearly.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn exceedance(&self, deadline: f64) -> Option<f64> {
        let total = self.count();
        if total == 0 {
            return None;
        }
        let mut above = 0.0;
        for &(bucket, n) in &self.buckets {
            let (low, high) = (Self::GAMMA.powi(bucket - 1), Self::GAMMA.powi(bucket));
            above += n as f64 * ((high - deadline) / (high - low)).clamp(0.0, 1.0);
        }
        Some(above / total as f64)
    }

    /// Counts one more value, as [`Sketch::of`] does.
    pub fn add(&mut self, value: f64) {
        debug_assert!(value.is_finite() && value >= 0.0, "a latency, found {value}");
        let bucket = Self::bucket(value);
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(ix) => self.buckets[ix].1 += 1,
            Err(ix) => self.buckets.insert(ix, (bucket, 1)),
        }
    }

    /// Adds another sketch's counts.
    pub fn merge(&mut self, other: &Self) {
        let mut counts: std::collections::BTreeMap<i32, u64> = self.buckets.iter().copied().collect();
        for &(bucket, n) in &other.buckets {
            *counts.entry(bucket).or_insert(0) += n;
        }
        self.buckets = counts.into_iter().collect();
    }

    /// Whether buckets rise strictly and no count is zero: what a file must satisfy.
    #[must_use]
    pub fn is_well_formed(&self) -> bool {
        self.buckets.windows(2).all(|pair| pair[0].0 < pair[1].0) && self.buckets.iter().all(|&(_, n)| n > 0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_quantile_is_within_two_percent(mut values in prop::collection::vec(1e-6f64..1e4, 1..300), q in 0.0f64..1.0) {
            let sketch = Sketch::of(values.iter().copied());
            values.sort_by(f64::total_cmp);
            let below = values.iter().enumerate().take_while(|(ix, _)| ((*ix as f64) + 1.0) < q * values.len() as f64).count();
            let exact = values[below];
            let found = sketch.quantile(q).unwrap();
            prop_assert!((found / exact - 1.0).abs() <= Sketch::RELATIVE_ERROR + 1e-9, "{found} for {exact}");
        }

        #[test]
        fn exceedance_is_exact_outside_the_deadlines_bucket(values in prop::collection::vec(1e-3f64..10.0, 1..300), deadline in 1e-3f64..10.0) {
            let sketch = Sketch::of(values.iter().copied());
            let share = |limit: f64| values.iter().filter(|v| **v > limit).count() as f64 / values.len() as f64;
            let found = sketch.exceedance(deadline).unwrap();
            prop_assert!(share(deadline * 1.05) - 1e-9 <= found && found <= share(deadline / 1.05) + 1e-9);
        }
    }

    #[test]
    fn merging_is_counting_together() {
        let mut left = Sketch::of([0.1, 0.2]);
        left.merge(&Sketch::of([0.2, 0.4]));
        assert_eq!(left, Sketch::of([0.1, 0.2, 0.2, 0.4]));
        let mut one_by_one = Sketch::default();
        for value in [0.4, 0.2, 0.1, 0.2] {
            one_by_one.add(value);
        }
        assert_eq!(left, one_by_one);
        assert!(left.is_well_formed());
    }
}
