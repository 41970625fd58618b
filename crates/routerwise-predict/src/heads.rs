//! From a point to scores: what is learned on top of embeddings, wherever they come from.
//!
//! Features are the point and the standardised surface of the text. Every head is learned and calibrated as the default predictor
//! is: on prompts that a fit has not seen.

mod knn;
mod mlp;

pub use knn::Knn;
pub(crate) use knn::MOST_K;
pub(crate) use mlp::HIDDEN;
pub use mlp::Mlp;

use crate::calibrate::Calibrator;
use crate::components::Basis;
use crate::embed::{Embed, WordTable};
use crate::features::{N_SURFACE, Surface, Wanted, extract};
use crate::groups::Groups;
use crate::matrix::{Matrix, times};
use crate::predictor::{NotScored, Predictor};
use crate::prompt::{Piece, PromptFacts};
use crate::rows::{Lanes, Rows, SurfaceScales, standardised};
use crate::train::{CannotLearn, Labelled, Options, Trained, enough, fit};

/// Widest point that heads take: predicting needs a buffer, and allocates nothing.
pub const MOST_WIDTH: usize = 2048;

/// Which head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// A linear model of the labels' components.
    Ridge,
    /// The mean of the nearest prompts' labels.
    Knn,
    /// One hidden layer.
    Mlp,
}

/// What was learned on top of points.
#[derive(Clone, Debug, PartialEq)]
pub enum Head {
    /// A linear model of the labels' components.
    Ridge(Ridge),
    /// The mean of the nearest prompts' labels.
    Knn(Knn),
    /// One hidden layer.
    Mlp(Mlp),
}

/// A linear model of the labels' components.
#[derive(Clone, Debug, PartialEq)]
pub struct Ridge {
    pub(crate) basis: Basis,
    pub(crate) weights: Vec<Lanes>,
}

/// A head with all that it needs beside the point.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingHead {
    pub(crate) models: Vec<String>,
    /// Numbers of a point.
    pub(crate) width: usize,
    pub(crate) surface_scales: SurfaceScales,
    pub(crate) head: Head,
    pub(crate) calibrator: Calibrator,
}

impl EmbeddingHead {
    /// Names of the models, in the order of the scores.
    #[must_use]
    pub fn models(&self) -> &[String] {
        &self.models
    }

    /// Numbers of a point.
    #[must_use]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Scores of the prompt whose point this is. Allocates nothing.
    ///
    /// # Panics
    /// When the point has another width than those that were learned from.
    pub fn score(&self, prompt: &PromptFacts<'_>, point: &[f32], scores: &mut [f32]) {
        let surface = extract(prompt.read().texts(), Wanted::Words, |_| ());
        self.score_with(point, &surface, scores);
    }

    fn score_with(&self, point: &[f32], surface: &Surface, scores: &mut [f32]) {
        assert_eq!(point.len(), self.width, "points are as wide as those learned from");
        let mut features = [0.0; MOST_WIDTH + N_SURFACE];
        let features = &mut features[..self.width + N_SURFACE];
        features[..self.width].copy_from_slice(point);
        features[self.width..].copy_from_slice(&standardised(surface, &self.surface_scales));
        self.head.raw(features, scores);
        self.calibrator.calibrate(scores);
    }
}

impl Head {
    /// Raw predictions; calibration makes scores of them.
    fn raw(&self, features: &[f32], raw: &mut [f32]) {
        match self {
            Self::Ridge(ridge) => {
                let components = times(features, &ridge.weights);
                for (model, raw) in raw.iter_mut().enumerate() {
                    *raw = ridge.basis.label(model, &components);
                }
            }
            Self::Knn(knn) => knn.raw(features, raw),
            Self::Mlp(mlp) => mlp.raw(features, raw),
        }
    }
}

