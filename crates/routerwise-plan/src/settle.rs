//! The best setup, finished: idle shares given away, prices found that do prompt by prompt what the solution does in the mean.

use routerwise_types::plan::Routing;
use routerwise_types::scenario::Scenario;

use crate::packing::Packing;
use crate::prices::{Dual, Mixture, Responses, Solved, Until, part};
use crate::problem::{Candidate, Problem};
use crate::search::fit::pack_setup;
use crate::search::{Incumbent, Tightening, solve_candidates};
use crate::ties::{Realised, TIE_TOLERANCES, realise, splits};

/// Prices that do in fact, prompt by prompt, what the solution does in the mean.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) dual: Dual,
    pub(crate) routing: Routing,
    pub(crate) realised: Realised,
}

/// One load level of the best setup, finished.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    /// The level by itself, with the setup's candidates only.
    pub(crate) problem: Problem,
    /// The setup in its numbers.
    pub(crate) best: Incumbent,
    /// One for each route.
    pub(crate) policies: Vec<Policy>,
}

impl Settled {
    /// Fraction of prompts per model, route after route.
    pub(crate) fn fractions(&self) -> Vec<f64> {
        fractions(&self.policies)
    }

    /// Part of the level's requests that each model gets.
    pub(crate) fn loads(&self) -> Vec<f64> {
        self.problem.traffic.loads(&self.fractions(), self.problem.models.len())
    }
}

fn fractions(policies: &[Policy]) -> Vec<f64> {
    let of_routes = policies.iter().map(|policy| policy.realised.fractions.as_slice());
    of_routes.collect::<Vec<_>>().concat()
}

/// Settles every load level: once the setup is fixed they have nothing to do with each other.
pub(crate) fn settle_all(
    scenario: &Scenario,
    problem: &Problem,
    responses: &mut Responses,
    best: &Incumbent,
) -> Option<Vec<Settled>> {
    let workload = &scenario.workload;
    let n_levels = problem.n_levels();
    let at_level = |level: usize| {
        let rate = workload.rate_at(level).value() * (1.0 + workload.planning.headroom);
        let problem = problem.at_level(level, &best.candidates, rate);
        let best = Incumbent {
            candidates: vec![0; best.candidates.len()],
            ranges: part(&best.ranges, level, n_levels).to_vec(),
            placement: best.placement.clone(),
            quality: best.quality,
            fractions: part(&best.fractions, level, n_levels).to_vec(),
            loads: part(&best.loads, level, n_levels).to_vec(),
            dual: best.dual.at_level(level, n_levels),
        };
        let policies = settle(&problem, responses, &best)?;
        Some(Settled {
            problem,
            best,
            policies,
        })
    };
    (0..n_levels).map(at_level).collect()
}

/// Mean score over the policies.
pub(crate) fn quality(problem: &Problem, settled: &[Settled]) -> f64 {
    let policies = settled.iter().flat_map(|settled| &settled.policies);
    weighted_quality(&problem.traffic.weights, policies)
}

fn weighted_quality<'a>(weights: &[f64], policies: impl Iterator<Item = &'a Policy>) -> f64 {
    let pairs = weights.iter().zip(policies);
    pairs.map(|(weight, policy)| weight * policy.realised.quality()).sum()
}

/// Quality per unused limit, relative to the tolerance: equally good routings are told apart by latency.
const SLACK_REWARD: f64 = 0.1;
const ATTEMPTS: i32 = 12;
/// Slack for rounding between the master's arithmetic and the plan's.
const ROUNDING: f64 = 1e-7;

/// Quality that is not worth a wider tie tolerance.
const NEGLIGIBLE: f64 = 1e-6;

