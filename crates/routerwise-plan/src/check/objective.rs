//! Whether the objective is met as well as the plan says, and no plan could meet it better.
//!
//! Every limit of the achievement is proven like the certificate, on the GPUs that it speaks of. Then every part of the cluster within
//! the budget is gone through: each must be worth no more than the bound, or lie within GPUs of which a limit says that they do not suffice.

use routerwise_types::cluster::{Cluster, Node};
use routerwise_types::plan::{Achievement, ClusterLimit, Plan};
use routerwise_types::scenario::Scenario;
use routerwise_types::workload::{Aim, Metric, Objective, Scope, Slo, Statistic};

use super::{TOLERANCE, Violation, bound, mismatch, number};

/// Parts of the cluster to go through, times limits.
const MAX_WORK: u64 = 200_000_000;
/// A quality below this counts as none at all: what proves that nothing is feasible.
const NOTHING: f64 = -1e-9;

/// The scenario on the GPUs that the plan may use.
pub(super) fn in_use(scenario: &Scenario, plan: &Plan) -> Scenario {
    let mut used = scenario.clone();
    if let Some(achievement) = &plan.achievement {
        for (node, n_gpus) in used.cluster.nodes.iter_mut().zip(&achievement.gpus_per_node) {
            node.n_gpus = node.n_gpus.min(*n_gpus);
        }
    }
    used
}

pub(super) fn violations(scenario: &Scenario, plan: &Plan) -> Vec<Violation> {
    let objective = &scenario.workload.objective;
    let Some(achievement) = &plan.achievement else {
        let is_usual = *objective == Objective::BEST_QUALITY;
        let missing = || mismatch("achievement", "nothing", format!("how well it meets `{objective}`"));
        return if is_usual { Vec::new() } else { vec![missing()] };
    };
    let mut found = gpus(scenario, plan, achievement);
    if !found.is_empty() {
        return found;
    }
    found.extend(worth(scenario, plan, achievement));
    found.extend(floor(objective, plan));
    for (index, limit) in achievement.limits.iter().enumerate() {
        found.extend(limited(scenario, plan, index, limit));
    }
    found.extend(bounded(scenario, plan, achievement));
    found
}

/// The GPUs that the plan may use exist, are within the budget, and hold all its replicas.
fn gpus(scenario: &Scenario, plan: &Plan, achievement: &Achievement) -> Vec<Violation> {
    let nodes = &scenario.cluster.nodes;
    let per_node = &achievement.gpus_per_node;
    let exist = per_node.len() == nodes.len() && nodes.iter().zip(per_node).all(|(node, n)| *n <= node.n_gpus);
    if !exist {
        let expected = format!("at most {:?}", nodes.iter().map(|node| node.n_gpus).collect::<Vec<_>>());
        return vec![mismatch("achievement.gpus_per_node", format!("{per_node:?}"), expected)];
    }
    let mut found = Vec::new();
    let objective = &scenario.workload.objective;
    if !objective.budget.allows(&scenario.cluster, &counts(scenario, per_node)) {
        found.push(mismatch(
            "achievement.gpus_per_node",
            format!("{per_node:?}"),
            objective.to_string(),
        ));
    }
    let replicas = plan.models.iter().flat_map(|model| model.replicas.iter().flatten());
    let all: Vec<_> = scenario.cluster.gpus().collect();
    for gpu_ix in replicas {
        let may = all
            .get(*gpu_ix)
            .is_some_and(|gpu| gpu.index_in_node < per_node[gpu.node_ix]);
        if !may {
            let place = scenario.cluster.gpu_id(*gpu_ix);
            found.push(mismatch(
                "replicas",
                format!("one on {place}"),
                "none outside the GPUs that the plan may use",
            ));
        }
    }
    found
}

/// GPUs of each type.
fn counts(scenario: &Scenario, per_node: &[usize]) -> Vec<usize> {
    let mut counts = vec![0; scenario.cluster.gpu_types.len()];
    for (node, n_gpus) in scenario.cluster.nodes.iter().zip(per_node) {
        counts[node.gpu_type_ix] += n_gpus;
    }
    counts
}

fn price(cluster: &Cluster, counts: &[usize]) -> Option<f64> {
    let mut sum = 0.0;
    for (gpu_type, count) in cluster.gpu_types.iter().zip(counts) {
        if *count > 0 {
            sum += gpu_type.price_per_hour? * as_number(*count);
        }
    }
    Some(sum)
}

