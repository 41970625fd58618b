//! Which prompts to label next: those whose routing is least certain.
//!
//! A committee of predictors, each learned from another two thirds of the labels so far, is asked about the prompts without labels.
//! Each member finds the prices at which its own scores fill the fractions asked for. Where the best two models are, scores less prices,
//! no further apart than members differ, the labels do not yet fix where the prompt goes. Such prompts are drawn more often, never
//! exclusively: the chance of a draw is known, and its inverse goes into the prompt's weight, so that means over the labels stay those
//! of all prompts.

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use routerwise_predict::train::{CannotLearn, Labelled, Options, train};
use routerwise_predict::{Piece, Predictor as _, PromptFacts};

/// Members of the committee.
const MEMBERS: usize = 5;
/// Chance of a draw of what all agree on, relative to what they differ on most: keeps weights within a factor of five.
const LEAST: f64 = 0.2;
/// Passes over the models that find prices; changes are below a prompt by then.
const PASSES: usize = 30;

/// What is known so far.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Names of the models.
    pub models: &'a [String],
    /// Prompts with labels.
    pub texts: &'a [String],
    /// For each model one label per prompt.
    pub labels: &'a [Vec<f32>],
    /// Part of all prompts that each model is to get.
    pub fractions: &'a [f64],
}

/// A prompt that is to be labelled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drawn {
    /// Its place in the pool.
    pub ix: usize,
    /// Prompts of the pool that it stands for, relative to the others.
    pub weight: f64,
}

/// Draws `count` prompts of the pool.
///
/// # Errors
/// When there are too few labels to learn from.
pub fn draw(known: Known<'_>, pool: &[&str], count: usize, seed: u64) -> Result<Vec<Drawn>, CannotLearn> {
    let chances = chances(known, pool, seed)?;
    let mean = chances.iter().sum::<f64>() / chances.len().max(1) as f64;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Whoever's exponential clock rings first: a weighted draw without replacement.
    let mut clocks: Vec<(f64, usize)> = chances
        .iter()
        .enumerate()
        .map(|(ix, chance)| (-(1.0 - random.random::<f64>()).ln() / chance, ix))
        .collect();
    clocks.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let drawn = clocks.into_iter().take(count);
    Ok(drawn
        .map(|(_, ix)| Drawn {
            ix,
            weight: mean / chances[ix],
        })
        .collect())
}

/// Relative chance of each prompt: how near it is to going elsewhere, in units of what the committee is unsure of.
fn chances(known: Known<'_>, pool: &[&str], seed: u64) -> Result<Vec<f64>, CannotLearn> {
    let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x0063_6f6d_6d69_7474);
    let mut order: Vec<usize> = (0..known.texts.len()).collect();
    let mut members = Vec::new();
    for member in 0..MEMBERS {
        order.shuffle(&mut random);
        let part = &order[..(2 * order.len()).div_ceil(3)];
        let mut scores = member_scores(known, part, pool, seed.wrapping_add(member as u64))?;
        let prices = prices(&scores, known.fractions);
        for (column, price) in scores.iter_mut().zip(prices) {
            column.iter_mut().for_each(|score| *score -= price);
        }
        members.push(scores);
    }
    let margins: Vec<(f64, f64)> = (0..pool.len()).map(|row| margin(&members, row)).collect();
    let mean_square = margins.iter().map(|(_, spread)| spread * spread).sum::<f64>() / margins.len().max(1) as f64;
    let scale = mean_square.sqrt().max(1e-6);
    let chance = |(margin, spread): &(f64, f64)| {
        let apart = margin / (scale + spread);
        LEAST + (1.0 - LEAST) * (-0.5 * apart * apart).exp()
    };
    Ok(margins.iter().map(chance).collect())
}

