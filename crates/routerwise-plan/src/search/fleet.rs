//! Replicas of models whose kinds are chosen: as many as a placement holds.
//!
//! The relaxation wants parts of replicas and counts on GPUs that can be filled to the last per cent. Here the placement decides: whole
//! replicas are placed while there is room, then one more of those of which most of a part is wanted. Where that is too little to answer
//! all prompts, everything is made out to take a little more, and the relaxation says anew what it wants. The rows that this
//! problem breaks ([`resources::strengthen`]) are added first, so that it wants little that does not fit.

use std::sync::Arc;

use routerwise_types::setup::Placement;

use super::region::{Region, Terms, relax};
use super::round::n_replicas;
use super::{Effort, Incumbent, Search, Split, Tightening, fit, inner};
use crate::packing::{Demand, pack_most};
use crate::prices::kernel::ScoreTable;
use crate::prices::{Dual, Ending, Mixture, Responses, Until, solve};
use crate::problem::{Candidate, Problem};
use crate::resources;

/// Placements tried.
const MAX_ROUNDS: u32 = 16;
/// Part of a replica that is none.
const NONE: f64 = 1e-3;
/// Part of a row by which the relaxation is asked for less at least.
const LEAST_SHORT: f64 = 0.003;
const MAX_EVALUATIONS: u64 = 120;

