//! Predicted scores: what a small router can tell from the prompt's text.
//!
//! Ridge regression on hashed words and a few surface features, one output per model. Every prompt is scored by a fit that has not seen
//! it (five folds by row number), so the predictions are as good as on new prompts of the same kind, not better.
//!
//! Measured labels would make every router look perfect: they say which model happened to answer right. The paper plans on the
//! predictions of a fine-tuned DeBERTa; this predictor is weaker, and overlaps between models are as strong as the paper shows.

/// Buckets that words and pairs of words are hashed into.
const N_HASHED: usize = 1024;
/// Constant, length, digits, formulas.
const N_SURFACE: usize = 4;
const N_FEATURES: usize = N_HASHED + N_SURFACE;
const N_FOLDS: usize = 5;
/// Strength of the ridge; chosen once by the error of the predictions.
const RIDGE: f64 = 300.0;
/// The intercept is hardly held back.
const RIDGE_CONSTANT: f64 = 1e-3;

/// One column of predictions per column of labels, each clamped to [0, 1].
#[must_use]
pub(crate) fn predict(texts: &[String], labels: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let rows: Vec<Vec<(usize, f64)>> = texts.iter().map(|text| features(text)).collect();
    let all = Moments::of(&rows, labels, |_| true);
    let mut predicted = vec![vec![0.0; texts.len()]; labels.len()];
    for fold in 0..N_FOLDS {
        let inside = |row: usize| row % N_FOLDS == fold;
        let weights = all.without(&Moments::of(&rows, labels, inside)).solve();
        for row in (0..rows.len()).filter(|row| inside(*row)) {
            for (column, weights) in predicted.iter_mut().zip(&weights) {
                let value: f64 = rows[row].iter().map(|(at, x)| x * weights[*at]).sum();
                #[expect(clippy::cast_possible_truncation, reason = "scores are kept as f32")]
                let score = value.clamp(0.0, 1.0) as f32;
                column[row] = score;
            }
        }
    }
    predicted
}

/// For each model, how good predictions are, in words.
#[must_use]
pub(crate) fn errors(labels: &[Vec<f32>], predicted: &[Vec<f32>]) -> Vec<String> {
    let describe = |(label, predicted): (&Vec<f32>, &Vec<f32>)| {
        let mean = |column: &[f32]| column.iter().map(|x| f64::from(*x)).sum::<f64>() / column.len() as f64;
        let centre = mean(label);
        let squares = |at: &dyn Fn(usize) -> f64| {
            (0..label.len())
                .map(|i| (f64::from(label[i]) - at(i)).powi(2))
                .sum::<f64>()
        };
        let explained = 1.0 - squares(&|i| f64::from(predicted[i])) / squares(&|_| centre);
        format!(
            "mean {centre:.4}, predicted {:.4}, variance explained {:.1} %",
            mean(predicted),
            100.0 * explained
        )
    };
    labels.iter().zip(predicted).map(describe).collect()
}

/// Sparse features of a text, in rising order.
fn features(text: &str) -> Vec<(usize, f64)> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let mut counts = std::collections::BTreeMap::<usize, f64>::new();
    let mut count = |hash: u64| {
        let bucket = usize::try_from(hash % N_HASHED as u64).expect("below the number of buckets");
        *counts.entry(bucket).or_insert(0.0) += 1.0;
    };
    for word in &words {
        count(fnv(word.as_bytes(), 0));
    }
    for pair in words.windows(2) {
        count(fnv(pair[1].as_bytes(), fnv(pair[0].as_bytes(), 1)));
    }
    for value in counts.values_mut() {
        *value = 1.0 + value.ln();
    }
    let norm = counts.values().map(|value| value * value).sum::<f64>().sqrt().max(1.0);
    let mut found: Vec<(usize, f64)> = counts.into_iter().map(|(at, value)| (at, 4.0 * value / norm)).collect();
    let length = lower.chars().count().max(1) as f64;
    let part = |wanted: fn(char) -> bool| lower.chars().filter(|c| wanted(*c)).count() as f64 / length;
    found.extend([
        (N_HASHED, 1.0),
        (N_HASHED + 1, length.ln() / 4.0),
        (N_HASHED + 2, 4.0 * part(|c| c.is_ascii_digit())),
        (N_HASHED + 3, 4.0 * part(|c| "\\$^_=+{}".contains(c))),
    ]);
    found
}

