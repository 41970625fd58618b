//! A predictor that may fail, and one that does not.

use std::sync::atomic::{AtomicU64, Ordering};

use routerwise_predict::{NotScored, Predictor, PromptFacts};

/// Scores by the first; by the second where the first has none.
#[derive(Debug)]
pub struct OrElse<P, Q> {
    first: P,
    second: Q,
    n_fallen_back: AtomicU64,
}

impl<P: Predictor, Q: Predictor> OrElse<P, Q> {
    /// Both must know the same models in the same order.
    ///
    /// # Errors
    /// When they do not.
    pub fn new(first: P, second: Q) -> Result<Self, String> {
        if first.models() != second.models() {
            return Err("the predictor to fall back on knows other models".into());
        }
        Ok(Self {
            first,
            second,
            n_fallen_back: AtomicU64::new(0),
        })
    }

    /// How often the first had no scores.
    pub fn n_fallen_back(&self) -> u64 {
        self.n_fallen_back.load(Ordering::Relaxed)
    }
}

impl<P: Predictor, Q: Predictor> Predictor for OrElse<P, Q> {
    fn models(&self) -> &[String] {
        self.first.models()
    }

    fn predict(&self, prompt: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored> {
        self.first.predict(prompt, scores).or_else(|_| {
            self.n_fallen_back.fetch_add(1, Ordering::Relaxed);
            self.second.predict(prompt, scores)
        })
    }

    fn waits(&self) -> bool {
        self.first.waits() || self.second.waits()
    }
}
