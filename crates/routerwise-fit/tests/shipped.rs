//! The shipped constants against the shipped measurements.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::path::PathBuf;

use routerwise_fit::error_stats::Errors;
use routerwise_fit::held_out::Part;
use routerwise_fit::iterations::{Iteration, Iterations, degree, no_engine, work};
use routerwise_fit::known_models::{model, unlimited};
use routerwise_fit::replay::{Played, mean, open_loop, spec};
use routerwise_fit::table::Table;
use routerwise_simulate::constants::{Constants, GpuConstants};
use routerwise_types::catalogue::Engine;
use routerwise_types::cluster::Interconnect;
use routerwise_types::workload::Lengths;

fn table(file: &str) -> Table {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/engine-model");
    Table::read(&folder.join(file)).unwrap()
}

fn gpu(name: &str) -> GpuConstants {
    let constants = Constants::shipped();
    constants.gpus.into_iter().find(|gpu| gpu.gpu_type == name).unwrap()
}

fn iterations(word: &str, links: Interconnect) -> Iterations {
    let file = table("iterations.csv");
    let mut iterations = Iterations::new(links);
    for row in (0..file.n_rows()).filter(|&row| file.text("gpu").unwrap()[row] == word) {
        let number = |column: &str| file.numbers(column).unwrap()[row];
        let name = &file.text("model").unwrap()[row];
        let model = model(name, 2.0, unlimited("")).unwrap();
        let case_ix = iterations.case_ix(&model, degree(number("tp")), 1.0);
        iterations.rows.push(Iteration {
            case_ix,
            work: work(
                number("prefill_tokens"),
                0.0,
                number("decode_batch"),
                number("decode_ctx_each"),
            ),
            seconds: number("gpu_ms") / 1e3,
            part: Part::held_out_if(name.contains("CodeLlama")),
        });
    }
    iterations
}

#[test]
fn iterations_are_off_by_less_than_5_percent_in_the_median_held_out_or_not() {
    for (word, name, links) in [
        ("a100_sxm", "a100-80gb-sxm", Interconnect::Nvswitch),
        ("h100_sxm", "h100-80gb-sxm", Interconnect::Nvswitch),
        ("l40s", "l40s-48gb", Interconnect::Pcie),
    ] {
        let comparisons = iterations(word, links).comparisons("", &gpu(name), &no_engine());
        for part in [Part::Fitted, Part::HeldOut] {
            let ours = comparisons.iter().filter(|comparison| comparison.part == part);
            let errors: Vec<f64> = ours.map(|comparison| comparison.relative_error()).collect();
            let errors = Errors::of(&errors).unwrap();
            assert!(
                errors.n >= 20 && errors.median < 0.05 && errors.p95 < 0.2,
                "{name} {part:?}: {errors:?}"
            );
        }
    }
}

/// Mean TTFT and TPOT over twenty requests in a row, as the error table defines a load level.
fn levels(log: &[Played]) -> Vec<(f64, f64)> {
    let level = |log: &[Played]| {
        let ttft = mean(log.iter().map(Played::ttft)).unwrap();
        (ttft, mean(log.iter().filter_map(Played::tpot)).unwrap())
    };
    log.chunks(20).map(level).collect()
}

#[test]
fn a_replayed_log_of_vllm_has_the_measured_latency_within_10_percent() {
    let file = table("requests.csv");
    let mut measured = Vec::new();
    let mut requests = Vec::new();
    for row in 0..file.n_rows() {
        let number = |column: &str| file.numbers(column).unwrap()[row];
        let (arrival, output) = (number("arrival_s"), number("output_tokens"));
        measured.push(Played {
            arrival,
            first: arrival + number("ttft_s"),
            last: arrival + number("e2e_s"),
            output,
        });
        let input = degree(number("input_tokens") - 1024.0);
        requests.push((
            arrival,
            Lengths {
                input,
                output: degree(output),
            },
        ));
    }
    let limits = Engine {
        max_num_seqs: 32,
        max_num_batched_tokens: 64,
        ..unlimited("vllm-0.11")
    };
    let model = model("codellama/CodeLlama-34b-Instruct-hf", 2.0, limits).unwrap();
    let engine = Constants::shipped().for_engine("vllm-0.11").cloned().unwrap();
    let links = Interconnect::Nvswitch;
    let spec = spec(&model, &gpu("h100-80gb-sxm"), &engine, links, 1, 44_640).unwrap();
    let replayed = open_loop(&spec, &requests).unwrap();

    let pairs: Vec<_> = levels(&replayed).into_iter().zip(levels(&measured)).collect();
    let ttft: Vec<f64> = pairs
        .iter()
        .map(|(replayed, measured)| replayed.0 / measured.0 - 1.0)
        .collect();
    let tpot: Vec<f64> = pairs
        .iter()
        .map(|(replayed, measured)| replayed.1 / measured.1 - 1.0)
        .collect();
    let (ttft, tpot) = (Errors::of(&ttft).unwrap(), Errors::of(&tpot).unwrap());
    assert_eq!(ttft.n, 10);
    assert!(ttft.median < 0.1 && tpot.median < 0.1, "TTFT {ttft:?}, TPOT {tpot:?}");
}
