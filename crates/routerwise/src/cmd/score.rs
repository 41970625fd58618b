//! `routerwise score`: what a predictor says about a prompt, or about a file of prompts.

mod file;

use std::io::{self, Read as _, Write};
use std::path::PathBuf;
use std::time::Duration;

use routerwise_embed::{HttpScorer, Served, Service};
use routerwise_predict::file::PredictorFile;
use routerwise_predict::groups::Groups;
use routerwise_predict::heads::Embedded;
use routerwise_predict::learned::Learned;
use routerwise_predict::{NotScored, Piece, Predictor, PromptFacts};
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::predictors::{ModelScore, PromptScores};

use crate::cli::Format;
use crate::embedding::EmbeddingArgs;
use crate::failure::{Answer, Failure};
use crate::predictor_file;
use crate::table::{print_json, table};
use file::Embedding;

/// Score a prompt, or a file of prompts, with a predictor
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Args {
    /// Predictor file, as `routerwise train` writes it
    #[arg(value_name = "PREDICTOR")]
    predictor: PathBuf,
    /// The prompt [default: standard input]
    #[arg(long, short, value_name = "TEXT", conflicts_with_all = ["prompts", "out"])]
    prompt: Option<String>,
    /// Prompts to score: Parquet or CSV with a column `prompt`, JSON lines with `prompt` or `messages`, or a text with one on each line
    #[arg(long, value_name = "FILE", requires = "out")]
    prompts: Option<PathBuf>,
    /// Scores file to write for `--prompts` (Parquet or CSV), in the layout that scenarios read
    #[arg(long, short, value_name = "FILE", requires = "prompts")]
    out: Option<PathBuf>,
    #[command(flatten)]
    embeddings: EmbeddingArgs,
    /// Ask a scorer of your own instead, and the predictor where it does not answer
    #[arg(long, value_name = "URL", conflicts_with_all = ["embeddings", "prompts"])]
    scorer: Option<String>,
    /// Environment variable that holds the scorer's key
    #[arg(long, value_name = "NAME", requires = "scorer")]
    scorer_key_env: Option<String>,
    /// Longest wait for an embedding or the scorer, in milliseconds; prompts of a file that go through the model together wait as many times
    /// that long
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    deadline: u32,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  routerwise score predictor.rwp --prompt 'Prove that 17 is prime.'
  routerwise score predictor.rwp < prompt.txt
  routerwise score predictor.rwp --prompts new.parquet --out scenario/scores.parquet
  routerwise score predictor.rwp --prompts chats.jsonl --out scores.csv     lines of {\"messages\": [ … ]}
  routerwise score predictor.rwp --embeddings models/all-MiniLM-L6-v2 --prompt 'What is a monad?'
  routerwise score predictor.rwp --scorer http://localhost:9000/score --prompt 'What is a monad?'

A scorer of your own gets {\"prompt\": …, \"models\": [names]} by POST and answers {\"scores\": {name: 0.7, …}} with a number for each model. Where
it, or an embedding, does not come before the deadline, the predictor stands in: its own scores, or those of the default predictor that every
predictor on embeddings holds too.

A scores file keeps the columns of the prompts; scores that were measured (`score:<model>`) become `label:<model>`, and `score:<model>` is what
was predicted. Of a long prompt the first 6144 and the last 2048 bytes are read; what is no UTF-8 counts as the character U+FFFD.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let predictor = predictor_file::read(&args.predictor)?;
    if let (Some(from), Some(to)) = (&args.prompts, &args.out) {
        let embedding = Embedding {
            embedder: args.embeddings.open()?,
            deadline: Duration::from_millis(args.deadline.into()),
        };
        return file::score(&predictor, embedding, from, to, out);
    }
    let text = match &args.prompt {
        Some(text) => text.clone(),
        None => standard_input()?,
    };
    let (scores, stood_in) = scored(args, &predictor, &text)?;
    let answer = PromptScores {
        schema: ANSWER_SCHEMA,
        learned_from: Groups::by_prompt(&[text]).shared_with(&predictor.trained_on).len() == 1,
        scores: predictor
            .models()
            .iter()
            .zip(&scores)
            .map(|(model, score)| ModelScore {
                model: model.clone(),
                score: f64::from(*score),
            })
            .collect(),
    };
    print(args.format, &answer, out)?;
    if let Some(why) = stood_in.filter(|_| args.format == Format::Table) {
        writeln!(
            out,
            "\n Note: {why}; these are the scores of the predictor that stands in."
        )?;
    }
    Ok(Answer::Yes)
}

/// The scores of a prompt, and why they are those of the predictor that stands in, where they are.
fn scored(args: &Args, predictor: &PredictorFile, text: &str) -> Result<(Vec<f32>, Option<String>), Failure> {
    let deadline = Duration::from_millis(args.deadline.into());
    let pieces = [Piece::user(text)];
    let prompt = PromptFacts::new(&pieces);
    let mut scores = vec![0.0; predictor.models().len()];
    let failed = |error: NotScored| Failure::environment("scoring the prompt")(io::Error::other(error));
    let mut by = |first: &dyn Predictor| match first.predict(&prompt, &mut scores) {
        Ok(()) => Ok(None),
        Err(error) => predictor
            .predict(&prompt, &mut scores)
            .map(|()| Some(error.to_string()))
            .map_err(failed),
    };
    let stood_in = match (&args.scorer, &predictor.predictor, args.embeddings.open()?) {
        (Some(url), ..) => {
            let url = routerwise_inputs::endpoints::checked_url(url).map_err(|what| Failure::Request {
                what,
                help: "write `--scorer http://host:port/path`".into(),
            })?;
            let scorer = HttpScorer::new(&url, predictor.models(), args.scorer_key_env.as_deref(), deadline);
            by(&scorer.map_err(|what| Failure::Request {
                what,
                help: "set it, or name another with `--scorer-key-env`".into(),
            })?)?
        }
        (None, Learned::Embedded(learned), Some(embedder)) => {
            predictor_file::check(predictor, embedder.as_ref())?;
            let service = Service {
                deadline,
                ..Service::default()
            };
            by(&Embedded {
                embed: Served::new(embedder, service),
                head: learned.head.clone(),
            })?
        }
        (None, learned, _) => {
            predictor.predict(&prompt, &mut scores).map_err(failed)?;
            matches!(learned, Learned::Embedded(_))
                .then(|| "it learned from embeddings, and `--embeddings` is not given".into())
        }
    };
    Ok((scores, stood_in))
}

fn standard_input() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    io::stdin()
        .read_to_end(&mut bytes)
        .map_err(Failure::environment("reading the prompt from standard input"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn print(format: Format, answer: &PromptScores, out: &mut dyn Write) -> Result<(), Failure> {
    match format {
        Format::Json => print_json(answer, out)?,
        Format::Table => {
            let mut scores: Vec<&ModelScore> = answer.scores.iter().collect();
            scores.sort_by(|a, b| b.score.total_cmp(&a.score));
            let rows = scores
                .into_iter()
                .map(|score| [score.model.clone(), format!("{:.3}", score.score)]);
            writeln!(out, "{}", table(["model", "score"], "lr", rows))?;
            if answer.learned_from {
                writeln!(
                    out,
                    "\n Note: the predictor was learned from this very prompt, so the scores flatter it."
                )?;
            }
        }
    }
    Ok(())
}
