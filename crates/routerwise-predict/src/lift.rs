//! What matters of a predictor: what routing gains from it.
//!
//! ```text
//! lift = (routed − static mix) / (oracle − static mix)        all at the same fractions
//! ```
//!
//! Zero is chance, one is knowing every answer beforehand. Which fractions a plan will need is not known here, so three mixes are tried:
//! even, mostly the weaker models (a busy cluster) and mostly the stronger ones. Intervals are bootstrapped: the prompts of the test
//! are drawn again with their routing as it is.
//!
//! Where a test consists of parts that were scored by different predictors (sources held out in turn), the fractions are met within each
//! part. Routing all parts together would compare predictors with each other: the one that has not seen a source has a mean that is off
//! in just the opposite direction of that source, and so even a constant would look worse than chance.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use routerwise_types::answer::predictors::{
    Deferral, DeferralPoint, Interval, MixTest, ModelQuality, ModelTest, PredictorTest, SourceTest, SplitBy, Verdict,
};
use routerwise_types::hash::mix;

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
    /// How much each prompt counts, relative to the others; nothing where all count alike.
    pub weights: &'a [f32],
    /// Which part of the test each prompt belongs to, where parts were scored by different predictors; empty where one scored all.
    pub parts: &'a [usize],
}

impl Truth<'_> {
    fn weight(&self, row: usize) -> f64 {
        self.weights.get(row).map_or(1.0, |weight| f64::from(*weight))
    }

    fn n_prompts(&self) -> usize {
        self.labels.first().map_or(0, Vec::len)
    }

    /// The rows of each part, in an order that has nothing to do with the file's: ties go to the earlier row.
    fn rows_by_part(&self) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.n_prompts()).collect();
        order.sort_by_key(|row| mix(*row as u64));
        let n_parts = self.parts.iter().max().map_or(1, |last| last + 1);
        let mut rows = vec![Vec::new(); n_parts];
        for row in order {
            rows[self.parts.get(row).copied().unwrap_or(0)].push(row);
        }
        rows.retain(|rows| !rows.is_empty());
        rows
    }
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

/// The lift of a predictor on the prompts of a test and on each draw from them.
#[derive(Clone, Debug, PartialEq)]
pub struct Lifts(Vec<f64>);

impl Lifts {
    fn interval(&self) -> Interval {
        interval(&self.0)
    }

    /// By how much the lift exceeds that of another predictor on the same prompts, drawn by the same seed.
    #[must_use]
    pub fn above(&self, other: &Self) -> Interval {
        let differences: Vec<f64> = self.0.iter().zip(&other.0).map(|(a, b)| a - b).collect();
        interval(&differences)
    }
}

/// Judges predictions: for each model one score per prompt.
///
/// # Panics
/// When there is no model, or columns differ in length.
#[must_use]
pub fn judge(subject: &Subject, truth: Truth<'_>, scores: &[Vec<f32>]) -> PredictorTest {
    judge_with_lifts(subject, truth, scores).0
}

/// The same with what [`Lifts::above`] compares.
///
/// # Panics
/// As [`judge`].
#[must_use]
pub fn judge_with_lifts(subject: &Subject, truth: Truth<'_>, scores: &[Vec<f32>]) -> (PredictorTest, Lifts) {
    let draws = Draws::new(truth.n_prompts(), subject.seed);
    let means: Vec<f64> = truth.labels.iter().map(|labels| mean(truth, labels)).collect();
    let routed: Vec<Routed> = mixes(&means, subject.mix.as_ref())
        .into_iter()
        .map(|(name, fractions)| Routed::new(name, &fractions, truth, scores))
        .collect();
    let mixes: Vec<MixTest> = routed.iter().map(|routed| routed.test(&draws)).collect();
    // A mix of the user's own is what the figure is to be about.
    let counted = if subject.mix.is_some() {
        &routed[routed.len() - 1..]
    } else {
        &routed[..]
    };
    let gain = draws.interval(|rows| average(counted, |routed| routed.gain(rows)));
    let lifts = Lifts(draws.figures(|rows| average(counted, |routed| routed.lift(rows))));
    let strongest = strongest(&means);
    let test = PredictorTest {
        predictor: subject.predictor.clone(),
        split: subject.split,
        n_train: subject.n_train,
        n_test: truth.labels[0].len(),
        best_single: ModelQuality {
            model: truth.models[strongest].clone(),
            quality: means[strongest],
        },
        lift: lifts.interval(),
        versus: None,
        gain,
        verdict: verdict(gain),
        mixes,
        deferral: deferral(truth, scores, &means, &draws),
        models: (0..truth.models.len())
            .map(|model| model_test(truth, model, &scores[model]))
            .collect(),
        sources: by_source(&routed[0], truth.sources),
    };
    (test, lifts)
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
    weights: Vec<f64>,
    quality: Vec<f64>,
    predicted: Vec<f64>,
    by_chance: Vec<f64>,
    oracle: Vec<f64>,
}