/// Solves the best setup at one load level to the end and splits its ties: a policy for each route.
///
/// The responses of the solution disagree only on prompts that are tied or nearly so. A tie tolerance that gathers enough of them makes the
/// plan do what the solution does; it costs at most that tolerance on those few prompts. Should that not do, the limit
/// is tightened by what is missing and the setup solved again. Routes that share models are settled with every model held at the load that was
/// found for it, where the problem is linear.
pub(crate) fn settle(problem: &Problem, responses: &mut Responses, best: &Incumbent) -> Option<Vec<Policy>> {
    let traffic = &problem.traffic;
    let held = traffic
        .is_shared()
        .then(|| problem.held_at(&best.candidates, &best.loads));
    let (solvable, candidates, mut ranges) = match &held {
        Some(held) => (held, vec![0; best.candidates.len()], problem.all_ranges()),
        None => (problem, best.candidates.clone(), best.ranges.clone()),
    };
    let on = flags(solvable, &candidates);
    let mut limit = 1.0 - ROUNDING;
    let mut start = best.dual.clone();
    for attempt in 0..ATTEMPTS {
        let until = Until {
            tolerance: 1e-7,
            cut_off: f64::NEG_INFINITY,
            max_evaluations: 2_000,
        };
        let tightening = Tightening {
            limit,
            slack_reward: SLACK_REWARD * problem.tolerance,
        };
        let solved = solve_candidates(
            solvable,
            responses,
            &candidates,
            &ranges,
            tightening,
            Some(&start),
            until,
        );
        let mixture = solved.mixture.as_ref()?;
        let mut missing = f64::INFINITY;
        let mut kept: Option<(f64, Vec<Policy>)> = None;
        for tolerance in TIE_TOLERANCES {
            let policies = policies(solvable, &solved, mixture, responses, &on, tolerance);
            let fractions = fractions(&policies);
            let over = excess(problem, best, &fractions);
            let beyond = beyond_capacity(problem, best, &fractions);
            if over <= 0.0 && beyond.iter().all(|beyond| *beyond <= 0.0) {
                let quality = weighted_quality(&traffic.weights, policies.iter());
                if kept.as_ref().is_none_or(|(kept, _)| *kept < quality) {
                    kept = Some((quality, policies));
                }
                if quality >= mixture.quality - NEGLIGIBLE {
                    break;
                }
                continue;
            }
            missing = missing.min(over);
            if tolerance >= TIE_TOLERANCES[TIE_TOLERANCES.len() - 1] {
                for (range, beyond) in ranges.iter_mut().zip(beyond).filter(|(_, beyond)| *beyond > 0.0) {
                    range.high -= 1.5 * beyond;
                    range.low = range.low.min(range.high);
                }
            }
        }
        if let Some((_, policies)) = kept {
            return Some(policies);
        }
        limit -= (1.5 * missing).max(ROUNDING) * f64::powi(2.0, attempt);
        start = solved.dual;
    }
    None
}

/// What a solution at one level does prompt by prompt, route by route, with ties gathered to a tolerance. `on` says which models each route may
/// use.
fn policies(
    problem: &Problem,
    solved: &Solved,
    mixture: &Mixture,
    responses: &Responses,
    on: &[Vec<bool>],
    tolerance: f64,
) -> Vec<Policy> {
    let traffic = &problem.traffic;
    let of_route = |route: usize| {
        let table = &problem.tables[route];
        let mut prices = part(&solved.dual.prices, route, traffic.n_routes()).to_vec();
        for model in 0..prices.len() {
            let runs = problem.models[model].candidates[0].configuration.is_some();
            if traffic.is_shared() && runs && !on[route][model] {
                prices[model] = table.least_refusing_price(model, &prices) + REFUSED;
            }
        }
        let routing = splits(table, &prices, &on[route], &mixture.parts[route], responses, tolerance);
        let realised = realise(table, &prices, &on[route], &routing);
        Policy {
            dual: Dual {
                prices,
                row_prices: traffic.rows_of_policy(&solved.dual.row_prices, route).to_vec(),
                ..solved.dual.clone()
            },
            routing,
            realised,
        }
    };
    (0..traffic.n_routes()).map(of_route).collect()
}

/// What a model that runs, but not for a route, costs there beyond the price at which no prompt wants it: more than any tie tolerance.
const REFUSED: f64 = 0.01;

/// How far the load of each model lies beyond what its configuration can take.
fn beyond_capacity(problem: &Problem, best: &Incumbent, fractions: &[f64]) -> Vec<f64> {
    let loads = problem.traffic.loads(fractions, problem.models.len());
    let pairs = loads.iter().enumerate();
    pairs
        .map(|(model, w)| w - problem.models[model].candidates[best.candidates[model]].flow.cap() - ROUNDING)
        .collect()
}

