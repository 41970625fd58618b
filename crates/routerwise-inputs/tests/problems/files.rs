//! Files that are not what they should be as a whole.

use std::fs;

use crate::Folder;

#[test]
fn a_missing_file() {
    let folder = Folder::tiny();
    fs::remove_file(folder.path().join("workload.toml")).unwrap();
    fs::remove_file(folder.path().join("scores.csv")).unwrap();
    insta::assert_snapshot!(folder.errors(), @r"
    × workload.toml: does not exist
    help: check the path, or make the file
    × scores.parquet: does not exist
    help: check the path, or make the file
    ");
}

#[test]
fn a_folder_in_place_of_a_file() {
    let folder = Folder::tiny();
    fs::remove_file(folder.path().join("models.toml")).unwrap();
    fs::create_dir(folder.path().join("models.toml")).unwrap();
    insta::assert_snapshot!(folder.errors(), @r"
    × models.toml: is a folder, not a file
    help: give the path of a file
    ");
}

#[test]
fn a_file_that_is_not_utf_8() {
    let folder = Folder::tiny().with("cluster.toml", b"# fine\nname = \"\xff\"\n");
    insta::assert_snapshot!(folder.errors(), @r"
    × cluster.toml: is not UTF-8 text: line 2 has a byte that no character starts with
    help: save it as UTF-8
    ");
}

#[test]
fn a_file_that_is_not_toml() {
    let folder = Folder::tiny().with("cluster.toml", "[[node]\nname = \"node\ngpus = 2\n");
    insta::assert_snapshot!(folder.errors(), @r#"
     × not valid TOML: unclosed array table, expected `]`
      ╭─[cluster.toml:1:8]
    1 │ [[node]
      ·        ▲
      ·        ╰── here
    2 │ name = "node
      ╰────
     help: strings stand in quotes, tables in [brackets], lists of tables in [[double brackets]]
    "#);
}

#[test]
fn a_parquet_file_that_was_cut_off() {
    let demo = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../scenarios/demo/azure2023_conv.parquet"
    );
    let whole = fs::read(demo).unwrap();
    let folder = Folder::tiny()
        .with("scores.parquet", &whole[..1000])
        .with("trace.parquet", &whole[..whole.len() / 2])
        .edited(
            "workload.toml",
            "lengths = { input = 512, output = 64 }",
            "[trace]\nfile = \"trace.parquet\"",
        );
    insta::assert_snapshot!(folder.errors(), @r#"
     × `trace.parquet` is no complete Parquet file: Parquet error: Invalid Parquet file. Corrupt footer
      ╭─[workload.toml:3:8]
    2 │ [trace]
    3 │ file = "trace.parquet"
      ·        ───────┬───────
      ·               ╰── declared here
    4 │
      ╰────
     help: fetch or write it again; a file that was cut off lacks its end
     × scores.parquet: is no complete Parquet file: Parquet error: Invalid Parquet file. Corrupt footer
     help: fetch or write it again; a file that was cut off lacks its end
    "#);
}

#[test]
fn a_file_whose_ending_says_nothing() {
    let folder = Folder::tiny().with("trace.txt", "").edited(
        "workload.toml",
        "lengths = { input = 512, output = 64 }",
        "[trace]\nfile = \"trace.txt\"",
    );
    insta::assert_snapshot!(folder.errors(), @r#"
     × `trace.txt` has no ending that says what it holds
      ╭─[workload.toml:3:8]
    2 │ [trace]
    3 │ file = "trace.txt"
      ·        ─────┬─────
      ·             ╰── declared here
    4 │
      ╰────
     help: traces are `.parquet`, `.csv` (ours, Azure's or BurstGPT's) or `.jsonl` (Mooncake's, or records of a bench)
    "#);
}
