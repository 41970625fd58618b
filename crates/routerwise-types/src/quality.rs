//! Score of each model on each prompt.

use std::borrow::Cow;

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
    /// Indices of the prompts of each route of the workload; empty where there is one route, which has all prompts.
    pub routes: Vec<Vec<usize>>,
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

    /// The prompts of one route, with their scores.
    #[must_use]
    pub fn of_route(&self, route_ix: usize) -> Cow<'_, Self> {
        let Some(own) = self.routes.get(route_ix) else {
            return Cow::Borrowed(self);
        };
        Cow::Owned(Self {
            models: self.models.clone(),
            prompts: own.iter().map(|ix| self.prompts[*ix].clone()).collect(),
            columns: self
                .columns
                .iter()
                .map(|column| own.iter().map(|ix| column[*ix]).collect())
                .collect(),
            routes: Vec::new(),
            output_tokens: self
                .output_tokens
                .iter()
                .map(|column| column.as_ref().map(|column| own.iter().map(|ix| column[*ix]).collect()))
                .collect(),
        })
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
