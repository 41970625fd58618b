//! Dual prices: the best quality that fixed resources allow, and what each model's prompts cost there.
//!
//! ```text
//! maximise    Σ_x p_x Σ_i π_i(x) · s_i(x)                              quality
//! subject to  Σ_i φ_ik(w_i) ≤ 1  for every row k,   w_i = Σ_x p_x · π_i(x)   SLOs over the workload, relative to their limits
//!
//! dual:       D(α, β) = A(α) + Σ_k β_k + Σ_i H_i(α_i, β)  ≥  quality,  α, β ≥ 0
//!             A(α) = Σ_x p_x max_i (s_i(x) − α_i),   H_i(α, β) = max_w (α·w − Σ_k β_k·φ_ik(w))
//! ```
//!
//! Solved by column generation (Dantzig-Wolfe). A *route* column is what all prompts do at one price vector: its fractions and
//! its quality. An *offer* column is one point `(w, φ(w))` of a configuration. The master mixes them; its row duals are
//! the next prices; each `A(α)` prices all routes at once and each `H` all offers of a configuration, exactly. Every evaluation is
//! an upper bound, every master solution a routing that exists. Routes do not depend on the setup, so they are kept and the next setup
//! starts with all of them. Prices are smoothed towards the best ones so far (Wentges 1997), which stops them from
//! jumping about.
//!
//! The same code bounds *all* setups at once: a model may then offer points of several configurations, and the rows of
//! [`crate::resources`] get prices `γ` too.

pub mod kernel;
pub(crate) mod master;
mod mixture;
mod offers;

use routerwise_types::workload::MOST_LEVELS;

use kernel::{Evaluation, ScoreTable};
use master::{Master, Stalled};
pub(crate) use mixture::{Mixed, Mixture};
pub(crate) use offers::{Offering, Ranges, costs, values};
use offers::{Point, best_offer};

/// What all prompts do at one price vector.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) prices: Vec<f64>,
    pub(crate) fractions: Vec<f64>,
    pub(crate) quality: f64,
}

/// Routes seen so far, and how many evaluations of `A` they took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Routes {
    pub(crate) list: Vec<Route>,
    pub(crate) evaluations: u64,
    /// Work so far, in the steps of a search's effort.
    pub(crate) work: u64,
}

/// A problem whose resources are fixed, or relaxed to a budget of share units.
#[derive(Clone, Debug)]
pub(crate) struct Inner<'a> {
    /// For every model, at least one offering.
    pub(crate) offerings: Vec<Vec<Offering<'a>>>,
    /// What each load level counts for.
    pub(crate) weights: &'a [f64],
    /// Rows of each level.
    pub(crate) n_rows: usize,
    /// Right-hand side of every row; 1 but for a deliberately tightened solve.
    pub(crate) limit: f64,
    /// Quality that a whole limit left unused is worth: breaks ties between equally good routings in favour of low latency.
    pub(crate) slack_reward: f64,
    /// Resource rows, each of which may be taken up to 1 in all.
    pub(crate) n_resources: usize,
    /// Quality that a whole resource row left free is worth: of equally good mixtures the one that takes least.
    pub(crate) room_reward: f64,
    /// Least part of the cluster's share units that must be used, where there is such a floor.
    pub(crate) least_units: Option<f64>,
}

/// Prices and the bound they prove. Those of prompts and rows are in quality of their level by itself, and stand level after level.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dual {
    pub(crate) bound: f64,
    pub(crate) prices: Vec<f64>,
    pub(crate) row_prices: Vec<f64>,
    /// Price of each resource row, `γ ≥ 0`.
    pub(crate) resource_prices: Vec<f64>,
    /// What must be paid to use up the floor of share units, at least 0.
    pub(crate) floor_price: f64,
}

impl Dual {
    /// Prices of one level by itself, without those of resources.
    pub(crate) fn at_level(&self, level: usize, n_levels: usize) -> Self {
        Self {
            bound: f64::INFINITY,
            prices: part(&self.prices, level, n_levels).to_vec(),
            row_prices: part(&self.row_prices, level, n_levels).to_vec(),
            resource_prices: Vec::new(),
            floor_price: 0.0,
        }
    }
}

/// One level's part of what stands level after level.
pub(crate) fn part<T>(all: &[T], level: usize, n_levels: usize) -> &[T] {
    let n = all.len() / n_levels;
    &all[level * n..][..n]
}

/// How a solve ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Converged,
    /// The bound fell to the cut-off: not worth more work.
    CutOff,
    /// No routing meets the rows.
    Infeasible,
    /// Out of evaluations, or rounding trouble: the bound still holds.
    Unfinished,
}

