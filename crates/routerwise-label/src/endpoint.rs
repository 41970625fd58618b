//! An endpoint that is not overrun: its rate, its slots, its pauses, and another try where that may help.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use reqwest::Client;
use routerwise_types::labels::Endpoint;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::chat::{self, Answer};
use crate::trouble::{Trouble, TroubleKind};

/// Requests in a row that fail, retries included, before an endpoint counts as dead.
const FAILURES_MAX: u32 = 10;
/// A longer pause than this is not waited for: the same command goes on later.
const PAUSE_MAX: Duration = Duration::from_mins(10);

/// How often and how patiently a failed request is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Tries after the first.
    pub retries: usize,
    /// Wait before the second try, about; it doubles from try to try.
    pub first_wait: Duration,
    /// Longest wait, unless the endpoint asks for more.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            retries: 5,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(30),
        }
    }
}

/// An endpoint in use.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) endpoint: Endpoint,
    client: Client,
    key: Option<String>,
    patience: Patience,
    limiter: Option<DefaultDirectRateLimiter>,
    slots: Semaphore,
    /// Nobody asks before; set by `Retry-After`.
    pause_until: Mutex<Option<Instant>>,
    failures: AtomicU32,
    dead: AtomicBool,
    retried: AtomicU32,
    stop: watch::Receiver<bool>,
}

impl Caller {
    pub(crate) fn new(
        endpoint: Endpoint,
        client: Client,
        key: Option<String>,
        patience: Patience,
        stop: watch::Receiver<bool>,
    ) -> Self {
        let limiter = endpoint.requests_per_second.map(|rate| {
            let quota = Quota::with_period(Duration::from_secs_f64(1.0 / rate)).expect("a rate above 0 has a period");
            // One at a time: a burst at the start would be no rate.
            RateLimiter::direct(quota.allow_burst(NonZeroU32::MIN))
        });
        Self {
            slots: Semaphore::new(endpoint.concurrency as usize),
            endpoint,
            client,
            key,
            patience,
            limiter,
            pause_until: Mutex::new(None),
            failures: AtomicU32::new(0),
            dead: AtomicBool::new(false),
            retried: AtomicU32::new(0),
            stop,
        }
    }

    /// Whether nothing more is to be asked of it.
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Tries beyond the first so far.
    pub(crate) fn n_retried(&self) -> u32 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Asks, and again where that may help.
    pub(crate) async fn ask(&self, messages: Value) -> Result<Answer, Trouble> {
        let body = chat::body(&self.endpoint, messages);
        let _slot = self.slots.acquire().await.expect("never closed");
        let waits = ExponentialBuilder::default()
            .with_min_delay(self.patience.first_wait)
            .with_max_delay(self.patience.longest_wait)
            .with_max_times(self.patience.retries)
            .with_jitter();
        let result = (|| self.once(&body))
            .retry(waits)
            .when(|trouble: &Trouble| trouble.kind.passes() && self.may_go_on(trouble))
            .adjust(|trouble, wait| wait.map(|wait| wait.max(trouble.retry_after.unwrap_or_default())))
            .notify(|_, _| {
                self.retried.fetch_add(1, Ordering::Relaxed);
            })
            .await;
        match &result {
            Ok(_) => self.failures.store(0, Ordering::Relaxed),
            Err(trouble) => self.note(trouble.kind),
        }
        result
    }

    fn may_go_on(&self, trouble: &Trouble) -> bool {
        !self.is_stopped() && !self.is_dead() && trouble.retry_after.is_none_or(|pause| pause <= PAUSE_MAX)
    }

    /// A prompt that is refused says nothing about the endpoint; all else does when it goes on.
    fn note(&self, kind: TroubleKind) {
        let gone_on = || self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES_MAX;
        if kind.is_of_endpoint() || (kind.passes() && gone_on()) {
            self.dead.store(true, Ordering::Relaxed);
        }
    }

    async fn once(&self, body: &Value) -> Result<Answer, Trouble> {
        let mut stop = self.stop.clone();
        // Waiting ends when the run is stopped; a request that is under way is not given up.
        tokio::select! {
            () = self.turn() => {}
            _ = stop.wait_for(|stop| *stop) => return Err(Trouble::new(TroubleKind::Stopped, "")),
        }
        let result = chat::ask(&self.client, &self.endpoint, self.key.as_deref(), body).await;
        if let Err(Trouble {
            retry_after: Some(pause),
            ..
        }) = &result
        {
            self.pause(*pause);
        }
        result
    }

    /// Waits until one more request may be sent.
    async fn turn(&self) {
        loop {
            let until = *self.pause_until.lock().expect(NO_PANIC);
            match until {
                Some(until) if until > Instant::now() => tokio::time::sleep_until(until).await,
                _ => break,
            }
        }
        if let Some(limiter) = &self.limiter {
            limiter.until_ready().await;
        }
    }

    /// Holds all requests back, not only the one that was told to wait.
    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause.min(PAUSE_MAX);
        let mut pause_until = self.pause_until.lock().expect(NO_PANIC);
        *pause_until = pause_until.map_or(Some(until), |already| Some(already.max(until)));
    }

    /// Whether the endpoint answers at all: one request of one token.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let mut body = chat::body(&self.endpoint, json!([{"role": "user", "content": "Hi"}]));
        if body.get("max_tokens").is_some() {
            body["max_tokens"] = 1.into();
        }
        let Err(mut trouble) = chat::ask(&self.client, &self.endpoint, self.key.as_deref(), &body).await else {
            return Ok(());
        };
        match trouble.kind {
            // It is there, and busy or picky about so short an answer.
            TroubleKind::RateLimited | TroubleKind::Refused => return Ok(()),
            TroubleKind::NotFound => {
                let names = chat::models(&self.client, &self.endpoint, self.key.as_deref()).await;
                if let Some(names) = names.filter(|names| !names.is_empty()) {
                    let shown: Vec<String> = names.iter().take(10).map(|name| format!("`{name}`")).collect();
                    trouble.said = format!("{}; it serves {}", trouble.said, shown.join(", "));
                }
            }
            _ => {}
        }
        Err(trouble.to_string())
    }
}

const NO_PANIC: &str = "nobody panics while holding it";
