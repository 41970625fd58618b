//! A TOML file of endpoints: the models that are to answer, and one that may judge.
//!
//! ```toml
//! [[model]]
//! name = "small"                       # the column `score:small`
//! url = "http://localhost:8000/v1"
//! served-name = "org/Small-7B"         # what the endpoint calls it; as `name` where absent
//! key-env = "SMALL_KEY"                # the environment variable that holds the key
//! requests-per-second = 5
//! concurrency = 8
//! max-tokens = 512
//! temperature = 0.0
//! timeout = "60 s"
//! system = "Answer briefly."
//! price = { input = 0.15, output = 0.6 }   # for a million tokens
//! extra = { top_p = 0.9 }              # further fields of every request
//!
//! [judge]                              # the same keys
//! ```

use std::path::Path;

use routerwise_types::Seconds;
use routerwise_types::labels::{Endpoint, TokenPrice};
use serde_json::{Map, Value as Json};

use crate::file;
use crate::problem::{Problem, Problems};
use crate::quantity;
use crate::text::{Document, Table, Value};

/// What a file says.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// Those that are to answer, in the order of the file.
    pub models: Vec<Endpoint>,
    /// The one that judges.
    pub judge: Option<Endpoint>,
}

/// Reads a file of endpoints; `usual` has the settings of an entry that does not say its own.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(path: &Path, usual: &Endpoint) -> Result<Endpoints, Problems> {
    let text = file::text(path).map_err(|wrong| Problems(vec![wrong.at(path)]))?;
    let document = Document::new(path, text);
    let endpoints = document.root().and_then(|root| endpoints(root, usual));
    let (problems, _) = document.finish();
    let mut problems = Problems(problems);
    match endpoints {
        Some(endpoints) if !problems.has_errors() => Ok(endpoints),
        _ => {
            if !problems.has_errors() {
                problems.push(Problem::new(path, "names no endpoint").help("add a `[[model]]` with `name` and `url`"));
            }
            Err(problems)
        }
    }
}

fn endpoints(mut root: Table<'_>, usual: &Endpoint) -> Option<Endpoints> {
    let entries = root.take("model").map_or(Some(Vec::new()), Value::list);
    let mut models = Vec::new();
    for entry in entries.unwrap_or_default() {
        if let Some(table) = entry.table() {
            models.extend(endpoint(table, "model", usual));
        }
    }
    let judge = root.take("judge").and_then(Value::table);
    let judge = judge.and_then(|table| endpoint(table, "judge", usual));
    root.finish();
    Some(Endpoints { models, judge })
}

fn endpoint(mut table: Table<'_>, kind: &str, usual: &Endpoint) -> Option<Endpoint> {
    let name = table.name(kind);
    let url = table.require("url", "\"http://localhost:8000/v1\"");
    let url = url.and_then(|value| base_url(&value));
    let served_name = table.optional("served-name", |value| value.string());
    let key_env = table.optional("key-env", |value| value.string());
    let system = table.optional("system", |value| value.string());
    let rate = table.optional("requests-per-second", |value| value.quantity(&quantity::RATE));
    let concurrency = table.optional("concurrency", |value| value.integer(1..=1024));
    let max_tokens = table.optional("max-tokens", |value| value.integer(1..=1_000_000));
    let temperature = table.optional("temperature", |value| value.quantity(&quantity::TEMPERATURE));
    let timeout = table.optional("timeout", |value| value.quantity(&quantity::TIME));
    let price = table.take("price").map_or(Some(None), |value| price(value).map(Some));
    let extra = table.take("extra").map_or(Some(None), |value| extra(value).map(Some));
    table.finish();
    let name = name?;
    Some(Endpoint {
        url: url?,
        served_name: served_name?.unwrap_or_else(|| name.clone()),
        name,
        key_env: key_env?.or_else(|| usual.key_env.clone()),
        system: system?.or_else(|| usual.system.clone()),
        requests_per_second: rate?.or(usual.requests_per_second),
        concurrency: concurrency?.unwrap_or(usual.concurrency),
        max_tokens: max_tokens?.unwrap_or(usual.max_tokens),
        temperature: temperature?.unwrap_or(usual.temperature),
        timeout: timeout?
            .and_then(|seconds| Seconds::new(seconds).ok())
            .unwrap_or(usual.timeout),
        price: price?.or(usual.price),
        extra: extra?.unwrap_or_else(|| usual.extra.clone()),
    })
}

