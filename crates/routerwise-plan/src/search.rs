//! Joint search over setups: best first, bounded by pooled price vectors.
//!
//! 1. Price the relaxation in which every model may mix its candidates under a budget of share units.
//! 2. Take the partial setup with the highest bound (least over the pool). Extend it by one model; a whole one is packed exactly
//!    and, if it fits, solved; its prices join the pool and lower everybody's bound.
//! 3. Stop when the highest bound is within the tolerance of the best routing found.
//!
//! Where measured flows are not convex a solved setup may leave a gap; its fractions are then halved at the worst offender and both
//! halves go back into the heap, so the answer is exact there too. Several routes on one model are never convex together: see `shared`.

pub(crate) mod bound;
mod climb;
mod decide;
pub(crate) mod fit;
mod fleet;
mod gamma;
pub(crate) mod region;
mod round;
mod shared;
mod tree;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Placement;

use crate::flow::Interval;
use crate::prices::{Dual, Inner, Offering, Ranges, Responses, Solved, Until, solve};
use crate::problem::Problem;
use crate::watch::{Phase, Progress, Watch};
use bound::PricePoint;
pub(crate) use decide::FEASIBILITY;
use fit::Fits;
use region::{Region, Terms};

const MAX_EVALUATIONS_PER_SOLVE: u64 = 3_000;
/// More open partial setups than this and the search stops with the gap it has.
const MAX_OPEN: usize = 1_000_000;
/// Part of the tolerance that the search uses up; the rest is for realising its fractions prompt by prompt.
const SEARCH_PART: f64 = 0.8;
/// Dives for a first routing, and candidates tried for each model in one.
const MAX_DIVES: u64 = 12;
const MAX_TRIED: usize = 200;
/// Setups that the tree decides in a fraction of a second.
const FEW_SETUPS: f64 = 1e9;
/// Candidates of all models together beyond which the tree is left out.
const LARGE: usize = 4_000;
/// Price points that the tree starts with.
const MAX_KEPT: usize = 8;

/// What a search found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) best: Option<Incumbent>,
    pub(crate) upper_bound: f64,
    pub(crate) pool: Vec<PricePoint>,
    pub(crate) responses: Responses,
    pub(crate) counts: Counts,
    /// Whether the search ended because it ran out of work, not because it was done.
    pub(crate) cut_short: bool,
}

/// The best routing so far.
#[derive(Clone, Debug)]
pub(crate) struct Incumbent {
    /// Candidate index per model.
    pub(crate) candidates: Vec<usize>,
    pub(crate) ranges: Vec<Interval>,
    pub(crate) placement: Placement,
    pub(crate) quality: f64,
    /// Fraction of prompts per model, policy after policy.
    pub(crate) fractions: Vec<f64>,
    /// Load of all that each model is held at, level after level; empty where there is one route.
    pub(crate) loads: Vec<f64>,
    pub(crate) dual: Dual,
}

/// How much work a search was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) bounded: u64,
    pub(crate) packed: u64,
    pub(crate) solved: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.bounded += other.bounded;
        self.packed += other.packed;
        self.solved += other.solved;
    }
}

/// When a search may stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// Proven best within the tolerance.
    Best,
    /// Any setup that meets the SLOs.
    Feasible,
    /// Any setup of at least this quality, or the proof that there is none.
    Reach(f64),
}

impl Goal {
    /// Whether a search may stop at this quality.
    fn is_met(self, quality: f64) -> bool {
        match self {
            Self::Best => false,
            Self::Feasible => true,
            Self::Reach(floor) => quality >= floor,
        }
    }
}

/// How much work a search may be, in steps of some tens of nanoseconds: price points looked up and packing states visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effort(pub(crate) u64);

impl Effort {
    /// For a plan: what its workload allows.
    pub(crate) fn of(scenario: &Scenario) -> Self {
        Self(u64::from(scenario.workload.planning.max_work) * 1_000_000)
    }

    /// For each part of a cluster that an objective asks about: a second or two.
    pub(crate) fn of_a_part(scenario: &Scenario) -> Self {
        Self(Self::of(scenario).0.min(40_000_000))
    }

    /// For each answer to what would help: some tenths of a second.
    pub(crate) const ASIDE: Self = Self(10_000_000);
}

pub(crate) fn search(problem: &Problem, goal: Goal, effort: Effort) -> Found {
    search_from(problem, goal, effort, &[], Watch::default())
}

