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
mod offers;

use crate::flow::{Flow, Interval};
use kernel::{Evaluation, ScoreTable};
use master::{Master, Stalled};
use offers::best_offer;
pub(crate) use offers::{costs, values};

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

/// One configuration that a model may offer points of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offering<'a> {
    pub(crate) flow: &'a Flow,
    pub(crate) range: Interval,
    /// Parts of resource rows that it takes.
    pub(crate) takes: &'a [(u32, f64)],
    /// Share units relative to all of the cluster's, for the floor.
    pub(crate) units: f64,
    /// Which profile it is of: offerings of one profile differ in replicas only.
    pub(crate) profile_ix: Option<usize>,
    /// Replicas; 1 where the profile is not told.
    pub(crate) n_replicas: u32,
}

/// A problem whose resources are fixed, or relaxed to a budget of share units.
#[derive(Clone, Debug)]
pub(crate) struct Inner<'a> {
    /// For every model, at least one offering.
    pub(crate) offerings: Vec<Vec<Offering<'a>>>,
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

/// Prices and the bound they prove.
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

/// A routing that exists: routes in proportion.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mixture {
    pub(crate) quality: f64,
    pub(crate) fractions: Vec<f64>,
    /// Index into [`Routes::list`] and weight.
    pub(crate) parts: Vec<(usize, f64)>,
    /// Largest `Σ φ − limit` over the rows, with the true flows: above 0 only where flows are not convex.
    pub(crate) excess: f64,
    /// For each model, `φ(w) − mixed φ` over the rows that are exceeded: what its flow's lack of convexity hides.
    pub(crate) hidden: Vec<f64>,
    /// For each model, the offers that it mixes.
    pub(crate) offers: Vec<Vec<Mixed>>,
}

/// One offer in a mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mixed {
    /// Index into the model's offerings.
    pub(crate) offering: usize,
    pub(crate) fraction: f64,
    /// Weights of a model's offers sum to 1.
    pub(crate) weight: f64,
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
/// Columns of a master that has lost its way in rounding.
const MAX_COLUMNS: usize = 4_000;
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
    Route(usize),
    Offer {
        model: usize,
        offering: usize,
        fraction: f64,
    },
}

struct State<'a> {
    table: &'a ScoreTable,
    inner: &'a Inner<'a>,
    master: Master,
    columns: Vec<Column>,
    n_routes_known: usize,
    penalty: f64,
    best: Dual,
    evaluation: Evaluation,
    /// Runs of offerings over all models: what a look at all offers costs.
    n_runs: u64,
}

