//! What a router is told about what became of requests and replicas.

use routerwise_types::Seconds;

use crate::decision::Ticket;

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event {
    /// The first token of an attempt came.
    FirstToken(Ticket),
    /// An attempt was answered to the end.
    Finished {
        /// Which.
        ticket: Ticket,
        /// When its first token came, measured from when it was sent; nothing where answers are not streamed.
        ttft: Option<Seconds>,
        /// Tokens of the answer; 0 where unknown.
        output_tokens: u32,
    },
    /// An attempt failed.
    Failed {
        /// Which.
        ticket: Ticket,
        /// How.
        failure: Failure,
    },
    /// Its client went away: nobody's fault.
    Cancelled(Ticket),
    /// It was cancelled because another copy of it was faster: nobody's fault, and its first token would have taken longer than until now.
    Overtaken(Ticket),
    /// A request that waits in the queue is not wanted any more.
    Abandoned {
        /// Its number.
        request: u64,
    },
    /// An active health check.
    Health {
        /// Which model's.
        model: usize,
        /// Which of its replicas.
        replica: usize,
        /// What it found.
        up: bool,
    },
    /// What an engine says about itself.
    Metrics {
        /// Which model's.
        model: usize,
        /// Which of its replicas.
        replica: usize,
        /// What it says.
        gauges: Gauges,
        /// What was in flight on it from here when it was asked ([`crate::RouterCore::outstanding`]): the rest is that of others.
        own: u32,
    },
    /// A replica more than the plan has, that was there before the router: it has its whole share from the start. Its index is the next one.
    ReplicaThere {
        /// Which model's.
        model: usize,
    },
    /// A replica more than there were, which is ramped; its index is the next one.
    ReplicaAdded {
        /// Which model's.
        model: usize,
    },
    /// A replica that gets no further requests; what is in flight may finish. Indices of the others stay.
    ReplicaRemoved {
        /// Which model's.
        model: usize,
        /// Which of its replicas.
        replica: usize,
    },
    /// A removed replica is there again, or another one in its place: nothing that was learned about it holds.
    ReplicaReturned {
        /// Which model's.
        model: usize,
        /// Which of its replicas.
        replica: usize,
    },
}

impl Event {
    /// The model that it is about.
    pub(crate) fn model(&self) -> Option<usize> {
        match self {
            Self::FirstToken(ticket)
            | Self::Finished { ticket, .. }
            | Self::Failed { ticket, .. }
            | Self::Cancelled(ticket)
            | Self::Overtaken(ticket) => Some(ticket.model),
            Self::Health { model, .. }
            | Self::Metrics { model, .. }
            | Self::ReplicaThere { model }
            | Self::ReplicaAdded { model }
            | Self::ReplicaRemoved { model, .. }
            | Self::ReplicaReturned { model, .. } => Some(*model),
            Self::Abandoned { .. } => None,
        }
    }
}

/// Gauges of an engine, as its metrics endpoint has them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauges {
    /// Requests in the batch.
    pub running: u32,
    /// Requests that wait for a place in it.
    pub waiting: u32,
    /// Part of the KV cache in use, 0 to 1.
    pub kv_used: f32,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused, reset or could not be made in time.
    Connect,
    /// No first byte in time.
    FirstByteTimeout,
    /// Tokens stopped coming.
    Stalled,
    /// The stream ended before its end.
    Truncated,
    /// What came cannot be understood.
    Malformed,
    /// The whole took too long although tokens kept coming.
    TotalTimeout,
    /// The engine answered with this HTTP status.
    Status(u16),
}

impl Failure {
    /// Whether it says something bad about the replica. A request that is wrong, and a long answer, do not.
    #[must_use]
    pub fn is_replicas_fault(self) -> bool {
        match self {
            Self::Connect | Self::FirstByteTimeout | Self::Stalled | Self::Truncated | Self::Malformed => true,
            Self::TotalTimeout => false,
            Self::Status(status) => status == 408 || status >= 500,
        }
    }

    /// Whether the replica says that it has too much to do.
    #[must_use]
    pub fn is_overload(self) -> bool {
        matches!(self, Self::Status(429 | 503 | 529))
    }

    /// Whether another attempt may help.
    #[must_use]
    pub fn may_be_retried(self) -> bool {
        self.is_replicas_fault() || self.is_overload()
    }
}
