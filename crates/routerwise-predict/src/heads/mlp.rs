//! One hidden layer, all models together: Adam on small batches in an order that the seed decides.

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::calibrate::Calibrator;
use crate::groups::Groups;
use crate::matrix::Matrix;
use crate::train::{Labelled, N_FOLDS, Options, in_parallel};

/// Width of the hidden layer.
pub(crate) const HIDDEN: usize = 32;
const N_EPOCHS: usize = 12;
const BATCH: usize = 32;
const RATE: f32 = 2e-3;
/// Weights shrink by this part of the rate.
const DECAY: f32 = 0.02;

/// One hidden layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// From features (and a constant) to the hidden layer, feature by feature.
    pub(crate) first: Matrix,
    /// From the hidden layer (and a constant) to models, model by model.
    pub(crate) second: Matrix,
}

/// The points have a length of one; their numbers are of the order of 1/√width, so they are scaled up.
const SCALE: f32 = 6.0;

impl Mlp {
    fn new(n_features: usize, n_models: usize, random: &mut ChaCha8Rng) -> Self {
        let mut layer = |n_rows: usize, width: usize, size: f32| {
            Matrix::new(
                width,
                (0..n_rows * width)
                    .map(|_| size * (random.random::<f32>() - 0.5))
                    .collect(),
            )
        };
        #[expect(clippy::cast_precision_loss, reason = "a number of features")]
        let size = 2.0 / (n_features as f32).sqrt();
        Self {
            first: layer(n_features + 1, HIDDEN, size),
            second: layer(n_models, HIDDEN + 1, 0.2),
        }
    }

    fn hidden(&self, features: &[f32]) -> [f32; HIDDEN] {
        let mut sum = [0.0; HIDDEN];
        for (at, x) in features.iter().map(|x| SCALE * x).chain([1.0]).enumerate() {
            sum.iter_mut()
                .zip(self.first.row(at))
                .for_each(|(sum, weight)| *sum += x * weight);
        }
        sum.map(|sum| sum.max(0.0))
    }

    /// Log odds, made small enough that calibration starts near them.
    pub(crate) fn raw(&self, features: &[f32], raw: &mut [f32]) {
        let hidden = self.hidden(features);
        for (model, raw) in raw.iter_mut().enumerate() {
            let weights = self.second.row(model);
            *raw = weights[HIDDEN] + hidden.iter().zip(weights).map(|(x, weight)| x * weight).sum::<f32>();
        }
    }

    fn train(
        &mut self,
        features: &Matrix,
        labels: &Matrix,
        (rows, counts): (&[usize], &[f32]),
        random: &mut ChaCha8Rng,
    ) {
        let mut order = rows.to_vec();
        let mut steps = [
            Adam::new(self.first.values().len()),
            Adam::new(self.second.values().len()),
        ];
        let mut slopes = (
            Matrix::zero(self.first.n_rows(), HIDDEN),
            Matrix::zero(self.second.n_rows(), HIDDEN + 1),
        );
        for _ in 0..N_EPOCHS {
            order.shuffle(random);
            for batch in order.chunks(BATCH) {
                slopes.0.fill(0.0);
                slopes.1.fill(0.0);
                for row in batch {
                    self.add_slopes(features.row(*row), labels.row(*row), counts[*row], &mut slopes);
                }
                #[expect(clippy::cast_precision_loss, reason = "a batch")]
                let part = 1.0 / batch.len() as f32;
                steps[0].step(&mut self.first, &slopes.0, part);
                steps[1].step(&mut self.second, &slopes.1, part);
            }
        }
    }

