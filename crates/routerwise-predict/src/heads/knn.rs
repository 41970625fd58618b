//! The mean label of the nearest prompts, nearer ones counting more.

use crate::calibrate::Calibrator;
use crate::groups::Groups;
use crate::matrix::Matrix;
use crate::train::{Labelled, N_FOLDS, Options, in_parallel};

/// Prompts with their labels, to look the nearest up in.
#[derive(Clone, Debug, PartialEq)]
pub struct Knn {
    pub(crate) features: Matrix,
    /// Row by row: one label per model.
    pub(crate) labels: Matrix,
    /// How much each prompt counts.
    pub(crate) counts: Vec<f32>,
    /// How many neighbours are asked.
    pub(crate) k: usize,
}

/// Numbers of neighbours that are tried.
pub(crate) const KS: [usize; 4] = [8, 24, 72, 200];
pub(crate) const MOST_K: usize = 200;

/// A neighbour: squared distance and row.
type Neighbour = (f32, u32);

impl Knn {
    /// The nearest prompts, in rising distance.
    fn nearest<'a>(&self, features: &[f32], room: &'a mut [Neighbour; MOST_K]) -> &'a [Neighbour] {
        let k = self.k.min(self.features.n_rows());
        let mut n = 0;
        for row in 0..self.features.n_rows() {
            let distance = distance(features, self.features.row(row));
            if n == k && distance >= room[n - 1].0 {
                continue;
            }
            // Insertion keeps the few in order without allocating.
            let at = room[..n].partition_point(|(known, _)| *known <= distance);
            n = (n + 1).min(k);
            room.copy_within(at..n - 1, at + 1);
            room[at] = (distance, u32::try_from(row).expect("some hundred thousand prompts"));
        }
        &room[..n]
    }

    pub(crate) fn raw(&self, features: &[f32], raw: &mut [f32]) {
        let mut room = [(f32::INFINITY, 0); MOST_K];
        let nearest = self.nearest(features, &mut room);
        self.mean(nearest, raw);
    }

    /// Labels weighed by a bell as wide as the distance of the farthest.
    fn mean(&self, nearest: &[Neighbour], raw: &mut [f32]) {
        raw.fill(0.0);
        let width = nearest.last().map_or(1.0, |(distance, _)| distance.max(1e-6));
        let mut total = 0.0;
        for (distance, row) in nearest {
            let weight = self.counts[*row as usize] * (-distance / width).exp();
            total += weight;
            raw.iter_mut()
                .zip(self.labels.row(*row as usize))
                .for_each(|(raw, label)| *raw += weight * label);
        }
        raw.iter_mut().for_each(|raw| *raw /= f32::max(total, 1e-6));
    }
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// Head, calibration and predictions by fits that had not seen the prompt. The number of neighbours is the one with the least error there.
pub(crate) fn learn(
    features: &Matrix,
    data: Labelled<'_>,
    groups: &Groups,
    options: Options,
    step: &(dyn Fn() + Sync),
) -> (Knn, Calibrator, Vec<Vec<f32>>) {
    let (labels, counts) = (data.labels, data.counts());
    let (n_models, n_rows) = (labels.len(), features.n_rows());
    let by_row = (0..n_rows)
        .flat_map(|row| labels.iter().map(move |column| column[row]))
        .collect();
    let by_row = Matrix::new(n_models, by_row);
    let folds = groups.folds(N_FOLDS, options.seed);
    let predicted = in_parallel(N_FOLDS, options.n_threads, |fold| {
        let (inside, outside): (Vec<usize>, Vec<usize>) = (0..n_rows).partition(|row| folds[*row] == fold);
        let knn = Knn {
            features: features.of(&outside),
            labels: by_row.of(&outside),
            counts: outside.iter().map(|row| counts[*row]).collect(),
            k: MOST_K,
        };
        let predicted: Vec<(usize, Vec<Vec<f32>>)> = inside
            .into_iter()
            .map(|row| {
                let mut room = [(f32::INFINITY, 0); MOST_K];
                let nearest = knn.nearest(features.row(row), &mut room);
                let by_k = KS.map(|k| {
                    let mut raw = vec![0.0; n_models];
                    knn.mean(&nearest[..k.min(nearest.len())], &mut raw);
                    raw
                });
                (row, by_k.to_vec())
            })
            .collect();
        step();
        predicted
    });
    let error = |at: usize| -> f64 {
        let of_row = |(row, by_k): &(usize, Vec<Vec<f32>>)| -> f64 {
            let pairs = by_k[at].iter().zip(by_row.row(*row));
            let error: f64 = pairs.map(|(raw, label)| f64::from(raw - label).powi(2)).sum();
            f64::from(counts[*row]) * error
        };
        predicted.iter().flatten().map(of_row).sum()
    };
    let best = (0..KS.len())
        .min_by(|a, b| error(*a).total_cmp(&error(*b)))
        .expect("some are tried");
    let mut raw = vec![vec![0.0; n_rows]; n_models];
    for (row, by_k) in predicted.iter().flatten() {
        raw.iter_mut()
            .zip(&by_k[best])
            .for_each(|(column, raw)| column[*row] = *raw);
    }
    let (calibrator, cross_fitted) = Calibrator::fit(raw, labels, &counts);
    let knn = Knn {
        features: features.clone(),
        labels: by_row,
        counts,
        k: KS[best].min(MOST_K),
    };
    step();
    (knn, calibrator, cross_fitted)
}
