//! The decision alone: scores of the prompt, the best of score less price, a replica of it, and the event that ends it.
//!
//! Prices are the plan's here; `cargo bench -p routerwise-route` has the decision with live ones, and the solve.

use std::hint::black_box;
use std::time::Instant;

use routerwise_predict::learned::{Kind, learn};
use routerwise_predict::train::{Labelled, Options};
use routerwise_predict::{Piece, Predictor as _, PromptFacts};
use routerwise_route::RouterCore;
use routerwise_route::event::Event;
use routerwise_route::facts::RequestFacts;
use routerwise_route::settings::Settings;
use routerwise_types::Timestamp;
use routerwise_types::hash::{mix, prompt_hash, uniform};

use crate::{SEED, common, counting};

const N_MODELS: usize = 11;
const N_REPLICAS: usize = 2;
/// A token is about three quarters of a word.
const N_WORDS: usize = 150;
const N_LEARNED: usize = 1_000;
const N_PROMPTS: usize = 1_024;
const N_DECISIONS: usize = 200_000;
const N_SCORED: usize = 20_000;

/// A text of words as in speech: few are frequent, many are rare.
fn text(nth: usize) -> String {
    let word = |at: usize| {
        let draw = mix(SEED ^ mix((nth * N_WORDS + at) as u64));
        format!("w{:x} ", mix(20_000 / (1 + draw % 20_000)) % 1_000_000)
    };
    (0..N_WORDS).map(word).collect()
}

fn price(model: usize) -> f64 {
    0.01 * model as f64
}

pub(crate) fn run() {
    let names: Vec<String> = (0..N_MODELS).map(|model| format!("model-{model}")).collect();
    let models: Vec<(&str, usize, f64)> = names
        .iter()
        .enumerate()
        .map(|(model, name)| (name.as_str(), N_REPLICAS, price(model)))
        .collect();
    let texts: Vec<String> = (0..N_LEARNED).map(text).collect();
    let label = |nth: usize, model: usize| {
        let draw = uniform(mix((nth * N_MODELS + model) as u64));
        f32::from(u8::from(draw < 0.3 + 0.05 * model as f64))
    };
    let labels: Vec<Vec<f32>> = (0..N_MODELS)
        .map(|model| (0..N_LEARNED).map(|nth| label(nth, model)).collect())
        .collect();
    let data = Labelled {
        models: &names,
        texts: &texts,
        labels: &labels,
        weights: &[],
    };
    let options = Options {
        seed: SEED,
        n_threads: 1,
    };
    let predictor = learn(Kind::Default, data, options, &|| ()).unwrap().predictor;

    let prompts: Vec<String> = (0..N_PROMPTS).map(|nth| text(N_LEARNED + nth)).collect();
    let hashes: Vec<u64> = prompts.iter().map(|prompt| prompt_hash(prompt)).collect();
    let mut scores = vec![[0.0f32; N_MODELS]; N_PROMPTS];
    let scoring = Cost::of(N_SCORED, |nth| {
        let pieces = [Piece::user(&prompts[nth % N_PROMPTS])];
        predictor
            .predict(&PromptFacts::new(&pieces), &mut scores[nth % N_PROMPTS])
            .unwrap();
    });
    let settings = Settings::default().with_static_prices();
    let mut core = RouterCore::new(&common::plan::of(&models), None, settings).unwrap();
    let deciding = Cost::of(N_DECISIONS, |nth| {
        let (scores, hash) = (&scores[nth % N_PROMPTS], hashes[nth % N_PROMPTS]);
        let now = Timestamp(nth as u64 * 1_000);
        let decision = core.route(now, &RequestFacts::new(scores, nth as u64, hash, now));
        let send = decision.sent().expect("all replicas are up");
        if nth < N_PROMPTS {
            check(scores, send.ticket.model);
        }
        core.observe(
            now,
            Event::Finished {
                ticket: black_box(send.ticket),
                ttft: None,
                output_tokens: 1,
            },
        );
    });
    println!("decision, {N_MODELS} models of {N_REPLICAS} replicas, prompts of about 200 tokens:");
    println!("  scores        {scoring}");
    println!("  model and replica, and its end  {deciding}");
}

/// Slow and obvious.
fn check(scores: &[f32], chosen: usize) {
    let worth = |model: usize| f64::from(scores[model]) - price(model);
    let best = (0..N_MODELS).map(worth).fold(f64::NEG_INFINITY, f64::max);
    // Models whose worth is nearly the same may share a prompt's kind.
    assert!(
        worth(chosen) >= best - 1e-5,
        "{} is worth less than {best}",
        worth(chosen)
    );
}

/// What one run of something costs, over many.
struct Cost {
    nanoseconds: f64,
    allocations: f64,
}

impl Cost {
    fn of(n: usize, mut run: impl FnMut(usize)) -> Self {
        (0..n / 10).for_each(&mut run);
        let before = counting::count();
        let start = Instant::now();
        (0..n).for_each(&mut run);
        Self {
            nanoseconds: start.elapsed().as_nanos() as f64 / n as f64,
            allocations: (counting::count() - before) as f64 / n as f64,
        }
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} ns, {:.2} allocations", self.nanoseconds, self.allocations)
    }
}
