//! Predictor files: reading one, writing one whole or not at all.

use std::fs;
use std::path::Path;

use routerwise_embed::Embedder;
use routerwise_inputs::write_atomically;
use routerwise_predict::file::{PredictorFile, decode, encode};
use routerwise_predict::learned::Learned;
use routerwise_types::answer::predictors::Verdict;

use crate::embedding::Points;
use crate::failure::Failure;

/// Reads a predictor file.
pub(crate) fn read(file: &Path) -> Result<PredictorFile, Failure> {
    let bytes = fs::read(file).map_err(|error| Failure::Request {
        what: format!("cannot read the predictor `{}`: {error}", file.display()),
        help: "make one with `routerwise train <scores>`".into(),
    })?;
    decode(&bytes).map_err(|unreadable| Failure::Request {
        what: format!("`{}` {unreadable}", file.display()),
        help: "make it again with `routerwise train <scores>`, or fetch it again".into(),
    })
}

/// The scores of many prompts: by embeddings where the predictor learned from some and there is something to make them; for each model one
/// per prompt.
pub(crate) fn score_all(
    predictor: &PredictorFile,
    embedder: Option<&dyn Embedder>,
    texts: &[String],
) -> Result<Vec<Vec<f32>>, Failure> {
    match (&predictor.predictor, embedder) {
        (Learned::Embedded(learned), Some(embedder)) => {
            check(predictor, embedder)?;
            let points = Points::of(embedder, texts)?;
            Ok(learned.score_all(texts, &points.matrix(texts)))
        }
        (learned, _) => Ok(learned.score_all(texts)),
    }
}

/// Refuses embeddings of another model than the predictor learned from.
pub(crate) fn check(predictor: &PredictorFile, embedder: &dyn Embedder) -> Result<(), Failure> {
    if predictor.about.embeddings.as_ref() == Some(embedder.identity()) {
        return Ok(());
    }
    Err(Failure::Request {
        what: "these are not the embeddings that the predictor learned from".into(),
        help: "give the same model and the same `--embeddings-tokens` as to `train`".into(),
    })
}

/// Writes a predictor file.
pub(crate) fn write(file: &Path, predictor: &PredictorFile) -> Result<(), Failure> {
    write_atomically(file, &encode(predictor)).map_err(Failure::environment(format!(
        "writing the predictor `{}`",
        file.display()
    )))
}

/// What predicted, in the words of a scores file: kind, content, and what its test says.
pub(crate) fn described(file: &PredictorFile) -> String {
    let verdict = file.about.test.as_ref().map_or("untested", |test| match test.verdict {
        Verdict::Better => "better than a static mix",
        Verdict::Unclear => "perhaps better than a static mix",
        Verdict::NotBetter => NOT_BETTER,
    });
    format!("{} {}: {verdict}", file.about.kind, file.about.data.short())
}

/// What a scores file says of a predictor that is worth nothing.
pub(crate) const NOT_BETTER: &str = "no better than a static mix";
