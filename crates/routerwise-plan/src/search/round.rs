//! Rounding: from the mixture of a relaxation to a setup near it.
//!
//! Relax and fix. The mixture says which configuration of each model serves most, and with how many replicas. What it is sure of is
//! fixed, the rest is solved again around it, until every model has one candidate. A few dozen solves, each warm from the one before.

use super::region::Region;
use super::{Node, Search, fit};
use crate::packing::Packing;
use crate::prices::{Dual, Ending, Mixed, Mixture};
use crate::problem::{Candidate, Problem};

/// Parts of a model's prompts above which a choice counts as made.
const SURE: f64 = 0.99;
/// How much less sure the mixture may be of more replicas than of fewer: too few are not feasible, too many only cost.
const ROUND_UP: f64 = 0.5;
/// Replicas more or fewer than the mixture's mean that stay open.
const AROUND: f64 = 1.5;
/// Candidates given up because what is fixed would not pack with them.
const MAX_GIVEN_UP: usize = 40;

/// What tells configurations apart but for replicas: GPU type, tensor parallelism, share units. Off has none.
type Kind = Option<(usize, u32, u32)>;

fn kind(candidate: &Candidate) -> Kind {
    let configuration = candidate.configuration?;
    Some((
        configuration.gpu_type_ix,
        configuration.tensor_parallel,
        candidate.shard_units,
    ))
}

fn n_replicas(candidate: &Candidate) -> f64 {
    candidate.configuration.map_or(0.0, |c| f64::from(c.n_replicas))
}

/// What a model is to be narrowed to, and how sure the mixture is of it.
struct Choice {
    model: usize,
    sure: f64,
    to: To,
}

enum To {
    Kind(Kind),
    /// About so many replicas.
    Replicas(f64),
    Candidate(u16),
}

impl To {
    fn takes(&self, index: u16, candidate: &Candidate) -> bool {
        match self {
            Self::Kind(wanted) => kind(candidate) == *wanted,
            Self::Replicas(n) => (n_replicas(candidate) - n).abs() <= AROUND,
            Self::Candidate(wanted) => index == *wanted,
        }
    }
}

impl Search<'_> {
    /// Looks for a routing in a region, starting at what its relaxation says; whether it found a better one than there was.
    pub(super) fn round(&mut self, region: Region, start: Option<&Dual>) -> bool {
        let mut region = region;
        let mut start = start.cloned();
        let mut made: Vec<(Region, Choice)> = Vec::new();
        let mut given_up = 0;
        if self.is_spent() {
            return false;
        }
        loop {
            let mixture = if let Some(candidates) = region.single() {
                if self.decide_candidates(&candidates) {
                    return true;
                }
                None
            } else {
                let solved = self.solve_region(
                    &region,
                    start.as_ref(),
                    self.problem.tolerance * 2.0,
                    self.problem.tolerance,
                );
                let mixture = solved.mixture.filter(|_| solved.ending != Ending::CutOff);
                if mixture.is_some() {
                    start = Some(solved.dual);
                }
                mixture
            };
            if self.is_spent() {
                return false;
            }
            let Some(mixture) = mixture else {
                given_up += 1;
                if given_up > MAX_GIVEN_UP || !self.retreat(&mut region, &mut made) {
                    return false;
                }
                continue;
            };
            for choice in self.choices(&region, &mixture) {
                let before = region.clone();
                self.narrow(&mut region, &choice);
                if region.allowed[choice.model].len() == 1 && !self.packs(&region) {
                    region = before;
                    given_up += 1;
                    if given_up > MAX_GIVEN_UP || !self.refuse(&mut region, &choice) {
                        return false;
                    }
                } else {
                    made.push((before, choice));
                }
            }
        }
    }

    /// Goes back to before the last choice that leaves something else; whether there is one.
    fn retreat(&self, region: &mut Region, made: &mut Vec<(Region, Choice)>) -> bool {
        while let Some((before, choice)) = made.pop() {
            *region = before;
            if !matches!(choice.to, To::Replicas(_)) && self.refuse(region, &choice) {
                return true;
            }
        }
        false
    }

    /// Takes a choice back: everything but it. Whether something is left.
    fn refuse(&self, region: &mut Region, choice: &Choice) -> bool {
        let candidates = &self.problem.models[choice.model].candidates;
        region.keep(choice.model, |c| !choice.to.takes(c, &candidates[usize::from(c)]))
    }

    fn narrow(&self, region: &mut Region, choice: &Choice) {
        let candidates = &self.problem.models[choice.model].candidates;
        region.keep(choice.model, |c| choice.to.takes(c, &candidates[usize::from(c)]));
    }

    /// What to narrow next: first kinds, then replicas; what is sure, and else the surest.
    fn choices(&self, region: &Region, mixture: &Mixture) -> Vec<Choice> {
        let open = |model: &&usize| region.allowed[**model].len() > 1;
        let choose = |of: fn(&Problem, &Region, usize, &[Mixed]) -> Option<Choice>| {
            let models = self.order.iter().filter(open);
            let mut found: Vec<Choice> = models
                .filter_map(|model| of(self.problem, region, *model, &mixture.offers[*model]))
                .collect();
            // Stable: among equals the order of models decides.
            found.sort_by(|a, b| b.sure.total_cmp(&a.sure));
            let n_sure = found.iter().take_while(|choice| choice.sure >= SURE).count();
            found.truncate(n_sure.max(1));
            found
        };
        let kinds = choose(choose_kind);
        if !kinds.is_empty() {
            return kinds;
        }
        let replicas = choose(choose_replicas);
        if !replicas.is_empty() {
            return replicas;
        }
        choose(choose_candidate)
    }

    /// Whether the models with one candidate left fit together.
    fn packs(&mut self, region: &Region) -> bool {
        let fixed: Vec<(usize, u16)> = self
            .order
            .iter()
            .filter(|model| region.allowed[**model].len() == 1)
            .map(|model| (*model, region.allowed[*model][0]))
            .collect();
        let (models, choice): (Vec<usize>, Vec<u16>) = fixed.into_iter().unzip();
        let (packing, steps) = fit::pack_prefix(self.problem, &models, &choice);
        self.spend(steps);
        matches!(packing, Packing::Placed(_))
    }

    /// Solves a setup if it can be better; whether it is.
    fn decide_candidates(&mut self, candidates: &[u16]) -> bool {
        let choice: Vec<u16> = self.order.iter().map(|model| candidates[*model]).collect();
        if self.units(&choice) > self.problem.all_units() as usize {
            return false;
        }
        let node = self.whole(choice);
        if node.bound <= self.cut_off() {
            return false;
        }
        let before = self.quality();
        self.decide(node);
        self.quality() > before
    }

    /// A whole setup with its bound.
    pub(super) fn whole(&mut self, choice: Vec<u16>) -> Node {
        let used = self.units(&choice);
        let mut node = Node {
            bound: f64::INFINITY,
            choice,
            used,
            seen: 0,
            split: None,
        };
        self.tighten(&mut node);
        node
    }
}

