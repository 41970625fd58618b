//! What joint planning is worth against what people do today, at equal GPUs.
//!
//! A [`Contest`] splits the prompts of a scenario in two by the hash of their ids. Setups are made and parameters chosen on one half, by
//! curves read at the rate with headroom: highest quality of what meets the objectives, or the least violation where nothing does.
//! Results are about the other half. In reading order:
//!
//! - [`half`]: the two halves
//! - [`allocation`]: how GPUs are shared out: jointly, equally, by size, whole, all to one model
//! - [`rule`]: how prompts are routed, and what a rule does with a table of scores
//! - `servers`, `spread`: an allocation's latency curves; forecasts, also of requests that ask several models
//! - `tune`: parameters as a user would choose them
//!
//! ```text
//! let contest = Contest::new(&scenario, 1.0)?;
//! for rule in RULES {
//!     for (allocation, entry) in contest.compete(rule, TunedFor::Objectives)? {
//!         writeln!(out, "{} {} {}", allocation.rule, entry.routing, entry.test.quality)?;
//!     }
//! }
//! ```

pub mod allocation;
pub mod half;
pub mod rule;
mod servers;
mod spread;
pub(crate) mod tune;

use std::sync::Arc;

use routerwise_types::comparison::{AllocationRule, Judged, RoutingRule};
use routerwise_types::objective::Objective;
use routerwise_types::plan::PlannedModel;
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Setup;
use routerwise_types::units::{Fraction, RequestsPerSecond};
use routerwise_types::workload::Level;

use crate::assemble::kv_caches;
use crate::prices::kernel::ScoreTable;
use crate::problem::{Problem, Unplannable};

pub use allocation::{Absent, Allocation, RULES};
pub use half::{Half, half, half_of};
pub use rule::{Rule, Step};
use servers::Servers;
use tune::{Merit, Tuned, Tuner};
pub use tune::{NEAR_QUALITY, TunedFor};

/// One scenario at one load, split for a fair comparison.
#[derive(Clone, Debug)]
pub struct Contest {
    /// With the prompts that plans are made and parameters chosen on.
    pub training: Scenario,
    /// With the prompts that results are about.
    pub test: Scenario,
    problem: Problem,
    test_table: Arc<ScoreTable>,
}

/// Why nothing can be compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NoContest {
    /// The scenario cannot be planned.
    #[error("{0}")]
    Unplannable(Unplannable),
    /// Rivals know one class of traffic.
    #[error("the workload has {n_routes} routes, and what it is compared with knows one class of traffic")]
    Routes {
        /// How many there are.
        n_routes: usize,
    },
    /// All prompts fall into one half.
    #[error("all {n_prompts} prompts fall into one half, so nothing is left to judge by")]
    OneHalf {
        /// How many there are.
        n_prompts: usize,
    },
}

/// One routing rule on one allocation, tuned.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Which rule.
    pub routing: RoutingRule,
    /// The rule with its parameters.
    pub rule: Rule,
    /// The parameters in words.
    pub parameters: String,
    /// By curves at the rate with headroom, on the training prompts.
    pub training: Judged,
    /// By curves at the rate itself, on the test prompts.
    pub test: Judged,
}

impl Contest {
    /// Splits a scenario whose rate is scaled by `load`.
    ///
    /// # Errors
    /// [`NoContest`] when the scenario cannot be planned or split.
    pub fn new(scenario: &Scenario, load: f64) -> Result<Self, NoContest> {
        let n_routes = scenario.workload.n_routes();
        if n_routes > 1 {
            return Err(NoContest::Routes { n_routes });
        }
        let (mut training, mut test) = (half(scenario, Half::Training), half(scenario, Half::Test));
        let n_prompts = scenario.scores.n_prompts();
        if n_prompts > 0 && (training.scores.prompts.is_empty() || test.scores.prompts.is_empty()) {
            return Err(NoContest::OneHalf { n_prompts });
        }
        for scenario in [&mut training, &mut test] {
            let workload = &mut scenario.workload;
            workload.rate = RequestsPerSecond::new(workload.rate.value() * load).unwrap_or(workload.rate);
            workload.levels = vec![Level::always()];
            // All rows have the whole cluster, and quality is what they are compared by.
            workload.objective = Objective::BEST_QUALITY;
        }
        Ok(Self {
            problem: Problem::new(&training).map_err(NoContest::Unplannable)?,
            test_table: Arc::new(ScoreTable::new(&test.scores.columns, &test.scores.normalised_weights())),
            training,
            test,
        })
    }

