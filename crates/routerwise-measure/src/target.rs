//! Whom to ask: an OpenAI-compatible endpoint, its model, its key, and what a request to it looks like.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Method, Request, Uri};
use http_body_util::Full;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Map, Value};

use crate::prompts::{Ask, Content};

/// Which of the two ways to ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Api {
    /// `/v1/chat/completions`
    #[default]
    Chat,
    /// `/v1/completions`
    Completions,
}

impl Api {
    fn path(self) -> &'static str {
        match self {
            Self::Chat => "/chat/completions",
            Self::Completions => "/completions",
        }
    }
}

/// An endpoint and how to ask it. The key is shown by no `Debug`.
#[derive(Clone, Debug)]
pub struct Target {
    pub(crate) api: Api,
    pub(crate) model: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    authority: HeaderValue,
    base: String,
    path: PathAndQuery,
    authorization: Option<HeaderValue>,
    /// Whether requests say how many tokens the prompt is to count as.
    says_prompt_tokens: bool,
    /// What every body starts with: `{"model":"…","stream":true,…`.
    opening: String,
}

/// Why an endpoint cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub enum BadTarget {
    /// The address is none.
    #[error("`{url}` is no address of an endpoint: {reason}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The key has characters that no header may have.
    #[error("the key has characters that may not stand in a header")]
    Key,
    /// A certificate cannot be used.
    #[error("the certificates of `{file}` cannot be used: {reason}")]
    Certificate {
        /// Where they are from.
        file: String,
        /// What is wrong with them.
        reason: String,
    },
}

impl Target {
    /// Of an address such as `http://host:8000`, `https://host/v1` or the whole path of a chat endpoint.
    ///
    /// # Errors
    /// [`BadTarget::Url`] when it is no such address.
    pub fn new(url: &str, api: Api, model: &str) -> Result<Self, BadTarget> {
        let bad = |reason: &str| BadTarget::Url {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| bad("write it as `http://host:port`"))?;
        let secure = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(bad("it starts with neither `http://` nor `https://`")),
        };
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(bad("it holds a user name; keys are given by an environment variable"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let given = uri.path().trim_end_matches('/');
        let given = given.strip_suffix("/chat/completions").unwrap_or(given);
        let given = given.strip_suffix("/completions").unwrap_or(given);
        let base = if given.is_empty() { "/v1" } else { given }.to_owned();
        let path = format!("{base}{}", api.path());
        let mut target = Self {
            api,
            model: model.to_owned(),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            tls: None,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| bad("its host is no name"))?,
            path: path.parse().map_err(|_| bad("its path is none"))?,
            base,
            host,
            authorization: None,
            says_prompt_tokens: false,
            opening: String::new(),
        };
        target.opening = target.opening_with(&Map::new());
        if secure {
            let name = ServerName::try_from(target.host.clone()).map_err(|_| bad("its host is no name"))?;
            target.tls = Some((Arc::new(trusting(&[])), name));
        }
        Ok(target)
    }

