//! Which of a model's replicas, and how long a request waits there.

use routerwise_types::Timestamp;

use super::RouterCore;
use crate::balance::by_prefix;
use crate::facts::RequestFacts;
use crate::policy::mix;
use crate::settings::Balance;

impl RouterCore {
    /// Whether a model has a replica that may be sent to now and was not tried for this request.
    pub(super) fn has_replica(&self, now: Timestamp, model: usize, facts: &RequestFacts<'_>) -> bool {
        self.usable(now, model, facts).next().is_some()
    }

    /// Replicas that may be sent to now and were not tried for this request.
    pub(super) fn usable(
        &self,
        now: Timestamp,
        model: usize,
        facts: &RequestFacts<'_>,
    ) -> impl Iterator<Item = usize> + Clone {
        let replicas = &self.models[model].replicas;
        let tried = facts.tried;
        (0..replicas.len()).filter(move |ix| {
            let untried = !tried.iter().any(|tried| tried.model == model && tried.replica == *ix);
            untried && replicas[*ix].is_ready(now)
        })
    }

    /// The replica for a request. Its session's, while waiting there takes no longer than computing the prompt elsewhere.
    pub(super) fn replica(&self, now: Timestamp, model: usize, facts: &RequestFacts<'_>) -> Option<usize> {
        let usable = self.usable(now, model, facts);
        let by_load = self.by_load(now, model, facts, &usable)?;
        let cached = self.cached(now, facts.session).filter(|cached| cached.model == model);
        let Some(cached) =
            cached.filter(|cached| cached.replica != by_load && usable.clone().any(|ix| ix == cached.replica))
        else {
            return Some(by_load);
        };
        let wait = |replica| self.wait(now, model, replica);
        let stays = wait(cached.replica) <= wait(by_load) + self.spared(&cached, facts);
        Some(if stays { cached.replica } else { by_load })
    }

    fn by_load(
        &self,
        now: Timestamp,
        model: usize,
        facts: &RequestFacts<'_>,
        usable: &(impl Iterator<Item = usize> + Clone),
    ) -> Option<usize> {
        let n = usable.clone().count();
        if n < 2 {
            return usable.clone().next();
        }
        // A breaker whose time is over needs a request to close.
        let replicas = &self.models[model].replicas;
        if let Some(probe) = usable.clone().find(|ix| !replicas[*ix].is_serving()) {
            return Some(probe);
        }
        let work = |ix: usize| replicas[ix].work(now, &self.settings.health);
        match (self.settings.balance, facts.prefix) {
            (Balance::LeastWait, _) => usable.clone().reduce(|best, other| {
                if self.wait(now, model, other) < self.wait(now, model, best) {
                    other
                } else {
                    best
                }
            }),
            (Balance::Prefix { bound }, Some(prefix)) => by_prefix(prefix, bound, usable, work),
            (Balance::TwoChoices | Balance::Prefix { .. }, _) => {
                let nth = |at: u64| usable.clone().nth(usize::try_from(at).unwrap_or(0));
                let n = n as u64;
                let draw = mix(facts.request);
                let first = draw % n;
                let second = (first + 1 + (draw >> 32) % (n - 1)) % n;
                let (first, second) = (nth(first)?, nth(second)?);
                Some(if work(second) < work(first) { second } else { first })
            }
        }
    }

    /// Expected time to the first token on a replica; its work where nothing is known about times.
    fn wait(&self, now: Timestamp, model: usize, replica: usize) -> f64 {
        let state = &self.models[model].replicas[replica];
        let work = state.work(now, &self.settings.health);
        self.models[model].occupancy.as_ref().map_or(work, |occupancy| {
            // Work counts the request itself and is stretched by slowness and ramp.
            let in_flight = work / state.slowness() - 1.0;
            occupancy.at(in_flight).ttft * state.slowness()
        })
    }

    /// Predicted time to the first token of a request on a replica, cached prompts taken off; nothing without curves.
    pub(super) fn expected_ttft(
        &self,
        now: Timestamp,
        model: usize,
        replica: usize,
        facts: &RequestFacts<'_>,
    ) -> Option<f64> {
        self.models[model].occupancy.as_ref()?;
        let cached = self.cached(now, facts.session);
        let spared = cached.filter(|cached| cached.model == model && cached.replica == replica);
        let spared = spared.map_or(0.0, |cached| self.spared(&cached, facts));
        let late = self.models[model].lateness.ratio();
        Some((self.wait(now, model, replica) * late - spared).max(0.0))
    }

    /// The least of a model's replicas.
    pub(super) fn least_expected_ttft(&self, now: Timestamp, model: usize, facts: &RequestFacts<'_>) -> Option<f64> {
        let of = |replica| self.expected_ttft(now, model, replica, facts);
        self.usable(now, model, facts).filter_map(of).reduce(f64::min)
    }

    /// The least of the model's other replicas, or of all other models.
    pub(super) fn expected_ttft_elsewhere(
        &self,
        now: Timestamp,
        model: usize,
        replica: usize,
        facts: &RequestFacts<'_>,
    ) -> Option<f64> {
        let others = self.usable(now, model, facts).filter(|other| *other != replica);
        let same = others
            .filter_map(|other| self.expected_ttft(now, model, other, facts))
            .reduce(f64::min);
        let models = super::choose::members(self.models_of(facts.route).and(facts.allowed).without(model));
        same.or_else(|| {
            models
                .filter_map(|other| self.least_expected_ttft(now, other, facts))
                .reduce(f64::min)
        })
    }
}