#[derive(Clone, Debug)]
pub(crate) struct Solved {
    pub(crate) ending: Ending,
    pub(crate) dual: Dual,
    pub(crate) mixture: Option<Mixture>,
}

/// When to stop.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Until {
    pub(crate) tolerance: f64,
    pub(crate) cut_off: f64,
    pub(crate) max_evaluations: u64,
}

/// Solves one inner problem. `start` is where prices are first tried.
pub(crate) fn solve(
    table: &ScoreTable,
    routes: &mut Routes,
    inner: &Inner<'_>,
    start: Option<&Dual>,
    until: Until,
) -> Solved {
    let mut state = State::new(table, inner, start);
    match state.run(routes, until) {
        Ok(ending) => state.finish(routes, ending),
        Err(Stalled) => state.finish(routes, Ending::Unfinished),
    }
}

/// Penalty for not answering a prompt: raised until it no longer pays, so finite prices are never cut short.
const FIRST_PENALTY: f64 = 4.0;
const LAST_PENALTY: f64 = 1e7;
/// Rounds of new offers before the next look at all prompts; what is missing then is found after it.
const MAX_OFFER_ROUNDS: u32 = 60;
/// Routes of earlier solves that a solve starts with.
const MAX_KNOWN_ROUTES: usize = 96;
/// What an offer must gain while much is still to be gained.
const COARSE: f64 = 1e-5;
/// Columns for each model of a master that has lost its way in rounding.
const MAX_COLUMNS: usize = 600;
/// And at least.
const LEAST_COLUMNS: usize = 4_000;
/// Scores compared in one step of work, and steps that a look at the offers of one run takes.
const SCORES_PER_STEP: u64 = 128;
const STEPS_PER_RUN: u64 = 8;
/// Entries of the master looked at in one step.
const ENTRIES_PER_STEP: u64 = 32;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Column {
    Slack,
    Unanswered,
    Violation,
    Route {
        level: usize,
        index: usize,
    },
    Offer {
        model: usize,
        offering: usize,
        point: Point,
    },
}

struct State<'a> {
    table: &'a ScoreTable,
    inner: &'a Inner<'a>,
    master: Master,
    columns: Vec<Column>,
    /// Routes that the master does not have yet.
    fresh: Vec<(usize, usize)>,
    penalty: f64,
    best: Dual,
    evaluation: Evaluation,
    /// Runs of offerings over all models: what a look at all offers costs.
    n_runs: u64,
}

impl<'a> State<'a> {
    fn new(table: &'a ScoreTable, inner: &'a Inner<'a>, start: Option<&Dual>) -> Self {
        let (n_models, n_levels) = (table.n_models(), inner.weights.len());
        let mut right = vec![1.0; n_levels + n_models];
        right.extend(std::iter::repeat_n(0.0, n_levels * n_models));
        right.extend(std::iter::repeat_n(inner.limit, n_levels * inner.n_rows));
        right.extend(std::iter::repeat_n(1.0, inner.n_resources));
        if let Some(least) = inner.least_units {
            right.push(least);
        }
        let best = start.cloned().unwrap_or_else(|| Dual {
            bound: f64::INFINITY,
            prices: vec![0.0; n_levels * n_models],
            row_prices: vec![0.0; n_levels * inner.n_rows],
            resource_prices: vec![0.0; inner.n_resources],
            floor_price: 0.0,
        });
        let mut best = best;
        best.resource_prices.resize(inner.n_resources, 0.0);
        best.resource_prices
            .iter_mut()
            .for_each(|price| *price = price.max(inner.room_reward));
        for (level, weight) in inner.weights.iter().enumerate() {
            let row_prices = &mut best.row_prices[level * inner.n_rows..][..inner.n_rows];
            row_prices
                .iter_mut()
                .for_each(|price| *price = price.max(inner.slack_reward / weight));
        }
        Self {
            table,
            inner,
            master: Master::new(right),
            columns: Vec::new(),
            fresh: Vec::new(),
            penalty: FIRST_PENALTY,
            best: Dual {
                bound: f64::INFINITY,
                ..best
            },
            evaluation: Evaluation::default(),
            n_runs: inner
                .offerings
                .iter()
                .map(|offerings| offers::runs(offerings).count() as u64)
                .sum(),
        }
    }

    fn n_models(&self) -> usize {
        self.table.n_models()
    }

    fn n_levels(&self) -> usize {
        self.inner.weights.len()
    }

