//! What a router answers, and why.

use routerwise_types::{Seconds, Timestamp};

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Send it. The router counts it as in flight until an event says how the ticket ended.
    Send(Send),
    /// It is in the router's queue: [`crate::RouterCore::next_ready`] names it when its turn has come or its time is over.
    Wait {
        /// When its time is over.
        until: Timestamp,
    },
    /// Turn it away.
    Shed {
        /// Why.
        why: Refusal,
        /// When it may be worth another try.
        retry_after: Seconds,
    },
}

impl Decision {
    /// Where the request goes, if it does.
    #[must_use]
    pub fn sent(&self) -> Option<&Send> {
        match self {
            Self::Send(send) => Some(send),
            Self::Wait { .. } | Self::Shed { .. } => None,
        }
    }
}

/// One attempt of one request on one replica: what the events about it name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ticket {
    /// The request's number.
    pub request: u64,
    /// Index into [`crate::settings::Settings::routes`].
    pub route: usize,
    /// Its model.
    pub model: usize,
    /// Which of the model's replicas.
    pub replica: usize,
    /// When it was sent.
    pub at: Timestamp,
    /// Tokens of the prompt, as far as known.
    pub prompt_tokens: u32,
    /// Hash of its session's key.
    pub session: Option<u64>,
    /// What was in flight on the replica before it, requests of others included as far as they are known.
    pub ahead: u32,
    /// Whether it is the one request that finds out whether a broken replica works again.
    pub probe: bool,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Send {
    /// Names the attempt in events.
    pub ticket: Ticket,
    /// Why this model.
    pub reason: Reason,
    /// Its predicted score.
    pub score: f64,
    /// What its model costs now, in units of score.
    pub price: f64,
    /// By how much its score less its price (and what a switch would cost) exceeds the runner-up's; nothing without a runner-up.
    pub margin: Option<f64>,
    /// The model that comes next.
    pub runner_up: Option<usize>,
    /// Predicted time to the first token; nothing where the model has no curve.
    pub ttft: Option<Seconds>,
    /// Whether an objective is out of reach, so that this is the least bad that can be done.
    pub degraded: bool,
    /// Where to send a second copy after this time without a first token, if hedging is on and worth it.
    pub hedge: Option<Hedge>,
}

/// A second copy of a request, sent when the first one takes too long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hedge {
    /// How long to wait for the first token before asking [`crate::RouterCore::route`] again, with the first replica among those tried.
    pub after: Seconds,
    /// What makes it worth while.
    pub why: HedgeWhy,
}

/// Why a second copy of a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HedgeWhy {
    /// The first one is predicted to miss its target.
    Predicted,
    /// The first one takes longer than nearly all of its model's last answers.
    Late,
}

impl HedgeWhy {
    /// As metrics and logs write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Predicted => "predicted",
            Self::Late => "late",
        }
    }
}

/// Why a model was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Highest score less price.
    Price,
    /// Several were within the tie tolerance; the prompt's hash decided.
    Tie,
    /// No other model was allowed and running.
    OnlyModel,
    /// Its session's prompt is cached there, and losing that costs more than the other model gains.
    Session,
    /// Others would miss the TTFT that the request asks for.
    Target,
    /// The replica tried before failed; another one of the same model.
    RetryReplica,
    /// The replicas tried before failed; the next best model.
    RetryModel,
    /// No model scores as much as the request asks for; the best of those that run.
    BelowLeastScore,
}

impl Reason {
    /// As headers and logs write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Tie => "tie",
            Self::OnlyModel => "only-model",
            Self::Session => "session",
            Self::Target => "ttft-target",
            Self::RetryReplica => "retry-replica",
            Self::RetryModel => "retry-model",
            Self::BelowLeastScore => "below-least-score",
        }
    }
}

/// Why a request is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// None of the models that may answer it is part of the plan's setup: 404 or 400.
    NoModel,
    /// Every replica of every model that may answer it is down, broken or was tried: 503.
    NoReplica,
    /// The objective is out of reach and the route sheds: 429.
    Overload,
    /// The queue is full: 429.
    QueueFull,
    /// It waited as long as requests may: 503.
    Expired,
    /// Its own deadline came while it waited: 504.
    Deadline,
    /// Too many attempts, or the budget for retries is used up: 502 or 503.
    NoRetry,
}

impl Refusal {
    /// As metrics and logs write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoModel => "no-model",
            Self::NoReplica => "no-replica",
            Self::Overload => "overload",
            Self::QueueFull => "queue-full",
            Self::Expired => "expired",
            Self::Deadline => "deadline",
            Self::NoRetry => "no-retry",
        }
    }
}

/// A decision with everything that went into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// What it is.
    pub decision: Decision,
    /// Every model of the plan, in its order.
    pub models: Vec<Considered>,
    /// Index into the plan's policies of the one in force.
    pub policy: usize,
    /// Whether the prices are re-solved; otherwise they are the plan's.
    pub live: bool,
    /// Models within this of the best count as tied.
    pub tie_tolerance: f64,
    /// What would have changed the model.
    pub changes: Vec<Change>,
}

/// One model in a receipt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Considered {
    /// Predicted score.
    pub score: f64,
    /// What it costs now, in units of score; infinite with no replica left.
    pub price: f64,
    /// What switching to it would cost the session, in units of score; 0 where nothing is cached elsewhere.
    pub switch: f64,
    /// Score less price less switch.
    pub worth: f64,
    /// Predicted time to the first token on the replica it would get.
    pub ttft: Option<Seconds>,
    /// Replicas that may be used now, and all of them.
    pub n_ready: usize,
    /// Replicas in all.
    pub n_replicas: usize,
    /// Requests in flight on all its replicas.
    pub outstanding: u32,
    /// Whether it was chosen, and if not, why not.
    pub verdict: Verdict,
}

/// Why a model was, or was not, chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// It was.
    Chosen,
    /// Its worth is this much less than the chosen one's.
    WorthLess(f64),
    /// As good as the chosen one within the tie tolerance; the prompt's hash decided.
    Tied,
    /// Off in the plan.
    Off,
    /// The request or its route does not allow it.
    Forbidden,
    /// Scores less than the request asks for.
    BelowLeastScore,
    /// Predicted to miss the TTFT that the request asks for.
    MissesTarget,
    /// Every replica is down, broken or removed.
    NoReplica,
    /// Every replica was tried for this request.
    Tried,
    /// The request was not sent.
    NotSent,
}

/// Something that would have sent the request to another model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// A score of this model higher by more than this.
    ScoreHigher {
        /// The model that would have won.
        model: usize,
        /// By how much.
        by: f64,
    },
    /// A price of the chosen model higher by more than this: the runner-up would have won.
    PriceHigher {
        /// The model that would have won.
        model: usize,
        /// By how much.
        by: f64,
    },
}
