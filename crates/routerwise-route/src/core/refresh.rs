//! From what was seen to a job that solves prices, and from its result to prices in force.

use routerwise_types::Timestamp;

use super::RouterCore;

/// New prices to be solved: everything that takes, so that it can be done without the router.
#[derive(Clone, Debug)]
pub struct RefreshJob {
    _private: (),
}

/// Prices that a [`RefreshJob`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Solved {
    _private: (),
}

impl RefreshJob {
    /// Solves; milliseconds at most.
    #[must_use]
    pub fn solve(self) -> Solved {
        Solved { _private: () }
    }
}

impl RouterCore {
    /// The next solve, if one is due; at most one is under way at a time. Its result goes to [`RouterCore::apply`].
    pub fn refresh(&mut self, _now: Timestamp) -> Option<RefreshJob> {
        None
    }

    /// Takes solved prices over, as far as their bounds allow.
    pub fn apply(&mut self, _now: Timestamp, _solved: Solved) {}
}
