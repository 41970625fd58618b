//! `workload.toml` and traces.

use routerwise_types::workload::{Arrivals, Lengths};

use crate::Folder;

const SLO: &str = "[[slo]]\nmetric = \"ttft\"\ntarget = \"200 ms\"\n";

fn workload(lines: &str) -> Folder {
    Folder::tiny().with("workload.toml", format!("{lines}\n{SLO}"))
}

#[test]
fn an_empty_file() {
    insta::assert_snapshot!(Folder::tiny().with("workload.toml", "").errors(), @r#"
    × the file says neither how long requests are nor where a trace of them is
     ╭─[workload.toml:1:1]
     ╰────
    help: add `lengths = { input = 512, output = 128 }`, a list `lengths = [[512, 128], [64, 900]]`, or `[trace]` with `file = "…"`
    × the file has no `slo`
     ╭─[workload.toml:1:1]
     ╰────
    help: add `slo = [{ metric = "ttft", target = "400 ms" }]`
    × the file has no arrival rate
     ╭─[workload.toml:1:1]
     ╰────
    help: add `rate = "10 /s"`, or `[trace]` with `file = "…"` to take the trace's
    "#);
}

#[test]
fn rates_that_are_none() {
    let lengths = "lengths = { input = 512, output = 64 }";
    insta::assert_snapshot!(workload(&format!("rate = -3\n{lengths}")).errors(), @r#"
     × `rate` of the file is -3
      ╭─[workload.toml:1:8]
    1 │ rate = -3
      ·        ─┬
      ·         ╰── declared here
    2 │ lengths = { input = 512, output = 64 }
      ╰────
     help: write a rate above 0, such as "30 /s" or "600 /min" (a plain number is per second)
    "#);
    insta::assert_snapshot!(workload(&format!("rate = nan\n{lengths}")).errors(), @r#"
     × `rate` of the file is nan
      ╭─[workload.toml:1:8]
    1 │ rate = nan
      ·        ─┬─
      ·         ╰── declared here
    2 │ lengths = { input = 512, output = 64 }
      ╰────
     help: write a rate above 0, such as "30 /s" or "600 /min" (a plain number is per second)
    "#);
    insta::assert_snapshot!(workload(&format!("rate = \"10 rps\"\n{lengths}")).errors(), @r#"
     × `rate` of the file is the text "10 rps"
      ╭─[workload.toml:1:8]
    1 │ rate = "10 rps"
      ·        ────┬───
      ·            ╰── declared here
    2 │ lengths = { input = 512, output = 64 }
      ╰────
     help: write a rate above 0, such as "30 /s" or "600 /min" (a plain number is per second)
    "#);
}

#[test]
fn lengths_that_are_none() {
    insta::assert_snapshot!(workload("rate = 10\nlengths = { input = 0, output = 64 }").errors(), @r"
     × `input` of the `lengths` of the file is 0
      ╭─[workload.toml:2:21]
    1 │ rate = 10
    2 │ lengths = { input = 0, output = 64 }
      ·                     ┬
      ·                     ╰── declared here
    3 │ [[slo]]
      ╰────
     help: write a whole number from 1 to 100000000
    ");
    insta::assert_snapshot!(workload("rate = 10\nlengths = [[1, 2], [3]]").errors(), @r"
     × a length is a pair of numbers, found is a list of 1
      ╭─[workload.toml:2:20]
    1 │ rate = 10
    2 │ lengths = [[1, 2], [3]]
      ·                    ─┬─
      ·                     ╰── declared here
    3 │ [[slo]]
      ╰────
     help: write two: `[prompt tokens, answer tokens]`
    ");
    insta::assert_snapshot!(workload("rate = 10\nlengths = []").errors(), @r"
     × `lengths` of the file is empty
      ╭─[workload.toml:2:11]
    1 │ rate = 10
    2 │ lengths = []
      ·           ─┬
      ·            ╰── declared here
    3 │ [[slo]]
      ╰────
     help: write at least one entry
    ");
}

#[test]
fn an_objective_that_is_none() {
    let slo = |lines: &str| {
        let file = format!("rate = 10\nlengths = {{ input = 512, output = 64 }}\n[[slo]]\n{lines}");
        Folder::tiny().with("workload.toml", file).errors()
    };
    insta::assert_snapshot!(slo("metric = \"ttfs\"\nstatistic = \"p100\"\nscope = \"all\"\ntarget = \"fast\""), @r#"
     × `metric` of the `slo` of the file is the text "ttfs"
      ╭─[workload.toml:4:10]
    3 │ [[slo]]
    4 │ metric = "ttfs"
      ·          ───┬──
      ·             ╰── declared here
    5 │ statistic = "p100"
      ╰────
     help: write one of `ttft`, `tpot`, `e2e`
     × `p100` is no statistic
      ╭─[workload.toml:5:13]
    4 │ metric = "ttfs"
    5 │ statistic = "p100"
      ·             ───┬──
      ·                ╰── declared here
    6 │ scope = "all"
      ╰────
     help: write "mean", or a percentile between 0 and 100 such as "p95"
     × `scope` of the `slo` of the file is the text "all"
      ╭─[workload.toml:6:9]
    5 │ statistic = "p100"
    6 │ scope = "all"
      ·         ──┬──
      ·           ╰── declared here
    7 │ target = "fast"
      ╰────
     help: write one of `workload`, `each-model`
     × `target` of the `slo` of the file is the text "fast"
      ╭─[workload.toml:7:10]
    6 │ scope = "all"
    7 │ target = "fast"
      ·          ───┬──
      ·             ╰── declared here
      ╰────
     help: write a time above 0, such as "250 ms" or "1.5 s" (with its unit)
    "#);
    insta::assert_snapshot!(slo("metric = \"ttft\"\ntarget = \"1 s\"\n[[slo]]\nmetric = \"ttft\"\ntarget = \"2 s\""), @r#"
     × this objective is there twice
      ╭─[workload.toml:6:1]
    5 │ target = "1 s"
    6 │ [[slo]]
      · ───┬───
      ·    ╰── declared here
    7 │ metric = "ttft"
      ╰────
     help: keep the one with the lower target
    "#);
}

#[test]
fn a_target_without_its_unit() {
    for target in ["200", "\"200\"", "0.2"] {
        let text =
            format!("rate = 10\nlengths = {{ input = 1, output = 1 }}\n[[slo]]\nmetric = \"ttft\"\ntarget = {target}");
        let errors = workload(&text).errors();
        assert!(errors.contains("(with its unit)"), "{target}: {errors}");
    }
}

#[test]
fn planning_settings_out_of_range() {
    let planning = "[planning]\nheadroom = \"-10 %\"\nutilisation-floor = 90\ntolerance = 0\nmax-solves = 0";
    insta::assert_snapshot!(workload(&format!("rate = 10\nlengths = {{ input = 1, output = 1 }}\n{planning}")).errors(), @r#"
     × `headroom` of the `planning` of the file is the text "-10 %"
      ╭─[workload.toml:4:12]
    3 │ [planning]
    4 │ headroom = "-10 %"
      ·            ───┬───
      ·               ╰── declared here
    5 │ utilisation-floor = 90
      ╰────
     help: write a margin from 0 to 10, such as "10 %" or 0.1
     × `utilisation-floor` of the `planning` of the file is 90
      ╭─[workload.toml:5:21]
    4 │ headroom = "-10 %"
    5 │ utilisation-floor = 90
      ·                     ─┬
      ·                      ╰── declared here
    6 │ tolerance = 0
      ╰────
     help: write a part of the whole from 0 to 1, such as "10 %" or 0.1
     × `tolerance` of the `planning` of the file is 0
      ╭─[workload.toml:6:13]
    5 │ utilisation-floor = 90
    6 │ tolerance = 0
      ·             ┬
      ·             ╰── declared here
    7 │ max-solves = 0
      ╰────
     help: write a difference in score from 1e-9 to 1, such as 1e-4
     × `max-solves` of the `planning` of the file is 0
      ╭─[workload.toml:7:14]
    6 │ tolerance = 0
    7 │ max-solves = 0
      ·              ┬
      ·              ╰── declared here
    8 │ [[slo]]
      ╰────
     help: write a whole number from 1 to 4294967295
    "#);
}

#[test]
fn a_rate_and_a_speed_fight() {
    let folder = workload("rate = 10\n[trace]\nfile = \"trace.csv\"\nspeed = 2")
        .with("trace.csv", "arrival_s,input_tokens,output_tokens\n0,1,1\n1,1,1\n");
    insta::assert_snapshot!(folder.errors(), @r#"
     × the file has both `rate` and the trace's `speed`
      ╭─[workload.toml:2:1]
    1 │ rate = 10
    2 │ [trace]
      · ───┬───
      ·    ╰── its speed is here
    3 │ file = "trace.csv"
      ╰────
     help: keep `rate` for a rate of its own, or `speed` for a multiple of the trace's
    "#);
}

#[test]
fn a_trace_that_is_missing_empty_or_wrong() {
    let with = |content: Option<&str>| {
        let folder = workload("[trace]\nfile = \"trace.csv\"");
        match content {
            Some(content) => folder.with("trace.csv", content).errors(),
            None => folder.errors(),
        }
    };
    insta::assert_snapshot!(with(None), @r#"
     × `trace.csv` does not exist
      ╭─[workload.toml:2:8]
    1 │ [trace]
    2 │ file = "trace.csv"
      ·        ─────┬─────
      ·             ╰── declared here
    3 │ [[slo]]
      ╰────
     help: check the path, or make the file
    "#);
    insta::assert_snapshot!(with(Some("arrival_s,input_tokens,output_tokens\n")), @r#"
     × `trace.csv` holds no requests
      ╭─[workload.toml:2:8]
    1 │ [trace]
    2 │ file = "trace.csv"
      ·        ─────┬─────
      ·             ╰── declared here
    3 │ [[slo]]
      ╰────
     help: take a trace with at least one, or write `lengths` and `rate`
    "#);
    insta::assert_snapshot!(with(Some("arrival_s,input_tokens\n0,1\n")), @r#"
     × `trace.csv` cannot be read as a trace: CSV deserialize error: record 1 (line: 2, byte: 23): missing field `output_tokens`
      ╭─[workload.toml:2:8]
    1 │ [trace]
    2 │ file = "trace.csv"
      ·        ─────┬─────
      ·             ╰── declared here
    3 │ [[slo]]
      ╰────
     help: expected are the columns `arrival_s,input_tokens,output_tokens`, Azure's `TIMESTAMP,ContextTokens,GeneratedTokens`, or BurstGPT's `Timestamp`, `Request tokens` and `Response tokens`
    "#);
    insta::assert_snapshot!(with(Some("arrival_s,input_tokens,output_tokens\n0,-5,1\n")), @r#"
     × `trace.csv` has in request 1 the arrival 0, -5 prompt tokens and 1 answer tokens
      ╭─[workload.toml:2:8]
    1 │ [trace]
    2 │ file = "trace.csv"
      ·        ─────┬─────
      ·             ╰── declared here
    3 │ [[slo]]
      ╰────
     help: arrivals are seconds, lengths whole numbers of tokens of at least 0
    "#);
    insta::assert_snapshot!(with(Some("TIMESTAMP,ContextTokens,GeneratedTokens\ntoday,1,1\n")), @r#"
     × `trace.csv` has the timestamp `today` in line 2
      ╭─[workload.toml:2:8]
    1 │ [trace]
    2 │ file = "trace.csv"
      ·        ─────┬─────
      ·             ╰── declared here
    3 │ [[slo]]
      ╰────
     help: expected is `2023-11-16 18:15:46.6805900`
    "#);
    insta::assert_snapshot!(with(Some("arrival_s,input_tokens,output_tokens\n5,1,1\n")), @r#"
     × all requests of the trace arrive at one time, so it has no rate
      ╭─[workload.toml:1:1]
    1 │ [trace]
      · ───┬───
      ·    ╰── declared here
    2 │ file = "trace.csv"
      ╰────
     help: add `rate = "10 /s"`
    "#);
}

#[test]
fn arrivals_of_a_trace_need_one() {
    insta::assert_snapshot!(workload("rate = 10\narrivals = \"trace\"\nlengths = { input = 1, output = 1 }").errors(), @r#"
     × `arrivals = "trace"`, but there is no `[trace]`
      ╭─[workload.toml:1:1]
    1 │ rate = 10
      · ▲
      · ╰── declared here
    2 │ arrivals = "trace"
      ╰────
     help: add `[trace]` with `file = "…"`, or write `arrivals = "poisson"`
    "#);
}

#[test]
fn a_bursty_trace_planned_as_poisson() {
    let trace = "arrival_s,input_tokens,output_tokens\n0,9,1\n0.1,9,1\n0.2,9,0\n0.3,9,1\n100,9,1\n";
    let folder = workload("[trace]\nfile = \"trace.csv\"").with("trace.csv", trace);
    insta::assert_snapshot!(folder.warnings(), @r#"
     ⚠ requests of the trace without prompt or answer tokens: 1
      ╭─[workload.toml:1:1]
    1 │ [trace]
      · ───┬───
      ·    ╰── declared here
    2 │ file = "trace.csv"
      ╰────
     help: they are counted with one token
     ⚠ the trace's gaps have a coefficient of variation of 1.7, planned are Poisson arrivals with 1.0
      ╭─[workload.toml:1:1]
    1 │ [trace]
      · ───┬───
      ·    ╰── declared here
    2 │ file = "trace.csv"
      ╰────
     help: write `arrivals = "trace"` to plan for the trace's burstiness
    "#);
}

#[test]
fn traces_are_read_in_three_formats() {
    let azure = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 23:59:59.5000000,374,44\n2023-11-17 00:00:00.0000000,396,109\n";
    let mooncake = "{\"timestamp\": 500, \"input_length\": 374, \"output_length\": 44, \"hash_ids\": [1]}\n{\"timestamp\": 1000, \"input_length\": 396, \"output_length\": 109, \"hash_ids\": []}\n";
    let own = "arrival_s,input_tokens,output_tokens\n1.0,374,44\n1.5,396,109\n";
    for (name, content) in [("t.csv", azure), ("t.jsonl", mooncake), ("t.csv", own)] {
        let file = format!("[trace]\nfile = \"{name}\"\nspeed = 3");
        let workload = workload(&file).with(name, content).load().unwrap().scenario.workload;
        assert!((workload.rate.value() - 6.0).abs() < 1e-6, "{name}: {}", workload.rate);
        assert_eq!(
            workload.lengths[1],
            Lengths {
                input: 396,
                output: 109
            }
        );
    }
}

#[test]
fn a_long_trace_is_thinned_evenly_and_keeps_its_burstiness() {
    let demo = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../scenarios/demo/azure2023_conv.parquet"
    );
    let folder = workload("arrivals = \"trace\"\n[trace]\nfile = \"trace.parquet\"\nmax-lengths = 1000")
        .with("trace.parquet", std::fs::read(demo).unwrap());
    let workload = folder.load().unwrap().scenario.workload;
    assert_eq!(workload.lengths.len(), 1000);
    assert!(matches!(workload.arrivals, Arrivals::Gamma { cv } if (cv - 1.07).abs() < 0.02));
    assert!((workload.rate.value() - 5.89).abs() < 0.02);
}

#[test]
fn requests_longer_than_a_model_takes() {
    insta::assert_snapshot!(workload("rate = 1\nlengths = [[40000, 10], [10, 10]]").warnings(), @r"
    ⚠ workload.toml: 1 of 2 request lengths exceed the 32768 tokens that `small` takes
    help: raise its `max-model-len` and `kv-reserve`, or plan a workload with shorter requests
    ⚠ workload.toml: 1 of 2 request lengths exceed the 32768 tokens that `large` takes
    help: raise its `max-model-len` and `kv-reserve`, or plan a workload with shorter requests
    ");
}
