//! `level` of `workload.toml`: a rate that varies.

use routerwise_types::workload::Level;

use crate::Folder;

fn varying(levels: &str) -> Folder {
    let workload = format!(
        "rate = 20\nlengths = {{ input = 512, output = 64 }}\n[[slo]]\nmetric = \"ttft\"\ntarget = \"200 ms\"\n{levels}\n"
    );
    Folder::tiny().with("workload.toml", workload)
}

#[test]
fn levels_count_by_their_requests() {
    let folder = varying(
        "[[level]]\nname = \"day\"\npart = \"100 %\"\nhours = 12\n[[level]]\nname = \"night\"\npart = \"25 %\"\nhours = 12",
    );
    let workload = folder.load().unwrap().scenario.workload;
    let night = Level {
        name: "night".into(),
        part: 0.25,
        hours: 12.0,
    };
    assert_eq!(workload.levels[1], night);
    assert!((workload.rate_at(1).value() - 5.0).abs() < 1e-12);
    assert!((workload.weight_of(0) - 0.8).abs() < 1e-12);
}

#[test]
fn one_level_has_the_whole_rate_and_each_a_name_of_its_own() {
    let folder = varying(
        "[[level]]\nname = \"day\"\npart = \"90 %\"\nhours = 12\n[[level]]\nname = \"night\"\npart = 0.2\nhours = 12",
    );
    let errors = folder.errors();
    assert!(
        errors.contains("no load level has the whole rate: the busiest has 90 % of it"),
        "{errors}"
    );
    assert!(errors.contains("give that one `part = \"100 %\"`"), "{errors}");
    let folder = varying(
        "[[level]]\nname = \"day\"\npart = 1\nhours = 12\n[[level]]\nname = \"day\"\npart = 0.2\nhours = 3\n[[level]]\nname = \"x\"\npart = 0.2\nhours = 0",
    );
    let errors = folder.errors();
    assert!(errors.contains("the load level `day` is there twice"), "{errors}");
    assert!(errors.contains("a number above 0"), "{errors}");
}
