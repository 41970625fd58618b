//! One chat completion, asked once.

use std::time::{Duration, SystemTime};

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, Response};
use routerwise_types::labels::{Endpoint, Question};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::trouble::{Trouble, TroubleKind};

/// An answer with more bytes than this is not read.
const BODY_MAX: usize = 8 << 20;

/// What an endpoint answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Its text, perhaps empty.
    pub text: String,
    /// Tokens of the prompt, as the endpoint counts.
    pub prompt_tokens: Option<u32>,
    /// Tokens of the answer, as the endpoint counts.
    pub output_tokens: Option<u32>,
    /// Whether it ends because it reached its longest length.
    pub cut_off: bool,
}

/// A client for all endpoints.
///
/// # Errors
/// When the system's certificates cannot be read.
pub fn client() -> Result<Client, reqwest::Error> {
    // An error means that another part of this process has chosen a provider already, which will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(10))
        .build()
}

/// The chat that asks a question: the user's own, or its text as the user's message.
pub(crate) fn messages(question: &Question) -> Value {
    let chat = question.chat.clone();
    chat.unwrap_or_else(|| json!([{"role": "user", "content": question.text}]))
}

/// The body of a request.
pub(crate) fn body(endpoint: &Endpoint, mut messages: Value) -> Value {
    if let (Some(system), Some(list)) = (&endpoint.system, messages.as_array_mut()) {
        list.insert(0, json!({"role": "system", "content": system}));
    }
    let mut body = json!({
        "model": endpoint.served_name,
        "messages": messages,
        "temperature": endpoint.temperature,
        "stream": false,
    });
    let fields = body.as_object_mut().expect("made as one above");
    // Some endpoints know the longest length only by its newer name, and refuse both.
    if !endpoint.extra.contains_key("max_completion_tokens") {
        fields.insert("max_tokens".into(), endpoint.max_tokens.into());
    }
    fields.extend(endpoint.extra.clone());
    body
}

/// Asks once.
pub(crate) async fn ask(
    client: &Client,
    endpoint: &Endpoint,
    key: Option<&str>,
    body: &Value,
) -> Result<Answer, Trouble> {
    let timeout = Duration::from_secs_f64(endpoint.timeout.value());
    let mut request = client
        .post(format!("{}/chat/completions", endpoint.url))
        .timeout(timeout)
        .json(body);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.map_err(|error| of_transport(&error))?;
    let status = response.status();
    let retry_after = retry_after(&response);
    let bytes = read(response).await?;
    if !status.is_success() {
        let kind = TroubleKind::of_status(status.as_u16());
        let said = format!("status {}{}", status.as_u16(), said(&bytes));
        return Err(Trouble {
            retry_after,
            ..Trouble::new(kind, said)
        });
    }
    answer(&bytes)
}

/// Names of the models that an endpoint says it has; nothing where it does not say.
pub(crate) async fn models(client: &Client, endpoint: &Endpoint, key: Option<&str>) -> Option<Vec<String>> {
    let mut request = client
        .get(format!("{}/models", endpoint.url))
        .timeout(Duration::from_secs(10));
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let response = request.send().await.ok()?;
    let bytes = read(response).await.ok()?;
    let list: Value = serde_json::from_slice(&bytes).ok()?;
    let names = list["data"].as_array()?.iter();
    Some(
        names
            .filter_map(|model| model["id"].as_str().map(str::to_owned))
            .collect(),
    )
}

async fn read(mut response: Response) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| of_transport(&error))? {
        if bytes.len() + chunk.len() > BODY_MAX {
            return Err(Trouble::new(
                TroubleKind::Refused,
                format!("more than {BODY_MAX} bytes came"),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn of_transport(error: &reqwest::Error) -> Trouble {
    let kind = if error.is_timeout() && !error.is_connect() {
        TroubleKind::Timeout
    } else {
        TroubleKind::Connection
    };
    // The innermost cause says what happened; the outer ones repeat the URL, which may hold a secret.
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let outermost = std::ptr::addr_eq(cause, error);
    Trouble::new(kind, if outermost { String::new() } else { cause.to_string() })
}

/// `Retry-After`: seconds, or a date.
fn retry_after(response: &Response) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// The message of an error in OpenAI's shape or what else was said, shortened to a line.
fn said(bytes: &[u8]) -> String {
    let parsed: Option<Value> = serde_json::from_slice(bytes).ok();
    let message = parsed.as_ref().and_then(|value| {
        let error = &value["error"];
        let places = [&error["message"], error, &value["message"], &value["detail"]];
        places.iter().find_map(|place| place.as_str().map(str::to_owned))
    });
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(&bytes[..bytes.len().min(400)]).into_owned());
    let line: String = message
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(200)
        .collect();
    if line.is_empty() {
        String::new()
    } else {
        format!(", {line}")
    }
}

fn answer(bytes: &[u8]) -> Result<Answer, Trouble> {
    let unreadable = |what: &str| Trouble::new(TroubleKind::Unreadable, what);
    let value: Value = serde_json::from_slice(bytes).map_err(|_| unreadable("the reply is no JSON"))?;
    let choice = &value["choices"][0];
    let content = &choice["message"]["content"];
    let parts = || content.as_array().into_iter().flatten();
    let text = match content {
        Value::String(text) => text.clone(),
        Value::Array(_) => parts().filter_map(|part| part["text"].as_str()).collect(),
        // A model that only called tools, or only thought.
        Value::Null if choice["message"].is_object() => String::new(),
        _ => return Err(unreadable("the reply has no `choices[0].message.content`")),
    };
    let count = |name: &str| {
        value["usage"][name]
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
    };
    Ok(Answer {
        text,
        prompt_tokens: count("prompt_tokens"),
        output_tokens: count("completion_tokens"),
        cut_off: choice["finish_reason"] == "length",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_is_read_and_anything_else_is_not() {
        let whole = br#"{"choices":[{"message":{"content":"B"},"finish_reason":"length"}],"usage":{"prompt_tokens":7,"completion_tokens":1}}"#;
        let read = answer(whole).unwrap();
        assert_eq!(
            (read.text.as_str(), read.output_tokens, read.cut_off),
            ("B", Some(1), true)
        );
        let no_usage = br#"{"choices":[{"message":{"content":null}}]}"#;
        assert_eq!(answer(no_usage).unwrap().text, "");
        for odd in [&b"<html>"[..], b"{}", br#"{"choices":[]}"#] {
            assert_eq!(answer(odd).unwrap_err().kind, TroubleKind::Unreadable);
        }
    }

    #[test]
    fn errors_are_quoted_in_a_line() {
        assert_eq!(said(br#"{"error":{"message":"too\nlong"}}"#), ", too long");
        assert_eq!(said(br#"{"detail":"no"}"#), ", no");
        assert_eq!(said(b""), "");
        assert_eq!(said(&[b'x'; 1000]).len(), 202);
    }
}
