//! The minimum of `D(α, β)` by damped Newton steps on a shrinking temperature.

use super::flows::{Offer, Pieces};
use super::lead::Lead;
use super::{Merged, REACH, TEMPERATURE, TURNED_AWAY};

/// Bend `δ` of the flows, in units of score for all requests at once.
const BEND: f64 = 1e-3;
/// Fractions this close to their offers are as good as equal: a sample of 4 096 tells them apart to 0.01.
const CLOSE: f64 = 2e-3;
/// What is lost where worths are compared as `f32`, for every unit.
const ROUNDING: f64 = 1e-6;
/// Steps at the last temperature, and at each before it.
const STEPS: usize = 12;
const HOT_STEPS: usize = 6;
/// Rows that are looked at while the temperature is still high.
const COARSE_ROWS: usize = 384;
/// Temperatures that a solve from far away begins with.
const HOT: [f64; 4] = [0.05, 0.0125, 0.003, 0.001];
/// That is: fractions further than so many times [`CLOSE`] from offers.
const FAR: f64 = 50.0;

/// What is to be priced. Models that may not be used have no pieces.
#[derive(Clone, Debug)]
pub(crate) struct Problem<'a> {
    pub(crate) sample: &'a Merged,
    pub(crate) flows: Vec<Option<Pieces>>,
    /// `L` of every row: a little less than 1, or more where that is out of reach.
    pub(crate) limits: Vec<f64>,
    /// Least and most `β`.
    pub(crate) row_price: (f64, f64),
    /// `β` of every row where it is not to be found.
    pub(crate) row_prices: Option<Vec<f64>>,
    /// Whether requests may be turned away.
    pub(crate) may_refuse: bool,
}

/// Prices and what they do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Prices {
    /// `α` of every model.
    pub(crate) prices: Vec<f64>,
    /// `β` of every row, relative to its limit.
    pub(crate) row_prices: Vec<f64>,
    /// Part of the requests that goes to each model.
    pub(crate) fractions: Vec<f64>,
    /// Mean score of what is answered, over all requests.
    pub(crate) score: f64,
    /// Part that is turned away.
    pub(crate) refused: f64,
    /// Left-hand side of every row relative to its limit.
    pub(crate) rows: Vec<f64>,
    /// Newton steps that it took.
    pub(crate) steps: usize,
}

/// Solves from the nearest of some starts, looking at so many rows at most; what may not be used keeps its price.
pub(crate) fn solve(problem: &Problem<'_>, starts: &[&Prices], rows_most: usize) -> Prices {
    let all = problem.sample.len().min(rows_most);
    let looked_at = starts.iter().map(|start| {
        let state = State::new(problem, start);
        let measured = state.measure(TEMPERATURE, all);
        (state, measured)
    });
    let nearest = looked_at.reduce(|best, other| {
        if other.1.distance() < best.1.distance() {
            other
        } else {
            best
        }
    });
    let (mut state, mut measured) = nearest.expect("there is a start");
    // A `β` that is far off is found from prices that are not.
    if measured.distance_of_fractions() > FAR * CLOSE {
        for temperature in HOT {
            let coarse = all.min(COARSE_ROWS);
            let hot = state.measure(temperature, coarse);
            state.descend(hot, temperature, coarse, HOT_STEPS);
        }
        measured = state.measure(TEMPERATURE, all);
    }
    let measured = state.descend(measured, TEMPERATURE, all, STEPS);
    state.finish(&measured)
}

struct State<'a> {
    problem: &'a Problem<'a>,
    /// Models that take part.
    on: Vec<usize>,
    /// Their prices, then those of the rows.
    at: Vec<f64>,
    all_prices: Vec<f64>,
    steps: usize,
}

/// `D`, its gradient and its curvature.
struct Measured {
    value: f64,
    gradient: Vec<f64>,
    hessian: Vec<f64>,
    fractions: Vec<f64>,
    score: f64,
    refused: f64,
    n_models: usize,
    free: Vec<bool>,
}

