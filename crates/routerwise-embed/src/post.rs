//! JSON to an endpoint and back, for callers that are not asynchronous.

use std::env;
use std::sync::Mutex;
use std::time::Duration;

use reqwest::Client;
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;

/// A reply with more bytes than this is not read.
const BODY_MAX: usize = 64 << 20;

/// An endpoint and a runtime to wait for it in.
pub(crate) struct Post {
    url: String,
    client: Client,
    key: Option<String>,
    deadline: Duration,
    runtime: Mutex<Runtime>,
}

/// Why no reply came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoReply {
    Late,
    Failed(String),
}

impl Post {
    pub(crate) fn new(url: &str, key_env: Option<&str>, deadline: Duration) -> Result<Self, String> {
        // An error means that another part of this process has chosen a provider already, which will do.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = match key_env {
            Some(name) => {
                let key = env::var(name).ok().filter(|key| !key.is_empty());
                Some(key.ok_or_else(|| format!("the environment has no `{name}`, which is to hold the key"))?)
            }
            None => None,
        };
        let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Ok(Self {
            url: url.to_owned(),
            client: client.map_err(|error| error.to_string())?,
            key,
            deadline,
            runtime: Mutex::new(runtime.map_err(|error| error.to_string())?),
        })
    }

    /// Sends a body and waits for the reply until the deadline. Blocks; one call at a time.
    pub(crate) fn send(&self, body: &impl Serialize) -> Result<Value, NoReply> {
        let runtime = self.runtime.lock().expect("nobody panics while holding it");
        let late = |_| Err(NoReply::Late);
        runtime.block_on(async {
            tokio::time::timeout(self.deadline, self.reply(body))
                .await
                .unwrap_or_else(late)
        })
    }

    async fn reply(&self, body: &impl Serialize) -> Result<Value, NoReply> {
        let failed = |error: reqwest::Error| NoReply::Failed(cause(&error));
        let mut request = self.client.post(&self.url).json(body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(NoReply::Failed(format!("status {}", status.as_u16())));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > BODY_MAX {
                return Err(NoReply::Failed(format!("more than {BODY_MAX} bytes came")));
            }
            bytes.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&bytes).map_err(|_| NoReply::Failed("the reply is no JSON".into()))
    }
}

/// The innermost cause; the outer ones repeat the URL, which may hold a secret.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if std::ptr::addr_eq(cause, error) {
        "the connection failed".to_owned()
    } else {
        cause.to_string()
    }
}
