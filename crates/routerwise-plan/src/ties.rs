//! From prices to fractions: what a price vector does with every prompt, and how ties are to be split.
//!
//! At optimal prices every response of the solution sends every prompt to a model that is best for it there; responses differ only on prompts
//! that are tied. Those are gathered by the set of tied models, and each set gets the split that the solution gave it. With all scores
//! equal there is one set, and its split alone realises the fractions.

use std::collections::BTreeMap;

use routerwise_types::plan::{Routing, TieSplit};

use crate::prices::Responses;
use crate::prices::kernel::{ScoreTable, relative};

/// Tie tolerances that a plan may use, narrowest first. Scores are `f32`: differences below 1e-7 are rounding.
pub(crate) const TIE_TOLERANCES: [f64; 4] = [1e-6, 1e-5, 1e-4, 1e-3];

/// What a policy does with the prompts of a score table.
#[derive(Clone, Debug, PartialEq)]
pub struct Realised {
    /// Fraction of prompts that each model gets.
    pub fractions: Vec<f64>,
    /// Sum of score times weight that each model contributes.
    pub quality_by_model: Vec<f64>,
}

impl Realised {
    /// Mean score.
    #[must_use]
    pub fn quality(&self) -> f64 {
        self.quality_by_model.iter().sum()
    }
}

/// Models (as a bit set) that are tied for a prompt; those that are off never are.
pub(crate) fn tied(table: &ScoreTable, row: usize, prices: &[f64], on: &[bool], tolerance: f64) -> u64 {
    let worth = |model: usize| table.score(model, row) - prices[model];
    let best = (0..prices.len())
        .filter(|model| on[*model])
        .map(worth)
        .fold(f64::NEG_INFINITY, f64::max);
    (0..prices.len())
        .filter(|model| on[*model] && worth(*model) >= best - tolerance)
        .fold(0, |set, model| set | 1 << model)
}

/// The splits that make `prices` do what the responses of a mixture do: their indices and weights.
pub(crate) fn splits(
    table: &ScoreTable,
    prices: &[f64],
    on: &[bool],
    mixed: &[(usize, f64)],
    responses: &Responses,
    tolerance: f64,
) -> Routing {
    let n = prices.len();
    let mut sets: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    let parts_of_responses: Vec<(Vec<f32>, f64)> = mixed
        .iter()
        .map(|(index, part)| (relative(&responses.list[*index].prices), *part))
        .collect();
    for row in 0..table.n_rows() {
        let set = tied(table, row, prices, on, tolerance);
        if set.count_ones() < 2 {
            continue;
        }
        let parts = sets.entry(set).or_insert_with(|| vec![0.0; n]);
        for (prices, part) in &parts_of_responses {
            let winner = table.winner(prices, row);
            if set >> winner & 1 == 1 {
                parts[winner] += part * table.weight(row);
            }
        }
    }
    let ties = sets
        .into_iter()
        .filter_map(|(set, parts)| {
            let total: f64 = parts.iter().sum();
            let models: Vec<usize> = (0..n).filter(|model| set >> model & 1 == 1).collect();
            (total > 0.0).then(|| TieSplit {
                parts: models.iter().map(|m| parts[*m] / total).collect(),
                models,
            })
        })
        .collect();
    Routing {
        tie_tolerance: tolerance,
        salt: 0,
        ties,
    }
}

/// Plays a policy over all prompts, in expectation over its splits.
pub(crate) fn realise(table: &ScoreTable, prices: &[f64], on: &[bool], routing: &Routing) -> Realised {
    let n = prices.len();
    let splits: BTreeMap<u64, &TieSplit> = routing
        .ties
        .iter()
        .map(|tie| (tie.models.iter().fold(0, |set, model| set | 1 << model), tie))
        .collect();
    let mut realised = Realised {
        fractions: vec![0.0; n],
        quality_by_model: vec![0.0; n],
    };
    let mut give = |row: usize, model: usize, part: f64| {
        realised.fractions[model] += part * table.weight(row);
        realised.quality_by_model[model] += part * table.weight(row) * table.score(model, row);
    };
    for row in 0..table.n_rows() {
        let set = tied(table, row, prices, on, routing.tie_tolerance);
        match splits.get(&set) {
            Some(tie) => tie
                .models
                .iter()
                .zip(&tie.parts)
                .for_each(|(model, part)| give(row, *model, *part)),
            None => {
                let even = 1.0 / f64::from(set.count_ones());
                (0..n)
                    .filter(|model| set >> model & 1 == 1)
                    .for_each(|model| give(row, model, even));
            }
        }
    }
    realised
}
