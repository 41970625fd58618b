//! A bounded sample of recent score vectors.

use crate::policy::mix;

/// A bounded sample of recent score vectors: once it is full, every new one replaces one at random, so older ones fade (Aggarwal 2006).
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    n_models: usize,
    most: usize,
    seed: u64,
    n_seen: u64,
    /// Row after row.
    scores: Vec<f32>,
}

impl Sample {
    pub(crate) fn new(n_models: usize, most: usize, seed: u64) -> Self {
        Self {
            n_models,
            most: most.max(1),
            seed,
            n_seen: 0,
            scores: Vec::new(),
        }
    }

    /// Adds one; vectors of another length, or that are no numbers, are left out.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a remainder below the size of the sample"
    )]
    pub(crate) fn add(&mut self, scores: &[f32]) {
        if scores.len() != self.n_models || scores.iter().any(|score| !score.is_finite()) {
            return;
        }
        self.n_seen += 1;
        if self.len() < self.most {
            self.scores.extend_from_slice(scores);
        } else {
            let row = (mix(self.n_seen ^ mix(self.seed)) % self.most as u64) as usize;
            self.scores[row * self.n_models..][..self.n_models].copy_from_slice(scores);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.scores.len() / self.n_models.max(1)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.scores.chunks_exact(self.n_models.max(1))
    }
}
