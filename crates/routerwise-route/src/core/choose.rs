//! Which model, and why.

use routerwise_types::Timestamp;

use super::RouterCore;
use crate::decision::{Reason, Refusal};
use crate::facts::{ModelSet, RequestFacts};

/// Most models of a plan.
pub(super) const MOST: usize = 64;

/// A model, and why.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Choice {
    pub(super) model: usize,
    pub(super) reason: Reason,
    pub(super) score: f64,
    pub(super) price: f64,
    pub(super) margin: Option<f64>,
    pub(super) runner_up: Option<usize>,
}

impl RouterCore {
    /// The model for a request.
    pub(super) fn choose(&self, now: Timestamp, facts: &RequestFacts<'_>) -> Result<Choice, Refusal> {
        let allowed = self.models_of(facts.route).and(facts.allowed);
        if allowed.is_empty() {
            return Err(Refusal::NoModel);
        }
        let ready: ModelSet = members(allowed)
            .filter(|model| self.has_replica(now, *model, facts))
            .collect();
        if ready.is_empty() {
            return Err(Refusal::NoReplica);
        }
        let (among, mut reason) = self.narrow(ready, facts);
        let mut worth = [f64::NEG_INFINITY; MOST];
        for model in members(among) {
            worth[model] = facts.score(model) - self.price(facts.route, model);
        }
        let best = members(among)
            .map(|model| worth[model])
            .fold(f64::NEG_INFINITY, f64::max);
        let policy = self.routes[facts.route].policy();
        let by_price = policy.choose_by(|model| worth[model], members(among), facts.prompt_hash);
        let mut model = by_price.ok_or(Refusal::NoReplica)?;
        if let Some(last) = facts.tried.last() {
            reason = Reason::RetryModel;
            if among.has(last.model) {
                (model, reason) = (last.model, Reason::RetryReplica);
            }
        } else if among.without(model).is_empty() {
            if reason == Reason::Price {
                reason = Reason::OnlyModel;
            }
        } else if reason == Reason::Price
            && members(among.without(model)).any(|other| worth[other] >= best - policy.tie_tolerance())
        {
            reason = Reason::Tie;
        }
        let others = members(among.without(model));
        let runner_up = others.reduce(|best, other| if worth[other] > worth[best] { other } else { best });
        Ok(Choice {
            model,
            reason,
            score: facts.score(model),
            price: self.price(facts.route, model),
            margin: runner_up.map(|other| worth[model] - worth[other]),
            runner_up,
        })
    }

    /// Leaves out what misses what the request asks for, unless nothing would be left.
    fn narrow(&self, ready: ModelSet, facts: &RequestFacts<'_>) -> (ModelSet, Reason) {
        let Some(least) = facts.least_score else {
            return (ready, Reason::Price);
        };
        let least = f64::from(least);
        let good: ModelSet = members(ready).filter(|model| facts.score(*model) >= least).collect();
        if !good.is_empty() {
            return (good, Reason::Price);
        }
        let most = members(ready)
            .map(|model| facts.score(model))
            .fold(f64::NEG_INFINITY, f64::max);
        let best = members(ready).filter(|model| facts.score(*model) >= most);
        (best.collect(), Reason::BelowLeastScore)
    }

    /// What a model costs a route now.
    pub(super) fn price(&self, route: usize, model: usize) -> f64 {
        self.routes[route].policy().prices()[model]
    }
}

impl RequestFacts<'_> {
    /// Predicted score of a model; 0 where nothing is known.
    pub(super) fn score(&self, model: usize) -> f64 {
        self.scores.get(model).map_or(0.0, |score| f64::from(*score))
    }
}

/// The models of a set, rising.
pub(super) fn members(set: ModelSet) -> impl Iterator<Item = usize> + Clone {
    let mut bits = set.bits();
    std::iter::from_fn(move || {
        let model = bits.trailing_zeros();
        (model < 64).then(|| {
            bits &= bits - 1;
            model as usize
        })
    })
}
