//! What goes in and out of a search while it runs: a request to stop, and how far it is.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

/// Lets a caller stop a search and hear of it. The answer of a search that is not stopped does not depend on it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    stop: &'a AtomicBool,
    tell: &'a dyn Fn(&Progress),
}

/// How far a search is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// What it is doing.
    pub phase: Phase,
    /// Quality of the best plan found.
    pub quality: Option<f64>,
    /// What no plan can be better than.
    pub bound: f64,
    /// Part of the work allowed that is done, in [0, 1].
    pub done: f64,
}

/// Parts of a search, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Pricing the relaxation over all setups.
    Relaxation,
    /// From the relaxation to a first setup.
    Rounding,
    /// Better setups near the best one.
    Improving,
    /// Ruling out the others.
    Proof,
}

static NEVER: AtomicBool = AtomicBool::new(false);

impl<'a> Watch<'a> {
    /// `stop` ends the search early when it is set; `tell` is called now and then.
    #[must_use]
    pub fn new(stop: &'a AtomicBool, tell: &'a dyn Fn(&Progress)) -> Self {
        Self { stop, tell }
    }

    /// The same request to stop, without news.
    pub(crate) fn quiet(self) -> Self {
        Self {
            tell: &|_: &Progress| {},
            ..self
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn tell(&self, progress: &Progress) {
        (self.tell)(progress);
    }
}

impl Default for Watch<'_> {
    /// Nobody listens and nobody stops it.
    fn default() -> Self {
        Self {
            stop: &NEVER,
            tell: &|_: &Progress| {},
        }
    }
}

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("stop", &self.stop)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relaxation => "pricing all setups",
            Self::Rounding => "looking for a first setup",
            Self::Improving => "improving it",
            Self::Proof => "ruling out others",
        })
    }
}
