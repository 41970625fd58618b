//! `routerwise train`: a quality predictor from prompts with scores.

use std::io::Write;
use std::path::{Path, PathBuf};

use routerwise_inputs::labels::Labels;
use routerwise_inputs::tables::{self, Values};
use routerwise_predict::file::{About, PredictorFile};
use routerwise_predict::groups::Groups;
use routerwise_predict::lift::judge;
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::predictors::{Evaluation, PredictorTest, SplitBy};

use crate::cli::Format;
use crate::embedding::{EmbeddingArgs, HeadArg};
use crate::failure::{Answer, Failure};
use crate::learning::{self, KindArg, Learner, Learning, progress_bar};
use crate::predictor_file;
use crate::render::predictors;
use crate::table::print_json;

/// Learn a quality predictor: which model will answer a prompt how well
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Prompts with the score of each model: a file (Parquet or CSV) with columns `prompt` and `score:<model>`, or a scenario folder
    #[arg(value_name = "SCORES")]
    scores: PathBuf,
    /// Predictor file to write
    #[arg(long, short, value_name = "FILE", default_value = "predictor.rwp")]
    out: PathBuf,
    /// What to learn
    #[arg(long, value_enum, default_value_t, conflicts_with = "head")]
    kind: KindArg,
    /// What to learn from embeddings
    #[arg(long, value_enum, requires = "embeddings", help_heading = "Embeddings")]
    head: Option<HeadArg>,
    #[command(flatten)]
    embeddings: EmbeddingArgs,
    #[command(flatten)]
    learning: Learning,
    /// Write the scores file again with a prediction for every prompt by a fit that had not seen its answers: what plans for these very
    /// prompts should rest on
    #[arg(long, value_name = "FILE")]
    cross_fitted: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  routerwise train scores.parquet                                    learn from all models of the file, write predictor.rwp
  routerwise train scores.parquet --model small --model large -o two.rwp
  routerwise train scenarios/demo                                    a scenario's scores, by its names of the models: for `serve`
  routerwise train scores.parquet --cross-fitted scenario/scores.parquet
  routerwise train scores.parquet --embeddings models/all-MiniLM-L6-v2 --head ridge --embeddings-cache vectors.rwv
  routerwise train scores.parquet --embeddings http://localhost:8080/v1 --embeddings-model bge-small --head knn
  routerwise score predictor.rwp --prompt 'What is a monad?'         use it

Prompts that say the same in other capitals or spacing count as one and are never in training and test at once. Prompts that lack a score of
some model are left out. The test learns from the other prompts; what is written is learned from all of them.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    if args.cross_fitted.is_some() && args.scores.is_dir() {
        return Err(Failure::Request {
            what: format!(
                "`{}` is a folder, and `--cross-fitted` writes a file of scores again",
                args.scores.display()
            ),
            help: "name the file of scores in it".into(),
        });
    }
    let labels = args
        .learning
        .sampled(learning::read(&args.scores, &args.learning.models)?);
    let options = args.learning.options();
    let groups = Groups::by_prompt(&labels.texts);
    let (learned_from, tested) = args.learning.split(&labels)?;
    let points = args.embeddings.points(&labels.texts)?;
    let learner = match &points {
        Some(points) => Learner::Head(args.head.unwrap_or(HeadArg::Ridge), points),
        None => Learner::Plain(args.kind),
    };
    let n_folds = learning::source_folds(&labels).map_or(0, |(_, n_folds)| n_folds);
    let bar = progress_bar((2 + n_folds) * learner.n_steps());
    let part = learner.learn(&learned_from, options, &bar)?;
    let subject = args
        .learning
        .subject(&learner.to_string(), SplitBy::Prompt, learned_from.texts.len());
    let test = judge(
        &subject,
        learning::truth(&tested, &[]),
        &learner.score_all(&part.predictor, &tested.texts),
    );
    let subject = |n_train| args.learning.subject(&learner.to_string(), SplitBy::Source, n_train);
    let test_by_source = learner
        .by_source(&labels, options, subject, &bar)?
        .map(|(test, _)| test);
    let trained = learner.learn(&labels, options, &bar)?;
    bar.finish_and_clear();
    let file = PredictorFile {
        about: About {
            kind: learner.kind(),
            models: labels.models.clone(),
            data: labels.fingerprint.clone(),
            n_prompts: labels.texts.len(),
            seed: options.seed,
            strengths: trained.strengths,
            embeddings: points.as_ref().map(|points| points.identity.clone()),
            test: Some(test),
            test_by_source,
        },
        trained_on: groups.hashes(),
        predictor: trained.predictor,
    };
    if let Some(path) = &args.cross_fitted {
        write_cross_fitted(
            &args.scores,
            path,
            &labels,
            &trained.cross_fitted,
            &predictor_file::described(&file),
        )?;
    }
    predictor_file::write(&args.out, &file)?;
    let tests = file.about.test.into_iter().chain(file.about.test_by_source);
    print(args, &labels, tests.collect(), out)?;
    Ok(Answer::Yes)
}

/// The scores file again: predictions as `score:<model>`, what was measured as `label:<model>`.
fn write_cross_fitted(
    from: &Path,
    to: &Path,
    labels: &Labels,
    predicted: &[Vec<f32>],
    by: &str,
) -> Result<(), Failure> {
    let mut table = tables::read(from)?.rows(&labels.rows);
    table.say_predicted_by(by);
    for (model, predicted) in labels.models.iter().zip(predicted) {
        let score = format!("score:{model}");
        table.rename(&score, &format!("label:{model}"));
        table.put(&score, Values::scores(predicted));
    }
    table
        .write(to)
        .map_err(Failure::environment(format!("writing `{}`", to.display())))
}

fn print(args: &Args, labels: &Labels, tests: Vec<PredictorTest>, out: &mut dyn Write) -> Result<(), Failure> {
    match args.format {
        Format::Json => print_json(
            &Evaluation {
                schema: ANSWER_SCHEMA,
                models: labels.models.clone(),
                tests,
                left_out: Vec::new(),
            },
            out,
        )?,
        Format::Table => {
            writeln!(
                out,
                "Learned from {} prompts x {} models of `{}`",
                labels.texts.len(),
                labels.models.len(),
                args.scores.display()
            )?;
            if labels.n_dropped > 0 {
                writeln!(out, "{} prompts lack a score and were left out", labels.n_dropped)?;
            }
            for test in &tests {
                writeln!(out)?;
                predictors::test(test, out)?;
            }
            if !tests.iter().any(|test| test.split == SplitBy::Source) {
                writeln!(
                    out,
                    "\n Not tested on prompts of other kinds: that needs a column `source` with more than one value."
                )?;
            }
            writeln!(out, "\n Written to {}", args.out.display())?;
            if let Some(path) = &args.cross_fitted {
                writeln!(
                    out,
                    " Predictions for these very prompts, each by a fit that had not seen it: {}",
                    path.display()
                )?;
            }
        }
    }
    Ok(())
}
