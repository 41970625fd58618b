//! Plans of large fleets: seconds, gap and memory of each. Fails where a gap is wider than it was.
//!
//! `cargo bench -p routerwise-plan --bench large [case]`

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a table of results, with the clock and the memory of this process"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Instant;

use routerwise_plan::check::Violation;
use routerwise_plan::problem::Problem;
use support::fleet::Fleet;

struct Case {
    name: &'static str,
    fleet: fn() -> Fleet,
    /// Widest gap, as a part of the quality; nothing where no plan is found within the effort yet.
    gap: Option<f64>,
}

const CASES: [Case; 4] = [
    Case {
        name: "5-models-32-gpus",
        fleet: || Fleet::of_a100s(5, 4, 20_000),
        gap: Some(0.002),
    },
    Case {
        name: "10-models-64-gpus",
        fleet: || Fleet::of_a100s(10, 8, 36_000),
        gap: Some(0.005),
    },
    Case {
        name: "20-models-512-gpus",
        fleet: || Fleet::mixed(20, 512, 100_000),
        gap: Some(0.01),
    },
    Case {
        name: "30-models-1024-gpus",
        fleet: || Fleet::mixed(30, 1024, 100_000),
        gap: Some(0.005),
    },
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    for case in CASES
        .iter()
        .filter(|case| wanted.is_empty() || wanted.iter().any(|name| case.name.contains(name.as_str())))
    {
        let scenario = (case.fleet)().scenario();
        let before = peak_megabytes();
        let start = Instant::now();
        let problem = Problem::new(&scenario).expect("the synthetic scenario is complete");
        let built = start.elapsed();
        let plan = routerwise_plan::solve(&scenario, &problem, None);
        let whole = start.elapsed();
        let n_candidates: usize = problem.models.iter().map(|model| model.candidates.len()).sum();
        print!(
            "{}: {n_candidates} candidates, built {:.2} s, {:.2} s in all, {} MB (scenario {before} MB)",
            case.name,
            built.as_secs_f64(),
            whole.as_secs_f64(),
            peak_megabytes()
        );
        match plan {
            Some(plan) => {
                let start = Instant::now();
                let violations = routerwise_plan::check::check(&scenario, &plan);
                let wrong = |violation: &&Violation| !matches!(violation, Violation::Unverified { .. });
                assert_eq!(violations.iter().find(wrong), None, "{}", case.name);
                let bound = if violations.is_empty() {
                    "verified"
                } else {
                    "too much work to verify"
                };
                print!(", bound {bound} in {:.2} s", start.elapsed().as_secs_f64());
                let part = plan.certificate.gap / plan.certificate.quality.value();
                assert!(case.gap.is_none_or(|most| part <= most), "{}: gap {part}", case.name);
                let c = &plan.certificate;
                println!(
                    ": quality {:.4}, bound {:.4}, gap {:.2e} ({:.2} %), {} solved, {} packed, {} evaluations",
                    c.quality.value(),
                    c.upper_bound,
                    c.gap,
                    100.0 * c.gap / c.quality.value(),
                    c.setups_solved,
                    c.setups_packed,
                    c.evaluations
                );
            }
            None => {
                assert!(case.gap.is_none(), "{}: no plan", case.name);
                println!(": no plan");
            }
        }
    }
}

/// Most memory that this process has held, in MB.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map_or(0, |kb| kb / 1024)
}
