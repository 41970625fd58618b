//! The engine of a model, its flags, and the KV cache that it must have.

use routerwise_types::Bytes;
use routerwise_types::catalogue::Engine;

use crate::defaults;
use crate::quantity::{MEMORY, TOKENS, parse, whole};
use crate::text::Table;

/// As memory, or as tokens of KV cache.
pub(super) fn kv_reserve(
    table: &mut Table<'_>,
    architecture_is_right: bool,
    kv_per_token: Option<f64>,
) -> Option<Bytes> {
    let Some(value) = table.take("kv-reserve") else {
        let Some(per_token) = kv_per_token else {
            if !architecture_is_right {
                return None;
            }
            let problem = table
                .problem(format!(
                    "the {} has no `kv-reserve`, and no architecture to derive it from",
                    table.what()
                ))
                .help("add `kv-reserve = \"20 GB\"`: the KV cache that each replica must have");
            table.note(problem);
            return None;
        };
        let tokens = defaults::KV_RESERVE_TOKENS;
        table.put_in_force("kv-reserve", format!("{tokens} tokens"), defaults::KV_RESERVE_WHY);
        return Some(Bytes::ceil(f64::from(tokens) * per_token));
    };
    let tokens = value
        .text()
        .filter(|text| text.ends_with("tokens"))
        .map(|text| parse(text, &TOKENS));
    match (tokens, kv_per_token) {
        (None, _) => value.quantity(&MEMORY).map(Bytes::ceil),
        (Some(_), None) => value.refuse(
            format!(
                "the {} has no architecture that would say how large a token is",
                value.what()
            ),
            "write the KV reserve as memory, such as \"20 GB\"",
        ),
        (Some(_), Some(per_token)) => value.quantity(&TOKENS).map(|tokens| Bytes::ceil(tokens * per_token)),
    }
}

/// Engine and its flags. `max-model-len` may not exceed what the KV reserve holds.
pub(super) fn read(
    table: &mut Table<'_>,
    context: Option<u32>,
    kv_reserve: Option<Bytes>,
    kv_per_token: Option<f64>,
) -> Option<Engine> {
    let mut flags = match table.take("engine") {
        Some(value) => value.table()?,
        None => table.empty("engine"),
    };
    let name = match flags.take("name") {
        Some(value) => value.string(),
        None => {
            flags.put_in_force("name", defaults::ENGINE.value.into(), defaults::ENGINE.why);
            Some(defaults::ENGINE.value.to_owned())
        }
    };
    let max_num_seqs = flags.or_default("max-num-seqs", &defaults::MAX_NUM_SEQS, |value| {
        value.integer(1..=65_536)
    });
    let max_num_batched_tokens =
        flags.or_default("max-num-batched-tokens", &defaults::MAX_NUM_BATCHED_TOKENS, |value| {
            value.integer(1..=10_000_000)
        });
    let block_size = flags.or_default("block-size", &defaults::BLOCK_SIZE, |value| value.integer(1..=4096));
    let held = match (kv_reserve, kv_per_token) {
        (Some(reserve), Some(per_token)) => whole(reserve.as_f64() / per_token),
        _ => u32::MAX,
    };
    let max_model_len = match flags.take("max-model-len") {
        Some(value) => value.integer(1..=100_000_000).and_then(|tokens| {
            if tokens > held {
                return value.refuse(
                    format!("a request of {tokens} tokens may need more KV cache than the reserve, which holds {held}"),
                    format!("raise `kv-reserve` to \"{tokens} tokens\" or lower `max-model-len`: engines refuse to start like this"),
                );
            }
            Some(tokens)
        }),
        None => {
            let tokens = context.unwrap_or(defaults::KV_RESERVE_TOKENS).min(held);
            flags.put_in_force("max-model-len", tokens.to_string(), defaults::MAX_MODEL_LEN_WHY);
            Some(tokens)
        }
    };
    flags.finish();
    Some(Engine {
        name: name?,
        max_num_seqs: max_num_seqs?,
        max_num_batched_tokens: max_num_batched_tokens?,
        block_size: block_size?,
        max_model_len: max_model_len?,
    })
}
