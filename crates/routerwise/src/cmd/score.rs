//! `routerwise score`: what a predictor says about a prompt, or about a file of prompts.

use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use routerwise_inputs::tables::{self, Values};
use routerwise_predict::file::PredictorFile;
use routerwise_predict::groups::Groups;
use routerwise_predict::{Piece, Predictor as _, PromptFacts};
use routerwise_types::answer::ANSWER_SCHEMA;
use routerwise_types::answer::predictors::{ModelScore, PromptScores, Verdict};

use crate::cli::Format;
use crate::failure::{Answer, Failure};
use crate::predictor_file;
use crate::table::{print_json, table};

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
    /// Prompts to score: a Parquet or CSV file with a column `prompt`
    #[arg(long, value_name = "FILE", requires = "out")]
    prompts: Option<PathBuf>,
    /// Scores file to write for `--prompts` (Parquet or CSV), in the layout that scenarios read
    #[arg(long, short, value_name = "FILE", requires = "prompts")]
    out: Option<PathBuf>,
    /// How to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

const EXAMPLES: &str = "\
Examples:
  routerwise score predictor.rwp --prompt 'Prove that 17 is prime.'
  routerwise score predictor.rwp < prompt.txt
  routerwise score predictor.rwp --prompts new.parquet --out scenario/scores.parquet

A scores file keeps the columns of the prompts; scores that were measured (`score:<model>`) become `label:<model>`, and `score:<model>` is what
was predicted. Of a long prompt the first 6144 and the last 2048 bytes are read; what is no UTF-8 counts as the character U+FFFD.";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<Answer, Failure> {
    let predictor = predictor_file::read(&args.predictor)?;
    if let (Some(from), Some(to)) = (&args.prompts, &args.out) {
        return score_file(&predictor, from, to, out);
    }
    let text = match &args.prompt {
        Some(text) => text.clone(),
        None => standard_input()?,
    };
    let mut scores = vec![0.0; predictor.models().len()];
    predictor
        .predict(&PromptFacts::new(&[Piece::user(&text)]), &mut scores)
        .map_err(|error| Failure::environment("scoring the prompt")(io::Error::other(error)))?;
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
    Ok(Answer::Yes)
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

fn score_file(predictor: &PredictorFile, from: &Path, to: &Path, out: &mut dyn Write) -> Result<Answer, Failure> {
    let mut table = tables::read(from)?;
    let Some(texts) = table.texts("prompt") else {
        return Err(Failure::Request {
            what: format!("`{}` has no column `prompt`", from.display()),
            help: "name the column that holds the texts `prompt`".into(),
        });
    };
    let texts: Vec<String> = texts.into_iter().map(Option::unwrap_or_default).collect();
    if table.texts("prompt_id").is_none() {
        let ids = (1..=texts.len()).map(|row| Some(row.to_string())).collect();
        table.put("prompt_id", Values::Texts(ids));
    }
    for (model, scores) in predictor.models().iter().zip(predictor.predictor.score_all(&texts)) {
        let name = format!("score:{model}");
        table.rename(&name, &format!("label:{model}"));
        table.put(&name, Values::scores(&scores));
    }
    table
        .write(to)
        .map_err(Failure::environment(format!("writing `{}`", to.display())))?;
    writeln!(
        out,
        "Scored {} prompts for {} models, written to {}",
        texts.len(),
        predictor.models().len(),
        to.display()
    )?;
    if predictor
        .about
        .test
        .as_ref()
        .is_some_and(|test| test.verdict == Verdict::NotBetter)
    {
        writeln!(
            out,
            "Warning: in its test, routing by this predictor was no better than a static mix."
        )?;
    }
    let n_known = Groups::by_prompt(&texts).shared_with(&predictor.trained_on).len();
    if n_known > 0 {
        writeln!(
            out,
            "Warning: {n_known} of them were learned from, so their scores are too good to plan with; `routerwise train --cross-fitted` \
             scores such prompts by fits that had not seen them."
        )?;
    }
    Ok(Answer::Yes)
}
