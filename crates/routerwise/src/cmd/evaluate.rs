//! `routerwise evaluate`: what predictors are worth on prompts that they have not seen.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use indicatif::ProgressBar;
use routerwise_inputs::labels::Labels;
use routerwise_inputs::write_atomically;
use routerwise_predict::Predictor as _;
use routerwise_predict::groups::Groups;
use routerwise_predict::lift::{Lifts, Subject, judge_with_lifts};
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::predictors::{Evaluation, PredictorTest, SplitBy, Verdict, Versus};

use crate::cli::Format;
use crate::embedding::{EmbeddingArgs, HeadArg};
use crate::failure::{Answer, Failure};
use crate::learning::{self, KindArg, Learner, Learning, progress_bar, source_folds, truth};
use crate::table::print_json;
use crate::{drawing, predictor_file, render};

/// Say what predictors are worth on prompts that they have not seen: calibration, AUC, and what routing gains
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Prompts with the score of each model: a file (Parquet or CSV) with columns `prompt` and `score:<model>`, and `source` to test by
    /// source; or a scenario folder
    #[arg(value_name = "SCORES")]
    scores: PathBuf,
    /// Judge this predictor file on all prompts instead of learning from some (repeat for more)
    #[arg(long = "predictor", value_name = "FILE", conflicts_with_all = ["kinds", "by"])]
    predictors: Vec<PathBuf>,
    /// Leave prompts out that a predictor file was learned from, instead of refusing
    #[arg(long, requires = "predictors")]
    drop_known: bool,
    /// Kind of predictor to learn and judge (repeat for more) [default: all]
    #[arg(long = "kind", value_name = "KIND", value_enum)]
    kinds: Vec<KindArg>,
    /// Head on `--embeddings` to learn and judge beside them (repeat for more) [default: all]
    #[arg(
        long = "head",
        value_name = "HEAD",
        value_enum,
        requires = "embeddings",
        help_heading = "Embeddings"
    )]
    heads: Vec<HeadArg>,
    #[command(flatten)]
    embeddings: EmbeddingArgs,
    /// How to choose the prompts of the test
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// By prompt, hold out each of so many parts in turn, by what was learned from the others, so that every prompt is tested: narrower
    /// intervals for as many times the learning
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=20), conflicts_with_all = ["held_out", "predictors"])]
    folds: Option<u32>,
    /// Route at these fractions too, and take lift and gain from them: `small=0.7,large=0.3`; models not named get nothing
    #[arg(long, value_name = "MODEL=PART,…", value_delimiter = ',')]
    fractions: Vec<String>,
    /// Print every test in full
    #[arg(long)]
    details: bool,
    /// Draw deferral curves and reliability to this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    learning: Learning,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How the prompts of the test are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    /// Both ways
    #[default]
    Both,
    /// By chance; the same prompt is never on both sides
    Prompt,
    /// Each source in turn, by what was learned from the others
    Source,
}

const EXAMPLES: &str = "\
Examples:
  routerwise evaluate scores.parquet                        every kind of predictor, held out by prompt and by source
  routerwise evaluate scores.parquet --kind default --details --svg predictor.svg
  routerwise evaluate new.parquet --predictor predictor.rwp what a predictor is worth on prompts of another day
  routerwise evaluate scores.parquet --embeddings models/all-MiniLM-L6-v2 --embeddings-cache vectors.rwv
  routerwise evaluate scores.parquet --fractions small=0.6,large=0.4
  routerwise evaluate scores.parquet --by prompt --folds 5  every prompt tested once: which predictor is better?

Lift is (routed - static mix) / (oracle - static mix), all at the same fractions: 0 is chance, 100 % is knowing every answer beforehand. Three
mixes are tried, even, mostly the weaker and mostly the stronger models; intervals are 95 %, by bootstrap. Predictors
tested on the same prompts are compared with the first of them, in points of lift. Columns
`pred:<predictor>:<model>` of the file are judged too. A predictor file that was learned from prompts of the test is refused.
Exit code 1 says that some predictor is no better than a static mix.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    if args.folds.is_some() && args.by == By::Source {
        return Err(Failure::Request {
            what: "`--folds` deals out prompts, and `--by source` holds out sources".into(),
            help: "leave one of them out; `--by both` tests both ways".into(),
        });
    }
    let labels = args
        .learning
        .sampled(learning::open(&args.scores, &args.learning.models)?);
    let mut run = Run {
        args,
        mix: mix(&args.fractions, &labels.models)?,
        tests: Vec::new(),
        left_out: Vec::new(),
        first: Vec::new(),
    };
    if args.predictors.is_empty() {
        run.learned(&labels)?;
    }
    for file in &args.predictors {
        run.given(file, &labels)?;
    }
    run.published(&labels);
    let evaluation = Evaluation {
        schema: ANSWER_SCHEMA,
        models: labels.models,
        tests: run.tests,
        left_out: run.left_out,
    };
    if let Some(file) = &args.svg {
        write_atomically(file, drawing::predictors::draw(&evaluation).as_bytes())
            .map_err(Failure::environment(format!("writing `{}`", file.display())))?;
    }
    match args.format {
        Format::Json => print_json(&evaluation, out)?,
        Format::Table => render::predictors::evaluation(&evaluation, args.details, out)?,
    }
    let is_bad = |test: &PredictorTest| test.verdict == Verdict::NotBetter;
    Ok(if evaluation.tests.iter().any(is_bad) {
        Answer::No
    } else {
        Answer::Yes
    })
}

