//! Texts to vectors, for predictors that rest on sentence embeddings; and scorers of the user's own.
//!
//! ```text
//! Local (a folder) ┐
//!                  ├─ Embedder ─► Stored (a file, for learning) ─► vectors ─► a head of routerwise-predict
//! Remote (a URL)   ┘          └─► Served (batches, cache, deadline) ─► a head ─► OrElse, with the default to fall back on
//! ```
//!
//! Nothing is fetched: a folder is given, or an endpoint.

mod fallback;
#[cfg(feature = "local")]
mod local;
mod post;
mod remote;
mod scorer;
mod served;
mod stored;

use routerwise_types::Fingerprint;
use thiserror::Error;

pub use fallback::OrElse;
#[cfg(feature = "local")]
pub use local::Local;
pub use remote::{Access, Remote};
pub use scorer::HttpScorer;
pub use served::{Served, Service};
pub use stored::Stored;

/// Tokens of a text that are read, unless somebody says otherwise: what an answer depends on is mostly said by then, and time grows
/// with length.
pub const MAX_TOKENS: usize = 128;

/// Text in, a vector out.
pub trait Embedder: Send + Sync {
    /// Names the model and what is read of a text: vectors of one identity may be compared, others not.
    fn identity(&self) -> &Fingerprint;

    /// Numbers of a vector.
    fn dimension(&self) -> usize;

    /// The vectors of some texts, each of length 1.
    ///
    /// # Errors
    /// When the model or the endpoint fails.
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError>;
}

/// Why there are no vectors.
#[derive(Debug, Error)]
pub enum EmbedError {
    /// The folder does not hold a model that is understood.
    #[error("`{folder}` holds no sentence-transformers model that is understood: {what}")]
    Folder {
        /// The folder.
        folder: String,
        /// What is missing or wrong.
        what: String,
    },
    /// This build cannot.
    #[error("this build cannot embed in process")]
    NotBuiltIn,
    /// The endpoint did not answer, or not with vectors.
    #[error("the embeddings endpoint failed: {0}")]
    Endpoint(String),
    /// The model failed.
    #[error("the embedding model failed: {0}")]
    Model(String),
    /// The file of vectors cannot be used.
    #[error("`{path}`: {what}")]
    Store {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
}

/// Opens a folder or an endpoint, whichever `place` is. A folder needs the feature `local`.
///
/// # Errors
/// When it cannot be used.
pub fn open(place: &str, max_tokens: usize, remote: Access) -> Result<Box<dyn Embedder>, EmbedError> {
    if place.starts_with("http://") || place.starts_with("https://") {
        return Ok(Box::new(Remote::open(place, remote)?));
    }
    #[cfg(feature = "local")]
    return Ok(Box::new(Local::open(std::path::Path::new(place), max_tokens)?));
    #[cfg(not(feature = "local"))]
    {
        let _ = max_tokens;
        Err(EmbedError::NotBuiltIn)
    }
}

/// Scaled to a length of 1; a vector of nothing stays one.
fn normalised(mut vector: Vec<f32>) -> Vec<f32> {
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
    vector
}

/// The first bytes of a text, cut on a character's border.
fn beginning(text: &str, n_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(n_bytes)]
}