impl Measured {
    /// How far fractions are from offers, and rows from where they should be, at worst.
    fn distance(&self) -> f64 {
        // A row is relative to its limit: a per cent of an objective is as much as a fifth of a per cent of the requests.
        let rows = self.worst(self.n_models..self.gradient.len());
        self.distance_of_fractions().max(0.2 * rows)
    }

    fn distance_of_fractions(&self) -> f64 {
        self.worst(0..self.n_models)
    }

    fn worst(&self, range: std::ops::Range<usize>) -> f64 {
        let free = range.filter(|ix| self.free[*ix]);
        free.map(|ix| self.gradient[ix].abs()).fold(0.0, f64::max)
    }
}

impl<'a> State<'a> {
    fn new(problem: &'a Problem<'a>, start: &Prices) -> Self {
        let on: Vec<usize> = (0..problem.flows.len())
            .filter(|model| problem.flows[*model].is_some())
            .collect();
        let mut at: Vec<f64> = on.iter().map(|model| start.prices[*model]).collect();
        at.extend((0..problem.limits.len()).map(|row| {
            let known = start.row_prices.get(row).copied().unwrap_or(0.0);
            if let Some(fixed) = &problem.row_prices {
                return fixed[row];
            }
            known.clamp(problem.row_price.0, problem.row_price.1)
        }));
        Self {
            problem,
            on,
            at,
            all_prices: start.prices.clone(),
            steps: 0,
        }
    }

