//! `routerwise label`: asks every model a sample of the user's prompts and scores the answers.

mod active;
mod report;
mod scores;
mod setting;

use std::cell::{Cell, RefCell};
use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use routerwise_inputs::{questions, write_atomically};
use routerwise_label::cost::{self, Load};
use routerwise_label::journal::JournalError;
use routerwise_label::run::{BadEndpoint, Event, SetupError};
use routerwise_label::score::Scorer;
use routerwise_label::{Journal, Patience, Run, sample};
use routerwise_types::labels::{Endpoint, Question};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::cli::Format;
use crate::failure::{Answer, Failure};
use active::Choice;
use setting::{EndpointArgs, ScoringArgs};

/// Score your own models on your own prompts: ask every model, score the answers, write a scores file
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Prompts: .txt (one a line), .jsonl ({"prompt": …} or {"messages": …}), .csv or .parquet (columns prompt, reference, …)
    #[arg(value_name = "PROMPTS")]
    prompts: PathBuf,
    /// Scores file to write, .csv or .parquet [default: scores.csv beside the prompts]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Prompts to label, drawn by chance
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
    /// Seed of the draw
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How prompts are drawn
    #[arg(long, value_enum, default_value_t)]
    choose: Choose,
    /// For `--choose active`: part of the prompts that each model is to get, as in a plan [default: even parts]
    #[arg(long, value_name = "MODEL=PART,…", value_delimiter = ',')]
    fractions: Vec<String>,
    #[command(flatten)]
    endpoints: EndpointArgs,
    #[command(flatten)]
    scoring: ScoringArgs,
    /// Go on without asking, whatever it costs
    #[arg(short, long)]
    yes: bool,
    /// Also write the answers, as JSON lines
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Keep the journal after a complete run, so that a larger sample or another scorer asks only what is new
    #[arg(long)]
    keep_journal: bool,
    /// Replace a scores file that a finished run has written
    #[arg(long)]
    overwrite: bool,
    /// How the result is printed
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How prompts are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Choose {
    /// All alike
    #[default]
    Random,
    /// In four rounds; prompts that the labels so far leave open are drawn more often, and weigh less
    Active,
}

const EXAMPLES: &str = "\
Examples:
  routerwise label prompts.jsonl --score exact \\
      --model small=http://localhost:8001/v1 --model large=http://localhost:8002/v1
  routerwise label exam.csv --score choice --endpoints label.toml --sample 1000 -o scores.parquet
  routerwise label sums.jsonl --score regex --pattern '####\\s*(\\S+)' --endpoints label.toml
  routerwise label code.jsonl --score command --command './run-tests.py' --command-timeout 30 --endpoints label.toml
  routerwise label chats.txt --score judge --judge-template judge.txt --judge gpt=https://api.example.com/v1 --key-env API_KEY \\
      --model small=http://localhost:8001/v1 --model large=http://localhost:8002/v1
  routerwise label prompts.jsonl --score exact --endpoints label.toml --choose active --fractions small=0.7,large=0.3

Answers are compared with the column or field `reference`. Interrupt it at any time; the same command goes on where it stopped, from
the journal beside the scores file (FILE.journal), which is removed when all is done.

