//! Prices on a given allocation: ours, and those of an oracle that knows the test prompts.

use std::sync::Arc;

use routerwise_types::comparison::RoutingRule;
use routerwise_types::scenario::Scenario;
use routerwise_types::units::{Bytes, Seconds};
use routerwise_types::workload::{Scope, Slo, Statistic};

use super::{Merit, Tuned, TunedFor, Tuner};
use crate::baselines::allocation::Allocation;
use crate::baselines::rule::Rule;
use crate::baselines::servers::{Server, Servers};
use crate::curve::{LatencyCurve, Reading, Sample};
use crate::flow::{Flow, Interval};
use crate::prices::Dual;
use crate::prices::kernel::ScoreTable;
use crate::problem::{Candidate, ModelOptions, Problem, reading};
use crate::search::{Effort, Goal, Incumbent, search};
use crate::settle::settle;
use crate::traffic::Traffic;

/// A problem that has one setup only.
pub(crate) struct Fixed {
    pub(crate) problem: Problem,
    pub(crate) incumbent: Incumbent,
}

/// Under which terms prices are computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Terms {
    /// Factor on every target.
    pub(super) targets: f64,
    /// Factor on the rate.
    pub(super) rate: f64,
    /// Whether latency is taken to be what it is when idle, at any load, without capacity.
    pub(super) constant: bool,
}

impl Terms {
    const STATED: Self = Self {
        targets: 1.0,
        rate: 1.0,
        constant: false,
    };
}

/// A problem in which every model has the allocation's candidate alone.
pub(crate) fn shrunk(problem: &Problem, candidates: &[Option<usize>], table: Arc<ScoreTable>) -> Problem {
    let models = problem
        .models
        .iter()
        .zip(candidates)
        .map(|(model, candidate)| ModelOptions {
            name: model.name.clone(),
            candidates: vec![candidate.map_or_else(
                || off(problem.rows.len()),
                |candidate| Candidate {
                    // There is nothing left to share, so resources have no rows.
                    takes: Box::default(),
                    ..model.candidates[candidate].clone()
                },
            )],
        });
    Problem {
        tables: vec![table],
        models: models.collect(),
        rows: problem.rows.clone(),
        // A contest has one load level.
        traffic: Traffic {
            weights: vec![1.0],
            ..problem.traffic.clone()
        },
        cluster: problem.cluster.clone(),
        resources: Vec::new(),
        units_per_gpu: problem.units_per_gpu,
        least_units: 0,
        rate: problem.rate,
        tolerance: problem.tolerance,
        max_solves: problem.max_solves,
    }
}

fn off(n_rows: usize) -> Candidate {
    Candidate {
        configuration: None,
        flow: Flow::off(n_rows),
        further: Box::default(),
        units: 0,
        shard_units: 0,
        shard_memory: Bytes(0),
        takes: Box::default(),
        profile_ix: None,
    }
}

/// The allocation as a problem of its own.
pub(crate) fn fixed(problem: &Problem, allocation: &Allocation) -> Fixed {
    let n = problem.models.len();
    Fixed {
        problem: shrunk(problem, &allocation.candidates, Arc::clone(&problem.tables[0])),
        incumbent: Incumbent {
            candidates: vec![0; n],
            ranges: vec![Interval::ALL; n],
            placement: allocation.placement.clone(),
            quality: 0.0,
            fractions: vec![0.0; n],
            loads: Vec::new(),
            dual: Dual {
                bound: f64::INFINITY,
                prices: vec![0.0; n],
                row_prices: vec![0.0; problem.rows.len()],
                resource_prices: Vec::new(),
                floor_price: 0.0,
            },
        },
    }
}

/// Prices for a table of scores under some terms, or nothing when no routing meets them.
pub(super) fn prices(tuner: &Tuner<'_>, table: &Arc<ScoreTable>, terms: Terms) -> Option<Rule> {
    let mut fixed = fixed(tuner.problem, tuner.allocation);
    fixed.problem.tables = vec![Arc::clone(table)];
    for (model, server) in tuner.servers.list.iter().enumerate() {
        if let Some(server) = server {
            fixed.problem.models[model].candidates[0].flow = flow(tuner, server, terms)?;
        }
    }
    // A search with one setup to search: where flows are not convex it splits the ranges of fractions, which a single solve does not.
    let mut found = search(&fixed.problem, Goal::Best, Effort::ASIDE);
    let best = found.best.take()?;
    let policy = settle(&fixed.problem, &mut found.responses, &best)?.swap_remove(0);
    let runs = tuner.servers.list.iter().map(Option::is_some);
    let prices = policy.dual.prices.iter().zip(runs);
    Some(Rule::Prices {
        prices: prices
            .map(|(price, runs)| if runs { *price } else { f64::INFINITY })
            .collect(),
        routing: policy.routing,
    })
}

