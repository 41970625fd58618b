//! How people share out GPUs, as setups that can be placed.
//!
//! Each rule names an ideal amount of compute for every model; a model gets the nearest profiled configuration below it, and among those
//! with the same compute the one that takes most requests. Where these cannot be placed together the next nearest are tried, by
//! how much compute is given up in all.
//!
//! Which models are hosted is chosen too, as a user would: first as many as fit (of equally many those whose best model for every prompt
//! scores highest), then without those that it is better without, judged by what the best prices can do on the training prompts.
//! Routing rules that use two or three models get allocations for so few as well.

mod choose;
mod few;
mod nearest;
mod whole;

use std::sync::Arc;

use routerwise_types::comparison::{AllocationRule, RoutingRule};
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::{Placement, Setup};
use routerwise_types::units::Seconds;

use super::rule::Ways;
use super::servers::Servers;
use super::tune::{Merit, TunedFor, priced};
use crate::explain::near_miss;
use crate::packing::Packing;
use crate::prices::kernel::ScoreTable;
use crate::problem::{Candidate, Problem};
use crate::search::fit::pack_setup;
use crate::search::{Effort, Goal, Incumbent, search};
use crate::settle::fill_up;

/// One way to share out the GPUs.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// How it was made.
    pub rule: AllocationRule,
    /// Where every shard of every replica sits; nothing for models that are off.
    pub placement: Placement,
    /// The only routing rule that it was made for, where it was.
    pub for_routing: Option<RoutingRule>,
    /// Where it differs from what its rule asks for, and why.
    pub notes: Vec<String>,
    /// Candidate of the problem for each model; nothing when it is off.
    pub(crate) candidates: Vec<Option<usize>>,
}

/// An allocation that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}: {why}")]
pub struct Absent {
    /// How it should have been made.
    pub rule: AllocationRule,
    /// Why it cannot.
    pub why: String,
}

impl Allocation {
    pub(crate) fn setup(&self, problem: &Problem) -> Setup {
        let models = problem.models.iter().zip(&self.candidates);
        models
            .map(|(model, candidate)| model.candidates[(*candidate)?].configuration)
            .collect()
    }

    pub(crate) fn units(&self, problem: &Problem) -> u32 {
        let models = problem.models.iter().zip(&self.candidates);
        models
            .map(|(model, candidate)| candidate.map_or(0, |candidate| model.candidates[candidate].units))
            .sum()
    }

    /// GPUs that hold something.
    #[must_use]
    pub fn n_gpus(&self) -> usize {
        let mut gpus: Vec<usize> = self.placement.iter().flatten().flatten().copied().collect();
        gpus.sort_unstable();
        gpus.dedup();
        gpus.len()
    }
}

/// All rules, in their order.
pub const RULES: [AllocationRule; 5] = [
    AllocationRule::Joint,
    AllocationRule::EqualSplit,
    AllocationRule::SizeProportional,
    AllocationRule::Isolated,
    AllocationRule::SingleModel,
];

/// The allocation of a rule.
pub(crate) fn make(scenario: &Scenario, problem: &Problem, rule: AllocationRule) -> Result<Allocation, Absent> {
    let found = match rule {
        AllocationRule::Joint => joint(scenario, problem),
        AllocationRule::SingleModel => single(scenario, problem),
        AllocationRule::EqualSplit | AllocationRule::SizeProportional | AllocationRule::Isolated => {
            choose::hosted(scenario, problem, rule)
        }
    };
    found.map_err(|why| Absent { rule, why })
}

pub(crate) use few::for_few;

/// Places a set of models by a rule that shares GPUs out among any set.
fn place(scenario: &Scenario, problem: &Problem, rule: AllocationRule, set: &[usize]) -> Option<choose::Placed> {
    match rule {
        AllocationRule::EqualSplit => nearest::place(scenario, problem, set, &|_| 1.0),
        AllocationRule::SizeProportional => {
            nearest::place(scenario, problem, set, &|model| parameters(scenario, model))
        }
        AllocationRule::Isolated => whole::place(scenario, problem, set),
        AllocationRule::Joint | AllocationRule::SingleModel => None,
    }
}

/// Number of weights.
fn parameters(scenario: &Scenario, model: usize) -> f64 {
    let model = &scenario.models[model];
    model.weights.as_f64() / model.bytes_per_weight.max(1e-9)
}

