//! Which headers go through, and what the gateway's own ones say.

use std::time::Duration;

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Cause, Refusal};

pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// What every header of the gateway begins with. None of them reaches an engine.
const OWN: &str = "x-routerwise-";

const TTFT_TARGET: &str = "x-routerwise-ttft-target";
const DEADLINE: &str = "x-routerwise-deadline";
const LEAST_SCORE: &str = "x-routerwise-min-quality";
const MODELS: &str = "x-routerwise-models";
const SESSION: &str = "x-routerwise-session";
const PRIORITY: &str = "x-routerwise-priority";

/// The longest time that a header may ask for.
const MOST_SECONDS: f64 = 86_400.0;
const MOST_SESSION_BYTES: usize = 256;
const MOST_ID_BYTES: usize = 128;

/// What a request asks for by header.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Wishes<'a> {
    pub(crate) ttft_target: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) least_score: Option<f32>,
    pub(crate) models: Option<Vec<&'a str>>,
    pub(crate) session: Option<&'a str>,
    pub(crate) priority: Option<u8>,
}

impl<'a> Wishes<'a> {
    /// Reads them. A header that is misspelt, stands twice or means nothing is refused: a wish that is silently ignored is worse.
    pub(crate) fn read(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let mut wishes = Self::default();
        for name in headers.keys().filter(|name| name.as_str().starts_with(OWN)) {
            let mut values = headers.get_all(name).iter();
            let first = values.next().and_then(|value| value.to_str().ok()).map(str::trim);
            let Some(text) = first.filter(|text| !text.is_empty()) else {
                return Err(refuse(name.as_str(), "is empty or not plain text"));
            };
            if values.next().is_some() {
                return Err(refuse(name.as_str(), "stands twice"));
            }
            wishes.take(name.as_str(), text)?;
        }
        Ok(wishes)
    }

    fn take(&mut self, name: &str, text: &'a str) -> Result<(), Refusal> {
        match name {
            TTFT_TARGET => self.ttft_target = Some(span(name, text)?),
            DEADLINE => self.deadline = Some(span(name, text)?),
            LEAST_SCORE => {
                let score = text.parse().ok().filter(|score: &f32| (0.0..=1.0).contains(score));
                self.least_score = Some(score.ok_or_else(|| refuse(name, "is not a number from 0 to 1"))?);
            }
            MODELS => {
                let models: Vec<&str> = text.split(',').map(str::trim).collect();
                if models.len() > 64 || models.iter().any(|model| model.is_empty()) {
                    return Err(refuse(
                        name,
                        "is not a list of 1 to 64 model names, separated by commas",
                    ));
                }
                self.models = Some(models);
            }
            SESSION => {
                if text.len() > MOST_SESSION_BYTES {
                    return Err(refuse(name, "is longer than 256 bytes"));
                }
                self.session = Some(text);
            }
            PRIORITY => {
                self.priority = Some(priority(text).ok_or_else(|| {
                    refuse(
                        name,
                        "is neither a whole number from 0 (first to wait) to 9 nor `low`, `normal` or `high`",
                    )
                })?)
            }
            _ => {
                let known = [TTFT_TARGET, DEADLINE, LEAST_SCORE, MODELS, SESSION, PRIORITY].join(", ");
                return Err(refuse(name, &format!("is not known; known are {known}")));
            }
        }
        Ok(())
    }
}

fn priority(text: &str) -> Option<u8> {
    match text {
        "low" => Some(0),
        "normal" => Some(4),
        "high" => Some(8),
        number => number.parse().ok().filter(|number| *number <= 9),
    }
}

/// `300ms`, `1.5s` or a plain number of milliseconds.
fn span(name: &str, text: &str) -> Result<Duration, Refusal> {
    let (number, factor) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e-3),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (text, 1e-3),
    };
    let seconds = number.trim().parse().ok().map(|number: f64| number * factor);
    match seconds.filter(|seconds| *seconds > 0.0 && *seconds <= MOST_SECONDS) {
        Some(seconds) => Ok(Duration::from_secs_f64(seconds)),
        None => Err(refuse(
            name,
            "is not a time above 0 and up to a day, such as `300ms` or `2s`",
        )),
    }
}

fn refuse(name: &str, what: &str) -> Refusal {
    Refusal::new(Cause::BadRequest, format!("the header `{name}` {what}"))
}

