//! Joint planning beside what people do today, as somebody at a terminal meets it.

mod common;

use std::fs;

use common::{routerwise, tiny};
use routerwise_types::comparison::{AllocationRule, Comparison, RoutingRule};

#[test]
fn the_table_has_every_row_ours_marked_and_an_honest_last_line() {
    let folder = tiny();
    let arguments = ["compare", "tiny", "--requests", "1000", "--load", "3.5"];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(
        routerwise(folder.path(), &arguments).1,
        out,
        "the same inputs give the same bytes"
    );

    let starts = [
        "Setups made and parameters chosen on 11 prompts, judged on the 9 others: by curves -> simulated (1000 requests",
        "Memory that is left over goes to KV caches",
        "Load 3.5: 70.00 requests/s, mean TTFT ≤ 200 ms over the workload",
        " Joint planning ",
        " Our prices on the next best allocation: ",
        " The next best routing on our setup: ",
    ];
    for start in starts {
        assert_eq!(
            out.lines().filter(|line| line.starts_with(start)).count(),
            1,
            "{start}\n{out}"
        );
    }
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<&str> = out.lines().filter(|line| line.contains(" -> ")).skip(1).collect();
    assert_eq!(rows.len(), 45, "{out}");
    let ours: Vec<&&str> = rows.iter().filter(|row| row.trim_start().starts_with('>')).collect();
    assert_eq!(ours.len(), 1, "{out}");
    assert_eq!(cells(ours[0])[..4], [">", "joint", "our", "prices"]);
    // Met before missed, and of what is met the better first.
    let met: Vec<bool> = rows.iter().map(|row| row.trim_end().ends_with("met")).collect();
    assert!(met.windows(2).all(|pair| pair[0] || !pair[1]), "{out}");
    // Every allocation is described, with its GPUs.
    for rule in ["joint", "equal split", "size-proportional", "isolated", "single model"] {
        let described =
            |line: &&str| line.trim_start().starts_with(rule) && line.contains("tp=") && line.contains(" 2 ");
        assert_eq!(out.lines().filter(described).count(), 1, "{rule}\n{out}");
    }
}

#[test]
fn json_and_csv_hold_all_rows_of_all_loads() {
    let folder = tiny();
    let arguments = [
        "compare",
        "tiny",
        "--load",
        "0.5,2",
        "--requests",
        "500",
        "--csv",
        "rows.csv",
        "--format",
        "json",
    ];
    let (code, out, err) = routerwise(folder.path(), &arguments);
    assert_eq!((code, err.as_str()), (0, ""));
    let comparison: Comparison = serde_json::from_str(&out).unwrap();
    assert_eq!(comparison.n_training_prompts + comparison.n_test_prompts, 20);
    assert_eq!(comparison.levels.len(), 2);
    for level in &comparison.levels {
        // Four allocations with eleven rules each, and the single model.
        assert_eq!(level.rows.len(), 45);
        assert!(level.absent.is_empty());
        let ours = level.rows.iter().find(|row| row.is_ours()).unwrap();
        assert!(ours.training.met && ours.simulated.as_ref().unwrap().met);
        for row in &level.rows {
            assert_eq!(level.allocations[row.allocation_ix].rule, row.allocation);
            if row.training.met && row.routing != RoutingRule::Oracle {
                assert!(row.training.quality <= ours.training.quality + 1e-3, "{row:?}");
            }
            let visits: f64 = row.by_curves.visits.iter().sum();
            assert!(
                (visits - 1.0).abs() < 1e-6 || row.routing == RoutingRule::Cascade,
                "{row:?}"
            );
        }
        let single = level
            .rows
            .iter()
            .filter(|row| row.allocation == AllocationRule::SingleModel);
        assert_eq!(single.count(), 1);
    }
    let csv = fs::read_to_string(folder.path().join("rows.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 2 * 45);
}

#[test]
fn by_curves_alone_nothing_is_played() {
    let folder = tiny();
    let (code, out, _) = routerwise(folder.path(), &["compare", "tiny", "--curves-only", "--format", "json"]);
    let comparison: Comparison = serde_json::from_str(&out).unwrap();
    assert_eq!((code, comparison.simulation), (0, None));
    assert!(comparison.levels[0].rows.iter().all(|row| row.simulated.is_none()));
}

#[test]
fn what_cannot_be_compared_is_said() {
    let folder = tiny();
    let (code, _, err) = routerwise(folder.path(), &["compare", "tiny", "--load", "0"]);
    assert!(code == 2 && err.contains("`--load` must be between"), "{err}");
    let (code, _, err) = routerwise(folder.path(), &["compare", "tiny", "--requests", "5"]);
    assert!(code == 2 && err.contains("too few"), "{err}");

    let scores = folder.path().join("tiny/scores.csv");
    let text = fs::read_to_string(&scores).unwrap();
    let first_two: Vec<&str> = text.lines().take(2).collect();
    fs::write(&scores, first_two.join("\n")).unwrap();
    let (code, _, err) = routerwise(folder.path(), &["compare", "tiny"]);
    assert!(code == 2 && err.contains("fall into one half"), "{err}");
}
