//! The default predictor: one table look-up per feature, a sum, and a few products.
//!
//! ```text
//! z = Σ_b row[b] / √(Σ_b idf[b]²) + Σ_s surface[s] · W[s]        components, shared by all models
//! score_m = σ(offset_m + slope_m · (mean_m + part_m · z))         then differences between models held back
//! ```
//!
//! A row is one cache line: the square of the feature's weight, then its share in each component. Nothing is allocated.

use routerwise_types::Fingerprint;

use crate::calibrate::Calibrator;
use crate::components::Basis;
use crate::features::{N_BUCKETS, N_SURFACE, Wanted, extract};
use crate::predictor::{NotScored, Predictor};
use crate::prompt::PromptFacts;
use crate::rows::{LANES, Lanes, Scales, SurfaceScales, standardised};

/// The default predictor; [`train`](crate::train::train) makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    pub(crate) models: Vec<String>,
    pub(crate) basis: Basis,
    pub(crate) calibrator: Calibrator,
    /// Mean and factor of each surface value.
    pub(crate) surface_scales: SurfaceScales,
    pub(crate) surface: [Lanes; N_SURFACE],
    /// By bucket: components first, the squared weight last.
    pub(crate) table: Vec<Lanes>,
}

/// Lane of a row that holds the feature's squared weight.
pub(crate) const SQUARE: usize = LANES - 1;

impl Linear {
    pub(crate) fn new(
        models: &[String],
        basis: Basis,
        calibrator: Calibrator,
        scales: &Scales,
        weights: &[Lanes],
    ) -> Self {
        let row = |(weight, learned): (&f32, &Lanes)| {
            let mut row = learned.map(|learned| learned * weight);
            row[SQUARE] = weight * weight;
            row
        };
        Self {
            models: models.to_vec(),
            basis,
            calibrator,
            surface_scales: scales.surface,
            surface: std::array::from_fn(|at| weights[N_BUCKETS + at]),
            table: scales.bucket.iter().zip(weights).map(row).collect(),
        }
    }

    /// The components of a prompt.
    fn components(&self, prompt: &PromptFacts<'_>) -> Lanes {
        let mut sum = [0.0; LANES];
        let raw = extract(prompt.read().texts(), Wanted::All, |bucket| {
            for (sum, row) in sum.iter_mut().zip(&self.table[bucket]) {
                *sum += row;
            }
        });
        let length = sum[SQUARE].sqrt().max(f32::MIN_POSITIVE);
        sum.iter_mut().for_each(|sum| *sum /= length);
        sum[SQUARE] = 0.0;
        for (value, weights) in standardised(&raw, &self.surface_scales).iter().zip(&self.surface) {
            for (sum, weight) in sum.iter_mut().zip(weights) {
                *sum += value * weight;
            }
        }
        sum
    }

    /// Content of what was learned.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_bytes(&crate::file::linear::body(self))
    }
}

impl Predictor for Linear {
    fn models(&self) -> &[String] {
        &self.models
    }

    fn predict(&self, prompt: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored> {
        let components = self.components(prompt);
        for (model, score) in scores.iter_mut().enumerate().take(self.models.len()) {
            *score = self.basis.label(model, &components);
        }
        self.calibrator.calibrate(scores);
        Ok(())
    }
}
