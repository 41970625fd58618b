//! The paper's sweep: 3 models × tp {1, 2, 4} × 10 shares × 12 loads, 2 000 measured requests at each, on all cores.

#[path = "../tests/shared/mod.rs"]
mod shared;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use routerwise_simulate::sweep::{Sweep, profile};
use shared::{Counted, constants, gpu, job, models, workload};

const SWEEP: Sweep = Sweep {
    seed: 1,
    n_requests: 2_000,
};

/// Counts that only change when the simulator decides differently.
const EXPECTED: Counted = Counted {
    n_profiles: 90,
    n_points: 1080,
    n_requests: 3_023_598,
    n_iterations: 63_206_943,
};

/// Everything, or what one job of it shows.
fn paper(tensor_parallels: &[u32], tenths: std::ops::RangeInclusive<u32>) -> Counted {
    let (models, gpu, workload, constants) = (models(), gpu(), workload(), constants());
    let jobs: Vec<_> = models
        .iter()
        .flat_map(|model| {
            tensor_parallels
                .iter()
                .map(move |tensor_parallel| (model, *tensor_parallel))
        })
        .flat_map(|(model, tensor_parallel)| {
            tenths
                .clone()
                .map(move |tenth| (model, tensor_parallel, f64::from(tenth) / 10.0))
        })
        .collect();
    let counts = jobs.par_iter().map(|(model, tensor_parallel, share)| {
        let job = job(model, &gpu, &workload, *tensor_parallel, *share);
        Counted::of(&profile(&job, SWEEP, &constants).expect("the paper's configurations can be simulated"))
    });
    counts.reduce(Counted::default, Counted::plus)
}

fn sweep(criterion: &mut Criterion) {
    let all = paper(&[1, 2, 4], 1..=10);
    #[expect(clippy::print_stderr, reason = "the counts belong to the quoted result")]
    {
        eprintln!("the paper's sweep: {all:?}");
    }
    assert_eq!(all, EXPECTED);
    let mut group = criterion.benchmark_group("the paper's sweep");
    group.sample_size(10);
    group.throughput(Throughput::Elements(all.n_requests));
    group.bench_function("requests", |bencher| {
        bencher.iter(|| assert_eq!(paper(&[1, 2, 4], 1..=10), all))
    });
    group.finish();
    let one = paper(&[2], 10..=10);
    let mut group = criterion.benchmark_group("three configurations");
    group.throughput(Throughput::Elements(one.n_iterations));
    group.bench_function("iterations", |bencher| {
        bencher.iter(|| assert_eq!(paper(&[2], 10..=10), one))
    });
    group.finish();
}

criterion_group!(benches, sweep);
criterion_main!(benches);
