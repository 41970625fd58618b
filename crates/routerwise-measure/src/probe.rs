//! One question before a run starts: everything that would make all of it fail is found here and said once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use routerwise_types::Seconds;
use routerwise_types::workload::Lengths;

use crate::client::{Broken, Client, Listener};
use crate::exchange::{Clock, Heard};
use crate::prompts::{Ask, Prompts};
use crate::record::FailureKind;
use crate::stream::Usage;
use crate::target::Target;

/// What the first question showed.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// Time to first token of that one question.
    pub ttft: Seconds,
    /// What the server counted, if it does.
    pub usage: Option<Usage>,
    /// Models that the endpoint lists; empty when it lists none.
    pub models: Vec<String>,
    /// Whether a gateway named the model that answered.
    pub names_model: bool,
}

/// Why a run has not started.
#[derive(Debug, thiserror::Error)]
pub enum CannotStart {
    /// No connection.
    #[error("nothing answers at `{url}`: {reason}")]
    Unreachable {
        /// The endpoint.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// It speaks, but not OpenAI's language.
    #[error("`{url}` is no OpenAI-compatible endpoint: {reason}")]
    NotOpenAi {
        /// The endpoint.
        url: String,
        /// What came instead.
        reason: String,
    },
    /// It does not know the model.
    #[error("`{url}` has no model `{model}`")]
    NoModel {
        /// The endpoint.
        url: String,
        /// The model.
        model: String,
        /// Those that it has; empty when it does not say.
        there: Vec<String>,
    },
    /// It wants a key, or another one.
    #[error("`{url}` refuses the key: {reason}")]
    Key {
        /// The endpoint.
        url: String,
        /// In its words.
        reason: String,
    },
    /// It refuses the question.
    #[error("`{url}` refuses the first request with status {status}: {reason}")]
    Refused {
        /// The endpoint.
        url: String,
        /// The status.
        status: u16,
        /// In its words.
        reason: String,
    },
    /// It took the question and did not answer it.
    #[error("`{url}` did not answer the first request: {reason}")]
    Broken {
        /// The endpoint.
        url: String,
        /// What came.
        reason: String,
    },
    /// No runtime.
    #[error("this machine gives no event queue")]
    Runtime(#[source] std::io::Error),
}

/// Asks one question of the run's own kind. Blocks.
///
/// # Errors
/// [`CannotStart`] with what is wrong.
pub fn probe(target: &Target, prompts: &Prompts, lengths: Lengths, timeout: Duration) -> Result<Probed, CannotStart> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().map_err(CannotStart::Runtime)?;
    runtime.block_on(first_question(target, &prompts.ask(usize::MAX, lengths), timeout))
}

async fn first_question(target: &Target, ask: &Ask, timeout: Duration) -> Result<Probed, CannotStart> {
    let url = target.url();
    let client = Client::new(Arc::new(target.clone()))
        .await
        .map_err(|broken| CannotStart::Unreachable {
            url: url.clone(),
            reason: broken.to_string(),
        })?;
    let clock = Clock(Instant::now());
    let (heard, result) = Heard::from(&client, target.request(ask), clock, timeout).await;
    let models = models(&client, timeout).await;
    match result {
        Ok(()) => {
            let first = heard.pieces.first().copied().unwrap_or_default();
            Ok(Probed {
                ttft: first.since(routerwise_types::Timestamp::START),
                usage: heard.reader.usage,
                models,
                names_model: heard.model.is_some(),
            })
        }
        Err((kind, reason)) => Err(refusal(target, url, (kind, reason), models)),
    }
}

fn refusal(target: &Target, url: String, (kind, reason): (FailureKind, String), models: Vec<String>) -> CannotStart {
    let model = target.model();
    match kind {
        FailureKind::Connect | FailureKind::OutOfSockets => CannotStart::Unreachable { url, reason },
        FailureKind::Status(401 | 403) => CannotStart::Key { url, reason },
        FailureKind::Status(404) if models.is_empty() => CannotStart::NotOpenAi {
            url,
            reason: format!("it has nothing under that path (status 404: {reason})"),
        },
        FailureKind::Status(400 | 404 | 422) if !models.is_empty() && !models.iter().any(|known| known == model) => {
            CannotStart::NoModel {
                url,
                model: model.to_owned(),
                there: models,
            }
        }
        FailureKind::Status(status) => CannotStart::Refused { url, status, reason },
        FailureKind::Malformed => CannotStart::NotOpenAi { url, reason },
        _ => CannotStart::Broken {
            url,
            reason: format!("{kind}: {reason}"),
        },
    }
}

/// The models that the endpoint lists; none where it lists none.
async fn models(client: &Client, timeout: Duration) -> Vec<String> {
    let listed = tokio::time::timeout(timeout, fetch(client, client.target.models_request())).await;
    let Ok(Ok((StatusCode::OK, body))) = listed else {
        return Vec::new();
    };
    names_in(&body)
}

/// Where engines say which version they are, and under which name: vLLM, SGLang (two paths, by version) and llama.cpp.
const VERSIONS: [(&str, &str, &str); 4] = [
    ("/version", "version", ""),
    ("/server_info", "version", "sglang"),
    ("/get_server_info", "version", "sglang"),
    ("/props", "build_info", "llama.cpp"),
];
/// Longest version that is believed to be one.
const LONGEST_VERSION: usize = 100;

/// What the server says that it is; nothing where it says nothing that is known. Blocks.
#[must_use]
pub fn version(target: &Target, timeout: Duration) -> Option<String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().ok()?;
    runtime.block_on(async {
        let client = Client::new(Arc::new(target.clone())).await.ok()?;
        for (page, member, engine) in VERSIONS {
            let fetched = tokio::time::timeout(timeout, fetch(&client, target.page_request(page))).await;
            if let Ok(Ok((StatusCode::OK, body))) = fetched
                && let Some(version) = version_in(&body, member, engine)
            {
                return Some(version);
            }
        }
        None
    })
}

