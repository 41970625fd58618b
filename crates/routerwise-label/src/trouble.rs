//! What may go wrong with one request, and whether asking again may help.

use std::fmt;
use std::time::Duration;

/// A kind of trouble; counted by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TroubleKind {
    /// Nobody listens, or the connection broke.
    Connection,
    /// No answer in time.
    Timeout,
    /// Too many requests: status 429.
    RateLimited,
    /// Status 5xx.
    ServerFailed,
    /// The key is wrong or missing: status 401 or 403.
    Unauthorised,
    /// No such model or path: status 404.
    NotFound,
    /// Any other status: most often the prompt is too long for the model.
    Refused,
    /// What came is no chat completion.
    Unreadable,
    /// The run was stopped before an answer came.
    Stopped,
}

impl TroubleKind {
    /// What follows from a status other than success.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::Unauthorised,
            404 => Self::NotFound,
            408 => Self::Timeout,
            429 => Self::RateLimited,
            500.. => Self::ServerFailed,
            _ => Self::Refused,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn passes(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::Timeout | Self::RateLimited | Self::ServerFailed | Self::Unreadable
        )
    }

    /// Whether every other request to this endpoint will fail in the same way.
    #[must_use]
    pub fn is_of_endpoint(self) -> bool {
        matches!(self, Self::Unauthorised | Self::NotFound)
    }
}

impl fmt::Display for TroubleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connection => "no connection",
            Self::Timeout => "no answer in time",
            Self::RateLimited => "too many requests (429)",
            Self::ServerFailed => "server error (5xx)",
            Self::Unauthorised => "key refused (401, 403)",
            Self::NotFound => "not found (404)",
            Self::Refused => "request refused (4xx)",
            Self::Unreadable => "no readable answer",
            Self::Stopped => "stopped before an answer came",
        })
    }
}

/// One request that went wrong.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// Of which kind.
    pub kind: TroubleKind,
    /// What the endpoint or the system said, shortened.
    pub said: String,
    /// How long the endpoint asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl Trouble {
    pub(crate) fn new(kind: TroubleKind, said: impl Into<String>) -> Self {
        Self {
            kind,
            said: said.into(),
            retry_after: None,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if !self.said.is_empty() {
            write!(f, ": {}", self.said)?;
        }
        Ok(())
    }
}

impl std::error::Error for Trouble {}
