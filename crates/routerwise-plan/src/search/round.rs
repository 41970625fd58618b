//! Rounding: from the mixture of a relaxation to a setup near it.
//!
//! Relax and fix. The mixture says which configuration of each model serves most, and with how many replicas. What it is sure of is
//! fixed, the rest is solved again around it, until every model has one candidate. A few dozen solves, each warm from the one before.

use super::bound::PricePoint;
use super::region::{Region, Terms};
use super::{Node, Search, fit};
use crate::packing::Packing;
use crate::prices::{Dual, Ending, Mixed, Mixture};
use crate::problem::{Candidate, Problem};

/// Parts of a model's prompts above which a choice counts as made.
const SURE: f64 = 0.99;
/// Quality that a resource row left free is worth: enough to choose among equals; more where what is chosen like that does not pack.
pub(super) const ROOM: [f64; 3] = [1e-5, 1e-4, 1e-3];
/// Evaluations of one relaxation: what takes longer has most likely no routing.
const MAX_EVALUATIONS: u64 = 120;
/// A mean this near to a whole number of replicas is one.
const WHOLE: f64 = 0.02;
/// Choices taken back in the rounding of all setups, and in that of a neighbourhood.
pub(super) const MAX_GIVEN_UP: u32 = 30;
const MAX_GIVEN_UP_NEAR: u32 = 12;
/// And where the tree decides soon anyway.
pub(super) const MAX_GIVEN_UP_FEW: u32 = 3;
/// Models that are freed together, and neighbourhoods in a row without a better setup after which the search leaves off, for each model.
const MAX_FREED: usize = 4;
const MAX_IDLE: usize = 2;

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

pub(super) fn n_replicas(candidate: &Candidate) -> f64 {
    f64::from(candidate.n_replicas())
}

/// What a model is to be narrowed to, and how sure the mixture is of it.
struct Choice {
    model: usize,
    sure: f64,
    to: To,
}

enum To {
    Kind(Kind),
    Candidate(u16),
}

impl To {
    fn takes(&self, index: u16, candidate: &Candidate) -> bool {
        match self {
            Self::Kind(wanted) => kind(candidate) == *wanted,
            Self::Candidate(wanted) => index == *wanted,
        }
    }
}

