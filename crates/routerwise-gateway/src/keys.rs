//! API keys: who may ask which models, how often and how much.
//!
//! Keys are stored as SHA-256 of 256 random bits: nothing slower is needed, because nothing can be guessed. All stored hashes are compared,
//! in constant time each, so that the time of an answer says nothing about any of them.

mod bucket;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use routerwise_types::serve::Key;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::error::{Cause, Refusal};
use crate::headers::API_KEY;
use bucket::Bucket;

/// What a key begins with, so that scanners for leaked secrets find it.
const PREFIX: &str = "rwk_";

/// A new key and what is stored of it.
///
/// # Errors
/// When the system has no randomness to give.
pub fn new_key() -> Result<(String, [u8; 32]), getrandom::Error> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    let digits: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let key = format!("{PREFIX}{digits}");
    let hash = Sha256::digest(key.as_bytes()).into();
    Ok((key, hash))
}

/// All keys in force.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    holders: Vec<Arc<Holder>>,
}

/// A key and how much of its minute is used up.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) key: Key,
    requests: Option<Mutex<Bucket>>,
    tokens: Option<Mutex<Bucket>>,
}

impl Keys {
    /// The keys of a file. Those that were there before keep what they have used.
    pub(crate) fn new(keys: Vec<Key>, before: &Self, now: Instant) -> Self {
        let known: BTreeMap<[u8; 32], &Arc<Holder>> = before
            .holders
            .iter()
            .map(|holder| (holder.key.sha256, holder))
            .collect();
        let holders = keys.into_iter().map(|key| {
            let old = known.get(&key.sha256);
            let kept = |limit: Option<u32>, old: Option<&Mutex<Bucket>>| {
                limit.map(|limit| {
                    let level = old.map(|old| lock(old).clone());
                    Mutex::new(Bucket::per_minute(limit, level.as_ref(), now))
                })
            };
            Arc::new(Holder {
                requests: kept(key.requests_per_minute, old.and_then(|old| old.requests.as_ref())),
                tokens: kept(key.tokens_per_minute, old.and_then(|old| old.tokens.as_ref())),
                key,
            })
        });
        Self {
            holders: holders.collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.holders.is_empty()
    }

    pub(crate) fn have_admin(&self) -> bool {
        self.holders.iter().any(|holder| holder.key.admin)
    }

    /// Who a request is from, at this time of the calendar; nobody where no keys are in force.
    pub(crate) fn authenticate(&self, headers: &HeaderMap, now: SystemTime) -> Result<Option<Arc<Holder>>, Refusal> {
        if self.is_empty() {
            return Ok(None);
        }
        let refuse = |what: &'static str| Refusal::new(Cause::Unauthorized, what);
        let shown = shown(headers)?
            .ok_or_else(|| refuse("no API key: send it as `authorization: Bearer …` or as `x-api-key`"))?;
        let hash: [u8; 32] = Sha256::digest(shown).into();
        let holder = self.find(&hash).ok_or_else(|| refuse("this API key is not known"))?;
        if holder.key.expires.is_some_and(|end| end <= unix_seconds(now)) {
            return Err(refuse("this API key has expired"));
        }
        Ok(Some(holder))
    }

    /// Looks at every key, whichever fits.
    fn find(&self, hash: &[u8; 32]) -> Option<Arc<Holder>> {
        let mut found = u32::MAX;
        for (nth, holder) in (0u32..).zip(&self.holders) {
            let fits: Choice = holder.key.sha256.ct_eq(hash);
            found.conditional_assign(&nth, fits);
        }
        self.holders.get(found as usize).map(Arc::clone)
    }
}

/// The key that a request shows. Two different ones are refused: who is asked then?
fn shown(headers: &HeaderMap) -> Result<Option<&[u8]>, Refusal> {
    let bearer = headers.get_all(AUTHORIZATION).iter().map(|value| bearer(value));
    let plain = headers.get_all(API_KEY).iter().map(|value| Some(value.as_bytes()));
    let mut shown = bearer.chain(plain);
    let Some(first) = shown.next() else { return Ok(None) };
    if shown.any(|other| other != first) {
        return Err(Refusal::new(Cause::Unauthorized, "the request shows several API keys"));
    }
    Ok(first)
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, key) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
}

impl Holder {
    pub(crate) fn may_ask(&self, name: &str) -> bool {
        self.key.models.is_empty() || self.key.models.iter().any(|model| model == name)
    }

    /// Counts a request.
    pub(crate) fn take_request(&self, now: Instant) -> Result<(), Refusal> {
        let Some(bucket) = &self.requests else { return Ok(()) };
        lock(bucket).take(1.0, now).map_err(|wait| {
            let limit = self.key.requests_per_minute.unwrap_or(0);
            let message = format!(
                "the API key `{}` has used its {limit} requests per minute",
                self.key.name
            );
            Refusal::new(Cause::RateLimited, message).after(wait)
        })
    }

