//! `cargo xtask tidy`: what the compiler does not look at.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{Failure, output, root};
use crate::purity;

const RUST_LINES_MAX: usize = 600;
const TEXT_BYTES_MAX: usize = 4 << 20;

/// Where machines keep things, and data beside a clone. In pieces, so that this file does not hold what it looks for.
const MACHINE_PATHS: [&str; 5] = [
    concat!("/", "root/"),
    concat!("/", "home/"),
    concat!("/", "work/"),
    concat!("/", "Users/"),
    concat!("..", "/shared"),
];

pub(crate) fn run() -> Result<(), Failure> {
    let root = root();
    let mut problems = purity::problems(&root)?;
    let files = files(&root)?;
    for name in &files {
        let path = root.join(name);
        if !path.symlink_metadata().is_ok_and(|file| file.is_file()) {
            continue; // deleted and not committed yet, or a link
        }
        let bytes = fs::read(&path).map_err(|error| Failure::Environment(format!("cannot read {name}: {error}")))?;
        problems.extend(file_problems(name, &bytes));
    }
    if problems.is_empty() {
        println!("tidy: {} files are in order", files.len());
        return Ok(());
    }
    for problem in &problems {
        println!("{problem}");
    }
    Err(Failure::Found(format!("tidy found {} problem(s)", problems.len())))
}

/// Tracked files, and new ones that git does not ignore.
fn files(root: &Path) -> Result<Vec<String>, Failure> {
    let mut git = Command::new("git");
    // A clone may belong to another user than the one that checks it, as in a container.
    git.args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    git.current_dir(root);
    let mut names: Vec<String> = output(git)?.split_terminator('\0').map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn file_problems(name: &str, bytes: &[u8]) -> Vec<String> {
    let mut problems = Vec::new();
    if is_binary(bytes) {
        return problems;
    }
    if bytes.len() > TEXT_BYTES_MAX {
        problems.push(format!(
            "{name}: {} bytes of text; the limit is {TEXT_BYTES_MAX}",
            bytes.len()
        ));
    }
    let text = String::from_utf8_lossy(bytes);
    let n_lines = text.lines().count();
    if name.ends_with(".rs") && n_lines > RUST_LINES_MAX {
        problems.push(format!(
            "{name}: {n_lines} lines; look for the second subject (limit {RUST_LINES_MAX})"
        ));
    }
    for (ix, line) in text.lines().enumerate() {
        if let Some(path) = machine_path(line) {
            problems.push(format!("{name}:{}: `{path}…` exists on one machine only", ix + 1));
        }
    }
    problems
}

/// As git decides it: a zero byte near the start.
fn is_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(8000).any(|&byte| byte == 0)
}

fn machine_path(line: &str) -> Option<&'static str> {
    MACHINE_PATHS
        .into_iter()
        .find(|path| line.match_indices(path).any(|(at, _)| starts_a_path(&line[..at])))
}

/// Not within a longer path or an address, as in `https://example.org/…`, `crates/…` or `${DIR}/…`.
fn starts_a_path(before: &str) -> bool {
    let last = before.chars().next_back();
    !last.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '~' | '}' | '>'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_paths_are_found_where_they_start() {
        for path in MACHINE_PATHS {
            assert_eq!(machine_path(&format!("let p = \"{path}x\";")), Some(path));
            assert_eq!(machine_path(&format!("{path}x")), Some(path));
        }
        let up_twice = format!("see ../{}/data", MACHINE_PATHS[4]);
        assert_eq!(machine_path(&up_twice), Some(MACHINE_PATHS[4]));
    }

    #[test]
    fn addresses_and_longer_paths_are_not_machine_paths() {
        for path in &MACHINE_PATHS[..4] {
            assert_eq!(machine_path(&format!("https://example.org{path}x")), None);
            assert_eq!(machine_path(&format!("docs{path}x")), None);
        }
    }

    #[test]
    fn long_rust_files_are_found_and_long_prose_is_not() {
        let long = "\n".repeat(RUST_LINES_MAX + 1);
        assert_eq!(file_problems("src/a.rs", long.as_bytes()).len(), 1);
        assert_eq!(file_problems("src/a.rs", &long.as_bytes()[1..]), [] as [String; 0]);
        assert_eq!(file_problems("a.md", long.as_bytes()), [] as [String; 0]);
    }

    #[test]
    fn big_text_is_found_and_big_binaries_are_not() {
        let mut big = vec![b'a'; TEXT_BYTES_MAX + 1];
        assert_eq!(file_problems("a.csv", &big).len(), 1);
        big[100] = 0;
        assert_eq!(file_problems("a.parquet", &big), [] as [String; 0]);
    }
}
