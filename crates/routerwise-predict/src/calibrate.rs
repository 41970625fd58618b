//! From raw predictions to scores that can be taken at their word: of prompts scored 0.7, seven in ten are answered well.
//!
//! Prices are in units of score, so a predictor that is right about the order and wrong about the size routes wrongly. The map is
//! Platt's: `σ(offset + slope · raw)`, fitted on predictions of prompts that the fit had not seen. Isotonic regression was the loser: its
//! steps make ties, and ties have to be broken by chance.

/// Maps of all models, and how far what tells models apart is held back.
///
/// Being right about each model alone is not being right about their differences: routing picks the largest of several predictions, so
/// what is noise in a difference is promised and not kept (the winner's curse). Differences between models are therefore scaled by the
/// part of them that came true on prompts that no fit had seen, at most 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrator {
    pub(crate) maps: Vec<Calibration>,
    /// By how much each model's mean label differs from the mean of all.
    pub(crate) usual: Vec<f32>,
    /// Part of a further difference that is believed, in [0, 1].
    pub(crate) believed: f32,
}

impl Calibrator {
    /// Fitted to raw predictions by fits that had not seen the labels, a column for each model, of rows that count so much; with the scores
    /// that they become.
    pub(crate) fn fit(mut columns: Vec<Vec<f32>>, labels: &[Vec<f32>], counts: &[f32]) -> (Self, Vec<Vec<f32>>) {
        let maps: Vec<Calibration> = columns
            .iter()
            .zip(labels)
            .map(|(raw, labels)| Calibration::fit(raw, labels, counts))
            .collect();
        for (map, column) in maps.iter().zip(&mut columns) {
            column.iter_mut().for_each(|raw| *raw = map.score(*raw));
        }
        let means: Vec<f32> = labels.iter().map(|column| weighed_mean(column, counts)).collect();
        let middle = mean(&means);
        let mut calibrator = Self {
            maps,
            usual: means.iter().map(|mean| mean - middle).collect(),
            believed: 1.0,
        };
        calibrator.believed = calibrator.part_come_true(&columns, labels, counts);
        let mut scores = vec![0.0; labels.len()];
        for row in 0..columns.first().map_or(0, Vec::len) {
            scores
                .iter_mut()
                .zip(&columns)
                .for_each(|(score, column)| *score = column[row]);
            calibrator.hold_back(&mut scores);
            columns
                .iter_mut()
                .zip(&scores)
                .for_each(|(column, score)| column[row] = *score);
        }
        (calibrator, columns)
    }

    /// Makes scores of raw predictions, in place.
    pub(crate) fn calibrate(&self, raw: &mut [f32]) {
        for (raw, map) in raw.iter_mut().zip(&self.maps) {
            *raw = map.score(*raw);
        }
        self.hold_back(raw);
    }

    fn hold_back(&self, scores: &mut [f32]) {
        let middle = mean(scores);
        for (score, usual) in scores.iter_mut().zip(&self.usual) {
            *score = (middle + usual + self.believed * (*score - middle - usual)).clamp(0.0, 1.0);
        }
    }

    /// Slope of real against predicted differences.
    fn part_come_true(&self, columns: &[Vec<f32>], labels: &[Vec<f32>], counts: &[f32]) -> f32 {
        let (mut both, mut square) = (0.0, 0.0);
        for (row, count) in counts.iter().map(|count| f64::from(*count)).enumerate() {
            let middle = |table: &[Vec<f32>]| {
                #[expect(clippy::cast_precision_loss, reason = "a number of models")]
                let n = table.len() as f32;
                table.iter().map(|column| column[row]).sum::<f32>() / n
            };
            let (predicted, real) = (middle(columns), middle(labels));
            for ((column, labels), usual) in columns.iter().zip(labels).zip(&self.usual) {
                let difference = f64::from(column[row] - predicted - usual);
                both += count * difference * f64::from(labels[row] - real - usual);
                square += count * difference * difference;
            }
        }
        if square > 1e-9 {
            crate::rows::narrow((both / square).clamp(0.0, 1.0))
        } else {
            1.0
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of prompts or models")]
fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
    crate::rows::narrow(sum / values.len().max(1) as f64)
}

fn weighed_mean(values: &[f32], counts: &[f32]) -> f32 {
    let products = values.iter().zip(counts);
    let sum: f64 = products
        .map(|(value, count)| f64::from(*value) * f64::from(*count))
        .sum();
    let n: f64 = counts.iter().map(|count| f64::from(*count)).sum();
    crate::rows::narrow(sum / n.max(f64::MIN_POSITIVE))
}

/// A monotone map from a raw prediction to a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Score at a raw prediction of zero, as log odds.
    pub offset: f32,
    /// Log odds per unit of raw prediction; never negative.
    pub slope: f32,
}

impl Calibration {
    /// The score of a raw prediction.
    #[must_use]
    pub fn score(&self, raw: f32) -> f32 {
        1.0 / (1.0 + (-(self.offset + self.slope * raw)).exp())
    }

