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
//! Solved by column generation (Dantzig-Wolfe). A *response* column is what all prompts do at one price vector: its fractions and
//! its quality. An *offer* column is one point `(w, φ(w))` of a configuration. The master mixes them; its row duals are
//! the next prices; each `A(α)` prices all responses at once and each `H` all offers of a configuration, exactly. Every evaluation is
//! an upper bound, every master solution a routing that exists. Responses do not depend on the setup, so they are kept and the next setup
//! starts with all of them. Prices are smoothed towards the best ones so far (Wentges 1997), which stops them from
//! jumping about.
//!
//! The same code bounds *all* setups at once: a model may then offer points of several configurations, and the rows of
//! [`crate::resources`] get prices `γ` too.

mod dual;
pub mod kernel;
pub(crate) mod master;
mod mixture;
mod offers;

use std::sync::Arc;

use routerwise_types::workload::MOST_POLICIES;

pub(crate) use dual::{Dual, part};
use kernel::{Evaluation, ScoreTable};
use master::{Master, Stalled};
pub(crate) use mixture::{Mixed, Mixture};
pub(crate) use offers::{Offering, Ranges, costs, look, values};
use offers::{Point, best_offer};

use crate::traffic::Traffic;

/// What all prompts of a route do at one price vector.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) route: usize,
    pub(crate) prices: Vec<f64>,
    pub(crate) fractions: Vec<f64>,
    pub(crate) quality: f64,
}

/// Responses seen so far, and how many evaluations of `A` they took.
#[derive(Clone, Debug, Default)]
pub(crate) struct Responses {
    pub(crate) list: Vec<Response>,
    pub(crate) evaluations: u64,
    /// Work so far, in the steps of a search's effort.
    pub(crate) work: u64,
}

/// A problem whose resources are fixed, or relaxed to a budget of share units.
#[derive(Clone, Debug)]
pub(crate) struct Inner<'a> {
    /// For every model, at least one offering.
    pub(crate) offerings: Vec<Vec<Offering<'a>>>,
    /// Load levels and routes.
    pub(crate) traffic: &'a Traffic,
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
    tables: &[Arc<ScoreTable>],
    responses: &mut Responses,
    inner: &Inner<'_>,
    start: Option<&Dual>,
    until: Until,
) -> Solved {
    let mut state = State::new(tables, inner, start);
    match state.run(responses, until) {
        Ok(ending) => state.finish(responses, ending),
        Err(Stalled) => state.finish(responses, Ending::Unfinished),
    }
}

/// Penalty for not answering a prompt: raised until it no longer pays, so finite prices are never cut short.
const FIRST_PENALTY: f64 = 4.0;
const LAST_PENALTY: f64 = 1e7;
/// Rounds of new offers before the next look at all prompts; what is missing then is found after it.
const MAX_OFFER_ROUNDS: u32 = 60;
/// Responses of earlier solves that a solve starts with.
const MAX_KNOWN_RESPONSES: usize = 96;
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
    Response {
        policy: usize,
        index: usize,
    },
    Offer {
        model: usize,
        offering: usize,
        point: Point,
    },
}

struct State<'a> {
    tables: &'a [Arc<ScoreTable>],
    inner: &'a Inner<'a>,
    master: Master,
    columns: Vec<Column>,
    /// Responses that the master does not have yet.
    fresh: Vec<(usize, usize)>,
    penalty: f64,
    best: Dual,
    evaluation: Evaluation,
    /// Runs of offerings over all models: what a look at all offers costs.
    n_runs: u64,
}

