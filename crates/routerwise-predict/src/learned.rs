//! Predictors of all kinds as one value: what is learned, written, read and served.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::heads::Static;
use crate::linear::Linear;
use crate::predictor::{NotScored, Predictor};
use crate::prompt::{Piece, PromptFacts};
use crate::train::{CannotLearn, Labelled, Options, Trained, train};

/// Kinds of predictors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Hashed words and surface, linear.
    Default,
    /// Word vectors learned from the same prompts, linear.
    Static,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Static => "static",
        })
    }
}

/// A predictor of one of the kinds.
#[derive(Clone, Debug, PartialEq)]
pub enum Learned {
    /// The default.
    Linear(Box<Linear>),
    /// Word vectors and a linear head.
    Static(Box<Static>),
}

/// Learns a predictor. `step` is called [`N_STEPS`](crate::train::N_STEPS) times, from any thread.
///
/// # Errors
/// When there is too little to learn from.
pub fn learn(
    kind: Kind,
    data: Labelled<'_>,
    options: Options,
    step: &(dyn Fn() + Sync),
) -> Result<Trained<Learned>, CannotLearn> {
    match kind {
        Kind::Default => {
            train(data, options, step).map(|trained| trained.map(|learned| Learned::Linear(Box::new(learned))))
        }
        Kind::Static => {
            Static::learn(data, options, step).map(|trained| trained.map(|learned| Learned::Static(Box::new(learned))))
        }
    }
}

impl Learned {
    /// The scores of many prompts: for each model one per prompt.
    ///
    /// # Panics
    /// Never: what is learned here scores every text.
    #[must_use]
    pub fn score_all(&self, texts: &[String]) -> Vec<Vec<f32>> {
        let n_models = self.models().len();
        let mut columns = vec![Vec::with_capacity(texts.len()); n_models];
        let mut scores = vec![0.0; n_models];
        for text in texts {
            let prompt = [Piece::user(text)];
            self.predict(&PromptFacts::new(&prompt), &mut scores)
                .expect("a learned predictor scores every text");
            for (column, score) in columns.iter_mut().zip(&scores) {
                column.push(*score);
            }
        }
        columns
    }
}

impl Predictor for Learned {
    fn models(&self) -> &[String] {
        match self {
            Self::Linear(linear) => linear.models(),
            Self::Static(learned) => learned.models(),
        }
    }

    fn predict(&self, prompt: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored> {
        match self {
            Self::Linear(linear) => linear.predict(prompt, scores),
            Self::Static(learned) => learned.predict(prompt, scores),
        }
    }
}
