//! The whole of a decision, for people.

use routerwise_types::Timestamp;

use super::RouterCore;
use crate::decision::{Change, Considered, Receipt, Verdict};
use crate::facts::RequestFacts;

impl RouterCore {
    /// What [`RouterCore::route`] would decide now, with everything that goes into it; nothing is sent and nothing changes.
    #[must_use]
    pub fn explain(&self, now: Timestamp, facts: &RequestFacts<'_>) -> Receipt {
        let decision = self.decide(now, facts);
        let chosen = decision.sent().map(|send| send.ticket.model);
        let models: Vec<Considered> = (0..self.models.len())
            .map(|model| self.considered(now, facts, model, chosen))
            .collect();
        let route = &self.routes[facts.route];
        Receipt {
            changes: changes(&models, chosen),
            decision,
            models,
            policy: route.levels[route.level].0,
            live: false,
            tie_tolerance: route.policy().tie_tolerance(),
        }
    }

    fn considered(&self, now: Timestamp, facts: &RequestFacts<'_>, model: usize, chosen: Option<usize>) -> Considered {
        let replicas = &self.models[model].replicas;
        let serving = replicas.iter().any(|replica| replica.is_ready(now));
        let price = if serving {
            self.price(facts.route, model)
        } else {
            f64::INFINITY
        };
        let score = facts.score(model);
        Considered {
            score,
            price,
            switch: 0.0,
            worth: score - price,
            ttft: None,
            n_ready: replicas.iter().filter(|replica| replica.is_ready(now)).count(),
            n_replicas: replicas.iter().filter(|replica| replica.is_present()).count(),
            outstanding: replicas.iter().map(|replica| replica.outstanding).sum(),
            verdict: self.verdict(now, facts, model, chosen),
        }
    }

    fn verdict(&self, now: Timestamp, facts: &RequestFacts<'_>, model: usize, chosen: Option<usize>) -> Verdict {
        let route = &self.routes[facts.route];
        if !self.models[model].replicas.iter().any(|replica| replica.is_present()) {
            return Verdict::Off;
        }
        if !route.settings.allowed.and(facts.allowed).has(model) {
            return Verdict::Forbidden;
        }
        if !self.models[model].replicas.iter().any(|replica| replica.is_ready(now)) {
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
        let worth = |model: usize| facts.score(model) - self.price(facts.route, model);
        let less = worth(chosen) - worth(model);
        if less.abs() <= route.policy().tie_tolerance() {
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
