//! Texts as points: the trait behind which embeddings stand, and the one that needs no model, a table of word vectors.
//!
//! The table is learned from the texts of training alone: words that occur in the same prompts get like vectors (the leading
//! singular vectors of the prompt-by-word table, found by repeated products with a random start). A prompt is the sum of its words' rows,
//! less what all prompts have in common, at a length of one. This is latent semantic analysis served as a look-up.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::features::{N_BUCKETS, Wanted, extract};
use crate::matrix::Matrix;
use crate::predictor::NotScored;
use crate::prompt::PromptFacts;
use crate::rows::{Design as _, Rows, narrow};

/// Turns a prompt into a point. What runs a model or asks a service stands behind this.
pub trait Embed: Send + Sync {
    /// Numbers of a point.
    fn width(&self) -> usize;

    /// Writes the point of a prompt into `point`, which has that width.
    ///
    /// # Errors
    /// When there is none; `point` may then hold anything.
    fn embed(&self, prompt: &PromptFacts<'_>, point: &mut [f32]) -> Result<(), NotScored>;

    /// Whether [`embed`](Self::embed) may wait for something outside this process, or take milliseconds.
    fn waits(&self) -> bool {
        true
    }
}

/// Numbers of a word vector.
pub(crate) const WIDTH: usize = 96;
const N_ROUNDS: usize = 3;

/// Word vectors.
#[derive(Clone, Debug, PartialEq)]
pub struct WordTable {
    /// For each bucket its row, counted from 1; 0 where the bucket has none.
    pub(crate) slots: Vec<u16>,
    /// Vectors, each times the weight of its word.
    pub(crate) rows: Vec<[f32; WIDTH]>,
    /// Squared weight of each word.
    pub(crate) squares: Vec<f32>,
    /// What all prompts have in common.
    pub(crate) centre: [f32; WIDTH],
}

impl WordTable {
    /// Learned from the words of texts.
    pub(crate) fn learn(words: &Rows, seed: u64) -> Self {
        let vectors = leading(words, seed);
        let weights = &words.scales.bucket;
        let used: Vec<usize> = (0..N_BUCKETS)
            .filter(|bucket| weights[*bucket] > 0.0)
            .take(usize::from(u16::MAX))
            .collect();
        let mut slots = vec![0; N_BUCKETS];
        for (at, bucket) in used.iter().enumerate() {
            slots[*bucket] = u16::try_from(at + 1).expect("at most as many as 16 bits count");
        }
        let row = |bucket: &usize| std::array::from_fn(|at| vectors.row(*bucket)[at] * weights[*bucket]);
        let mut table = Self {
            slots,
            rows: used.iter().map(row).collect(),
            squares: used.iter().map(|bucket| weights[*bucket] * weights[*bucket]).collect(),
            centre: [0.0; WIDTH],
        };
        table.centre = table.mean(words, &vectors);
        table
    }

    fn mean(&self, words: &Rows, vectors: &Matrix) -> [f32; WIDTH] {
        let mut sum = [0.0_f64; WIDTH];
        for row in 0..words.n_rows() {
            for (bucket, value) in words.row(row) {
                let value = f64::from(value);
                sum.iter_mut()
                    .zip(vectors.row(bucket))
                    .for_each(|(sum, x)| *sum += value * f64::from(*x));
            }
        }
        #[expect(clippy::cast_precision_loss, reason = "a number of prompts")]
        let n = words.n_rows().max(1) as f64;
        sum.map(|sum| narrow(sum / n))
    }

    /// The point of what is read of a prompt.
    pub(crate) fn point(&self, texts: &[&str]) -> ([f32; WIDTH], crate::features::Surface) {
        let mut sum = [0.0; WIDTH];
        let mut squares = 0.0;
        let surface = extract(texts, Wanted::Words, |bucket| {
            let slot = usize::from(self.slots[bucket]);
            if slot > 0 {
                squares += self.squares[slot - 1];
                sum.iter_mut().zip(&self.rows[slot - 1]).for_each(|(sum, x)| *sum += x);
            }
        });
        let length = squares.sqrt().max(f32::MIN_POSITIVE);
        for (sum, centre) in sum.iter_mut().zip(&self.centre) {
            *sum = *sum / length - centre;
        }
        unit(&mut sum);
        (sum, surface)
    }
}

impl Embed for WordTable {
    fn width(&self) -> usize {
        WIDTH
    }

    fn embed(&self, prompt: &PromptFacts<'_>, point: &mut [f32]) -> Result<(), NotScored> {
        point.copy_from_slice(&self.point(prompt.read().texts()).0);
        Ok(())
    }

    fn waits(&self) -> bool {
        false
    }
}

/// Scales to a length of one, unless there is nothing to scale.
pub(crate) fn unit(point: &mut [f32]) {
    let length = point.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 1e-12 {
        point.iter_mut().for_each(|x| *x /= length);
    }
}

/// Orthonormal vectors over buckets that span the leading singular space of the rows.
fn leading(words: &Rows, seed: u64) -> Matrix {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x776f_7264);
    let start = (0..N_BUCKETS * WIDTH).map(|_| random.random::<f32>() - 0.5).collect();
    let mut vectors = Matrix::new(WIDTH, start);
    for _ in 0..N_ROUNDS {
        let mut points = Matrix::zero(words.n_rows(), WIDTH);
        for row in 0..words.n_rows() {
            let point = points.row_mut(row);
            for (bucket, value) in words.row(row) {
                point
                    .iter_mut()
                    .zip(vectors.row(bucket))
                    .for_each(|(sum, x)| *sum += value * x);
            }
        }
        points.orthonormalise();
        vectors = Matrix::zero(N_BUCKETS, WIDTH);
        for row in 0..words.n_rows() {
            let point = points.row(row);
            for (bucket, value) in words.row(row) {
                vectors
                    .row_mut(bucket)
                    .iter_mut()
                    .zip(point)
                    .for_each(|(sum, x)| *sum += value * x);
            }
        }
    }
    vectors.orthonormalise();
    vectors
}