fn as_number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// What the plan is worth, recomputed.
fn worth(scenario: &Scenario, plan: &Plan, achievement: &Achievement) -> Vec<Violation> {
    let counts = counts(scenario, &achievement.gpus_per_node);
    let cost = price(&scenario.cluster, &counts);
    let mut found = Vec::new();
    if let (Some(stated), Some(cost)) = (achievement.cost_per_hour, cost) {
        found.extend(number("achievement.cost_per_hour", stated, cost));
    } else if achievement.cost_per_hour.is_some() != cost.is_some() {
        let (stated, cost) = (format!("{:?}", achievement.cost_per_hour), format!("{cost:?}"));
        found.push(mismatch("achievement.cost_per_hour", stated, cost));
    }
    let value = match scenario.workload.objective.aim {
        Aim::MaximiseQuality => plan.certificate.quality.value(),
        Aim::MinimiseGpus { .. } => as_number(counts.iter().sum()),
        Aim::MinimiseCost { .. } => cost.unwrap_or(f64::INFINITY),
        Aim::MinimiseLatency { metric, .. } => latency(scenario, plan, metric),
    };
    found.extend(number("achievement.value", achievement.value, value));
    found
}

/// Position of the objective on the mean that is minimised.
fn minimised(slos: &[Slo], metric: Metric) -> Option<usize> {
    slos.iter().position(|slo| {
        let is_mean = slo.scope == Scope::Workload && matches!(slo.statistic, Statistic::Mean);
        // Of all requests, or of every route: none that one route has for itself.
        slo.metric == metric && is_mean && slo.route.is_none()
    })
}

/// The predicted mean at the worst level; the prediction itself is checked elsewhere.
fn latency(scenario: &Scenario, plan: &Plan, metric: Metric) -> f64 {
    let Some(at) = minimised(&scenario.workload.slos, metric) else {
        return f64::INFINITY;
    };
    let values = plan.policies.iter().filter_map(|policy| {
        let own = plan.slos.iter().enumerate();
        let mut own = own.filter(|(_, slo)| slo.route.as_ref().is_none_or(|name| *name == policy.route));
        policy.prediction.slo_values.get(own.position(|(ix, _)| ix == at)?)
    });
    values.map(|slo| slo.value).fold(0.0, f64::max)
}

fn floor(objective: &Objective, plan: &Plan) -> Option<Violation> {
    let floor = objective.aim.quality_floor()?;
    let quality = plan.certificate.quality;
    (quality.value() < floor.value() - TOLERANCE)
        .then(|| mismatch("certificate.quality", quality.to_string(), format!("at least {floor}")))
}

/// The scenario that a limit speaks of.
fn limited_scenario(scenario: &Scenario, limit: &ClusterLimit) -> Option<Scenario> {
    let mut part = scenario.clone();
    part.cluster.nodes.clear();
    for (gpu_type_ix, count) in limit.gpus.iter().enumerate() {
        let of_type: Vec<&Node> = scenario
            .cluster
            .nodes
            .iter()
            .filter(|node| node.gpu_type_ix == gpu_type_ix)
            .collect();
        let there_are: usize = of_type.iter().map(|node| node.n_gpus).sum();
        if *count > there_are {
            return None;
        }
        if *count == there_are {
            part.cluster.nodes.extend(of_type.into_iter().cloned());
        } else if let Some(node) = of_type.first() {
            part.cluster.nodes.push(Node {
                n_gpus: *count,
                ..(*node).clone()
            });
        }
    }
    if let Some(target) = limit.target {
        let Aim::MinimiseLatency { metric, .. } = scenario.workload.objective.aim else {
            return None;
        };
        let at = minimised(&scenario.workload.slos, metric)?;
        part.workload.slos[at].target = target;
    }
    Some(part)
}

fn limited(scenario: &Scenario, plan: &Plan, index: usize, limit: &ClusterLimit) -> Vec<Violation> {
    let place = format!("achievement.limits[{index}]");
    let matches_types = limit.gpus.len() == scenario.cluster.gpu_types.len();
    let Some(part) = limited_scenario(scenario, limit).filter(|_| matches_types) else {
        let found = format!("GPUs {:?}, target {:?}", limit.gpus, limit.target);
        return vec![mismatch(
            place,
            found,
            "GPUs that there are, and a target only for a latency that is minimised",
        )];
    };
    let upper_bound = limit.upper_bound.unwrap_or(NOTHING);
    bound::proven(&part, &place, &limit.dual_points, plan.policies.len(), upper_bound)
}

