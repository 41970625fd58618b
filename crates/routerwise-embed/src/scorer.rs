//! A scorer of the user's own, by HTTP.
//!
//! ```text
//! POST URL   {"prompt": "…", "models": ["small", "large"]}
//! 200        {"scores": {"small": 0.62, "large": 0.88}}
//! ```
//!
//! Every model must get a finite number; it is held to [0, 1]. Any other status or shape, or none before the deadline, is no score.

use std::time::Duration;

use routerwise_predict::{NotScored, Predictor, PromptFacts};
use serde_json::json;

use crate::post::{NoReply, Post};

/// A predictor behind a URL.
pub struct HttpScorer {
    post: Post,
    models: Vec<String>,
}

impl std::fmt::Debug for HttpScorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpScorer")
            .field("models", &self.models)
            .finish_non_exhaustive()
    }
}

impl HttpScorer {
    /// A scorer of these models.
    ///
    /// # Errors
    /// When the key is missing or the system has no certificates.
    pub fn new(url: &str, models: &[String], key_env: Option<&str>, deadline: Duration) -> Result<Self, String> {
        Ok(Self {
            post: Post::new(url, key_env, deadline)?,
            models: models.to_vec(),
        })
    }
}

impl Predictor for HttpScorer {
    fn models(&self) -> &[String] {
        &self.models
    }

    fn predict(&self, prompt: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored> {
        let body = json!({"prompt": prompt.text(), "models": self.models});
        let reply = self.post.send(&body).map_err(|no_reply| match no_reply {
            NoReply::Late => NotScored::Late,
            NoReply::Failed(what) => NotScored::Failed(what),
        })?;
        for (model, score) in self.models.iter().zip(scores) {
            let found = reply["scores"][model].as_f64().filter(|score| score.is_finite());
            let found = found.ok_or_else(|| NotScored::Failed(format!("the reply has no score of `{model}`")))?;
            #[expect(clippy::cast_possible_truncation, reason = "a score needs no more than seven digits")]
            let found = found.clamp(0.0, 1.0) as f32;
            *score = found;
        }
        Ok(())
    }

    fn waits(&self) -> bool {
        true
    }
}
