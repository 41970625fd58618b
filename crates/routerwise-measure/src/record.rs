//! What came of each request.

use routerwise_types::report::RequestRecord;
use routerwise_types::workload::Lengths;
use routerwise_types::{Seconds, Timestamp};

/// One request and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When it was to be sent. Latency counts from here.
    pub intended: Timestamp,
    /// When it was sent.
    pub sent: Timestamp,
    /// Tokens that were asked for.
    pub asked: Lengths,
    /// What came.
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A whole answer.
    Answered(Answer),
    /// None, or not all of one.
    Failed(Failed),
    /// The run was stopped before it was sent or answered.
    Unfinished,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// When the first piece with text came.
    pub first_token: Timestamp,
    /// When the last came.
    pub finished: Timestamp,
    /// Tokens: as the server counted them, else those asked for and one for each piece.
    pub lengths: Lengths,
    /// Whether the server counted them.
    pub counted: bool,
    /// Pieces that held text.
    pub n_pieces: u32,
    /// Who answered: an index into [`Played::answerers`](crate::play::Played::answerers).
    pub answerer: u16,
}

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// When it had failed.
    pub at: Timestamp,
    /// How.
    pub kind: FailureKind,
    /// In words, where there are any worth keeping.
    pub detail: Option<Box<str>>,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// No connection.
    Connect,
    /// No whole answer in time.
    Timeout,
    /// Another status than 200.
    Status(u16),
    /// What came is no stream of OpenAI's chunks.
    Malformed,
    /// The server said in mid-stream that it failed.
    InStream,
    /// The stream ended before the answer did.
    Cut,
    /// A complete answer without a single token.
    Empty,
    /// Not sent: as many were in flight as may be.
    NotSent,
    /// Not sent: this machine had no means for another connection.
    OutOfSockets,
}

impl FailureKind {
    /// Whether it is the load generator that failed, not the server.
    #[must_use]
    pub fn is_ours(self) -> bool {
        matches!(self, Self::NotSent | Self::OutOfSockets)
    }
}

/// As reports name it.
impl std::fmt::Display for FailureKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Status(status) => return write!(f, "status {status}"),
            Self::Malformed => "malformed stream",
            Self::InStream => "error in mid-stream",
            Self::Cut => "cut stream",
            Self::Empty => "empty answer",
            Self::NotSent => "not sent: too many in flight",
            Self::OutOfSockets => "not sent: out of sockets",
        })
    }
}

impl Record {
    /// How much later than intended it was sent.
    #[must_use]
    pub fn lag(&self) -> Seconds {
        self.sent.since(self.intended)
    }

    /// When it was over, unless the run was stopped first.
    #[must_use]
    pub fn ended(&self) -> Option<Timestamp> {
        match &self.outcome {
            Outcome::Answered(answer) => Some(answer.finished),
            Outcome::Failed(failed) => Some(failed.at),
            Outcome::Unfinished => None,
        }
    }

    /// Its latencies, where it was answered.
    #[must_use]
    pub fn request(&self) -> Option<RequestRecord> {
        let Outcome::Answered(answer) = &self.outcome else {
            return None;
        };
        Some(RequestRecord {
            arrived: self.intended,
            first_token: answer.first_token,
            finished: answer.finished,
            lengths: answer.lengths,
        })
    }
}
