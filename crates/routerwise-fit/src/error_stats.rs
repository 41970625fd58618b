//! How far predictions lie from measurements.

use std::collections::BTreeMap;

use crate::held_out::Part;

/// Relative errors `predicted / measured − 1` of one group of measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Errors {
    /// How many measurements.
    pub n: usize,
    /// Median of the absolute relative error.
    pub median: f64,
    /// 95th percentile of the absolute relative error.
    pub p95: f64,
    /// Median of the signed relative error: above 0 the model is too slow.
    pub bias: f64,
}

impl Errors {
    /// Statistics of signed relative errors; `None` when there are none.
    #[must_use]
    pub fn of(signed: &[f64]) -> Option<Self> {
        let mut absolute: Vec<f64> = signed.iter().map(|error| error.abs()).collect();
        let mut signed = signed.to_vec();
        absolute.sort_by(f64::total_cmp);
        signed.sort_by(f64::total_cmp);
        (!signed.is_empty()).then(|| Self {
            n: signed.len(),
            median: quantile(&absolute, 0.5),
            p95: quantile(&absolute, 0.95),
            bias: quantile(&signed, 0.5),
        })
    }
}

/// Linear interpolation between order statistics.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index into a slice"
)]
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q * (sorted.len() - 1) as f64;
    let low = position.floor() as usize;
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (position - position.floor()) * (sorted[high] - sorted[low])
}

/// One predicted and measured number with what it belongs to.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Which measured quantity, such as `operators: iteration` or `blis_vllm: mean TTFT`.
    pub set: String,
    /// GPU type.
    pub gpu: String,
    /// Model, or what stands in for it (`-` for links).
    pub model: String,
    /// Tensor-parallel degree.
    pub tensor_parallel: u32,
    /// Whether the constants may have followed it.
    pub part: Part,
    /// What the model says.
    pub predicted: f64,
    /// What was measured, in the same unit.
    pub measured: f64,
}

impl Comparison {
    /// `predicted / measured − 1`.
    #[must_use]
    pub fn relative_error(&self) -> f64 {
        self.predicted / self.measured - 1.0
    }
}

/// Errors per key and part, in the order of the keys; comparisons whose key is `None` are left out.
pub fn by_key<K: Ord>(
    comparisons: &[Comparison],
    key: impl Fn(&Comparison) -> Option<K>,
) -> BTreeMap<K, BTreeMap<Part, Errors>> {
    let mut groups: BTreeMap<K, BTreeMap<Part, Vec<f64>>> = BTreeMap::new();
    for comparison in comparisons {
        if let Some(key) = key(comparison) {
            let parts = groups.entry(key).or_default();
            parts
                .entry(comparison.part)
                .or_default()
                .push(comparison.relative_error());
        }
    }
    let errors = |parts: BTreeMap<Part, Vec<f64>>| -> BTreeMap<Part, Errors> {
        let summed = parts
            .into_iter()
            .filter_map(|(part, signed)| Some((part, Errors::of(&signed)?)));
        summed.collect()
    };
    groups.into_iter().map(|(key, parts)| (key, errors(parts))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_p95_and_bias_are_those_of_the_sample() {
        let errors = Errors::of(&[0.1, -0.3, 0.2]).unwrap();
        assert_eq!(errors.n, 3);
        assert!((errors.median - 0.2).abs() < 1e-12 && (errors.bias - 0.1).abs() < 1e-12);
        assert!((errors.p95 - 0.29).abs() < 1e-12);
        assert_eq!(Errors::of(&[]), None);
    }
}