/// A search that tries some setups first, one candidate index per model each: what is good near by is a good start. It can be stopped and
/// says how far it is.
pub(crate) fn search_from(
    problem: &Problem,
    goal: Goal,
    effort: Effort,
    seeds: &[Vec<usize>],
    watch: Watch<'_>,
) -> Found {
    let mut search = Search::new(problem, goal, effort, watch);
    search.begin(Phase::Relaxation);
    search.price_relaxation();
    search.begin(Phase::Rounding);
    search.try_seeds(seeds);
    if search.is_open() {
        search.round_all();
        search.dive();
    }
    if goal != Goal::Feasible && search.is_open() {
        search.begin(Phase::Improving);
        if search.is_few() {
            search.climb();
        } else {
            search.improve();
        }
    }
    search.begin(Phase::Proof);
    search.retire();
    if search.is_large() {
        search.work_left = 0;
    }
    search.run();
    search.pack_again();
    search.finish()
}

/// One partial or whole setup in the heap.
#[derive(Clone, Debug, PartialEq)]
struct Node {
    bound: f64,
    choice: Vec<u16>,
    used: usize,
    /// How many pool entries the bound has seen.
    seen: usize,
    split: Option<Box<Split>>,
}

/// A whole setup whose fractions are confined.
#[derive(Clone, Debug, PartialEq)]
struct Split {
    ranges: Vec<Interval>,
    placement: Placement,
}

