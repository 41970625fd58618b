//! The joint plan with certificate in the paper's space, and the score kernel. Fails when an answer changes.

#![expect(clippy::print_stderr, reason = "counts beside the times")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use routerwise_plan::prices::kernel::{Evaluation, Path, ScoreTable};
use routerwise_plan::problem::Problem;

const N_PROMPTS: usize = 36_000;

/// Name, models, GPUs, requests/s, TTFT target in seconds, expected quality.
const PLANS: [(&str, usize, usize, f64, f64, f64); 6] = [
    ("3-models-4-gpus-tight", 3, 4, 50.0, 0.2, 0.5557),
    ("3-models-4-gpus-loose", 3, 4, 20.0, 0.2, 0.5786),
    ("4-models-4-gpus", 4, 4, 20.0, 0.2, 0.6168),
    ("4-models-8-gpus-tight", 4, 8, 90.0, 0.15, 0.5601),
    ("4-models-8-gpus", 4, 8, 50.0, 0.2, 0.6088),
    ("4-models-8-gpus-loose", 4, 8, 20.0, 0.3, 0.6423),
];

fn plans(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan");
    for (name, n_models, n_gpus, rate, target, expected) in PLANS {
        let scenario = support::paper(n_models, n_gpus, rate, target, N_PROMPTS);
        let problem = Problem::new(&scenario).expect("the synthetic scenario is complete");
        let plan = routerwise_plan::solve(&scenario, &problem, None).expect("feasible");
        let certificate = &plan.certificate;
        assert!(
            (certificate.quality.value() - expected).abs() < 1.5e-4,
            "{name}: {}",
            certificate.quality
        );
        assert!(certificate.gap <= 1e-4, "{name}: gap {}", certificate.gap);
        eprintln!(
            "{name}: quality {} gap {:.1e}, {} setups bounded, {} packed, {} solved, {} evaluations of A",
            certificate.quality,
            certificate.gap,
            certificate.setups_bounded,
            certificate.setups_packed,
            certificate.setups_solved,
            certificate.evaluations
        );
        group.bench_function(name, |bencher| {
            bencher.iter(|| routerwise_plan::solve(black_box(&scenario), black_box(&problem), None));
        });
    }
    let scenario = support::paper(4, 8, 50.0, 0.2, N_PROMPTS);
    group.bench_function("4-models-8-gpus-from-scenario", |bencher| {
        bencher.iter(|| routerwise_plan::plan(black_box(&scenario), None));
    });
    group.finish();
}

fn kernel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("kernel");
    for n_models in [3usize, 4] {
        let columns = support::continuous_scores(&support::PAPER_MODELS[..n_models], N_PROMPTS, 7);
        let weights = vec![1.0 / N_PROMPTS as f64; N_PROMPTS];
        let prices: Vec<f64> = (0..n_models).map(|model| 0.05 * model as f64).collect();
        group.throughput(Throughput::Elements((N_PROMPTS * n_models) as u64));
        for path in [Path::Baseline, Path::Avx2, Path::Avx512]
            .into_iter()
            .filter(|path| path.is_available())
        {
            let table = ScoreTable::new(&columns, &weights).with_path(path);
            let mut out = Evaluation::default();
            group.bench_function(BenchmarkId::new(format!("{path:?}"), n_models), |bencher| {
                bencher.iter(|| table.evaluate(black_box(&prices), &mut out));
            });
        }
        group.bench_function(BenchmarkId::new("PlainLoop", n_models), |bencher| {
            bencher.iter(|| plain_loop(black_box(&columns), black_box(&prices)));
        });
    }
    group.finish();
}

/// What one would write first: for every prompt the best model, by comparison.
fn plain_loop(columns: &[Vec<f32>], prices: &[f64]) -> (f64, Vec<u32>) {
    let mut sum = 0.0;
    let mut won = vec![0u32; columns.len()];
    for row in 0..columns[0].len() {
        let mut best = (f64::NEG_INFINITY, 0);
        for (model, column) in columns.iter().enumerate() {
            let worth = f64::from(column[row]) - prices[model];
            if worth > best.0 {
                best = (worth, model);
            }
        }
        sum += best.0;
        won[best.1] += 1;
    }
    (sum, won)
}

criterion_group!(benches, plans, kernel);
criterion_main!(benches);
