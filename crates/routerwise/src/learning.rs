//! What `train` and `evaluate` share: how to learn, and from what.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use routerwise_inputs::Paths;
use routerwise_inputs::labels::{self, Labels};
use routerwise_predict::groups::Groups;
use routerwise_predict::heads::HeadKind;
use routerwise_predict::learned::{self, Kind, Learned};
use routerwise_predict::lift::{Lifts, Subject, Truth, judge_with_lifts};
use routerwise_predict::train::{CannotLearn, LEAST_PROMPTS, Labelled, N_STEPS, Options, Trained};
use routerwise_types::answer::predictors::{PredictorTest, SplitBy};

use crate::embedding::{HeadArg, Points};
use crate::failure::Failure;

/// How to learn.
#[derive(Debug, clap::Args)]
pub(crate) struct Learning {
    /// Only this model (repeat for more) [default: all of the file]
    #[arg(long = "model", value_name = "NAME")]
    pub(crate) models: Vec<String>,
    /// Use so many prompts, drawn by chance [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(20..))]
    pub(crate) sample: Option<u32>,
    /// Part of the prompts, in per cent, that is kept for the test
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(5..=90))]
    pub(crate) held_out: u32,
    /// Seed of the test, the folds and the bootstrap
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Fits at once [default: all cores]; the result does not depend on it
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,
}

/// What is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum KindArg {
    /// Hashed words, pairs of words, pieces of words and surface: a linear model
    #[default]
    Default,
    /// A table of word vectors learned from the same prompts; their mean, and a linear model
    Static,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Default => Self::Default,
            KindArg::Static => Self::Static,
        }
    }
}

impl fmt::Display for KindArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Kind::from(*self).fmt(f)
    }
}

impl Learning {
    pub(crate) fn options(&self) -> Options {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            seed: self.seed,
            n_threads: self.jobs.unwrap_or_else(cores),
        }
    }

    /// The prompts to use.
    pub(crate) fn sampled(&self, labels: Labels) -> Labels {
        match self.sample.map(|n| n as usize) {
            Some(n) if n < labels.texts.len() => {
                let groups = Groups::by_prompt(&labels.texts);
                labels.of(&groups.sample(n, self.seed))
            }
            _ => labels,
        }
    }

    /// Prompts to learn from and prompts to test on.
    pub(crate) fn split(&self, labels: &Labels) -> Result<(Labels, Labels), Failure> {
        let split = Groups::by_prompt(&labels.texts).split(f64::from(self.held_out) / 100.0, self.seed);
        if split.test.is_empty() {
            return Err(Failure::Request {
                what: "no prompt is left for the test".into(),
                help: "give more prompts, or raise `--held-out`".into(),
            });
        }
        Ok((labels.of(&split.train), labels.of(&split.test)))
    }

    pub(crate) fn subject(&self, predictor: &str, split: SplitBy, n_train: usize) -> Subject {
        Subject {
            predictor: predictor.to_owned(),
            split,
            n_train,
            mix: None,
            seed: self.seed,
        }
    }
}

/// Reads prompts with labels, of a file or of a scenario with its names of the models.
pub(crate) fn open(path: &Path, models: &[String]) -> Result<Labels, Failure> {
    if path.is_dir() {
        of_scenario(path, models)
    } else {
        Ok(labels::read(path, models)?)
    }
}

/// The same without prompts that have no text, which teach nothing.
pub(crate) fn read(path: &Path, models: &[String]) -> Result<Labels, Failure> {
    let labels = open(path, models)?;
    let rows: Vec<usize> = (0..labels.texts.len())
        .filter(|row| !labels.texts[*row].is_empty())
        .collect();
    if rows.is_empty() {
        return Err(Failure::Request {
            what: format!("`{}` has no texts: nothing can be learned from it", path.display()),
            help: "add a column `prompt` with the text of each prompt".into(),
        });
    }
    Ok(labels.of(&rows))
}

/// A scenario gives columns of its scores other names, by which its plans and so the gateway know the models.
fn of_scenario(folder: &Path, only: &[String]) -> Result<Labels, Failure> {
    let scenario = routerwise_inputs::load(&Paths::in_folder(folder))?.scenario;
    let scores = scenario.scores;
    if let Some(unknown) = only.iter().find(|name| !scores.models.contains(name)) {
        return Err(Failure::Request {
            what: format!("the scenario `{}` has no model `{unknown}`", folder.display()),
            help: format!("it has `{}`", scores.models.join("`, `")),
        });
    }
    let wanted = |model: &String| only.is_empty() || only.contains(model);
    let (models, columns) = scores
        .models
        .into_iter()
        .zip(scores.columns)
        .filter(|(model, _)| wanted(model))
        .unzip();
    Ok(Labels {
        rows: (0..scores.prompts.len()).collect(),
        ids: scores.prompts.iter().map(|prompt| prompt.id.clone()).collect(),
        sources: vec![String::new(); scores.prompts.len()],
        weights: scores.prompts.iter().map(|prompt| narrow(prompt.weight)).collect(),
        texts: scores
            .prompts
            .into_iter()
            .map(|prompt| prompt.text.unwrap_or_default())
            .collect(),
        models,
        columns,
        predicted: None,
        predicted_by: None,
        published: BTreeMap::new(),
        n_dropped: 0,
        fingerprint: scenario.fingerprints.scores,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a weight needs no more than seven digits"
)]
fn narrow(weight: f64) -> f32 {
    weight as f32
}

/// What predictions are judged against; `parts` of a test that different predictors scored.
pub(crate) fn truth<'a>(labels: &'a Labels, parts: &'a [usize]) -> Truth<'a> {
    Truth {
        models: &labels.models,
        labels: &labels.columns,
        sources: &labels.sources,
        weights: &labels.weights,
        parts,
    }
}

/// Most folds that sources are dealt into.
const MOST_SOURCE_FOLDS: usize = 5;

/// The fold of each prompt, those of one source in one fold, and how many folds there are; nothing where there is one source, or too
/// little to learn from without some of them.
pub(crate) fn source_folds(labels: &Labels) -> Option<(Vec<usize>, usize)> {
    let groups = Groups::by_name(labels.sources.iter().map(String::as_str));
    let n_folds = groups.n_groups().min(MOST_SOURCE_FOLDS);
    if n_folds < 2 {
        return None;
    }
    let folds = groups.dealt(n_folds);
    let prompts = Groups::by_prompt(&labels.texts);
    let teaches = |fold: usize| {
        let outside: Vec<usize> = (0..folds.len()).filter(|row| folds[*row] != fold).collect();
        prompts.of(&outside).n_groups() >= LEAST_PROMPTS
    };
    (0..n_folds).all(teaches).then_some((folds, n_folds))
}

/// What is learned, and from what beside the texts.
#[derive(Clone, Copy)]
pub(crate) enum Learner<'a> {
    /// From texts alone.
    Plain(KindArg),
    /// From embeddings.
    Head(HeadArg, &'a Points),
}

impl fmt::Display for Learner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(kind) => kind.fmt(f),
            Self::Head(head, _) => head.fmt(f),
        }
    }
}