    /// Sets tokens aside before any is made: what the request may use at most, as far as known.
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
    pub(crate) fn reserve(self: &Arc<Self>, tokens: u64, now: Instant) -> Result<Reservation, Refusal> {
        let none = Reservation {
            holder: None,
            tokens: 0.0,
        };
        let (Some(bucket), Some(limit)) = (&self.tokens, self.key.tokens_per_minute) else {
            return Ok(none);
        };
        if tokens > u64::from(limit) {
            let message = format!(
                "the request may take {tokens} tokens, more than the {limit} per minute of the API key `{}`: lower `max_tokens`",
                self.key.name
            );
            return Err(Refusal::new(Cause::RateLimited, message).never());
        }
        match lock(bucket).take(tokens as f64, now) {
            Ok(()) => Ok(Reservation {
                holder: Some(Arc::clone(self)),
                tokens: tokens as f64,
            }),
            Err(wait) => {
                let message = format!("the API key `{}` has used its {limit} tokens per minute", self.key.name);
                Err(Refusal::new(Cause::RateLimited, message).after(wait))
            }
        }
    }
}

/// Tokens that were set aside. Dropped without being settled they count as used: an answer of unknown length was one of the longest.
#[derive(Debug)]
pub(crate) struct Reservation {
    holder: Option<Arc<Holder>>,
    tokens: f64,
}

impl Reservation {
    pub(crate) fn none() -> Self {
        Self {
            holder: None,
            tokens: 0.0,
        }
    }

    /// Gives back what was not used, or takes what was used on top.
    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
    pub(crate) fn settle(&mut self, used: u64) {
        if let Some(bucket) = self.holder.take().as_ref().and_then(|holder| holder.tokens.as_ref()) {
            lock(bucket).give(self.tokens - used as f64);
        }
    }
}

/// A bucket is right after every operation on it, so one that a panic left behind is still good.
fn lock(bucket: &Mutex<Bucket>) -> std::sync::MutexGuard<'_, Bucket> {
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_seconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key {
            name: text.to_owned(),
            sha256: Sha256::digest(text.as_bytes()).into(),
            models: Vec::new(),
            requests_per_minute: None,
            tokens_per_minute: None,
            expires: None,
            admin: false,
        }
    }

    fn keys(keys: Vec<Key>) -> Keys {
        Keys::new(keys, &Keys::default(), Instant::now())
    }

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.append(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    #[test]
    fn a_key_is_found_by_either_header_and_by_nothing_else() {
        let keys = keys(vec![key("one"), key("two")]);
        let name = |headers: &HeaderMap| {
            keys.authenticate(headers, SystemTime::now())
                .map(|holder| holder.unwrap().key.name.clone())
        };
        assert_eq!(name(&with("authorization", "Bearer two")).unwrap(), "two");
        assert_eq!(name(&with("authorization", "bearer one")).unwrap(), "one");
        assert_eq!(name(&with("x-api-key", "one")).unwrap(), "one");
        for wrong in ["Bearer three", "Basic two", "Bearer", "two", "Bearer two\u{a0}"] {
            let headers = with("authorization", wrong);
            assert_eq!(name(&headers).unwrap_err().cause, Cause::Unauthorized, "{wrong}");
        }
        assert!(name(&HeaderMap::new()).is_err());
        let mut both = with("authorization", "Bearer two");
        both.append("x-api-key", HeaderValue::from_static("one"));
        assert!(name(&both).is_err());
    }

    #[test]
    fn without_keys_everybody_may_ask() {
        assert!(
            keys(vec![])
                .authenticate(&HeaderMap::new(), SystemTime::now())
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn an_expired_key_opens_nothing() {
        let mut old = key("old");
        old.expires = Some(1);
        let refusal = keys(vec![old])
            .authenticate(&with("x-api-key", "old"), SystemTime::now())
            .unwrap_err();
        assert!(String::from_utf8(refusal.body().to_vec()).unwrap().contains("expired"));
    }

    #[test]
    fn new_keys_differ_and_fit_their_hash() {
        let (a, hash) = new_key().unwrap();
        let (b, _) = new_key().unwrap();
        assert_ne!(a, b);
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(a.as_bytes())));
        assert_eq!(a.len(), PREFIX.len() + 64);
    }

    #[test]
    fn tokens_are_set_aside_before_and_settled_after() {
        let mut limited = key("k");
        limited.tokens_per_minute = Some(100);
        let keys = keys(vec![limited]);
        let holder = Arc::clone(&keys.holders[0]);
        let now = Instant::now();
        let mut first = holder.reserve(80, now).unwrap();
        let refusal = holder.reserve(80, now).unwrap_err();
        assert_eq!(refusal.cause, Cause::RateLimited);
        first.settle(10);
        assert!(holder.reserve(80, now).is_ok());
        let too_many = holder.reserve(101, now).unwrap_err().into_response();
        assert_eq!(too_many.headers()["x-should-retry"], "false");
    }

    #[test]
    fn a_reload_keeps_what_was_used() {
        let mut limited = key("k");
        limited.requests_per_minute = Some(1);
        let before = keys(vec![limited.clone()]);
        let now = Instant::now();
        before.holders[0].take_request(now).unwrap();
        let after = Keys::new(vec![limited], &before, now);
        assert!(after.holders[0].take_request(now).is_err());
    }
}
