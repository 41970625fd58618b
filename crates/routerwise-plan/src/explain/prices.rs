//! What a plan's multipliers say: the meaning of each price, and what changes are worth to first order.
//!
//! The dual of the plan's setup at its own prices is a bound for it. A small change of the scenario moves that bound by what the multipliers
//! say, the prices held: `Δ(Σ_r β_r·τ_r + Σ_i H_i)`, since `A(α)` stays. That is exact in the flows and first order in the prices.

use routerwise_types::answer::explanation::PriceMeaning;
use routerwise_types::plan::{Plan, RoutePolicy};
use routerwise_types::units::{Price, Seconds};
use routerwise_types::workload::{Scope, Statistic};

use super::{Binding, binding};
use crate::objective::hunt::candidates_of;
use crate::prices::{Dual, Offering, Ranges, Responses, look};
use crate::problem::{Problem, Row};
use crate::search::region::{Region, Terms, relax};

/// What each model's price means, policy by policy.
#[must_use]
pub fn price_meanings(plan: &Plan) -> Vec<PriceMeaning> {
    let policies = plan.policies.iter().enumerate();
    policies
        .flat_map(|(policy_ix, policy)| of_policy(plan, policy_ix, policy))
        .collect()
}

fn of_policy(plan: &Plan, policy_ix: usize, policy: &RoutePolicy) -> Vec<PriceMeaning> {
    let pairs = || plan.models.iter().zip(&policy.models);
    let running = pairs().filter(|(model, _)| model.configuration.is_some());
    let Some((cheapest, least)) = running.min_by(|a, b| a.1.price.value().total_cmp(&b.1.price.value())) else {
        return Vec::new();
    };
    let per_second = price_of_the_mean(plan, policy_ix, policy);
    pairs()
        .map(|(model, routed)| PriceMeaning {
            level: policy.level.clone(),
            route: (plan.routes().len() > 1).then(|| policy.route.clone()),
            model: model.name.clone(),
            runs: model.configuration.is_some(),
            price: Price::new(routed.price.value()).unwrap_or(Price::ZERO),
            cheapest: cheapest.name.clone(),
            above_cheapest: routed.price.value() - least.price.value(),
            added_latency: per_second
                .filter(|_| model.configuration.is_some() && model.utilisation.value() < 0.999)
                .and_then(|price| Seconds::new(0.01 * routed.price.value() / price).ok()),
        })
        .collect()
}

/// Quality per second of the one mean that binds; nothing where another thing binds too, or nothing.
fn price_of_the_mean(plan: &Plan, policy_ix: usize, policy: &RoutePolicy) -> Option<f64> {
    let here = binding(plan).into_iter().filter_map(|binding| match binding {
        Binding::Slo {
            policy_ix: at, slo_ix, ..
        } => (at == policy_ix).then_some(slo_ix),
        Binding::Capacity { .. } | Binding::Nothing => None,
    });
    let [slo_ix] = here.collect::<Vec<usize>>()[..] else {
        return None;
    };
    let slo = &plan.slos[slo_ix];
    let is_mean = slo.scope == Scope::Workload && slo.statistic == Statistic::Mean;
    if plan.routes().len() > 1 {
        // There a price is what all routes together pay for the load.
        return None;
    }
    let value = plan.slo_value(policy, slo_ix)?;
    Some(value.price).filter(|price| is_mean && *price > 0.0)
}

/// What a setup is worth at the plan's prices beyond `A(α)`; nothing where the problem does not have it.
pub(super) fn worth_at_prices(problem: &Problem, plan: &Plan) -> Option<f64> {
    let setup = plan.models.iter().map(|model| model.configuration).collect();
    let by_model = worth_by_model(problem, plan, &candidates_of(problem, &setup)?);
    let dual = duals(problem, plan);
    let traffic = &problem.traffic;
    let weights = traffic.weights.iter().enumerate();
    let rows =
        weights.map(|(policy, weight)| weight * traffic.rows_of_policy(&dual.row_prices, policy).iter().sum::<f64>());
    Some(rows.sum::<f64>() + by_model.iter().sum::<f64>())
}

/// `H` of one candidate of each model at the plan's prices, the weighted sum over the policies.
pub(super) fn worth_by_model(problem: &Problem, plan: &Plan, chosen: &[usize]) -> Vec<f64> {
    let dual = duals(problem, plan);
    let models = problem.models.iter().zip(chosen).enumerate();
    let worth = models.map(|(model_ix, (model, c))| {
        let offering = Offering {
            candidate: &model.candidates[*c],
            ranges: Ranges::All,
            takes: &[],
            units: 0.0,
            profile_ix: None,
            n_replicas: 1,
        };
        look(&offering, model_ix, &dual, &problem.traffic).value
    });
    worth.collect()
}

/// The plan's prices in the problem's units.
fn duals(problem: &Problem, plan: &Plan) -> Dual {
    let n_routes = problem.traffic.n_routes();
    let prices = plan.policies.iter().flat_map(|policy| &policy.models);
    let row_price = |level: usize, row: &Row| {
        let policy = &plan.policies[level * n_routes + row.route];
        plan.slo_value(policy, row.slo_ix)
            .map_or(0.0, |slo| slo.price * row.limit)
    };
    let rows = (0..problem.n_levels()).flat_map(|level| problem.rows.iter().map(move |row| row_price(level, row)));
    Dual {
        bound: f64::INFINITY,
        prices: prices.map(|routed| routed.price.value()).collect(),
        row_prices: rows.collect(),
        resource_prices: Vec::new(),
        floor_price: 0.0,
    }
}

/// What one more GPU of each type is worth where models may mix setups: the prices of its shares and memory in that relaxation. Real setups
/// come in steps, so a GPU may be worth less or more.
pub(super) fn worth_of_gpus(problem: &Problem) -> Vec<f64> {
    let region = Region::all(problem);
    let relaxed = relax(problem, &mut Responses::default(), &region, None, Terms::exact(problem));
    let prices = &relaxed.dual.resource_prices;
    let of_type = |gpu_type_ix: usize| {
        let rows = problem.resources.iter().zip(prices);
        let sum: f64 = rows
            .filter(|(row, _)| row.gpu_type_ix == gpu_type_ix)
            .map(|(_, price)| price)
            .sum();
        sum / problem.cluster.n_gpus_of(gpu_type_ix).max(1) as f64
    };
    (0..problem.cluster.gpu_types.len()).map(of_type).collect()
}
