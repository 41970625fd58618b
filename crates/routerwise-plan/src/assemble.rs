//! From a settled setup to a plan: what runs where, what to expect of it, and the certificate.

use routerwise_types::Fingerprint;
use routerwise_types::plan::{
    Certificate, DualPoint, Measure, PLAN_SCHEMA, PackedSize, Plan, PlannedLatency, PlannedModel, PolicyPrices,
    Prediction, ResourcePrice, RoutePolicy, RoutedModel, SloValue,
};
use routerwise_types::profile::Profile;
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Placement;
use routerwise_types::units::{Bytes, Fraction, Price, RequestsPerSecond, Score, Seconds};
use routerwise_types::workload::{Metric, Scope, Statistic};

use crate::curve::{LatencyCurve, Reading};
use crate::patterns::{Patterns, Size};
use crate::prices::part;
use crate::problem::{Candidate, Problem, Row};
use crate::resources::Part;
use crate::search::bound::PricePoint;
use crate::search::{Found, Incumbent};
use crate::settle::{Policy, Settled, quality};

/// Writes the plan down.
pub(crate) fn assemble(
    scenario: &Scenario,
    problem: &Problem,
    found: &Found,
    best: &Incumbent,
    settled: &[Settled],
    parent: Option<&Plan>,
) -> Plan {
    let quality = score(quality(problem, settled));
    let upper_bound = found.upper_bound.max(quality.value());
    let mut plan = Plan {
        schema: PLAN_SCHEMA,
        id: Fingerprint(String::new()),
        parent: parent.map(|parent| parent.id.clone()),
        inputs: scenario.fingerprints.clone(),
        rate: scenario.workload.rate,
        slos: scenario.workload.slos.clone(),
        objective: scenario.workload.objective,
        planning: scenario.workload.planning,
        models: planned_models(scenario, problem, best, settled),
        policies: settled
            .iter()
            .enumerate()
            .flat_map(|(level, at)| (0..at.policies.len()).map(move |route| (level, at, route)))
            .map(|(level, at, route)| route_policy(scenario, level, at, route))
            .collect(),
        certificate: Certificate {
            quality,
            upper_bound,
            gap: upper_bound - quality.value(),
            space: space(problem),
            setups_in_space: problem.setups_in_space(),
            setups_bounded: found.counts.bounded,
            setups_packed: found.counts.packed,
            setups_solved: found.counts.solved,
            evaluations: found.responses.evaluations,
            dual_points: dual_points(problem, &found.pool),
        },
        achievement: None,
        realised: Vec::new(),
    };
    plan.id = plan.fingerprint();
    plan
}

/// Price vectors as a plan states them.
pub(crate) fn dual_points(problem: &Problem, pool: &[PricePoint]) -> Vec<DualPoint> {
    let stated = |point: &PricePoint| DualPoint {
        policies: (0..problem.traffic.n_policies())
            .map(|policy| PolicyPrices {
                prices: part(&point.prices, policy, problem.traffic.n_policies()).to_vec(),
                slo_prices: problem.traffic.rows_of_policy(&point.row_prices, policy).to_vec(),
            })
            .collect(),
        resource_prices: resource_prices(problem, &point.resource_prices),
    };
    pool.iter().map(stated).collect()
}

fn resource_prices(problem: &Problem, prices: &[f64]) -> Vec<ResourcePrice> {
    problem
        .resources
        .iter()
        .zip(prices)
        .filter(|(_, price)| **price > 0.0)
        .map(|(resource, price)| {
            let (measure, k, sizes) = match &resource.part {
                Part::Of { measure, k } => (*measure, *k, Vec::new()),
                Part::Packed(patterns) => (Measure::Packed, 0, sizes(problem, patterns)),
            };
            ResourcePrice {
                gpu_type: problem.cluster.gpu_types[resource.gpu_type_ix].name.clone(),
                measure,
                k,
                sizes,
                price: *price,
            }
        })
        .collect()
}

fn sizes(problem: &Problem, patterns: &Patterns) -> Vec<PackedSize> {
    let share = |units: u32| f64::from(units) / f64::from(problem.units_per_gpu);
    let stated = |size: &Size| PackedSize {
        share: fraction(share(size.units)),
        memory: Bytes(size.memory),
        value: size.value,
    };
    patterns.sizes.iter().map(stated).collect()
}

fn space(problem: &Problem) -> String {
    let mut space = String::from("all packable setups of the profiled configurations");
    if problem.least_units > 0 {
        let floor = 100.0 * f64::from(problem.least_units) / f64::from(problem.all_units());
        space.push_str(&format!(" that use at least {floor:.0} % of the cluster's compute"));
    }
    space
}

