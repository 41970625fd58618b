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

    /// Whether another one's vectors could be its own.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        self.n_models == other.n_models && self.most == other.most
    }

    pub(crate) fn len(&self) -> usize {
        self.scores.len() / self.n_models.max(1)
    }

    /// Equal vectors merged, in order of first appearance: labels and templates leave a handful.
    #[expect(clippy::cast_precision_loss, reason = "rows stay far below 2^53")]
    pub(crate) fn merged(&self) -> Merged {
        let width = self.n_models.max(1);
        let row = |ix: usize| &self.scores[ix * width..][..width];
        let hash = |ix: usize| {
            row(ix)
                .iter()
                .fold(0, |hash, score| mix(hash ^ u64::from(score.to_bits())))
        };
        let mut order: Vec<(u64, usize)> = (0..self.len()).map(|ix| (hash(ix), ix)).collect();
        order.sort_unstable();
        let mut kept: Vec<(usize, f64)> = Vec::new();
        for equal in order.chunk_by(|a, b| a.0 == b.0) {
            kept.push((equal[0].1, equal.len() as f64 / self.len() as f64));
        }
        kept.sort_unstable_by_key(|(ix, _)| *ix);
        Merged {
            n_models: width,
            scores: kept.iter().flat_map(|(ix, _)| row(*ix)).copied().collect(),
            weights: kept.iter().map(|(_, weight)| *weight).collect(),
        }
    }
}

/// Score vectors with weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Merged {
    n_models: usize,
    scores: Vec<f32>,
    weights: Vec<f64>,
}

impl Merged {
    pub(crate) fn len(&self) -> usize {
        self.weights.len()
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (&[f32], f64)> {
        self.scores
            .chunks_exact(self.n_models)
            .zip(self.weights.iter().copied())
    }
}
