//! Which model, and why.

use routerwise_types::hash::{mix, uniform};
use routerwise_types::{Seconds, Timestamp};

use super::RouterCore;
use crate::decision::{Reason, Refusal};
use crate::facts::{ModelSet, Priority, RequestFacts};
use crate::prices::{REACH, Smooth, TEMPERATURE, TURNED_AWAY};
use crate::settings::{OutOfReach, Pricing};

/// Most models of a plan.
pub(super) const MOST: usize = 64;

/// A model, why, and what all of them were worth.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdicts {
    pub(super) model: usize,
    pub(super) reason: Reason,
    pub(super) runner_up: Option<usize>,
    pub(super) worth: [f64; MOST],
}

impl RouterCore {
    /// The model for a request.
    pub(super) fn choose(&self, now: Timestamp, facts: &RequestFacts<'_>) -> Result<Verdicts, Refusal> {
        let allowed = self.models_of(facts.route).and(facts.allowed);
        if allowed.is_empty() {
            return Err(Refusal::NoModel);
        }
        let usable = members(allowed).filter(|model| self.has_replica(now, *model, facts));
        let ready: ModelSet = usable.collect();
        if ready.is_empty() {
            return Err(Refusal::NoReplica);
        }
        let (among, narrowed) = self.narrow(now, ready, facts);
        let worth = self.worth(now, among, facts);
        let by_price = self.by_price(facts, among, &worth)?;
        let (model, reason) = if let Some(last) = facts.tried.last() {
            if among.has(last.model) {
                (last.model, Reason::RetryReplica)
            } else {
                (by_price, Reason::RetryModel)
            }
        } else if let Some(reason) = narrowed {
            (by_price, reason)
        } else if among.without(by_price).is_empty() {
            (by_price, Reason::OnlyModel)
        } else {
            (by_price, self.reason(now, facts, among, by_price, &worth))
        };
        let others = members(among.without(model));
        let runner_up = others.reduce(|best, other| if worth[other] > worth[best] { other } else { best });
        Ok(Verdicts {
            model,
            reason,
            runner_up,
            worth,
        })
    }

    /// Score less price of every model, with what a session is spared where its prompt is cached.
    pub(super) fn worth(&self, now: Timestamp, among: ModelSet, facts: &RequestFacts<'_>) -> [f64; MOST] {
        let mut worth = [f64::NEG_INFINITY; MOST];
        for model in members(among) {
            worth[model] = facts.score(model) - self.price(now, facts.route, model);
        }
        if let Some((model, stay)) = self.stay(now, facts).filter(|(model, _)| among.has(*model)) {
            worth[model] += stay;
        }
        worth
    }

    /// The model where a session is cached, and what staying there is worth: the prefill that a switch would repeat, at the price of a
    /// second under the objectives.
    pub(super) fn stay(&self, now: Timestamp, facts: &RequestFacts<'_>) -> Option<(usize, f64)> {
        let cached = self.cached(now, facts.session)?;
        let spared = self.spared(&cached, facts);
        Some((cached.model, spared * self.price_of_a_second(facts.route, spared)))
    }

    /// The best by worth, nearly equal ones told apart by the prompt's hash; or that turning the request away is better.
    fn by_price(&self, facts: &RequestFacts<'_>, among: ModelSet, worth: &[f64; MOST]) -> Result<usize, Refusal> {
        let route = &self.routes[facts.route];
        let none = Refusal::NoReplica;
        if route.live.is_none() {
            let by_plan = route
                .level()
                .policy
                .choose_by(|model| worth[model], members(among), facts.prompt_hash);
            return by_plan.ok_or(none);
        }
        let draw = uniform(mix(facts.prompt_hash ^ route.level().salt));
        let may_refuse = !matches!(route.settings.out_of_reach, OutOfReach::Degrade);
        let best = members(among)
            .map(|model| worth[model])
            .fold(f64::NEG_INFINITY, f64::max);
        if may_refuse && members(among).any(|model| facts.scores.len() > model) {
            let urgency = f64::from(facts.priority.0) / f64::from(Priority::USUAL.0);
            let answered = 1.0 / (1.0 + ((TURNED_AWAY * urgency - best) / TEMPERATURE).exp());
            if uniform(mix(facts.prompt_hash ^ REFUSAL)) >= answered {
                return Err(Refusal::Overload);
            }
        }
        Smooth::draw(worth, members(among), draw).ok_or(none)
    }

