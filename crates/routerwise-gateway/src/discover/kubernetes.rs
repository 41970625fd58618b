//! Endpoints of a Service, listed once and then watched: <https://kubernetes.io/docs/reference/using-api/api-concepts/>.
//!
//! ```text
//! list -> version -> watch from there -> ADDED, MODIFIED, DELETED, BOOKMARK (a newer version) ... the connection ends -> watch from the last version
//!    ^                                     |
//!    +------------- 410 Gone --------------+      the server does not remember that version any more
//! ```
//!
//! A client of the few calls that this takes, instead of a crate for all of Kubernetes: that would double what the gateway depends on.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Http;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use routerwise_types::serve::{Endpoint, EndpointSlices};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout, timeout_at};

use super::slices::{Metadata, Slice, Slices, addresses};
use super::{Pauses, Target};
use crate::tls;
use crate::upstream::connect::{Connector, Speaks};

/// Longest wait for a connection, and for a list.
const CONNECT: Duration = Duration::from_secs(5);
const LIST: Duration = Duration::from_secs(15);
/// How long the server is asked to keep a watch open, and how much longer it is believed to be alive.
const WATCH_SECONDS: u64 = 240;
const GRACE: Duration = Duration::from_secs(30);
/// A watch that ends sooner than this is not begun again at once.
const SHORT: Duration = Duration::from_secs(5);
/// Slices in one piece of a list, bytes of such a piece, and of one event.
const PAGE: u32 = 200;
const MOST_LIST: usize = 32 << 20;
const MOST_EVENT: usize = 4 << 20;

/// Follows the endpoints of a Service.
pub(super) async fn follow(target: &Target, wanted: &EndpointSlices) {
    let mut pauses = Pauses::default();
    let client = match Client::new(wanted) {
        Ok(client) => client,
        // Its files were wrong: a reload makes a new one.
        Err(why) => return target.failed(&why),
    };
    loop {
        let why = match client.list().await {
            Ok(listed) => {
                pauses.reset();
                watch_on(target, wanted, &client, listed, &mut pauses).await
            }
            Err(why) => why,
        };
        target.failed(&why);
        tokio::time::sleep(pauses.next()).await;
    }
}

/// Watches from a list on, over as many connections as it takes, until the server has forgotten where it was; says so.
async fn watch_on(
    target: &Target,
    wanted: &EndpointSlices,
    client: &Client<'_>,
    mut listed: Listed,
    pauses: &mut Pauses,
) -> String {
    let mut publish = |slices: &Slices| match addresses(slices, wanted.port.as_ref()) {
        Ok(found) => target.found(&found),
        Err(why) => target.failed(&why),
    };
    publish(&listed.slices);
    loop {
        let began = Instant::now();
        match client.watch(&mut listed, &mut publish).await {
            End::Over if began.elapsed() >= SHORT => pauses.reset(),
            End::Over => tokio::time::sleep(pauses.next()).await,
            End::Forgotten => return "the API server has forgotten where the watch was: listing anew".to_owned(),
            End::Failed(why) => {
                if began.elapsed() >= SHORT {
                    pauses.reset();
                }
                target.failed(&why);
                tokio::time::sleep(pauses.next()).await;
            }
        }
    }
}

/// Slices, and the version of them.
#[derive(Debug, Default)]
pub(super) struct Listed {
    pub(super) slices: Slices,
    version: String,
}

/// How a watch ended.
#[derive(Debug)]
enum End {
    /// As it should, or broken off: it can go on from the last version.
    Over,
    /// The version is too old.
    Forgotten,
    /// Something is wrong.
    Failed(String),
}

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    items: Option<Vec<Slice>>,
}

#[derive(Deserialize)]
struct Watched<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// The few calls of the API server.
pub(super) struct Client<'a> {
    wanted: &'a EndpointSlices,
    http: Http<Connector, Full<Bytes>>,
}

