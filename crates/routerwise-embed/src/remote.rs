//! Vectors by any OpenAI-compatible `/v1/embeddings` endpoint.

use std::time::Duration;

use routerwise_types::Fingerprint;
use serde_json::{Value, json};

use crate::post::{NoReply, Post};
use crate::{EmbedError, Embedder, beginning, normalised};

/// Texts in one request.
const BATCH: usize = 64;
/// Bytes of a token, about: what an endpoint's tokens are is not known here.
const BYTES_PER_TOKEN: usize = 4;

/// How an endpoint is spoken to.
#[derive(Clone, Debug)]
pub struct Access {
    /// The model's name there.
    pub model: String,
    /// Environment variable that holds the key.
    pub key_env: Option<String>,
    /// Longest wait for one request.
    pub deadline: Duration,
    /// Tokens of a text that are sent, about.
    pub max_tokens: usize,
}

/// An endpoint that makes vectors.
pub struct Remote {
    post: Post,
    model: String,
    max_bytes: usize,
    dimension: usize,
    identity: Fingerprint,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// Opens an endpoint, `…/v1`, by asking for one vector.
    ///
    /// # Errors
    /// When none comes.
    pub fn open(url: &str, access: Access) -> Result<Self, EmbedError> {
        let base = url.trim_end_matches('/').trim_end_matches("/embeddings");
        let post = Post::new(
            &format!("{base}/embeddings"),
            access.key_env.as_deref(),
            access.deadline,
        );
        let mut remote = Self {
            post: post.map_err(EmbedError::Endpoint)?,
            // Not of the URL: the same model may be served elsewhere tomorrow.
            identity: Fingerprint::of(&("endpoint", &access.model, access.max_tokens)),
            max_bytes: access.max_tokens.saturating_mul(BYTES_PER_TOKEN),
            model: access.model,
            dimension: 0,
        };
        remote.dimension = remote.request(&["Hi"])?.first().map_or(0, Vec::len);
        Ok(remote)
    }

    fn request(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        // Endpoints refuse empty texts.
        let texts: Vec<&str> = texts
            .iter()
            .map(|text| beginning(text, self.max_bytes))
            .map(|text| if text.is_empty() { " " } else { text })
            .collect();
        let body = json!({"model": self.model, "input": texts, "encoding_format": "float"});
        let reply = self.post.send(&body).map_err(|no_reply| {
            EmbedError::Endpoint(match no_reply {
                NoReply::Late => "no answer in time".into(),
                NoReply::Failed(what) => what,
            })
        })?;
        let wrong = || EmbedError::Endpoint("the reply has no vector for every text".into());
        let mut vectors = vec![Vec::new(); texts.len()];
        for (ix, item) in reply["data"].as_array().ok_or_else(wrong)?.iter().enumerate() {
            let ix = item["index"]
                .as_u64()
                .and_then(|ix| usize::try_from(ix).ok())
                .unwrap_or(ix);
            let slot = vectors.get_mut(ix).ok_or_else(wrong)?;
            *slot = normalised(numbers(&item["embedding"]).ok_or_else(wrong)?);
        }
        let width = vectors[0].len();
        if width == 0 || (self.dimension > 0 && width != self.dimension) || vectors.iter().any(|v| v.len() != width) {
            return Err(wrong());
        }
        Ok(vectors)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "vectors are single precision wherever they come from"
)]
fn numbers(list: &Value) -> Option<Vec<f32>> {
    let number = |value: &Value| {
        value
            .as_f64()
            .map(|value| value as f32)
            .filter(|value| value.is_finite())
    };
    list.as_array()?.iter().map(number).collect()
}

impl Embedder for Remote {
    fn identity(&self) -> &Fingerprint {
        &self.identity
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            vectors.extend(self.request(batch)?);
        }
        Ok(vectors)
    }
}
