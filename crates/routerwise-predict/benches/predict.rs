//! How long scoring and learning take: `cargo bench -p routerwise-predict`.
//!
//! Prompts and labels are made up, in sizes of interest: the time depends on their length, not on their sense.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use routerwise_predict::heads::{HeadKind, learn as learn_head};
use routerwise_predict::learned::{Kind, learn};
use routerwise_predict::matrix::Matrix;
use routerwise_predict::train::{Labelled, Options};
use routerwise_predict::{Piece, Predictor as _, PromptFacts};

const N_MODELS: usize = 11;
/// Numbers of a point of a MiniLM.
const WIDTH: usize = 384;

/// A text of this many tokens: a token is about three quarters of an English word.
fn text(random: &mut ChaCha8Rng, n_tokens: usize) -> String {
    let mut text = String::new();
    for _ in 0..n_tokens * 3 / 4 {
        // Words as in speech: few are frequent, many are rare.
        let rank = 20_000_u64 / (1 + random.random_range(0..20_000_u64));
        let mut word = rank.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for _ in 0..3 + word % 5 {
            text.push(char::from(b'a' + (word % 26) as u8));
            word /= 26;
        }
        text.push(' ');
    }
    text
}

struct Data {
    models: Vec<String>,
    texts: Vec<String>,
    labels: Vec<Vec<f32>>,
}

fn data(n_prompts: usize, n_tokens: usize) -> Data {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let texts: Vec<String> = (0..n_prompts).map(|_| text(&mut random, n_tokens)).collect();
    let label = |text: &String, model: usize, random: &mut ChaCha8Rng| {
        let hard = text.len() % 7 < 3 + model % 3;
        f32::from(u8::from(hard ^ (random.random::<f32>() < 0.3)))
    };
    let labels = (0..N_MODELS)
        .map(|model| texts.iter().map(|text| label(text, model, &mut random)).collect())
        .collect();
    Data {
        models: (0..N_MODELS).map(|model| format!("model-{model}")).collect(),
        texts,
        labels,
    }
}

impl Data {
    fn labelled(&self) -> Labelled<'_> {
        Labelled {
            models: &self.models,
            texts: &self.texts,
            labels: &self.labels,
            weights: &[],
        }
    }
}

const OPTIONS: Options = Options { seed: 1, n_threads: 2 };

fn scoring(criterion: &mut Criterion) {
    let data = data(4_000, 200);
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let prompts: Vec<(usize, Vec<String>)> = [20, 200, 2_000]
        .into_iter()
        .map(|n_tokens| (n_tokens, (0..64).map(|_| text(&mut random, n_tokens)).collect()))
        .collect();
    let mut scores = [0.0; N_MODELS];
    for kind in [Kind::Default, Kind::Static] {
        let learned = learn(kind, data.labelled(), OPTIONS, &|| ())
            .expect("enough prompts")
            .predictor;
        for (n_tokens, prompts) in &prompts {
            let mut at = 0;
            criterion.bench_function(&format!("score/{kind}/{n_tokens} tokens"), |bencher| {
                bencher.iter(|| {
                    // Another prompt each time, so that no cache holds its rows.
                    at = (at + 1) % prompts.len();
                    let pieces = [Piece::user(&prompts[at])];
                    learned
                        .predict(&PromptFacts::new(&pieces), &mut scores)
                        .expect("every text has scores");
                    black_box(scores[0])
                });
            });
        }
    }
    let point = || (0..WIDTH).map(|_| random.random::<f32>() - 0.5).collect::<Vec<f32>>();
    let points: Vec<Vec<f32>> = std::iter::repeat_with(point).take(data.texts.len()).collect();
    let matrix = Matrix::new(WIDTH, points.concat());
    for kind in [HeadKind::Ridge, HeadKind::Knn, HeadKind::Mlp] {
        let head = learn_head(kind, &matrix, data.labelled(), OPTIONS, &|| ())
            .expect("enough prompts")
            .predictor;
        for (n_tokens, prompts) in &prompts {
            let mut at = 0;
            criterion.bench_function(
                &format!("head/{kind:?}/{n_tokens} tokens, without the embedding"),
                |bencher| {
                    bencher.iter(|| {
                        at = (at + 1) % prompts.len();
                        let pieces = [Piece::user(&prompts[at])];
                        head.score(&PromptFacts::new(&pieces), &points[at], &mut scores);
                        black_box(scores[0])
                    });
                },
            );
        }
    }
}

fn learning(criterion: &mut Criterion) {
    let data = data(12_000, 200);
    let mut group = criterion.benchmark_group("learn 12000 prompts x 11 models");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_secs(5));
    for kind in [Kind::Default, Kind::Static] {
        group.bench_function(kind.to_string(), |bencher| {
            bencher.iter(|| learn(kind, data.labelled(), OPTIONS, &|| ()).expect("enough prompts"));
        });
    }
    group.finish();
}

criterion_group!(benches, scoring, learning);
criterion_main!(benches);
