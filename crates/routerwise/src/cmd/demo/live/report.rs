//! Planned against measured.

use std::io::Write;

use routerwise_measure::play::Played;
use routerwise_measure::record::{Outcome, Record};
use routerwise_plan::baselines::Contest;
use routerwise_types::Seconds;

use super::side::Side;
use crate::failure::Failure;
use crate::table::table;

/// What came of the requests that count, of one side or of one model.
#[derive(Debug, Default)]
struct Sum {
    /// Seconds from the intended time to the first token, rising.
    ttfts: Vec<f64>,
    quality: f64,
    n_within: usize,
    n_requests: usize,
}

impl Sum {
    fn quality(&self) -> Option<f64> {
        (!self.ttfts.is_empty()).then(|| self.quality / count(self.ttfts.len()))
    }

    fn mean(&self) -> Option<f64> {
        (!self.ttfts.is_empty()).then(|| self.ttfts.iter().sum::<f64>() / count(self.ttfts.len()))
    }

    /// The smallest that 95 of 100 are at or below.
    fn p95(&self) -> Option<f64> {
        let nth = (self.ttfts.len() * 95).div_ceil(100).max(1);
        self.ttfts.get(nth - 1).copied()
    }
}

#[expect(clippy::cast_precision_loss, reason = "requests stay far below 2^53")]
fn count(n: usize) -> f64 {
    n as f64
}

pub(super) fn print(
    contest: &Contest,
    sides: &[Side],
    asked: &[usize],
    played: &[Played],
    out: &mut dyn Write,
) -> Result<(), Failure> {
    let target = contest.test.workload.slos[0].target;
    let sums: Vec<(Sum, Vec<Sum>)> = played
        .iter()
        .map(|played| sums(contest, asked, played, target))
        .collect();
    let (ours, models) = &sums[0];
    models_of(contest, &sides[0], ours, models, out)?;
    let within = format!("within {target}");
    let header = ["setup", "quality", "mean TTFT", "P95 TTFT", &within, "unanswered"];
    let rows = sides.iter().zip(&sums).map(|(side, (sum, _))| {
        [
            side.name.to_owned(),
            arrow(Some(side.expected.quality), sum.quality(), |q| format!("{q:.4}")),
            arrow(side.expected.ttft, sum.mean(), seconds),
            sum.p95().map_or_else(|| "-".into(), seconds),
            format!("{:.1} %", 100.0 * count(sum.n_within) / count(sum.n_requests.max(1))),
            (sum.n_requests - sum.ttfts.len()).to_string(),
        ]
    });
    writeln!(out, "\n{}", table(header, "lrrrrr", rows))?;
    writeln!(
        out,
        " Expected by curves -> measured over HTTP. The objective is a mean TTFT of {target}."
    )?;
    Ok(())
}

fn models_of(contest: &Contest, side: &Side, all: &Sum, models: &[Sum], out: &mut dyn Write) -> Result<(), Failure> {
    let policy = &side.plan.policies[0];
    let header = ["model", "prompts", "quality", "mean TTFT"];
    let mut rows = Vec::new();
    for (ix, sum) in models.iter().enumerate() {
        if side.plan.models[ix].configuration.is_none() {
            continue;
        }
        let part = count(sum.n_requests) / count(all.n_requests.max(1));
        let expected = policy.models[ix].quality.map(|quality| quality.value());
        rows.push([
            contest.test.models[ix].name.clone(),
            arrow(Some(side.expected.fractions[ix]), Some(part), |part| {
                format!("{:.1} %", 100.0 * part)
            }),
            arrow(expected, sum.quality(), |quality| format!("{quality:.4}")),
            sum.mean().map_or_else(|| "-".into(), seconds),
        ]);
    }
    writeln!(out, "{}", table(header, "lrrr", rows.into_iter()))?;
    Ok(())
}

fn arrow(from: Option<f64>, to: Option<f64>, spell: impl Fn(f64) -> String) -> String {
    let spell = |value: Option<f64>| value.map_or_else(|| "-".into(), &spell);
    format!("{} -> {}", spell(from), spell(to))
}

fn seconds(value: f64) -> String {
    Seconds::new(value).map_or_else(|_| "-".into(), |seconds| seconds.to_string())
}

/// Of all requests that count, and of each model's.
fn sums(contest: &Contest, asked: &[usize], played: &Played, target: Seconds) -> (Sum, Vec<Sum>) {
    let mut all = Sum::default();
    let mut models: Vec<Sum> = contest.test.models.iter().map(|_| Sum::default()).collect();
    let counts = |(ix, record): &(usize, &Record)| played.window.holds(*ix, record.intended);
    for (ix, record) in played.records.iter().enumerate().filter(counts) {
        all.n_requests += 1;
        let Outcome::Answered(answer) = &record.outcome else {
            continue;
        };
        let name = &played.answerers[usize::from(answer.answerer)].model;
        let Some(model) = contest.test.models.iter().position(|model| model.name == *name) else {
            continue;
        };
        let ttft = answer.first_token.since(record.intended);
        let score = f64::from(contest.test.scores.columns[model][asked[ix]]);
        models[model].n_requests += 1;
        for sum in [&mut all, &mut models[model]] {
            sum.ttfts.push(ttft.value());
            sum.quality += score;
            sum.n_within += usize::from(ttft <= target);
        }
    }
    for sum in models.iter_mut().chain([&mut all]) {
        sum.ttfts.sort_by(f64::total_cmp);
    }
    (all, models)
}