    fn offers_row(&self, model: usize) -> usize {
        self.n_levels() + model
    }

    fn coupling_row(&self, level: usize, model: usize) -> usize {
        self.n_levels() + (1 + level) * self.n_models() + model
    }

    fn first_slo_row(&self) -> usize {
        self.n_levels() + (1 + self.n_levels()) * self.n_models()
    }

    fn slo_row(&self, level: usize, row: usize) -> usize {
        self.first_slo_row() + level * self.inner.n_rows + row
    }

    fn first_resource_row(&self) -> usize {
        self.first_slo_row() + self.n_levels() * self.inner.n_rows
    }

    fn floor_row(&self) -> usize {
        self.first_resource_row() + self.inner.n_resources
    }

    fn add(&mut self, kind: Column, cost: f64, entries: Vec<(usize, f64)>) -> usize {
        self.columns.push(kind);
        self.master.add(cost, entries)
    }

    fn add_offer(&mut self, model: usize, offering: usize, point: Point) -> usize {
        let offer = self.inner.offerings[model][offering];
        let mut entries = vec![(self.offers_row(model), 1.0)];
        for level in 0..self.n_levels() {
            let fraction = point.fractions[level];
            let flow = offer.candidate.flow_at(level);
            entries.push((self.coupling_row(level, model), -fraction));
            entries.extend((0..self.inner.n_rows).map(|row| (self.slo_row(level, row), flow.at(row, fraction))));
        }
        let resources = offer.takes.iter();
        entries.extend(resources.map(|(row, taken)| (self.first_resource_row() + *row as usize, *taken)));
        if self.inner.least_units.is_some() {
            entries.push((self.floor_row(), offer.units));
        }
        let kind = Column::Offer { model, offering, point };
        self.add(kind, 0.0, entries)
    }

    fn add_route(&mut self, level: usize, index: usize, route: &Route) {
        let mut entries = vec![(level, 1.0)];
        let fractions = route.fractions.iter().enumerate();
        entries.extend(fractions.map(|(model, w)| (self.coupling_row(level, model), *w)));
        let cost = self.inner.weights[level] * route.quality;
        self.add(Column::Route { level, index }, cost, entries);
    }

    /// Of the routes known before, those worth most where the solve starts: many would only slow the master down.
    fn learn_known_routes(&mut self, routes: &Routes) {
        for level in 0..self.n_levels() {
            let prices = part(&self.best.prices, level, self.n_levels());
            let worth = |route: &Route| route.quality - dot(prices, &route.fractions);
            let mut known: Vec<(f64, usize)> = routes.list.iter().map(worth).zip(0..).collect();
            known.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            known.truncate(MAX_KNOWN_ROUTES);
            for (_, index) in known {
                self.add_route(level, index, &routes.list[index]);
            }
        }
    }

    fn learn_routes(&mut self, routes: &Routes) {
        for (level, index) in std::mem::take(&mut self.fresh) {
            self.add_route(level, index, &routes.list[index]);
        }
    }

    /// A basis that is feasible because it answers nothing and pays for every violation.
    fn first_basis(&mut self) -> Result<(), Stalled> {
        let n_levels = self.n_levels();
        let mut basis: Vec<usize> = (0..n_levels)
            .map(|level| self.add(Column::Unanswered, -self.penalty, vec![(level, 1.0)]))
            .collect();
        let mut used = vec![0.0; n_levels * self.inner.n_rows];
        let mut taken = vec![0.0; self.inner.n_resources];
        let mut units = 0.0;
        for model in 0..self.n_models() {
            let offer = self.inner.offerings[model][0];
            let mut point = Point {
                value: 0.0,
                fractions: [0.0; MOST_LEVELS],
            };
            for level in 0..n_levels {
                let low = offer.ranges.at(level, model, self.n_models()).low;
                point.fractions[level] = low;
                for (row, sum) in used[level * self.inner.n_rows..][..self.inner.n_rows]
                    .iter_mut()
                    .enumerate()
                {
                    *sum += offer.candidate.flow_at(level).at(row, low);
                }
            }
            units += offer.units;
            for (row, part) in offer.takes {
                taken[*row as usize] += part;
            }
            let column = self.add_offer(model, 0, point);
            basis.push(column);
        }
        for row in self.coupling_row(0, 0)..self.first_slo_row() {
            basis.push(self.add(Column::Slack, 0.0, vec![(row, 1.0)]));
        }
        for (row, sum) in used.into_iter().enumerate() {
            let row = self.first_slo_row() + row;
            basis.push(self.at_most(row, self.inner.slack_reward, sum <= self.inner.limit));
        }
        for (row, sum) in taken.into_iter().enumerate() {
            let row = self.first_resource_row() + row;
            basis.push(self.at_most(row, self.inner.room_reward, sum <= 1.0));
        }
        if let Some(least) = self.inner.least_units {
            let row = self.floor_row();
            let surplus = self.add(Column::Slack, 0.0, vec![(row, -1.0)]);
            let missing = self.add(Column::Violation, -10.0 * self.penalty, vec![(row, 1.0)]);
            basis.push(if units >= least { surplus } else { missing });
        }
        self.master.start(basis)
    }

