//! What matters of a predictor: what routing gains from it.
//!
//! ```text
//! lift = (routed − static mix) / (oracle − static mix)        all at the same fractions
//! ```
//!
//! Zero is chance, one is knowing every answer beforehand. Which fractions a plan will need is not known here, so three mixes are tried:
//! even, mostly the weaker models (a busy cluster) and mostly the stronger ones. Intervals are bootstrapped: the prompts of the test
//! are drawn again with their routing as it is.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use routerwise_types::answer::predictors::{
    Deferral, DeferralPoint, Interval, MixTest, ModelQuality, ModelTest, PredictorTest, SourceTest, SplitBy, Verdict,
};

use crate::assign::assign;
use crate::measures::{auc, bins, calibration_error};

/// What predictions are judged against.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    /// Names of the models.
    pub models: &'a [String],
    /// For each model the real score of each prompt.
    pub labels: &'a [Vec<f32>],
    /// Where each prompt comes from; empty texts where that is not known.
    pub sources: &'a [String],
}

/// What is judged, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Subject {
    /// Name of the predictor.
    pub predictor: String,
    /// How the prompts were chosen.
    pub split: SplitBy,
    /// Prompts that were learned from.
    pub n_train: usize,
    /// Fractions to route at beside the usual three, with their name.
    pub mix: Option<(String, Vec<f64>)>,
    /// Seed of the bootstrap.
    pub seed: u64,
}

const N_DRAWS: usize = 400;
const N_BINS: usize = 10;
const N_POINTS: usize = 20;

/// Judges predictions: for each model one score per prompt.
///
/// # Panics
/// When there is no model, or columns differ in length.
#[must_use]
pub fn judge(subject: &Subject, truth: Truth<'_>, scores: &[Vec<f32>]) -> PredictorTest {
    let draws = Draws::new(truth.labels[0].len(), subject.seed);
    let means: Vec<f64> = truth.labels.iter().map(|labels| mean(labels)).collect();
    let routed: Vec<Routed> = mixes(&means, subject.mix.as_ref())
        .into_iter()
        .map(|(name, fractions)| Routed::new(name, &fractions, truth.labels, scores))
        .collect();
    let mixes: Vec<MixTest> = routed.iter().map(|routed| routed.test(&draws)).collect();
    // A mix of the user's own is what the figure is to be about.
    let counted = if subject.mix.is_some() {
        &routed[routed.len() - 1..]
    } else {
        &routed[..]
    };
    let gain = draws.interval(|rows| average(counted, |routed| routed.gain(rows)));
    let strongest = strongest(&means);
    PredictorTest {
        predictor: subject.predictor.clone(),
        split: subject.split,
        n_train: subject.n_train,
        n_test: truth.labels[0].len(),
        best_single: ModelQuality {
            model: truth.models[strongest].clone(),
            quality: means[strongest],
        },
        lift: draws.interval(|rows| average(counted, |routed| routed.lift(rows))),
        gain,
        verdict: verdict(gain),
        mixes,
        deferral: deferral(truth, scores, &means, &draws),
        models: (0..truth.models.len())
            .map(|model| model_test(&truth.models[model], &scores[model], &truth.labels[model]))
            .collect(),
        sources: by_source(&routed[0], truth.sources),
    }
}