    fn add_slopes(&self, features: &[f32], labels: &[f32], count: f32, slopes: &mut (Matrix, Matrix)) {
        let hidden = self.hidden(features);
        let mut back = [0.0; HIDDEN];
        for (model, label) in labels.iter().enumerate() {
            let weights = self.second.row(model);
            let raw = weights[HIDDEN] + hidden.iter().zip(weights).map(|(x, weight)| x * weight).sum::<f32>();
            let miss = count * (1.0 / (1.0 + (-raw).exp()) - label);
            let slope = slopes.1.row_mut(model);
            for at in 0..HIDDEN {
                slope[at] += miss * hidden[at];
                back[at] += miss * weights[at];
            }
            slope[HIDDEN] += miss;
        }
        for (back, hidden) in back.iter_mut().zip(&hidden) {
            if *hidden <= 0.0 {
                *back = 0.0;
            }
        }
        for (at, x) in features.iter().map(|x| SCALE * x).chain([1.0]).enumerate() {
            slopes
                .0
                .row_mut(at)
                .iter_mut()
                .zip(&back)
                .for_each(|(slope, back)| *slope += x * back);
        }
    }
}

/// Adam with decoupled decay (Kingma and Ba 2015; Loshchilov and Hutter 2019).
struct Adam {
    mean: Vec<f32>,
    square: Vec<f32>,
    n: i32,
}

impl Adam {
    fn new(n: usize) -> Self {
        Self {
            mean: vec![0.0; n],
            square: vec![0.0; n],
            n: 0,
        }
    }

    fn step(&mut self, weights: &mut Matrix, slopes: &Matrix, part: f32) {
        self.n += 1;
        let (early, early_square) = (1.0 - 0.9_f32.powi(self.n), 1.0 - 0.999_f32.powi(self.n));
        let moments = self.mean.iter_mut().zip(&mut self.square);
        for ((weight, slope), (mean, square)) in weights.values_mut().iter_mut().zip(slopes.values()).zip(moments) {
            let slope = slope * part;
            *mean = 0.9 * *mean + 0.1 * slope;
            *square = 0.999 * *square + 0.001 * slope * slope;
            *weight -= RATE * (*mean / early / ((*square / early_square).sqrt() + 1e-8) + DECAY * *weight);
        }
    }
}

/// Head, calibration and predictions by fits that had not seen the prompt.
pub(crate) fn learn(
    features: &Matrix,
    data: Labelled<'_>,
    groups: &Groups,
    options: Options,
    step: &(dyn Fn() + Sync),
) -> (Mlp, Calibrator, Vec<Vec<f32>>) {
    let (labels, counts) = (data.labels, data.counts());
    let (n_models, n_rows) = (labels.len(), features.n_rows());
    let by_row = (0..n_rows)
        .flat_map(|row| labels.iter().map(move |column| column[row]))
        .collect();
    let by_row = Matrix::new(n_models, by_row);
    let fit = |rows: &[usize], stream: u64| {
        let mut random = ChaCha8Rng::seed_from_u64(options.seed ^ (stream << 32) ^ 0x6d6c_7000);
        let mut mlp = Mlp::new(features.width(), n_models, &mut random);
        mlp.train(features, &by_row, (rows, &counts), &mut random);
        step();
        mlp
    };
    let folds = groups.folds(N_FOLDS, options.seed);
    let predicted = in_parallel(N_FOLDS, options.n_threads, |fold| {
        let (inside, outside): (Vec<usize>, Vec<usize>) = (0..n_rows).partition(|row| folds[*row] == fold);
        let mlp = fit(&outside, fold as u64 + 1);
        let raw = |row: usize| {
            let mut raw = vec![0.0; n_models];
            mlp.raw(features.row(row), &mut raw);
            (row, raw)
        };
        inside.into_iter().map(raw).collect::<Vec<_>>()
    });
    let mut raw = vec![vec![0.0; n_rows]; n_models];
    for (row, values) in predicted.iter().flatten() {
        raw.iter_mut().zip(values).for_each(|(column, raw)| column[*row] = *raw);
    }
    let (calibrator, cross_fitted) = Calibrator::fit(raw, labels, &counts);
    let all: Vec<usize> = (0..n_rows).collect();
    (fit(&all, 0), calibrator, cross_fitted)
}
