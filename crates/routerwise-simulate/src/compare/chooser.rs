//! The rules of a comparison, request by request.

use routerwise_plan::baselines::Rule;
use routerwise_plan::baselines::rule::above;
use routerwise_route::policy::{Policy, mix};
use routerwise_route::router::{Ask, Router};
use routerwise_types::hash::uniform;
use routerwise_types::plan::PlannedModel;

/// A rule that answers a router's questions.
pub(super) enum Chooser<'a> {
    /// What a gateway runs too.
    Prices(Policy),
    Other {
        rule: &'a Rule,
        running: Vec<bool>,
        /// Requests/s that one replica can take.
        capacities: Vec<f64>,
    },
}

impl<'a> Chooser<'a> {
    pub(super) fn new(rule: &'a Rule, models: &[PlannedModel], capacities: Vec<f64>) -> Self {
        let running = models.iter().map(|model| model.configuration.is_some()).collect();
        match rule {
            Rule::Prices { prices, routing } => Self::Prices(Policy::with_prices(prices, routing, running)),
            other => Self::Other {
                rule: other,
                running,
                capacities,
            },
        }
    }
}

/// A number in [0, 1) that a prompt or a request always has, another one for every purpose.
fn chance(number: u64, purpose: u64) -> f64 {
    uniform(mix(number ^ mix(purpose)))
}

impl Router for Chooser<'_> {
    fn asks_again(&self) -> bool {
        matches!(
            self,
            Self::Other {
                rule: Rule::Cascade { .. },
                ..
            }
        )
    }

    fn next(&self, ask: &Ask<'_>) -> Option<usize> {
        let (rule, running, capacities) = match self {
            Self::Prices(policy) => return policy.next(ask),
            Self::Other {
                rule,
                running,
                capacities,
            } => (*rule, running, capacities),
        };
        if !ask.answered.is_empty() && !self.asks_again() {
            return None;
        }
        let score = |model: usize| f64::from(ask.scores[model]);
        match rule {
            Rule::Mix { parts } => {
                let draw = chance(ask.request, 1);
                let mut sum = 0.0;
                let asked = (0..parts.len()).filter(|model| parts[*model] > 0.0);
                asked
                    .clone()
                    .find(|model| {
                        sum += parts[*model];
                        draw < sum
                    })
                    .or_else(|| asked.max())
            }
            Rule::Threshold {
                weak,
                strong,
                gain,
                part,
            } => {
                let to_strong = above(score(*strong) - score(*weak), *gain, *part);
                Some(if chance(ask.prompt_hash, 2) < to_strong {
                    *strong
                } else {
                    *weak
                })
            }
            Rule::Cascade { steps, last } => {
                let n_answered = ask.answered.len();
                if let Some(step) = n_answered.checked_sub(1).map(|at| steps.get(at)) {
                    let step = step?;
                    if chance(ask.prompt_hash, 3 + n_answered as u64) < step.accepts(score(step.model)) {
                        return None;
                    }
                }
                Some(steps.get(n_answered).map_or(*last, |step| step.model))
            }
            Rule::QueuePenalty { per_second } => {
                let worth = |model: usize| score(model) - per_second * ask.outstanding[model] / capacities[model];
                let running = (0..running.len()).filter(|model| running[*model]);
                running.reduce(|best, model| if worth(model) > worth(best) { model } else { best })
            }
            Rule::Prices { .. } => unreachable!("prices are a policy"),
        }
    }
}

#[cfg(test)]
mod tests {
    use routerwise_plan::baselines::Step;

    use super::*;

    fn chooser(rule: &Rule) -> Chooser<'_> {
        Chooser::Other {
            rule,
            running: vec![true; 3],
            capacities: vec![1.0, 2.0, 4.0],
        }
    }

    fn ask<'a>(scores: &'a [f32], outstanding: &'a [f64], answered: &'a [usize]) -> Ask<'a> {
        Ask {
            scores,
            request: 3,
            prompt_hash: 7,
            outstanding,
            answered,
        }
    }

    #[test]
    fn a_cascade_goes_on_until_an_answer_is_accepted_and_stops_at_its_last_model() {
        let step = |model| Step {
            model,
            accept: 0.5,
            part: 1.0,
        };
        let rule = Rule::Cascade {
            steps: vec![step(0), step(2)],
            last: 1,
        };
        let chooser = chooser(&rule);
        let next = |scores: &[f32], answered: &[usize]| chooser.next(&ask(scores, &[0.0; 3], answered));
        assert!(chooser.asks_again());
        assert_eq!(next(&[0.9, 0.0, 0.0], &[]), Some(0));
        assert_eq!(next(&[0.9, 0.0, 0.0], &[0]), None);
        assert_eq!(next(&[0.1, 0.0, 0.0], &[0]), Some(2));
        assert_eq!(next(&[0.1, 0.0, 0.5], &[0, 2]), None);
        assert_eq!(next(&[0.1, 0.0, 0.4], &[0, 2]), Some(1));
        assert_eq!(next(&[0.1, 0.0, 0.4], &[0, 2, 1]), None);
    }

    #[test]
    fn a_queue_penalty_counts_work_in_seconds() {
        let rule = Rule::QueuePenalty { per_second: 0.1 };
        let chooser = chooser(&rule);
        let next = |outstanding: &[f64]| chooser.next(&ask(&[0.9, 0.8, 0.8], outstanding, &[]));
        assert_eq!(next(&[0.0, 0.0, 0.0]), Some(0));
        assert_eq!(next(&[2.0, 1.0, 1.0]), Some(2));
        assert_eq!(next(&[2.0, 1.0, 9.0]), Some(1));
    }

    #[test]
    fn a_mix_meets_its_parts() {
        let rule = Rule::Mix {
            parts: vec![0.25, 0.0, 0.75],
        };
        let chooser = chooser(&rule);
        let choose = |request: u64| {
            chooser.next(&Ask {
                request,
                ..ask(&[0.0; 3], &[0.0; 3], &[])
            })
        };
        let first = (0..10_000).filter(|request| choose(*request) == Some(0)).count();
        assert!((2_350..2_650).contains(&first), "{first}");
        assert!((0..10_000).all(|request| choose(request) != Some(1)));
    }
}