struct Run<'a> {
    args: &'a Args,
    mix: Option<(String, Vec<f64>)>,
    tests: Vec<PredictorTest>,
    left_out: Vec<String>,
    /// The first predictor of each test: others on the same prompts are compared with it.
    first: Vec<First>,
}

struct First {
    split: SplitBy,
    rows: Vec<usize>,
    predictor: String,
    lifts: Lifts,
}

impl Run<'_> {
    /// Takes a test of some rows.
    fn take(&mut self, rows: &[usize], (mut test, lifts): (PredictorTest, Lifts)) {
        let is_same = |first: &&First| first.split == test.split && first.rows == rows;
        if let Some(first) = self.first.iter().find(is_same) {
            test.versus = Some(Versus {
                predictor: first.predictor.clone(),
                lift: lifts.above(&first.lifts),
            });
        } else {
            self.first.push(First {
                split: test.split,
                rows: rows.to_vec(),
                predictor: test.predictor.clone(),
                lifts,
            });
        }
        self.tests.push(test);
    }

    fn subject(&self, predictor: &str, split: SplitBy, n_train: usize) -> Subject {
        Subject {
            mix: self.mix.clone(),
            ..self.args.learning.subject(predictor, split, n_train)
        }
    }

    /// Learns every kind from some prompts and judges it on the others.
    fn learned(&mut self, labels: &Labels) -> Result<(), Failure> {
        let with_text: Vec<usize> = (0..labels.texts.len())
            .filter(|row| !labels.texts[*row].is_empty())
            .collect();
        if with_text.is_empty() {
            self.left_out
                .push("the file has no texts, so nothing can be learned from it".into());
            return Ok(());
        }
        let labels = labels.of(&with_text);
        let kinds = match &self.args.kinds[..] {
            [] => KindArg::value_variants(),
            kinds => kinds,
        };
        let heads = match &self.args.heads[..] {
            [] => HeadArg::value_variants(),
            heads => heads,
        };
        let points = self.args.embeddings.points(&labels.texts)?;
        let mut learners: Vec<Learner<'_>> = kinds.iter().map(|kind| Learner::Plain(*kind)).collect();
        if let Some(points) = &points {
            learners.extend(heads.iter().map(|head| Learner::Head(*head, points)));
        }
        let by = self.args.by;
        let n_steps: usize = learners.iter().map(Learner::n_steps).sum();
        let n_folds = source_folds(&labels).map_or(0, |(_, n_folds)| n_folds);
        let n_by_prompt = self.args.folds.map_or(1, |folds| folds as usize);
        let n_learned = match by {
            By::Both => n_by_prompt + n_folds,
            By::Prompt => n_by_prompt,
            By::Source => n_folds,
        };
        let bar = progress_bar(n_steps * n_learned);
        for learner in learners {
            if by != By::Source {
                self.by_prompt(learner, &labels, &bar)?;
            }
            if by != By::Prompt {
                self.by_source(learner, &labels, &bar)?;
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    fn by_prompt(&mut self, learner: Learner<'_>, labels: &Labels, bar: &ProgressBar) -> Result<(), Failure> {
        let options = self.args.learning.options();
        let name = learner.to_string();
        let test = if let Some(n_folds) = self.args.folds {
            let n_folds = n_folds as usize;
            let folds = Groups::by_prompt(&labels.texts).folds(n_folds, options.seed);
            let subject = |n_train| self.subject(&name, SplitBy::Prompt, n_train);
            learner.in_turn(labels, &folds, n_folds, options, subject, bar)?
        } else {
            let (learned_from, tested) = self.args.learning.split(labels)?;
            let trained = learner.learn(&learned_from, options, bar)?;
            let scores = learner.score_all(&trained.predictor, &tested.texts);
            let subject = self.subject(&name, SplitBy::Prompt, learned_from.texts.len());
            judge_with_lifts(&subject, truth(&tested, &[]), &scores)
        };
        // All learners are tested on the same prompts.
        self.take(&[], test);
        Ok(())
    }

    fn by_source(&mut self, learner: Learner<'_>, labels: &Labels, bar: &ProgressBar) -> Result<(), Failure> {
        let subject = |n_train| self.subject(&learner.to_string(), SplitBy::Source, n_train);
        match learner.by_source(labels, self.args.learning.options(), subject, bar)? {
            Some(test) => self.take(&[], test),
            None => {
                let note = "prompts are of one source, or too few are of others, so none can be held out";
                if !self.left_out.iter().any(|known| known == note) {
                    self.left_out.push(note.into());
                }
            }
        }
        Ok(())
    }

    /// Judges a predictor file. What it was learned from proves nothing.
    fn given(&mut self, file: &Path, labels: &Labels) -> Result<(), Failure> {
        let predictor = predictor_file::read(file)?;
        let columns: Vec<usize> = in_order(&labels.models, predictor.models(), file)?;
        let known = Groups::by_prompt(&labels.texts).shared_with(&predictor.trained_on);
        if !known.is_empty() && !self.args.drop_known {
            return Err(Failure::Request {
                what: format!(
                    "`{}` was learned from {} of the {} prompts of the test",
                    file.display(),
                    known.len(),
                    labels.texts.len()
                ),
                help: "give prompts that it has not seen, or leave those out with `--drop-known`".into(),
            });
        }
        let unseen: Vec<usize> = (0..labels.texts.len())
            .filter(|row| known.binary_search(row).is_err())
            .collect();
        if unseen.is_empty() {
            return Err(Failure::Request {
                what: format!("`{}` was learned from every prompt of the test", file.display()),
                help: "give prompts that it has not seen".into(),
            });
        }
        let tested = labels.of(&unseen);
        let embedder = self.args.embeddings.open()?;
        let all = predictor_file::score_all(&predictor, embedder.as_deref(), &tested.texts)?;
        let scores: Vec<Vec<f32>> = columns.into_iter().map(|at| all[at].clone()).collect();
        let subject = self.subject(&file.display().to_string(), SplitBy::Given, predictor.about.n_prompts);
        let test = judge_with_lifts(&subject, truth(&tested, &[]), &scores);
        self.take(&unseen, test);
        Ok(())
    }

    /// Judges predictions that the file itself holds.
    fn published(&mut self, labels: &Labels) {
        for (name, columns) in &labels.published {
            let is_there = |row: &usize| columns.iter().all(|column| column[*row].is_finite());
            let rows: Vec<usize> = (0..labels.texts.len()).filter(is_there).collect();
            if rows.is_empty() {
                continue;
            }
            let tested = labels.of(&rows);
            let subject = self.subject(&format!("{name} (published)"), SplitBy::Given, 0);
            let test = judge_with_lifts(&subject, truth(&tested, &[]), &tested.published[name]);
            self.take(&rows, test);
        }
    }
}

/// Where each model of the table is among those of a predictor.
fn in_order(models: &[String], of: &[String], file: &Path) -> Result<Vec<usize>, Failure> {
    let at = |model: &String| {
        of.iter()
            .position(|known| known == model)
            .ok_or_else(|| Failure::Request {
                what: format!("`{}` does not know model `{model}`", file.display()),
                help: format!(
                    "judge it on its own models: {}",
                    of.iter()
                        .map(|name| format!("--model {name}"))
                        .collect::<Vec<_>>()
                        .join(" ")
                ),
            })
    };
    models.iter().map(at).collect()
}

/// The mix asked for, with parts that sum to 1.
fn mix(fractions: &[String], models: &[String]) -> Result<Option<(String, Vec<f64>)>, Failure> {
    if fractions.is_empty() {
        return Ok(None);
    }
    let wrong = |what: String| Failure::Request {
        what,
        help: "write `--fractions small=0.7,large=0.3`; parts are scaled to sum to 1".into(),
    };
    let mut parts = vec![0.0; models.len()];
    for fraction in fractions {
        let (name, part) = fraction
            .rsplit_once('=')
            .ok_or_else(|| wrong(format!("`--fractions` has `{fraction}`, which is no `model=part`")))?;
        let at = models.iter().position(|model| model == name.trim());
        let at = at.ok_or_else(|| wrong(format!("`--fractions` names `{name}`, and there are no scores of it")))?;
        parts[at] = part
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|part| (0.0..=1e6).contains(part))
            .ok_or_else(|| {
                wrong(format!(
                    "`--fractions` gives `{name}` the part `{part}`, which is no number of at least 0"
                ))
            })?;
    }
    let sum: f64 = parts.iter().sum();
    if sum <= 0.0 {
        return Err(wrong("`--fractions` gives no model anything".into()));
    }
    parts.iter_mut().for_each(|part| *part /= sum);
    Ok(Some(("given".to_owned(), parts)))
}
