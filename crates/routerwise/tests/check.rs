//! `routerwise check` and `routerwise schema`, as somebody at a terminal meets them.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

use std::path::Path;

use assert_cmd::Command;

fn routerwise(arguments: &[&str]) -> (i32, String, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut command = Command::cargo_bin("routerwise").unwrap();
    let output = command.current_dir(root).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_right_scenario_shows_all_values_in_force() {
    let (code, out, err) = routerwise(&["check", "scenarios/tiny"]);
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!(out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"), @r#"
    Cluster: 2 GPUs
     node  GPUs  type           links      memory   usable         bf16  bandwidth  price/h
     node     2  a100-80gb-sxm  nvswitch  85.9 GB  77.3 GB  312 TFLOP/s  2039 GB/s        -

    Models: scores of 20 prompts, best model on every prompt 0.8982
     model   score  weights  KV reserve  shards: memory of each  shares %  replicas  may be off  profiles
     small  0.7446   3.1 GB    939.5 MB  1: 6.0 GB, 2: 4.0 GB    50 100           2  yes           0 of 4
     large  0.8982  15.2 GB      1.9 GB  1: 19.1 GB, 2: 10.6 GB  50 100           2  yes           0 of 4

     engine of  name       max-num-seqs  max-num-batched-tokens  block-size  max-model-len  overhead  KV a token
     small      vllm-0.11           256                    2048          16          32768    2.0 GB     28.7 kB
     large      vllm-0.11           256                    2048          16          32768    2.0 GB     57.3 kB

    Workload: 20.00 requests/s, Poisson arrivals
     tokens   mean  p50  p95  max
     prompt  512.0  512  512  512
     answer   64.0   64   64   64
     pairs of lengths kept: 1
     objective to meet: mean TTFT ≤ 200 ms over the workload
     under these: highest quality, with 10 % headroom on load, a utilisation floor of 0.0 %, to within 0.0001 of score, by at most 10000 solves

    Not written in any file, so by default:
     key                     value             of                      because
     arrivals                poisson           file                    many independent users; write `arrivals = "trace"` for the burstiness of the trace
     block-size              16                2 entries               vLLM's own on NVIDIA GPUs
     count                   1                 node `node`             one entry, one node
     drop-null-rows          false             file                    a prompt without a score is a gap in the data that somebody should know about
     dtype                   bf16              2 entries               what most open weights are published in
     headroom                10 %              `planning` of the file  near the knee latency is almost vertical: a capacity that is 10 % off must not break the objective
     kv-dtype                bf16              2 entries               what most open weights are published in
     kv-reserve              32768 tokens      2 entries               room for about 25 requests of 1300 tokens at once, so that batching works
     max-model-len           32768             2 entries               the model's context, cut to what its KV reserve holds: engines refuse to start with less cache than one request may need
     max-num-batched-tokens  2048              2 entries               vLLM 0.11's server on GPUs up to the A100 (8192 on H100 and larger)
     max-num-seqs            256               2 entries               vLLM 0.11's server on GPUs up to the A100 (1024 on H100 and larger)
     max-solves              10000             `planning` of the file  a bound that is not met in practice: a few solves prove a plan
     max-work                150               `planning` of the file  millions of steps: some seconds, after which the plan states its gap
     may-be-off              true              2 entries               a model that does not pay for its memory is better left out
     name                    vllm-0.11         2 entries               the newest engine whose host overhead was fitted
     objective               maximise-quality  file                    the best answers that the latency objective allows
     overhead                2.0 GB            2 entries               activations of a 2048-token batch, CUDA graphs and the CUDA context of one engine process
     scope                   workload          `slo` of the file       the paper's objective
     statistic               mean              `slo` of the file       the paper's objective
     tensor-parallel         [1, 2]            2 entries               the powers of two that divide the heads, exist in one node and leave room for the weights
     tolerance               0.0001            `planning` of the file  a hundredth of a point of quality, far below what scores resolve
     usable-memory           0.9               file                    vLLM's own `--gpu-memory-utilization`: the rest is CUDA contexts, fragmentation and safety
     utilisation-floor       0 %               `planning` of the file  no setup is left out for using little

    the inputs are right; 2 models have no profile yet: `routerwise profile --simulate` makes them
    "#);
}

#[test]
fn json_has_the_same_values() {
    let (code, out, _) = routerwise(&["check", "scenarios/tiny", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    assert_eq!(report["schema"], 1);
    assert_eq!(report["models"][0]["profiles"]["n_configurations"], 4);
    assert_eq!(report["workload"]["slos"][0]["target"], 0.2);
}

#[test]
fn wrong_inputs_exit_with_2_and_nothing_on_standard_output() {
    let (code, out, err) = routerwise(&["check", "scenarios/tiny", "--workload", "scenarios/tiny/models.toml"]);
    assert_eq!((code, out.as_str()), (2, ""));
    assert!(err.contains("4 problems in the inputs"), "{err}");
    assert!(err.contains("the file has an unknown key `model`"), "{err}");
    assert!(err.contains("scenarios/tiny/models.toml:1:"), "{err}");
}

#[test]
fn a_file_may_be_taken_from_elsewhere() {
    let (code, out, _) = routerwise(&["check", "scenarios/tiny", "--cluster", "scenarios/demo/cluster.toml"]);
    assert_eq!(code, 0);
    assert!(out.contains("Cluster: 4 GPUs"));
}

#[test]
fn an_unknown_argument_exits_with_2() {
    assert_eq!(routerwise(&["check", "scenarios/tiny", "--fast"]).0, 2);
    assert_eq!(routerwise(&[]).0, 2);
}

#[test]
fn schemas_are_json() {
    for name in ["plan", "profile", "check"] {
        let (code, out, _) = routerwise(&["schema", name]);
        let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(code, 0);
        assert!(schema["properties"]["schema"].is_object(), "{name}");
    }
}