impl Learner<'_> {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Plain(kind) => (*kind).into(),
            Self::Head(head, _) => HeadKind::from(*head).into(),
        }
    }

    /// Steps of the progress bar that [`Learner::learn`] makes.
    pub(crate) fn n_steps(&self) -> usize {
        match self {
            Self::Plain(_) => N_STEPS,
            Self::Head(..) => 2 * N_STEPS,
        }
    }

    /// Learns from all rows.
    pub(crate) fn learn(
        &self,
        labels: &Labels,
        options: Options,
        bar: &ProgressBar,
    ) -> Result<Trained<Learned>, Failure> {
        let data = Labelled {
            models: &labels.models,
            texts: &labels.texts,
            labels: &labels.columns,
            weights: &labels.weights,
        };
        let step = || bar.inc(1);
        let learned = match self {
            Self::Plain(kind) => learned::learn((*kind).into(), data, options, &step),
            Self::Head(head, points) => {
                learned::learn_on_embeddings((*head).into(), &points.matrix(&labels.texts), data, options, &step)
            }
        };
        learned.map_err(|error| Failure::Request {
            what: error.to_string(),
            help: match error {
                CannotLearn::TooFew { .. } => "give prompts that differ in more than capitals, spaces and punctuation",
                CannotLearn::NoModel => "name the columns of scores `score:<model>`",
            }
            .into(),
        })
    }

    /// What it is worth on prompts of sources that it has not seen: each fold is scored by what was learned from the others. Nothing where
    /// no source can be held out. `subject` is told how many prompts were learned from.
    pub(crate) fn by_source(
        &self,
        labels: &Labels,
        options: Options,
        subject: impl FnOnce(usize) -> Subject,
        bar: &ProgressBar,
    ) -> Result<Option<(PredictorTest, Lifts)>, Failure> {
        let Some((folds, n_folds)) = source_folds(labels) else {
            return Ok(None);
        };
        self.in_turn(labels, &folds, n_folds, options, subject, bar).map(Some)
    }

    /// What it is worth on all prompts, each fold scored by what was learned from the others.
    pub(crate) fn in_turn(
        &self,
        labels: &Labels,
        folds: &[usize],
        n_folds: usize,
        options: Options,
        subject: impl FnOnce(usize) -> Subject,
        bar: &ProgressBar,
    ) -> Result<(PredictorTest, Lifts), Failure> {
        let mut scores = vec![vec![f32::NAN; labels.texts.len()]; labels.models.len()];
        for fold in 0..n_folds {
            let (inside, outside): (Vec<usize>, Vec<usize>) =
                (0..labels.texts.len()).partition(|row| folds[*row] == fold);
            let trained = self.learn(&labels.of(&outside), options, bar)?;
            let scored = self.score_all(&trained.predictor, &labels.of(&inside).texts);
            for (scores, scored) in scores.iter_mut().zip(scored) {
                inside.iter().zip(scored).for_each(|(row, score)| scores[*row] = score);
            }
        }
        let n_train = labels.texts.len() - labels.texts.len() / n_folds;
        Ok(judge_with_lifts(&subject(n_train), truth(labels, folds), &scores))
    }

    /// The scores of many prompts by what was learned.
    pub(crate) fn score_all(&self, learned: &Learned, texts: &[String]) -> Vec<Vec<f32>> {
        match (self, learned) {
            (Self::Head(_, points), Learned::Embedded(learned)) => learned.score_all(texts, &points.matrix(texts)),
            _ => learned.score_all(texts),
        }
    }
}

pub(crate) fn progress_bar(n_steps: usize) -> ProgressBar {
    let style = "{bar:40} {pos}/{len} steps of learning, {elapsed} gone";
    let bar = ProgressBar::new(n_steps as u64);
    bar.set_style(ProgressStyle::with_template(style).expect("a constant that a test parses"));
    bar.tick();
    bar
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_progress_bar_counts_steps() {
        let bar = super::progress_bar(4);
        bar.inc(1);
        assert_eq!((bar.position(), bar.length()), (1, Some(4)));
    }
}