impl Search<'_> {
    /// Looks for a routing in a region, starting at what its relaxation says; whether it found a better one than there was.
    pub(super) fn round(&mut self, region: Region, start: Option<&Dual>, room_reward: f64, max_given_up: u32) -> bool {
        let mut region = region;
        let mut start = start.cloned();
        let mut made: Vec<(Region, Choice)> = Vec::new();
        let mut given_up = 0;
        let mut placed = false;
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
                let terms = Terms {
                    room_reward,
                    cut_off: self.cut_off(),
                    max_evaluations: MAX_EVALUATIONS,
                    ..Terms::exact(self.problem)
                };
                let solved = self.solve_region(&region, start.as_ref(), terms);
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
                if given_up > max_given_up || !self.retreat(&mut region, &mut made) {
                    return false;
                }
                continue;
            };
            if !placed && self.kinds_are_chosen(&region) && !region.allowed.iter().all(|allowed| allowed.len() == 1) {
                placed = true;
                if self.fleet(&region, room_reward) {
                    return true;
                }
            }
            for choice in self.choices(&region, &mixture) {
                let before = region.clone();
                self.narrow(&mut region, &choice);
                if region.allowed[choice.model].len() == 1 && !self.packs(&region) {
                    let unfit = region.allowed[choice.model][0];
                    region = before;
                    given_up += 1;
                    let left = self.refuse_as_many(&mut region, choice.model, unfit);
                    if given_up > max_given_up || !(left || self.retreat(&mut region, &mut made)) {
                        return false;
                    }
                    break;
                } else {
                    made.push((before, choice));
                }
            }
        }
    }

    /// Frees a few models of the best setup at a time and rounds the relaxation around the others, while that finds better ones.
    pub(super) fn improve(&mut self) {
        let n = self.problem.models.len();
        // Half is the tree's; where it is left out, more than a sixth found next to nothing.
        let part = if self.is_large() { 6 } else { 2 };
        let enough = self.work_left - self.work_left / part;
        let mut idle = 0;
        let mut sets = Sets::new(n);
        let mut keep_replicas = false;
        while idle < MAX_IDLE * n && self.work_left > enough && !self.is_spent() {
            let Some(best) = &self.best else { return };
            if self.pool.iter().any(|point| self.least_bound(point) <= self.cut_off()) {
                return;
            }
            let mut region = Region::all(self.problem);
            // In turn: the others as they are, or the others with any number of replicas.
            keep_replicas = !keep_replicas;
            let freed = sets.next();
            for (model, candidate) in best.candidates.iter().enumerate() {
                if !freed.contains(&model) {
                    let candidates = &self.problem.models[model].candidates;
                    let now = &candidates[*candidate];
                    region.keep(model, |c| {
                        let other = &candidates[usize::from(c)];
                        kind(other) == kind(now) && (!keep_replicas || other == now)
                    });
                }
            }
            let start = best.dual.clone();
            if self.round(region, Some(&start), ROOM[0], MAX_GIVEN_UP_NEAR) {
                idle = 0;
            } else {
                idle += 1;
            }
        }
    }

    /// What a price vector proves for all setups.
    fn least_bound(&self, point: &PricePoint) -> f64 {
        point.bound(&[], 0)
    }

    /// Goes back to before the last choice that leaves something else; whether there is one.
    fn retreat(&self, region: &mut Region, made: &mut Vec<(Region, Choice)>) -> bool {
        while let Some((before, choice)) = made.pop() {
            *region = before;
            if self.refuse(region, &choice) {
                return true;
            }
        }
        false
    }

    /// Takes back what did not pack: everything but as many or more replicas of that kind. Whether something is left.
    fn refuse_as_many(&self, region: &mut Region, model: usize, unfit: u16) -> bool {
        let candidates = &self.problem.models[model].candidates;
        let unfit = &candidates[usize::from(unfit)];
        region.keep(model, |c| {
            let candidate = &candidates[usize::from(c)];
            kind(candidate) != kind(unfit) || n_replicas(candidate) < n_replicas(unfit)
        })
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
        choose(choose_replicas)
    }

    fn kinds_are_chosen(&self, region: &Region) -> bool {
        let models = self.problem.models.iter().zip(&region.allowed);
        models.into_iter().all(|(model, allowed)| {
            let of = |at: usize| kind(&model.candidates[usize::from(allowed[at])]);
            (1..allowed.len()).all(|at| of(at) == of(0))
        })
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
        self.decide_now(node);
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

/// Sets of models to free: two, three and more in turn, drawn without chance from a fixed sequence.
struct Sets {
    n_models: usize,
    state: u64,
    size: usize,
}

impl Sets {
    fn new(n_models: usize) -> Self {
        Self {
            n_models,
            state: 0x9E37_79B9_7F4A_7C15,
            size: 1,
        }
    }

    fn next(&mut self) -> Vec<usize> {
        let most = MAX_FREED.min(self.n_models);
        self.size = if self.size >= most { 2.min(most) } else { self.size + 1 };
        let mut set = Vec::with_capacity(self.size);
        while set.len() < self.size {
            // Knuth's MMIX generator; its high bits.
            self.state = self
                .state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let model = usize::try_from(self.state >> 33).unwrap_or(0) % self.n_models;
            if !set.contains(&model) {
                set.push(model);
            }
        }
        set
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

/// The number of replicas next to the mixture's mean. Models whose replicas are large come first: what rounding them moves, small ones
/// can still make up for.
fn choose_replicas(problem: &Problem, region: &Region, model: usize, offers: &[Mixed]) -> Option<Choice> {
    let allowed = &region.allowed[model];
    let candidate = |at: usize| &problem.models[model].candidates[usize::from(allowed[at])];
    let mixed = offers
        .iter()
        .map(|offer| offer.weight * n_replicas(candidate(offer.offering)));
    let mean: f64 = mixed.sum();
    let distance = |at: &usize| (n_replicas(candidate(*at)) - mean).abs();
    let nearest = (0..allowed.len()).min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    let footprint = candidate(nearest).configuration.map_or(0.0, |configuration| {
        f64::from(configuration.tensor_parallel * candidate(nearest).shard_units)
    });
    let is_whole = distance(&nearest) < WHOLE;
    Some(Choice {
        model,
        sure: if is_whole {
            1.0
        } else {
            SURE * footprint / (1.0 + footprint)
        },
        to: To::Candidate(allowed[nearest]),
    })
}
