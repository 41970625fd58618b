//! A region: the setups that run every model as one of some candidates, and its relaxation, in which models may mix theirs.

use std::rc::Rc;

use super::{MAX_EVALUATIONS_PER_SOLVE, Search, bound};
use crate::prices::{Dual, Inner, Responses, Solved, Until, solve};
use crate::problem::Problem;

/// Candidates that each model may still take, rising; never empty.
#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) allowed: Vec<Rc<[u16]>>,
}

impl Region {
    /// All setups.
    pub(crate) fn all(problem: &Problem) -> Self {
        let all = |n: usize| (0..n).map(|index| u16::try_from(index).unwrap_or(u16::MAX)).collect();
        Self {
            allowed: problem.models.iter().map(|model| all(model.candidates.len())).collect(),
        }
    }

    /// Candidate index per model, when there is one each.
    pub(super) fn single(&self) -> Option<Vec<u16>> {
        self.allowed
            .iter()
            .map(|allowed| if allowed.len() == 1 { Some(allowed[0]) } else { None })
            .collect()
    }

    /// Keeps the candidates of a model that pass; whether any is left.
    pub(super) fn keep(&mut self, model: usize, pass: impl Fn(u16) -> bool) -> bool {
        let kept: Rc<[u16]> = self.allowed[model].iter().copied().filter(|c| pass(*c)).collect();
        if kept.is_empty() {
            return false;
        }
        self.allowed[model] = kept;
        true
    }
}

/// How well a relaxation is to be solved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) tolerance: f64,
    /// See [`Inner::room_reward`].
    pub(crate) room_reward: f64,
    pub(crate) cut_off: f64,
    pub(crate) max_evaluations: u64,
}

impl Terms {
    /// For a bound.
    pub(crate) fn exact(problem: &Problem) -> Self {
        Self {
            tolerance: problem.tolerance * 2.0,
            room_reward: 0.0,
            cut_off: -1e-9,
            max_evaluations: MAX_EVALUATIONS_PER_SOLVE,
        }
    }
}

impl Search<'_> {
    /// [`relax`] with what this search knows already.
    pub(super) fn solve_region(&mut self, region: &Region, start: Option<&Dual>, terms: Terms) -> Solved {
        let before = self.responses.work;
        let solved = relax(self.problem, &mut self.responses, region, start, terms);
        self.spend(self.responses.work - before);
        solved
    }
}

/// Prices the relaxation over a region: a bound for all of its setups, and a mixture that says where the good ones are.
pub(crate) fn relax(
    problem: &Problem,
    responses: &mut Responses,
    region: &Region,
    start: Option<&Dual>,
    terms: Terms,
) -> Solved {
    let all = f64::from(problem.all_units());
    let offerings = problem
        .models
        .iter()
        .zip(&region.allowed)
        .map(|(model, allowed)| {
            let offer = |c: &u16| bound::offering(&model.candidates[usize::from(*c)], all);
            allowed.iter().map(offer).collect()
        })
        .collect();
    let inner = Inner {
        offerings,
        traffic: &problem.traffic,
        limit: 1.0,
        slack_reward: 0.0,
        n_resources: problem.resources.len(),
        room_reward: terms.room_reward,
        least_units: (problem.least_units > 0).then(|| f64::from(problem.least_units) / all),
    };
    let until = Until {
        tolerance: terms.tolerance,
        cut_off: terms.cut_off,
        max_evaluations: terms.max_evaluations,
    };
    solve(&problem.tables, responses, &inner, start, until)
}