/// Learns a head on points, one per prompt. `step` is called [`N_STEPS`](crate::train::N_STEPS) times, from any thread.
///
/// # Errors
/// When there is too little to learn from.
///
/// # Panics
/// When there are not as many points as prompts, or points are wider than [`MOST_WIDTH`].
pub fn learn(
    kind: HeadKind,
    points: &Matrix,
    data: Labelled<'_>,
    options: Options,
    step: &(dyn Fn() + Sync),
) -> Result<Trained<EmbeddingHead>, CannotLearn> {
    assert_eq!(points.n_rows(), data.texts.len(), "a point for each prompt");
    assert!(points.width() <= MOST_WIDTH, "no point is wider than the buffer");
    let groups = Groups::by_prompt(data.texts);
    enough(&data, &groups)?;
    let surfaces = Rows::of(data.texts, Wanted::Words);
    let features = with_surface(points, &surfaces);
    step();
    Ok(learn_with(
        kind,
        &features,
        points.width(),
        &surfaces,
        data,
        &groups,
        options,
        step,
    ))
}

#[expect(
    clippy::too_many_arguments,
    reason = "parts of one call, taken apart to share them with the word table"
)]
fn learn_with(
    kind: HeadKind,
    features: &Matrix,
    width: usize,
    surfaces: &Rows,
    data: Labelled<'_>,
    groups: &Groups,
    options: Options,
    step: &(dyn Fn() + Sync),
) -> Trained<EmbeddingHead> {
    let (head, calibrator, cross_fitted, strengths) = match kind {
        HeadKind::Ridge => {
            let fit = fit(features, data, groups, options, step);
            let ridge = Ridge {
                basis: fit.basis,
                weights: fit.weights,
            };
            (Head::Ridge(ridge), fit.calibrator, fit.cross_fitted, fit.strengths)
        }
        HeadKind::Knn => {
            let fitted = knn::learn(features, data, groups, options, step);
            (Head::Knn(fitted.0), fitted.1, fitted.2, Vec::new())
        }
        HeadKind::Mlp => {
            let fitted = mlp::learn(features, data, groups, options, step);
            (Head::Mlp(fitted.0), fitted.1, fitted.2, Vec::new())
        }
    };
    let predictor = EmbeddingHead {
        models: data.models.to_vec(),
        width,
        surface_scales: surfaces.scales.surface,
        head,
        calibrator,
    };
    Trained {
        predictor,
        cross_fitted,
        strengths,
    }
}

fn with_surface(points: &Matrix, surfaces: &Rows) -> Matrix {
    let row = |row: usize| points.row(row).iter().chain(surfaces.surface(row));
    let values = (0..points.n_rows()).flat_map(row).copied().collect();
    Matrix::new(points.width() + N_SURFACE, values)
}

/// Word vectors learned from the texts, and a head on them: the predictor `static`.
#[derive(Clone, Debug, PartialEq)]
pub struct Static {
    pub(crate) table: WordTable,
    pub(crate) head: EmbeddingHead,
}

impl Static {
    /// Learns table and head.
    ///
    /// # Errors
    /// When there is too little to learn from.
    pub fn learn(data: Labelled<'_>, options: Options, step: &(dyn Fn() + Sync)) -> Result<Trained<Self>, CannotLearn> {
        let groups = Groups::by_prompt(data.texts);
        enough(&data, &groups)?;
        let words = Rows::of(data.texts, Wanted::Words);
        let table = WordTable::learn(&words, options.seed);
        let point = |text: &String| table.point(PromptFacts::new(&[Piece::user(text)]).read().texts()).0;
        let points = Matrix::new(table.width(), data.texts.iter().flat_map(point).collect());
        let features = with_surface(&points, &words);
        step();
        let trained = learn_with(
            HeadKind::Ridge,
            &features,
            points.width(),
            &words,
            data,
            &groups,
            options,
            step,
        );
        Ok(trained.map(|head| Self { table, head }))
    }
}

impl Predictor for Static {
    fn models(&self) -> &[String] {
        &self.head.models
    }

