//! Records of finished requests, and the latencies that they had: TTFT, TPOT, ITL, E2E and goodput are defined here and nowhere else.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::profile::LatencyStat;
use crate::sketch::Sketch;
use crate::time::Timestamp;
use crate::units::Seconds;
use crate::workload::{Lengths, Metric};

/// When one answered request arrived, began to be answered and was done, as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// When it was sent.
    pub arrived: Timestamp,
    /// When the first token of its answer came.
    pub first_token: Timestamp,
    /// When the last token came.
    pub finished: Timestamp,
    /// Prompt tokens and tokens of the answer.
    pub lengths: Lengths,
}

impl RequestRecord {
    /// Time to first token.
    #[must_use]
    pub fn ttft(&self) -> Seconds {
        self.first_token.since(self.arrived)
    }

    /// Time per output token after the first, `(last − first token) / (tokens − 1)`; an answer of one token has none.
    #[must_use]
    pub fn tpot(&self) -> Option<Seconds> {
        let gaps = f64::from(self.lengths.output.checked_sub(1).filter(|gaps| *gaps > 0)?);
        let span = self.finished.since(self.first_token);
        Some(Seconds::new(span.value() / gaps).expect("a finite span over at least one gap"))
    }

    /// The whole request.
    #[must_use]
    pub fn e2e(&self) -> Seconds {
        self.finished.since(self.arrived)
    }

    /// One of the above by name.
    #[must_use]
    pub fn latency(&self, metric: Metric) -> Option<Seconds> {
        match metric {
            Metric::Ttft => Some(self.ttft()),
            Metric::Tpot => self.tpot(),
            Metric::E2e => Some(self.e2e()),
        }
    }

    /// Whether it keeps all of the limits. A latency that it does not have (TPOT of one token) breaks none.
    #[must_use]
    pub fn keeps(&self, limits: &[Limit]) -> bool {
        let breaks = |limit: &Limit| self.latency(limit.metric).is_some_and(|latency| latency > limit.target);
        !limits.iter().any(breaks)
    }
}

/// What a latency of one request may be at most for the request to be good. Goodput is the number of good requests per second; a
/// request that failed is not good.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// What is limited.
    pub metric: Metric,
    /// The most that it may be.
    pub target: Seconds,
}

/// Inter-token latencies of one answer: the gaps between the arrivals of its pieces, one token each unless the server sends
/// several at once. The ITL of many answers is that of all their gaps together, so long answers count more than in TPOT.
pub fn itls(arrivals: &[Timestamp]) -> impl Iterator<Item = Seconds> + '_ {
    arrivals.windows(2).map(|pair| pair[1].since(pair[0]))
}

/// One metric over records in order of arrival; nothing when no record has it.
pub fn latency_stat<'a>(records: impl IntoIterator<Item = &'a RequestRecord>, metric: Metric) -> Option<LatencyStat> {
    let values: Vec<f64> = records
        .into_iter()
        .filter_map(|record| record.latency(metric))
        .map(Seconds::value)
        .collect();
    let estimate = MeanEstimate::of(&values)?;
    Some(LatencyStat {
        mean: Seconds::new(estimate.mean).expect("latencies are finite and not negative, and so is their mean"),
        ci95: Seconds::new(estimate.ci95).expect("a standard error of finite values is finite"),
        sketch: Sketch::of(values),
    })
}

/// A mean and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanEstimate {
    /// Mean of all values.
    pub mean: f64,
    /// Half width of its 95 % confidence interval by batch means; 0 for a single value, where nothing is known.
    pub ci95: f64,
}

/// Batches of a mean's confidence interval. Latencies of neighbours are alike, so single values say too little about the mean's
/// error, means of long batches enough (Law, *Simulation Modeling and Analysis*, §9.5: 20 to 30 batches).
const N_BATCHES: usize = 20;