/// The setup of the plan. Where no plan meets the objectives, that of the plan for the nearest targets that can be met.
fn joint(scenario: &Scenario, problem: &Problem) -> Result<Allocation, String> {
    let (found, finished) = searched(scenario, problem);
    if let Some(mut found) = found {
        if !finished {
            found
                .notes
                .push("the search ran out of work: better may exist".to_owned());
        }
        return Ok(found);
    }
    if !finished {
        return Err("the search ran out of work before it found a setup".to_owned());
    }
    let miss = near_miss(scenario);
    let Some(factor) = miss.target_factor else {
        let rate = miss
            .rate
            .map_or_else(String::new, |rate| format!("; {rate} could be served"));
        return Err(format!("no setup takes this rate, whatever the targets{rate}"));
    };
    let mut looser = scenario.clone();
    for slo in &mut looser.workload.slos {
        slo.target = Seconds::new(slo.target.value() * factor).unwrap_or(slo.target);
    }
    let relaxed = Problem::new(&looser).map_err(|error| error.to_string())?;
    let (found, _) = searched(&looser, &relaxed);
    let found = found.ok_or("the search ran out of work before it found a setup for longer targets")?;
    Ok(Allocation {
        // Longer targets may leave more candidates, so they are looked up anew.
        candidates: found
            .setup(&relaxed)
            .into_iter()
            .zip(&problem.models)
            .map(|(wanted, model)| {
                let mut candidates = model.candidates.iter();
                candidates.position(|candidate| wanted.is_some() && candidate.configuration == wanted)
            })
            .collect(),
        notes: vec![format!(
            "no setup meets the objectives; planned for targets {factor:.2} times as long"
        )],
        ..found
    })
}

/// What the search finds, idle GPUs given away where prices then do no worse, and whether it was finished.
fn searched(scenario: &Scenario, problem: &Problem) -> (Option<Allocation>, bool) {
    let found = search(problem, Goal::Best, Effort::of(scenario));
    let finished = !found.cut_short;
    let Some(best) = found.best else {
        return (None, finished);
    };
    let as_allocation = |incumbent: &Incumbent| Allocation {
        rule: AllocationRule::Joint,
        placement: incumbent.placement.clone(),
        for_routing: None,
        notes: Vec::new(),
        candidates: incumbent
            .candidates
            .iter()
            .zip(&problem.models)
            .map(|(candidate, model)| model.candidates[*candidate].configuration.map(|_| *candidate))
            .collect(),
    };
    let (filled, plain) = (as_allocation(&fill_up(problem, &best)), as_allocation(&best));
    let merit = |allocation: &Allocation| priced::merit(scenario, problem, allocation);
    let chosen = if merit(&filled).compare(&merit(&plain)).is_lt() {
        plain
    } else {
        filled
    };
    (Some(chosen), finished)
}

/// Replicas of one model on all GPUs: the model and configuration that serve the training prompts best.
fn single(scenario: &Scenario, problem: &Problem) -> Result<Allocation, String> {
    let n = problem.models.len();
    let mut found: Vec<(Merit, usize, usize)> = Vec::new();
    for (model, options) in problem.models.iter().enumerate() {
        let mut alone = vec![0.0; n];
        alone[model] = 1.0;
        let ways = Ways::direct(&alone, super::rule::mean_score(problem.table(), model));
        for (index, candidate) in options.candidates.iter().enumerate() {
            if candidate.configuration.is_some() {
                let allocation = only(n, model, index);
                let servers = Servers::new(scenario, problem, &allocation);
                found.push((
                    Merit::of(&servers, &ways, problem.rate, TunedFor::Objectives),
                    model,
                    index,
                ));
            }
        }
    }
    found.sort_by(|a, b| b.0.compare(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
    let placed = found.into_iter().take(MOST_SINGLES).find_map(|(_, model, index)| {
        let mut allocation = only(n, model, index);
        allocation.placement = pack(problem, &allocation.candidates)?;
        Some(allocation)
    });
    placed.ok_or_else(|| "no model can be placed by itself".to_owned())
}

/// Placements of single models that are tried.
const MOST_SINGLES: usize = 2_000;

fn only(n_models: usize, model: usize, candidate: usize) -> Allocation {
    let mut candidates = vec![None; n_models];
    candidates[model] = Some(candidate);
    Allocation {
        rule: AllocationRule::SingleModel,
        placement: vec![Vec::new(); n_models],
        for_routing: None,
        notes: Vec::new(),
        candidates,
    }
}

/// Requests/s that all replicas of a candidate take; more is better where compute is the same.
fn takes(scenario: &Scenario, candidate: &Candidate) -> f64 {
    let profile = candidate.profile_ix.map(|ix| scenario.profiles[ix].capacity.value());
    let n_replicas = candidate
        .configuration
        .map_or(0, |configuration| configuration.n_replicas);
    profile.unwrap_or(0.0) * f64::from(n_replicas)
}

/// A placement, if there is one.
fn pack(problem: &Problem, candidates: &[Option<usize>]) -> Option<Placement> {
    // Packing does not look at scores: one prompt will do.
    let table = Arc::new(ScoreTable::new(&vec![vec![0.0]; candidates.len()], &[1.0]));
    let fixed = super::tune::priced::shrunk(problem, candidates, table);
    match pack_setup(&fixed, &vec![0; candidates.len()]).0 {
        Packing::Placed(placement) => Some(placement),
        Packing::Impossible | Packing::Undecided => None,
    }
}

/// Mean score of the best model of a set for every prompt.
fn best_score(table: &ScoreTable, set: &[usize]) -> f64 {
    let best = |row: usize| set.iter().map(|model| table.score(*model, row)).fold(0.0, f64::max);
    (0..table.n_rows()).map(|row| table.weight(row) * best(row)).sum()
}