A command gets {\"prompt_id\", \"prompt\", \"answer\", \"reference\", \"source\", \"model\"} on its standard input and prints a number from 0
to 1; exit code 3 leaves the answer without a score, any other than 0 is counted as a failure and tried again by the same command.

A judge's template has {prompt} and {answer}; or {first_title} {first} {second_title} {second}, to grade beside the reference; or
{answer_a} {answer_b}, to compare with the reference or with --baseline. Two texts are shown in both orders, and the mean counts.

Exit codes: 0 done, 1 some answers or scores are missing, 2 the input is wrong, 3 the environment failed.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let path = args
        .out
        .clone()
        .unwrap_or_else(|| args.prompts.with_file_name("scores.csv"));
    let journal_path = journal_path(&path);
    refuse_bad_places(args, &path, &journal_path)?;
    let questions = questions::read(&args.prompts)?;
    let (models, judge) = setting::endpoints(&args.endpoints, &args.scoring)?;
    let scorer = setting::scorer(&args.scoring, &models, judge)?;
    let sampled = sampled(&questions, args);
    let every: Vec<&Question> = questions.iter().collect();
    let may_be_asked = if args.choose == Choose::Active {
        &every
    } else {
        &sampled
    };
    setting::refuse_unscorable(&scorer, may_be_asked, &args.prompts)?;
    let choice = Choice {
        questions: &questions,
        models: &models,
        fractions: active::fractions(&args.fractions, &models)?,
        sample: args.sample as usize,
        seed: args.seed,
    };
    let (stop, stopped) = watch::channel(false);
    let labelling = Run::new(&models, scorer, Patience::default(), &stopped).map_err(setup_failure)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::environment("starting the network"))?;
    refuse_bad_endpoints(&runtime.block_on(labelling.check()))?;
    let journal = Journal::open(&journal_path).map_err(journal_failure)?;
    confirm(args, &models, &labelling, &sampled, &journal)?;
    let journal = RefCell::new(journal);
    runtime.spawn(interrupted(stop));
    let label = |questions: &[&Question]| label(&runtime, &labelling, questions, &journal);
    let drawn = match args.choose {
        Choose::Random => {
            label(&sampled)?;
            sampled.into_iter().cloned().collect()
        }
        Choose::Active => choice.label(&labelling, &journal, &label)?,
    };
    let journal = journal.into_inner();
    let labels = labelling.labels(&drawn.iter().collect::<Vec<_>>(), &journal);
    let doing = |path: &Path| format!("writing `{}`", path.display());
    scores::table(&labels.table)
        .write(&path)
        .map_err(Failure::environment(doing(&path)))?;
    if let Some(answers) = &args.answers {
        write_atomically(answers, report::answers(&labels).as_bytes()).map_err(Failure::environment(doing(answers)))?;
    }
    let mut report = report::report(&labelling, &labels, &models, questions.len(), &path);
    // A run that was stopped between two rounds has all answers that it asked for.
    report.complete &= drawn.len() == questions.len().min(args.sample as usize);
    report::print(&report, &labelling, &journal_path, args.format, out)?;
    if report.complete && !args.keep_journal {
        journal.remove().map_err(journal_failure)?;
    }
    Ok(if report.complete { Answer::Yes } else { Answer::No })
}

/// `scores.csv` → `scores.csv.journal`.
fn journal_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".journal");
    name.into()
}

fn refuse_bad_places(args: &Args, path: &Path, journal: &Path) -> Result<(), Failure> {
    let refuse = |what: String, help: &str| {
        Err(Failure::Request {
            what,
            help: help.into(),
        })
    };
    if !scores::is_writable(path) {
        let what = format!("`{}` is no name of a scores file", path.display());
        return refuse(what, "end it in `.csv` or `.parquet`");
    }
    let same = |one: &Path, other: &Path| match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    };
    if same(path, &args.prompts)
        || args
            .answers
            .as_deref()
            .is_some_and(|answers| same(answers, &args.prompts))
    {
        let what = format!(
            "`{}` holds the prompts and would be overwritten",
            args.prompts.display()
        );
        return refuse(what, "write elsewhere with `--out` or `--answers`");
    }
    // With a journal the scores file is that of an unfinished run, and this one goes on.
    if path.exists() && !journal.exists() && !args.overwrite {
        let what = format!("`{}` is there already", path.display());
        return refuse(what, "write elsewhere with `--out`, or replace it with `--overwrite`");
    }
    Ok(())
}

/// A draw by chance, in the order of the file.
fn sampled<'q>(questions: &'q [Question], args: &Args) -> Vec<&'q Question> {
    let mut drawn = sample::shuffled(questions.len(), args.seed);
    drawn.truncate(args.sample as usize);
    drawn.sort_unstable();
    drawn.into_iter().map(|ix| &questions[ix]).collect()
}

fn refuse_bad_endpoints(bad: &[BadEndpoint]) -> Result<(), Failure> {
    if bad.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> = bad.iter().map(|bad| format!("`{}`: {}", bad.name, bad.said)).collect();
    let doing = match bad.len() {
        1 => "asking an endpoint for one token, before the run".to_owned(),
        n => format!("asking {n} endpoints for one token, before the run"),
    };
    Err(Failure::environment(doing)(io::Error::other(lines.join("\n"))))
}

