//! What a router keeps about models and routes.

use routerwise_types::Timestamp;
use routerwise_types::plan::{Plan, PlannedModel, RoutePolicy};
use routerwise_types::workload::Slo;

use super::CannotRoute;
use super::hedge::FirstTokens;
use super::learn::Lateness;
use super::refresh::Live;
use crate::curves::{Curves, ModelCurves};
use crate::flow::{Flow, Measured};
use crate::occupancy::Occupancy;
use crate::policy::Policy;
use crate::prices::Sample;
use crate::rate::Rate;
use crate::replica::Replica;
use crate::settings::{LiveSettings, Pricing, RouteSettings, Settings};

/// One model.
#[derive(Clone, Debug)]
pub(super) struct ModelState {
    pub(super) name: String,
    pub(super) replicas: Vec<Replica>,
    /// What to expect of a replica by what is in flight on it.
    pub(super) occupancy: Option<Occupancy>,
    /// Seconds that a prompt token takes, by what was measured; by the curve at first.
    pub(super) prefill: Option<f64>,
    /// What it gets done.
    pub(super) flow: Flow,
    /// Observed over predicted TTFT.
    pub(super) lateness: Lateness,
    /// Times to the first token of its last answers.
    pub(super) first_tokens: FirstTokens,
    /// By how much its engines were slow when prices were last solved, and what the model was like.
    pub(super) engines_priced: f64,
    pub(super) priced: Measured,
}

impl ModelState {
    pub(super) fn new(model: &PlannedModel, curves: Option<&ModelCurves>) -> Self {
        let idle = |curves: &ModelCurves| curves.ttft.at(0.0).unwrap_or(0.0) / curves.mean_input_tokens.max(1.0);
        Self {
            name: model.name.clone(),
            replicas: model.replicas.iter().map(|_| Replica::planned()).collect(),
            occupancy: curves.map(Occupancy::of),
            prefill: curves.map(idle),
            flow: Flow::new(Timestamp::START),
            lateness: Lateness::none(curves.map_or(0.0, |curves| curves.ttft.at(0.0).unwrap_or(0.0))),
            first_tokens: FirstTokens::default(),
            engines_priced: 1.0,
            priced: Measured::as_profiled(1.0),
        }
    }
}

impl ModelState {
    /// Time passes with what is in flight now.
    pub(super) fn pass(&mut self, now: Timestamp) {
        let serving = self.replicas.iter().filter(|replica| replica.is_serving());
        let in_flight = serving.map(|replica| f64::from(replica.outstanding)).sum();
        self.flow.pass(now, in_flight);
    }

    /// Counts anew: what was counted was another capacity's. Until there are answers, it is like before as far as its engines are.
    pub(super) fn count_anew(&mut self, now: Timestamp) {
        self.flow = Flow::after(now, self.priced.relative_to(self.engines_priced));
    }
}

/// One route.
#[derive(Clone, Debug)]
pub(super) struct RouteState {
    pub(super) settings: RouteSettings,
    /// Index of its route in the workload that the plan was made for.
    pub(super) of_plan: usize,
    /// Fading counts of its requests by model, when they name it.
    pub(super) named: Option<Vec<f64>>,
    /// Its load levels, rising by rate.
    pub(super) levels: Vec<LevelState>,
    /// Which of them is in force.
    pub(super) level: usize,
    pub(super) rate: Rate,
    pub(super) sample: Sample,
    /// Prices that were re-solved; until then those of the level hold.
    pub(super) live: Option<Live>,
}

/// A policy of the plan.
#[derive(Clone, Debug)]
pub(super) struct LevelState {
    /// Its index in the plan.
    pub(super) policy_ix: usize,
    pub(super) rate: f64,
    /// What one request counts for in the plan's quality, up to a factor.
    pub(super) worth: f64,
    pub(super) policy: Policy,
    pub(super) salt: u64,
    pub(super) fractions: Vec<f64>,
    /// `β` of its route's rows, relative to their limits.
    pub(super) row_prices: Vec<f64>,
}

/// Rates above a level's by less than this still are that level's: its headroom is for that.
const ABOVE: f64 = 1.05;
/// A lower level comes into force when the rate is below its own by this factor.
const BELOW: f64 = 0.95;
/// What one request of a route that names models weighs in the counts.
const FADES: f64 = 1.0 / 200.0;