    fn predict(&self, prompt: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored> {
        let (point, surface) = self.table.point(prompt.read().texts());
        self.head.score_with(&point, &surface, scores);
        Ok(())
    }
}

/// A head behind whatever makes points.
#[derive(Clone, Debug)]
pub struct Embedded<E> {
    /// Makes points.
    pub embed: E,
    /// Makes scores of them.
    pub head: EmbeddingHead,
}

impl<E: Embed> Predictor for Embedded<E> {
    fn models(&self) -> &[String] {
        &self.head.models
    }

    fn predict(&self, prompt: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored> {
        let mut point = [0.0; MOST_WIDTH];
        let point = point
            .get_mut(..self.embed.width())
            .filter(|point| point.len() == self.head.width)
            .ok_or_else(|| NotScored::Failed("embeddings have another width than those learned from".into()))?;
        self.embed.embed(prompt, point)?;
        self.head.score(prompt, point, scores);
        Ok(())
    }

    fn waits(&self) -> bool {
        self.embed.waits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points on a ring; one model is good on one half of it, the other on the other.
    fn ring(n: usize) -> (Vec<String>, Matrix, Vec<Vec<f32>>) {
        let angle = |i: usize| i as f32 * 2.399_963;
        let texts = (0..n).map(|i| format!("prompt {i}")).collect();
        let points = (0..n).flat_map(|i| [angle(i).cos(), angle(i).sin()]).collect();
        let up: Vec<f32> = (0..n).map(|i| f32::from(u8::from(angle(i).sin() > 0.0))).collect();
        let down = up.iter().map(|up| 1.0 - up).collect();
        (texts, Matrix::new(2, points), vec![up, down])
    }

    #[test]
    fn every_head_learns_what_points_say() {
        let (texts, points, labels) = ring(600);
        let models = ["up", "down"].map(str::to_owned).to_vec();
        let data = Labelled {
            models: &models,
            texts: &texts,
            labels: &labels,
            weights: &[],
        };
        let options = Options { seed: 1, n_threads: 2 };
        for kind in [HeadKind::Ridge, HeadKind::Knn, HeadKind::Mlp] {
            let trained = learn(kind, &points, data, options, &|| ()).unwrap();
            let prompt = [Piece::user("prompt 77")];
            let mut scores = [0.0; 2];
            trained
                .predictor
                .score(&PromptFacts::new(&prompt), &[0.0, 1.0], &mut scores);
            assert!(scores[0] > 0.8 && scores[1] < 0.2, "{kind:?} {scores:?}");
            let right = (0..600)
                .filter(|i| (trained.cross_fitted[0][*i] > 0.5) == (labels[0][*i] > 0.5))
                .count();
            assert!(right > 560, "{kind:?} {right}");
            let again = learn(
                kind,
                &points,
                data,
                Options {
                    n_threads: 1,
                    ..options
                },
                &|| (),
            )
            .unwrap();
            assert_eq!(again.predictor, trained.predictor);
        }
    }

    #[test]
    fn word_vectors_learn_what_words_say() {
        let text = |i: usize| format!("{} question {} of many", ["statute", "algebra"][i % 2], i * 7919 % 1009);
        let texts: Vec<String> = (0..400).map(text).collect();
        let labels: Vec<Vec<f32>> = (0..2)
            .map(|m| (0..400).map(|i| f32::from(u8::from(i % 2 == m))).collect())
            .collect();
        let models = ["jurist", "geometer"].map(str::to_owned).to_vec();
        let data = Labelled {
            models: &models,
            texts: &texts,
            labels: &labels,
            weights: &[],
        };
        let trained = Static::learn(data, Options { seed: 1, n_threads: 1 }, &|| ()).unwrap();
        let mut scores = [0.0; 2];
        let prompt = [Piece::user("statute question 5 of many")];
        trained
            .predictor
            .predict(&PromptFacts::new(&prompt), &mut scores)
            .unwrap();
        assert!(scores[0] > 0.8 && scores[1] < 0.2, "{scores:?}");
    }
}