    fn reason(
        &self,
        now: Timestamp,
        facts: &RequestFacts<'_>,
        among: ModelSet,
        chosen: usize,
        worth: &[f64; MOST],
    ) -> Reason {
        if let Some((model, stay)) = self.stay(now, facts).filter(|(model, _)| *model == chosen) {
            let others = members(among.without(model));
            if others
                .map(|other| worth[other])
                .any(|other| other > worth[model] - stay)
            {
                return Reason::Session;
            }
        }
        let near = self.tie_tolerance(facts.route);
        let best = members(among)
            .map(|model| worth[model])
            .fold(f64::NEG_INFINITY, f64::max);
        if members(among.without(chosen)).any(|other| worth[other] >= best - near) || worth[chosen] < best {
            Reason::Tie
        } else {
            Reason::Price
        }
    }

    /// Models whose worth is within this of the best count as tied.
    pub(super) fn tie_tolerance(&self, route: usize) -> f64 {
        let route = &self.routes[route];
        if route.live.is_some() {
            REACH * TEMPERATURE
        } else {
            route.level().policy.tie_tolerance()
        }
    }

    /// Leaves out what misses what the request asks for, unless nothing would be left.
    fn narrow(&self, now: Timestamp, ready: ModelSet, facts: &RequestFacts<'_>) -> (ModelSet, Option<Reason>) {
        let mut among = ready;
        if let Some(target) = self.target(facts) {
            let in_time: ModelSet = members(ready)
                .filter(|model| self.is_in_time(now, *model, facts, target))
                .collect();
            if !in_time.is_empty() {
                among = in_time;
            } else {
                // Nobody is: the one that is late by least.
                let late = |model: usize| self.least_expected_ttft(now, model, facts).unwrap_or(f64::INFINITY);
                let least = members(ready).reduce(|best, other| if late(other) < late(best) { other } else { best });
                return (least.map_or(ready, ModelSet::only), Some(Reason::Target));
            }
        }
        let narrowed = (among != ready && among.bits().count_ones() == 1).then_some(Reason::Target);
        let Some(least) = facts.least_score else {
            return (among, narrowed);
        };
        let least = f64::from(least);
        let good: ModelSet = members(among).filter(|model| facts.score(*model) >= least).collect();
        if !good.is_empty() {
            return (good, narrowed);
        }
        let most = members(among)
            .map(|model| facts.score(model))
            .fold(f64::NEG_INFINITY, f64::max);
        let best = members(among).filter(|model| facts.score(*model) >= most);
        (best.collect(), Some(Reason::BelowLeastScore))
    }

    /// TTFT that a request asks for.
    pub(super) fn target(&self, facts: &RequestFacts<'_>) -> Option<Seconds> {
        facts.ttft_target.or(self.routes[facts.route].settings.ttft_target)
    }

    /// Whether a model is predicted to meet a target; it counts as such where nothing is known.
    pub(super) fn is_in_time(&self, now: Timestamp, model: usize, facts: &RequestFacts<'_>, target: Seconds) -> bool {
        let ttft = self.least_expected_ttft(now, model, facts);
        ttft.is_none_or(|ttft| ttft <= target.value())
    }

    /// What a model costs a route now: its price, and the seconds of work by which its queues are longer or shorter than that reckons
    /// with, at the price of a second under the objectives.
    ///
    /// A request delays at least those who wait behind it until the backlog of now is done. The exact value of a queue is that over
    /// `1 − load`, which needs a load known better than anything is near the knee; see `docs/concepts/live-prices.md`.
    pub(super) fn price(&self, now: Timestamp, route: usize, model: usize) -> f64 {
        let route = &self.routes[route];
        let (Some(live), Pricing::Live(settings)) = (&route.live, &self.settings.pricing) else {
            return route.level().policy.prices()[model];
        };
        let (mut in_flight, mut n) = (0.0, 0.0);
        for replica in self.models[model]
            .replicas
            .iter()
            .filter(|replica| replica.is_serving())
        {
            in_flight += f64::from(replica.load(now, &self.settings.health));
            n += replica.ramp(now, &self.settings.health);
        }
        let backlog = if n > 0.0 {
            (in_flight / n - live.expected[model]) * live.service[model]
        } else {
            0.0
        };
        live.prices.prices[model] + settings.queue_gain * live.second_price * backlog
    }
}

/// Salt of the draw between answering and turning away.
const REFUSAL: u64 = 0x7265_6675_7365_6400;

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