/// Says what is still to be asked for and what that may cost; asks before money is spent or a judge is bothered.
fn confirm(
    args: &Args,
    models: &[Endpoint],
    labelling: &Run,
    sampled: &[&Question],
    journal: &Journal,
) -> Result<(), Failure> {
    let loads = cost::estimate(models, labelling.scorer(), sampled, journal);
    let costs = loads.iter().any(|load| load.cost_max.is_some_and(|cost| cost > 0.0));
    let judged = matches!(labelling.scorer(), Scorer::Judge(_));
    let n_requests: usize = loads.iter().map(|load| load.n_requests).sum();
    if n_requests == 0 || !(costs || judged) {
        return Ok(());
    }
    let mut err = io::stderr().lock();
    // A message that cannot be shown is not worth failing for; the question below is.
    let _ = write!(err, "{}", report::loads(&loads));
    if args.yes {
        return Ok(());
    }
    let refused = |what: &str| {
        Err(Failure::Request {
            what: what.into(),
            help: format!("{}; say yes beforehand with `--yes`", total(&loads)),
        })
    };
    if !io::stdin().is_terminal() {
        return refused("this run has to be confirmed, and there is no terminal to ask at");
    }
    let _ = write!(err, "Go on? [y/N] ");
    let _ = err.flush();
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    match (read, line.trim().to_lowercase().as_str()) {
        (Ok(_), "y" | "yes") => Ok(()),
        _ => refused("not confirmed: nothing was asked"),
    }
}

fn total(loads: &[Load]) -> String {
    let n_requests: usize = loads.iter().map(|load| load.n_requests).sum();
    let costs: Vec<f64> = loads.iter().filter_map(|load| load.cost_max).collect();
    if costs.is_empty() {
        format!("it sends {n_requests} requests; no prices are known")
    } else {
        format!(
            "it sends {n_requests} requests and costs at most {:.2}",
            costs.iter().sum::<f64>()
        )
    }
}

/// Asks and scores until all is done, nothing more can be done, or the user interrupts.
fn label(
    runtime: &Runtime,
    labelling: &Run,
    questions: &[&Question],
    journal: &RefCell<Journal>,
) -> Result<(), Failure> {
    let n_steps = labelling.n_steps(questions, &journal.borrow());
    let bar = progress_bar(n_steps);
    let n_failed = Cell::new(0);
    let seen = |event: Event| {
        if event == Event::Failed {
            n_failed.set(n_failed.get() + 1);
            bar.set_message(format!(", {} failed", n_failed.get()));
        }
        bar.inc(1);
    };
    let result = runtime.block_on(labelling.label(questions, journal, &seen));
    bar.finish_and_clear();
    result.map_err(journal_failure)
}

/// Lets what is under way end when the user interrupts.
async fn interrupted(stop: watch::Sender<bool>) {
    while tokio::signal::ctrl_c().await.is_ok() {
        // The second time somebody does not want to wait; what was answered is on the disk.
        if stop.send_replace(true) {
            std::process::exit(3);
        }
    }
}

fn progress_bar(n_steps: usize) -> ProgressBar {
    let style = "{bar:40} {pos}/{len} answers and scores{msg}, {elapsed} gone, {eta} to go";
    let bar = ProgressBar::new(n_steps as u64);
    bar.set_style(ProgressStyle::with_template(style).expect("a constant that a test parses"));
    bar
}

fn setup_failure(error: SetupError) -> Failure {
    match error {
        SetupError::NoKey { .. } => Failure::Request {
            what: error.to_string(),
            help: "set it, or name another with `--key-env` or `key-env`".into(),
        },
        SetupError::Client(error) => Failure::environment("preparing to send requests")(io::Error::other(error)),
    }
}

fn journal_failure(error: JournalError) -> Failure {
    match error {
        JournalError::Disk { doing, path, source } => {
            Failure::environment(format!("{doing} `{}`", path.display()))(source)
        }
        JournalError::InUse(_) => Failure::Request {
            what: error.to_string(),
            help: "wait for it, or write elsewhere with `--out`".into(),
        },
        JournalError::Foreign(_) => Failure::Request {
            what: error.to_string(),
            help: "move it away, or write elsewhere with `--out`".into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_lies_beside_the_scores() {
        assert_eq!(
            journal_path(Path::new("a/scores.csv")),
            Path::new("a/scores.csv.journal")
        );
        assert_eq!(progress_bar(3).length(), Some(3));
    }
}
