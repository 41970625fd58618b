//! From raw predictions to scores that can be taken at their word: of prompts scored 0.7, seven in ten are answered well.
//!
//! Prices are in units of score, so a predictor that is right about the order and wrong about the size routes wrongly. The map is
//! Platt's: `σ(offset + slope · raw)`, fitted on predictions of prompts that the fit had not seen. Isotonic regression was the loser: its
//! steps make ties, and ties have to be broken by chance.

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

    /// Fitted to raw predictions and the labels they should have been, in [0, 1]: the likeliest, by Newton's method.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of prompts")]
    pub fn fit(raw: &[f32], labels: &[f32]) -> Self {
        let n = raw.len() as f64;
        // As if one good and one bad answer more had been seen: keeps the map finite where all are alike.
        let pull = 1.0 / (n + 2.0);
        let pairs = || {
            let pair = |(raw, label): (&f32, &f32)| (f64::from(*raw), pull + f64::from(*label) * (1.0 - 2.0 * pull));
            raw.iter().zip(labels).map(pair)
        };
        let mean = pairs().map(|(_, label)| label).sum::<f64>() / n.max(1.0);
        let constant = Self::new(log_odds(mean), 0.0);
        let (mut offset, mut slope) = (log_odds(mean), 0.0);
        for _ in 0..50 {
            let (mut g0, mut g1, mut h00, mut h01, mut h11) = (0.0, 0.0, 1e-9, 0.0, 1e-6);
            for (raw, label) in pairs() {
                let score = 1.0 / (1.0 + (-(offset + slope * raw)).exp());
                let (miss, bend) = (score - label, (score * (1.0 - score)).max(1e-9));
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
        let map = Calibration::fit(&raw, &labels);
        assert!((map.score(0.1) - 0.4).abs() < 0.01, "{}", map.score(0.1));
        assert!((map.score(0.9) - 0.6).abs() < 0.01, "{}", map.score(0.9));
    }

    #[test]
    fn what_is_backwards_alike_or_missing_becomes_the_mean() {
        let backwards = Calibration::fit(&[0.9, 0.1, 0.8, 0.2], &[0.0, 1.0, 0.0, 1.0]);
        assert!((backwards.score(0.9) - 0.5).abs() < 1e-3);
        let alike = Calibration::fit(&[0.5; 8], &[1.0; 8]);
        assert!(alike.score(0.5) > 0.85);
        assert!((Calibration::fit(&[], &[]).score(0.3)).is_finite());
    }
}
