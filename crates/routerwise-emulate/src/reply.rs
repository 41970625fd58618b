//! The bytes of answers, whole and streamed.

mod stream;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::delivery::{Delivery, Gone};
use crate::driver::Command;
use crate::request::{Answer, Ask, Kind};
use crate::tokens;

pub(crate) use stream::{BrokenOff, TokenStream};

/// What stands at the head of every answer and every chunk.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
}

impl Envelope {
    pub(crate) fn new(kind: Kind, unique: &str, model: &str) -> Self {
        let prefix = match kind {
            Kind::Chat => "chatcmpl",
            Kind::Completion => "cmpl",
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: format!("{prefix}-{unique}"),
            created: now.as_secs(),
            model: model.to_owned(),
        }
    }
}

/// A request's claim to the engine: dropped before it has all of its tokens, it gives the request up.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) id: u64,
    pub(crate) commands: SyncSender<Command>,
    pub(crate) delivery: Arc<Delivery>,
    pub(crate) finished: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        if let Err(TrySendError::Full(command)) = self.commands.try_send(Command::Cancel(self.id)) {
            // The driver empties the channel without ever waiting for anybody, so this is short.
            drop(self.commands.send(command));
        }
    }
}

impl Lease {
    /// Waits until the engine has made all tokens.
    pub(crate) async fn wait_for_all(&mut self, ask: &Ask) -> Result<(), Gone> {
        let mut made = vec![0; ask.answers.len()];
        loop {
            std::future::poll_fn(|context| self.delivery.poll_more(&mut made, context)).await?;
            if is_complete(ask, &made) {
                self.finished = true;
                return Ok(());
            }
        }
    }
}

fn is_complete(ask: &Ask, made: &[u32]) -> bool {
    ask.answers
        .iter()
        .zip(made)
        .all(|(answer, made)| *made >= answer.lengths.output)
}

/// The text of a whole answer.
fn text(answer: &Answer) -> String {
    let mut text = String::new();
    tokens::append(&mut text, answer.hash, 0, answer.lengths.output);
    text.truncate(answer.cut.unwrap_or(text.len()));
    text
}

fn usage(prompt_tokens: u32, completion_tokens: u32) -> Value {
    json!({
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens.saturating_add(completion_tokens),
        "completion_tokens": completion_tokens,
        "prompt_tokens_details": null,
    })
}

/// An answer that is not streamed.
pub(crate) fn whole(envelope: &Envelope, ask: &Ask) -> Value {
    let choices = ask.answers.iter().enumerate().map(|(index, answer)| {
        let text = text(answer);
        let (finish_reason, stop_reason) = (answer.reason.name(), &answer.stopped_by);
        match ask.kind {
            Kind::Chat => json!({
                "index": index,
                "message": {"role": "assistant", "content": text, "refusal": null, "tool_calls": []},
                "logprobs": null,
                "finish_reason": finish_reason,
                "stop_reason": stop_reason,
            }),
            Kind::Completion => json!({
                "index": index,
                "text": text,
                "logprobs": null,
                "finish_reason": finish_reason,
                "stop_reason": stop_reason,
                "prompt_logprobs": null,
            }),
        }
    });
    let object = match ask.kind {
        Kind::Chat => "chat.completion",
        Kind::Completion => "text_completion",
    };
    json!({
        "id": envelope.id,
        "object": object,
        "created": envelope.created,
        "model": envelope.model,
        "choices": choices.collect::<Vec<Value>>(),
        "usage": usage(ask.prompt_tokens, ask.answers.iter().map(|answer| answer.lengths.output).sum()),
        "system_fingerprint": null,
        "service_tier": null,
    })
}
