//! Labels prompts: asks every model, scores the answers, and keeps everything that was answered.
//!
//! ```text
//! questions ──► Run::label ──► Journal ──► Run::labels ──► scores file
//!                  │  every model, at its own rate        (routerwise-inputs writes it)
//!                  └► scorer: rule, command or judge
//! ```

pub mod active;
pub mod chat;
pub mod cost;
pub mod endpoint;
pub mod journal;
pub mod labels;
pub mod run;
pub mod sample;
pub mod score;
pub mod trouble;

mod heard;
mod template;

pub use endpoint::Patience;
pub use heard::heard;
pub use journal::Journal;
pub use run::Run;
pub use score::Scorer;
