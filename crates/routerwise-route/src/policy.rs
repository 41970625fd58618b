//! Which model answers a prompt: `argmax_i s_i − α_i`, ties split to the planned fractions.
//!
//! Where several models lie within the plan's tie tolerance of the best, the prompt's hash decides in proportion to the plan's split of that set: the
//! same prompt always goes the same way, and many prompts meet the fractions within sampling error.

use std::collections::BTreeMap;

use routerwise_types::hash::uniform;
pub use routerwise_types::hash::{mix, prompt_hash};
use routerwise_types::plan::{RoutePolicy, Routing};

/// The routing rule of one policy of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    prices: Vec<f64>,
    running: Vec<bool>,
    tolerance: f64,
    salt: u64,
    /// Cumulative parts by set of tied models (a bit per model).
    splits: BTreeMap<u64, Vec<(usize, f64)>>,
}

impl Policy {
    /// The rule of a policy, over the plan's models in order, of which some run; the others it bars. At most 64 models.
    ///
    /// # Panics
    /// When the plan has more than 64 models.
    #[must_use]
    pub fn new(policy: &RoutePolicy, mut running: Vec<bool>) -> Self {
        for (runs, model) in running.iter_mut().zip(&policy.models) {
            *runs &= !model.barred;
        }
        let prices: Vec<f64> = policy.models.iter().map(|model| model.price.value()).collect();
        Self::with_prices(&prices, &policy.routing, running)
    }

    /// The rule of any prices, one per model, of which some run. At most 64 models.
    ///
    /// # Panics
    /// When there are more than 64 models.
    #[must_use]
    pub fn with_prices(prices: &[f64], routing: &Routing, running: Vec<bool>) -> Self {
        assert!(running.len() <= 64, "a set of tied models is a 64-bit set");
        let splits = routing
            .ties
            .iter()
            .map(|tie| {
                let set = tie.models.iter().fold(0, |set, model| set | 1 << model);
                let mut sum = 0.0;
                let cumulative = tie.models.iter().zip(&tie.parts).map(|(model, part)| {
                    sum += part;
                    (*model, sum)
                });
                (set, cumulative.collect())
            })
            .collect();
        Self {
            prices: prices.to_vec(),
            running,
            tolerance: routing.tie_tolerance,
            salt: routing.salt,
            splits,
        }
    }

    /// The model for a prompt with these scores (one per model) and this hash; nothing when no model runs.
    #[must_use]
    pub fn choose(&self, scores: &[f32], prompt_hash: u64) -> Option<usize> {
        let running = (0..self.prices.len()).filter(|model| self.running[*model]);
        let worth = |model: usize| f64::from(scores[model]) - self.prices[model];
        self.choose_by(worth, running, prompt_hash)
    }

    /// The rule with any worth instead of score less price, among some models in rising order.
    pub fn choose_by(
        &self,
        worth: impl Fn(usize) -> f64,
        among: impl Iterator<Item = usize> + Clone,
        prompt_hash: u64,
    ) -> Option<usize> {
        let best = among.clone().map(&worth).fold(f64::NEG_INFINITY, f64::max);
        let tied = among.filter(|model| worth(*model) >= best - self.tolerance);
        let set: u64 = tied.clone().fold(0, |set, model| set | 1 << model);
        if set.count_ones() < 2 {
            return tied.into_iter().next();
        }
        self.split(set, prompt_hash)
    }

    /// Which of a set of tied models (a bit each, at least two) a prompt goes to.
    #[must_use]
    pub fn split(&self, set: u64, prompt_hash: u64) -> Option<usize> {
        let draw = uniform(mix(prompt_hash ^ self.salt));
        match self.splits.get(&set) {
            Some(cumulative) => cumulative
                .iter()
                .find(|(_, sum)| draw < *sum)
                .or_else(|| cumulative.iter().rev().find(|(_, sum)| *sum > 0.0))
                .map(|(model, _)| *model),
            None => {
                let even = f64::from(set.count_ones());
                let tied = (0..64).filter(|model| set & (1 << model) != 0);
                tied.zip(1u32..)
                    .find(|(_, nth)| draw * even < f64::from(*nth))
                    .map(|(model, _)| model)
            }
        }
    }

    /// Prices, one per model.
    #[must_use]
    pub fn prices(&self) -> &[f64] {
        &self.prices
    }

    /// Models within this of the best count as tied.
    #[must_use]
    pub fn tie_tolerance(&self) -> f64 {
        self.tolerance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(prices: &[f64], splits: &[(u64, &[(usize, f64)])]) -> Policy {
        Policy {
            prices: prices.to_vec(),
            running: vec![true; prices.len()],
            tolerance: 1e-6,
            salt: 0,
            splits: splits.iter().map(|(set, parts)| (*set, parts.to_vec())).collect(),
        }
    }

    #[test]
    fn the_highest_score_minus_price_wins() {
        let policy = policy(&[0.3, 0.0], &[]);
        assert_eq!(policy.choose(&[0.9, 0.5], 1), Some(0));
        assert_eq!(policy.choose(&[0.7, 0.5], 1), Some(1));
    }

    #[test]
    fn a_model_that_is_off_gets_nothing() {
        let mut policy = policy(&[0.0, 0.0], &[]);
        policy.running[0] = false;
        assert_eq!(policy.choose(&[1.0, 0.0], 1), Some(1));
        policy.running[1] = false;
        assert_eq!(policy.choose(&[1.0, 0.0], 1), None);
    }

    #[test]
    fn equal_scores_meet_the_planned_fractions_within_sampling_error() {
        let policy = policy(&[0.0, 0.0, 0.0], &[(0b111, &[(0, 0.2), (1, 0.2), (2, 1.0)])]);
        let mut counts = [0.0; 3];
        for i in 0..20_000u64 {
            counts[policy.choose(&[0.5; 3], prompt_hash(&format!("prompt {i}"))).unwrap()] += 1.0 / 20_000.0;
        }
        assert!(
            (counts[0] - 0.2f64).abs() < 0.012 && counts[1] < 1e-9 && (counts[2] - 0.8f64).abs() < 0.012,
            "{counts:?}"
        );
    }

    #[test]
    fn a_set_that_the_plan_never_saw_is_split_evenly() {
        let policy = policy(&[0.0, 0.0], &[]);
        let first = (0..10_000u64)
            .filter(|i| policy.choose(&[0.5, 0.5], mix(*i)) == Some(0))
            .count();
        assert!((4_700..5_300).contains(&first), "{first}");
    }

    #[test]
    fn a_prompt_always_goes_the_same_way() {
        let policy = policy(&[0.0, 0.0], &[]);
        let hash = prompt_hash("what is the capital of France?");
        assert!((0..10).all(|_| policy.choose(&[0.5, 0.5], hash) == policy.choose(&[0.5, 0.5], hash)));
    }
}
