//! A sentence-transformers folder in process: BERT and its kin, mean or first-token pooling.
//!
//! Read are `config.json`, `tokenizer.json`, `model.safetensors` and `1_Pooling/config.json`. That is what a user has after
//! copying a model's folder; an ONNX runtime would be faster ([the decision](../../../docs/decisions/0002-embeddings-by-candle.md))
//! but wants a shared library and an exported model besides.

use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use routerwise_types::Fingerprint;
use serde_json::Value;
use tokenizers::{Encoding, Tokenizer, TruncationParams};

use crate::{EmbedError, Embedder, beginning, normalised};

/// Texts of about one length that go through the model at once.
const BATCH: usize = 16;

/// Longer tokens are so rare that a text's first tokens lie within so many bytes each; what follows need not be cut into tokens.
const MOST_BYTES_PER_TOKEN: usize = 16;

/// A model in this process.
pub struct Local {
    model: BertModel,
    tokenizer: Tokenizer,
    first_token: bool,
    max_bytes: usize,
    dimension: usize,
    identity: Fingerprint,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local")
            .field("dimension", &self.dimension)
            .finish_non_exhaustive()
    }
}

impl Local {
    /// Opens a folder; `max_tokens` of a text are read.
    ///
    /// # Errors
    /// When it is no model that is understood.
    pub fn open(folder: &Path, max_tokens: usize) -> Result<Self, EmbedError> {
        let wrong = |what: String| EmbedError::Folder {
            folder: folder.display().to_string(),
            what,
        };
        let bytes = |name: &str| fs::read(folder.join(name)).map_err(|error| wrong(format!("`{name}`: {error}")));
        let json = |name: &str| -> Result<Value, EmbedError> {
            serde_json::from_slice(&bytes(name)?).map_err(|error| wrong(format!("`{name}`: {error}")))
        };
        let config = json("config.json")?;
        let kind = config["model_type"].as_str().unwrap_or_default();
        if kind != "bert" {
            return Err(wrong(format!("it is of type `{kind}`, and only `bert` is understood")));
        }
        let longest = config["max_position_embeddings"].as_u64().unwrap_or(512);
        let max_tokens = max_tokens.clamp(2, usize::try_from(longest).unwrap_or(512));
        let config: Config =
            serde_json::from_value(config).map_err(|error| wrong(format!("`config.json`: {error}")))?;
        let pooling = json("1_Pooling/config.json").unwrap_or(Value::Null);
        let weights = bytes("model.safetensors")?;
        let identity = Fingerprint::of(&(Fingerprint::of_bytes(&weights), max_tokens));
        let dimension = config.hidden_size;
        let builder = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu);
        let model = builder.and_then(|builder| BertModel::load(builder, &config));
        let model = model.map_err(|error| wrong(format!("`model.safetensors`: {error}")))?;
        let tokenizer = Tokenizer::from_bytes(bytes("tokenizer.json")?);
        let mut tokenizer = tokenizer.map_err(|error| wrong(format!("`tokenizer.json`: {error}")))?;
        let truncation = TruncationParams {
            max_length: max_tokens,
            ..TruncationParams::default()
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|error| wrong(error.to_string()))?;
        tokenizer.with_padding(None);
        Ok(Self {
            model,
            tokenizer,
            max_bytes: max_tokens * MOST_BYTES_PER_TOKEN,
            first_token: pooling["pooling_mode_cls_token"] == true,
            dimension,
            identity,
        })
    }

    /// Texts of exactly one length: no padding, so a text's vector does not depend on its neighbours.
    fn forward(&self, batch: &[&Encoding]) -> candle_core::Result<Vec<Vec<f32>>> {
        let length = batch[0].get_ids().len();
        let ids: Vec<u32> = batch.iter().flat_map(|encoding| encoding.get_ids()).copied().collect();
        let ids = Tensor::from_vec(ids, (batch.len(), length), &Device::Cpu)?;
        let hidden = self.model.forward(&ids, &ids.zeros_like()?, None)?;
        let pooled = if self.first_token {
            hidden.narrow(1, 0, 1)?.squeeze(1)?
        } else {
            hidden.mean(1)?
        };
        pooled.to_vec2::<f32>()
    }
}

impl Embedder for Local {
    fn identity(&self) -> &Fingerprint {
        &self.identity
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let model = |error: String| EmbedError::Model(error);
        let encodings: Vec<Encoding> = texts
            .iter()
            .map(|text| self.tokenizer.encode(beginning(text, self.max_bytes), true))
            .collect::<Result<_, _>>()
            .map_err(|error| model(error.to_string()))?;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|ix| encodings[*ix].get_ids().len());
        let mut vectors = vec![Vec::new(); texts.len()];
        let same_length = |a: &usize, b: &usize| encodings[*a].get_ids().len() == encodings[*b].get_ids().len();
        for batch in order.chunk_by(same_length).flat_map(|run| run.chunks(BATCH)) {
            if encodings[batch[0]].get_ids().is_empty() {
                batch.iter().for_each(|ix| vectors[*ix] = vec![0.0; self.dimension]);
                continue;
            }
            let encoded: Vec<&Encoding> = batch.iter().map(|ix| &encodings[*ix]).collect();
            let pooled = self.forward(&encoded).map_err(|error| model(error.to_string()))?;
            for (ix, vector) in batch.iter().zip(pooled) {
                vectors[*ix] = normalised(vector);
            }
        }
        Ok(vectors)
    }
}
