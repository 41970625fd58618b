//! Where sessions have their prompt cached: bounded, the least lately used half forgotten first.

use std::collections::HashMap;

use routerwise_types::Timestamp;

/// Where a session's prompt is cached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cached {
    pub(crate) model: usize,
    pub(crate) replica: usize,
    pub(crate) tokens: u32,
    pub(crate) at: Timestamp,
}

/// Sessions of two generations: when the newer one is full, the older one is forgotten.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    most: usize,
    newer: HashMap<u64, Cached>,
    older: HashMap<u64, Cached>,
}

impl Sessions {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: (most / 2).max(1),
            ..Self::default()
        }
    }

    pub(crate) fn find(&self, session: u64) -> Option<Cached> {
        self.newer.get(&session).or_else(|| self.older.get(&session)).copied()
    }

    /// Nothing is cached on a replica any more.
    pub(crate) fn forget(&mut self, model: usize, replica: usize) {
        let stays = |_: &u64, cached: &mut Cached| (cached.model, cached.replica) != (model, replica);
        self.newer.retain(stays);
        self.older.retain(stays);
    }

    /// Remembers what others did, as far as it still means something.
    pub(crate) fn take_over(&mut self, others: &Self, here: impl Fn(&Cached) -> Option<Cached>) {
        let moved = |sessions: &HashMap<u64, Cached>| {
            let kept = sessions.iter().take(self.most);
            kept.filter_map(|(session, cached)| Some((*session, here(cached)?)))
                .collect()
        };
        (self.newer, self.older) = (moved(&others.newer), moved(&others.older));
    }

    pub(crate) fn remember(&mut self, session: u64, cached: Cached) {
        if self.newer.len() >= self.most && !self.newer.contains_key(&session) {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(session, cached);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_that_was_gone_has_nothing_cached() {
        let mut sessions = Sessions::new(10);
        for session in 0..10 {
            let cached = Cached {
                model: 0,
                replica: usize::from(session % 2 == 0),
                tokens: 1,
                at: Timestamp::START,
            };
            sessions.remember(session, cached);
        }
        sessions.forget(0, 1);
        assert!((0..10).all(|session| sessions.find(session).is_none() == (session % 2 == 0)));
    }

    #[test]
    fn the_last_ones_are_remembered_and_there_is_a_bound() {
        let mut sessions = Sessions::new(10);
        for session in 0..1_000 {
            let cached = Cached {
                model: 0,
                replica: 0,
                tokens: 1,
                at: Timestamp::START,
            };
            sessions.remember(session, cached);
            assert!(sessions.newer.len() + sessions.older.len() <= 10);
        }
        assert!((995..1_000).all(|session| sessions.find(session).is_some()));
        assert!(sessions.find(900).is_none());
    }
}
