//! Asking one replica once: from a request to the first byte of the answer's body, or why there is none.

pub(crate) mod connect;

use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use routerwise_types::serve::{Endpoint, Timeouts};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::Cause;
use crate::gauges::Spared;
use crate::{patience, tls};
use connect::{Connector, Speaks, Uses};

/// Where a connection of HTTP/2 that went silent is found dead; those of HTTP/1.1 are by the system.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Idle connections to one replica that are kept.
const MOST_IDLE: usize = 256;

/// A replica and the connections to it.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) endpoint: Endpoint,
    scheme: Scheme,
    authority: Authority,
    /// Host and port of where it is.
    name: String,
    /// What its paths begin with, without a slash at the end.
    prefix: String,
    credential: Option<HeaderValue>,
    client: Client<Connector, Full<Bytes>>,
    connect_limit: Duration,
    idle: Duration,
    /// Whether it is asked what it has to do.
    pub(crate) spared: Spared,
    /// How often its checks have given it up.
    given_up: watch::Sender<u64>,
}

/// The beginning of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The first piece of the body; absent where it is empty.
    pub(crate) first: Option<Bytes>,
    pub(crate) rest: Incoming,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAnswer {
    pub(crate) cause: Cause,
    /// The connection had been used before: engines close idle ones, and a request may cross that. It says nothing about the replica.
    pub(crate) reused: bool,
}