/// No part of the cluster within the budget can be better than the bound.
fn bounded(scenario: &Scenario, plan: &Plan, achievement: &Achievement) -> Option<Violation> {
    let objective = &scenario.workload.objective;
    let cluster = &scenario.cluster;
    let whole: Vec<usize> = (0..cluster.gpu_types.len()).map(|ix| cluster.n_gpus_of(ix)).collect();
    let n_parts = whole.iter().map(|n| *n as u64 + 1).try_fold(1u64, u64::checked_mul);
    let work = n_parts.and_then(|n| n.checked_mul(achievement.limits.len() as u64 + 1));
    if work.is_none_or(|work| work > MAX_WORK) {
        return Some(Violation::Unverified {
            work: MAX_WORK,
            setup: "the parts of the cluster".to_owned(),
        });
    }
    let below = |limit: &ClusterLimit| {
        let floor = objective.aim.quality_floor().map_or(0.0, |floor| floor.value());
        limit.upper_bound.is_none_or(|bound| bound < floor)
    };
    let within = |counts: &[usize], limit: &ClusterLimit| counts.iter().zip(&limit.gpus).all(|(a, b)| a <= b);
    let own = own_bound(scenario, plan, achievement);
    let best_of = |counts: &[usize]| -> f64 {
        let mut covering = achievement.limits.iter().filter(|limit| within(counts, limit));
        match objective.aim {
            Aim::MaximiseQuality => {
                let own = own
                    .as_ref()
                    .filter(|(gpus, _)| counts.iter().zip(gpus).all(|(a, b)| a <= b));
                let bounds = covering.map(|limit| limit.upper_bound.unwrap_or(f64::NEG_INFINITY));
                bounds.chain(own.map(|(_, bound)| *bound)).fold(f64::INFINITY, f64::min)
            }
            Aim::MinimiseGpus { .. } if covering.any(below) => f64::INFINITY,
            Aim::MinimiseGpus { .. } => as_number(counts.iter().sum()),
            Aim::MinimiseCost { .. } if covering.any(below) => f64::INFINITY,
            Aim::MinimiseCost { .. } => price(cluster, counts).unwrap_or(0.0),
            Aim::MinimiseLatency { .. } => {
                let refuted = covering.filter(|limit| below(limit));
                let targets = refuted.map(|limit| limit.target.map_or(f64::INFINITY, |target| target.value()));
                targets.fold(0.0, f64::max)
            }
        }
    };
    let is_quality = objective.aim == Aim::MaximiseQuality;
    let mut best = if is_quality { f64::NEG_INFINITY } else { f64::INFINITY };
    let mut counts = vec![0; whole.len()];
    // Like an odometer, from no GPU to all of them.
    while let Some(at) = (0..counts.len()).find(|at| counts[*at] < whole[*at]) {
        counts[at] += 1;
        counts[..at].fill(0);
        if objective.budget.allows(cluster, &counts) {
            let here = best_of(&counts);
            best = if is_quality { best.max(here) } else { best.min(here) };
        }
    }
    let stated = achievement.bound;
    let slack = TOLERANCE * (1.0 + stated.abs());
    let holds = if is_quality {
        best <= stated + slack
    } else {
        best >= stated - slack
    };
    (!holds).then(|| {
        mismatch(
            "achievement.bound",
            stated.to_string(),
            format!("{best}, which is what the limits prove"),
        )
    })
}

/// What the plan's own certificate says of its GPUs; nothing where it holds only for where they are.
fn own_bound(scenario: &Scenario, plan: &Plan, achievement: &Achievement) -> Option<(Vec<usize>, f64)> {
    let cluster = &scenario.cluster;
    let counts = counts(scenario, &achievement.gpus_per_node);
    let exact = counts.iter().enumerate().all(|(ix, count)| {
        let n_nodes = cluster.nodes.iter().filter(|node| node.gpu_type_ix == ix).count();
        *count == 0 || *count == cluster.n_gpus_of(ix) || n_nodes == 1
    });
    exact.then_some((counts, plan.certificate.upper_bound))
}
