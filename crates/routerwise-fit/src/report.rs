//! The error table in `docs/`.

use std::collections::BTreeMap;
use std::fmt::Write;

use routerwise_simulate::constants::Constants;

use crate::error_stats::{Comparison, Errors, by_key};
use crate::held_out::Part;

/// What precedes the tables: where the numbers come from and what was held out.
const INTRODUCTION: &str = include_str!("report/introduction.md");
/// What follows them: what the errors mean and what is missing.
const CONCLUSION: &str = include_str!("report/conclusion.md");

/// The whole report.
#[must_use]
pub fn render(constants: &Constants, comparisons: &[Comparison]) -> String {
    let mut page = INTRODUCTION.to_owned();
    write_summary(&mut page, comparisons);
    write_constants(&mut page, constants);
    for (title, words, prefix) in [
        ("Operators", OPERATORS, "operators: "),
        ("Links", LINKS, "links: "),
        ("Mixture of experts", EXPERTS, "experts: "),
        ("MPS share", SHARES, "MPS: "),
        ("Engine builds", ENGINES, "engine: "),
        ("Serving", SERVING, "serving: "),
        ("Cross-checks", CROSS_CHECKS, "cross-check: "),
    ] {
        let ours = |c: &Comparison| c.set.strip_prefix(prefix).map(str::to_owned);
        let rows = by_key(comparisons, |c| Some((ours(c)?, c.gpu.clone(), c.tensor_parallel)));
        if rows.is_empty() {
            continue;
        }
        let _ = write!(page, "\n## {title}\n\n{words}\n");
        let labelled = rows
            .into_iter()
            .map(|((set, gpu, tp), errors)| (set, format!("{gpu} | {tp}"), errors));
        write_tables(&mut page, "GPU | tp", labelled);
        if ["operators: ", "serving: "].contains(&prefix) {
            let ours = |c: &Comparison| ours(c).filter(|set| prefix == "serving: " || set.starts_with("iteration"));
            let key = |c: &Comparison| Some((ours(c)?, c.gpu.clone(), c.model.clone(), c.tensor_parallel));
            let by_model = by_key(comparisons, key).into_iter();
            let labelled = by_model.map(|((set, gpu, model, tp), errors)| {
                (format!("{set}, by model"), format!("{gpu} | {model} | {tp}"), errors)
            });
            write_tables(&mut page, "GPU | model | tp", labelled);
        }
    }
    page.push_str(CONCLUSION);
    page
}

const OPERATORS: &str = "Sums of measured operators over one iteration (decode batches 1 to 256, contexts to 4 096 tokens, prefill to \
8 192 tokens, mixtures), the attention kernel alone, and the linear layers of the A40.";
const LINKS: &str = "All-reduce of 8 kB to 140 MB. One latency and one bandwidth cannot follow the switch from the one-shot to the ring \
algorithm. On switched nodes the constants that ship are those that the iterations above prefer, not these.";
const EXPERTS: &str = "One mixture-of-experts layer at degrees 1 to 4. That a batch reads only the experts it touches holds; routing by a \
power law touches somewhat fewer than the uniform routing assumed.";
const SHARES: &str = "Time of a step under a share of an A100, and slowdown against the whole GPU. The response was fitted at tp 1; \
everything above is held out. Shares below 30 % were measured by nobody: the response goes linearly to 0 there and every profile \
that uses it is marked as extrapolated. Other GPUs take the A100's response.";
const ENGINES: &str = "Single requests, equal batches and closed loops whose latency needs no simulation.";
const SERVING: &str = "Measured serving, replayed by the simulator's engine: means over one load level. *Below the knee*: as defined in the \
introduction.";
const CROSS_CHECKS: &str = "Other measurements of the same operators, never fitted. These include norms and activations as separate \
kernels, which current engines fuse.";

/// Whole sets at a glance.
fn write_summary(page: &mut String, comparisons: &[Comparison]) {
    page.push_str("\n## Summary\n");
    for (title, prefix) in [
        ("operators over an iteration", "operators: iteration"),
        ("engine builds", "engine: "),
        ("serving", "serving: "),
    ] {
        let rows = by_key(comparisons, |c| c.set.starts_with(prefix).then(|| c.set.clone()));
        let label = |set: String| set.split_once(": ").map_or(set.clone(), |(_, rest)| rest.to_owned());
        let labelled = rows
            .into_iter()
            .map(|(set, errors)| (title.to_owned(), label(set), errors));
        write_tables(page, "what", labelled);
    }
}

