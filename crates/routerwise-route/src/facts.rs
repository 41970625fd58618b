//! What a router is told about a request.

use routerwise_types::{Seconds, Timestamp};

/// A set of models, by index into the plan's models: at most 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelSet(u64);

impl ModelSet {
    /// Every model.
    pub const ALL: Self = Self(u64::MAX);
    /// None.
    pub const NONE: Self = Self(0);

    /// One model.
    #[must_use]
    pub fn only(model: usize) -> Self {
        Self::NONE.with(model)
    }

    /// The set with one more model.
    #[must_use]
    pub fn with(self, model: usize) -> Self {
        Self(self.0 | Self::bit(model))
    }

    /// The set without a model.
    #[must_use]
    pub fn without(self, model: usize) -> Self {
        Self(self.0 & !Self::bit(model))
    }

    /// What both sets have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether the model is in it.
    #[must_use]
    pub fn has(self, model: usize) -> bool {
        self.0 & Self::bit(model) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// A bit per model.
    #[must_use]
    pub fn bits(self) -> u64 {
        self.0
    }

    fn bit(model: usize) -> u64 {
        if model < 64 { 1 << model } else { 0 }
    }
}

impl FromIterator<usize> for ModelSet {
    fn from_iter<T: IntoIterator<Item = usize>>(models: T) -> Self {
        models.into_iter().fold(Self::NONE, Self::with)
    }
}

/// A replica that was tried before, without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Its model.
    pub model: usize,
    /// Which of the model's replicas.
    pub replica: usize,
}

/// How urgent a request is: of requests that wait, a higher priority goes first, and requests of priority 0 are the first to be turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(pub u8);

impl Priority {
    /// What a request has that does not say.
    pub const USUAL: Self = Self(4);
}

/// A request that needs a model and a replica.
///
/// [`RequestFacts::new`] fills in what is rarely said.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestFacts<'a> {
    /// Predicted score of every model for its prompt, in the plan's order. Not used where one model alone is allowed.
    pub scores: &'a [f32],
    /// Its number: another one for every request, the same for all attempts of one request.
    pub request: u64,
    /// Hash of its prompt: the same for the same prompt ([`crate::policy::prompt_hash`]).
    pub prompt_hash: u64,
    /// Tokens of the prompt, as far as known.
    pub prompt_tokens: u32,
    /// When it came in.
    pub arrived: Timestamp,
    /// Index into [`crate::settings::Settings::routes`].
    pub route: usize,
    /// Models that may answer it; the route's own limits apply too.
    pub allowed: ModelSet,
    /// Models that score less than this may not answer it, unless none scores as much.
    pub least_score: Option<f32>,
    /// TTFT that it asks for: models that are predicted to miss it are taken only when all miss it.
    pub ttft_target: Option<Seconds>,
    /// When its client stops caring: the longest that it waits for a place.
    pub deadline: Option<Timestamp>,
    /// Hash of its session's key: sessions stay where their prompt is cached while that pays.
    pub session: Option<u64>,
    /// Hash of the beginning of its prompt, for balancing by prefix.
    pub prefix: Option<u64>,
    /// Its priority.
    pub priority: Priority,
    /// What was tried for it so far, in order; empty at first.
    pub tried: &'a [Tried],
    /// Whether it comes out of the queue that an earlier [`crate::decision::Decision::Wait`] put it into.
    pub waited: bool,
}

impl<'a> RequestFacts<'a> {
    /// A request that any model may answer and that asks for nothing special.
    #[must_use]
    pub fn new(scores: &'a [f32], request: u64, prompt_hash: u64, arrived: Timestamp) -> Self {
        Self {
            scores,
            request,
            prompt_hash,
            prompt_tokens: 0,
            arrived,
            route: 0,
            allowed: ModelSet::ALL,
            least_score: None,
            ttft_target: None,
            deadline: None,
            session: None,
            prefix: None,
            priority: Priority::USUAL,
            tried: &[],
            waited: false,
        }
    }

    /// Whether it is put to the router for the first time.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.tried.is_empty() && !self.waited
    }
}