fn planned_models(scenario: &Scenario, problem: &Problem, best: &Incumbent, settled: &[Settled]) -> Vec<PlannedModel> {
    let kv_caches = kv_caches(scenario, problem, best, &mean_rates(scenario, settled));
    (0..problem.models.len())
        .map(|model| {
            let candidate = &problem.models[model].candidates[best.candidates[model]];
            let profile = candidate.profile_ix.map(|ix| &scenario.profiles[ix]);
            let loads = settled
                .iter()
                .map(|level| load(&level.problem, candidate, level.loads()[model]));
            let load = loads.fold(0.0, f64::max);
            PlannedModel {
                name: problem.models[model].name.clone(),
                configuration: candidate.configuration,
                gpu_type: candidate
                    .configuration
                    .map(|configuration| scenario.cluster.gpu_types[configuration.gpu_type_ix].name.clone()),
                replicas: best.placement.get(model).cloned().unwrap_or_default(),
                kv_cache: kv_caches[model].clone(),
                utilisation: profile.map_or(Fraction::ZERO, |profile| fraction(load / profile.capacity.value())),
            }
        })
        .collect()
}

/// Part of all requests that each model gets over the levels.
fn mean_rates(scenario: &Scenario, settled: &[Settled]) -> Vec<f64> {
    let n_models = scenario.models.len();
    let of = |model: usize| -> f64 {
        let levels = settled.iter().enumerate();
        levels
            .map(|(level, at)| scenario.workload.weight_of(level) * at.loads()[model])
            .sum()
    };
    (0..n_models).map(of).collect()
}

fn route_policy(scenario: &Scenario, level: usize, settled: &Settled, route: usize) -> RoutePolicy {
    let workload = &scenario.workload;
    let policy = &settled.policies[route];
    let latency = |headroom: f64| workload_latency(scenario, level, settled, route, headroom);
    let rate = workload.rate_at(level).value() * workload.part_of(route);
    RoutePolicy {
        level: workload.levels[level].name.clone(),
        route: workload.route_name(route).to_owned(),
        rate: RequestsPerSecond::new(rate).expect("a rate times a part of at most 1"),
        weight: fraction(workload.policy_weight(level, route)),
        models: routed_models(scenario, settled, route),
        routing: policy.routing.clone(),
        prediction: Prediction {
            quality: score(policy.realised.quality()),
            slo_values: slo_values(scenario, settled, route),
            latency: latency(workload.planning.headroom),
            latency_without_headroom: latency(0.0),
        },
    }
}

fn routed_models(scenario: &Scenario, settled: &Settled, route: usize) -> Vec<RoutedModel> {
    let Settled { problem, best, .. } = settled;
    let policy = &settled.policies[route];
    let prices = published_prices(problem, best, policy, route);
    let loads = settled.loads();
    (0..problem.models.len())
        .map(|model| {
            let candidate = &problem.models[model].candidates[best.candidates[model]];
            let w = policy.realised.fractions[model];
            let served = w > 0.0;
            let profile = candidate.profile_ix.map(|ix| &scenario.profiles[ix]);
            RoutedModel {
                price: Price::new(prices[model].max(0.0)).unwrap_or(Price::ZERO),
                barred: !scenario.workload.may_answer(&problem.models[model].name, route),
                fraction: fraction(w),
                quality: served.then(|| score(policy.realised.quality_by_model[model] / w)),
                latency: profile
                    .filter(|_| served)
                    .and_then(|profile| mean_latency(profile, load(problem, candidate, loads[model]))),
            }
        })
        .collect()
}

/// Load on one replica with headroom, requests/s.
fn load(problem: &Problem, candidate: &Candidate, w: f64) -> f64 {
    let n_replicas = candidate.configuration.map_or(1, |c| c.n_replicas);
    problem.rate * w / f64::from(n_replicas)
}

/// Prices as the plan states them: a model that is off costs the least price at which no prompt would want it.
fn published_prices(problem: &Problem, best: &Incumbent, policy: &Policy, route: usize) -> Vec<f64> {
    let mut prices = policy.dual.prices.clone();
    for (model, candidate) in best.candidates.iter().enumerate() {
        if problem.models[model].candidates[*candidate].configuration.is_none() {
            prices[model] = problem.tables[route].least_refusing_price(model, &prices);
        }
    }
    prices
}

/// Each replica's KV cache: its reserve, and what is left on its GPUs shared out in proportion to load.
pub(crate) fn kv_caches(
    scenario: &Scenario,
    problem: &Problem,
    best: &Incumbent,
    fractions: &[f64],
) -> Vec<Vec<Bytes>> {
    let placement: &Placement = &best.placement;
    let n_gpus = scenario.cluster.n_gpus();
    let mut left: Vec<u64> = scenario
        .cluster
        .gpus()
        .map(|gpu| scenario.cluster.gpu_types[gpu.gpu_type_ix].usable_memory.0)
        .collect();
    let mut demand = vec![0.0; n_gpus];
    let per_replica = |model: usize| fractions[model].max(1e-6) / placement[model].len().max(1) as f64;
    for (model, replicas) in placement.iter().enumerate() {
        let memory = problem.models[model].candidates[best.candidates[model]].shard_memory.0;
        for gpu in replicas.iter().flatten() {
            left[*gpu] = left[*gpu].saturating_sub(memory);
            demand[*gpu] += per_replica(model);
        }
    }
    placement
        .iter()
        .enumerate()
        .map(|(model, replicas)| {
            let extra = |gpus: &Vec<usize>| {
                let least = gpus
                    .iter()
                    .map(|gpu| Bytes(left[*gpu]).as_f64() * per_replica(model) / demand[*gpu])
                    .fold(f64::INFINITY, f64::min);
                Bytes::ceil((least * gpus.len() as f64).floor())
            };
            replicas
                .iter()
                .map(|gpus| scenario.models[model].kv_reserve + extra(gpus))
                .collect()
        })
        .collect()
}