fn write_constants(page: &mut String, constants: &Constants) {
    page.push_str("\n## Constants\n\n");
    page.push_str(
        "| GPU | F TFLOP/s | fp8 | experts | F_att | B GB/s | B_kv | per layer µs | per step µs | source |\n",
    );
    page.push_str("|---|---|---|---|---|---|---|---|---|---|\n");
    for gpu in &constants.gpus {
        let tera = |value: f64| format!("{:.0}", value / 1e12);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.1} | {:.0} | {} |",
            gpu.gpu_type,
            tera(gpu.flops),
            gpu.flops_fp8.map_or("–".to_owned(), tera),
            tera(gpu.flops_experts),
            tera(gpu.flops_attention),
            gpu.bandwidth / 1e9,
            gpu.bandwidth_kv / 1e9,
            gpu.layer_seconds * 1e6,
            gpu.step_seconds * 1e6,
            gpu.source
        );
    }
    page.push_str("\n| engine | host per step ms, by tp | per sequence µs | per prompt ms | launch floor per layer µs | prefill factor | request ms | source |\n");
    page.push_str("|---|---|---|---|---|---|---|---|\n");
    for engine in &constants.engines {
        let steps: Vec<String> = engine
            .host_step_seconds
            .iter()
            .map(|(tp, s)| format!("{tp}: {:.2}", s * 1e3))
            .collect();
        let _ = writeln!(
            page,
            "| {} | {} | {:.0} | {:.1} | {:.0} | {:.2} | {:.1} | {} |",
            engine.engine,
            steps.join(", "),
            engine.host_sequence_seconds * 1e6,
            engine.host_prompt_seconds * 1e3,
            engine.launch_floor_seconds * 1e6,
            engine.prefill_factor,
            engine.request_seconds * 1e3,
            engine.source
        );
    }
    page.push_str("\n| share | compute g_c | memory g_m |\n|---|---|---|\n");
    for (share, compute, memory) in constants.gpus.first().map_or(&[][..], |gpu| &gpu.share_response.points) {
        let _ = writeln!(page, "| {:.0} % | {compute:.3} | {memory:.3} |", share * 100.0);
    }
    page.push_str("\n| all-reduce of | links | tp | latency µs | GB/s | source |\n|---|---|---|---|---|---|\n");
    for gpu in &constants.gpus {
        for link in gpu
            .all_reduce
            .iter()
            .filter(|link| !link.source.contains("measured on"))
        {
            let _ = writeln!(
                page,
                "| {} | {:?} | {} | {:.1} | {:.1} | {} |",
                gpu.gpu_type,
                link.interconnect,
                link.tensor_parallel,
                link.latency * 1e6,
                link.bandwidth / 1e9,
                link.source
            );
        }
    }
}

/// One table per set: a label, then the errors of both parts.
fn write_tables(
    page: &mut String,
    columns: &str,
    rows: impl Iterator<Item = (String, String, BTreeMap<Part, Errors>)>,
) {
    let mut open = String::new();
    for (set, label, errors) in rows {
        if set != open {
            let _ = write!(
                page,
                "\n**{set}**\n\n| {columns} | fitted: n | median % | p95 % | bias % | held out: n | median % | p95 % | bias % |\n"
            );
            let n_columns = columns.split('|').count() + 8;
            let _ = writeln!(page, "|{}", "---|".repeat(n_columns));
            open = set;
        }
        let cells = |part| {
            let percent = |value: f64| format!("{:.1}", value * 100.0);
            errors.get(&part).map_or("– | – | – | –".to_owned(), |e: &Errors| {
                format!(
                    "{} | {} | {} | {}",
                    e.n,
                    percent(e.median),
                    percent(e.p95),
                    percent(e.bias)
                )
            })
        };
        let _ = writeln!(page, "| {label} | {} | {} |", cells(Part::Fitted), cells(Part::HeldOut));
    }
}
