//! The two halves of the prompts: one to plan and tune on, one to judge by.

use routerwise_types::hash::prompt_hash;
use routerwise_types::quality::Scores;
use routerwise_types::scenario::Scenario;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Setups, prices and parameters are made on these.
    Training,
    /// Results are about these.
    Test,
}

/// Which half a prompt belongs to: the lowest bit of the hash of its id, 0 for training. It does not depend on other prompts, on their
/// order or on chance.
#[must_use]
pub fn half_of(prompt_id: &str) -> Half {
    if prompt_hash(prompt_id) & 1 == 0 {
        Half::Training
    } else {
        Half::Test
    }
}

/// A scenario with the prompts of one half.
#[must_use]
pub fn half(scenario: &Scenario, half: Half) -> Scenario {
    let scores = scenario.scores.of_route(0);
    let kept: Vec<usize> = (0..scores.n_prompts())
        .filter(|prompt| half_of(&scores.prompts[*prompt].id) == half)
        .collect();
    let columns = scores.columns.iter();
    let tokens = scores.output_tokens.iter();
    Scenario {
        cluster: scenario.cluster.clone(),
        models: scenario.models.clone(),
        workload: scenario.workload.clone(),
        scores: Scores {
            models: scores.models.clone(),
            prompts: kept.iter().map(|prompt| scores.prompts[*prompt].clone()).collect(),
            columns: columns.map(|column| pick(column, &kept)).collect(),
            routes: Vec::new(),
            output_tokens: tokens
                .map(|tokens| tokens.as_ref().map(|tokens| pick(tokens, &kept)))
                .collect(),
        },
        profiles: scenario.profiles.clone(),
        fingerprints: scenario.fingerprints.clone(),
    }
}

fn pick<T: Copy>(values: &[T], kept: &[usize]) -> Vec<T> {
    kept.iter().map(|at| values[*at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_halves_are_about_equal_and_every_prompt_always_falls_into_the_same() {
        let in_training = (0..10_000)
            .filter(|i| half_of(&format!("prompt-{i}")) == Half::Training)
            .count();
        assert!((4_800..5_200).contains(&in_training), "{in_training}");
        // Written down, because another split is another result.
        let training: Vec<String> = (1..=20)
            .map(|i| format!("p{i:02}"))
            .filter(|id| half_of(id) == Half::Training)
            .collect();
        assert_eq!(training.join(" "), "p03 p05 p08 p09 p10 p13 p15 p17 p18 p19 p20");
    }
}
