//! Prices as earlier work computes them: every model has one latency, the one that it has when idle, and no capacity.

use routerwise_types::comparison::RoutingRule;

use super::priced::{Terms, prices, spelled};
use super::{Tuned, Tuner, keep};
use crate::baselines::rule::Rule;

/// Budgets that are tried between the least that can be met and the stated one.
const N_BUDGETS: u32 = 24;
/// Lowest and highest budget, relative to the stated one, that are tried.
const LEAST: f64 = 1e-3;
const MOST: f64 = 1e3;

fn with_budget(tuner: &Tuner<'_>, budget: f64) -> Option<Rule> {
    let terms = Terms {
        targets: budget,
        rate: 1.0,
        constant: true,
    };
    prices(tuner, tuner.table(), terms)
}

fn named(tuner: &Tuner<'_>, routing: RoutingRule, rule: Rule, budget: f64) -> Tuned {
    let spelled = match &rule {
        Rule::Prices { prices, .. } => spelled(tuner, prices),
        _ => String::new(),
    };
    Tuned {
        routing,
        parameters: format!("{spelled}; targets times {budget:.3}"),
        rule,
    }
}

/// With the stated targets, or the next longer ones that can be met when idle.
pub(super) fn published(tuner: &Tuner<'_>) -> Tuned {
    let mut budget = 1.0;
    while budget <= MOST {
        if let Some(rule) = with_budget(tuner, budget) {
            return named(tuner, RoutingRule::FixedLatency, rule, budget);
        }
        budget *= 1.1;
    }
    Tuned {
        routing: RoutingRule::FixedLatency,
        ..super::random(tuner)
    }
}

/// With the targets that make it do best by the real curves: how its user corrects for what it does not know.
pub(super) fn tuned(tuner: &Tuner<'_>) -> Tuned {
    let mut best = None;
    let mut low = 1.0f64;
    while low > LEAST && with_budget(tuner, low).is_some() {
        low *= 0.7;
    }
    let mut look = |budget: f64| {
        if let Some(rule) = with_budget(tuner, budget) {
            keep(&mut best, tuner.merit_of(&rule), || (rule, budget));
        }
        best.as_ref().map(|(_, (_, budget))| *budget)
    };
    let step = (1.0 / low).powf(1.0 / f64::from(N_BUDGETS)).max(1.001);
    let mut found = None;
    for i in (0..=N_BUDGETS).rev() {
        found = look(low * step.powi(i32::try_from(i).unwrap_or(0)));
    }
    if let Some(middle) = found {
        for i in 1..N_BUDGETS {
            let part = 2.0 * f64::from(i) / f64::from(N_BUDGETS) - 1.0;
            look(middle * step.powf(part));
        }
    }
    match best {
        Some((_, (rule, budget))) => named(tuner, RoutingRule::FixedLatencyTuned, rule, budget),
        None => Tuned {
            routing: RoutingRule::FixedLatencyTuned,
            ..published(tuner)
        },
    }
}
