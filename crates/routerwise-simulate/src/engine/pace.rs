//! Iteration times in whole picoseconds, so that a sum in closed form equals the sum step by step to the last digit.

use crate::cost::{StepCost, StepWork};

/// Time in picoseconds since the start; 2^64 of them are 213 days.
pub(super) type Picos = u64;

/// Nearest whole picosecond.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to 10^6 seconds first"
)]
pub(super) fn picos(seconds: f64) -> Picos {
    (seconds.clamp(0.0, 1e6) * 1e12).round() as Picos
}

/// More iterations than any answer has tokens; keeps [`Stretch::span`] inside 128 bits.
const LONGEST_STRETCH: u64 = u32::MAX as u64;

/// Iteration times of one replica.
#[derive(Clone, Debug)]
pub(super) struct Pace {
    cost: StepCost,
    /// How many times as long as the cost says everything takes.
    slowness: f64,
    /// By number of sequences.
    decode: Vec<DecodePicos>,
}

/// `max(fixed + per_cached_token · cached, least)`, see [`StepCost::decode_affine`].
#[derive(Clone, Copy, Debug)]
struct DecodePicos {
    fixed: Picos,
    per_cached_token: Picos,
    least: Picos,
}

/// Several iterations in a row that decode the same sequences and do nothing else: each reads `n_sequences` cached tokens more
/// than the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    n_sequences: u64,
    /// Time of the first iteration.
    first: Picos,
    /// By how much each takes longer than the one before: 0 on the launch floor.
    growth: Picos,
    /// Iterations for which this holds.
    n_most: u64,
}

impl Pace {
    pub(super) fn new(cost: &StepCost, max_num_seqs: u32) -> Self {
        let decode = (0..=max_num_seqs).map(|n_sequences| {
            let seconds = cost.decode_affine(f64::from(n_sequences));
            DecodePicos {
                fixed: picos(seconds.fixed),
                per_cached_token: picos(seconds.per_cached_token),
                least: picos(seconds.least),
            }
        });
        Self {
            decode: decode.collect(),
            cost: cost.clone(),
            slowness: 1.0,
        }
    }

    /// The same with every iteration taking so many times as long.
    #[expect(clippy::cast_precision_loss, reason = "an iteration is far below 2^53 picoseconds")]
    pub(super) fn slowed(&self, factor: f64) -> Self {
        let slowed = |decode: &DecodePicos| {
            let times = |span: Picos| picos(span as f64 * 1e-12 * factor);
            DecodePicos {
                fixed: times(decode.fixed),
                per_cached_token: times(decode.per_cached_token),
                least: times(decode.least),
            }
        };
        Self {
            decode: self.decode.iter().map(slowed).collect(),
            cost: self.cost.clone(),
            slowness: self.slowness * factor,
        }
    }

    /// Time of one iteration.
    pub(super) fn iteration(&self, work: &StepWork, n_decoding: usize, cached: u64) -> Picos {
        if work.prefill_tokens > 0.0 {
            picos(self.cost.seconds(work) * self.slowness)
        } else {
            let pace = &self.decode[n_decoding];
            (pace.fixed + pace.per_cached_token * cached).max(pace.least)
        }
    }

    /// The iterations that follow when `n_decoding` sequences decode and have `cached` tokens now.
    pub(super) fn stretch(&self, n_decoding: usize, cached: u64) -> Stretch {
        let pace = &self.decode[n_decoding];
        let n_sequences = n_decoding as u64;
        let first = pace.fixed + pace.per_cached_token * cached;
        let growth = pace.per_cached_token * n_sequences;
        if first >= pace.least {
            return Stretch {
                n_sequences,
                first,
                growth,
                n_most: LONGEST_STRETCH,
            };
        }
        Stretch {
            n_sequences,
            first: pace.least,
            growth: 0,
            n_most: (pace.least - first)
                .checked_div(growth)
                .map_or(LONGEST_STRETCH, |n| n + 1),
        }
    }
}

impl Stretch {
    /// Time of the first `n` iterations.
    pub(super) fn span(&self, n: u64) -> Picos {
        let (n, first, growth) = (u128::from(n), u128::from(self.first), u128::from(self.growth));
        let span = n * first + growth * (n * n.saturating_sub(1) / 2);
        Picos::try_from(span).unwrap_or(Picos::MAX)
    }

    /// Cached tokens that `n` iterations add.
    pub(super) fn tokens(&self, n: u64) -> u64 {
        n * self.n_sequences
    }

    /// The most iterations, but no more than `n_most`, that take no longer than `limit`.
    pub(super) fn within(&self, limit: Picos, n_most: u64) -> u64 {
        let n_most = n_most.min(self.n_most);
        if self.span(n_most) <= limit {
            return n_most;
        }
        // `low` iterations fit, `high` do not.
        let (mut low, mut high) = (0, n_most.min(limit / self.first.max(1) + 1));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.span(middle) <= limit {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_stretch_takes_as_long_as_its_iterations_one_by_one(
            fixed in 1u64..5_000, per_cached_token in 0u64..50, least in 0u64..20_000, n in 1u32..9, cached in 1u64..500, limit in 0u64..1_000_000,
        ) {
            let pace = DecodePicos { fixed, per_cached_token, least };
            let time = |cached: u64| (fixed + per_cached_token * cached).max(least);
            let pace = Pace { decode: vec![pace; 9], cost: crate::engine::tests::cost(), slowness: 1.0 };
            let stretch = pace.stretch(n as usize, cached);
            let (mut span, mut steps) = (0, 0);
            while steps < stretch.n_most && span + time(cached + u64::from(n) * steps) <= limit {
                span += time(cached + u64::from(n) * steps);
                steps += 1;
                prop_assert_eq!(stretch.span(steps), span);
            }
            prop_assert_eq!(stretch.within(limit, u64::MAX), steps);
        }
    }
}