impl<'a> State<'a> {
    fn new(table: &'a ScoreTable, inner: &'a Inner<'a>, start: Option<&Dual>) -> Self {
        let n_models = table.n_models();
        let mut right = vec![1.0; 1 + n_models];
        right.extend(std::iter::repeat_n(0.0, n_models));
        right.extend(std::iter::repeat_n(inner.limit, inner.n_rows));
        right.extend(std::iter::repeat_n(1.0, inner.n_resources));
        if let Some(least) = inner.least_units {
            right.push(least);
        }
        let best = start.cloned().unwrap_or_else(|| Dual {
            bound: f64::INFINITY,
            prices: vec![0.0; n_models],
            row_prices: vec![0.0; inner.n_rows],
            resource_prices: vec![0.0; inner.n_resources],
            floor_price: 0.0,
        });
        let mut best = best;
        best.resource_prices.resize(inner.n_resources, 0.0);
        best.resource_prices
            .iter_mut()
            .for_each(|price| *price = price.max(inner.room_reward));
        best.row_prices
            .iter_mut()
            .for_each(|price| *price = price.max(inner.slack_reward));
        Self {
            table,
            inner,
            master: Master::new(right),
            columns: Vec::new(),
            n_routes_known: 0,
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

    fn coupling_row(&self, model: usize) -> usize {
        1 + self.n_models() + model
    }

    fn first_slo_row(&self) -> usize {
        1 + 2 * self.n_models()
    }

    fn first_resource_row(&self) -> usize {
        self.first_slo_row() + self.inner.n_rows
    }

    fn floor_row(&self) -> usize {
        self.first_resource_row() + self.inner.n_resources
    }

    fn add(&mut self, kind: Column, cost: f64, entries: Vec<(usize, f64)>) -> usize {
        self.columns.push(kind);
        self.master.add(cost, entries)
    }

    fn add_offer(&mut self, model: usize, offering: usize, fraction: f64) -> usize {
        let offer = self.inner.offerings[model][offering];
        let mut entries = vec![(1 + model, 1.0), (self.coupling_row(model), -fraction)];
        entries.extend((0..self.inner.n_rows).map(|row| (self.first_slo_row() + row, offer.flow.at(row, fraction))));
        let resources = offer.takes.iter();
        entries.extend(resources.map(|(row, taken)| (self.first_resource_row() + *row as usize, *taken)));
        if self.inner.least_units.is_some() {
            entries.push((self.floor_row(), offer.units));
        }
        self.add(
            Column::Offer {
                model,
                offering,
                fraction,
            },
            0.0,
            entries,
        )
    }

    fn add_route(&mut self, index: usize, route: &Route) {
        let mut entries = vec![(0, 1.0)];
        entries.extend(
            route
                .fractions
                .iter()
                .enumerate()
                .map(|(model, w)| (self.coupling_row(model), *w)),
        );
        self.add(Column::Route(index), route.quality, entries);
    }

    /// Of the routes known before, those worth most where the solve starts: many would only slow the master down.
    fn learn_known_routes(&mut self, routes: &Routes) {
        let worth = |route: &Route| route.quality - dot(&self.best.prices, &route.fractions);
        let mut known: Vec<(f64, usize)> = routes.list.iter().map(worth).zip(0..).collect();
        known.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        known.truncate(MAX_KNOWN_ROUTES);
        for (_, index) in known {
            self.add_route(index, &routes.list[index]);
        }
        self.n_routes_known = routes.list.len();
    }

    fn learn_routes(&mut self, routes: &Routes) {
        for (index, route) in routes.list.iter().enumerate().skip(self.n_routes_known) {
            self.add_route(index, route);
        }
        self.n_routes_known = routes.list.len();
    }

    /// A basis that is feasible because it answers nothing and pays for every violation.
    fn first_basis(&mut self) -> Result<(), Stalled> {
        let mut basis = vec![self.add(Column::Unanswered, -self.penalty, vec![(0, 1.0)])];
        let mut used = vec![0.0; self.inner.n_rows];
        let mut taken = vec![0.0; self.inner.n_resources];
        let mut units = 0.0;
        for model in 0..self.n_models() {
            let offer = self.inner.offerings[model][0];
            for (row, sum) in used.iter_mut().enumerate() {
                *sum += offer.flow.at(row, offer.range.low);
            }
            units += offer.units;
            for (row, part) in offer.takes {
                taken[*row as usize] += part;
            }
            let column = self.add_offer(model, 0, offer.range.low);
            basis.push(column);
        }
        for model in 0..self.n_models() {
            let row = self.coupling_row(model);
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
        let first = routes.evaluations;
        loop {
            let duals = self.optimise_offers(routes, until.tolerance * 0.05)?;
            let artificial = self.artificial_part();
            let lower = if artificial > 1e-9 {
                f64::NEG_INFINITY
            } else {
                self.master.objective()
            };
            if self.best.bound <= until.cut_off {
                return Ok(Ending::CutOff);
            }
            if self.best.bound - lower <= until.tolerance {
                return Ok(Ending::Converged);
            }
            if routes.evaluations - first >= until.max_evaluations || self.columns.len() > MAX_COLUMNS {
                return Ok(Ending::Unfinished);
            }
            let trial = blend(&self.best, &duals.dual, smoothing);
            let bound = self.evaluate(&trial, routes);
            let improved = bound < self.best.bound;
            if improved {
                self.best = Dual { bound, ..trial };
            }
            let found = routes.list.last().is_some_and(|route| {
                route.quality - dot(&duals.dual.prices, &route.fractions) > duals.route_rent + until.tolerance * 1e-2
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
                let (value, offering, fraction) = self.best_offer(model, &duals.dual);
                let rounding = 1e-9 * (1.0 + value.abs());
                if value > duals.offer_rents[model] + tolerance.max(rounding) {
                    self.add_offer(model, offering, fraction);
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
        let n = self.n_models();
        let positive = |range: std::ops::Range<usize>| duals[range].iter().map(|dual| dual.max(0.0)).collect();
        let floor_price = self
            .inner
            .least_units
            .map_or(0.0, |_| (-duals[self.floor_row()]).max(0.0));
        MasterDuals {
            route_rent: duals[0],
            offer_rents: duals[1..=n].to_vec(),
            dual: Dual {
                bound: f64::INFINITY,
                prices: positive(1 + n..1 + 2 * n),
                row_prices: positive(self.first_slo_row()..self.first_slo_row() + self.inner.n_rows),
                resource_prices: positive(self.first_resource_row()..self.floor_row()),
                floor_price,
            },
        }
    }

    /// `H` of a model at some prices: value, offering and fraction.
    fn best_offer(&self, model: usize, dual: &Dual) -> (f64, usize, f64) {
        best_offer(&self.inner.offerings[model], dual.prices[model], dual)
    }

    /// `D` at some prices; remembers the route.
    fn evaluate(&mut self, dual: &Dual, routes: &mut Routes) -> f64 {
        self.table.evaluate(&dual.prices, &mut self.evaluation);
        routes.evaluations += 1;
        routes.work +=
            1 + (self.table.n_rows() * self.n_models()) as u64 / SCORES_PER_STEP + self.n_runs * STEPS_PER_RUN;
        let mut bound = self.evaluation.value(&dual.prices) + self.inner.limit * dual.row_prices.iter().sum::<f64>();
        bound += (0..self.n_models())
            .map(|model| self.best_offer(model, dual).0)
            .sum::<f64>();
        bound += dual.resource_prices.iter().sum::<f64>();
        if let Some(least) = self.inner.least_units {
            bound -= least * dual.floor_price;
        }
        routes.list.push(Route {
            prices: dual.prices.clone(),
            fractions: self.evaluation.fractions.clone(),
            quality: self.evaluation.quality,
        });
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

    fn mixture(&self, routes: &Routes) -> Mixture {
        let n = self.n_models();
        let mut mixture = Mixture {
            fractions: vec![0.0; n],
            offers: vec![Vec::new(); n],
            ..Mixture::default()
        };
        let n_rows = self.inner.n_rows;
        let mut mixed = vec![vec![0.0; n_rows]; n];
        for (column, value) in self.master.solution().filter(|(_, value)| *value > 0.0) {
            match self.columns[column] {
                Column::Route(index) => {
                    let route = &routes.list[index];
                    mixture.parts.push((index, value));
                    mixture.quality += value * route.quality;
                    for (sum, w) in mixture.fractions.iter_mut().zip(&route.fractions) {
                        *sum += value * w;
                    }
                }
                Column::Offer {
                    model,
                    offering,
                    fraction,
                } => {
                    mixture.offers[model].push(Mixed {
                        offering,
                        fraction,
                        weight: value,
                    });
                    let flow = self.inner.offerings[model][offering].flow;
                    for (row, sum) in mixed[model].iter_mut().enumerate() {
                        *sum += value * flow.at(row, fraction);
                    }
                }
                _ => {}
            }
        }
        let flow_of = |model: usize, row: usize| self.inner.offerings[model][0].flow.at(row, mixture.fractions[model]);
        let used: Vec<f64> = (0..n_rows)
            .map(|row| (0..n).map(|model| flow_of(model, row)).sum())
            .collect();
        // Over the broken rows alone: a multiplier may be 0 although the true flows break its row, and then says nothing.
        let broken = |row: &usize| used[*row] > self.inner.limit;
        mixture.hidden = (0..n)
            .map(|model| {
                let hidden = |row: usize| flow_of(model, row) - mixed[model][row];
                (0..n_rows).filter(broken).map(hidden).sum()
            })
            .collect();
        mixture.excess = used
            .iter()
            .map(|sum| sum - self.inner.limit)
            .fold(f64::NEG_INFINITY, f64::max);
        mixture
    }
}

struct MasterDuals {
    route_rent: f64,
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
