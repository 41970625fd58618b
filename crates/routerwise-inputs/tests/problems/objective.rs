//! `objective` of `workload.toml`, and the prices that it may need.

use routerwise_types::Score;
use routerwise_types::workload::{Aim, Budget, Metric, Objective};

use crate::Folder;

fn asking(lines: &str) -> Folder {
    let workload = format!(
        "rate = 20\nlengths = {{ input = 512, output = 64 }}\n[[slo]]\nmetric = \"ttft\"\ntarget = \"200 ms\"\n[objective]\n{lines}\n"
    );
    Folder::tiny().with("workload.toml", workload)
}

#[track_caller]
fn reads(lines: &str, aim: Aim, budget: Budget) {
    let folder = asking(lines).edited("cluster.toml", "gpus = 2", "gpus = 2\ngpu-price-per-hour = \"2.50 /h\"");
    let workload = folder.load().unwrap().scenario.workload;
    assert_eq!(workload.objective, Objective { aim, budget });
}

#[test]
fn objectives_are_read_with_their_units() {
    let quality_floor = Score::new(0.7).unwrap();
    let none = Budget::NONE;
    reads(
        "minimise = \"gpus\"\nquality-floor = 0.7",
        Aim::MinimiseGpus { quality_floor },
        none,
    );
    let three_quarters = Score::new(0.75).unwrap();
    reads(
        "minimise = \"cost\"\nquality-floor = \"75 %\"",
        Aim::MinimiseCost {
            quality_floor: three_quarters,
        },
        none,
    );
    let metric = Metric::Tpot;
    reads(
        "minimise = \"tpot\"\nquality-floor = 0.7\nmax-gpus = 1",
        Aim::MinimiseLatency { metric, quality_floor },
        Budget {
            max_gpus: Some(1),
            ..none
        },
    );
    reads(
        "maximise = \"quality\"\nmax-cost = \"12 /h\"",
        Aim::MaximiseQuality,
        Budget {
            max_cost_per_hour: Some(12.0),
            ..none
        },
    );
}

#[test]
fn objectives_that_contradict_themselves() {
    insta::assert_snapshot!(asking("minimise = \"gpus\"").errors(), @r#"
     × the `objective` of the file has no `quality-floor`
      ╭─[workload.toml:6:1]
    5 │ target = "200 ms"
    6 │ [objective]
      · ─────┬─────
      ·      ╰── declared here
    7 │ minimise = "gpus"
      ╰────
     help: add `quality-floor = 0.7`
    "#);
    insta::assert_snapshot!(asking("minimise = \"watts\"\nquality-floor = 0.7").errors(), @r#"
     × `minimise` of the `objective` of the file is the text "watts"
      ╭─[workload.toml:7:12]
    6 │ [objective]
    7 │ minimise = "watts"
      ·            ───┬───
      ·               ╰── declared here
    8 │ quality-floor = 0.7
      ╰────
     help: write one of `gpus`, `cost`, `ttft`, `tpot`, `e2e`
    "#);
    insta::assert_snapshot!(asking("quality-floor = 0.7").errors(), @r#"
     × a `quality-floor` makes no difference where quality is maximised
      ╭─[workload.toml:7:17]
    6 │ [objective]
    7 │ quality-floor = 0.7
      ·                 ─┬─
      ·                  ╰── declared here
      ╰────
     help: say what to `minimise`: "gpus", "cost", "ttft", "tpot" or "e2e"; or leave the floor out
    "#);
    insta::assert_snapshot!(asking("maximise = \"quality\"\nminimise = \"gpus\"\nquality-floor = 70").errors(), @r#"
     × the objective both maximises and minimises
      ╭─[workload.toml:6:1]
    5 │ target = "200 ms"
    6 │ [objective]
      · ─────┬─────
      ·      ╰── declared here
    7 │ maximise = "quality"
      ╰────
     help: keep one: `minimise` something above a `quality-floor`, or `maximise = "quality"`
     × `quality-floor` of the `objective` of the file is 70
      ╭─[workload.toml:9:17]
    8 │ minimise = "gpus"
    9 │ quality-floor = 70
      ·                 ─┬
      ·                  ╰── declared here
      ╰────
     help: write a part of the whole from 0 to 1, such as "10 %" or 0.1
    "#);
}

#[test]
fn cost_without_a_price() {
    insta::assert_snapshot!(asking("minimise = \"cost\"\nquality-floor = 0.7").errors(), @r"
    × cluster.toml: the objective counts cost, but `a100-80gb-sxm` has no price per hour
    help: add `gpu-price-per-hour = 2.50` to one of its nodes, or `price-per-hour` to its `[[gpu]]`
    ");
}

#[test]
fn one_gpu_type_has_one_price() {
    let cluster = "[[node]]\nname = \"a\"\ngpu = \"a100-80gb-sxm\"\ngpus = 2\ngpu-price-per-hour = 2\n\n[[node]]\nname = \"b\"\ngpu = \"a100-80gb-sxm\"\ngpus = 2\n";
    let folder = Folder::tiny().with("cluster.toml", cluster);
    let cluster_read = folder.load().unwrap().scenario.cluster;
    assert_eq!(cluster_read.gpu_types[0].price_per_hour, Some(2.0));
    let folder = Folder::tiny().with("cluster.toml", format!("{cluster}gpu-price-per-hour = 3\n"));
    insta::assert_snapshot!(folder.errors(), @r#"
     × `a100-80gb-sxm` costs 2 per hour elsewhere and 3 on node `b`
       ╭─[cluster.toml:11:22]
    10 │ gpus = 2
    11 │ gpu-price-per-hour = 3
       ·                      ┬
       ·                      ╰── declared here
       ╰────
     help: say it once; for GPUs at another price define a type: `[[gpu]]` with `name = "a100-80gb-sxm-spot"`, `like = "a100-80gb-sxm"` and `price-per-hour`
    "#);
}
