//! The features of many texts, and the two products that learning needs.
//!
//! Weights are lists of [`Lanes`], one for each feature: buckets first, then the surface.

use crate::features::{N_BUCKETS, N_SURFACE, Surface, Wanted, extract};
use crate::prompt::{Piece, PromptFacts};

/// Numbers that are learned side by side: one for each principal component of the labels.
pub(crate) const LANES: usize = 16;
/// One value per lane.
pub(crate) type Lanes = [f32; LANES];

/// Features of many texts, as learning sees them.
pub(crate) trait Design: Sync {
    fn n_rows(&self) -> usize;
    fn n_features(&self) -> usize;
    /// `Σ value · weights` over the features of a row.
    fn times(&self, row: usize, weights: &[Lanes]) -> Lanes;
    /// Adds the features of a row, times `by`, to weights.
    fn add_to(&self, row: usize, by: &Lanes, weights: &mut [Lanes]);
}

/// How strongly the surface counts beside the words, whose squares sum to 1.
const SURFACE_SCALE: f32 = 0.1;
/// A surface value this many standard deviations off is as far as any.
const SURFACE_MOST: f32 = 3.0;

/// Rows that count more or less than once: least squares of rows times the roots of their counts.
#[derive(Clone, Debug)]
pub(crate) struct Weighed<'a, D> {
    pub(crate) rows: &'a D,
    roots: Vec<f32>,
}

impl<'a, D: Design> Weighed<'a, D> {
    pub(crate) fn new(rows: &'a D, counts: &[f32]) -> Self {
        let roots = counts.iter().map(|count| count.sqrt()).collect();
        Self { rows, roots }
    }

    /// The targets of some rows.
    pub(crate) fn targets(&self, targets: &[Lanes], rows: &[usize]) -> Vec<Lanes> {
        let target = |row: &usize| targets[*row].map(|target| self.roots[*row] * target);
        rows.iter().map(target).collect()
    }
}

impl<D: Design> Design for Weighed<'_, D> {
    fn n_rows(&self) -> usize {
        self.rows.n_rows()
    }

    fn n_features(&self) -> usize {
        self.rows.n_features()
    }

    fn times(&self, row: usize, weights: &[Lanes]) -> Lanes {
        self.rows.times(row, weights).map(|sum| self.roots[row] * sum)
    }

    fn add_to(&self, row: usize, by: &Lanes, weights: &mut [Lanes]) {
        self.rows.add_to(row, &by.map(|by| self.roots[row] * by), weights);
    }
}

/// Features of texts: buckets with their weights, scaled to a length of 1, and the standardised surface.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    starts: Vec<usize>,
    buckets: Vec<u16>,
    values: Vec<f32>,
    surface: Vec<Surface>,
    /// How features are scaled.
    pub(crate) scales: Scales,
}

/// What features are scaled by, learned from the texts of training.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scales {
    /// Weight of each bucket: the rarer, the heavier. Zero for what occurs once, which teaches nothing about other texts.
    pub(crate) bucket: Vec<f32>,
    /// Mean and factor of each surface value.
    pub(crate) surface: SurfaceScales,
}

impl Scales {
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of at most some hundred thousand texts"
    )]
    fn of(raw: &Raw) -> Self {
        let n_texts = raw.surface.len();
        let mut counts = vec![0_u32; N_BUCKETS];
        for bucket in &raw.buckets {
            counts[usize::from(*bucket)] += 1;
        }
        let weight = |count: &u32| {
            if *count < 2 {
                0.0
            } else {
                1.0 + ((1 + n_texts) as f32 / (1 + count) as f32).ln()
            }
        };
        let mut surface = [(0.0, 0.0); N_SURFACE];
        for (at, scale) in surface.iter_mut().enumerate() {
            let values = || raw.surface.iter().map(|surface| f64::from(surface[at]));
            let mean = values().sum::<f64>() / n_texts.max(1) as f64;
            let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / n_texts.max(1) as f64;
            // What is the same everywhere says nothing, here or elsewhere.
            if variance > 1e-8 {
                *scale = (narrow(mean), SURFACE_SCALE / narrow(variance.sqrt()));
            }
        }
        Self {
            bucket: counts.iter().map(weight).collect(),
            surface,
        }
    }
}

