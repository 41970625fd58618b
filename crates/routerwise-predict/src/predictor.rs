//! The one trait behind which every predictor stands.

use thiserror::Error;

use crate::prompt::PromptFacts;

/// Text in, one score per model out.
///
/// A score is the expected score of that model's answer, in [0, 1]: prices are in units of score, so it has to be calibrated.
/// Implement it for a scorer of your own; what does not come in time is an error, and whoever routes falls back to another.
///
/// ```
/// use routerwise_predict::{NotScored, Piece, Predictor, PromptFacts};
///
/// struct ByLength(Vec<String>);
///
/// impl Predictor for ByLength {
///     fn models(&self) -> &[String] {
///         &self.0
///     }
///     fn predict(&self, prompt: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored> {
///         let n_bytes: usize = prompt.pieces.iter().map(|piece| piece.text.len()).sum();
///         scores.copy_from_slice(if n_bytes < 500 { &[0.7, 0.8] } else { &[0.4, 0.8] });
///         Ok(())
///     }
/// }
///
/// let predictor = ByLength(vec!["small".into(), "large".into()]);
/// let mut scores = [0.0; 2];
/// predictor.predict(&PromptFacts::new(&[Piece::user("2 + 2?")]), &mut scores)?;
/// assert!(scores[0] < scores[1]);
/// # Ok::<(), NotScored>(())
/// ```
pub trait Predictor: Send + Sync {
    /// Names of the models, in the order of the scores.
    fn models(&self) -> &[String];

    /// Writes the score of each model, in the order of [`models`](Self::models), into `scores`, which has that length.
    ///
    /// # Errors
    /// When there are no scores; `scores` may then hold anything.
    fn predict(&self, prompt: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored>;

    /// Whether [`predict`](Self::predict) may wait for something outside this process. What does is called off the path of requests,
    /// with a deadline. The predictors of this crate never wait: they take microseconds and allocate nothing.
    fn waits(&self) -> bool {
        false
    }
}

/// Why a prompt has no scores.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotScored {
    /// The scorer did not answer before its deadline.
    #[error("the scorer did not answer in time")]
    Late,
    /// The scorer answered, but with no scores.
    #[error("the scorer failed: {0}")]
    Failed(String),
}
