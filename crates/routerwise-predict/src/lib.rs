//! Text in, one score per model out: learned from labelled prompts, calibrated, and judged by what routing gains from it.
//!
//! In reading order: [`prompt`] says what of a request is read, [`predictor`] is the trait behind which every predictor stands,
//! [`train`] learns the default one ([`linear`]), [`file`] writes and reads it.

pub mod assign;
mod components;
mod features;
mod ridge;
mod rows;

pub mod calibrate;
pub mod embed;
pub mod file;
pub mod groups;
pub mod heads;
pub mod learned;
pub mod lift;
pub mod linear;
pub mod matrix;
pub mod measures;
pub mod predictor;
pub mod prompt;
pub mod train;

pub use predictor::{NotScored, Predictor};
pub use prompt::{Piece, PromptFacts, Role};
