//! `profiles/*.json`.

use routerwise_inputs::profiles::{coverage, require};
use routerwise_types::profile::{
    Conditions, LatencyStat, LoadPoint, PROFILE_SCHEMA, Profile, ProfileKey, ProfileSet, ProfileSource,
};
use routerwise_types::sketch::Sketch;
use routerwise_types::{GpuShare, RequestsPerSecond, Seconds};
use serde_json::{Value, json};

use crate::Folder;

fn rate(value: f64) -> RequestsPerSecond {
    RequestsPerSecond::new(value).unwrap()
}

fn stat(mean: f64) -> LatencyStat {
    LatencyStat {
        mean: Seconds::new(mean).unwrap(),
        ci95: Seconds::new(mean / 100.0).unwrap(),
        sketch: Sketch::of([mean]),
    }
}

/// A right profile of a model of the tiny scenario.
fn profile(model_ix: usize, share: f64) -> Profile {
    let scenario = Folder::tiny().load().unwrap().scenario;
    let interconnect = scenario.cluster.interconnect_of(0).unwrap();
    let model = &scenario.models[model_ix];
    let point = |offered: f64| LoadPoint {
        offered: rate(offered),
        achieved: rate(offered),
        n_requests: 1000,
        ttft: stat(0.02 * offered),
        tpot: stat(0.01),
        e2e: stat(1.0),
    };
    Profile {
        key: ProfileKey {
            model: model.name.clone(),
            gpu_type: "a100-80gb-sxm".into(),
            tensor_parallel: 1,
            share: GpuShare::new(share).unwrap(),
        },
        source: ProfileSource::Measured,
        conditions: Conditions::expected(model, &scenario.workload, interconnect),
        points: vec![point(1.0), point(5.0)],
        capacity: rate(6.0),
        evidence: None,
    }
}

fn file(profiles: Vec<Profile>) -> Value {
    let set = ProfileSet {
        schema: PROFILE_SCHEMA,
        profiles,
    };
    serde_json::to_value(&set).unwrap()
}

fn with(file: &Value) -> Folder {
    Folder::tiny().with("profiles/a.json", file.to_string())
}

/// The problems of a file of two profiles of which the first was edited.
fn edited(edit: impl FnOnce(&mut Value)) -> Folder {
    let mut file = file(vec![profile(0, 0.5), profile(1, 1.0)]);
    edit(&mut file["profiles"][0]);
    with(&file)
}

#[test]
fn right_profiles_are_read_and_counted() {
    let folder = edited(|_| {});
    let loaded = folder.load().unwrap();
    assert!(loaded.warnings.is_empty());
    let coverage: Vec<_> = coverage(&loaded.scenario)
        .iter()
        .map(|c| (c.n_profiled, c.n_configurations))
        .collect();
    assert_eq!(coverage, [(1, 4), (1, 4)]);
    assert!(require(&loaded.scenario, folder.path()).is_ok());
}