impl Search<'_> {
    /// Looks for a better setup among those of a region in which every model has one kind; whether there was one.
    pub(super) fn fleet(&mut self, region: &Region, room_reward: f64) -> bool {
        let mut region = region.clone();
        for (model, allowed) in self.problem.models.iter().zip(&mut region.allowed) {
            let may_be_off = model.candidates[0].configuration.is_none();
            if may_be_off && allowed[0] != 0 {
                *allowed = std::iter::once(0).chain(allowed.iter().copied()).collect();
            }
        }
        let mut problem = self.problem.restricted(&region);
        resources::strengthen(&mut problem);
        let mut asked = problem.clone();
        let mut inner = Search::new(&problem, self.goal, Effort(self.work_left), self.watch.quiet());
        inner.responses = std::mem::take(&mut self.responses);
        inner.reached = self.quality();
        inner.place_replicas(&mut asked, room_reward);
        inner.climb();
        self.responses = inner.responses;
        self.work_left = inner.work_left;
        self.counts.add(inner.counts);
        // A solve that ran out of evaluations may end below what there was.
        let is_better = |found: &Incumbent| self.quality().is_none_or(|quality| found.quality > quality);
        let Some(mut best) = inner.best.filter(is_better) else {
            return false;
        };
        for (model, candidate) in best.candidates.iter_mut().enumerate() {
            *candidate = usize::from(region.allowed[model][*candidate]);
        }
        best.dual.resource_prices.truncate(self.problem.resources.len());
        self.learn(&best.dual);
        self.best = Some(best);
        self.tell();
        true
    }

    /// Asks the relaxation for replicas and places them; for less, while too few find room to answer all prompts.
    fn place_replicas(&mut self, asked: &mut Problem, room_reward: f64) {
        let region = Region::all(asked);
        let mut start: Option<Dual> = None;
        for _ in 0..MAX_ROUNDS {
            if self.is_spent() {
                return;
            }
            let terms = Terms {
                room_reward,
                cut_off: self.cut_off(),
                max_evaluations: MAX_EVALUATIONS,
                ..Terms::exact(self.problem)
            };
            let before = self.responses.work;
            let solved = relax(asked, &mut self.responses, &region, start.as_ref(), terms);
            self.spend(self.responses.work - before);
            let Some(mixture) = solved.mixture.filter(|_| solved.ending != Ending::CutOff) else {
                return;
            };
            if mixture.quality <= self.cut_off() {
                return;
            }
            start = Some(solved.dual);
            let wanted = self.wanted(&region, &mixture);
            let placement = self.place(&wanted);
            if let Some(candidates) = self.of_counts(&placement) {
                self.decide_placed(&candidates, placement.clone());
            }
            if self.best.is_some() {
                return;
            }
            let short = self.shortage(&wanted, &placement);
            shrink(asked, &short);
        }
    }

    /// What was wanted and found no room, of each GPU type, as a part of its shares.
    fn shortage(&self, wanted: &[f64], placement: &Placement) -> Vec<f64> {
        let problem = self.problem;
        let mut short = vec![0.0; problem.cluster.gpu_types.len()];
        for (model, wanted) in wanted.iter().enumerate() {
            let on = problem.models[model]
                .candidates
                .iter()
                .find_map(|c| Some((c, c.configuration?)));
            let Some((candidate, configuration)) = on else { continue };
            let size = f64::from(configuration.tensor_parallel * candidate.shard_units);
            let missing = wanted - placement[model].len() as f64;
            short[configuration.gpu_type_ix] += missing * size;
        }
        for (gpu_type_ix, short) in short.iter_mut().enumerate() {
            *short /= f64::from(problem.units_of(gpu_type_ix).max(1));
        }
        short
    }

    /// How many replicas of each model the mixture wants.
    fn wanted(&self, region: &Region, mixture: &Mixture) -> Vec<f64> {
        let of = |model: usize| {
            let candidate = |at: usize| &self.problem.models[model].candidates[usize::from(region.allowed[model][at])];
            let offers = mixture.offers[model].iter();
            offers
                .map(|offer| offer.weight * n_replicas(candidate(offer.offering)))
                .sum()
        };
        (0..self.problem.models.len()).map(of).collect()
    }

    /// Places the whole replicas that are wanted, then one more of those of which most of a part is.
    fn place(&mut self, wanted: &[f64]) -> Placement {
        let one_of = |model: usize| {
            let candidates = self.problem.models[model].candidates.iter();
            let on = candidates
                .into_iter()
                .find(|candidate| candidate.configuration.is_some())?;
            fit::demand(model, on)
        };
        let mut whole: Vec<Demand> = Vec::new();
        let mut extras: Vec<(f64, Demand)> = Vec::new();
        for (model, wanted) in wanted.iter().enumerate() {
            let Some(one) = one_of(model) else { continue };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a number of replicas"
            )]
            let n = (wanted + NONE).floor() as usize;
            let part = wanted - n as f64;
            whole.push(Demand { n_replicas: n, ..one });
            if part > NONE {
                extras.push((part, Demand { n_replicas: 1, ..one }));
            }
        }
        // Stable: among equals the order of models decides.
        extras.sort_by(|a, b| b.0.total_cmp(&a.0));
        let extras: Vec<Demand> = extras.into_iter().map(|(_, demand)| demand).collect();
        let n_replicas: usize = whole.iter().map(|demand| demand.n_replicas).sum();
        self.spend((n_replicas * self.problem.cluster.n_gpus() / 4) as u64);
        pack_most(
            &self.problem.cluster,
            self.problem.units_per_gpu,
            &whole,
            &extras,
            self.problem.models.len(),
        )
    }

    /// The candidates with the numbers of replicas that were placed.
    fn of_counts(&self, placement: &Placement) -> Option<Vec<usize>> {
        let models = self.problem.models.iter().zip(placement);
        models
            .map(|(model, replicas)| {
                let same = |candidate: &Candidate| candidate.n_replicas() as usize == replicas.len();
                model.candidates.iter().position(same)
            })
            .collect()
    }

    /// Solves a setup whose placement is known, if it can be better and can be routed at all.
    fn decide_placed(&mut self, candidates: &[usize], placement: Placement) {
        let choice: Vec<u16> = self
            .order
            .iter()
            .map(|model| u16::try_from(candidates[*model]).unwrap_or(u16::MAX))
            .collect();
        if self.units(&choice) < self.problem.least_units as usize {
            return;
        }
        let mut node = self.whole(choice);
        if node.bound <= self.cut_off() || !self.can_route(candidates) {
            return;
        }
        self.counts.packed += 1;
        node.split = Some(Box::new(Split {
            ranges: self.problem.all_ranges(),
            placement,
        }));
        self.decide_now(node);
    }

    /// Whether a setup can take all prompts within the limits, whichever prompts they are.
    fn can_route(&mut self, candidates: &[usize]) -> bool {
        let blank = Arc::new(ScoreTable::new(&vec![vec![0.0]; candidates.len()], &[1.0]));
        let tables = vec![blank; self.problem.traffic.n_routes()];
        let until = Until {
            tolerance: 1e-6,
            cut_off: f64::NEG_INFINITY,
            max_evaluations: MAX_EVALUATIONS,
        };
        let mut responses = Responses::default();
        let ranges = self.problem.all_ranges();
        let inner = inner(self.problem, candidates, &ranges, Tightening::NONE);
        let solved = solve(&tables, &mut responses, &inner, None, until);
        self.spend(responses.work);
        solved.ending != Ending::Infeasible
    }
}

/// Makes everything take more of what was short.
fn shrink(asked: &mut Problem, short: &[f64]) {
    let factors: Vec<f64> = asked
        .resources
        .iter()
        .map(|resource| 1.0 + short[resource.gpu_type_ix].max(LEAST_SHORT))
        .collect();
    for candidate in asked.models.iter_mut().flat_map(|model| &mut model.candidates) {
        for (row, taken) in &mut candidate.takes {
            *taken *= factors[*row as usize];
        }
    }
}