fn version_in(body: &[u8], member: &str, engine: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let version = value[member].as_str()?;
    // Emulated engines name themselves.
    let engine = value["engine"].as_str().unwrap_or(engine);
    let text = format!("{engine} {version}").trim().to_owned();
    let plausible = !version.is_empty() && text.len() <= LONGEST_VERSION && !text.contains(char::is_control);
    plausible.then_some(text)
}

fn names_in(body: &[u8]) -> Vec<String> {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let entries = value["data"].as_array().cloned().unwrap_or_default();
    let names = entries.iter().filter_map(|entry| entry["id"].as_str());
    names.map(str::to_owned).collect()
}

/// Longest list of models that is read.
const LONGEST_LIST: usize = 1 << 20;

#[derive(Default)]
struct Fetched {
    status: StatusCode,
    body: Vec<u8>,
}

impl Listener for Fetched {
    fn head(&mut self, status: StatusCode, _: &HeaderMap) {
        self.status = status;
    }

    fn piece(&mut self, bytes: &[u8]) {
        if self.body.len() + bytes.len() <= LONGEST_LIST {
            self.body.extend_from_slice(bytes);
        }
    }
}

async fn fetch(client: &Client, request: Request<Full<Bytes>>) -> Result<(StatusCode, Vec<u8>), Broken> {
    let mut fetched = Fetched::default();
    client.send(request, &mut fetched).await?;
    Ok((fetched.status, fetched.body))
}

/// The models that an endpoint lists; none where it lists none. Blocks.
///
/// # Errors
/// [`CannotStart`] when it cannot be reached.
pub fn list_models(target: &Target, timeout: Duration) -> Result<Vec<String>, CannotStart> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().map_err(CannotStart::Runtime)?;
    let unreachable = |reason: String| CannotStart::Unreachable {
        url: target.url(),
        reason,
    };
    runtime.block_on(async {
        let client = Client::new(Arc::new(target.clone())).await;
        let client = client.map_err(|broken| unreachable(broken.to_string()))?;
        let listed = tokio::time::timeout(timeout, fetch(&client, target.models_request())).await;
        match listed {
            Ok(Ok((StatusCode::OK, body))) => Ok(names_in(&body)),
            Ok(Ok(_)) => Ok(Vec::new()),
            Ok(Err(broken)) => Err(unreachable(broken.to_string())),
            Err(_) => Err(unreachable("it does not answer in time".into())),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_what_the_server_says_if_it_says_one() {
        let of = |body: &str, member, engine| version_in(body.as_bytes(), member, engine);
        assert_eq!(of(r#"{"version":"0.11.0"}"#, "version", "").as_deref(), Some("0.11.0"));
        let props = r#"{"build_info":"b8681-Debian","total_slots":4}"#;
        assert_eq!(
            of(props, "build_info", "llama.cpp").as_deref(),
            Some("llama.cpp b8681-Debian")
        );
        let emulated = r#"{"version":"0.1.0","engine":"routerwise-emulate"}"#;
        assert_eq!(of(emulated, "version", "").as_deref(), Some("routerwise-emulate 0.1.0"));
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"version":3}"#,
            r#"{"version":""}"#,
            r#"{"version":"a\nb"}"#,
        ] {
            assert_eq!(of(body, "version", ""), None, "{body}");
        }
    }
}
