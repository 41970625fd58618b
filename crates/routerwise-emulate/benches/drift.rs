//! One schedule played both ways at scale: 2 000 streams at once and 20 000 tokens a second, clients in the same process.
//!
//! `cargo bench -p routerwise-emulate --bench drift`, on two cores `taskset -c 0,1 cargo bench …`. Fails when the mean TTFT is off by more
//! than 5 %. `-- --small` is over in seconds and shows less; a number is the speed, which sets how many streams there are at once.

#![allow(clippy::print_stdout, reason = "a bench reports")]

#[path = "../tests/support/both_ways.rs"]
mod both_ways;

use std::process::ExitCode;

use both_ways::Case;
use routerwise_emulate::Replica;
use routerwise_types::Bytes;
use routerwise_types::workload::Lengths;

fn main() -> ExitCode {
    let small = std::env::args().any(|argument| argument == "--small");
    let overrides: Vec<f64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let speed = overrides.first().copied().unwrap_or(0.275);
    let (n_requests, n_warm_up) = if small { (60, 10) } else { (500, 300) };
    let case = Case {
        n_engines: 8,
        n_requests,
        n_warm_up,
        rate: 13.5 / speed,
        lengths: Lengths { input: 64, output: 200 },
        speed,
        seed: 1,
    };
    // Room for all, so that what is measured is batching and not a queue that grows.
    let replica = Replica::example_with("small", |model| {
        model.engine.max_num_seqs = 512;
        model.kv_reserve = Bytes(40_000_000_000);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads");
    let outcome = runtime.block_on(case.play(&replica));
    let milliseconds = |seconds: f64| format!("{:.2} ms", seconds * 1e3);
    println!("requests measured         {}", outcome.n_measured);
    println!("most streams at once      {}", outcome.most_streams);
    println!("tokens a second           {:.0}", outcome.tokens_per_second);
    println!("mean TTFT, simulated      {}", milliseconds(outcome.simulated_ttft));
    println!("mean TTFT, by clients     {}", milliseconds(outcome.real_ttft));
    println!("drift                     {:+.2} %", outcome.drift() * 100.0);
    println!("requests sent late by     {}", milliseconds(outcome.sent_late));
    println!("iterations ended late by  {}", milliseconds(outcome.lag_engine));
    println!("tokens written late by    {}", milliseconds(outcome.lag_socket));
    if outcome.drift().abs() <= 0.05 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
