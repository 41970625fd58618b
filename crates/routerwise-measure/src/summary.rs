//! What a run comes to: latencies, rates and failures of the requests that count, all together and by who answered.

use std::collections::BTreeMap;

use routerwise_types::answer::bench::{FailureCount, Latency, Measured, SendLag, Served};
use routerwise_types::profile::LoadPoint;
use routerwise_types::report::{Limit, MeanEstimate, RequestRecord, latency_stat};
use routerwise_types::sketch::Sketch;
use routerwise_types::workload::Metric;
use routerwise_types::{Fraction, RequestsPerSecond, Seconds, Timestamp};

use crate::play::{Played, Window};
use crate::record::{Answer, FailureKind, Outcome, Record};
use crate::saturation;

/// We kept up when requests were sent, on average, no later than this much of the mean time to first token, and a bit.
const LAG_PART: f64 = 0.05;
/// The bit: what a busy machine's scheduler takes. In seconds.
const LAG_ALLOWED: f64 = 1e-3;

/// Sums a run up. A request is good when it keeps all `limits`.
#[must_use]
pub fn summarise(played: &Played, limits: &[Limit]) -> Measured {
    let (from, to) = span(played);
    let counting: Vec<&Record> = counting(played).collect();
    let sum = Sum {
        played,
        limits,
        answers: counting.iter().filter_map(|record| answer(record)).collect(),
        n_counting: counting.len(),
        seconds: to.since(from).value().max(1e-9),
    };
    let all = sum.served(&Name::default(), &(0..played.answerers.len()).collect::<Vec<_>>());
    let (models, replicas) = sum.by_answerer();
    let n_failed = counting
        .iter()
        .filter(|record| matches!(record.outcome, Outcome::Failed(_)));
    let n_failed = n_failed.count();
    let over = sorted(played.records.iter().filter_map(completed));
    let intended = sorted(played.records.iter().map(|record| record.intended));
    let finished = over.partition_point(|at| *at <= to) - over.partition_point(|at| *at <= from);
    Measured {
        n_sent: played.records.len(),
        n_requests: counting.len(),
        n_answered: sum.answers.len(),
        n_failed,
        n_unfinished: counting.len() - sum.answers.len() - n_failed,
        from: from.since(Timestamp::START),
        to: to.since(Timestamp::START),
        lasted: played.lasted,
        offered: (!played.closed).then(|| sum.rate(counting.len())),
        achieved: sum.rate(finished),
        in_flight: in_flight(&played.records, from, to),
        lag: lag(&counting, all.ttft.as_ref()),
        saturation: (!played.closed && !counting.is_empty()).then(|| saturation::judge(&intended, &over, from, to)),
        limits: limits.to_vec(),
        goodput: all.goodput,
        good: (!limits.is_empty()).then(|| fraction(sum.n_good(&sum.answers), counting.len())),
        all,
        models,
        replicas,
        failures: failures(played),
        n_uncounted: sum.answers.iter().filter(|(answer, _)| !answer.counted).count(),
        n_connections: played.n_connections,
    }
}

/// One load of a profile; nothing when no answer of more than one token counts.
#[must_use]
pub fn load_point(played: &Played) -> Option<LoadPoint> {
    let measured = summarise(played, &[]);
    let requests: Vec<RequestRecord> = counting(played).filter_map(Record::request).collect();
    Some(LoadPoint {
        offered: measured.offered.unwrap_or(measured.achieved),
        achieved: measured.achieved,
        n_requests: requests.len() as u64,
        ttft: latency_stat(&requests, Metric::Ttft)?,
        tpot: latency_stat(&requests, Metric::Tpot)?,
        e2e: latency_stat(&requests, Metric::E2e)?,
    })
}

/// The requests that count, in order of arrival.
pub fn counting(played: &Played) -> impl Iterator<Item = &Record> {
    let records = played.records.iter().enumerate();
    records
        .filter(|(ix, record)| played.window.holds(*ix, record.intended))
        .map(|(_, record)| record)
}

/// The time that counts. Of a window in requests: from the arrival before its first to its last, so that as many gaps as
/// requests lie in it.
fn span(played: &Played) -> (Timestamp, Timestamp) {
    let records = &played.records;
    let reached = records.last().map_or(Timestamp::START, |last| last.intended);
    match &played.window {
        Window::Requests(numbers) => {
            let before = |n: usize| n.checked_sub(1).and_then(|ix| records.get(ix));
            let from = before(numbers.start).map_or(Timestamp::START, |record| record.intended);
            let to = before(numbers.end).map_or(reached, |record| record.intended);
            // With users who wait, the last ones are asked before anything is finished.
            (from, if played.closed { to.max(last_end(played)) } else { to })
        }
        Window::Time(times) if played.stopped => (times.start, times.end.min(reached).max(times.start)),
        Window::Time(times) => (times.start, times.end),
    }
}

