//! Parameters as a user of each rule would choose them: on the training prompts, by the curves at the rate with headroom.
//!
//! The best is what meets the objectives with the highest quality; where nothing does, what violates them least. Or, as papers compare,
//! what comes near a given quality with the lowest latency. Every rule gets the
//! benefit of what a careful user could do: ties go where it helps, thresholds may split the prompts that lie on them.

mod cascade;
mod fixed;
pub(crate) mod priced;
pub(crate) mod queue;
mod threshold;

use std::cmp::Ordering;
use std::sync::Arc;

use routerwise_types::comparison::RoutingRule;
use routerwise_types::plan::Routing;
use routerwise_types::workload::Metric;

use super::allocation::Allocation;
use super::rule::{Rule, SAME_SCORE, Ways};
use super::servers::{Servers, Violation};
use crate::prices::kernel::ScoreTable;
use crate::problem::Problem;

/// What parameters are chosen for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum TunedFor {
    /// Highest quality of what meets the objectives, else the least violation.
    #[default]
    Objectives,
    /// Lowest latency of what has this quality, less [`NEAR_QUALITY`].
    Quality(f64),
}

/// How near a given quality has to be reached: the paper's tolerance.
pub const NEAR_QUALITY: f64 = 0.01;

/// What tuning looks at.
pub(crate) struct Tuner<'a> {
    pub(crate) tuned_for: TunedFor,
    pub(crate) problem: &'a Problem,
    pub(crate) test_table: &'a Arc<ScoreTable>,
    pub(crate) servers: &'a Servers<'a>,
    pub(crate) allocation: &'a Allocation,
    /// Indices of running models, those that need least compute for a request first.
    pub(crate) by_cost: Vec<usize>,
}

/// A rule with its parameters chosen.
pub(crate) struct Tuned {
    pub(crate) routing: RoutingRule,
    pub(crate) rule: Rule,
    pub(crate) parameters: String,
}

/// How good a routing is to whoever tunes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Merit {
    tuned_for: TunedFor,
    violation: Violation,
    quality: f64,
    ttft: f64,
}

/// Qualities closer than this count as equal: the lower latency then decides.
const SAME_QUALITY: f64 = 1e-9;

impl Merit {
    pub(crate) fn of(servers: &Servers<'_>, ways: &Ways, rate: f64, tuned_for: TunedFor) -> Self {
        let visits = servers.visits(&ways.list);
        Self {
            tuned_for,
            violation: servers.violation(&ways.list, rate),
            quality: ways.quality,
            ttft: servers.mean(&ways.list, &visits, rate, Metric::Ttft),
        }
    }

    /// Greater is better.
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        let overload = other.violation.overload.total_cmp(&self.violation.overload);
        let late = other.violation.late.total_cmp(&self.violation.late);
        let quality = if (self.quality - other.quality).abs() <= SAME_QUALITY {
            Ordering::Equal
        } else {
            self.quality.total_cmp(&other.quality)
        };
        let ttft = other.ttft.total_cmp(&self.ttft);
        match self.tuned_for {
            TunedFor::Objectives => overload.then(late).then(quality).then(ttft),
            TunedFor::Quality(wanted) => {
                let short = |merit: &Self| (wanted - NEAR_QUALITY - merit.quality).max(0.0);
                let nearer = short(other).total_cmp(&short(self));
                nearer.then(overload).then(ttft).then(quality)
            }
        }
    }
}

impl<'a> Tuner<'a> {
    pub(crate) fn new(
        problem: &'a Problem,
        test_table: &'a Arc<ScoreTable>,
        servers: &'a Servers<'a>,
        allocation: &'a Allocation,
        tuned_for: TunedFor,
    ) -> Self {
        let mut by_cost = servers.running();
        let cost = |model: usize| servers.list[model].as_ref().map_or(f64::INFINITY, |server| server.cost);
        by_cost.sort_by(|a, b| cost(*a).total_cmp(&cost(*b)).then(a.cmp(b)));
        Self {
            tuned_for,
            problem,
            test_table,
            servers,
            allocation,
            by_cost,
        }
    }

    fn table(&self) -> &Arc<ScoreTable> {
        self.problem.table()
    }

    fn merit(&self, ways: &Ways) -> Merit {
        Merit::of(self.servers, ways, self.problem.rate, self.tuned_for)
    }

