//! What a router keeps about models and routes.

use routerwise_plan::problem::Row;
use routerwise_types::Timestamp;
use routerwise_types::plan::{Plan, PlannedModel, RoutePolicy};

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
use crate::settings::{Pricing, RouteSettings, Settings};

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
    pub(super) policy: Policy,
    pub(super) salt: u64,
    pub(super) fractions: Vec<f64>,
    /// `β` of the rows over the workload, relative to their limits.
    pub(super) row_prices: Vec<f64>,
}

/// Rates above a level's by less than this still are that level's: its headroom is for that.
const ABOVE: f64 = 1.05;
/// A lower level comes into force when the rate is below its own by this factor.
const BELOW: f64 = 0.95;

impl RouteState {
    pub(super) fn new(
        plan: &Plan,
        curves: Option<&Curves>,
        route: &RouteSettings,
        settings: &Settings,
        nth: u64,
    ) -> Result<Self, CannotRoute> {
        let first = plan.policies.first().ok_or(CannotRoute::NoPolicy)?;
        let own = plan.policies.iter().any(|policy| policy.route == route.name);
        let name = if own { &route.name } else { &first.route };
        let running: Vec<bool> = plan.models.iter().map(|model| model.configuration.is_some()).collect();
        let allowed = |(ix, on): (usize, &bool)| *on && route.allowed.has(ix);
        if !running.iter().enumerate().any(allowed) {
            return Err(CannotRoute::NothingRuns(route.name.clone()));
        }
        let policies = plan
            .policies
            .iter()
            .enumerate()
            .filter(|(_, policy)| policy.route == *name);
        let levels = policies.map(|(ix, policy)| LevelState::new(ix, policy, curves, &running));
        let mut levels: Vec<LevelState> = levels.collect();
        levels.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        let level = levels.len() - 1;
        let most = match settings.pricing {
            Pricing::Live(live) => live.reservoir,
            Pricing::Static => 1,
        };
        Ok(Self {
            settings: route.clone(),
            level,
            rate: Rate::expecting(levels[level].rate, Timestamp::START),
            sample: Sample::new(plan.models.len(), most, settings.seed ^ nth),
            levels,
            live: None,
        })
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
    fn new(policy_ix: usize, policy: &RoutePolicy, curves: Option<&Curves>, running: &[bool]) -> Self {
        let rows = curves.map_or(&[][..], |curves| &curves.rows);
        let row_price = |row: &Row| {
            let value = policy.prediction.slo_values.get(row.slo_ix);
            value.map_or(0.0, |value| value.price * row.limit)
        };
        Self {
            policy_ix,
            rate: policy.rate.value(),
            policy: Policy::new(policy, running.to_vec()),
            salt: policy.routing.salt,
            fractions: policy.models.iter().map(|model| model.fraction.value()).collect(),
            row_prices: rows.iter().map(row_price).collect(),
        }
    }
}