/// 97.5 % quantiles of Student's t with 1 to 19 degrees of freedom.
const STUDENT: [f64; N_BATCHES - 1] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093,
];

impl MeanEstimate {
    /// Of values in the order in which they were taken; nothing of none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let mean_of = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let mean = mean_of(values);
        let n_batches = values.len().min(N_BATCHES);
        if n_batches == 1 {
            return Some(Self { mean, ci95: 0.0 });
        }
        let bound = |batch: usize| values.len() * batch / n_batches;
        let squares: f64 = (0..n_batches)
            .map(|batch| mean_of(&values[bound(batch)..bound(batch + 1)]) - mean)
            .map(|deviation| deviation * deviation)
            .sum();
        let variance = squares / (n_batches - 1) as f64;
        Some(Self {
            mean,
            ci95: STUDENT[n_batches - 2] * (variance / n_batches as f64).sqrt(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(arrived: f64, first_token: f64, finished: f64, output: u32) -> RequestRecord {
        RequestRecord {
            arrived: Timestamp::from_seconds(arrived),
            first_token: Timestamp::from_seconds(first_token),
            finished: Timestamp::from_seconds(finished),
            lengths: Lengths { input: 10, output },
        }
    }

    #[test]
    fn four_gaps_lie_between_five_tokens() {
        let record = record(1.0, 1.5, 2.5, 5);
        assert!((record.ttft().value() - 0.5).abs() < 1e-9);
        assert!((record.tpot().unwrap().value() - 0.25).abs() < 1e-9);
        assert!((record.e2e().value() - 1.5).abs() < 1e-9);
    }

    #[test]
    fn an_answer_of_one_token_has_no_time_per_further_token() {
        let records = [record(0.0, 1.0, 1.0, 1), record(0.0, 1.0, 3.0, 2)];
        assert_eq!(records[0].tpot(), None);
        let tpot = latency_stat(&records, Metric::Tpot).unwrap();
        assert_eq!(tpot.sketch.count(), 1);
        assert!((tpot.mean.value() - 2.0).abs() < 1e-9);
        assert_eq!(latency_stat(&records[..1], Metric::Tpot), None);
    }

    #[test]
    fn a_request_is_good_when_it_keeps_every_limit_that_it_can_break() {
        let limit = |metric, target: f64| Limit {
            metric,
            target: Seconds::new(target).unwrap(),
        };
        let limits = [limit(Metric::Ttft, 0.5), limit(Metric::Tpot, 0.1)];
        assert!(record(0.0, 0.4, 0.4, 1).keeps(&limits));
        assert!(record(0.0, 0.4, 0.45, 2).keeps(&limits));
        assert!(!record(0.0, 0.4, 0.9, 2).keeps(&limits));
        assert!(!record(0.0, 0.6, 0.6, 1).keeps(&limits));
        assert!(record(0.0, 9.0, 9.0, 1).keeps(&[]));
    }

    #[test]
    fn three_tokens_have_two_gaps_between_them() {
        let at = [1.0, 1.5, 1.75].map(Timestamp::from_seconds);
        let gaps: Vec<f64> = itls(&at).map(Seconds::value).collect();
        assert!((gaps[0] - 0.5).abs() < 1e-9 && (gaps[1] - 0.25).abs() < 1e-9 && gaps.len() == 2);
        assert_eq!(itls(&at[..1]).count(), 0);
    }

    #[test]
    fn correlated_values_have_a_wider_interval_than_independent_ones() {
        let independent: Vec<f64> = (0..2_000).map(|i| f64::from(i * 7919 % 100)).collect();
        let mut correlated = independent.clone();
        correlated.sort_by(f64::total_cmp);
        let width = |values: &[f64]| MeanEstimate::of(values).unwrap().ci95;
        assert!(width(&correlated) > 5.0 * width(&independent));
        assert_eq!(MeanEstimate::of(&[3.0]), Some(MeanEstimate { mean: 3.0, ci95: 0.0 }));
    }
}
