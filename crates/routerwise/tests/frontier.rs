//! Quality against target, rate and GPUs, as somebody at a terminal meets it.

mod common;

use std::fs;

use common::{routerwise, tiny, trimmed};
use routerwise_types::answer::frontier::Frontier;

#[test]
fn a_frontier_is_printed_written_and_drawn() {
    let folder = tiny();
    let path = folder.path();
    let asking = [
        "plan",
        "tiny",
        "--frontier",
        "rate",
        "--from",
        "20/s",
        "--to",
        "140/s",
        "--points",
        "4",
    ];
    let files = ["--csv", "points.csv", "--svg", "points.svg"];
    let (code, out, err) = routerwise(path, &[&asking[..], &files[..]].concat());
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!("frontier", trimmed(&out));
    assert!(!path.join("tiny/plan.json").exists(), "a frontier is no plan");

    let csv = fs::read_to_string(path.join("points.csv")).unwrap();
    assert_eq!(csv.lines().count(), 5);
    assert!(csv.starts_with("rate_per_s,feasible,quality,upper_bound,"), "{csv}");
    let svg = fs::read_to_string(path.join("points.svg")).unwrap();
    for words in [
        "arrival rate in requests/s",
        "quality (mean score)",
        "no plan reaches more",
        "a plan reaches this",
    ] {
        assert!(svg.contains(words), "the drawing says nothing of `{words}`");
    }

    let (_, out, _) = routerwise(path, &[&asking[..], &["--format", "json"]].concat());
    let frontier: Frontier = serde_json::from_str(&out).unwrap();
    let qualities: Vec<f64> = frontier
        .points
        .iter()
        .filter_map(|point| Some(point.quality?.value()))
        .collect();
    assert!(
        qualities.len() >= 2 && qualities.windows(2).all(|pair| pair[0] >= pair[1]),
        "{qualities:?}"
    );
    let again = routerwise(path, &[&asking[..], &["--format", "json"]].concat()).1;
    assert_eq!(out, again, "the same inputs give the same bytes");
}

#[test]
fn the_other_axes_and_odd_requests() {
    let folder = tiny();
    let path = folder.path();
    for axis in ["target", "gpus"] {
        let (code, out, err) = routerwise(path, &["plan", "tiny", "--frontier", axis, "--points", "3"]);
        assert_eq!(code, 0, "{axis}: {out}{err}");
        assert!(out.contains("at most"), "{out}");
    }
    let (code, out, err) = routerwise(path, &["plan", "tiny", "--frontier", "target", "--stop-after", "0"]);
    assert!(
        code == 2 && err.contains("before it found any plan") && out.contains("not settled"),
        "{out}{err}"
    );
    let (code, out, _) = routerwise(path, &["plan", "tiny", "--frontier", "target", "--to", "5 ms"]);
    assert_eq!(code, 2, "{out}");
    let (code, out, _) = routerwise(
        path,
        &["plan", "tiny", "--frontier", "target", "--from", "1 ms", "--to", "5 ms"],
    );
    assert!(code == 1 && out.contains("no plan"), "{out}");
    for (arguments, message) in [
        (
            &["--frontier", "rate", "--from", "soon"][..],
            "which is no rate above 0",
        ),
        (
            &["--frontier", "gpus", "--from", "3", "--to", "1"],
            "smaller value to `--from`",
        ),
        (&["--frontier", "watts"], "possible values: target, rate, gpus"),
        (&["--svg", "x.svg"], "--frontier"),
        (&["--frontier", "rate", "--points", "1"], "not in 2.."),
    ] {
        let (code, _, err) = routerwise(path, &[&["plan", "tiny"], arguments].concat());
        assert_eq!(code, 2, "{arguments:?}: {err}");
        assert!(err.contains(message), "{arguments:?}: {err}");
    }
}