/// Removes what is between two neighbours only: RFC 9110, section 7.6.1, and whatever `connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // Rare enough that the list is made only when there is one.
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in [
        CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// What an engine gets of a client's headers. The body's length and encoding are set anew, because the body may be another one.
pub(crate) fn to_engine(headers: &mut HeaderMap, keep_credentials: bool) {
    strip_hop_by_hop(headers);
    for name in [HOST, CONTENT_LENGTH, CONTENT_ENCODING, EXPECT] {
        headers.remove(name);
    }
    if !keep_credentials {
        headers.remove(AUTHORIZATION);
        headers.remove(API_KEY);
    }
    let own: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with(OWN))
        .cloned()
        .collect();
    for name in own {
        headers.remove(name);
    }
}

/// The client's own id where it is a usable one.
pub(crate) fn request_id(headers: &HeaderMap, number: u64, run: u64) -> HeaderValue {
    let usable = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        !bytes.is_empty() && bytes.len() <= MOST_ID_BYTES && bytes.iter().all(u8::is_ascii_graphic)
    };
    match headers.get(REQUEST_ID).filter(usable) {
        Some(id) => id.clone(),
        None => {
            let id = format!("rw-{:016x}", routerwise_types::hash::mix(run.wrapping_add(number)));
            HeaderValue::from_str(&id).expect("hexadecimal digits are visible ASCII")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn refused(pairs: &[(&'static str, &'static str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        String::from_utf8(Wishes::read(&map).unwrap_err().body().to_vec()).unwrap()
    }

    #[test]
    fn every_wish_is_read() {
        let map = headers(&[
            ("x-routerwise-ttft-target", "300ms"),
            ("x-routerwise-deadline", "2s"),
            ("x-routerwise-min-quality", "0.6"),
            ("x-routerwise-models", "a, b"),
            ("x-routerwise-session", "s1"),
            ("x-routerwise-priority", "high"),
            ("x-other", "1"),
        ]);
        let wishes = Wishes::read(&map).unwrap();
        assert_eq!(wishes.ttft_target, Some(Duration::from_millis(300)));
        assert_eq!(wishes.deadline, Some(Duration::from_secs(2)));
        assert_eq!(wishes.models, Some(vec!["a", "b"]));
        assert_eq!((wishes.session, wishes.priority), (Some("s1"), Some(8)));
    }

    #[test]
    fn a_wish_that_means_nothing_is_refused_and_named() {
        assert!(refused(&[("x-routerwise-ttft-target", "soon")]).contains("x-routerwise-ttft-target"));
        assert!(refused(&[("x-routerwise-ttft-target", "-1s")]).contains("above 0"));
        assert!(refused(&[("x-routerwise-ttft-target", "NaN")]).contains("above 0"));
        assert!(refused(&[("x-routerwise-min-quality", "2")]).contains("from 0 to 1"));
        assert!(refused(&[("x-routerwise-models", "a,,b")]).contains("list of 1 to 64"));
        assert!(refused(&[("x-routerwise-priority", "10")]).contains("from 0"));
        assert!(refused(&[("x-routerwise-session", " ")]).contains("is empty"));
        assert!(refused(&[("x-routerwise-deadline", "1s"), ("x-routerwise-deadline", "2s")]).contains("stands twice"));
        assert!(refused(&[("x-routerwise-replica", "http://evil")]).contains("is not known"));
    }

    #[test]
    fn nothing_that_is_between_neighbours_reaches_an_engine() {
        let mut map = headers(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("host", "evil"),
            ("content-length", "9"),
            ("authorization", "Bearer key"),
            ("x-api-key", "key"),
            ("x-routerwise-session", "s"),
            ("x-custom", "stays"),
        ]);
        to_engine(&mut map, false);
        assert_eq!(map, headers(&[("x-custom", "stays")]));
    }

    #[test]
    fn credentials_stay_where_the_gateway_has_no_keys() {
        let mut map = headers(&[("authorization", "Bearer engine-key")]);
        to_engine(&mut map, true);
        assert_eq!(map.len(), 1);
    }

    #[test]
    fn an_id_of_the_client_is_kept_unless_it_could_break_a_log() {
        let id = |value: &'static str| request_id(&headers(&[("x-request-id", value)]), 1, 2);
        assert_eq!(id("mine-1"), "mine-1");
        assert!(id("two words").to_str().unwrap().starts_with("rw-"));
        assert_ne!(request_id(&HeaderMap::new(), 1, 2), request_id(&HeaderMap::new(), 2, 2));
    }
}