impl Routed {
    fn new(name: String, fractions: &[f64], truth: Truth<'_>, scores: &[Vec<f32>]) -> Self {
        let n_prompts = truth.n_prompts();
        let nothing = || vec![0.0; n_prompts];
        let mut routed = Self {
            name,
            fractions: vec![0.0; fractions.len()],
            weights: (0..n_prompts).map(|row| truth.weight(row)).collect(),
            quality: nothing(),
            predicted: nothing(),
            by_chance: nothing(),
            oracle: nothing(),
        };
        let of_all: f64 = routed.weights.iter().sum();
        for rows in truth.rows_by_part() {
            let routing = assign(&of_rows(scores, &rows), fractions);
            let oracle = assign(&of_rows(truth.labels, &rows), fractions);
            // What was really routed, since prompts cannot be halved and may count differently.
            let mut counted = vec![0.0; fractions.len()];
            for (row, model) in rows.iter().zip(&routing) {
                counted[*model] += truth.weight(*row);
            }
            let of_part: f64 = counted.iter().sum();
            for (at, row) in rows.iter().enumerate() {
                let label = |model: usize| f64::from(truth.labels[model][*row]);
                routed.quality[*row] = label(routing[at]);
                routed.predicted[*row] = f64::from(scores[routing[at]][*row]);
                routed.oracle[*row] = label(oracle[at]);
                let parts = counted.iter().enumerate();
                routed.by_chance[*row] = parts.map(|(model, n)| n / of_part * label(model)).sum();
            }
            for (fraction, n) in routed.fractions.iter_mut().zip(&counted) {
                *fraction += n / of_all;
            }
        }
        routed
    }

    fn mean(&self, values: &[f64], rows: &[usize]) -> f64 {
        let sum: f64 = rows.iter().map(|row| self.weights[*row] * values[*row]).sum();
        let of: f64 = rows.iter().map(|row| self.weights[*row]).sum();
        sum / of.max(f64::MIN_POSITIVE)
    }

    fn gain(&self, rows: &[usize]) -> f64 {
        self.mean(&self.quality, rows) - self.mean(&self.by_chance, rows)
    }

    fn lift(&self, rows: &[usize]) -> f64 {
        let by_chance = self.mean(&self.by_chance, rows);
        let possible = self.mean(&self.oracle, rows) - by_chance;
        if possible > 1e-9 {
            (self.mean(&self.quality, rows) - by_chance) / possible
        } else {
            0.0
        }
    }

    fn test(&self, draws: &Draws) -> MixTest {
        let whole = |values: &[f64]| self.mean(values, draws.whole());
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
        let (quality, oracle) = (routed.mean(&routed.quality, &rows), routed.mean(&routed.oracle, &rows));
        SourceTest {
            source: source.to_owned(),
            n: rows.len(),
            quality,
            static_mix: routed.mean(&routed.by_chance, &rows),
            oracle,
            regret: oracle - quality,
        }
    };
    rows.into_iter().map(test).collect()
}

