//! Scoring a file of prompts.

use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use routerwise_embed::{Embedder, Served, Service};
use routerwise_inputs::questions;
use routerwise_inputs::tables::{self, Table, Values};
use routerwise_label::heard;
use routerwise_predict::Predictor as _;
use routerwise_predict::file::PredictorFile;
use routerwise_predict::groups::Groups;
use routerwise_predict::learned::{Learned, OnEmbeddings};
use routerwise_predict::{NotScored, Piece, PromptFacts};

use crate::embedding;
use crate::failure::{Answer, Failure};
use crate::predictor_file;

/// What makes embeddings, and how long one may take.
pub(super) struct Embedding {
    pub(super) embedder: Option<Box<dyn Embedder>>,
    pub(super) deadline: Duration,
}

pub(super) fn score(
    predictor: &PredictorFile,
    embedding: Embedding,
    from: &Path,
    to: &Path,
    out: &mut dyn Write,
) -> Result<Answer, Failure> {
    let (mut table, texts) = prompts(from)?;
    let (scored, late) = match (&predictor.predictor, embedding.embedder) {
        (Learned::Embedded(learned), Some(embedder)) => {
            predictor_file::check(predictor, embedder.as_ref())?;
            in_time(learned, embedder, embedding.deadline, &texts)?
        }
        (learned, _) => (learned.score_all(&texts), None),
    };
    table.say_predicted_by(&predictor_file::described(predictor));
    for (model, scores) in predictor.models().iter().zip(scored) {
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
    if let Some(Late { n, why }) = late {
        writeln!(
            out,
            "Note: {n} of them have the scores of the default predictor, for want of an embedding: {why}."
        )?;
    }
    if let Some(warning) = predictor_file::warning(predictor) {
        writeln!(out, "Warning: {warning}.")?;
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

/// The table to write, without scores, and what a predictor reads of each prompt.
fn prompts(from: &Path) -> Result<(Table, Vec<String>), Failure> {
    if !matches!(
        from.extension().and_then(|ending| ending.to_str()),
        Some("jsonl" | "txt")
    ) {
        return columns(from);
    }
    let questions = questions::read(from)?;
    let texts: Vec<String> = questions
        .iter()
        .map(|question| question.chat.as_ref().map_or_else(|| question.text.clone(), heard))
        .collect();
    let column = |of: &dyn Fn(usize) -> Option<String>| Values::Texts((0..texts.len()).map(of).collect());
    let mut table = Table::default();
    table.put("prompt_id", column(&|row| Some(questions[row].id.clone())));
    table.put("prompt", column(&|row| Some(texts[row].clone())));
    if questions.iter().any(|question| question.source.is_some()) {
        table.put("source", column(&|row| questions[row].source.clone()));
    }
    if questions
        .iter()
        .any(|question| (question.weight - 1.0).abs() > f64::EPSILON)
    {
        let weights = questions.iter().map(|question| Some(question.weight)).collect();
        table.put("weight", Values::Numbers(weights));
    }
    Ok((table, texts))
}

fn columns(from: &Path) -> Result<(Table, Vec<String>), Failure> {
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
    Ok((table, texts))
}

/// Prompts whose embedding did not come, and why the first did not.
struct Late {
    n: usize,
    why: NotScored,
}

/// The scores of many prompts by their embeddings, and by the predictor that stands in where one does not come in time.
fn in_time(
    learned: &OnEmbeddings,
    embedder: Box<dyn Embedder>,
    deadline: Duration,
    texts: &[String],
) -> Result<(Vec<Vec<f32>>, Option<Late>), Failure> {
    let service = Service {
        deadline,
        ..Service::default()
    };
    let served = Served::new(embedder, service);
    let bar = ProgressBar::new(texts.len() as u64);
    let style = "{bar:40} {pos}/{len} prompts scored, {elapsed} gone, {eta} to go";
    bar.set_style(ProgressStyle::with_template(style).expect("a constant that a test parses"));
    let n_models = learned.head.models().len();
    let mut columns = vec![Vec::with_capacity(texts.len()); n_models];
    let mut scores = vec![0.0; n_models];
    let mut late: Option<Late> = None;
    for some in texts.chunks(service.batch) {
        let read: Vec<String> = some.iter().map(|text| embedding::read(text)).collect();
        for (text, vector) in some.iter().zip(served.vectors(&read)) {
            let pieces = [Piece::user(text)];
            let prompt = PromptFacts::new(&pieces);
            match vector {
                Ok(vector) => learned.head.score(&prompt, &vector, &mut scores),
                Err(why) => {
                    let n = late.as_ref().map_or(0, |late| late.n) + 1;
                    let why = late.map_or(why, |late| late.why);
                    late = Some(Late { n, why });
                    learned
                        .fallback
                        .predict(&prompt, &mut scores)
                        .expect("the default predictor scores every text");
                }
            }
            columns
                .iter_mut()
                .zip(&scores)
                .for_each(|(column, score)| column.push(*score));
        }
        bar.inc(some.len() as u64);
    }
    bar.finish_and_clear();
    match late {
        // Not one: whoever asked for embeddings wants to know that.
        Some(Late { n, why }) if n == texts.len() => Err(Failure::environment("embedding")(io::Error::other(why))),
        late => Ok((columns, late)),
    }
}