    /// Fitted to raw predictions and the labels they should have been, in [0, 1], each of which counts so much: the likeliest, by
    /// Newton's method.
    #[must_use]
    pub fn fit(raw: &[f32], labels: &[f32], counts: &[f32]) -> Self {
        let n: f64 = counts.iter().map(|count| f64::from(*count)).sum();
        // As if one good and one bad answer more had been seen: keeps the map finite where all are alike.
        let pull = 1.0 / (n + 2.0);
        let pairs = || {
            let pair = |((raw, label), count): ((&f32, &f32), &f32)| {
                let label = pull + f64::from(*label) * (1.0 - 2.0 * pull);
                (f64::from(*raw), label, f64::from(*count))
            };
            raw.iter().zip(labels).zip(counts).map(pair)
        };
        let mean = pairs().map(|(_, label, count)| count * label).sum::<f64>() / n.max(1.0);
        let constant = Self::new(log_odds(mean), 0.0);
        let (mut offset, mut slope) = (log_odds(mean), 0.0);
        for _ in 0..50 {
            let (mut g0, mut g1, mut h00, mut h01, mut h11) = (0.0, 0.0, 1e-9, 0.0, 1e-6);
            for (raw, label, count) in pairs() {
                let score = 1.0 / (1.0 + (-(offset + slope * raw)).exp());
                let (miss, bend) = (count * (score - label), count * (score * (1.0 - score)).max(1e-9));
                g0 += miss;
                g1 += miss * raw;
                h00 += bend;
                h01 += bend * raw;
                h11 += bend * raw * raw;
            }
            let determinant = h00 * h11 - h01 * h01;
            if determinant <= 0.0 {
                return constant;
            }
            let d0 = (h11 * g0 - h01 * g1) / determinant;
            let d1 = (h00 * g1 - h01 * g0) / determinant;
            // Far from the answer a whole step of Newton may go too far.
            let part = 1.0_f64.min(4.0 / (d0.abs() + d1.abs()).max(1e-12));
            offset -= part * d0;
            slope -= part * d1;
            if d0.abs() + d1.abs() < 1e-9 {
                break;
            }
        }
        if slope > 0.0 && offset.is_finite() {
            Self::new(offset, slope)
        } else {
            constant
        }
    }

    fn new(offset: f64, slope: f64) -> Self {
        let [offset, slope] = [offset, slope].map(crate::rows::narrow);
        Self { offset, slope }
    }
}

fn log_odds(p: f64) -> f64 {
    let p = p.clamp(1e-6, 1.0 - 1e-6);
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_become_what_is_seen() {
        // Raw predictions that exaggerate: 0.1 and 0.9 where the truth is 0.4 and 0.6.
        let raw: Vec<f32> = (0..1000).map(|i| if i % 2 == 0 { 0.1 } else { 0.9 }).collect();
        let good = |i: usize| {
            if i.is_multiple_of(2) {
                i / 2 % 5 < 2
            } else {
                i / 2 % 5 < 3
            }
        };
        let labels: Vec<f32> = (0..1000).map(|i| f32::from(u8::from(good(i)))).collect();
        let map = Calibration::fit(&raw, &labels, &[1.0; 1000]);
        assert!((map.score(0.1) - 0.4).abs() < 0.01, "{}", map.score(0.1));
        assert!((map.score(0.9) - 0.6).abs() < 0.01, "{}", map.score(0.9));
    }

    #[test]
    fn what_is_backwards_alike_or_missing_becomes_the_mean() {
        let backwards = Calibration::fit(&[0.9, 0.1, 0.8, 0.2], &[0.0, 1.0, 0.0, 1.0], &[1.0; 4]);
        assert!((backwards.score(0.9) - 0.5).abs() < 1e-3);
        let alike = Calibration::fit(&[0.5; 8], &[1.0; 8], &[1.0; 8]);
        assert!(alike.score(0.5) > 0.85);
        assert!((Calibration::fit(&[], &[], &[]).score(0.3)).is_finite());
    }

    #[test]
    fn differences_that_do_not_come_true_are_held_back() {
        // Both models do alike on every prompt; predictions say that one is ahead here, the other there.
        let row = |i: usize, model: usize| f32::from(u8::from((i / 2 + model).is_multiple_of(2))) * 0.4 + 0.3;
        let columns: Vec<Vec<f32>> = (0..2).map(|model| (0..400).map(|i| row(i, model)).collect()).collect();
        let label = |i: usize| f32::from(u8::from(i.is_multiple_of(2)));
        let labels: Vec<Vec<f32>> = (0..2).map(|_| (0..400).map(label).collect()).collect();
        let (calibrator, scores) = Calibrator::fit(columns, &labels, &[1.0; 400]);
        let mut raw = [0.3, 0.7];
        calibrator.calibrate(&mut raw);
        assert!((raw[0] - raw[1]).abs() < 0.01, "{raw:?}");
        assert!((scores[0][0] - scores[1][0]).abs() < 0.01);
        let (calibrator, _) = Calibrator::fit(labels.clone(), &labels, &[1.0; 400]);
        assert!(calibrator.believed > 0.99);
    }
}