impl Upstream {
    /// Prepares connections to a replica.
    ///
    /// # Errors
    /// What is wrong with its address, credential or certificates.
    pub(crate) fn new(endpoint: Endpoint, timeouts: &Timeouts) -> Result<Self, String> {
        let wrong = |what: &str| format!("the address `{}` of `{}` {what}", endpoint.url, endpoint.model);
        let uri: Uri = endpoint
            .url
            .parse()
            .map_err(|error| wrong(&format!("is no address: {error}")))?;
        let scheme = uri
            .scheme()
            .cloned()
            .ok_or_else(|| wrong("has no `http://` or `https://`"))?;
        if scheme != Scheme::HTTP && scheme != Scheme::HTTPS {
            return Err(wrong("is neither `http://` nor `https://`"));
        }
        let authority = uri.authority().cloned().ok_or_else(|| wrong("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("holds a password: use `key-env` or `key-file`"));
        }
        // One that was found keeps its host's name, which its certificate has, and is asked at its own port.
        let authority = match endpoint.at {
            Some(at) => Authority::try_from(format!("{}:{}", authority.host(), at.port()))
                .map_err(|error| wrong(&format!("is no address: {error}")))?,
            None => authority,
        };
        let name = endpoint.at.map_or_else(|| authority.to_string(), |at| at.to_string());
        if uri.query().is_some() {
            return Err(wrong("has a `?` part"));
        }
        // Users write the base address of their client, `/v1` included, or the engine's own.
        let prefix = uri.path().trim_end_matches('/');
        let prefix = prefix.strip_suffix("/v1").unwrap_or(prefix).to_owned();
        let credential = endpoint.credential.as_ref().map(|secret| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.0)).map_err(|_| {
                format!(
                    "the credential of `{}` has characters that no header may have",
                    endpoint.model
                )
            })?;
            value.set_sensitive(true);
            Ok::<_, String>(value)
        });
        let speaks = if endpoint.http2 { Speaks::Http2 } else { Speaks::Http1 };
        let client = Client::builder(TokioExecutor::new())
            .http2_only(endpoint.http2)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .pool_idle_timeout(timeouts.idle)
            .pool_max_idle_per_host(MOST_IDLE)
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .build(Connector::new(
                tls::client(&endpoint)?,
                timeouts.connect,
                endpoint.at.map(|at| at.ip()),
                speaks,
            ));
        Ok(Self {
            scheme,
            authority,
            name,
            prefix,
            credential: credential.transpose()?,
            client,
            connect_limit: timeouts.connect,
            idle: timeouts.idle,
            spared: Spared::default(),
            endpoint,
            given_up: watch::Sender::new(0),
        })
    }

    /// Whether its connections can stay when settings change.
    pub(crate) fn fits(&self, endpoint: &Endpoint, timeouts: &Timeouts) -> bool {
        self.endpoint == *endpoint && self.connect_limit == timeouts.connect && self.idle == timeouts.idle
    }

    /// Whether both are the same engine, whatever else is set about it.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        let place = |upstream: &Self| (upstream.scheme.clone(), upstream.name.clone(), upstream.prefix.clone());
        place(self) == place(other)
    }

    /// What the engine calls the model.
    pub(crate) fn model(&self) -> &str {
        self.endpoint.served_as.as_deref().unwrap_or(&self.endpoint.model)
    }

    /// Its address in receipts and logs: host and port.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn uri(&self, path: &str) -> Uri {
        let path = if self.prefix.is_empty() {
            PathAndQuery::try_from(path)
        } else {
            PathAndQuery::try_from(format!("{}{path}", self.prefix))
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.expect("both parts were paths of addresses"));
        Uri::from_parts(parts).expect("scheme, host and path make an address")
    }

    /// Its checks say that no answer is to be expected any more: whoever waits for the first byte of one is told.
    pub(crate) fn give_up(&self) {
        self.given_up.send_modify(|times| *times += 1);
    }

    /// Asks, and waits for the first byte of the answer's body until then, or until its checks give it up.
    pub(crate) async fn ask(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
        until: Instant,
    ) -> Result<Answer, NoAnswer> {
        let mut given_up = self.given_up.subscribe();
        tokio::select! {
            biased;
            answer = self.first_byte(path, headers, body, until) => answer,
            // The sender lives as long as this does.
            _ = given_up.changed() => Err(NoAnswer { cause: Cause::GivenUp, reused: false }),
        }
    }

    async fn first_byte(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Bytes,
        until: Instant,
    ) -> Result<Answer, NoAnswer> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri(path);
        *request.headers_mut() = headers;
        if let Some(credential) = &self.credential {
            request.headers_mut().insert(AUTHORIZATION, credential.clone());
        }
        let connection = capture_connection(&mut request);
        let was_used = || {
            let mut extras = http::Extensions::new();
            if let Some(connected) = connection.connection_metadata().as_ref() {
                connected.get_extras(&mut extras);
            }
            extras.get::<Uses>().is_some_and(Uses::any)
        };
        let late = NoAnswer {
            cause: Cause::FirstByte,
            reused: false,
        };
        let response = match patience::until(until, self.client.request(request)).await {
            Err(_) => return Err(late),
            Ok(Err(error)) => {
                let cause = cause_of(&error);
                return Err(NoAnswer {
                    cause,
                    // A connection of HTTP/2 may live on when a request on it was reset, which would have no end.
                    reused: cause == Cause::Reset && !self.endpoint.http2 && was_used(),
                });
            }
            Ok(Ok(response)) => response,
        };
        let (parts, mut rest) = response.into_parts();
        let first = loop {
            match patience::until(until, rest.frame()).await {
                Err(_) => return Err(late),
                Ok(None) => break None,
                Ok(Some(Err(error))) => {
                    let cause = if error.is_parse() {
                        Cause::Malformed
                    } else {
                        Cause::Reset
                    };
                    return Err(NoAnswer { cause, reused: false });
                }
                // An empty piece and trailers are not yet an answer.
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => break Some(data),
                    _ => {}
                },
            }
        };
        if let Some(uses) = parts.extensions.get::<Uses>() {
            uses.add();
        }
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            first,
            rest,
        })
    }

    /// Whether its health path answers with success.
    pub(crate) async fn is_well(&self, path: &str, limit: Duration) -> bool {
        let asked = tokio::time::timeout(limit, self.client.request(self.question(path))).await;
        matches!(asked, Ok(Ok(response)) if response.status().is_success())
    }

    /// What it answers at a path; nothing when it does not answer in time, or more than so many bytes.
    pub(crate) async fn read(&self, path: &str, limit: Duration, most: usize) -> Option<(StatusCode, Bytes)> {
        let reading = async {
            let response = self.client.request(self.question(path)).await.ok()?;
            let status = response.status();
            let body = Limited::new(response.into_body(), most).collect().await.ok()?;
            Some((status, body.to_bytes()))
        };
        tokio::time::timeout(limit, reading).await.ok().flatten()
    }

    fn question(&self, path: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.uri(path);
        if let Some(credential) = &self.credential {
            request.headers_mut().insert(AUTHORIZATION, credential.clone());
        }
        request
    }
}

fn cause_of(error: &hyper_util::client::legacy::Error) -> Cause {
    if error.is_connect() {
        return Cause::Connect;
    }
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if inner.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return Cause::Malformed;
        }
        source = inner.source();
    }
    Cause::Reset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upstream(url: &str) -> Result<Upstream, String> {
        Upstream::new(Endpoint::new("small", url), &Timeouts::default())
    }

    #[tokio::test]
    async fn addresses_may_be_those_of_a_client_or_those_of_an_engine() {
        let uri = |url: &str| upstream(url).unwrap().uri("/v1/models").to_string();
        assert_eq!(uri("http://engine:8000"), "http://engine:8000/v1/models");
        assert_eq!(uri("http://engine:8000/v1/"), "http://engine:8000/v1/models");
        assert_eq!(uri("https://host/team/v1"), "https://host/team/v1/models");
    }

    #[tokio::test]
    async fn wrong_addresses_are_refused_with_a_reason() {
        assert!(upstream("engine:8000").unwrap_err().contains("engine:8000"));
        assert!(upstream("ftp://engine").unwrap_err().contains("neither"));
        assert!(
            upstream("http://user:secret@engine")
                .unwrap_err()
                .contains("holds a password")
        );
        assert!(upstream("http://engine/?a=b").unwrap_err().contains("`?` part"));
    }
}
