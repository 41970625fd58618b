//! Which of a model's replicas.

use routerwise_types::Timestamp;

use super::RouterCore;
use crate::facts::RequestFacts;
use crate::policy::mix;

impl RouterCore {
    /// Whether a model has a replica that may be sent to now and was not tried for this request.
    pub(super) fn has_replica(&self, now: Timestamp, model: usize, facts: &RequestFacts<'_>) -> bool {
        (0..self.models[model].replicas.len()).any(|replica| self.may_use(now, model, replica, facts))
    }

    pub(super) fn may_use(&self, now: Timestamp, model: usize, replica: usize, facts: &RequestFacts<'_>) -> bool {
        let untried = !facts
            .tried
            .iter()
            .any(|tried| tried.model == model && tried.replica == replica);
        untried && self.models[model].replicas[replica].is_ready(now)
    }

    /// The replica for a request: the one with less outstanding work of two chosen by its number.
    pub(super) fn replica(&self, now: Timestamp, model: usize, facts: &RequestFacts<'_>) -> Option<usize> {
        let usable = || (0..self.models[model].replicas.len()).filter(|ix| self.may_use(now, model, *ix, facts));
        let n = usable().count() as u64;
        if n < 2 {
            return usable().next();
        }
        let draw = mix(facts.request);
        let first = draw % n;
        let second = (first + 1 + (draw >> 32) % (n - 1)) % n;
        let nth = |at: u64| usable().nth(usize::try_from(at).unwrap_or(0));
        let (first, second) = (nth(first)?, nth(second)?);
        let work = |ix: usize| self.models[model].replicas[ix].work(now, &self.settings.health);
        Some(if work(second) < work(first) { second } else { first })
    }
}
