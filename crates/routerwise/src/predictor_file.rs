//! Predictor files: reading one, writing one whole or not at all.

use std::fs;
use std::path::Path;

use routerwise_inputs::write_atomically;
use routerwise_predict::file::{PredictorFile, decode, encode};
use routerwise_types::answer::predictors::Verdict;

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
