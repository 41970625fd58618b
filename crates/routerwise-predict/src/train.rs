//! Learning the default predictor.
//!
//! 1. Labels become principal components; features are made of the texts.
//! 2. Prompts are dealt into folds, the same prompt always into one. A ridge fit on the other folds predicts each fold, at every strength.
//! 3. Each component takes the strength with the least error on what was not learned from, or none: components that are noise
//!    vanish. This is what keeps planning from optimising noise.
//! 4. Calibration is fitted to those same predictions, which no fit has seen the answers of, and differences between models are scaled by
//!    the part of them that came true.
//! 5. One more fit on all prompts, with the strengths found, is what is served.
//!
//! The predictions of step 4 are returned too: plans for the very prompts that were learned from have to rest on them.

use thiserror::Error;

use crate::calibrate::Calibrator;
use crate::components::Basis;
use crate::features::Wanted;
use crate::groups::Groups;
use crate::linear::Linear;
use crate::ridge::{self, STRENGTHS};
use crate::rows::{Design, LANES, Lanes, Rows, Weighed, narrow};

/// Prompts with labels.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// Names of the models.
    pub models: &'a [String],
    /// The prompts.
    pub texts: &'a [String],
    /// For each model one label per prompt, in [0, 1].
    pub labels: &'a [Vec<f32>],
    /// How much each prompt counts, relative to the others; nothing where all count alike.
    pub weights: &'a [f32],
}

impl Labelled<'_> {
    /// How much each prompt counts, with a mean of 1.
    #[expect(clippy::cast_precision_loss, reason = "a number of prompts")]
    pub(crate) fn counts(&self) -> Vec<f32> {
        let sum: f64 = self.weights.iter().map(|weight| f64::from(*weight)).sum();
        if self.weights.is_empty() || sum <= 0.0 {
            return vec![1.0; self.texts.len()];
        }
        let scale = narrow(self.weights.len() as f64 / sum);
        self.weights.iter().map(|weight| weight * scale).collect()
    }
}

/// How to learn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Decides which prompts go into which fold.
    pub seed: u64,
    /// Fits at once; the result does not depend on it.
    pub n_threads: usize,
}

/// What was learned.
#[derive(Clone, Debug)]
pub struct Trained<P> {
    /// Serves new prompts.
    pub predictor: P,
    /// For each model the score of each prompt by a fit that had not seen its answers.
    pub cross_fitted: Vec<Vec<f32>>,
    /// How strongly each component is held back; `None` where nothing can be told about it.
    pub strengths: Vec<Option<f64>>,
}

impl<P> Trained<P> {
    /// The same with the predictor as something else.
    pub fn map<Q>(self, into: impl FnOnce(P) -> Q) -> Trained<Q> {
        Trained {
            predictor: into(self.predictor),
            cross_fitted: self.cross_fitted,
            strengths: self.strengths,
        }
    }
}

/// Why nothing can be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CannotLearn {
    /// Folds would be empty.
    #[error("{found} different prompts are too few to learn from; at least {least} are needed")]
    TooFew {
        /// Different prompts found.
        found: usize,
        /// Least number.
        least: usize,
    },
    /// Choosing among fewer than one is no choice.
    #[error("there is no model to learn the scores of")]
    NoModel,
}

/// Fewest different prompts that anything is learned from.
pub const LEAST_PROMPTS: usize = 20;
pub(crate) const N_FOLDS: usize = 4;
/// Steps that [`train`] reports.
pub const N_STEPS: usize = N_FOLDS + 2;

/// Learns the default predictor. `step` is called [`N_STEPS`] times, from any thread.
///
/// # Errors
/// When there is too little to learn from.
pub fn train(data: Labelled<'_>, options: Options, step: &(dyn Fn() + Sync)) -> Result<Trained<Linear>, CannotLearn> {
    let groups = Groups::by_prompt(data.texts);
    enough(&data, &groups)?;
    let rows = Rows::of(data.texts, Wanted::All);
    step();
    let fit = fit(&rows, data, &groups, options, step);
    let predictor = Linear::new(data.models, fit.basis, fit.calibrator, &rows.scales, &fit.weights);
    Ok(Trained {
        predictor,
        cross_fitted: fit.cross_fitted,
        strengths: fit.strengths,
    })
}