    /// What every model offers. How it responds to its price is no less than what a step of a temperature shows: at a corner of a curve
    /// the derivative alone says nothing about what a step will do.
    fn offers<'b>(&'b self, at: &'b [f64]) -> impl Iterator<Item = (&'b Pieces, Offer)> + 'b {
        let row_prices = &at[self.on.len()..];
        self.on.iter().zip(at).map(move |(model, price)| {
            let pieces = self.problem.flows[*model]
                .as_ref()
                .expect("models that are on have pieces");
            let best = |by: f64| pieces.best(price + by, row_prices, BEND);
            let offer = best(0.0);
            if offer.response > 0.0 {
                return (pieces, offer);
            }
            let rise = best(TEMPERATURE).fraction - best(-TEMPERATURE).fraction;
            let response = rise / (2.0 * TEMPERATURE);
            (pieces, Offer { response, ..offer })
        })
    }

    fn measure(&self, temperature: f64, n_rows: usize) -> Measured {
        self.measure_at(&self.at, temperature, n_rows)
    }

    fn measure_at(&self, at: &[f64], temperature: f64, n_sampled: usize) -> Measured {
        let (n, m) = (at.len(), self.on.len());
        let mut measured = self.prompts(at, temperature, n_sampled);
        for (model, (pieces, offer)) in self.offers(at).enumerate() {
            measured.value += offer.value;
            measured.gradient[model] += offer.fraction;
            measured.hessian[model * n + model] += offer.response;
            for row in 0..self.problem.limits.len() {
                let (flow, slope) = pieces.at(row, offer.piece, offer.fraction);
                measured.gradient[m + row] -= flow;
                measured.hessian[model * n + m + row] -= slope * offer.response;
                measured.hessian[(m + row) * n + model] -= slope * offer.response;
                for other in 0..self.problem.limits.len() {
                    let (_, other_slope) = pieces.at(other, offer.piece, offer.fraction);
                    measured.hessian[(m + row) * n + m + other] += slope * other_slope * offer.response;
                }
            }
        }
        for (row, limit) in self.problem.limits.iter().enumerate() {
            measured.value += at[m + row] * limit;
            measured.gradient[m + row] += limit;
        }
        for (ix, value) in at.iter().enumerate() {
            let (least, most) = self.bounds(ix);
            let gradient = measured.gradient[ix];
            measured.free[ix] = !(*value <= least && gradient > 0.0 || *value >= most && gradient < 0.0);
        }
        measured
    }

    /// `A_ε`, the fractions and their curvature. Most rows have one model within reach, which costs a comparison a model and nothing else.
    fn prompts(&self, at: &[f64], temperature: f64, n_sampled: usize) -> Measured {
        let (n, m) = (at.len(), self.on.len());
        let refusal = if self.problem.may_refuse {
            TURNED_AWAY
        } else {
            f64::NEG_INFINITY
        };
        let mut hessian = vec![0.0; n * n];
        let mut fractions = vec![0.0; m];
        let (mut sum, mut refused, mut weights) = (0.0, 0.0, 0.0);
        let mut near: [(usize, f64); 64] = [(0, 0.0); 64];
        let dearest = at[..m].iter().fold(0.0, |most, price| f64::max(most, *price));
        let alone = REACH * temperature + ROUNDING * (1.0 + dearest);
        for block in self.problem.sample.blocks(n_sampled) {
            let lead = Lead::of(&block, &self.on, &at[..m], refusal);
            for (lane, weight) in block.weights.iter().copied().enumerate() {
                weights += weight;
                if let Some(model) = lead.alone(lane, alone) {
                    fractions[model] += weight;
                    sum += weight * (f64::from(block.of(self.on[model])[lane]) - at[model]);
                    continue;
                }
                let worth = |(nth, model): (usize, &usize)| (nth, f64::from(block.of(*model)[lane]) - at[nth]);
                let all = self.on.iter().enumerate().map(worth);
                let best = all.clone().fold(refusal, |best, (_, worth)| best.max(worth));
                let reach = best - REACH * temperature;
                let mut n_near = 0;
                for (place, found) in near.iter_mut().zip(all.filter(|(_, worth)| *worth >= reach)) {
                    *place = found;
                    n_near += 1;
                }
                let mut total = if refusal >= reach {
                    ((refusal - best) / temperature).exp()
                } else {
                    0.0
                };
                let refusing = total;
                for (_, worth) in &mut near[..n_near] {
                    *worth = ((*worth - best) / temperature).exp();
                    total += *worth;
                }
                sum += weight * (best + temperature * total.ln());
                refused += weight * refusing / total;
                for at in 0..n_near {
                    let (model, part) = (near[at].0, weight * near[at].1 / total);
                    fractions[model] += part;
                    hessian[model * n + model] += part;
                    for (other, odds) in &near[..n_near] {
                        hessian[model * n + other] -= part * odds / total;
                    }
                }
            }
        }
        let n_rows = f64::max(weights, 1e-12);
        fractions.iter_mut().for_each(|part| *part /= n_rows);
        hessian.iter_mut().for_each(|entry| *entry /= n_rows * temperature);
        let paid: f64 = fractions.iter().zip(at).map(|(part, price)| part * price).sum();
        let mut gradient: Vec<f64> = fractions.iter().map(|part| -part).collect();
        gradient.resize(n, 0.0);
        Measured {
            value: sum / n_rows,
            gradient,
            hessian,
            fractions,
            score: sum / n_rows + paid - refusal.max(TURNED_AWAY) * refused / n_rows,
            refused: refused / n_rows,
            n_models: m,
            free: vec![true; n],
        }
    }

    /// Steps until offers are met, or so often; gives what it is like there.
    fn descend(&mut self, mut measured: Measured, temperature: f64, n_sampled: usize, steps_most: usize) -> Measured {
        let mut damping = 1e-3;
        for _ in 0..steps_most {
            if measured.distance() <= CLOSE {
                break;
            }
            let Some(step) = direction(&measured, damping) else {
                damping *= 10.0;
                continue;
            };
            self.steps += 1;
            let at: Vec<f64> = self
                .at
                .iter()
                .zip(&step)
                .enumerate()
                .map(|(ix, (at, step))| self.bounded(ix, at + step))
                .collect();
            let tried = self.measure_at(&at, temperature, n_sampled);
            let expected: f64 = measured
                .gradient
                .iter()
                .zip(at.iter().zip(&self.at))
                .map(|(g, (new, old))| g * (new - old))
                .sum();
            if tried.value <= measured.value + 1e-4 * expected.min(0.0) + 1e-12 {
                self.at = at;
                measured = tried;
                damping = (damping * 0.2).max(1e-6);
            } else {
                damping *= 8.0;
                if damping > 1e9 {
                    break;
                }
            }
        }
        measured
    }

    fn bounds(&self, ix: usize) -> (f64, f64) {
        let Some(row) = ix.checked_sub(self.on.len()) else {
            return (0.0, f64::INFINITY);
        };
        let fixed = self.problem.row_prices.as_ref();
        fixed.map_or(self.problem.row_price, |fixed| (fixed[row], fixed[row]))
    }

    fn bounded(&self, ix: usize, value: f64) -> f64 {
        let (least, most) = self.bounds(ix);
        value.clamp(least, most)
    }

    fn finish(mut self, measured: &Measured) -> Prices {
        let n_models = self.problem.flows.len();
        let mut fractions = vec![0.0; n_models];
        for (ix, model) in self.on.iter().enumerate() {
            self.all_prices[*model] = self.at[ix];
            fractions[*model] = measured.fractions[ix];
        }
        let rows = (0..self.problem.limits.len()).map(|row| {
            let flow = |model: &usize| {
                let pieces = self.problem.flows[*model]
                    .as_ref()
                    .expect("models that are on have pieces");
                pieces.value(row, fractions[*model])
            };
            self.on.iter().map(flow).sum()
        });
        Prices {
            rows: rows.collect(),
            prices: self.all_prices,
            row_prices: self.at[self.on.len()..].to_vec(),
            score: measured.score,
            refused: measured.refused,
            fractions,
            steps: self.steps,
        }
    }
}

