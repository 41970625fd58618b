//! Whatever is done to a file, loading answers with a scenario or with problems, and never stops in another way.

use std::fs;
use std::path::Path;

use crate::Folder;

/// Loads after each damage, in one folder.
fn survives(folder: &Folder, name: &str, damaged: impl Iterator<Item = Vec<u8>>) {
    for content in damaged {
        fs::write(folder.path().join(name), &content).unwrap();
        if let Err(problems) = folder.load() {
            assert!(problems.has_errors(), "{name}: {}", String::from_utf8_lossy(&content));
        }
    }
}

#[test]
fn text_that_ends_anywhere_or_lacks_any_line() {
    for name in ["cluster.toml", "models.toml", "workload.toml", "scores.csv"] {
        let folder = Folder::tiny();
        let whole = fs::read(folder.path().join(name)).unwrap();
        survives(
            &folder,
            name,
            (0..whole.len()).step_by(17).map(|end| whole[..end].to_vec()),
        );
        let lines: Vec<&[u8]> = whole.split_inclusive(|byte| *byte == b'\n').collect();
        survives(
            &folder,
            name,
            (0..lines.len()).map(|ix| [&lines[..ix], &lines[ix + 1..]].concat().concat()),
        );
    }
}

#[test]
fn parquet_with_any_byte_changed() {
    let trace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/demo/azure2023_conv.parquet");
    let whole = fs::read(trace).unwrap();
    let workload = "[trace]\nfile = \"trace.parquet\"\n[[slo]]\nmetric = \"ttft\"\ntarget = 1\n";
    let folder = Folder::tiny().with("workload.toml", workload);
    // Densely at the end, where the file says how it is laid out.
    let places = (0..whole.len())
        .step_by(16_411)
        .chain((whole.len() - 1200..whole.len()).step_by(29));
    survives(
        &folder,
        "trace.parquet",
        places.map(|place| {
            let mut changed = whole.clone();
            changed[place] ^= 0x55;
            changed
        }),
    );
}