#[test]
fn a_model_without_a_profile_cannot_be_planned() {
    let folder = with(&file(vec![profile(0, 0.5)]));
    let problems = require(&folder.load().unwrap().scenario, &folder.path().join("profiles")).unwrap_err();
    insta::assert_snapshot!(folder.rendered(&problems.0), @r"
    × profiles: has no profile of `large` in any of its 4 configurations
    help: make them with `routerwise profile --simulate <scenario>`, or take the model out
    ");
}

#[test]
fn another_layout() {
    insta::assert_snapshot!(with(&json!({ "schema": 99, "entries": [] })).errors(), @r"
    × profiles/a.json: has layout version 99, this program reads 1
    help: write it again with `routerwise profile` of this version
    ");
    insta::assert_snapshot!(Folder::tiny().with("profiles/a.json", "{ \"schema\": 1, \"profiles\": [").errors(), @r"
    × profiles/a.json: is no profile file: EOF while parsing a list at line 1 column 28
    help: `routerwise schema profile` says what belongs there; write it again with `routerwise profile`
    ");
}

#[test]
fn an_unknown_field() {
    insta::assert_snapshot!(edited(|profile| profile["capasity"] = json!(3)).errors(), @r"
    × profiles/a.json: is no profile file: unknown field `capasity`, expected one of `key`, `source`, `conditions`, `points`, `capacity`, `evidence` at line 1 column 39
    help: `routerwise schema profile` says what belongs there; write it again with `routerwise profile`
    ");
}

#[test]
fn negative_and_missing_numbers() {
    insta::assert_snapshot!(edited(|profile| profile["points"][0]["ttft"]["mean"] = json!(-1)).errors(), @r"
    × profiles/a.json: is no profile file: time in seconds must be a finite number of at least 0, found -1 at line 1 column 557
    help: `routerwise schema profile` says what belongs there; write it again with `routerwise profile`
    ");
    insta::assert_snapshot!(edited(|profile| profile["capacity"] = Value::Null).errors(), @r"
    × profiles/a.json: is no profile file: invalid type: null, expected f64 at line 1 column 29
    help: `routerwise schema profile` says what belongs there; write it again with `routerwise profile`
    ");
}

#[test]
fn points_that_are_no_curve() {
    insta::assert_snapshot!(edited(|profile| profile["points"] = json!([])).errors(), @r"
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: no load points
    help: profile this configuration again
    ");
    insta::assert_snapshot!(edited(|profile| profile["points"][1]["offered"] = json!(1)).errors(), @r"
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: load points do not rise by offered rate
    help: profile this configuration again
    ");
    insta::assert_snapshot!(edited(|profile| profile["points"][0]["offered"] = json!(0)).errors(), @r"
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: a load point without load
    help: profile this configuration again
    ");
    insta::assert_snapshot!(edited(|profile| profile["points"][0]["n_requests"] = json!(0)).errors(), @r"
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: a load point without requests
    help: profile this configuration again
    ");
    insta::assert_snapshot!(edited(|profile| profile["capacity"] = json!(4)).errors(), @r"
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: the capacity lies below the last load point
    help: profile this configuration again
    ");
    insta::assert_snapshot!(edited(|profile| profile["points"][0]["e2e"]["sketch"] = json!([[5, 1], [4, 1]])).errors(), @r"
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: a malformed sketch
    help: profile this configuration again
    ");
}

#[test]
fn a_curve_that_goes_down_is_a_warning() {
    insta::assert_snapshot!(edited(|profile| profile["points"][1]["ttft"]["mean"] = json!(0.001)).warnings(), @r"
    ⚠ profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: the mean TTFT goes down as load goes up
    help: the curve is made to rise by isotonic regression; if it falls by much, profile again with more requests
    ");
    let within_confidence = edited(|profile| profile["points"][1]["tpot"]["mean"] = json!(0.0099));
    assert_eq!(within_confidence.warnings(), "");
}

#[test]
fn two_profiles_of_one_configuration() {
    let folder = edited(|_| {}).with("profiles/b.json", file(vec![profile(0, 0.5)]).to_string());
    insta::assert_snapshot!(folder.errors(), @r"
    × profiles/b.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: there are two profiles of this configuration
    help: keep one of them; the other is in profiles/a.json
    ");
}

#[test]
fn profiles_of_models_and_gpus_that_are_not_there_are_left_out() {
    let folder = edited(|profile| {
        profile["key"]["model"] = json!("huge");
        profile["key"]["gpu_type"] = json!("h100-80gb-sxm");
    });
    insta::assert_snapshot!(folder.warnings(), @r"
    ⚠ profiles/a.json: `huge` tp=1 share=50 % on `h100-80gb-sxm`: the scenario has no GPU type `h100-80gb-sxm`, so this is left out
    help: GPU types are `a100-80gb-sxm`
    ⚠ profiles/a.json: `huge` tp=1 share=50 % on `h100-80gb-sxm`: the scenario has no model `huge`, so this is left out
    help: models are `small`, `large`
    ");
    assert_eq!(folder.load().unwrap().scenario.profiles.len(), 1);
}

#[test]
fn profiles_taken_under_other_conditions() {
    let folder = edited(|_| {})
        .edited("workload.toml", "output = 64", "output = 65")
        .edited(
            "workload.toml",
            "rate = \"20 /s\"",
            "rate = 20\narrivals = { gamma-cv = 2 }",
        )
        .edited(
            "models.toml",
            "name = \"small\"",
            "name = \"small\"\nkv-reserve = \"1 GB\"\ndtype = \"fp8\"",
        );
    insta::assert_snapshot!(folder.errors(), @r"
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: taken with 939.5 MB of KV cache, the scenario reserves 1.0 GB
    help: profile again: `routerwise profile --simulate <scenario>`
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm` and 1 more: taken with other token lengths (mean 512 in, 64 out), the scenario has 512 in, 65 out
    help: profile again: `routerwise profile --simulate <scenario>`
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: taken with other weights, architecture or engine flags than models.toml has now
    help: profile again: `routerwise profile --simulate <scenario>`
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm` and 1 more: taken with poisson arrivals, the scenario has gamma (cv 2.00)
    help: profile again: `routerwise profile --simulate <scenario>`
    ");
    let engine = edited(|profile| profile["conditions"]["engine"] = json!("vllm-0.6"));
    insta::assert_snapshot!(engine.errors(), @r"
    × profiles/a.json: `small` tp=1 share=50 % on `a100-80gb-sxm`: taken with the engine `vllm-0.6`, the scenario has `vllm-0.11`
    help: profile again: `routerwise profile --simulate <scenario>`
    ");
}

#[test]
fn links_matter_only_between_gpus() {
    let slower = |tp: u32| {
        edited(|profile| profile["key"]["tensor_parallel"] = json!(tp))
            .edited("cluster.toml", "gpus = 2", "gpus = 2\ninterconnect = \"pcie\"")
            .errors()
    };
    assert_eq!(slower(1), "no problem");
    insta::assert_snapshot!(slower(2), @r"
    × profiles/a.json: `small` tp=2 share=50 % on `a100-80gb-sxm`: taken over nvswitch, the scenario has pcie
    help: profile again: `routerwise profile --simulate <scenario>`
    ");
}