fn verdict(gain: Interval) -> Verdict {
    if gain.low > 0.0 {
        Verdict::Better
    } else if gain.value > 0.0 {
        Verdict::Unclear
    } else {
        Verdict::NotBetter
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of mixes")]
fn average(routed: &[Routed], of: impl Fn(&Routed) -> f64) -> f64 {
    routed.iter().map(of).sum::<f64>() / routed.len() as f64
}

fn strongest(means: &[f64]) -> usize {
    let better = |a: &usize, b: &usize| means[*a].total_cmp(&means[*b]).then(b.cmp(a));
    (0..means.len()).max_by(better).expect("there is a model")
}

/// Even; falling from the weakest to the strongest model; and the other way round.
#[expect(clippy::cast_precision_loss, reason = "a number of models")]
fn mixes(means: &[f64], given: Option<&(String, Vec<f64>)>) -> Vec<(String, Vec<f64>)> {
    let n = means.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| means[*a].total_cmp(&means[*b]).then(a.cmp(b)));
    let all = (n * (n + 1)) as f64 / 2.0;
    let mut weaker = vec![0.0; n];
    for (rank, model) in order.iter().enumerate() {
        weaker[*model] = (n - rank) as f64 / all;
    }
    let stronger = weaker.iter().map(|weaker| (n + 1) as f64 / all - weaker).collect();
    let mut mixes = vec![
        ("even".to_owned(), vec![1.0 / n as f64; n]),
        ("mostly weaker".to_owned(), weaker),
        ("mostly stronger".to_owned(), stronger),
    ];
    mixes.extend(given.cloned());
    mixes
}

/// One mix, with what each prompt contributes.
struct Routed {
    name: String,
    fractions: Vec<f64>,
    quality: Vec<f64>,
    predicted: Vec<f64>,
    by_chance: Vec<f64>,
    oracle: Vec<f64>,
}

impl Routed {
    #[expect(clippy::cast_precision_loss, reason = "counts of prompts")]
    fn new(name: String, fractions: &[f64], labels: &[Vec<f32>], scores: &[Vec<f32>]) -> Self {
        let n_prompts = labels[0].len();
        let (routing, oracle) = (assign(scores, fractions), assign(labels, fractions));
        // What was really routed, since prompts cannot be halved.
        let counted: Vec<f64> = (0..labels.len())
            .map(|model| routing.iter().filter(|m| **m == model).count() as f64 / n_prompts.max(1) as f64)
            .collect();
        let at = |table: &[Vec<f32>], routing: &[usize]| -> Vec<f64> {
            routing
                .iter()
                .enumerate()
                .map(|(prompt, model)| f64::from(table[*model][prompt]))
                .collect()
        };
        let chance = |prompt: usize| {
            let parts = labels.iter().zip(&counted);
            parts.map(|(column, part)| part * f64::from(column[prompt])).sum()
        };
        Self {
            name,
            quality: at(labels, &routing),
            predicted: at(scores, &routing),
            by_chance: (0..n_prompts).map(chance).collect(),
            oracle: at(labels, &oracle),
            fractions: counted,
        }
    }

    fn gain(&self, rows: &[usize]) -> f64 {
        mean_of(&self.quality, rows) - mean_of(&self.by_chance, rows)
    }

    fn lift(&self, rows: &[usize]) -> f64 {
        let by_chance = mean_of(&self.by_chance, rows);
        let possible = mean_of(&self.oracle, rows) - by_chance;
        if possible > 1e-9 {
            (mean_of(&self.quality, rows) - by_chance) / possible
        } else {
            0.0
        }
    }

    fn test(&self, draws: &Draws) -> MixTest {
        let whole = |values: &Vec<f64>| mean_of(values, draws.whole());
        MixTest {
            mix: self.name.clone(),
            fractions: self.fractions.clone(),
            quality: whole(&self.quality),
            predicted: whole(&self.predicted),
            static_mix: whole(&self.by_chance),
            oracle: whole(&self.oracle),
            lift: draws.interval(|rows| self.lift(rows)),
            gain: draws.interval(|rows| self.gain(rows)),
        }
    }
}

fn by_source(routed: &Routed, sources: &[String]) -> Vec<SourceTest> {
    let mut rows = std::collections::BTreeMap::<&str, Vec<usize>>::new();
    for (row, source) in sources.iter().enumerate().filter(|(_, source)| !source.is_empty()) {
        rows.entry(source).or_default().push(row);
    }
    let test = |(source, rows): (&str, Vec<usize>)| {
        let (quality, oracle) = (mean_of(&routed.quality, &rows), mean_of(&routed.oracle, &rows));
        SourceTest {
            source: source.to_owned(),
            n: rows.len(),
            quality,
            static_mix: mean_of(&routed.by_chance, &rows),
            oracle,
            regret: oracle - quality,
        }
    };
    rows.into_iter().map(test).collect()
}

fn model_test(model: &str, scores: &[f32], labels: &[f32]) -> ModelTest {
    let bins = bins(scores, labels, N_BINS);
    ModelTest {
        model: model.to_owned(),
        mean: mean(labels),
        predicted: mean(scores),
        auc: auc(scores, labels),
        ece: calibration_error(&bins),
        bins,
    }
}

/// From all prompts at the weakest model to all at the strongest.
fn deferral(truth: Truth<'_>, scores: &[Vec<f32>], means: &[f64], draws: &Draws) -> Deferral {
    let strong = strongest(means);
    let weaker = |a: &usize, b: &usize| means[*a].total_cmp(&means[*b]).then(a.cmp(b));
    let weak = (0..means.len()).min_by(weaker).expect("there is a model");
    let gains = |table: &[Vec<f32>]| -> Vec<f32> {
        table[strong]
            .iter()
            .zip(&table[weak])
            .map(|(strong, weak)| strong - weak)
            .collect()
    };
    let (real, predicted) = (gains(truth.labels), gains(scores));
    let ranks = [&predicted, &real].map(|gains| falling(gains));
    let start = means[weak];
    let step = |at: usize| at as f64 / N_POINTS as f64;
    let lines = ranks.each_ref().map(|order| curve(order, &real));
    let point = |at: usize| DeferralPoint {
        fraction: step(at),
        quality: start + lines[0][at],
        random: start + step(at) * (means[strong] - start),
        oracle: start + lines[1][at],
    };
    Deferral {
        weak: truth.models[weak].clone(),
        strong: truth.models[strong].clone(),
        points: (0..=N_POINTS).map(point).collect(),
        area: draws.interval(|rows| area(&ranks, &real, rows)),
    }
}

/// Rows by falling gain.
fn falling(gains: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..gains.len()).collect();
    order.sort_by(|a, b| gains[*b].total_cmp(&gains[*a]).then(a.cmp(b)));
    order
}