    /// Slack and violation of a `≤` row; returns the one that is basic.
    fn at_most(&mut self, row: usize, reward: f64, holds: bool) -> usize {
        let slack = self.add(Column::Slack, reward, vec![(row, 1.0)]);
        let violation = self.add(Column::Violation, -10.0 * self.penalty, vec![(row, -1.0)]);
        if holds { slack } else { violation }
    }

    fn run(&mut self, routes: &mut Routes, until: Until) -> Result<Ending, Stalled> {
        self.first_basis()?;
        self.learn_known_routes(routes);
        let mut smoothing = 0.5;
        let mut gap = f64::INFINITY;
        let first = routes.evaluations;
        loop {
            // Far from the end offers that gain next to nothing would only fill the master.
            let fine = until.tolerance * 0.05;
            let coarse = (gap * 1e-3).min(COARSE).max(fine);
            let duals = self.optimise_offers(routes, coarse)?;
            let artificial = self.artificial_part();
            let lower = if artificial > 1e-9 {
                f64::NEG_INFINITY
            } else {
                self.master.objective()
            };
            gap = gap.min(self.best.bound - lower);
            if self.best.bound <= until.cut_off {
                return Ok(Ending::CutOff);
            }
            if self.best.bound - lower <= until.tolerance {
                return Ok(Ending::Converged);
            }
            if routes.evaluations - first >= until.max_evaluations
                || self.columns.len() > LEAST_COLUMNS.max(MAX_COLUMNS * self.n_models())
            {
                return Ok(Ending::Unfinished);
            }
            let trial = blend(&self.best, &duals.dual, smoothing);
            let bound = self.evaluate(&trial, routes);
            let improved = bound < self.best.bound;
            if improved {
                self.best = Dual { bound, ..trial };
            }
            let found = self.fresh.iter().any(|(level, index)| {
                let route = &routes.list[*index];
                let prices = part(&duals.dual.prices, *level, self.n_levels());
                route.quality - dot(prices, &route.fractions) > duals.route_rents[*level] + until.tolerance * 1e-2
            });
            self.learn_routes(routes);
            if found {
                smoothing = if improved {
                    (smoothing + 0.1f64).min(0.8)
                } else {
                    (smoothing * 0.5).max(0.0)
                };
            } else if smoothing > 1e-3 {
                smoothing *= 0.3;
            } else if artificial > 1e-9 && self.penalty < LAST_PENALTY {
                self.raise_penalty();
            } else if coarse > fine {
                // Nothing more to find like this: look closely before saying so.
                gap = 0.0;
                continue;
            } else if artificial > 1e-9 {
                return Ok(Ending::Infeasible);
            } else {
                return Ok(Ending::Converged);
            }
            if smoothing < 1e-3 {
                smoothing = 0.0;
            }
        }
    }

    fn raise_penalty(&mut self) {
        self.penalty *= 30.0;
        for (column, kind) in self.columns.iter().enumerate() {
            match kind {
                Column::Unanswered => self.master.set_cost(column, -self.penalty),
                Column::Violation => self.master.set_cost(column, -10.0 * self.penalty),
                _ => {}
            }
        }
    }

    fn artificial_part(&self) -> f64 {
        self.master
            .solution()
            .filter(|(column, _)| matches!(self.columns[*column], Column::Unanswered | Column::Violation))
            .map(|(_, value)| value)
            .sum()
    }