impl RouteState {
    pub(super) fn new(
        plan: &Plan,
        curves: Option<&Curves>,
        route: &RouteSettings,
        settings: &Settings,
        nth: u64,
    ) -> Result<Self, CannotRoute> {
        let first = plan.policies.first().ok_or(CannotRoute::NoPolicy)?;
        let route_of = |route: &RouteSettings| {
            let own = plan.policies.iter().find(|policy| policy.route == route.name);
            own.unwrap_or(first).route.clone()
        };
        let name = &route_of(route);
        let running: Vec<bool> = plan.models.iter().map(|model| model.configuration.is_some()).collect();
        let of_plan = curves.map_or(0, |curves| curves.route(name));
        let barred = plan
            .policies
            .iter()
            .find(|policy| policy.route == *name && !route.by_name);
        let barred = |ix: usize| barred.is_some_and(|policy| policy.models[ix].barred);
        let allowed = (0..running.len()).filter(|ix| route.allowed.has(*ix) && !barred(*ix));
        let route = RouteSettings {
            allowed: allowed.collect(),
            ..route.clone()
        };
        let allowed = |(ix, on): (usize, &bool)| *on && route.allowed.has(ix);
        if !running.iter().enumerate().any(allowed) {
            return Err(CannotRoute::NothingRuns(route.name));
        }
        let policies = plan
            .policies
            .iter()
            .enumerate()
            .filter(|(_, policy)| policy.route == *name);
        let levels = policies.map(|(ix, policy)| LevelState::new(ix, policy, curves, of_plan, &running));
        let mut levels: Vec<LevelState> = levels.collect();
        levels.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let level = levels.len() - 1;
        // What is planned comes over all routes that take this policy, and nobody planned for who names a model.
        let alike = |other: &&RouteSettings| !other.by_name && route_of(other) == *name;
        let n_alike = u32::try_from(settings.routes.iter().filter(alike).count()).unwrap_or(u32::MAX);
        let expected = if route.by_name {
            0.0
        } else {
            levels[level].rate / f64::from(n_alike.max(1))
        };
        let most = match settings.pricing {
            Pricing::Live(live) => live.reservoir,
            Pricing::Static => 1,
        };
        Ok(Self {
            of_plan,
            named: route.by_name.then(|| vec![0.0; plan.models.len()]),
            settings: route,
            level,
            rate: Rate::expecting(expected, Timestamp::START),
            sample: Sample::new(plan.models.len(), most, settings.seed ^ nth),
            levels,
            live: None,
        })
    }

    /// Its sample, once that has rows enough and prices are to be found.
    pub(super) fn enough(&self, settings: &LiveSettings) -> Option<Sample> {
        let enough = self.named.is_none() && self.sample.len() >= settings.reservoir_least;
        enough.then(|| self.sample.clone())
    }

    /// What was sent where counts for a route whose requests name their model.
    pub(super) fn sent(&mut self, model: usize) {
        if let Some(counts) = &mut self.named {
            counts.iter_mut().for_each(|count| *count *= 1.0 - FADES);
            counts[model] += 1.0;
        }
    }

    /// Part of its requests that goes to each model, without re-solved prices.
    pub(super) fn usual_fractions(&self) -> Vec<f64> {
        let Some(counts) = &self.named else {
            return self.level().fractions.clone();
        };
        let all = counts.iter().sum::<f64>().max(1e-9);
        counts.iter().map(|count| count / all).collect()
    }

    pub(super) fn level(&self) -> &LevelState {
        &self.levels[self.level]
    }

    /// Takes the lowest level that carries the live rate, and does not jump to and fro between two.
    pub(super) fn settle_level(&mut self, rate: f64) {
        while self.level + 1 < self.levels.len() && rate > self.levels[self.level].rate * ABOVE {
            self.level += 1;
        }
        while self.level > 0 && rate < self.levels[self.level - 1].rate * BELOW {
            self.level -= 1;
        }
    }
}

impl LevelState {
    fn new(policy_ix: usize, policy: &RoutePolicy, curves: Option<&Curves>, of_plan: usize, running: &[bool]) -> Self {
        let row_prices = curves.map_or_else(Vec::new, |curves| {
            // A policy states those objectives that count its requests.
            let counts = |slo: &&Slo| slo.route.as_ref().is_none_or(|route| *route == policy.route);
            let row_price = |row: usize| {
                let row = &curves.rows[row];
                let before = curves.slos[..row.slo_ix].iter().filter(counts).count();
                let value = policy.prediction.slo_values.get(before);
                value.map_or(0.0, |value| value.price * row.limit)
            };
            curves.rows_of(of_plan).map(row_price).collect()
        });
        Self {
            policy_ix,
            rate: policy.rate.value(),
            worth: policy.weight.value() / policy.rate.value().max(1e-9),
            policy: Policy::new(policy, running.to_vec()),
            salt: policy.routing.salt,
            fractions: policy.models.iter().map(|model| model.fraction.value()).collect(),
            row_prices,
        }
    }
}