    /// Sends this key with every request.
    ///
    /// # Errors
    /// [`BadTarget::Key`] when no header may hold it.
    pub fn with_key(mut self, key: &str) -> Result<Self, BadTarget> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim())).map_err(|_| BadTarget::Key)?;
        value.set_sensitive(true);
        self.authorization = Some(value);
        Ok(self)
    }

    /// Tells the server with every request how many tokens the prompt is to count as, in the header `x-prompt-tokens`. Emulated engines
    /// heed it, so that a real prompt can stand for one of a recorded length.
    #[must_use]
    pub fn saying_prompt_tokens(mut self) -> Self {
        self.says_prompt_tokens = true;
        self
    }

    /// Adds members to every request's body, such as `"temperature": 0`; those of ours are replaced.
    #[must_use]
    pub fn with_body(mut self, extra: &Map<String, Value>) -> Self {
        self.opening = self.opening_with(extra);
        self
    }

    /// Trusts the certificates of a PEM file besides those of the system.
    ///
    /// # Errors
    /// [`BadTarget::Certificate`] when it holds none.
    pub fn with_certificates(mut self, file: &Path) -> Result<Self, BadTarget> {
        let bad = |reason: String| BadTarget::Certificate {
            file: file.display().to_string(),
            reason,
        };
        let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let certificates = read.map_err(|error| bad(error.to_string()))?;
        if certificates.is_empty() {
            return Err(bad("there are none in it".to_owned()));
        }
        if let Some((config, _)) = &mut self.tls {
            *config = Arc::new(trusting(&certificates));
        }
        Ok(self)
    }

    /// The model that is asked for.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Which way it is asked.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api
    }

    /// Its address, without key.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let authority = self.authority.to_str().unwrap_or(&self.host);
        format!("{scheme}://{authority}{}", self.path)
    }

    fn opening_with(&self, extra: &Map<String, Value>) -> String {
        let mut body = Map::new();
        body.insert("model".into(), self.model.clone().into());
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), serde_json::json!({"include_usage": true}));
        body.extend(extra.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut text = Value::Object(body).to_string();
        text.pop();
        text
    }

    /// One question as a request.
    pub(crate) fn request(&self, ask: &Ask) -> Request<Full<Bytes>> {
        let mut body = String::with_capacity(self.opening.len() + ask.content.len() + 96);
        body.push_str(&self.opening);
        write!(body, ",\"max_tokens\":{}", ask.max_tokens).expect("a string takes everything");
        let quoted = |text: &str| serde_json::to_string(text).expect("text is JSON");
        match (&ask.content, self.api) {
            (Content::Text(text), Api::Chat) => {
                body.push_str(",\"messages\":[{\"role\":\"user\",\"content\":");
                body.push_str(&quoted(text));
                body.push_str("}]}");
            }
            (Content::Text(text), Api::Completions) => {
                body.push_str(",\"prompt\":");
                body.push_str(&quoted(text));
                body.push('}');
            }
            (Content::Messages(messages), _) => {
                body.push_str(",\"messages\":");
                body.push_str(messages);
                body.push('}');
            }
        }
        let mut request = self.to(Method::POST, self.path.clone(), Bytes::from(body));
        if self.says_prompt_tokens {
            let headers = request.headers_mut();
            headers.insert("x-prompt-tokens", HeaderValue::from(ask.prompt_tokens));
        }
        request
    }

    /// The list of models.
    pub(crate) fn models_request(&self) -> Request<Full<Bytes>> {
        let path = format!("{}/models", self.base).parse().expect("the base is a path");
        self.to(Method::GET, path, Bytes::new())
    }

    /// A page of the server beside the API, such as `/version`.
    pub(crate) fn page_request(&self, page: &str) -> Request<Full<Bytes>> {
        let root = self.base.strip_suffix("/v1").unwrap_or(&self.base);
        let path = format!("{root}{page}").parse().expect("base and page are paths");
        self.to(Method::GET, path, Bytes::new())
    }

    fn to(&self, method: Method, path: PathAndQuery, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = Uri::from(path);
        let headers = request.headers_mut();
        headers.insert(HOST, self.authority.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
        if let Some(key) = &self.authorization {
            headers.insert(AUTHORIZATION, key.clone());
        }
        request
    }
}

/// The system's certificates and some more. A system without any still reaches what the given ones vouch for.
fn trusting(more: &[CertificateDer<'static>]) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots.add_parsable_certificates(more.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring speaks both versions")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_way_to_write_an_address_leads_to_the_same_endpoint() {
        for url in [
            "http://127.0.0.1:8000",
            "http://127.0.0.1:8000/",
            "http://127.0.0.1:8000/v1/",
            "http://127.0.0.1:8000/v1/chat/completions",
        ] {
            let target = Target::new(url, Api::Chat, "m").unwrap();
            assert_eq!(target.url(), "http://127.0.0.1:8000/v1/chat/completions");
        }
        let target = Target::new("https://host/openai/v2", Api::Completions, "m").unwrap();
        assert_eq!(
            (target.url().as_str(), target.port),
            ("https://host/openai/v2/completions", 443)
        );
    }

    #[test]
    fn what_is_no_address_is_refused_with_the_reason() {
        let reason = |url| Target::new(url, Api::Chat, "m").unwrap_err().to_string();
        assert!(reason("127.0.0.1:8000").contains("neither"));
        assert!(reason("ftp://host").contains("neither"));
        assert!(reason("http://me:secret@host").contains("environment variable"));
    }

    #[test]
    fn a_key_is_sent_and_never_shown() {
        let target = Target::new("http://host", Api::Chat, "m")
            .unwrap()
            .with_key("s3cret")
            .unwrap();
        assert!(!format!("{target:?}").contains("s3cret"));
        let request = target.models_request();
        assert_eq!(request.headers()[AUTHORIZATION], "Bearer s3cret");
        assert!(!format!("{request:?}").contains("s3cret"));
    }

    #[test]
    fn a_server_is_told_how_long_a_prompt_is_only_when_asked_to() {
        let ask =
            crate::prompts::Prompts::filler(1).ask(0, routerwise_types::workload::Lengths { input: 900, output: 5 });
        let target = Target::new("http://host", Api::Chat, "m").unwrap();
        assert!(!target.request(&ask).headers().contains_key("x-prompt-tokens"));
        let target = target.saying_prompt_tokens();
        assert_eq!(target.request(&ask).headers()["x-prompt-tokens"], "900");
    }
}