/// The kind that serves most of a model's prompts; off when not even half a replica is mixed.
fn choose_kind(problem: &Problem, region: &Region, model: usize, offers: &[Mixed]) -> Option<Choice> {
    let candidates = &problem.models[model].candidates;
    let allowed = &region.allowed[model];
    let candidate = |at: usize| &candidates[usize::from(allowed[at])];
    let first = kind(candidate(0));
    if (0..allowed.len()).all(|at| kind(candidate(at)) == first) {
        return None;
    }
    let mixed = |part: fn(&Mixed, &Candidate) -> f64, of: &dyn Fn(Kind) -> bool| -> f64 {
        let those = offers.iter().filter(|offer| of(kind(candidate(offer.offering))));
        those.map(|offer| part(offer, candidate(offer.offering))).sum()
    };
    let replicas = mixed(|offer, candidate| offer.weight * n_replicas(candidate), &|_| true);
    let may_be_off = (0..allowed.len()).any(|at| kind(candidate(at)).is_none());
    if may_be_off && replicas < 0.5 {
        return Some(Choice {
            model,
            sure: 1.0 - replicas,
            to: To::Kind(None),
        });
    }
    let served = |of: &dyn Fn(Kind) -> bool| mixed(|offer, _| offer.weight * offer.fraction, of);
    let all = served(&|_| true);
    let share = |kind: Kind| -> f64 {
        if all > 0.0 {
            served(&|other| other == kind) / all
        } else {
            mixed(|offer, _| offer.weight, &|other| other == kind)
        }
    };
    let kinds = offers
        .iter()
        .map(|offer| kind(candidate(offer.offering)))
        .filter(|kind| kind.is_some() || all <= 0.0);
    let best = kinds
        .map(|kind| (share(kind), kind))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    Some(Choice {
        model,
        sure: best.0,
        to: To::Kind(best.1),
    })
}

/// The numbers of replicas around the mixture's.
fn choose_replicas(problem: &Problem, region: &Region, model: usize, offers: &[Mixed]) -> Option<Choice> {
    let allowed = &region.allowed[model];
    let candidate = |at: usize| &problem.models[model].candidates[usize::from(allowed[at])];
    let mean: f64 = offers
        .iter()
        .map(|offer| offer.weight * n_replicas(candidate(offer.offering)))
        .sum();
    // Never nothing: as near as there is.
    let nearest = (0..allowed.len())
        .map(|at| n_replicas(candidate(at)))
        .min_by(|a, b| (a - mean).abs().total_cmp(&(b - mean).abs()))?;
    let to = To::Replicas(if (nearest - mean).abs() > AROUND { nearest } else { mean });
    let narrows = (0..allowed.len()).any(|at| !to.takes(allowed[at], candidate(at)));
    narrows.then_some(Choice { model, sure: 1.0, to })
}

/// The candidate with the most weight.
fn choose_candidate(problem: &Problem, region: &Region, model: usize, offers: &[Mixed]) -> Option<Choice> {
    let allowed = &region.allowed[model];
    let replicas = |at: usize| n_replicas(&problem.models[model].candidates[usize::from(allowed[at])]);
    let most = (0..allowed.len()).map(replicas).fold(0.0, f64::max);
    let weight = |at: usize| -> f64 {
        let those = offers.iter().filter(|offer| offer.offering == at);
        let weight: f64 = those.map(|offer| offer.weight).sum();
        if replicas(at) >= most {
            weight + ROUND_UP
        } else {
            weight
        }
    };
    let best = (0..allowed.len()).max_by(|a, b| weight(*a).total_cmp(&weight(*b)))?;
    Some(Choice {
        model,
        sure: weight(best),
        to: To::Candidate(allowed[best]),
    })
}
