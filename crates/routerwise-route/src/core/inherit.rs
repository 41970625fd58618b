//! What a router takes over from the one that it replaces: plans and settings change, engines and their clients do not.

use routerwise_types::Timestamp;

use super::{ModelState, RouterCore};
use crate::replica::Replica;
use crate::sessions::Cached;

/// What is the same in a router and in the one that it replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Same {
    /// Of each model, its index there.
    pub models: Vec<Option<usize>>,
    /// Of each replica of each model, its number there.
    pub replicas: Vec<Vec<Option<usize>>>,
    /// Of each route, its index there.
    pub routes: Vec<Option<usize>>,
    /// Whether both go by the same plan.
    pub plan: bool,
}

impl RouterCore {
    /// Takes over what another router has learned about what is the same: breakers, health and speed of replicas, where sessions are cached, how much
    /// comes in, and its prices where the plan is the same. What is in flight there stays there.
    ///
    /// New replicas beside known ones are ramped. A model without any known replica has nobody who could spare it that.
    pub fn inherit(&mut self, now: Timestamp, before: &Self, same: &Same) {
        for (ix, model) in self.models.iter_mut().enumerate() {
            let there = same.models.get(ix).copied().flatten();
            if let Some(old) = there.and_then(|there| before.models.get(there)) {
                let numbers = same.replicas.get(ix).map_or(&[][..], Vec::as_slice);
                model.inherit(now, old, numbers);
            }
        }
        self.inherit_sessions(before, same);
        self.inherit_routes(before, same);
        self.retry_tokens = before.retry_tokens.min(self.settings.retries.burst);
        if same.plan {
            self.refresh = before.refresh.resumed();
        }
        let serving = |router: &Self| -> Vec<usize> {
            let of = |model: &ModelState| model.replicas.iter().filter(|replica| replica.is_serving()).count();
            router.models.iter().map(of).collect()
        };
        // Prices need not move at once where nothing has.
        if serving(self) != serving(before) {
            self.refresh.capacity_changed(now);
        }
    }

    fn inherit_sessions(&mut self, before: &Self, same: &Same) {
        // Turned round: from numbers there to numbers here.
        let here = |cached: &Cached| {
            let model = same.models.iter().position(|there| *there == Some(cached.model))?;
            let numbers = same.replicas.get(model)?;
            let replica = numbers.iter().position(|there| *there == Some(cached.replica))?;
            Some(Cached {
                model,
                replica,
                ..*cached
            })
        };
        self.sessions.take_over(&before.sessions, here);
    }

    fn inherit_routes(&mut self, before: &Self, same: &Same) {
        let all_the_same = self.models.len() == before.models.len()
            && same.models.iter().enumerate().all(|(ix, there)| *there == Some(ix));
        for (ix, route) in self.routes.iter_mut().enumerate() {
            let there = same.routes.get(ix).copied().flatten();
            let Some(old) = there.and_then(|there| before.routes.get(there)) else {
                continue;
            };
            route.rate = old.rate.clone();
            if all_the_same && route.sample.fits(&old.sample) {
                route.sample = old.sample.clone();
            }
            if same.plan && all_the_same && self.curves == before.curves {
                route.level = old.level;
                route.live.clone_from(&old.live);
            }
        }
    }
}

impl ModelState {
    fn inherit(&mut self, now: Timestamp, old: &Self, numbers: &[Option<usize>]) {
        self.first_tokens = old.first_tokens.clone();
        self.prefill = old.prefill.or(self.prefill);
        // How slow something is, is relative to what was expected.
        let as_expected = self.occupancy == old.occupancy;
        if as_expected {
            self.lateness = old.lateness;
            self.flow = old.flow.clone();
            self.engines_priced = old.engines_priced;
            self.priced = old.priced;
        }
        let known = |ix: usize| {
            let there = numbers.get(ix).copied().flatten()?;
            old.replicas.get(there).filter(|replica| replica.is_present())
        };
        let is_known = (0..self.replicas.len()).any(|ix| known(ix).is_some());
        for (ix, replica) in self.replicas.iter_mut().enumerate() {
            if !replica.is_present() {
                continue;
            }
            match known(ix) {
                Some(old) => *replica = Replica::inherited(now, old, as_expected),
                None if is_known => *replica = Replica::added(now),
                None => {}
            }
        }
    }
}
