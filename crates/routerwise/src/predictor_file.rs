//! Predictor files: reading one, writing one whole or not at all.

use std::fs;
use std::path::Path;

use routerwise_embed::Embedder;
use routerwise_inputs::write_atomically;
use routerwise_predict::file::{PredictorFile, decode, encode};
use routerwise_predict::learned::Learned;
use routerwise_types::answer::predictors::{PredictorTest, Verdict};

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

/// What predicted, in the words of a scores file: kind, content, and what its tests say.
pub(crate) fn described(file: &PredictorFile) -> String {
    let about = &file.about;
    let verdict = match (&about.test, &about.test_by_source) {
        (None, _) => "untested".to_owned(),
        (Some(test), None) => words(test).to_owned(),
        (Some(test), Some(by_source)) => format!(
            "{} on held-out prompts, {} on held-out sources",
            words(test),
            words(by_source)
        ),
    };
    format!("{} {}: {verdict}", about.kind, about.data.short())
}

/// What a scores file says of a predictor that is worth nothing.
pub(crate) const NOT_BETTER: &str = "no better than a static mix";

fn words(test: &PredictorTest) -> &'static str {
    match test.verdict {
        Verdict::Better => "better than a static mix",
        Verdict::Unclear => "perhaps better than a static mix",
        Verdict::NotBetter => NOT_BETTER,
    }
}

/// What has to be said before a predictor is relied on, where its own tests found it worth nothing.
pub(crate) fn warning(file: &PredictorFile) -> Option<String> {
    let worthless = |test: &Option<PredictorTest>| test.as_ref().is_some_and(|test| test.verdict == Verdict::NotBetter);
    let on = match (worthless(&file.about.test), worthless(&file.about.test_by_source)) {
        (false, false) => return None,
        (true, false) => "prompts that it had not seen",
        (false, true) => "prompts of sources that it had not seen",
        (true, true) => "prompts that it had not seen, of known sources and of others",
    };
    Some(format!(
        "in its own test, routing by this predictor was {NOT_BETTER} on {on}"
    ))
}
