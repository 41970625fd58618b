//! Ask a cheap model, accept its answer when it scores high enough, else ask the next (`FrugalGPT`, Chen et al. 2023).
//!
//! Chains of two and three models in rising order of compute. Each step is tuned by the part of *all* prompts whose answer of that model it
//! would accept, which fixes its threshold.

use routerwise_types::comparison::RoutingRule;

use super::{Merit, Tuned, Tuner, keep};
use crate::baselines::rule::{Rule, SAME_SCORE, Step, cascade};
use crate::prices::kernel::ScoreTable;

/// Parts of the answers accepted that are tried for each step of a chain, and more closely for the best chain.
const N_COARSE: u32 = 10;
const N_FINE: u32 = 100;
/// Rounds over the steps of the best chain, each step by itself.
const N_ROUNDS: usize = 2;
/// With more models running than this, chains of three are too many to try.
const MOST_FOR_THREE: usize = 8;

/// Scores of one model by falling value: groups of equal score with their weight.
struct Scores(Vec<(f64, f64)>);

impl Scores {
    fn new(table: &ScoreTable, model: usize) -> Self {
        let mut rows: Vec<(f64, f64)> = (0..table.n_rows())
            .map(|row| (table.score(model, row), table.weight(row)))
            .collect();
        rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        let groups = rows.chunk_by(|a, b| (a.0 - b.0).abs() <= SAME_SCORE);
        Self(
            groups
                .map(|group| (group[0].0, group.iter().map(|(_, weight)| weight).sum()))
                .collect(),
        )
    }

    /// The step that accepts a part of all answers.
    fn step(&self, model: usize, accepted: f64) -> Step {
        let mut left = accepted;
        for (score, weight) in &self.0 {
            if *weight >= left {
                return Step {
                    model,
                    accept: *score,
                    part: left / weight,
                };
            }
            left -= weight;
        }
        Step {
            model,
            accept: -1.0,
            part: 1.0,
        }
    }
}

type Chain = (Vec<usize>, Vec<f64>);

pub(super) fn tuned(tuner: &Tuner<'_>) -> Tuned {
    let models = &tuner.by_cost;
    let scores: Vec<Scores> = (0..tuner.problem.models.len())
        .map(|model| Scores::new(tuner.table(), model))
        .collect();
    let steps = |(chain, accepted): &Chain| -> Vec<Step> {
        let steps = chain.iter().zip(accepted);
        steps
            .map(|(model, accepted)| scores[*model].step(*model, *accepted))
            .collect()
    };
    let mut best: Option<(Merit, Chain)> = None;
    let mut look = |chain: Chain| {
        let last = chain.0[chain.1.len()];
        let merit = tuner.merit(&cascade(tuner.table(), &steps(&chain), last));
        keep(&mut best, merit, || chain);
        best.clone().map(|(_, chain)| chain)
    };
    let coarse = |i: u32| f64::from(i) / f64::from(N_COARSE);
    let mut found = None;
    for (at, first) in models.iter().enumerate() {
        for (next, second) in models.iter().enumerate().skip(at + 1) {
            for i in 0..=N_COARSE {
                found = look((vec![*first, *second], vec![coarse(i)]));
            }
            if models.len() > MOST_FOR_THREE {
                continue;
            }
            for third in &models[next + 1..] {
                for pair in 0..(N_COARSE + 1) * (N_COARSE + 1) {
                    let (i, j) = (pair / (N_COARSE + 1), pair % (N_COARSE + 1));
                    found = look((vec![*first, *second, *third], vec![coarse(i), coarse(j)]));
                }
            }
        }
    }
    for round in 0..N_ROUNDS * 2 {
        let Some((chain, accepted)) = found.clone() else { break };
        let at = round % accepted.len();
        for i in 0..=N_FINE {
            let mut accepted = accepted.clone();
            accepted[at] = f64::from(i) / f64::from(N_FINE);
            found = look((chain.clone(), accepted));
        }
    }
    let (chain, accepted) = found.expect("two models run");
    named(tuner, &steps(&(chain.clone(), accepted)), chain[chain.len() - 1])
}

fn named(tuner: &Tuner<'_>, steps: &[Step], last: usize) -> Tuned {
    let spelled: Vec<String> = steps
        .iter()
        .map(|step| format!("{} accepted from {:.4}", tuner.name(step.model), step.accept))
        .collect();
    Tuned {
        routing: RoutingRule::Cascade,
        parameters: format!("{}, then {}", spelled.join(", "), tuner.name(last)),
        rule: Rule::Cascade {
            steps: steps.to_vec(),
            last,
        },
    }
}
