//! Predictors of all kinds as one value: what is learned, written, read and served.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::heads::{self, EmbeddingHead, HeadKind, Static};
use crate::linear::Linear;
use crate::matrix::Matrix;
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
    /// Sentence embeddings, and the mean of the nearest prompts.
    EmbeddingsKnn,
    /// Sentence embeddings, and a linear model.
    EmbeddingsRidge,
    /// Sentence embeddings, and a small network.
    EmbeddingsMlp,
}

impl From<HeadKind> for Kind {
    fn from(head: HeadKind) -> Self {
        match head {
            HeadKind::Knn => Self::EmbeddingsKnn,
            HeadKind::Ridge => Self::EmbeddingsRidge,
            HeadKind::Mlp => Self::EmbeddingsMlp,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Static => "static",
            Self::EmbeddingsKnn => "embeddings + knn",
            Self::EmbeddingsRidge => "embeddings + ridge",
            Self::EmbeddingsMlp => "embeddings + mlp",
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
    /// A head on embeddings that somebody else makes.
    Embedded(Box<OnEmbeddings>),
}

/// A head on sentence embeddings, with the default predictor to stand in for it where there is no embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct OnEmbeddings {
    /// What was learned from embeddings.
    pub head: EmbeddingHead,
    /// Learned from the same prompts.
    pub fallback: Linear,
}

/// Learns a head on embeddings, one for each prompt, and the default predictor beside it. `step` is called twice
/// [`N_STEPS`](crate::train::N_STEPS) times, from any thread.
///
/// # Errors
/// When there is too little to learn from.
///
/// # Panics
/// When there are not as many embeddings as prompts.
pub fn learn_on_embeddings(
    kind: HeadKind,
    embeddings: &Matrix,
    data: Labelled<'_>,
    options: Options,
    step: &(dyn Fn() + Sync),
) -> Result<Trained<Learned>, CannotLearn> {
    let fallback = train(data, options, step)?.predictor;
    let trained = heads::learn(kind, embeddings, data, options, step)?;
    Ok(trained.map(|head| Learned::Embedded(Box::new(OnEmbeddings { head, fallback }))))
}

/// Learns a predictor that needs nothing but texts. `step` is called [`N_STEPS`](crate::train::N_STEPS) times, from any thread.
///
/// # Errors
/// When there is too little to learn from.
///
/// # Panics
/// For a kind that learns from embeddings: see [`learn_on_embeddings`].
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
        Kind::EmbeddingsKnn | Kind::EmbeddingsRidge | Kind::EmbeddingsMlp => {
            panic!("this kind is learned by `learn_on_embeddings`")
        }
    }
}

impl OnEmbeddings {
    /// The scores of many prompts by their embeddings: for each model one per prompt.
    #[must_use]
    pub fn score_all(&self, texts: &[String], embeddings: &Matrix) -> Vec<Vec<f32>> {
        let n_models = self.head.models().len();
        let mut columns = vec![Vec::with_capacity(texts.len()); n_models];
        let mut scores = vec![0.0; n_models];
        for (row, text) in texts.iter().enumerate() {
            let prompt = [Piece::user(text)];
            self.head
                .score(&PromptFacts::new(&prompt), embeddings.row(row), &mut scores);
            for (column, score) in columns.iter_mut().zip(&scores) {
                column.push(*score);
            }
        }
        columns
    }
}

impl Learned {
    /// The scores of many prompts: for each model one per prompt. Where embeddings are needed, those of the predictor that stands in.
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
            Self::Embedded(learned) => learned.head.models(),
        }
    }

    fn predict(&self, prompt: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored> {
        match self {
            Self::Linear(linear) => linear.predict(prompt, scores),
            Self::Static(learned) => learned.predict(prompt, scores),
            // Without an embedding this is what there is; whoever makes embeddings asks the head.
            Self::Embedded(learned) => learned.fallback.predict(prompt, scores),
        }
    }
}