    /// The allocation of a rule.
    ///
    /// # Errors
    /// [`Absent`] says why it cannot be made.
    pub fn allocate(&self, rule: AllocationRule) -> Result<Allocation, Absent> {
        allocation::make(&self.training, &self.problem, rule)
    }

    /// All routing rules on an allocation, each tuned on the training prompts.
    #[must_use]
    pub fn entries(&self, allocation: &Allocation, tuned_for: TunedFor) -> Vec<Entry> {
        let servers = Servers::new(&self.training, &self.problem, allocation);
        let tuner = Tuner::new(&self.problem, &self.test_table, &servers, allocation, tuned_for);
        let tuned = tune::all(&tuner).into_iter();
        tuned.map(|tuned| self.entry(&servers, tuned)).collect()
    }

    /// All routing rules on the allocation of a rule. Rules that use two or three models get an allocation for these alone where that is
    /// better on the training prompts.
    ///
    /// # Errors
    /// As of [`Contest::allocate`].
    pub fn compete(&self, rule: AllocationRule, tuned_for: TunedFor) -> Result<Vec<(Allocation, Entry)>, Absent> {
        let all = self.allocate(rule)?;
        let entries = self.entries(&all, tuned_for).into_iter().map(|entry| {
            let servers = Servers::new(&self.training, &self.problem, &all);
            let few = matches!(entry.routing, RoutingRule::Threshold | RoutingRule::Cascade)
                .then(|| allocation::for_few(&self.training, &self.problem, rule, entry.routing, tuned_for))
                .flatten();
            let ways = entry.rule.play(self.problem.table(), &servers, self.problem.rate);
            match few {
                Some((merit, few, tuned))
                    if merit
                        .compare(&Merit::of(&servers, &ways, self.problem.rate, tuned_for))
                        .is_gt() =>
                {
                    let entry = self.entry(&Servers::new(&self.training, &self.problem, &few), tuned);
                    (few, entry)
                }
                _ => (all.clone(), entry),
            }
        });
        Ok(entries.collect())
    }

    fn entry(&self, servers: &Servers<'_>, tuned: Tuned) -> Entry {
        let forecast = |table: &ScoreTable, rate: f64| {
            let ways = tuned.rule.play(table, servers, rate);
            servers.judge(&ways, rate)
        };
        Entry {
            training: forecast(self.problem.table(), self.problem.rate),
            test: forecast(&self.test_table, self.training.workload.rate.value()),
            routing: tuned.routing,
            parameters: tuned.parameters,
            rule: tuned.rule,
        }
    }

    /// What a simulator needs of an allocation: what is left of the GPUs' memory goes to KV caches in proportion to load, as in a plan.
    /// `visits` are the requests that each model gets, relative to all.
    #[must_use]
    pub fn deployment(&self, allocation: &Allocation, visits: &[f64]) -> Vec<PlannedModel> {
        let servers = Servers::new(&self.training, &self.problem, allocation);
        let fixed = tune::priced::fixed(&self.problem, allocation);
        let kv_caches = kv_caches(&self.training, &fixed.problem, &fixed.incumbent, visits);
        let models = self.training.models.iter().zip(allocation.setup(&self.problem));
        models
            .zip(kv_caches)
            .enumerate()
            .map(|(model_ix, ((model, configuration), kv_cache))| PlannedModel {
                name: model.name.clone(),
                configuration,
                gpu_type: configuration.map(|c| self.training.cluster.gpu_types[c.gpu_type_ix].name.clone()),
                replicas: allocation.placement[model_ix].clone(),
                kv_cache,
                utilisation: Fraction::new(
                    servers
                        .utilisation(model_ix, visits[model_ix], self.problem.rate)
                        .clamp(0.0, 1.0),
                )
                .unwrap_or(Fraction::ZERO),
            })
            .collect()
    }

    /// One configuration, or none, per model of the scenario.
    #[must_use]
    pub fn setup(&self, allocation: &Allocation) -> Setup {
        allocation.setup(&self.problem)
    }

    /// Requests/s that one replica of each model can take; 0 where it is off.
    #[must_use]
    pub fn capacities(&self, allocation: &Allocation) -> Vec<f64> {
        let servers = Servers::new(&self.training, &self.problem, allocation);
        let ends = servers.list.iter();
        ends.map(|server| server.as_ref().map_or(0.0, servers::Server::end))
            .collect()
    }

    /// Part of the cluster's compute that an allocation gives out.
    #[must_use]
    pub fn compute(&self, allocation: &Allocation) -> f64 {
        f64::from(allocation.units(&self.problem)) / f64::from(self.problem.all_units())
    }
}