impl<'a> Client<'a> {
    pub(super) fn new(wanted: &'a EndpointSlices) -> Result<Self, String> {
        let server = Endpoint {
            ca: wanted.ca.clone(),
            ..Endpoint::new("", &wanted.api)
        };
        let connector = Connector::new(tls::client(&server)?, CONNECT, None, Speaks::Http1);
        let http = Http::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(connector);
        Ok(Self { wanted, http })
    }

    /// Every slice of the Service, piece by piece.
    pub(super) async fn list(&self) -> Result<Listed, String> {
        let listing = async {
            let (mut listed, mut more) = (Listed::default(), String::new());
            loop {
                let piece = self.page(&more).await?;
                let items = piece.items.unwrap_or_default();
                let named = items.into_iter().map(|slice| (slice.metadata.name.clone(), slice));
                listed.slices.extend(named);
                if piece.metadata.more.is_empty() {
                    listed.version = piece.metadata.resource_version;
                    return Ok(listed);
                }
                more = piece.metadata.more;
            }
        };
        timeout(LIST, listing)
            .await
            .unwrap_or_else(|_| Err(format!("the API server did not list within {} s", LIST.as_secs())))
    }

    async fn page(&self, more: &str) -> Result<List, String> {
        let more = if more.is_empty() {
            String::new()
        } else {
            format!("&continue={}", escaped(more))
        };
        let response = self.get(&format!("limit={PAGE}{more}")).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MOST_LIST).collect().await;
        let body = body.map_err(|error| format!("the list of the API server broke off: {error}"))?;
        let body = body.to_bytes();
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| format!("the list of the API server cannot be read: {error}"))
    }

    /// Watches from the version of a list on, and keeps the list up to date.
    async fn watch(&self, listed: &mut Listed, publish: &mut impl FnMut(&Slices)) -> End {
        let version = escaped(&listed.version);
        let query =
            format!("watch=1&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}&resourceVersion={version}");
        // A connection that died without a word must not be waited for for ever.
        let until = Instant::now() + Duration::from_secs(WATCH_SECONDS) + GRACE;
        let response = match timeout_at(until, self.get(&query)).await {
            Ok(Ok(response)) => response,
            Ok(Err(why)) => return End::Failed(why),
            Err(_) => return End::Over,
        };
        match response.status() {
            StatusCode::OK => {}
            StatusCode::GONE => return End::Forgotten,
            status => return End::Failed(self.refused(status, &[])),
        }
        let mut body = response.into_body();
        let mut text = BytesMut::new();
        loop {
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line = text.split_to(end);
                text.advance(1);
                if let Err(end) = take(&line, listed, publish) {
                    return end;
                }
            }
            if text.len() > MOST_EVENT {
                return End::Failed("an event of the API server is too long".to_owned());
            }
            match timeout_at(until, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Some(data) = frame.data_ref() {
                        text.extend_from_slice(data);
                    }
                }
                // Half an event at the end comes again.
                Ok(None | Some(Err(_))) | Err(_) => return End::Over,
            }
        }
    }

    async fn get(&self, query: &str) -> Result<Response<Incoming>, String> {
        let EndpointSlices {
            service,
            namespace,
            api,
            token,
            ..
        } = self.wanted;
        let api = api.trim_end_matches('/');
        let url = format!(
            "{api}/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3D{service}&{query}"
        );
        let mut request = Request::new(Full::default());
        *request.uri_mut() = url
            .parse()
            .map_err(|error| format!("the address `{api}` of the API server is none: {error}"))?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(file) = token {
            let shown = file.display();
            let file = file.clone();
            let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(file)).await;
            let token = read
                .map_err(std::io::Error::other)
                .flatten()
                .map_err(|error| format!("the token in `{shown}` cannot be read: {error}"))?;
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                .map_err(|_| format!("what is in `{shown}` is no token"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        self.http.request(request).await.map_err(|error| {
            let mut why = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                why = inner.to_string();
                source = inner.source();
            }
            format!("the API server at `{api}` cannot be reached: {why}")
        })
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> String {
        let EndpointSlices { namespace, .. } = self.wanted;
        let said = serde_json::from_slice::<Status>(body)
            .map(|status| status.message)
            .unwrap_or_default();
        let help = match status {
            StatusCode::UNAUTHORIZED => ": the token is not accepted".to_owned(),
            StatusCode::FORBIDDEN => format!(
                ": the service account may not `list` and `watch` `endpointslices` of `discovery.k8s.io` in namespace `{namespace}`"
            ),
            _ if said.is_empty() => String::new(),
            _ => format!(": {said}"),
        };
        format!("the API server answered {status}{help}")
    }
}

/// Takes one event over.
fn take(line: &[u8], listed: &mut Listed, publish: &mut impl FnMut(&Slices)) -> Result<(), End> {
    let unreadable =
        |error: serde_json::Error| End::Failed(format!("an event of the API server cannot be read: {error}"));
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let Watched { kind, object } = serde_json::from_slice(line).map_err(unreadable)?;
    match kind {
        "ADDED" | "MODIFIED" | "DELETED" => {
            let slice: Slice = serde_json::from_str(object.get()).map_err(unreadable)?;
            listed.version.clone_from(&slice.metadata.resource_version);
            if kind == "DELETED" {
                listed.slices.remove(&slice.metadata.name);
            } else {
                listed.slices.insert(slice.metadata.name.clone(), slice);
            }
            publish(&listed.slices);
            Ok(())
        }
        "BOOKMARK" => {
            let bookmark: Bookmark = serde_json::from_str(object.get()).map_err(unreadable)?;
            listed.version = bookmark.metadata.resource_version;
            Ok(())
        }
        "ERROR" => {
            let status: Status = serde_json::from_str(object.get()).map_err(unreadable)?;
            Err(if status.code == StatusCode::GONE.as_u16() {
                End::Forgotten
            } else {
                End::Failed(format!(
                    "the API server ended the watch: {} {}",
                    status.code, status.message
                ))
            })
        }
        // What newer servers may say besides.
        _ => Ok(()),
    }
}

/// A value in a query.
fn escaped(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let one = |byte: u8| {
        if plain(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_change_the_list_and_move_its_version() {
        let mut listed = Listed::default();
        let mut published = Vec::new();
        let mut take = |line: &str, listed: &mut Listed| {
            take(line.as_bytes(), listed, &mut |slices: &Slices| {
                published.push(slices.len())
            })
        };
        let event = |kind: &str, name: &str, version: u32| {
            format!(r#"{{"type":"{kind}","object":{{"metadata":{{"name":"{name}","resourceVersion":"{version}"}}}}}}"#)
        };
        for line in [
            event("ADDED", "a", 5),
            event("ADDED", "b", 6),
            event("DELETED", "a", 7),
            r#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"9"}}}"#.to_owned(),
            "  ".to_owned(),
            r#"{"type":"SOMETHING","object":{}}"#.to_owned(),
        ] {
            take(&line, &mut listed).unwrap();
        }
        assert_eq!(listed.version, "9");
        assert_eq!(listed.slices.keys().collect::<Vec<_>>(), ["b"]);
        let gone = r#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}"#;
        assert!(matches!(take(gone, &mut listed), Err(End::Forgotten)));
        let other = r#"{"type":"ERROR","object":{"code":500,"message":"etcd"}}"#;
        assert!(matches!(take(other, &mut listed), Err(End::Failed(why)) if why.contains("etcd")));
        assert!(matches!(take("{", &mut listed), Err(End::Failed(_))));
        assert_eq!(published, [1, 2, 1]);
    }

    #[test]
    fn what_a_server_gives_to_go_on_with_is_escaped() {
        assert_eq!(escaped("eyJ2Ijo=&x y"), "eyJ2Ijo%3D%26x%20y");
    }
}