fn last_end(played: &Played) -> Timestamp {
    counting(played).filter_map(Record::ended).max().unwrap_or_default()
}

fn answer(record: &Record) -> Option<(&Answer, RequestRecord)> {
    match &record.outcome {
        Outcome::Answered(answer) => Some((answer, record.request()?)),
        Outcome::Failed(_) | Outcome::Unfinished => None,
    }
}

/// When the server was done with a request. One that ran out of time still waits in its queue, as far as anybody can tell.
fn completed(record: &Record) -> Option<Timestamp> {
    match &record.outcome {
        Outcome::Failed(failed) if failed.kind == FailureKind::Timeout => None,
        _ => record.ended(),
    }
}

/// The answers that count, and what their sums are taken over.
struct Sum<'a> {
    played: &'a Played,
    limits: &'a [Limit],
    answers: Vec<(&'a Answer, RequestRecord)>,
    n_counting: usize,
    /// The time that counts.
    seconds: f64,
}

/// Whose answers are summed up.
#[derive(Clone, Copy, Default)]
struct Name<'a> {
    model: Option<&'a str>,
    replica: Option<&'a str>,
}

impl Sum<'_> {
    fn rate(&self, n: usize) -> RequestsPerSecond {
        per_second(n, self.seconds)
    }

    fn n_good(&self, answers: &[(&Answer, RequestRecord)]) -> usize {
        let good = answers.iter().filter(|(_, request)| request.keeps(self.limits));
        good.count()
    }

    /// One entry per model and one per replica, where a gateway named any.
    fn by_answerer(&self) -> (Vec<Served>, Vec<Served>) {
        let answerers = &self.played.answerers;
        let mut models: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut replicas: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
        for (ix, answerer) in answerers.iter().enumerate() {
            models.entry(&answerer.model).or_default().push(ix);
            if let Some(replica) = &answerer.replica {
                replicas.entry((&answerer.model, replica)).or_default().push(ix);
            }
        }
        if answerers.len() < 2 && replicas.is_empty() {
            models.clear();
        }
        let named = |model, replica| Name {
            model: Some(model),
            replica,
        };
        let models = models.iter().map(|(model, ixs)| self.served(&named(model, None), ixs));
        let replicas = replicas.iter();
        let replicas = replicas.map(|((model, replica), ixs)| self.served(&named(model, Some(replica)), ixs));
        (models.collect(), replicas.collect())
    }

    /// What these answerers did.
    fn served(&self, name: &Name<'_>, answerers: &[usize]) -> Served {
        let theirs = self.answers.iter().copied();
        let answers: Vec<_> = theirs
            .filter(|(answer, _)| answerers.contains(&usize::from(answer.answerer)))
            .collect();
        let tokens = |of: fn(&RequestRecord) -> u32| {
            let counts = answers.iter().map(|(_, request)| f64::from(of(request)));
            counts.sum::<f64>()
        };
        let latencies = |metric| {
            let values = answers.iter().filter_map(|(_, request)| request.latency(metric));
            latency(values.map(Seconds::value).collect())
        };
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let n = answers.len().max(1) as f64;
        Served {
            model: name.model.map(str::to_owned),
            replica: name.replica.map(str::to_owned),
            n_answered: answers.len(),
            part: fraction(answers.len(), self.n_counting),
            rate: self.rate(answers.len()),
            goodput: (!self.limits.is_empty()).then(|| self.rate(self.n_good(&answers))),
            input_tokens: tokens(|request| request.lengths.input) / n,
            output_tokens: tokens(|request| request.lengths.output) / n,
            output_tokens_per_second: tokens(|request| request.lengths.output) / self.seconds,
            ttft: latencies(Metric::Ttft),
            tpot: latencies(Metric::Tpot),
            itl: gaps(self.played, &answers, answerers),
            e2e: latencies(Metric::E2e),
        }
    }
}

/// Of values in order of arrival; nothing of none.
fn latency(mut values: Vec<f64>) -> Option<Latency> {
    let estimate = MeanEstimate::of(&values)?;
    let sketch = Sketch::of(values.iter().copied());
    values.sort_by(f64::total_cmp);
    let quantile = |q: f64| time(values[rank(q, values.len())]);
    Some(Latency {
        n: values.len() as u64,
        mean: time(estimate.mean),
        ci95: time(estimate.ci95),
        p50: quantile(0.5),
        p90: quantile(0.9),
        p95: quantile(0.95),
        p99: quantile(0.99),
        longest: quantile(1.0),
        sketch,
    })
}