pub(crate) fn enough(data: &Labelled<'_>, groups: &Groups) -> Result<(), CannotLearn> {
    let (found, least) = (groups.n_groups(), LEAST_PROMPTS);
    if data.models.is_empty() {
        return Err(CannotLearn::NoModel);
    }
    if found < least {
        return Err(CannotLearn::TooFew { found, least });
    }
    Ok(())
}

/// A linear fit of components, whatever the features are.
pub(crate) struct Fit {
    pub(crate) basis: Basis,
    pub(crate) calibrator: Calibrator,
    pub(crate) weights: Vec<Lanes>,
    pub(crate) cross_fitted: Vec<Vec<f32>>,
    pub(crate) strengths: Vec<Option<f64>>,
}

/// Steps 2 to 5.
pub(crate) fn fit(
    rows: &impl Design,
    data: Labelled<'_>,
    groups: &Groups,
    options: Options,
    step: &(dyn Fn() + Sync),
) -> Fit {
    let all: Vec<usize> = (0..rows.n_rows()).collect();
    let (labels, counts) = (data.labels, data.counts());
    let basis = Basis::of(labels, &counts);
    let targets: Vec<Lanes> = all.iter().map(|row| basis.components(labels, *row)).collect();
    let weighed = Weighed::new(rows, &counts);
    let folds = groups.folds(N_FOLDS, options.seed);
    let predicted = in_parallel(N_FOLDS, options.n_threads, |fold| {
        let predicted = predict_fold(&weighed, &targets, &folds, fold);
        step();
        predicted
    });
    let chosen = choose(&targets, &counts, &predicted);
    let mut cross_fitted_components = vec![[0.0; LANES]; rows.n_rows()];
    for (row, by_strength) in predicted.into_iter().flatten() {
        for (lane, chosen) in chosen.iter().enumerate() {
            cross_fitted_components[row][lane] = chosen.map_or(0.0, |chosen| by_strength[chosen][lane]);
        }
    }
    let raw = |model: usize| {
        let of = |components: &Lanes| basis.label(model, components);
        cross_fitted_components.iter().map(of).collect()
    };
    let (calibrator, cross_fitted) = Calibrator::fit((0..labels.len()).map(raw).collect(), labels, &counts);
    let solution = ridge::solve(&weighed, &all, &weighed.targets(&targets, &all));
    let weights = ridge::weights(&weighed, &all, &solution, &chosen);
    step();
    Fit {
        basis,
        calibrator,
        weights,
        cross_fitted,
        strengths: chosen.iter().map(|chosen| chosen.map(|at| STRENGTHS[at])).collect(),
    }
}

/// For one row its predicted components at each strength.
type Predicted = (usize, [Lanes; STRENGTHS.len()]);

/// Predictions for one fold by fits on the others.
fn predict_fold(rows: &Weighed<'_, impl Design>, targets: &[Lanes], folds: &[usize], fold: usize) -> Vec<Predicted> {
    let (inside, outside): (Vec<usize>, Vec<usize>) = (0..rows.n_rows()).partition(|row| folds[*row] == fold);
    let solution = ridge::solve(rows, &outside, &rows.targets(targets, &outside));
    let mut predicted: Vec<Predicted> = inside
        .iter()
        .map(|row| (*row, [[0.0; LANES]; STRENGTHS.len()]))
        .collect();
    for strength in 0..STRENGTHS.len() {
        let weights = ridge::weights(rows, &outside, &solution, &[Some(strength); LANES]);
        for (row, by_strength) in &mut predicted {
            by_strength[strength] = rows.rows.times(*row, &weights);
        }
    }
    predicted
}