impl<'a> State<'a> {
    fn new(tables: &'a [Arc<ScoreTable>], inner: &'a Inner<'a>, start: Option<&Dual>) -> Self {
        let traffic = inner.traffic;
        let (n_models, n_policies) = (tables[0].n_models(), traffic.n_policies());
        let n_rows = traffic.n_levels() * traffic.n_rows();
        let mut right = vec![1.0; n_policies + n_models];
        right.extend(std::iter::repeat_n(0.0, n_policies * n_models));
        right.extend(std::iter::repeat_n(inner.limit, n_rows));
        right.extend(std::iter::repeat_n(1.0, inner.n_resources));
        if let Some(least) = inner.least_units {
            right.push(least);
        }
        let best = start.cloned().unwrap_or_else(|| Dual {
            bound: f64::INFINITY,
            prices: vec![0.0; n_policies * n_models],
            row_prices: vec![0.0; n_rows],
            resource_prices: vec![0.0; inner.n_resources],
            floor_price: 0.0,
        });
        let mut best = best;
        best.resource_prices.resize(inner.n_resources, 0.0);
        best.resource_prices
            .iter_mut()
            .for_each(|price| *price = price.max(inner.room_reward));
        for (at, price) in best.row_prices.iter_mut().enumerate() {
            let weight = traffic.weight_of_row(at / traffic.n_rows(), at % traffic.n_rows());
            *price = price.max(inner.slack_reward / weight);
        }
        Self {
            tables,
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
        self.tables[0].n_models()
    }

    fn n_policies(&self) -> usize {
        self.inner.traffic.n_policies()
    }

    fn n_levels(&self) -> usize {
        self.inner.traffic.n_levels()
    }

    fn offers_row(&self, model: usize) -> usize {
        self.n_policies() + model
    }

    fn coupling_row(&self, policy: usize, model: usize) -> usize {
        self.n_policies() + (1 + policy) * self.n_models() + model
    }

    fn first_slo_row(&self) -> usize {
        self.n_policies() + (1 + self.n_policies()) * self.n_models()
    }

    fn slo_row(&self, level: usize, row: usize) -> usize {
        self.first_slo_row() + level * self.inner.traffic.n_rows() + row
    }

    fn first_resource_row(&self) -> usize {
        self.first_slo_row() + self.n_levels() * self.inner.traffic.n_rows()
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
        let traffic = self.inner.traffic;
        for level in 0..self.n_levels() {
            let flow = offer.candidate.flow_at(level);
            let policies = level * traffic.n_routes()..(level + 1) * traffic.n_routes();
            entries.extend(policies.map(|policy| (self.coupling_row(policy, model), -point.fractions[policy])));
            let rows = 0..traffic.n_rows();
            entries.extend(rows.map(|row| (self.slo_row(level, row), point.flow(flow, traffic, level, row))));
        }
        let resources = offer.takes.iter();
        entries.extend(resources.map(|(row, taken)| (self.first_resource_row() + *row as usize, *taken)));
        if self.inner.least_units.is_some() {
            entries.push((self.floor_row(), offer.units));
        }
        let kind = Column::Offer { model, offering, point };
        self.add(kind, 0.0, entries)
    }

    fn add_response(&mut self, policy: usize, index: usize, response: &Response) {
        let mut entries = vec![(policy, 1.0)];
        let fractions = response.fractions.iter().enumerate();
        entries.extend(fractions.map(|(model, w)| (self.coupling_row(policy, model), *w)));
        let cost = self.inner.traffic.weights[policy] * response.quality;
        self.add(Column::Response { policy, index }, cost, entries);
    }

    /// Of the responses known before, those worth most where the solve starts: many would only slow the master down.
    fn learn_known_responses(&mut self, responses: &Responses) {
        for policy in 0..self.n_policies() {
            let prices = part(&self.best.prices, policy, self.n_policies());
            let worth = |response: &Response| response.quality - dot(prices, &response.fractions);
            let route = self.inner.traffic.route_of(policy);
            let own = (0..)
                .zip(&responses.list)
                .filter(|(_, response)| response.route == route);
            let mut known: Vec<(f64, usize)> = own.map(|(index, response)| (worth(response), index)).collect();
            known.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            known.truncate(MAX_KNOWN_RESPONSES);
            for (_, index) in known {
                self.add_response(policy, index, &responses.list[index]);
            }
        }
    }

    fn learn_responses(&mut self, responses: &Responses) {
        for (policy, index) in std::mem::take(&mut self.fresh) {
            self.add_response(policy, index, &responses.list[index]);
        }
    }

    /// A basis that is feasible because it answers nothing and pays for every violation.
    fn first_basis(&mut self) -> Result<(), Stalled> {
        let (traffic, n_levels) = (self.inner.traffic, self.n_levels());
        let mut basis: Vec<usize> = (0..self.n_policies())
            .map(|policy| self.add(Column::Unanswered, -self.penalty, vec![(policy, 1.0)]))
            .collect();
        let mut used = vec![0.0; n_levels * traffic.n_rows()];
        let mut taken = vec![0.0; self.inner.n_resources];
        let mut units = 0.0;
        for model in 0..self.n_models() {
            let offer = self.inner.offerings[model][0];
            let point = if traffic.is_shared() {
                // What routes may send at the least load differs; at any prices the best point is one that they may.
                offers::look(&offer, model, &self.best, traffic)
            } else {
                let mut point = Point {
                    value: 0.0,
                    fractions: [0.0; MOST_POLICIES],
                };
                for level in 0..n_levels {
                    point.fractions[level] = offer.ranges.at(level, model, self.n_models()).low;
                }
                point
            };
            for (at, sum) in used.iter_mut().enumerate() {
                let (level, row) = (at / traffic.n_rows(), at % traffic.n_rows());
                *sum += point.flow(offer.candidate.flow_at(level), traffic, level, row);
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

    fn run(&mut self, responses: &mut Responses, until: Until) -> Result<Ending, Stalled> {
        self.first_basis()?;
        self.learn_known_responses(responses);
        let mut smoothing = 0.5;
        let mut gap = f64::INFINITY;
        let first = responses.evaluations;
        loop {
            // Far from the end offers that gain next to nothing would only fill the master.
            let fine = until.tolerance * 0.05;
            let coarse = (gap * 1e-3).min(COARSE).max(fine);
            let duals = self.optimise_offers(responses, coarse)?;
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
            if responses.evaluations - first >= until.max_evaluations
                || self.columns.len() > LEAST_COLUMNS.max(MAX_COLUMNS * self.n_models())
            {
                return Ok(Ending::Unfinished);
            }
            let trial = blend(&self.best, &duals.dual, smoothing);
            let bound = self.evaluate(&trial, responses);
            let improved = bound < self.best.bound;
            if improved {
                self.best = Dual { bound, ..trial };
            }
            let found = self.fresh.iter().any(|(policy, index)| {
                let response = &responses.list[*index];
                let prices = part(&duals.dual.prices, *policy, self.n_policies());
                response.quality - dot(prices, &response.fractions)
                    > duals.response_rents[*policy] + until.tolerance * 1e-2
            });
            self.learn_responses(responses);
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

    /// Re-solves the master, adding offers at its prices until none pays by more than `tolerance`: offers cost nanoseconds, responses
    /// a pass over all prompts.
    fn optimise_offers(&mut self, responses: &mut Responses, tolerance: f64) -> Result<MasterDuals, Stalled> {
        let mut rounds = 0;
        loop {
            self.master.optimise()?;
            responses.work += self.n_runs * STEPS_PER_RUN + self.master.take_looked() / ENTRIES_PER_STEP;
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
        // The master counts in quality of the whole, prices in quality of their policy.
        let traffic = self.inner.traffic;
        let weights = traffic.weights.iter();
        let of_policy = |n: usize| weights.clone().flat_map(move |weight| std::iter::repeat_n(*weight, n));
        let rows = (0..self.n_levels()).flat_map(|level| (0..traffic.n_rows()).map(move |row| (level, row)));
        let n = self.n_policies();
        MasterDuals {
            response_rents: duals[..n]
                .iter()
                .zip(weights.clone())
                .map(|(rent, w)| rent / w)
                .collect(),
            offer_rents: duals[n..self.coupling_row(0, 0)].to_vec(),
            dual: Dual {
                bound: f64::INFINITY,
                prices: positive(self.coupling_row(0, 0)..self.first_slo_row())
                    .zip(of_policy(self.n_models()))
                    .map(|(dual, weight)| dual / weight)
                    .collect(),
                row_prices: positive(self.first_slo_row()..self.first_resource_row())
                    .zip(rows)
                    .map(|(dual, (level, row))| dual / traffic.weight_of_row(level, row))
                    .collect(),
                resource_prices: positive(self.first_resource_row()..self.floor_row()).collect(),
                floor_price,
            },
        }
    }

    /// `H` of a model at some prices: value, offering and point.
    fn best_offer(&self, model: usize, dual: &Dual) -> (f64, usize, Point) {
        best_offer(&self.inner.offerings[model], model, dual, self.inner.traffic)
    }

    /// `D` at some prices; remembers the responses.
    fn evaluate(&mut self, dual: &Dual, responses: &mut Responses) -> f64 {
        let mut bound = 0.0;
        let traffic = self.inner.traffic;
        for (policy, weight) in traffic.weights.iter().enumerate() {
            let route = traffic.route_of(policy);
            let table = &self.tables[route];
            let prices = part(&dual.prices, policy, self.n_policies());
            let row_prices = traffic.rows_of_policy(&dual.row_prices, policy);
            table.evaluate(prices, &mut self.evaluation);
            responses.evaluations += 1;
            responses.work += 1 + (table.n_rows() * self.n_models()) as u64 / SCORES_PER_STEP;
            bound += weight * (self.evaluation.value(prices) + self.inner.limit * row_prices.iter().sum::<f64>());
            self.fresh.push((policy, responses.list.len()));
            responses.list.push(Response {
                route,
                prices: prices.to_vec(),
                fractions: self.evaluation.fractions.clone(),
                quality: self.evaluation.quality,
            });
        }
        responses.work += self.n_runs * STEPS_PER_RUN;
        bound += (0..self.n_models())
            .map(|model| self.best_offer(model, dual).0)
            .sum::<f64>();
        bound += dual.resource_prices.iter().sum::<f64>();
        if let Some(least) = self.inner.least_units {
            bound -= least * dual.floor_price;
        }
        bound
    }

    fn finish(self, responses: &Responses, ending: Ending) -> Solved {
        let answered = ending != Ending::Infeasible && self.artificial_part() <= 1e-9;
        let mixture = answered.then(|| self.mixture(responses));
        Solved {
            ending,
            dual: self.best,
            mixture,
        }
    }
}

struct MasterDuals {
    response_rents: Vec<f64>,
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
