//! Score of each model on each prompt.

use crate::units::Score;

/// Scores of `M` models on `N` prompts.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Model names, in the order of [`Scores::columns`].
    pub models: Vec<String>,
    /// Prompts, in file order.
    pub prompts: Vec<Prompt>,
    /// One column of `N` scores per model, each in [0, 1].
    pub columns: Vec<Vec<f32>>,
    /// Measured answer lengths per model, in the same layout, where the file has them.
    pub output_tokens: Vec<Option<Vec<u32>>>,
}

/// One prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    /// Identity in the scores file.
    pub id: String,
    /// How often it is asked, relative to the others; positive.
    pub weight: f64,
    /// The text, where the file has it.
    pub text: Option<String>,
    /// Prompt tokens, where the file has them.
    pub tokens: Option<u32>,
}

impl Scores {
    /// How many prompts there are.
    #[must_use]
    pub fn n_prompts(&self) -> usize {
        self.prompts.len()
    }

    /// Weights scaled to sum to 1.
    #[must_use]
    pub fn normalised_weights(&self) -> Vec<f64> {
        let total: f64 = self.prompts.iter().map(|prompt| prompt.weight).sum();
        self.prompts.iter().map(|prompt| prompt.weight / total).collect()
    }

    /// Weighted mean score of one model.
    ///
    /// # Panics
    /// When `model_ix` is out of range.
    #[must_use]
    pub fn mean(&self, model_ix: usize) -> Score {
        let weights = self.normalised_weights();
        let mean: f64 = weights
            .iter()
            .zip(&self.columns[model_ix])
            .map(|(p, s)| p * f64::from(*s))
            .sum();
        Score::new(mean.clamp(0.0, 1.0)).expect("a mean of scores in [0, 1], clamped against rounding")
    }
}