/// Mean latencies of one replica at a load in requests/s.
pub(crate) fn mean_latency(profile: &Profile, load: f64) -> Option<PlannedLatency> {
    let read = |metric| {
        let curve = LatencyCurve::from_profile(profile, Reading::Statistic(metric, Statistic::Mean))?;
        Seconds::new(curve.at(load.min(curve.end()))?).ok()
    };
    Some(PlannedLatency {
        ttft: read(Metric::Ttft)?,
        tpot: read(Metric::Tpot)?,
        e2e: read(Metric::E2e)?,
    })
}

fn workload_latency(
    scenario: &Scenario,
    level: usize,
    settled: &Settled,
    route: usize,
    headroom: f64,
) -> PlannedLatency {
    let Settled { problem, best, .. } = settled;
    let loads = settled.loads();
    let (mut ttft, mut tpot, mut e2e) = (0.0, 0.0, 0.0);
    for (model, w) in settled.policies[route].realised.fractions.iter().enumerate() {
        let candidate = &problem.models[model].candidates[best.candidates[model]];
        let (Some(configuration), Some(profile_ix)) = (candidate.configuration, candidate.profile_ix) else {
            continue;
        };
        let rate = scenario.workload.rate_at(level).value() * (1.0 + headroom);
        let load = rate * loads[model] / f64::from(configuration.n_replicas);
        if let Some(latency) = mean_latency(&scenario.profiles[profile_ix], load) {
            ttft += w * latency.ttft.value();
            tpot += w * latency.tpot.value();
            e2e += w * latency.e2e.value();
        }
    }
    let seconds = |value: f64| Seconds::new(value).unwrap_or(Seconds::ZERO);
    PlannedLatency {
        ttft: seconds(ttft),
        tpot: seconds(tpot),
        e2e: seconds(e2e),
    }
}

fn slo_values(scenario: &Scenario, settled: &Settled, route: usize) -> Vec<SloValue> {
    let Settled { problem, best, .. } = settled;
    let workload = &scenario.workload;
    let first = problem.traffic.rows_of(route).start;
    let rows = problem.rows.iter().enumerate();
    let own = workload.slos.iter().enumerate();
    own.filter(|(_, slo)| workload.concerns(slo, route))
        .map(|(slo_ix, slo)| {
            let of_slo = |(_, row): &(usize, &Row)| row.slo_ix == slo_ix && row.route == route;
            match rows.clone().find(of_slo) {
                Some((row_ix, row)) => SloValue {
                    value: problem.row_sum(&best.candidates, &settled.fractions(), 0, row_ix) * row.limit,
                    limit: row.limit,
                    price: settled.policies[route].dual.row_prices[row_ix - first] / row.limit,
                },
                None => {
                    debug_assert_eq!(slo.scope, Scope::EachModel, "rows cover all other scopes");
                    SloValue {
                        value: worst_model(scenario, settled, route, slo_ix),
                        limit: slo.target.value(),
                        price: 0.0,
                    }
                }
            }
        })
        .collect()
}

/// The highest value of a per-model SLO's statistic over the models that get prompts of a route.
fn worst_model(scenario: &Scenario, settled: &Settled, route: usize, slo_ix: usize) -> f64 {
    let Settled { problem, best, .. } = settled;
    let slo = &scenario.workload.slos[slo_ix];
    let loads = settled.loads();
    let fractions = &settled.policies[route].realised.fractions;
    fractions
        .iter()
        .enumerate()
        .filter(|(_, w)| **w > 0.0)
        .filter_map(|(model, _)| {
            let candidate = &problem.models[model].candidates[best.candidates[model]];
            let profile = &scenario.profiles[candidate.profile_ix?];
            let curve = LatencyCurve::from_profile(profile, Reading::Statistic(slo.metric, slo.statistic))?;
            curve.at(load(problem, candidate, loads[model]).min(curve.end()))
        })
        .fold(0.0, f64::max)
}

fn score(value: f64) -> Score {
    Score::new(value.clamp(0.0, 1.0)).expect("clamped; a mean of scores is never NaN")
}

fn fraction(value: f64) -> Fraction {
    Fraction::new(value.clamp(0.0, 1.0)).expect("clamped; shares are never NaN")
}