/// Mean and factor of each surface value.
pub(crate) type SurfaceScales = [(f32, f32); N_SURFACE];

/// A standardised surface.
pub(crate) fn standardised(raw: &Surface, scales: &SurfaceScales) -> Surface {
    const MOST: f32 = SURFACE_MOST * SURFACE_SCALE;
    std::array::from_fn(|at| {
        let (mean, factor) = scales[at];
        ((raw[at] - mean) * factor).clamp(-MOST, MOST)
    })
}

/// Features before they are scaled.
struct Raw {
    starts: Vec<usize>,
    buckets: Vec<u16>,
    surface: Vec<Surface>,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "means and deviations need no more than seven digits"
)]
pub(crate) fn narrow(value: f64) -> f32 {
    value as f32
}

impl Rows {
    /// Features of texts, with scales of their own.
    pub(crate) fn of(texts: &[String], wanted: Wanted) -> Self {
        let mut raw = Raw {
            starts: vec![0],
            buckets: Vec::new(),
            surface: Vec::with_capacity(texts.len()),
        };
        for text in texts {
            let first = raw.buckets.len();
            let surface = extract(
                PromptFacts::new(&[Piece::user(text)]).read().texts(),
                wanted,
                |bucket| {
                    raw.buckets
                        .push(u16::try_from(bucket).expect("as many buckets as 16 bits count"));
                },
            );
            raw.surface.push(surface);
            // In rising order both products walk through memory forwards.
            raw.buckets[first..].sort_unstable();
            raw.starts.push(raw.buckets.len());
        }
        let scales = Scales::of(&raw);
        let mut rows = Self {
            starts: vec![0],
            buckets: Vec::with_capacity(raw.buckets.len()),
            values: Vec::with_capacity(raw.buckets.len()),
            surface: raw
                .surface
                .iter()
                .map(|surface| standardised(surface, &scales.surface))
                .collect(),
            scales,
        };
        for bounds in raw.starts.windows(2) {
            rows.push(&raw.buckets[bounds[0]..bounds[1]]);
        }
        rows
    }

    fn push(&mut self, buckets: &[u16]) {
        let first = self.values.len();
        let weights = &self.scales.bucket;
        for bucket in buckets {
            let weight = weights[usize::from(*bucket)];
            if weight > 0.0 {
                self.buckets.push(*bucket);
                self.values.push(weight);
            }
        }
        let squares: f32 = self.values[first..].iter().map(|value| value * value).sum();
        let length = squares.sqrt().max(f32::MIN_POSITIVE);
        self.values[first..].iter_mut().for_each(|value| *value /= length);
        self.starts.push(self.values.len());
    }

    /// The standardised surface of one row.
    pub(crate) fn surface(&self, row: usize) -> &Surface {
        &self.surface[row]
    }

    /// The features of one row.
    pub(crate) fn row(&self, row: usize) -> impl Iterator<Item = (usize, f32)> {
        let range = self.starts[row]..self.starts[row + 1];
        let buckets = self.buckets[range.clone()].iter().map(|bucket| usize::from(*bucket));
        buckets.zip(self.values[range].iter().copied())
    }
}

impl Design for Rows {
    fn n_rows(&self) -> usize {
        self.surface.len()
    }

    fn n_features(&self) -> usize {
        N_BUCKETS + N_SURFACE
    }

    fn times(&self, row: usize, weights: &[Lanes]) -> Lanes {
        let mut sum = [0.0; LANES];
        for (bucket, value) in self.row(row) {
            add(&mut sum, value, &weights[bucket]);
        }
        for (value, weights) in self.surface[row].iter().zip(&weights[N_BUCKETS..]) {
            add(&mut sum, *value, weights);
        }
        sum
    }

    fn add_to(&self, row: usize, by: &Lanes, weights: &mut [Lanes]) {
        for (bucket, value) in self.row(row) {
            add(&mut weights[bucket], value, by);
        }
        for (value, weights) in self.surface[row].iter().zip(&mut weights[N_BUCKETS..]) {
            add(weights, *value, by);
        }
    }
}

pub(crate) fn add(sum: &mut Lanes, factor: f32, by: &Lanes) {
    for (sum, by) in sum.iter_mut().zip(by) {
        *sum += factor * by;
    }
}