/// FNV-1a, started from a seed.
fn fnv(bytes: &[u8], seed: u64) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ seed;
    bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `XᵀX` (lower half, row by row) and `Xᵀy` for each label.
struct Moments {
    gram: Vec<f64>,
    targets: Vec<Vec<f64>>,
}

impl Moments {
    fn of(rows: &[Vec<(usize, f64)>], labels: &[Vec<f32>], inside: impl Fn(usize) -> bool) -> Self {
        let mut gram = vec![0.0; N_FEATURES * N_FEATURES];
        let mut targets = vec![vec![0.0; N_FEATURES]; labels.len()];
        for (row, features) in rows.iter().enumerate().filter(|(row, _)| inside(*row)) {
            for (i, (a, x)) in features.iter().enumerate() {
                for (b, y) in &features[..=i] {
                    gram[a * N_FEATURES + b] += x * y;
                }
                for (target, label) in targets.iter_mut().zip(labels) {
                    target[*a] += x * f64::from(label[row]);
                }
            }
        }
        Self { gram, targets }
    }

    fn without(&self, part: &Self) -> Self {
        let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let targets = self.targets.iter().zip(&part.targets);
        Self {
            gram: minus(&self.gram, &part.gram),
            targets: targets.map(|(a, b)| minus(a, b)).collect(),
        }
    }

    /// Weights of each label, by Cholesky's factorisation in place.
    fn solve(mut self) -> Vec<Vec<f64>> {
        let n = N_FEATURES;
        for i in 0..n {
            self.gram[i * n + i] += if i == N_HASHED { RIDGE_CONSTANT } else { RIDGE };
        }
        for i in 0..n {
            let (above, current) = self.gram.split_at_mut(i * n);
            for j in 0..i {
                let row = &above[j * n..j * n + j + 1];
                let dot: f64 = current[..j].iter().zip(row).map(|(a, b)| a * b).sum();
                current[j] = (current[j] - dot) / row[j];
            }
            let squares: f64 = current[..i].iter().map(|x| x * x).sum();
            current[i] = (current[i] - squares).sqrt();
        }
        let factor = &self.gram;
        self.targets
            .into_iter()
            .map(|mut x| {
                for i in 0..n {
                    let dot: f64 = factor[i * n..i * n + i].iter().zip(&x).map(|(a, b)| a * b).sum();
                    x[i] = (x[i] - dot) / factor[i * n + i];
                }
                for i in (0..n).rev() {
                    let dot: f64 = (i + 1..n).map(|j| factor[j * n + i] * x[j]).sum();
                    x[i] = (x[i] - dot) / factor[i * n + i];
                }
                x
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_words_say_is_learnt_and_what_they_do_not_is_the_mean() {
        let text = |i: usize| {
            format!(
                "{} question {}",
                if i.is_multiple_of(3) { "law" } else { "algebra" },
                i * 7919 % 101
            )
        };
        let texts: Vec<String> = (0..600).map(text).collect();
        let by_word: Vec<f32> = (0..600_u32)
            .map(|i| if i.is_multiple_of(3) { 1.0 } else { 0.0 })
            .collect();
        let by_chance: Vec<f32> = (0..600).map(|i| (i * 31 % 7 % 2) as f32).collect();
        let predicted = predict(&texts, &[by_word.clone(), by_chance]);
        let error = |i: usize| (predicted[0][i] - by_word[i]).abs();
        let mean: f32 = (0..600).map(error).sum::<f32>() / 600.0;
        assert!(mean < 0.1, "{mean}");
        let middle: f32 = predicted[1].iter().sum::<f32>() / 600.0;
        assert!((0.3..0.6).contains(&middle), "{middle}");
    }
}