/// Solves `(Hessian + damping) · step = −gradient` over what is free, by Cholesky; nothing where rounding makes that impossible.
fn direction(measured: &Measured, damping: f64) -> Option<Vec<f64>> {
    let n = measured.gradient.len();
    let free: Vec<usize> = (0..n).filter(|ix| measured.free[*ix]).collect();
    let m = free.len();
    let mut factor = vec![0.0; m * m];
    for (i, row) in free.iter().enumerate() {
        for (j, column) in free.iter().enumerate().take(i + 1) {
            let mut entry = measured.hessian[row * n + column];
            if i == j {
                entry += damping * (1.0 + entry);
            }
            entry -= (0..j).map(|k| factor[i * m + k] * factor[j * m + k]).sum::<f64>();
            factor[i * m + j] = if i == j {
                if entry <= 0.0 {
                    return None;
                }
                entry.sqrt()
            } else {
                entry / factor[j * m + j]
            };
        }
    }
    let mut solved: Vec<f64> = free.iter().map(|ix| -measured.gradient[*ix]).collect();
    for i in 0..m {
        let known: f64 = (0..i).map(|k| factor[i * m + k] * solved[k]).sum();
        solved[i] = (solved[i] - known) / factor[i * m + i];
    }
    for i in (0..m).rev() {
        let known: f64 = (i + 1..m).map(|k| factor[k * m + i] * solved[k]).sum();
        solved[i] = (solved[i] - known) / factor[i * m + i];
    }
    let mut step = vec![0.0; n];
    free.iter().zip(solved).for_each(|(ix, value)| step[*ix] = value);
    step.iter().all(|value| value.is_finite()).then_some(step)
}

/// `D` at some prices.
#[cfg(test)]
pub(super) fn value(problem: &Problem<'_>, prices: &Prices) -> f64 {
    State::new(problem, prices)
        .measure(TEMPERATURE, problem.sample.len())
        .value
}

/// Mean score of what prices do.
#[cfg(test)]
pub(super) fn quality(problem: &Problem<'_>, prices: &Prices) -> f64 {
    let state = State::new(problem, prices);
    let measured = state.measure(TEMPERATURE, problem.sample.len());
    let worth = State::new(problem, prices)
        .prompts(&state.at, TEMPERATURE, problem.sample.len())
        .value;
    worth
        + measured
            .fractions
            .iter()
            .zip(&state.at)
            .map(|(w, price)| w * price)
            .sum::<f64>()
}