/// What sending prompts to a model costs, under some terms; nothing where an objective is missed even when idle.
fn flow(tuner: &Tuner<'_>, server: &Server<'_>, terms: Terms) -> Option<Flow> {
    let scaled = |slo: &Slo| Slo {
        target: Seconds::new(slo.target.value() * terms.targets).unwrap_or(slo.target),
        ..slo.clone()
    };
    let slos: Vec<Slo> = tuner.servers.slos.iter().map(scaled).collect();
    let mut curves = Vec::new();
    let mut limits = Vec::new();
    for row in &tuner.problem.rows {
        let slo = &slos[row.slo_ix];
        let curve = LatencyCurve::from_profile(server.profile, reading(slo))?;
        curves.push(if terms.constant { idle(&curve)? } else { curve });
        limits.push(match slo.statistic {
            Statistic::Mean => slo.target.value(),
            Statistic::Quantile { q } => 1.0 - q,
        });
    }
    let load_per_fraction = tuner.problem.rate * terms.rate / f64::from(server.n_replicas);
    if terms.constant {
        return Some(Flow::new(&curves, &limits, load_per_fraction, ANY_LOAD));
    }
    let mut most = server.end();
    for slo in slos.iter().filter(|slo| slo.scope == Scope::EachModel) {
        let curve = LatencyCurve::from_profile(server.profile, Reading::Statistic(slo.metric, slo.statistic))?;
        most = most.min(curve.load_within(slo.target.value()).unwrap_or(0.0));
    }
    Some(Flow::new(&curves, &limits, load_per_fraction, most))
}

/// A load in requests/s that nothing reaches.
const ANY_LOAD: f64 = 1e9;

/// The curve's first value, for any load.
fn idle(curve: &LatencyCurve) -> Option<LatencyCurve> {
    let value = curve.at(0.0)?;
    let sample = |load| Sample { load, value, weight: 1 };
    LatencyCurve::new(&[sample(0.0), sample(ANY_LOAD)], ANY_LOAD)
}

/// Least factor of at least 1 by which terms must be eased to be met, to a precision; nothing when 1000 is not enough.
fn least_factor(precision: f64, meets: impl Fn(f64) -> Option<Rule>) -> Option<(f64, Rule)> {
    if let Some(rule) = meets(1.0) {
        return Some((1.0, rule));
    }
    let (mut low, mut high) = (1.0f64, 1000.0f64);
    let mut best = meets(high)?;
    while high / low > 1.0 + precision {
        let middle = (low * high).sqrt();
        match meets(middle) {
            Some(rule) => (high, best) = (middle, rule),
            None => low = middle,
        }
    }
    Some((high, best))
}

/// By how much terms were eased.
enum Eased {
    Targets(f64),
    Rate(f64),
}

/// Prices under the objectives; where they cannot be met, under the shortest targets that can; where the rate is more than the
/// allocation can take, those of the highest rate that it can.
fn nearest(tuner: &Tuner<'_>, table: &Arc<ScoreTable>, precision: f64) -> Option<(Eased, Rule)> {
    let longer = |targets: f64| {
        prices(
            tuner,
            table,
            Terms {
                targets,
                ..Terms::STATED
            },
        )
    };
    let slower = |factor: f64| {
        let terms = Terms {
            targets: 1000.0,
            rate: 1.0 / factor,
            constant: false,
        };
        prices(tuner, table, terms)
    };
    if let Some((factor, rule)) = least_factor(precision, longer) {
        return Some((Eased::Targets(factor), rule));
    }
    let (factor, rule) = least_factor(precision, slower)?;
    Some((Eased::Rate(factor), rule))
}

/// How good an allocation is with the best prices on the training prompts. Where objectives are missed, to about a tenth.
pub(crate) fn merit(scenario: &Scenario, problem: &Problem, allocation: &Allocation) -> Merit {
    let servers = Servers::new(scenario, problem, allocation);
    let tuner = Tuner::new(problem, problem.table(), &servers, allocation, TunedFor::Objectives);
    let rule = match tuner.by_cost[..] {
        [only] => tuner.all_to(only),
        _ => nearest(&tuner, tuner.table(), 0.1).map_or_else(|| super::random(&tuner).rule, |(_, rule)| rule),
    };
    tuner.merit_of(&rule)
}

fn for_table(tuner: &Tuner<'_>, table: &Arc<ScoreTable>, routing: RoutingRule) -> Tuned {
    let Some((eased, rule)) = nearest(tuner, table, 0.01) else {
        return Tuned {
            routing,
            ..super::random(tuner)
        };
    };
    let Rule::Prices { prices, .. } = &rule else {
        unreachable!("prices make a price rule")
    };
    let mut parameters = spelled(tuner, prices);
    match eased {
        Eased::Targets(factor) if factor > 1.0 => {
            parameters.push_str(&format!("; for targets {factor:.2} times as long"));
        }
        Eased::Targets(_) => {}
        Eased::Rate(factor) => parameters.push_str(&format!("; for a rate {factor:.2} times lower")),
    }
    Tuned {
        routing,
        parameters,
        rule,
    }
}

pub(super) fn spelled(tuner: &Tuner<'_>, prices: &[f64]) -> String {
    let running = prices.iter().enumerate().filter(|(_, price)| price.is_finite());
    let all: Vec<String> = running
        .map(|(model, price)| format!("{} {price:.4}", tuner.name(model)))
        .collect();
    all.join(", ")
}

pub(super) fn ours(tuner: &Tuner<'_>) -> Tuned {
    for_table(tuner, tuner.table(), RoutingRule::OurPrices)
}

pub(super) fn oracle(tuner: &Tuner<'_>) -> Tuned {
    for_table(tuner, tuner.test_table, RoutingRule::Oracle)
}