impl Eq for Node {}
impl PartialOrd for Node {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Node {
    /// Higher bound first; then deeper, then the earlier choice, so that the order never depends on chance.
    fn cmp(&self, other: &Self) -> Ordering {
        self.bound
            .total_cmp(&other.bound)
            .then_with(|| self.choice.len().cmp(&other.choice.len()))
            .then_with(|| other.choice.cmp(&self.choice))
    }
}

struct Search<'a> {
    problem: &'a Problem,
    goal: Goal,
    order: Vec<usize>,
    pool: Vec<PricePoint>,
    duals: Vec<Dual>,
    /// Points that the tree does without; the certificate has them too.
    retired: Vec<PricePoint>,
    heap: BinaryHeap<Node>,
    responses: Responses,
    /// Fractions that the relaxation would like; empty where it has no routing.
    wish: Vec<f64>,
    best: Option<Incumbent>,
    /// A quality that is known to be reached elsewhere: only better is of use.
    reached: Option<f64>,
    /// Highest bound of what was set aside without a proof.
    set_aside: f64,
    counts: Counts,
    fits: Fits,
    effort: Effort,
    work_left: u64,
    cut_short: bool,
    watch: Watch<'a>,
    phase: Phase,
    /// Whole setups that the packing search gave up on.
    undecided: Vec<Node>,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, goal: Goal, effort: Effort, watch: Watch<'a>) -> Self {
        let mut order: Vec<usize> = (0..problem.models.len()).collect();
        let largest = |model: &usize| problem.models[*model].candidates.iter().map(|c| c.shard_memory).max();
        order.sort_by_key(|model| std::cmp::Reverse(largest(model)));
        Self {
            problem,
            goal,
            order,
            pool: Vec::new(),
            duals: Vec::new(),
            retired: Vec::new(),
            heap: BinaryHeap::new(),
            responses: Responses::default(),
            wish: Vec::new(),
            best: None,
            reached: None,
            set_aside: f64::NEG_INFINITY,
            counts: Counts::default(),
            fits: Fits::default(),
            effort,
            work_left: effort.0,
            cut_short: false,
            watch,
            phase: Phase::Relaxation,
            undecided: Vec::new(),
        }
    }

    /// No feasible routing is worth less than 0, so a bound below that is proof that there is none.
    fn cut_off(&self) -> f64 {
        if let Goal::Reach(floor) = self.goal {
            return floor - 1e-9;
        }
        let found = self.best.as_ref().map(|best| best.quality).or(self.reached);
        found.map_or(-1e-9, |quality| quality + SEARCH_PART * self.problem.tolerance)
    }

    /// Whether the goal's end is not reached by the best routing so far.
    fn is_unmet(&self) -> bool {
        self.best.as_ref().is_none_or(|best| !self.goal.is_met(best.quality))
    }

    /// Whether anything is left to look for.
    fn is_open(&self) -> bool {
        self.is_unmet() && self.pool.iter().all(|point| point.bound(&[], 0) > self.cut_off())
    }

    /// Solves setups that were good elsewhere.
    fn try_seeds(&mut self, seeds: &[Vec<usize>]) {
        for seed in seeds {
            let pairs = seed.iter().zip(&self.problem.models);
            let known = seed.len() == self.order.len() && pairs.clone().all(|(c, model)| *c < model.candidates.len());
            let used = |(c, model): (&usize, &crate::problem::ModelOptions)| model.candidates[*c].units;
            if !known || pairs.map(used).sum::<u32>() > self.problem.all_units() {
                continue;
            }
            let choice = self
                .order
                .iter()
                .map(|model| u16::try_from(seed[*model]).unwrap_or(u16::MAX));
            let node = self.whole(choice.collect());
            if node.bound > self.cut_off() {
                self.decide_now(node);
            }
        }
    }

    fn price_relaxation(&mut self) {
        let solved = self.solve_region(&Region::all(self.problem), None, Terms::exact(self.problem));
        self.wish = solved.mixture.map(|mixture| mixture.fractions).unwrap_or_default();
        self.learn(&solved.dual);
    }

    /// Rounds the relaxation over all setups.
    fn round_all(&mut self) {
        let max_given_up = if self.is_few() {
            round::MAX_GIVEN_UP_FEW
        } else {
            round::MAX_GIVEN_UP
        };
        let start = self.duals.first().cloned();
        for room_reward in round::ROOM {
            self.round(Region::all(self.problem), start.as_ref(), room_reward, max_given_up);
            if self.best.is_some() || self.is_few() {
                return;
            }
        }
        // Too many models want a part of a replica each: with fewer of them on there is room.
        let mut n_on = self.order.len() / 2;
        while n_on > 0 && self.best.is_none() && !self.is_spent() {
            let region = self.region_of_most_wanted(n_on);
            self.round(region, start.as_ref(), round::ROOM[0], round::MAX_GIVEN_UP_FEW);
            n_on /= 2;
        }
    }

    /// The setups in which only the models that the relaxation sends most prompts to are on, as far as the others may be off.
    fn region_of_most_wanted(&self, n_on: usize) -> Region {
        let n = self.order.len();
        let wish = |model: usize| -> f64 { self.wish.iter().skip(model).step_by(n).sum() };
        let mut wanted: Vec<usize> = (0..n).collect();
        // Stable: among equals the order of models decides.
        wanted.sort_by(|a, b| wish(*b).total_cmp(&wish(*a)));
        let mut region = Region::all(self.problem);
        for model in wanted.split_off(n_on) {
            region.keep(model, |c| {
                self.problem.models[model].candidates[usize::from(c)]
                    .configuration
                    .is_none()
            });
        }
        region
    }

    /// Adds a price vector to the pool.
    fn learn(&mut self, dual: &Dual) {
        let dual = self.refined(dual);
        self.spend(bound::work_of_a_point(self.problem));
        self.pool.push(PricePoint::new(self.problem, &self.order, &dual));
        self.duals.push(dual);
    }

    /// A price vector with each unused model at its least refusing price: the same for this setup, better for others.
    fn refined(&self, dual: &Dual) -> Dual {
        let mut dual = dual.clone();
        let mut evaluation = crate::prices::kernel::Evaluation::default();
        for (policy, prices) in dual.prices.chunks_mut(self.order.len()).enumerate() {
            let table = &self.problem.tables[self.problem.traffic.route_of(policy)];
            table.evaluate(prices, &mut evaluation);
            for model in 0..prices.len() {
                if evaluation.fractions[model] <= 0.0 {
                    prices[model] = prices[model].min(table.least_refusing_price(model, prices));
                }
            }
        }
        dual
    }

    /// Keeps the points that bound all setups best. Every node of the tree looks at every point: many of one neighbourhood say little
    /// more than a few, and slow it down.
    fn retire(&mut self) {
        let mut points: Vec<(PricePoint, Dual)> = self.pool.drain(..).zip(self.duals.drain(..)).collect();
        // Stable: among equals the older.
        points.sort_by(|a, b| a.0.bound(&[], 0).total_cmp(&b.0.bound(&[], 0)));
        let retired = points.split_off(points.len().min(MAX_KEPT));
        self.retired.extend(retired.into_iter().map(|(point, _)| point));
        (self.pool, self.duals) = points.into_iter().unzip();
    }

    /// Whether the tree decides all setups sooner than rounding finds a better one.
    fn is_few(&self) -> bool {
        self.problem.setups_in_space() <= FEW_SETUPS
    }

    /// Whether there are too many candidates for the tree to decide anything in the time there is.
    fn is_large(&self) -> bool {
        let candidates = self.problem.models.iter().map(|model| model.candidates.len());
        candidates.sum::<usize>() > LARGE
    }

    /// Whether the budget is used up or somebody wants it to stop.
    fn is_spent(&self) -> bool {
        self.is_out_of_work() || self.counts.solved >= u64::from(self.problem.max_solves)
    }

    fn is_out_of_work(&self) -> bool {
        self.work_left == 0 || self.watch.is_stopped()
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.tell();
    }

    /// Says how far it is.
    fn tell(&self) {
        let pooled = self.pool.iter().map(|point| point.bound(&[], 0));
        let open = self.heap.peek().map_or(f64::INFINITY, |node| node.bound);
        let bound = pooled
            .fold(open, f64::min)
            .max(self.quality().unwrap_or(f64::NEG_INFINITY));
        self.watch.tell(&Progress {
            phase: self.phase,
            quality: self.quality(),
            bound,
            done: 1.0 - self.work_left as f64 / self.effort.0.max(1) as f64,
        });
    }

    fn spend(&mut self, work: u64) {
        self.work_left = self.work_left.saturating_sub(work);
    }

    /// Candidate index per model, in model order.
    fn candidates(&self, choice: &[u16]) -> Vec<usize> {
        let mut candidates = vec![0; choice.len()];
        for (model, c) in self.order.iter().zip(choice) {
            candidates[*model] = usize::from(*c);
        }
        candidates
    }

    fn solve_setup(&mut self, candidates: &[usize], ranges: &[Interval], until: Until) -> Solved {
        let start = self.duals.iter().zip(&self.pool).min_by(|(_, a), (_, b)| {
            let choice: Vec<u16> = self
                .order
                .iter()
                .map(|model| u16::try_from(candidates[*model]).unwrap_or(u16::MAX))
                .collect();
            let bound = |point: &PricePoint| point.bound_within(self.problem, &self.order, &choice, ranges);
            bound(a).total_cmp(&bound(b))
        });
        let start = start.map(|(dual, _)| dual.clone());
        solve_candidates(
            self.problem,
            &mut self.responses,
            candidates,
            ranges,
            Tightening::NONE,
            start.as_ref(),
            until,
        )
    }

    fn finish(self) -> Found {
        let open = self.heap.iter().chain(&self.undecided).map(|node| node.bound);
        let open = open.fold(f64::NEG_INFINITY, f64::max);
        let found = self.best.as_ref().map_or(f64::NEG_INFINITY, |best| best.quality);
        Found {
            upper_bound: open.max(self.set_aside).max(found),
            best: self.best,
            pool: self.pool.into_iter().chain(self.retired).collect(),
            responses: self.responses,
            counts: self.counts,
            cut_short: self.cut_short,
        }
    }
}

