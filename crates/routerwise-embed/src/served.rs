//! Vectors for requests under way: by a thread of their own, several at a time, remembered, and not waited for too long.

use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use lru::LruCache;
use routerwise_predict::embed::Embed;
use routerwise_predict::{NotScored, PromptFacts};
use sha2::{Digest as _, Sha256};

use crate::Embedder;

/// How vectors are served.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Longest wait for a vector.
    pub deadline: Duration,
    /// Vectors that are remembered; the one not used for longest goes first.
    pub cached: usize,
    /// Texts that may wait; beyond it a text has no vector.
    pub queue: usize,
    /// Texts that go through the model at once.
    pub batch: usize,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            deadline: Duration::from_millis(200),
            cached: 10_000,
            queue: 64,
            batch: 16,
        }
    }
}

type Key = [u8; 32];
type Reply = Result<Vec<f32>, String>;

type Cache = Mutex<LruCache<Key, Vec<f32>>>;

struct Job {
    key: Key,
    text: String,
    reply: SyncSender<Reply>,
}

/// An embedder behind a thread, a cache and a deadline.
pub struct Served {
    jobs: SyncSender<Job>,
    cache: Arc<Cache>,
    dimension: usize,
    deadline: Duration,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served")
            .field("dimension", &self.dimension)
            .finish_non_exhaustive()
    }
}

impl Served {
    /// Starts the thread, which ends when this is dropped.
    #[must_use]
    pub fn new(embedder: Box<dyn Embedder>, service: Service) -> Self {
        let (jobs, queue) = mpsc::sync_channel(service.queue);
        let dimension = embedder.dimension();
        let cached = NonZeroUsize::new(service.cached).unwrap_or(NonZeroUsize::MIN);
        let cache = Arc::new(Mutex::new(LruCache::new(cached)));
        let remembered = Arc::clone(&cache);
        thread::spawn(move || work(embedder.as_ref(), &queue, service.batch.max(1), &remembered));
        Self {
            jobs,
            cache,
            dimension,
            deadline: service.deadline,
        }
    }

    /// Numbers of a vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// A text's vector. Waits no longer than the deadline; a vector that comes later is remembered for the next call.
    ///
    /// # Errors
    /// When it is late, or the embedder failed.
    pub fn vector(&self, text: &str) -> Result<Vec<f32>, NotScored> {
        self.ask(text).wait(Instant::now() + self.deadline)
    }

    /// The vectors of several texts, which go through the model together as far as its batches go. All of them come within as many
    /// deadlines, or those that do not are late.
    pub fn vectors(&self, texts: &[String]) -> Vec<Result<Vec<f32>, NotScored>> {
        let n = u32::try_from(texts.len()).unwrap_or(u32::MAX);
        let until = Instant::now() + self.deadline.saturating_mul(n);
        let asked: Vec<Asked> = texts.iter().map(|text| self.ask(text)).collect();
        asked.into_iter().map(|asked| asked.wait(until)).collect()
    }

    fn ask(&self, text: &str) -> Asked {
        let key: Key = Sha256::digest(text.as_bytes()).into();
        if let Some(vector) = locked(&self.cache).get(&key) {
            return Asked::Known(Ok(vector.clone()));
        }
        let (reply, answer) = mpsc::sync_channel(1);
        let job = Job {
            key,
            text: text.to_owned(),
            reply,
        };
        match self.jobs.try_send(job) {
            Ok(()) => Asked::Pending(answer),
            Err(TrySendError::Full(_)) => Asked::Known(Err(NotScored::Late)),
            Err(TrySendError::Disconnected(_)) => Asked::Known(Err(stopped())),
        }
    }
}

/// A vector that is there, or will be.
enum Asked {
    Known(Result<Vec<f32>, NotScored>),
    Pending(Receiver<Reply>),
}

impl Asked {
    fn wait(self, until: Instant) -> Result<Vec<f32>, NotScored> {
        let answer = match self {
            Self::Known(known) => return known,
            Self::Pending(answer) => answer,
        };
        match answer.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(vector)) => Ok(vector),
            Ok(Err(what)) => Err(NotScored::Failed(what)),
            Err(RecvTimeoutError::Timeout) => Err(NotScored::Late),
            Err(RecvTimeoutError::Disconnected) => Err(stopped()),
        }
    }
}

fn stopped() -> NotScored {
    NotScored::Failed("the embedder has stopped".into())
}

impl Embed for Served {
    fn width(&self) -> usize {
        self.dimension
    }

    fn embed(&self, prompt: &PromptFacts<'_>, point: &mut [f32]) -> Result<(), NotScored> {
        point.copy_from_slice(&self.vector(&prompt.text())?);
        Ok(())
    }
}

fn locked(cache: &Cache) -> MutexGuard<'_, LruCache<Key, Vec<f32>>> {
    cache.lock().expect("nobody panics while holding it")
}

/// Takes what waits, up to a batch, until nobody is left to ask.
fn work(embedder: &dyn Embedder, queue: &Receiver<Job>, batch: usize, cache: &Cache) {
    while let Ok(first) = queue.recv() {
        let mut jobs = vec![first];
        jobs.extend(queue.try_iter().take(batch - 1));
        let texts: Vec<&str> = jobs.iter().map(|job| job.text.as_str()).collect();
        let vectors = embedder.embed(&texts);
        // Whoever has stopped waiting is not told.
        match vectors {
            Ok(vectors) => {
                for (job, vector) in jobs.iter().zip(vectors) {
                    locked(cache).put(job.key, vector.clone());
                    let _ = job.reply.try_send(Ok(vector));
                }
            }
            Err(error) => {
                for job in &jobs {
                    let _ = job.reply.try_send(Err(error.to_string()));
                }
            }
        }
    }
}
