//! Sentence embeddings for `train`, `evaluate` and `score`: where they come from, and heads that learn from them.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
use routerwise_embed::{Access, EmbedError, Embedder, MAX_TOKENS, Stored};
use routerwise_predict::heads::{HeadKind, MOST_WIDTH};
use routerwise_predict::learned::Kind;
use routerwise_predict::matrix::Matrix;
use routerwise_predict::{Piece, PromptFacts};
use routerwise_types::Fingerprint;

use crate::failure::Failure;

/// Texts that are embedded between two steps of the progress bar.
const STEP: usize = 64;

/// Where embeddings come from.
#[derive(Debug, clap::Args)]
pub(crate) struct EmbeddingArgs {
    /// Sentence embeddings: a sentence-transformers folder (BERT and its kin; needs a build with `--features embeddings`), or the URL of an
    /// OpenAI-compatible endpoint, `http://host:port/v1`
    #[arg(long, value_name = "FOLDER|URL", help_heading = "Embeddings")]
    pub(crate) embeddings: Option<String>,
    /// Name of the embedding model at the endpoint
    #[arg(long, value_name = "NAME", default_value = "default", help_heading = "Embeddings")]
    embeddings_model: String,
    /// Environment variable that holds the endpoint's key
    #[arg(long, value_name = "NAME", help_heading = "Embeddings")]
    embeddings_key_env: Option<String>,
    /// Tokens of a prompt that are embedded
    #[arg(long, value_name = "N", default_value_t = MAX_TOKENS, value_parser = tokens, help_heading = "Embeddings")]
    embeddings_tokens: usize,
    /// Keep embeddings in this file, and take from it what it has
    #[arg(long, value_name = "FILE", requires = "embeddings", help_heading = "Embeddings")]
    embeddings_cache: Option<PathBuf>,
}

fn tokens(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (2..=8192).contains(&n) => Ok(n),
        _ => Err("write a whole number from 2 to 8192".into()),
    }
}

/// What is learned from embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HeadArg {
    /// The mean of the nearest prompts
    Knn,
    /// A linear model
    Ridge,
    /// A small network
    Mlp,
}

impl From<HeadArg> for HeadKind {
    fn from(head: HeadArg) -> Self {
        match head {
            HeadArg::Knn => Self::Knn,
            HeadArg::Ridge => Self::Ridge,
            HeadArg::Mlp => Self::Mlp,
        }
    }
}

impl fmt::Display for HeadArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Kind::from(HeadKind::from(*self)).fmt(f)
    }
}

impl EmbeddingArgs {
    /// Opens what the arguments name, if they name anything.
    pub(crate) fn open(&self) -> Result<Option<Box<dyn Embedder>>, Failure> {
        let Some(place) = &self.embeddings else {
            return Ok(None);
        };
        let access = Access {
            model: self.embeddings_model.clone(),
            key_env: self.embeddings_key_env.clone(),
            deadline: Duration::from_secs(60),
            max_tokens: self.embeddings_tokens,
        };
        let embedder = routerwise_embed::open(place, self.embeddings_tokens, access).map_err(failure)?;
        if !(1..=MOST_WIDTH).contains(&embedder.dimension()) {
            return Err(Failure::Request {
                what: format!("embeddings of `{place}` have {} numbers", embedder.dimension()),
                help: format!("use a model whose embeddings have at most {MOST_WIDTH}"),
            });
        }
        Ok(Some(match &self.embeddings_cache {
            Some(path) => Box::new(Stored::open(path, embedder).map_err(failure)?),
            None => embedder,
        }))
    }

    /// Embeds texts, if the arguments say by what.
    pub(crate) fn points(&self, texts: &[String]) -> Result<Option<Points>, Failure> {
        self.open()?
            .map(|embedder| Points::of(embedder.as_ref(), texts))
            .transpose()
    }
}

/// Embeddings by text.
pub(crate) struct Points {
    /// Names the model and what it read.
    pub(crate) identity: Fingerprint,
    width: usize,
    by_text: HashMap<String, Vec<f32>>,
}

impl Points {
    /// Embeds all of them, each once.
    pub(crate) fn of(embedder: &dyn Embedder, texts: &[String]) -> Result<Self, Failure> {
        let bar = progress_bar(texts.len());
        let mut by_text = HashMap::new();
        for some in texts.chunks(STEP) {
            let new: Vec<&String> = some.iter().filter(|text| !by_text.contains_key(*text)).collect();
            let read: Vec<String> = new.iter().map(|text| read(text)).collect();
            let read: Vec<&str> = read.iter().map(String::as_str).collect();
            let points = embedder.embed(&read).map_err(failure)?;
            by_text.extend(new.into_iter().cloned().zip(points));
            bar.inc(some.len() as u64);
        }
        bar.finish_and_clear();
        Ok(Self {
            identity: embedder.identity().clone(),
            width: embedder.dimension(),
            by_text,
        })
    }

    /// Those of some texts, in their order.
    pub(crate) fn matrix(&self, texts: &[String]) -> Matrix {
        let rows = texts.iter().flat_map(|text| &self.by_text[text]);
        Matrix::new(self.width, rows.copied().collect())
    }
}

/// What of a prompt is embedded: what every predictor reads.
pub(crate) fn read(text: &str) -> String {
    PromptFacts::new(&[Piece::user(text)]).text()
}

fn progress_bar(n_texts: usize) -> ProgressBar {
    let style = "{bar:40} {pos}/{len} prompts embedded, {elapsed} gone, {eta} to go";
    let bar = ProgressBar::new(n_texts as u64);
    bar.set_style(ProgressStyle::with_template(style).expect("a constant that a test parses"));
    bar
}

pub(crate) fn failure(error: EmbedError) -> Failure {
    let help = match &error {
        EmbedError::NotBuiltIn => {
            "build with `cargo build --release --features embeddings`, or name an endpoint: `--embeddings http://host:port/v1`"
        }
        EmbedError::Folder { .. } => {
            "copy the model's whole folder: config.json, tokenizer.json, model.safetensors and 1_Pooling/config.json"
        }
        EmbedError::Store { .. } => "name another file with `--embeddings-cache`",
        EmbedError::Endpoint(_) | EmbedError::Model(_) => {
            return Failure::environment("embedding")(io::Error::other(error));
        }
    };
    Failure::Request {
        what: error.to_string(),
        help: help.into(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_progress_bar_counts_prompts() {
        assert_eq!(super::progress_bar(7).length(), Some(7));
        assert!(super::tokens("1").is_err() && super::tokens("128").is_ok());
    }
}
