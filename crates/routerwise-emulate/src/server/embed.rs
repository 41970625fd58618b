//! `/v1/embeddings`: hashed words, so that texts with words in common are near each other. The engine has no part in it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use routerwise_types::hash::{prompt_hash, uniform};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::answer::read;
use crate::error::ApiError;
use crate::tokens;

/// Numbers in an embedding.
const DIMENSIONS: usize = 64;

#[derive(Debug, Deserialize)]
struct Wanted {
    model: Option<String>,
    input: Input,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    Text(String),
    Texts(Vec<String>),
}

pub(super) async fn embeddings(State(app): State<Arc<App>>, request: Request) -> Result<Json<Value>, ApiError> {
    let (_, bytes) = read(request).await?;
    let wanted: Wanted = serde_json::from_slice(&bytes)
        .map_err(|error| ApiError::bad_request(format!("invalid request body: {error}")))?;
    app.rules().check_model(wanted.model.as_deref())?;
    let texts = match wanted.input {
        Input::Text(text) => vec![text],
        Input::Texts(texts) => texts,
    };
    let prompt_tokens: u32 = texts.iter().map(|text| tokens::count(text)).sum();
    let data = texts
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": embedding(text)}));
    Ok(Json(json!({
        "object": "list",
        "model": app.replica.model,
        "data": data.collect::<Vec<Value>>(),
        "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens},
    })))
}

/// Each word adds its sign at its place; of length 1.
fn embedding(text: &str) -> Vec<f64> {
    let mut numbers = vec![0.0; DIMENSIONS];
    for word in text.split_whitespace() {
        let hash = prompt_hash(&word.to_lowercase());
        let at = usize::try_from(hash % DIMENSIONS as u64).expect("below the dimensions");
        numbers[at] += if uniform(hash) < 0.5 { -1.0 } else { 1.0 };
    }
    let length = numbers.iter().map(|number| number * number).sum::<f64>().sqrt();
    if length > 0.0 {
        numbers.iter_mut().for_each(|number| *number /= length);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_with_words_in_common_are_nearer() {
        let texts = ["the quiet lake", "a quiet lake", "prove this lemma"].map(embedding);
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        assert!((product(&texts[0], &texts[0]) - 1.0).abs() < 1e-9);
        assert!(product(&texts[0], &texts[1]) > product(&texts[0], &texts[2]));
        assert!(embedding("").iter().all(|number| number.abs() < 1e-12));
    }
}
