//! Replays labels that are known: is choosing what to label next worth it?
//!
//! ```sh
//! cargo run --release -p routerwise --example active_choice -- scores.parquet…
//! ```
//!
//! A fifth of the prompts is the test. Of the others 200 are labelled by chance, then 200 more in each round, by chance or chosen. After
//! each round the default predictor is learned from all labels so far, and routes the test at even fractions. Lift: (routed − static mix) / (oracle − static
//! mix). Mean over the seeds, and the standard error of the paired difference.

#![expect(clippy::print_stdout, reason = "an example's output")]

use std::path::Path;

use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use routerwise_inputs::labels::{self, Labels};
use routerwise_label::active::{Known, draw, route};
use routerwise_predict::train::{Labelled, Options, train};
use routerwise_predict::{Piece, Predictor as _, PromptFacts};

const ROUND: usize = 200;
const ROUNDS: usize = 6;
const SEEDS: u64 = 8;

fn main() {
    for path in std::env::args().skip(1) {
        let labels = labels::read(Path::new(&path), &[]).expect("a scores file");
        println!("{path}: {} prompts, {} models", labels.texts.len(), labels.models.len());
        let runs: Vec<[Vec<f64>; 2]> = (0..SEEDS)
            .map(|seed| [replay(&labels, seed, false), replay(&labels, seed, true)])
            .collect();
        println!(" labels  chance  chosen  difference ± standard error");
        for round in 0..ROUNDS {
            let mean = |of: &dyn Fn(&[Vec<f64>; 2]) -> f64| runs.iter().map(of).sum::<f64>() / runs.len() as f64;
            let difference = |run: &[Vec<f64>; 2]| run[1][round] - run[0][round];
            let gain = mean(&difference);
            let variance = mean(&|run| (difference(run) - gain).powi(2)) * runs.len() as f64 / (runs.len() - 1) as f64;
            println!(
                " {:>6}  {:>6.4}  {:>6.4}  {:>+7.4} ± {:.4}",
                ROUND * (round + 1),
                mean(&|run| run[0][round]),
                mean(&|run| run[1][round]),
                gain,
                (variance / runs.len() as f64).sqrt()
            );
        }
    }
}

/// Lift on the test after each round.
fn replay(all: &Labels, seed: u64, chosen: bool) -> Vec<f64> {
    let mut order: Vec<usize> = (0..all.texts.len()).collect();
    order.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let (test, rest) = order.split_at(order.len() / 5);
    let (mut labelled, mut pool) = (rest[..ROUND].to_vec(), rest[ROUND..].to_vec());
    let fractions = vec![1.0 / all.models.len() as f64; all.models.len()];
    let mut lifts = Vec::new();
    for round in 0..ROUNDS {
        lifts.push(lift(all, &labelled, test, &fractions, seed));
        if round + 1 == ROUNDS {
            break;
        }
        let taken: Vec<usize> = if chosen {
            let part = all.of(&labelled);
            let known = Known {
                models: &part.models,
                texts: &part.texts,
                labels: &part.columns,
                fractions: &fractions,
            };
            let texts: Vec<&str> = pool.iter().map(|row| all.texts[*row].as_str()).collect();
            let drawn = draw(known, &texts, ROUND, seed * 100 + round as u64).expect("enough prompts");
            drawn.into_iter().map(|drawn| pool[drawn.ix]).collect()
        } else {
            pool[..ROUND.min(pool.len())].to_vec()
        };
        pool.retain(|row| !taken.contains(row));
        labelled.extend(taken);
    }
    lifts
}

fn lift(all: &Labels, labelled: &[usize], test: &[usize], fractions: &[f64], seed: u64) -> f64 {
    let part = all.of(labelled);
    let data = Labelled {
        models: &part.models,
        texts: &part.texts,
        labels: &part.columns,
        weights: &part.weights,
    };
    let predictor = train(data, Options { seed, n_threads: 2 }, &|| ())
        .expect("enough prompts")
        .predictor;
    let test = all.of(test);
    let mut predicted = vec![Vec::new(); all.models.len()];
    let mut scores = vec![0.0; all.models.len()];
    for text in &test.texts {
        let pieces = [Piece::user(text)];
        predictor
            .predict(&PromptFacts::new(&pieces), &mut scores)
            .expect("it scores every text");
        predicted
            .iter_mut()
            .zip(&scores)
            .for_each(|(column, score)| column.push(*score));
    }
    let quality = |routed: &[usize]| {
        let scores = routed
            .iter()
            .enumerate()
            .map(|(row, model)| f64::from(test.columns[*model][row]));
        scores.sum::<f64>() / routed.len() as f64
    };
    let routed = route(&predicted, fractions);
    let oracle = quality(&route(&test.columns, fractions));
    // The mix that this very routing has: ties and rounding must not count as lift.
    let mix: f64 = routed.iter().map(|model| mean(&test.columns[*model])).sum::<f64>() / routed.len() as f64;
    (quality(&routed) - mix) / (oracle - mix)
}

fn mean(column: &[f32]) -> f64 {
    column.iter().map(|score| f64::from(*score)).sum::<f64>() / column.len() as f64
}
