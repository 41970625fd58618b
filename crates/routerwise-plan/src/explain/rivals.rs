//! The setups that lost: for each model the best one in which it runs in another way, and the best of them all, the runner-up.
//!
//! Every setup but the plan's differs from it in some model, so the best over all models is the best of all others. Each is searched by
//! itself with that model's planned configuration taken away.

use routerwise_types::answer::explanation::{Alternative, Difference, Held, RivalSetup};
use routerwise_types::plan::Plan;
use routerwise_types::scenario::Scenario;
use routerwise_types::units::{Fraction, Score};

use super::on_its_gpus;
use super::prices::worth_by_model;
use crate::objective::hunt::candidates_of;
use crate::problem::{Candidate, Problem, Unplannable};
use crate::search::{Effort, Found, Goal, search};

/// For each model the best setup in which it runs otherwise, and the best one with it switched on or off against the plan.
///
/// # Errors
/// [`Unplannable`] as for [`crate::plan`].
pub fn alternatives(scenario: &Scenario, plan: &Plan) -> Result<Vec<Alternative>, Unplannable> {
    let problem = Problem::new(&on_its_gpus(scenario, plan))?;
    let mut found = Vec::new();
    for (model_ix, model) in plan.models.iter().enumerate() {
        let planned = model.configuration;
        let switched = if planned.is_some() { Held::Off } else { Held::On };
        for held in [Held::Otherwise, switched] {
            let allowed = |candidate: &Candidate| match held {
                Held::Otherwise => candidate.configuration != planned,
                Held::On => candidate.configuration.is_some(),
                Held::Off => candidate.configuration.is_none(),
            };
            // What is off runs otherwise exactly when it is on.
            if held == Held::Otherwise && planned.is_none() {
                continue;
            }
            let mut held_problem = problem.clone();
            held_problem.models[model_ix].candidates.retain(allowed);
            found.push(if held_problem.models[model_ix].candidates.is_empty() {
                none(&model.name, held)
            } else {
                let best = search(&held_problem, Goal::Best, Effort::ASIDE);
                alternative(&problem, &held_problem, plan, model.name.clone(), held, &best)
            });
        }
    }
    Ok(found)
}

/// The best of all setups but the plan's.
#[must_use]
pub fn runner_up(alternatives: &[Alternative]) -> Option<&Alternative> {
    let quality = |alternative: &&Alternative| alternative.setup.as_ref().map_or(-1.0, |setup| setup.quality.value());
    let any = alternatives.iter().filter(|alternative| alternative.setup.is_some());
    // Among equals the first, so that the answer does not depend on the order of comparison.
    any.rev().max_by(|a, b| quality(a).total_cmp(&quality(b)))
}

fn none(model: &str, held: Held) -> Alternative {
    Alternative {
        model: model.to_owned(),
        held,
        setup: None,
        finished: true,
    }
}

fn alternative(problem: &Problem, held: &Problem, plan: &Plan, model: String, how: Held, found: &Found) -> Alternative {
    Alternative {
        model,
        held: how,
        setup: rival(problem, held, plan, found),
        finished: !found.cut_short,
    }
}

fn rival(problem: &Problem, held: &Problem, plan: &Plan, found: &Found) -> Option<RivalSetup> {
    let best = found.best.as_ref()?;
    let pairs = held.models.iter().zip(&best.candidates);
    let setup = pairs.map(|(model, at)| model.candidates[*at].configuration).collect();
    let planned_setup = plan.models.iter().map(|model| model.configuration).collect();
    let worth = |setup| Some(worth_by_model(problem, plan, &candidates_of(problem, setup)?));
    let (planned, other) = (worth(&planned_setup)?, worth(&setup)?);
    let models = plan.models.iter().zip(&setup).zip(planned.iter().zip(&other));
    let differences = models
        .filter(|((model, other), _)| model.configuration != **other)
        .map(|((model, other), (before, after))| Difference {
            model: model.name.clone(),
            planned: model.configuration,
            other: *other,
            worth: after - before,
        })
        .collect();
    Some(RivalSetup {
        quality: Score::new(best.quality.clamp(0.0, 1.0)).ok()?,
        upper_bound: found.upper_bound,
        differences,
        fractions: mean_fractions(problem, &best.fractions),
    })
}

/// Fraction of all prompts that each model gets over the load levels.
fn mean_fractions(problem: &Problem, by_level: &[f64]) -> Vec<Fraction> {
    let n_models = problem.models.len();
    let of_model = |model: usize| {
        let levels = problem.traffic.weights.iter().zip(by_level.chunks(n_models));
        let mean: f64 = levels.map(|(weight, fractions)| weight * fractions[model]).sum();
        Fraction::new(mean.clamp(0.0, 1.0)).unwrap_or(Fraction::ZERO)
    };
    (0..n_models).map(of_model).collect()
}
