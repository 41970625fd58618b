//! What an engine can hold, and how fast it is: everything about it that does not change.

use routerwise_types::Bytes;
use routerwise_types::catalogue::Model;
use routerwise_types::workload::Lengths;

use super::pace::{Pace, Picos, picos};
use crate::constants::EngineConstants;
use crate::cost::StepCost;

/// What an engine can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most sequences in one iteration, at most as many as tokens.
    pub max_num_seqs: u32,
    /// Most tokens in one iteration.
    pub max_num_batched_tokens: u32,
    /// Tokens in one KV block.
    pub block_size: u32,
    /// Longest context in tokens.
    pub max_model_len: u32,
    /// KV blocks that there are.
    pub kv_blocks: u64,
}

/// Why a request can never be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Prompt and answer exceed the context.
    #[error("{tokens} tokens of prompt and answer exceed the context of {max_model_len}")]
    TooLong {
        /// Prompt and answer.
        tokens: u64,
        /// Longest context.
        max_model_len: u32,
    },
    /// The KV cache is too small for it even when it is alone.
    #[error("{tokens} tokens of prompt and answer exceed the KV cache of {kv_tokens} tokens")]
    TooLargeForCache {
        /// Prompt and answer.
        tokens: u64,
        /// Tokens that the whole cache holds.
        kv_tokens: u64,
    },
    /// Without a prompt token or without an answer token there is nothing to do.
    #[error("a request needs at least one prompt token and one answer token")]
    Empty,
}

impl Limits {
    /// # Errors
    /// [`Refused`] when a request of these lengths can never be served.
    pub fn accept(&self, lengths: Lengths) -> Result<(), Refused> {
        let tokens = u64::from(lengths.input) + u64::from(lengths.output);
        if lengths.input == 0 || lengths.output == 0 {
            Err(Refused::Empty)
        } else if tokens > u64::from(self.max_model_len) {
            Err(Refused::TooLong {
                tokens,
                max_model_len: self.max_model_len,
            })
        } else if (tokens - 1).div_ceil(u64::from(self.block_size)) > self.kv_blocks {
            // The last token of an answer is never read, so it needs no room.
            Err(Refused::TooLargeForCache {
                tokens,
                kv_tokens: self.kv_blocks * u64::from(self.block_size),
            })
        } else {
            Ok(())
        }
    }
}

/// Why there is no such engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEngine {
    /// The model has no architecture.
    #[error("`{0}` has no architecture, so the size of its KV cache is unknown")]
    NoArchitecture(String),
    /// Not one block fits.
    #[error("a KV cache of {kv_cache} holds not one block of `{model}`")]
    NoCache {
        /// Model name.
        model: String,
        /// What it was to get.
        kv_cache: Bytes,
    },
}

/// Everything about an engine that does not change.
#[derive(Clone, Debug)]
pub struct EngineSpec {
    limits: Limits,
    pace: Pace,
    front_end: Picos,
}

impl EngineSpec {
    /// The engine of one replica of `model` with `kv_cache` over its shards.
    ///
    /// # Errors
    /// [`NoEngine`] when the model cannot be simulated or gets no cache.
    pub fn new(model: &Model, cost: &StepCost, engine: &EngineConstants, kv_cache: Bytes) -> Result<Self, NoEngine> {
        let architecture = model
            .architecture
            .as_ref()
            .ok_or_else(|| NoEngine::NoArchitecture(model.name.clone()))?;
        let block = architecture.kv_bytes_per_token(model.bytes_per_kv) * f64::from(model.engine.block_size);
        let limits = Limits {
            max_num_seqs: model.engine.max_num_seqs,
            max_num_batched_tokens: model.engine.max_num_batched_tokens,
            block_size: model.engine.block_size,
            max_model_len: model.engine.max_model_len,
            kv_blocks: whole(kv_cache.as_f64() / block),
        };
        if limits.kv_blocks == 0 {
            return Err(NoEngine::NoCache {
                model: model.name.clone(),
                kv_cache,
            });
        }
        Ok(Self::with_limits(limits, cost, engine.request_seconds))
    }

    /// An engine with limits of its own and `request_seconds` from a request's arrival until the scheduler may see it.
    #[must_use]
    pub fn with_limits(mut limits: Limits, cost: &StepCost, request_seconds: f64) -> Self {
        limits.max_num_batched_tokens = limits.max_num_batched_tokens.max(1);
        limits.block_size = limits.block_size.max(1);
        // vLLM refuses to start otherwise.
        limits.max_num_seqs = limits.max_num_seqs.clamp(1, limits.max_num_batched_tokens);
        Self {
            pace: Pace::new(cost, limits.max_num_seqs),
            limits,
            front_end: picos(request_seconds),
        }
    }

    /// The same engine with every iteration taking so many times as long.
    #[must_use]
    pub fn slowed(&self, factor: f64) -> Self {
        Self {
            limits: self.limits,
            pace: self.pace.slowed(factor),
            front_end: self.front_end,
        }
    }

    /// What it can hold.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(super) fn front_end(&self) -> Picos {
        self.front_end
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of blocks, clamped first"
)]
fn whole(blocks: f64) -> u64 {
    blocks.clamp(0.0, 1e12).floor() as u64
}