    fn merit_of(&self, rule: &Rule) -> Merit {
        self.merit(&rule.play(self.table(), self.servers, self.problem.rate))
    }

    fn name(&self, model: usize) -> &str {
        &self.problem.models[model].name
    }

    /// Everything to one model.
    fn all_to(&self, model: usize) -> Rule {
        let mut parts = vec![0.0; self.problem.models.len()];
        parts[model] = 1.0;
        Rule::Mix { parts }
    }
}

/// Keeps the better of two; of equals the first.
fn keep<T>(best: &mut Option<(Merit, T)>, merit: Merit, found: impl FnOnce() -> T) {
    if best
        .as_ref()
        .is_none_or(|(best, _)| merit.compare(best) == Ordering::Greater)
    {
        *best = Some((merit, found()));
    }
}

/// A rule that uses two or three models, tuned, and how good it then is.
pub(crate) fn of_few(tuner: &Tuner<'_>, routing: RoutingRule) -> (Merit, Tuned) {
    let tuned = match routing {
        RoutingRule::Cascade => cascade::tuned(tuner),
        _ => threshold::tuned(tuner),
    };
    (tuner.merit_of(&tuned.rule), tuned)
}

/// Every routing rule, tuned.
pub(crate) fn all(tuner: &Tuner<'_>) -> Vec<Tuned> {
    if let [only] = tuner.by_cost[..] {
        return vec![Tuned {
            routing: RoutingRule::OneModel,
            rule: tuner.all_to(only),
            parameters: tuner.name(only).to_owned(),
        }];
    }
    let ours = priced::ours(tuner);
    vec![
        static_mix(tuner, &ours),
        ours,
        priced::oracle(tuner),
        random(tuner),
        cheapest(tuner),
        highest_score(tuner),
        fixed::published(tuner),
        fixed::tuned(tuner),
        threshold::tuned(tuner),
        cascade::tuned(tuner),
        queue::tuned(tuner),
    ]
}

fn static_mix(tuner: &Tuner<'_>, ours: &Tuned) -> Tuned {
    let ways = ours.rule.play(tuner.table(), tuner.servers, tuner.problem.rate);
    Tuned {
        routing: RoutingRule::StaticMix,
        parameters: "fractions of our prices on this allocation".to_owned(),
        rule: Rule::Mix {
            parts: tuner.servers.visits(&ways.list),
        },
    }
}

fn random(tuner: &Tuner<'_>) -> Tuned {
    let capacities: Vec<f64> = (0..tuner.problem.models.len())
        .map(|model| tuner.servers.capacity(model))
        .collect();
    let all: f64 = capacities.iter().sum();
    Tuned {
        routing: RoutingRule::Random,
        parameters: "in proportion to capacity".to_owned(),
        rule: Rule::Mix {
            parts: capacities.iter().map(|capacity| capacity / all).collect(),
        },
    }
}

fn cheapest(tuner: &Tuner<'_>) -> Tuned {
    Tuned {
        routing: RoutingRule::Cheapest,
        parameters: tuner.name(tuner.by_cost[0]).to_owned(),
        rule: tuner.all_to(tuner.by_cost[0]),
    }
}

/// Ties are split evenly, or go to the model that needs least compute: whichever is better.
fn highest_score(tuner: &Tuner<'_>) -> Tuned {
    let mut even = vec![f64::INFINITY; tuner.problem.models.len()];
    let mut cheap = even.clone();
    for (rank, model) in (0u32..).zip(&tuner.by_cost) {
        even[*model] = 0.0;
        // Far above rounding of scores, and in all below what a score is measured to.
        cheap[*model] = f64::from(rank) * 20.0 * SAME_SCORE;
    }
    let mut best = None;
    for (prices, ties) in [(even, "ties split evenly"), (cheap, "ties to the cheaper model")] {
        let rule = Rule::Prices {
            prices,
            routing: Routing {
                tie_tolerance: SAME_SCORE,
                salt: 0,
                ties: Vec::new(),
            },
        };
        keep(&mut best, tuner.merit_of(&rule), || (rule.clone(), ties));
    }
    let (_, (rule, ties)) = best.expect("one of two is kept");
    Tuned {
        routing: RoutingRule::HighestScore,
        parameters: ties.to_owned(),
        rule,
    }
}
