//! Real time keeps simulated time. A small version of `benches/drift.rs`, for machines that are busy with other things.

#[path = "support/both_ways.rs"]
mod both_ways;

use both_ways::Case;
use routerwise_emulate::Replica;
use routerwise_types::workload::Lengths;

/// Mean TTFT may be off by this.
const DRIFT: f64 = 0.05;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_schedule_has_the_same_ttft_in_simulated_and_in_real_time() {
    let case = Case {
        n_engines: 1,
        n_requests: 40,
        n_warm_up: 8,
        rate: 30.0,
        lengths: Lengths {
            input: 1500,
            output: 60,
        },
        speed: 1.0,
        seed: 1,
    };
    let replica = Replica::example("small");
    let mut outcomes = Vec::new();
    for _ in 0..4 {
        let outcome = case.play(&replica).await;
        if outcome.drift().abs() <= DRIFT {
            return;
        }
        outcomes.push(outcome);
    }
    // A machine with better things to do sends late and reads late; what it says of itself must explain what is missing.
    let excused = outcomes.iter().any(|outcome| {
        let late = 2.0 * (outcome.sent_late + outcome.lag_engine + outcome.lag_socket);
        let off = (outcome.real_ttft - outcome.simulated_ttft).abs();
        off <= DRIFT * outcome.simulated_ttft + late
    });
    assert!(excused, "{outcomes:#?}");
}