/// How a solve differs from the problem as stated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tightening {
    /// Right-hand side of every row instead of 1.
    pub(crate) limit: f64,
    /// See [`Inner::slack_reward`].
    pub(crate) slack_reward: f64,
}

impl Tightening {
    pub(crate) const NONE: Self = Self {
        limit: 1.0,
        slack_reward: 0.0,
    };
}

/// Solves the inner problem of one setup.
pub(crate) fn solve_candidates(
    problem: &Problem,
    responses: &mut Responses,
    candidates: &[usize],
    ranges: &[Interval],
    tightening: Tightening,
    start: Option<&Dual>,
    until: Until,
) -> Solved {
    let inner = inner(problem, candidates, ranges, tightening);
    solve(&problem.tables, responses, &inner, start, until)
}

/// One setup's inner problem.
pub(crate) fn inner<'a>(
    problem: &'a Problem,
    candidates: &[usize],
    ranges: &'a [Interval],
    tightening: Tightening,
) -> Inner<'a> {
    let offerings = problem
        .models
        .iter()
        .zip(candidates)
        .map(|(model, candidate)| {
            vec![Offering {
                candidate: &model.candidates[*candidate],
                ranges: Ranges::Each(ranges),
                takes: &[],
                units: 0.0,
                profile_ix: None,
                n_replicas: 1,
            }]
        })
        .collect();
    Inner {
        offerings,
        traffic: &problem.traffic,
        limit: tightening.limit,
        slack_reward: tightening.slack_reward,
        n_resources: 0,
        room_reward: 0.0,
        least_units: None,
    }
}