fn base_url(value: &Value<'_>) -> Option<String> {
    let text = value.string()?;
    match checked_url(&text) {
        Ok(url) => Some(url),
        Err(what) => value.refuse(
            what,
            "write the address up to and with `/v1`: `\"http://localhost:8000/v1\"`",
        ),
    }
}

/// A base URL without the paths that people copy along; or what is wrong with it.
///
/// # Errors
/// What is wrong, as a sentence.
pub fn checked_url(text: &str) -> Result<String, String> {
    let known = text.starts_with("http://") || text.starts_with("https://");
    let host = text.split("://").nth(1).unwrap_or_default();
    if !known || host.is_empty() || host.starts_with('/') || text.contains(char::is_whitespace) {
        return Err(format!("`{text}` is no address of a server"));
    }
    let plain = text.trim_end_matches('/');
    Ok(plain.trim_end_matches("/chat/completions").to_owned())
}

fn price(value: Value<'_>) -> Option<TokenPrice> {
    let mut table = value.table()?;
    let mut of = |key| {
        let value = table.require(key, "0.6");
        value.and_then(|value| value.quantity(&quantity::MONEY))
    };
    let (input, output) = (of("input"), of("output"));
    table.finish();
    Some(TokenPrice {
        input: input?,
        output: output?,
    })
}

fn extra(value: Value<'_>) -> Option<Map<String, Json>> {
    match value.json() {
        Json::Object(map) => Some(map),
        _ => value.refuse("`extra` is no table", "write `extra = { top_p = 0.9 }`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usual() -> Endpoint {
        Endpoint {
            name: String::new(),
            url: String::new(),
            served_name: String::new(),
            key_env: None,
            system: None,
            requests_per_second: None,
            concurrency: 8,
            max_tokens: 512,
            temperature: 0.0,
            timeout: Seconds::new(60.0).unwrap(),
            price: None,
            extra: Map::new(),
        }
    }

    fn read_text(text: &str) -> Result<Endpoints, Problems> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("label.toml");
        std::fs::write(&path, text).unwrap();
        read(&path, &usual())
    }

    #[test]
    fn an_entry_says_what_differs_from_the_usual() {
        let text = r#"
            [[model]]
            name = "small"
            url = "http://localhost:8000/v1/"
            [[model]]
            name = "large"
            url = "https://api.example.com/v1/chat/completions"
            served-name = "org/Large"
            key-env = "KEY"
            requests-per-second = "30 /min"
            max-tokens = 64
            timeout = "5 s"
            price = { input = 1, output = 2.5 }
            extra = { top_p = 0.9, stop = ["x"] }
            [judge]
            name = "judge"
            url = "http://localhost:8001/v1"
        "#;
        let Endpoints { models, judge } = read_text(text).unwrap();
        assert_eq!(
            (models[0].url.as_str(), models[0].served_name.as_str()),
            ("http://localhost:8000/v1", "small")
        );
        assert_eq!((models[0].max_tokens, models[0].requests_per_second), (512, None));
        assert_eq!(models[1].url, "https://api.example.com/v1");
        assert_eq!(models[1].requests_per_second, Some(0.5));
        assert!((models[1].price.unwrap().of(1e6, 2e6) - 6.0).abs() < 1e-9);
        assert_eq!(models[1].extra["stop"][0], "x");
        assert_eq!(judge.unwrap().name, "judge");
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let text =
            "[[model]]\nname = \"a\"\nurl = \"localhost:8000\"\nmax-token = 3\n[[model]]\nname = \"b\"\ntimeout = 5\n";
        let problems = read_text(text).unwrap_err();
        let messages: Vec<_> = problems.0.iter().map(Problem::message).collect();
        assert_eq!(messages.len(), 4, "{messages:?}");
    }
}