/// For each route, which models run and may answer it.
fn flags(problem: &Problem, candidates: &[usize]) -> Vec<Vec<bool>> {
    let may = |route: usize, (model, candidate): (usize, &usize)| {
        let candidate = &problem.models[model].candidates[*candidate];
        candidate.configuration.is_some() && candidate.flow.reach(route) >= 0.0
    };
    let of_route = |route: usize| candidates.iter().enumerate().map(|at| may(route, at)).collect();
    (0..problem.traffic.n_routes()).map(of_route).collect()
}

/// Largest `Σ φ − 1` over the rows.
fn excess(problem: &Problem, best: &Incumbent, fractions: &[f64]) -> f64 {
    (0..problem.rows.len())
        .map(|row| problem.row_sum(&best.candidates, fractions, 0, row) - 1.0)
        .fold(f64::NEG_INFINITY, f64::max)
}

/// Upgrades packed before a round gives up.
const MAX_TRIED: usize = 24;

/// Gives idle GPUs to the running models, each time the configuration that lowers latency most at the fractions found and still fits.
/// Quality cannot suffer: the routing found stays possible.
pub(crate) fn fill_up(problem: &Problem, best: &Incumbent) -> Incumbent {
    let mut filled = best.clone();
    loop {
        let mut upgrades: Vec<(f64, usize, usize)> = (0..problem.models.len())
            .flat_map(|model| upgrades(problem, &filled, model))
            .collect();
        upgrades.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let fitting = upgrades.into_iter().take(MAX_TRIED).find_map(|(_, model, candidate)| {
            let mut candidates = filled.candidates.clone();
            candidates[model] = candidate;
            match pack_setup(problem, &candidates).0 {
                Packing::Placed(placement) => Some((candidates, placement)),
                Packing::Impossible | Packing::Undecided => None,
            }
        });
        let Some((candidates, placement)) = fitting else {
            return filled;
        };
        filled.candidates = candidates;
        filled.placement = placement;
    }
}

/// Configurations of a running model that use more compute and take the same load at lower latency: gain, model and candidate.
fn upgrades(problem: &Problem, best: &Incumbent, model: usize) -> Vec<(f64, usize, usize)> {
    let candidates = &problem.models[model].candidates;
    let now = &candidates[best.candidates[model]];
    let (traffic, n_models) = (&problem.traffic, problem.models.len());
    let loads = traffic.loads(&best.fractions, n_models);
    let load = |level: usize| loads[level * n_models + model];
    let fraction = |policy: usize| best.fractions[policy * n_models + model];
    let latency = |candidate: &Candidate| -> f64 {
        let rows = (0..problem.n_levels()).flat_map(|level| (0..traffic.n_rows()).map(move |row| (level, row)));
        let of_row = |(level, row): (usize, usize)| -> f64 {
            let (flow, policy) = (candidate.flow_at(level), traffic.policy_of_row(level, row));
            let wait = fraction(policy) * flow.latency(row, load(level));
            traffic.weights[policy] * wait
        };
        rows.map(of_row).sum()
    };
    let can_take = |candidate: &Candidate| {
        (0..traffic.n_policies()).all(|policy| {
            let (level, route) = (policy / traffic.n_routes(), traffic.route_of(policy));
            let flow = candidate.flow_at(level);
            flow.cap() >= load(level) && (fraction(policy) <= 0.0 || flow.may_use(route, load(level)))
        })
    };
    let used: u32 = best
        .candidates
        .iter()
        .zip(&problem.models)
        .map(|(c, m)| m.candidates[*c].units)
        .sum();
    let idle = problem.all_units() - used;
    candidates
        .iter()
        .enumerate()
        .filter(|(_, other)| now.configuration.is_some() && now.units < other.units && other.units <= now.units + idle)
        .filter(|(_, other)| can_take(other))
        .map(|(index, other)| (latency(now) - latency(other), model, index))
        .filter(|(gain, _, _)| *gain > 0.0)
        .collect()
}