    /// Re-solves the master, adding offers at its prices until none pays by more than `tolerance`: offers cost nanoseconds, routes
    /// a pass over all prompts.
    fn optimise_offers(&mut self, routes: &mut Routes, tolerance: f64) -> Result<MasterDuals, Stalled> {
        let mut rounds = 0;
        loop {
            self.master.optimise()?;
            routes.work += self.n_runs * STEPS_PER_RUN + self.master.take_looked() / ENTRIES_PER_STEP;
            let duals = self.read_duals();
            let mut added = false;
            for model in 0..self.n_models() {
                let (value, offering, point) = self.best_offer(model, &duals.dual);
                let rounding = 1e-9 * (1.0 + value.abs());
                if value > duals.offer_rents[model] + tolerance.max(rounding) {
                    self.add_offer(model, offering, point);
                    added = true;
                }
            }
            rounds += 1;
            if !added || rounds >= MAX_OFFER_ROUNDS {
                return Ok(duals);
            }
        }
    }

    fn read_duals(&self) -> MasterDuals {
        let duals = self.master.duals();
        let positive = |range: std::ops::Range<usize>| duals[range].iter().map(|dual| dual.max(0.0));
        let floor_price = self
            .inner
            .least_units
            .map_or(0.0, |_| (-duals[self.floor_row()]).max(0.0));
        // The master counts in quality of the whole, prices in quality of their level.
        let weights = self.inner.weights.iter();
        let of_level = |n: usize| weights.clone().flat_map(move |weight| std::iter::repeat_n(*weight, n));
        let n = self.n_levels();
        MasterDuals {
            route_rents: duals[..n]
                .iter()
                .zip(weights.clone())
                .map(|(rent, w)| rent / w)
                .collect(),
            offer_rents: duals[n..self.coupling_row(0, 0)].to_vec(),
            dual: Dual {
                bound: f64::INFINITY,
                prices: positive(self.coupling_row(0, 0)..self.first_slo_row())
                    .zip(of_level(self.n_models()))
                    .map(|(dual, weight)| dual / weight)
                    .collect(),
                row_prices: positive(self.first_slo_row()..self.first_resource_row())
                    .zip(of_level(self.inner.n_rows))
                    .map(|(dual, weight)| dual / weight)
                    .collect(),
                resource_prices: positive(self.first_resource_row()..self.floor_row()).collect(),
                floor_price,
            },
        }
    }

    /// `H` of a model at some prices: value, offering and point.
    fn best_offer(&self, model: usize, dual: &Dual) -> (f64, usize, Point) {
        best_offer(&self.inner.offerings[model], model, dual, self.inner.weights)
    }

    /// `D` at some prices; remembers the routes.
    fn evaluate(&mut self, dual: &Dual, routes: &mut Routes) -> f64 {
        let mut bound = 0.0;
        for (level, weight) in self.inner.weights.iter().enumerate() {
            let prices = part(&dual.prices, level, self.n_levels());
            let row_prices = part(&dual.row_prices, level, self.n_levels());
            self.table.evaluate(prices, &mut self.evaluation);
            routes.evaluations += 1;
            routes.work += 1 + (self.table.n_rows() * self.n_models()) as u64 / SCORES_PER_STEP;
            bound += weight * (self.evaluation.value(prices) + self.inner.limit * row_prices.iter().sum::<f64>());
            self.fresh.push((level, routes.list.len()));
            routes.list.push(Route {
                prices: prices.to_vec(),
                fractions: self.evaluation.fractions.clone(),
                quality: self.evaluation.quality,
            });
        }
        routes.work += self.n_runs * STEPS_PER_RUN;
        bound += (0..self.n_models())
            .map(|model| self.best_offer(model, dual).0)
            .sum::<f64>();
        bound += dual.resource_prices.iter().sum::<f64>();
        if let Some(least) = self.inner.least_units {
            bound -= least * dual.floor_price;
        }
        bound
    }

    fn finish(self, routes: &Routes, ending: Ending) -> Solved {
        let answered = ending != Ending::Infeasible && self.artificial_part() <= 1e-9;
        let mixture = answered.then(|| self.mixture(routes));
        Solved {
            ending,
            dual: self.best,
            mixture,
        }
    }
}

struct MasterDuals {
    route_rents: Vec<f64>,
    offer_rents: Vec<f64>,
    dual: Dual,
}

fn blend(best: &Dual, master: &Dual, smoothing: f64) -> Dual {
    if best.bound == f64::INFINITY && smoothing > 0.0 {
        return best.clone();
    }
    let mix = |a: f64, b: f64| smoothing * a + (1.0 - smoothing) * b;
    let mix_all = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| mix(*a, *b)).collect();
    Dual {
        bound: f64::INFINITY,
        prices: mix_all(&best.prices, &master.prices),
        row_prices: mix_all(&best.row_prices, &master.row_prices),
        resource_prices: mix_all(&best.resource_prices, &master.resource_prices),
        floor_price: mix(best.floor_price, master.floor_price),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