/// How far the best model is ahead of the second, scores less prices: mean over the committee, and how much it differs about it.
fn margin(members: &[Vec<Vec<f32>>], row: usize) -> (f64, f64) {
    let n = members.len() as f64;
    let mean = |model: usize| members.iter().map(|scores| f64::from(scores[model][row])).sum::<f64>() / n;
    let mut ranked: Vec<(f64, usize)> = (0..members[0].len()).map(|model| (mean(model), model)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let [(best, first), (next, second), ..] = ranked[..] else {
        return (f64::INFINITY, 0.0);
    };
    let differences = members
        .iter()
        .map(|scores| f64::from(scores[first][row] - scores[second][row]));
    let variance = differences
        .map(|difference| (difference - (best - next)).powi(2))
        .sum::<f64>()
        / n;
    (best - next, variance.sqrt())
}

/// One member's scores of the pool: for each model one per prompt.
fn member_scores(known: Known<'_>, part: &[usize], pool: &[&str], seed: u64) -> Result<Vec<Vec<f32>>, CannotLearn> {
    let texts: Vec<String> = part.iter().map(|row| known.texts[*row].clone()).collect();
    let of = |column: &Vec<f32>| part.iter().map(|row| column[*row]).collect();
    let labels: Vec<Vec<f32>> = known.labels.iter().map(of).collect();
    let data = Labelled {
        models: known.models,
        texts: &texts,
        labels: &labels,
        weights: &[],
    };
    let options = Options {
        seed,
        n_threads: std::thread::available_parallelism().map_or(1, usize::from),
    };
    let member = train(data, options, &|| ())?.predictor;
    let mut columns = vec![Vec::with_capacity(pool.len()); known.models.len()];
    let mut scores = vec![0.0; known.models.len()];
    for text in pool {
        let pieces = [Piece::user(text)];
        let scored = member.predict(&PromptFacts::new(&pieces), &mut scores);
        scored.expect("the default predictor scores every text");
        columns
            .iter_mut()
            .zip(&scores)
            .for_each(|(column, score)| column.push(*score));
    }
    Ok(columns)
}

/// Routes every prompt to the model with the highest score less its price, at prices that give each model its fraction, as far as
/// ties allow. Scores are for each model one per prompt.
#[must_use]
pub fn route(scores: &[Vec<f32>], fractions: &[f64]) -> Vec<usize> {
    let n = scores.first().map_or(0, Vec::len);
    let prices = prices(scores, fractions);
    let net = |model: usize, row: usize| scores[model][row] - prices[model];
    let best = |row: usize| (0..scores.len()).max_by(|a, b| net(*a, row).total_cmp(&net(*b, row)).then(b.cmp(a)));
    (0..n).map(|row| best(row).unwrap_or(0)).collect()
}

/// Prices at which each model gets its fraction, about.
fn prices(scores: &[Vec<f32>], fractions: &[f64]) -> Vec<f32> {
    let n = scores.first().map_or(0, Vec::len);
    let mut prices = vec![0.0_f32; scores.len()];
    for _ in 0..PASSES {
        for model in 0..scores.len() {
            prices[model] = price(scores, &prices, model, fractions[model], n);
        }
    }
    prices
}

/// The price at which a model gets its fraction while the others keep theirs.
fn price(scores: &[Vec<f32>], prices: &[f32], model: usize, fraction: f64, n: usize) -> f32 {
    let best_other = |row: usize| {
        let others = (0..scores.len()).filter(|other| *other != model);
        others
            .map(|other| scores[other][row] - prices[other])
            .fold(f32::NEG_INFINITY, f32::max)
    };
    let mut margins: Vec<f32> = (0..n).map(|row| scores[model][row] - best_other(row)).collect();
    margins.sort_unstable_by(|a, b| b.total_cmp(a));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a part of the prompts"
    )]
    let wanted = (fraction * n as f64).round() as usize;
    match (wanted, margins.as_slice()) {
        (_, []) => 0.0,
        (0, [most, ..]) => most + 1e-3,
        (all, [.., least]) if all >= n => least - 1e-3,
        (some, margins) => f32::midpoint(margins[some - 1], margins[some]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_give_every_model_its_fraction() {
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let scores: Vec<Vec<f32>> = (0..3)
            .map(|model| (0..1000).map(|_| random.random::<f32>() + model as f32).collect())
            .collect();
        let routed = route(&scores, &[0.5, 0.3, 0.2]);
        let counts: Vec<usize> = (0..3)
            .map(|model| routed.iter().filter(|to| **to == model).count())
            .collect();
        for (count, wanted) in counts.iter().zip([500, 300, 200]) {
            assert!(count.abs_diff(wanted) <= 10, "{counts:?}");
        }
    }

    /// Algebra and law are learnt at once; what a riddle is good for stays open, because answers to riddles are chance.
    #[test]
    fn what_the_committee_disagrees_on_is_drawn_more_often() {
        let text = |i: usize| match i % 3 {
            0 => format!("statute law question {}", i * 7919 % 1009),
            1 => format!("algebra sum question {}", i * 7919 % 1009),
            _ => format!("riddle of number {}", i * 7919 % 1009),
        };
        let label = |model: usize, i: usize| match i % 3 {
            2 => f32::from(u8::from((i / 3 * 31 + model * 17) % 7 < 3)),
            kind => f32::from(u8::from(kind == model)),
        };
        let texts: Vec<String> = (0..240).map(text).collect();
        let labels: Vec<Vec<f32>> = (0..2)
            .map(|model| (0..240).map(|i| label(model, i)).collect())
            .collect();
        let models = ["jurist", "geometer"].map(str::to_owned).to_vec();
        let known = Known {
            models: &models,
            texts: &texts,
            labels: &labels,
            fractions: &[0.5, 0.5],
        };
        let pool: Vec<String> = (240..840).map(text).collect();
        let pool: Vec<&str> = pool.iter().map(String::as_str).collect();
        let drawn = draw(known, &pool, 150, 1).unwrap();
        assert_eq!(drawn, draw(known, &pool, 150, 1).unwrap());
        let riddles = drawn.iter().filter(|drawn| drawn.ix % 3 == 2).count();
        assert!(riddles > 75, "{riddles} of 150 where chance gives 50");
        let total: f64 = drawn.iter().map(|drawn| drawn.weight).sum();
        let of_riddles = drawn.iter().filter(|drawn| drawn.ix % 3 == 2).map(|drawn| drawn.weight);
        let share = of_riddles.sum::<f64>() / total;
        assert!((0.22..0.45).contains(&share), "weights undo it: {share}");
    }
}