/// Nearest rank, counted from 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank between 1 and the count"
)]
fn rank(q: f64, n: usize) -> usize {
    ((q * n as f64).ceil() as usize).clamp(1, n) - 1
}

/// The mean is exact and its interval that of the means of batches of answers; quantiles are the sketch's, good to 2 %, because a
/// run may have more gaps than there is room for.
fn gaps(played: &Played, answers: &[(&Answer, RequestRecord)], answerers: &[usize]) -> Option<Latency> {
    let mut sketch = Sketch::default();
    let mut longest = 0.0f64;
    for ix in answerers {
        let seen = &played.gaps[*ix];
        sketch.merge(&seen.sketch);
        longest = longest.max(seen.longest);
    }
    let n_gaps = |answers: &[(&Answer, RequestRecord)]| {
        answers
            .iter()
            .map(|(answer, _)| f64::from(answer.n_pieces) - 1.0)
            .sum::<f64>()
    };
    let time_in = |answers: &[(&Answer, RequestRecord)]| {
        let spans = answers
            .iter()
            .map(|(answer, _)| answer.finished.since(answer.first_token).value());
        spans.sum::<f64>()
    };
    let batch = answers.len().div_ceil(20).max(1);
    let means: Vec<f64> = answers
        .chunks(batch)
        .filter(|batch| n_gaps(batch) > 0.0)
        .map(|batch| time_in(batch) / n_gaps(batch))
        .collect();
    let estimate = MeanEstimate::of(&means)?;
    let quantile = |q| time(sketch.quantile(q).unwrap_or_default().min(longest));
    Some(Latency {
        n: sketch.count(),
        mean: time(time_in(answers) / n_gaps(answers)),
        ci95: time(estimate.ci95),
        p50: quantile(0.5),
        p90: quantile(0.9),
        p95: quantile(0.95),
        p99: quantile(0.99),
        longest: time(longest),
        sketch,
    })
}

fn lag(counting: &[&Record], ttft: Option<&Latency>) -> SendLag {
    let ours = |record: &&&Record| matches!(&record.outcome, Outcome::Failed(failed) if failed.kind.is_ours());
    let n_not_sent = counting.iter().filter(ours).count();
    let lags = latency(counting.iter().map(|record| record.lag().value()).collect());
    let (mean, p99, longest) = lags.map_or([Seconds::ZERO; 3].into(), |lag| (lag.mean, lag.p99, lag.longest));
    let allowed = LAG_PART * ttft.map_or(0.0, |ttft| ttft.mean.value()) + LAG_ALLOWED;
    SendLag {
        mean,
        p99,
        longest,
        n_not_sent,
        kept_up: n_not_sent == 0 && mean.value() <= allowed,
    }
}

/// By kind, over the whole run.
fn failures(played: &Played) -> Vec<FailureCount> {
    let mut kinds: BTreeMap<FailureKind, FailureCount> = BTreeMap::new();
    for (ix, record) in played.records.iter().enumerate() {
        let Outcome::Failed(failed) = &record.outcome else {
            continue;
        };
        let count = kinds.entry(failed.kind).or_insert_with(|| FailureCount {
            kind: failed.kind.to_string(),
            n: 0,
            n_measured: 0,
            example: failed.detail.as_deref().map(str::to_owned),
        });
        count.n += 1;
        count.n_measured += usize::from(played.window.holds(ix, record.intended));
    }
    kinds.into_values().collect()
}

/// Time in flight inside the span, over the span.
fn in_flight(records: &[Record], from: Timestamp, to: Timestamp) -> f64 {
    let inside = |record: &Record| {
        let end = record.ended().unwrap_or(to).min(to);
        end.since(record.intended.max(from)).value()
    };
    records.iter().map(inside).sum::<f64>() / to.since(from).value().max(1e-9)
}

fn sorted(times: impl Iterator<Item = Timestamp>) -> Vec<Timestamp> {
    let mut times: Vec<Timestamp> = times.collect();
    times.sort_unstable();
    times
}

fn time(seconds: f64) -> Seconds {
    Seconds::new(seconds).expect("means and quantiles of finite times are finite")
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn per_second(n: usize, seconds: f64) -> RequestsPerSecond {
    RequestsPerSecond::new(n as f64 / seconds).expect("a count over a positive time")
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn fraction(n: usize, of: usize) -> Fraction {
    Fraction::new((n as f64 / of.max(1) as f64).min(1.0)).expect("a part of the whole")
}
