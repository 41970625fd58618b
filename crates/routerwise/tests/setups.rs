//! All setups of a space solved one by one, as somebody at a terminal meets it.

mod common;

use std::fs;

use common::{routerwise, tiny};
use routerwise_types::answer::setups::{ExhaustiveSearch, PlacementLimit, Spread};

#[test]
fn the_papers_search_prints_its_winner_and_writes_no_plan() {
    let folder = tiny();
    let exhaustive = ["plan", "tiny", "--search", "exhaustive"];
    let (code, out, err) = routerwise(folder.path(), &exhaustive);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("9 setups retained by total compute") && out.contains("Placement: it fits"),
        "{out}"
    );
    assert!(!folder.path().join("tiny/plan.json").exists());

    let (_, json, _) = routerwise(folder.path(), &[&exhaustive[..], &["--format", "json"]].concat());
    let answer: ExhaustiveSearch = serde_json::from_str(&json).unwrap();
    let best = answer.best.unwrap();
    assert_eq!((answer.counts.retained_by_compute, best.placeable), (9, Some(true)));
    assert!(best.value <= best.limit && best.models.len() == 2);
    let (_, plan, _) = routerwise(folder.path(), &["plan", "tiny", "--format", "json"]);
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert!(best.quality.unwrap() <= plan["certificate"]["upper_bound"].as_f64().unwrap() + 1e-6);
}

#[test]
fn the_papers_search_refuses_what_it_is_not_for() {
    let folder = tiny();
    let exhaustive = |more: &[&str]| {
        routerwise(
            folder.path(),
            &[&["plan", "tiny", "--search", "exhaustive"], more].concat(),
        )
    };
    let (code, _, err) = exhaustive(&["--out", "p.json"]);
    assert!(code == 2 && err.contains("makes no plan file"), "{err}");
    let (code, _, err) = exhaustive(&["--max-setups", "8"]);
    assert!(code == 2 && err.contains("more than 8 setups"), "{err}");
    let (code, _, err) = exhaustive(&["--max-gpus", "1"]);
    assert!(code == 2 && err.contains("the objective is another"), "{err}");
    let (code, out, _) = exhaustive(&["--target-ms", "1"]);
    assert!(code == 1 && out.contains("No setup was found"), "{out}");
}

#[test]
fn a_spread_says_how_much_the_choice_of_setup_matters() {
    let folder = tiny();
    let spread = ["plan", "tiny", "--spread", "--rate", "75", "--target-ms", "60"];
    let (code, out, err) = routerwise(folder.path(), &[&spread[..], &["--svg", "s.svg"]].concat());
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    insta::assert_snapshot!("spread", out.lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
    let svg = fs::read_to_string(folder.path().join("s.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("those that fit on real GPUs"));
    assert!(!folder.path().join("tiny/plan.json").exists());

    let (_, json, _) = routerwise(folder.path(), &[&spread[..], &["--format", "json"]].concat());
    let answer: Spread = serde_json::from_str(&json).unwrap();
    let of = |limit| answer.spreads.iter().find(|spread| spread.limit == limit).unwrap();
    let (all, real) = (of(PlacementLimit::Compute), of(PlacementLimit::SharesAndMemory));
    assert_eq!((all.n_setups, real.n_setups), (9, 7));
    assert!(real.worst < real.best && real.best <= answer.marks[0].quality);
}

#[test]
fn a_spread_without_a_setup_that_meets_the_objectives_is_a_no() {
    let folder = tiny();
    let (code, out, _) = routerwise(folder.path(), &["plan", "tiny", "--spread", "--target-ms", "1"]);
    assert!(code == 1 && out.contains("meets it not"), "{out}");
    let (code, _, err) = routerwise(folder.path(), &["plan", "tiny", "--svg", "s.svg"]);
    assert!(code == 2 && err.contains("--spread"), "{err}");
}
