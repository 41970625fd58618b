//! The whole of a decision, for people.

use routerwise_types::{Seconds, Timestamp};

use super::RouterCore;
use super::choose::MOST;
use crate::decision::{Change, Considered, Receipt, Verdict};
use crate::facts::{ModelSet, RequestFacts};

impl RouterCore {
    /// What [`RouterCore::route`] would decide now, with everything that goes into it; nothing is sent and nothing changes.
    #[must_use]
    pub fn explain(&self, now: Timestamp, facts: &RequestFacts<'_>) -> Receipt {
        let decision = self.decide(now, facts);
        let chosen = decision.sent().map(|send| send.ticket.model);
        let everyone: ModelSet = (0..self.models.len()).collect();
        let worth = self.worth(now, everyone, facts);
        let models: Vec<Considered> = (0..self.models.len())
            .map(|model| self.considered(now, facts, model, chosen, &worth))
            .collect();
        let route = &self.routes[facts.route];
        Receipt {
            changes: changes(&models, chosen),
            decision,
            models,
            policy: route.level().policy_ix,
            live: route.live.is_some(),
            tie_tolerance: self.tie_tolerance(facts.route),
        }
    }

    /// What a model costs a route now: infinitely much with no replica left.
    pub(super) fn price_or_infinity(&self, now: Timestamp, route: usize, model: usize) -> f64 {
        let replicas = &self.models[model].replicas;
        if replicas.iter().any(|replica| replica.is_ready(now)) {
            self.price(now, route, model)
        } else {
            f64::INFINITY
        }
    }

    fn considered(
        &self,
        now: Timestamp,
        facts: &RequestFacts<'_>,
        model: usize,
        chosen: Option<usize>,
        worth: &[f64; MOST],
    ) -> Considered {
        let replicas = &self.models[model].replicas;
        let price = self.price_or_infinity(now, facts.route, model);
        let switch = self
            .stay(now, facts)
            .map_or(0.0, |(at, stay)| if at == model { 0.0 } else { stay });
        let ttft = self.least_expected_ttft(now, model, facts);
        Considered {
            score: facts.score(model),
            price,
            switch,
            worth: facts.score(model) - price - switch,
            ttft: ttft.and_then(|ttft| Seconds::new(ttft).ok()),
            n_ready: replicas.iter().filter(|replica| replica.is_ready(now)).count(),
            n_replicas: replicas.iter().filter(|replica| replica.is_present()).count(),
            outstanding: replicas.iter().map(|replica| replica.outstanding).sum(),
            verdict: self.verdict(now, facts, model, chosen, worth),
        }
    }

    fn verdict(
        &self,
        now: Timestamp,
        facts: &RequestFacts<'_>,
        model: usize,
        chosen: Option<usize>,
        worth: &[f64; MOST],
    ) -> Verdict {
        let route = &self.routes[facts.route];
        let replicas = &self.models[model].replicas;
        if !replicas.iter().any(|replica| replica.is_present()) {
            return Verdict::Off;
        }
        if !route.settings.allowed.and(facts.allowed).has(model) {
            return Verdict::Forbidden;
        }
        if !replicas.iter().any(|replica| replica.is_ready(now)) {
            return Verdict::NoReplica;
        }
        if !self.has_replica(now, model, facts) {
            return Verdict::Tried;
        }
        let Some(chosen) = chosen else { return Verdict::NotSent };
        if chosen == model {
            return Verdict::Chosen;
        }
        if facts
            .least_score
            .is_some_and(|least| facts.score(model) < f64::from(least))
        {
            return Verdict::BelowLeastScore;
        }
        if self
            .target(facts)
            .is_some_and(|target| !self.is_in_time(now, model, facts, target))
        {
            return Verdict::MissesTarget;
        }
        let less = worth[chosen] - worth[model];
        if less.abs() <= self.tie_tolerance(facts.route) {
            Verdict::Tied
        } else {
            Verdict::WorthLess(less)
        }
    }
}

/// What would have sent the request elsewhere: a better score of any model that lost by price, a dearer winner.
fn changes(models: &[Considered], chosen: Option<usize>) -> Vec<Change> {
    let lost = |model: usize| match models[model].verdict {
        Verdict::WorthLess(by) if by >= 0.0 => Some((model, by)),
        _ => None,
    };
    let mut lost: Vec<(usize, f64)> = (0..models.len()).filter_map(lost).collect();
    lost.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    let Some(&(model, by)) = lost.first().filter(|_| chosen.is_some()) else {
        return Vec::new();
    };
    let dearer = Change::PriceHigher { model, by };
    let better = lost
        .iter()
        .map(|(model, by)| Change::ScoreHigher { model: *model, by: *by });
    std::iter::once(dearer).chain(better).collect()
}