/// What the first rows of an order gain, at equal steps.
#[expect(clippy::cast_precision_loss, reason = "counts of prompts")]
fn curve(order: &[usize], gains: &[f32]) -> Vec<f64> {
    let n = order.len().max(1);
    let mut sums = vec![0.0];
    for row in order {
        sums.push(sums[sums.len() - 1] + f64::from(gains[*row]) / n as f64);
    }
    (0..=N_POINTS).map(|at| sums[at * order.len() / N_POINTS]).collect()
}

/// Area above the straight line by predictions, as a part of that by real gains, over rows drawn.
fn area(orders: &[Vec<usize>; 2], gains: &[f32], rows: &[usize]) -> f64 {
    let mut times = vec![0_u32; gains.len()];
    for row in rows {
        times[*row] += 1;
    }
    let above = |order: &Vec<usize>| {
        let (mut sum, mut below_curve) = (0.0, 0.0);
        for row in order {
            let weight = f64::from(times[*row]);
            let gain = weight * f64::from(gains[*row]);
            below_curve += weight * (sum + gain / 2.0);
            sum += gain;
        }
        below_curve - sum * f64::from(times.iter().sum::<u32>()) / 2.0
    };
    let [found, possible] = orders.each_ref().map(above);
    if possible > 1e-9 { found / possible } else { 0.0 }
}

/// The prompts of the test, and other tests of the same size drawn from them.
struct Draws(Vec<Vec<usize>>);

impl Draws {
    fn new(n: usize, seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut draws = vec![(0..n).collect()];
        for _ in 0..N_DRAWS {
            draws.push((0..n).map(|_| random.random_range(0..n)).collect());
        }
        Self(draws)
    }

    fn whole(&self) -> &[usize] {
        &self.0[0]
    }

    /// A figure on the whole test, and between which values it lies on 95 % of the draws.
    fn interval(&self, figure: impl Fn(&[usize]) -> f64) -> Interval {
        let mut values: Vec<f64> = self.0[1..].iter().map(|rows| figure(rows)).collect();
        values.sort_by(f64::total_cmp);
        let at = |part: usize| values[(N_DRAWS * part / 1000).min(N_DRAWS - 1)];
        Interval {
            value: figure(self.whole()),
            low: at(25),
            high: at(975),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of prompts")]
fn mean_of(values: &[f64], rows: &[usize]) -> f64 {
    rows.iter().map(|row| values[*row]).sum::<f64>() / rows.len().max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts of prompts")]
fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            predictor: "test".into(),
            split: SplitBy::Prompt,
            n_train: 0,
            mix: None,
            seed: 1,
        }
    }

    fn labels() -> Vec<Vec<f32>> {
        let column = |of: fn(usize) -> bool| (0..400).map(|i| f32::from(u8::from(of(i)))).collect();
        vec![
            column(|i| i % 3 == 0),
            column(|i| i % 3 != 0),
            column(|i| i * 37 % 11 < 7),
        ]
    }

    fn judged(scores: &[Vec<f32>]) -> PredictorTest {
        let models = ["a", "b", "c"].map(str::to_owned);
        let sources: Vec<String> = (0..400).map(|i| format!("s{}", i % 2)).collect();
        let labels = labels();
        let truth = Truth {
            models: &models,
            labels: &labels,
            sources: &sources,
        };
        judge(&subject(), truth, scores)
    }

    #[test]
    fn knowing_every_answer_is_a_lift_of_one() {
        let test = judged(&labels());
        assert!((test.lift.value - 1.0).abs() < 1e-9 && (test.lift.low - 1.0).abs() < 1e-9);
        assert!((test.deferral.area.value - 1.0).abs() < 1e-9);
        assert_eq!(test.verdict, Verdict::Better);
        assert!(test.sources.iter().all(|source| source.regret.abs() < 1e-9));
        assert!(
            test.models
                .iter()
                .all(|model| model.auc == Some(1.0) && model.ece < 1e-9)
        );
    }

    #[test]
    fn knowing_nothing_is_a_lift_of_about_zero() {
        let scores: Vec<Vec<f32>> = (0..3)
            .map(|m| (0..400).map(|i| ((i * (7 + 2 * m)) % 101) as f32 / 101.0).collect())
            .collect();
        let test = judged(&scores);
        assert!(test.lift.low < 0.0 && 0.0 < test.lift.high, "{:?}", test.lift);
        assert_ne!(test.verdict, Verdict::Better);
        assert!(test.deferral.area.value.abs() < 0.2);
    }

    #[test]
    fn promises_that_are_not_kept_are_seen() {
        let scores: Vec<Vec<f32>> = (0..3)
            .map(|m| (0..400).map(|i| ((i * (7 + 2 * m)) % 101) as f32 / 101.0).collect())
            .collect();
        let test = judged(&scores);
        let mix = &test.mixes[0];
        assert!(mix.predicted > mix.quality + 0.1, "{mix:?}");
        assert!(test.models[0].ece > 0.1);
    }
}