fn model_test(truth: Truth<'_>, model: usize, scores: &[f32]) -> ModelTest {
    let labels = &truth.labels[model][..];
    let bins = bins(scores, labels, N_BINS);
    ModelTest {
        model: truth.models[model].clone(),
        mean: mean(truth, labels),
        predicted: mean(truth, scores),
        auc: auc(scores, labels, &truth.rows_by_part()),
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
    let parts = truth.rows_by_part();
    let ranks = [&predicted, &real].map(|gains| falling(gains, &parts));
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

/// Rows by falling gain; of several parts, equally many of each by then.
#[expect(clippy::cast_precision_loss, reason = "counts of prompts")]
fn falling(gains: &[f32], parts: &[Vec<usize>]) -> Vec<usize> {
    let mut ranked: Vec<(f64, usize)> = Vec::with_capacity(gains.len());
    for rows in parts {
        let mut order = rows.clone();
        // Stable: ties stay in the order of the part, which is one by chance.
        order.sort_by(|a, b| gains[*b].total_cmp(&gains[*a]));
        let rank = |(at, row): (usize, usize)| ((at as f64 + 0.5) / rows.len() as f64, row);
        ranked.extend(order.into_iter().enumerate().map(rank));
    }
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    ranked.into_iter().map(|(_, row)| row).collect()
}

/// Some rows of a table of columns.
fn of_rows(table: &[Vec<f32>], rows: &[usize]) -> Vec<Vec<f32>> {
    let some = |column: &Vec<f32>| rows.iter().map(|row| column[*row]).collect();
    table.iter().map(some).collect()
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
        interval(&self.figures(figure))
    }

    /// A figure on the whole test, then on each draw.
    fn figures(&self, figure: impl Fn(&[usize]) -> f64) -> Vec<f64> {
        self.0.iter().map(|rows| figure(rows)).collect()
    }
}

/// The first figure, and between which values 95 % of the others lie.
fn interval(figures: &[f64]) -> Interval {
    let mut drawn = figures[1..].to_vec();
    drawn.sort_by(f64::total_cmp);
    let at = |part: usize| drawn[(drawn.len() * part / 1000).min(drawn.len() - 1)];
    Interval {
        value: figures[0],
        low: at(25),
        high: at(975),
    }
}

fn mean(truth: Truth<'_>, values: &[f32]) -> f64 {
    let (mut sum, mut of) = (0.0, 0.0);
    for (row, value) in values.iter().enumerate() {
        sum += truth.weight(row) * f64::from(*value);
        of += truth.weight(row);
    }
    sum / f64::max(of, f64::MIN_POSITIVE)
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
        judged_with_lifts(scores).0
    }

    fn judged_with_lifts(scores: &[Vec<f32>]) -> (PredictorTest, Lifts) {
        let models = ["a", "b", "c"].map(str::to_owned);
        let sources: Vec<String> = (0..400).map(|i| format!("s{}", i % 2)).collect();
        let labels = labels();
        let truth = Truth {
            models: &models,
            labels: &labels,
            sources: &sources,
            weights: &[],
            parts: &[],
        };
        judge_with_lifts(&subject(), truth, scores)
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

    fn by_chance() -> Vec<Vec<f32>> {
        (0..3)
            .map(|m| (0..400).map(|i| ((i * (7 + 2 * m)) % 101) as f32 / 101.0).collect())
            .collect()
    }

    #[test]
    fn what_two_have_in_common_does_not_blur_their_difference() {
        let mut nearly = by_chance();
        for (scores, labels) in nearly.iter_mut().zip(labels()) {
            // The first tenth is known.
            scores[..40].copy_from_slice(&labels[..40]);
        }
        let (less, more) = (judged_with_lifts(&by_chance()), judged_with_lifts(&nearly));
        let difference = more.1.above(&less.1);
        assert!((difference.value - (more.0.lift.value - less.0.lift.value)).abs() < 1e-12);
        let width = |interval: Interval| interval.high - interval.low;
        assert!(
            width(difference) < 0.8 * width(more.0.lift),
            "{difference:?} {:?}",
            more.0.lift
        );
        assert!(difference.low > 0.0, "{difference:?}");
        let none = more.1.above(&more.1);
        assert!(none.value.abs() < 1e-12 && width(none).abs() < 1e-12);
    }

    #[test]
    fn knowing_nothing_is_a_lift_of_about_zero() {
        let test = judged(&by_chance());
        assert!(test.lift.low < 0.0 && 0.0 < test.lift.high, "{:?}", test.lift);
        assert_ne!(test.verdict, Verdict::Better);
        assert!(test.deferral.area.value.abs() < 0.2);
    }

    #[test]
    fn predictors_of_different_parts_are_not_compared() {
        // One model is right in one part, the other in the other. Whoever has seen only the other part expects the opposite.
        let parts: Vec<usize> = (0..400).map(|i| i % 2).collect();
        let column = |of: usize| parts.iter().map(|part| f32::from(u8::from(*part == of))).collect();
        let labels: [Vec<f32>; 2] = [column(0), column(1)];
        let scores = [labels[1].clone(), labels[0].clone()];
        let models = ["a", "b"].map(str::to_owned);
        let mut truth = Truth {
            models: &models,
            labels: &labels,
            sources: &[],
            weights: &[],
            parts: &parts,
        };
        let test = judge(&subject(), truth, &scores);
        assert!(test.gain.value.abs() < 1e-9, "{:?}", test.gain);
        assert_eq!(test.models[0].auc, None);
        truth.parts = &[];
        assert!(judge(&subject(), truth, &scores).gain.value < -0.3);
    }

    #[test]
    fn a_prompt_that_weighs_twice_is_two_prompts() {
        let labels = labels();
        let models = ["a", "b", "c"].map(str::to_owned);
        let twice: Vec<Vec<f32>> = labels
            .iter()
            .map(|column| [&column[..], &column[..]].concat())
            .collect();
        let truth = |labels, weights| Truth {
            models: &models,
            labels,
            sources: &[],
            weights,
            parts: &[],
        };
        let weighed = judge(&subject(), truth(&labels, &[2.0; 400]), &labels);
        let alike = judge(&subject(), truth(&twice, &[]), &twice);
        assert!((weighed.mixes[1].oracle - alike.mixes[1].oracle).abs() < 0.01);
        let mut weights = [1.0; 400];
        weights.iter_mut().step_by(3).for_each(|weight| *weight = 1000.0);
        let weighed = judge(&subject(), truth(&labels, &weights), &labels);
        assert!(weighed.models[0].mean > 0.99, "{}", weighed.models[0].mean);
    }

    #[test]
    fn promises_that_are_not_kept_are_seen() {
        let test = judged(&by_chance());
        let mix = &test.mixes[0];
        assert!(mix.predicted > mix.quality + 0.1, "{mix:?}");
        assert!(test.models[0].ece > 0.1);
    }
}