/// The strength with the least squared error of each component, where that is less than saying nothing.
fn choose(targets: &[Lanes], counts: &[f32], predicted: &[Vec<Predicted>]) -> [Option<usize>; LANES] {
    let square = |row: usize, value: f32| f64::from(counts[row]) * f64::from(value) * f64::from(value);
    std::array::from_fn(|lane| {
        let silent: f64 = (0..targets.len()).map(|row| square(row, targets[row][lane])).sum();
        let errors = (0..STRENGTHS.len()).map(|strength| {
            let error =
                |(row, by_strength): &Predicted| square(*row, targets[*row][lane] - by_strength[strength][lane]);
            predicted.iter().flatten().map(error).sum::<f64>()
        });
        let best = errors.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        best.filter(|(_, error)| *error < silent).map(|(strength, _)| strength)
    })
}

/// Runs jobs on some threads; results come in the order of the jobs, whoever was first.
pub(crate) fn in_parallel<T: Send>(n_jobs: usize, n_threads: usize, job: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let n_threads = n_threads.clamp(1, n_jobs.max(1));
    if n_threads == 1 {
        return (0..n_jobs).map(job).collect();
    }
    let job = &job;
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let worker = |thread: usize| {
            scope.spawn(move || {
                (thread..n_jobs)
                    .step_by(n_threads)
                    .map(|at| (at, job(at)))
                    .collect::<Vec<_>>()
            })
        };
        let workers: Vec<_> = (0..n_threads).map(worker).collect();
        let joined = workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("a job that panics is a bug of ours"));
        joined.collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predictor::Predictor as _;
    use crate::prompt::{Piece, PromptFacts};

    /// Two models: one knows law, the other algebra; a third answers by chance.
    fn table(n: usize) -> (Vec<String>, Vec<String>, Vec<Vec<f32>>) {
        let is_law = |i: usize| i.is_multiple_of(3);
        let text = |i: usize| {
            format!(
                "{} question {}",
                if is_law(i) { "statute" } else { "algebra" },
                i * 7919 % 1009
            )
        };
        let models = ["jurist", "geometer", "dice"].map(str::to_owned).to_vec();
        let column = |good: &dyn Fn(usize) -> bool| (0..n).map(|i| f32::from(u8::from(good(i)))).collect();
        let labels = vec![
            column(&is_law),
            column(&|i| !is_law(i)),
            column(&|i| i * 31 % 7 % 2 == 1),
        ];
        (models, (0..n).map(text).collect(), labels)
    }

    const OPTIONS: Options = Options { seed: 1, n_threads: 2 };

    #[test]
    fn what_the_words_say_is_learnt_and_what_they_do_not_is_the_mean() {
        let (models, texts, labels) = table(600);
        let data = Labelled {
            models: &models,
            texts: &texts,
            labels: &labels,
            weights: &[],
        };
        let trained = train(data, OPTIONS, &|| ()).unwrap();
        let mut scores = [0.0; 3];
        let law = [Piece::user("statute question 4711")];
        trained.predictor.predict(&PromptFacts::new(&law), &mut scores).unwrap();
        assert!(scores[0] > 0.9 && scores[1] < 0.1, "{scores:?}");
        assert!((0.3..0.6).contains(&scores[2]), "{scores:?}");
        let error: f32 = (0..600)
            .map(|i| (trained.cross_fitted[0][i] - labels[0][i]).abs())
            .sum::<f32>()
            / 600.0;
        assert!(error < 0.1, "{error}");
    }

    #[test]
    fn threads_and_repetition_change_nothing() {
        let (models, texts, labels) = table(200);
        let data = Labelled {
            models: &models,
            texts: &texts,
            labels: &labels,
            weights: &[],
        };
        let once = train(data, OPTIONS, &|| ()).unwrap();
        let again = train(
            data,
            Options {
                n_threads: 1,
                ..OPTIONS
            },
            &|| (),
        )
        .unwrap();
        assert_eq!(once.predictor, again.predictor);
        assert_eq!(once.cross_fitted, again.cross_fitted);
    }

    #[test]
    fn too_few_prompts_teach_nothing() {
        let (models, mut texts, labels) = table(60);
        texts.fill("the same".to_owned());
        let data = Labelled {
            models: &models,
            texts: &texts,
            labels: &labels,
            weights: &[],
        };
        let refusal = train(data, OPTIONS, &|| ()).unwrap_err();
        assert_eq!(refusal, CannotLearn::TooFew { found: 1, least: 20 });
    }
}
