//! Live prices beside static ones, as somebody at a terminal meets them.

mod common;

use common::{routerwise, tiny};
use routerwise_types::answer::live::LiveSimulation;

const CHANGES: &[&str] = &[
    "simulate",
    "tiny/plan.json",
    "--live-prices",
    "--stage",
    "15:60s",
    "--stage",
    "15..30:30s",
    "--stage",
    "30:90s",
    "--kill",
    "large/0@120s",
    "--slow",
    "small/0@150s=2",
    "--queue-penalty",
    "0.05",
];

#[test]
fn live_prices_are_played_beside_static_ones_through_stages_and_faults() {
    let folder = tiny();
    routerwise(folder.path(), &["plan", "tiny"]);
    let (code, out, err) = routerwise(folder.path(), CHANGES);
    assert!(code < 2 && err.is_empty(), "{code} {err}");
    assert_eq!(
        routerwise(folder.path(), CHANGES).1,
        out,
        "the same seed gives the same bytes"
    );
    for line in [
        "From 0 s to 60 s: 15.00 requests/s",
        "From 60 s to 90 s: 22.50 requests/s",
        "From 120 s to 150 s: 30.00 requests/s, large/0 dies",
        "From 150 s to 180 s: 30.00 requests/s, small/0 takes 2 times as long for everything",
        "All of it",
    ] {
        assert!(out.lines().any(|found| found == line), "{line}\n{out}");
    }
    for rule in [" live prices ", " static prices ", " queue penalty 0.05 "] {
        assert_eq!(
            out.lines().filter(|line| line.starts_with(rule)).count(),
            6,
            "{rule}\n{out}"
        );
    }

    let (code, out, err) = routerwise(folder.path(), &[CHANGES, &["--format", "json"]].concat());
    assert!(code < 2 && err.is_empty(), "{err}");
    let answer: LiveSimulation = serde_json::from_str(&out).unwrap();
    assert_eq!(answer.phases.len(), 5);
    let [live, fixed, _] = &answer.phases[3].rows[..] else {
        panic!("three rules: {out}")
    };
    assert_eq!(live.n_requests, fixed.n_requests, "the same arrivals");
    assert!(live.n_answered > 0 && live.fractions.iter().sum::<f64>() > 0.99);
    let came: usize = answer.phases.iter().map(|phase| phase.rows[0].n_requests).sum();
    assert_eq!(answer.whole.rows[0].n_requests, came);
}

#[test]
fn what_the_plan_does_not_run_is_named_and_nothing_is_played() {
    let folder = tiny();
    routerwise(folder.path(), &["plan", "tiny"]);
    let with = |more: &[&str]| routerwise(folder.path(), &[&["simulate", "tiny/plan.json"], more].concat());
    let (code, _, err) = with(&["--live-prices", "--kill", "huge/0@10s"]);
    assert!(
        code == 2 && err.contains("runs no replica `huge/0`") && err.contains("small/0"),
        "{err}"
    );
    let (code, _, err) = with(&["--live-prices", "--stage", "15:30s", "--kill", "small/0@40s"]);
    assert!(code == 2 && err.contains("after the end"), "{err}");
    let (code, _, err) = with(&["--kill", "small/0@10s"]);
    assert!(code == 2 && err.contains("--live-prices"), "{err}");
    let (code, _, err) = with(&["--live-prices", "--stage", "fast"]);
    assert!(code == 2 && err.contains("RATE:TIME"), "{err}");
}
