//! Predictor files: reading one, writing one whole or not at all.

use std::fs;
use std::path::Path;

use routerwise_inputs::write_atomically;
use routerwise_predict::file::{PredictorFile, decode, encode};

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
