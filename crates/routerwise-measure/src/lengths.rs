//! Lengths of questions and answers that are drawn rather than recorded.

use rand_distr::{Distribution as _, Gamma};
use routerwise_simulate::arrivals::stream;
use routerwise_types::workload::Lengths;

/// How a length is spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Mean, in tokens.
    pub mean: f64,
    /// Standard deviation over mean; 0 for a fixed length.
    pub cv: f64,
}

/// Entries of a drawn mix: enough that its mean is close to the one that was asked for.
const MIX: usize = 2_000;

/// A mix of gamma-distributed lengths, of at least one token each.
///
/// # Panics
/// When a mean or a coefficient of variation is negative or no number.
#[must_use]
pub fn mix(input: Spread, output: Spread, seed: u64) -> Vec<Lengths> {
    if input.cv <= 0.0 && output.cv <= 0.0 {
        return vec![Lengths {
            input: tokens(input.mean),
            output: tokens(output.mean),
        }];
    }
    let inputs = drawn(input, seed, "input-lengths");
    let outputs = drawn(output, seed, "output-lengths");
    let pairs = inputs.into_iter().zip(outputs);
    pairs.map(|(input, output)| Lengths { input, output }).collect()
}

fn drawn(spread: Spread, seed: u64, label: &str) -> Vec<u32> {
    if spread.cv <= 0.0 {
        return vec![tokens(spread.mean); MIX];
    }
    let variance = spread.cv * spread.cv;
    let gamma = Gamma::new(1.0 / variance, spread.mean * variance).expect("a positive mean and spread");
    let mut random = stream(seed, label);
    let drawn: Vec<f64> = (0..MIX).map(|_| gamma.sample(&mut random)).collect();
    // The mean of what was drawn is made exact, as that of the gaps between arrivals is.
    #[expect(clippy::cast_precision_loss, reason = "a mix has some thousand entries")]
    let scale = spread.mean * MIX as f64 / drawn.iter().sum::<f64>().max(f64::MIN_POSITIVE);
    drawn.into_iter().map(|length| tokens(length * scale)).collect()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first")]
fn tokens(length: f64) -> u32 {
    length.round().clamp(1.0, 1e8) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_the_mean_and_the_spread_that_were_asked_for() {
        let spread = |mean, cv| Spread { mean, cv };
        assert_eq!(
            mix(spread(512.0, 0.0), spread(64.0, 0.0), 1),
            [Lengths { input: 512, output: 64 }]
        );
        let mixed = mix(spread(512.0, 0.5), spread(64.0, 0.0), 1);
        let inputs: Vec<f64> = mixed.iter().map(|lengths| f64::from(lengths.input)).collect();
        let mean = inputs.iter().sum::<f64>() / 2_000.0;
        let sd = (inputs.iter().map(|input| (input - mean).powi(2)).sum::<f64>() / 2_000.0).sqrt();
        assert!(
            (mean - 512.0).abs() < 1.0 && (sd / mean - 0.5).abs() < 0.05,
            "{mean} {sd}"
        );
        assert!(mixed.iter().all(|lengths| lengths.output == 64));
    }
}
