//! Score minus a constant times the work that waits: what a load balancer that knows scores does.
//!
//! The work that waits for a model is its requests in flight over its capacity, in seconds. By curves it is what it is on average (Little's
//! law), and depends on what is sent there: the rule has an equilibrium, in which no prompt would rather go elsewhere. That is the
//! optimum of a convex problem (Beckmann 1956), found by Frank-Wolfe steps over what all prompts do at a price vector.

use routerwise_types::comparison::RoutingRule;

use super::{Merit, Tuned, Tuner, keep};
use crate::baselines::rule::{Rule, Ways};
use crate::baselines::servers::Servers;
use crate::prices::kernel::{Evaluation, ScoreTable};

/// Frank-Wolfe steps: the fractions are then off by less than 1 %.
const N_STEPS: u32 = 200;
/// A price that nobody pays.
const NEVER: f64 = 1e3;
/// Constants that are tried, in score per second: from where only ties are told apart to where only queues count.
const LEAST: f64 = 1e-4;
const MOST: f64 = 1e3;
const N_CONSTANTS: u32 = 42;

/// What the rule settles at.
pub(crate) fn equilibrium(table: &ScoreTable, servers: &Servers<'_>, rate: f64, per_second: f64) -> Ways {
    let n = servers.list.len();
    let mut evaluation = Evaluation::default();
    let mut fractions = vec![0.0; n];
    let mut quality = 0.0;
    for step in 0..N_STEPS {
        let prices: Vec<f64> = (0..n)
            .map(|model| waiting(servers, model, fractions[model], rate).map_or(NEVER, |work| per_second * work))
            .collect();
        table.evaluate(&prices, &mut evaluation);
        let part = 2.0 / (f64::from(step) + 2.0);
        for (fraction, won) in fractions.iter_mut().zip(&evaluation.fractions) {
            *fraction += part * (won - *fraction);
        }
        quality += part * (evaluation.quality - quality);
    }
    Ways::direct(&fractions, quality)
}

/// Seconds of work in flight on one replica. Beyond capacity the queue grows without end: a steep line stands for that.
fn waiting(servers: &Servers<'_>, model: usize, fraction: f64, rate: f64) -> Option<f64> {
    let server = servers.list[model].as_ref()?;
    let load = fraction * rate / f64::from(server.n_replicas);
    let within = load.min(server.end());
    let in_flight = within * server.e2e.at(within.min(server.e2e.end()))?;
    let beyond = (load / server.end() - 1.0).max(0.0);
    Some(in_flight / server.end() + 1_000.0 * beyond)
}

pub(super) fn tuned(tuner: &Tuner<'_>) -> Tuned {
    let mut best: Option<(Merit, f64)> = None;
    let mut look = |per_second: f64| {
        let merit = tuner.merit_of(&Rule::QueuePenalty { per_second });
        keep(&mut best, merit, || per_second);
        best.as_ref().map_or(per_second, |(_, found)| *found)
    };
    let step = (MOST / LEAST).powf(1.0 / f64::from(N_CONSTANTS));
    let mut found = LEAST;
    for i in 0..=N_CONSTANTS {
        found = look(LEAST * step.powf(f64::from(i)));
    }
    for i in 0..=20u32 {
        look(found * step.powf(f64::from(i) / 10.0 - 1.0));
    }
    let per_second = best.map_or(found, |(_, found)| found);
    Tuned {
        routing: RoutingRule::QueuePenalty,
        parameters: format!("{per_second:.4} of score per second of waiting work"),
        rule: Rule::QueuePenalty { per_second },
    }
}
