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
        let bits = |score: &f32| u64::from(score.to_bits());
        let hash = |ix: usize| {
            let pairs = row(ix).chunks(2);
            pairs.fold(0, |hash, pair| {
                mix(hash ^ bits(&pair[0]) ^ pair.get(1).map_or(0, bits) << 32)
            })
        };
        let mut order: Vec<(u64, usize)> = (0..self.len()).map(|ix| (hash(ix), ix)).collect();
        order.sort_unstable();
        let mut kept: Vec<(usize, f64)> = Vec::new();
        for equal in order.chunk_by(|a, b| a.0 == b.0) {
            kept.push((equal[0].1, equal.len() as f64 / self.len() as f64));
        }
        kept.sort_unstable_by_key(|(ix, _)| *ix);
        let mut merged = Merged::new(width, kept.len());
        for (at, (ix, weight)) in kept.iter().enumerate() {
            merged.set(at, row(*ix), *weight);
        }
        merged
    }
}

/// Rows that are looked at side by side: what a processor compares at once, twice over.
pub(crate) const LANES: usize = 8;

/// Score vectors with weights, in blocks of [`LANES`]: within a block, model after model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Merged {
    n_models: usize,
    n_rows: usize,
    scores: Vec<f32>,
    /// 0 for rows that only fill the last block.
    weights: Vec<f64>,
}

/// Some rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    scores: &'a [f32],
    /// Of each row.
    pub(crate) weights: &'a [f64],
}

impl Merged {
    fn new(n_models: usize, n_rows: usize) -> Self {
        let filled = n_rows.div_ceil(LANES) * LANES;
        Self {
            n_models,
            n_rows,
            scores: vec![0.0; filled * n_models],
            weights: vec![0.0; filled],
        }
    }

    fn set(&mut self, row: usize, scores: &[f32], weight: f64) {
        let block = &mut self.scores[row / LANES * LANES * self.n_models..];
        for (model, score) in scores.iter().enumerate() {
            block[model * LANES + row % LANES] = *score;
        }
        self.weights[row] = weight;
    }

    pub(crate) fn len(&self) -> usize {
        self.n_rows
    }

    /// The first rows, about so many.
    pub(crate) fn blocks(&self, n_rows: usize) -> impl Iterator<Item = Block<'_>> {
        let scores = self.scores.chunks_exact(self.n_models * LANES);
        let blocks = scores.zip(self.weights.chunks_exact(LANES));
        let blocks = blocks.map(|(scores, weights)| Block { scores, weights });
        blocks.take(n_rows.div_ceil(LANES))
    }
}

impl<'a> Block<'a> {
    /// Scores of a model.
    pub(crate) fn of(&self, model: usize) -> &'a [f32; LANES] {
        let column = &self.scores[model * LANES..][..LANES];
        column.try_into().expect("as long as a block has lanes")
    }
}
