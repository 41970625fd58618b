//! The layers: a pure crate has no clock, no IO and no async, neither of its own nor through a dependency.

use std::fs;
use std::path::Path;

use crate::process::{Failure, cargo, output};

/// The pure crates and the words below them; a crate that is not written yet is passed over.
const PURE: [&str; 5] = [
    "routerwise-types",
    "routerwise-predict",
    "routerwise-plan",
    "routerwise-route",
    "routerwise-simulate",
];

/// Crates that bring async, sockets, files, the terminal or the machine's randomness.
const FOREIGN: [&str; 23] = [
    "anyhow",
    "arrow-array",
    "async-std",
    "axum",
    "clap",
    "comfy-table",
    "csv",
    "getrandom",
    "hyper",
    "indicatif",
    "k8s-openapi",
    "kube",
    "miette",
    "mio",
    "parquet",
    "reqwest",
    "rustls",
    "smol",
    "tempfile",
    "tokio",
    "toml",
    "tower",
    "ureq",
];

/// What the `clippy.toml` of a pure crate must disallow.
const DISALLOWED: [&str; 8] = [
    "std::time::Instant::now",
    "std::time::SystemTime::now",
    "std::env::var",
    "std::fs::read",
    "std::fs::read_to_string",
    "std::fs::write",
    "std::fs::File::open",
    "std::fs::File::create",
];

/// What is wrong with the pure crates under `root`.
pub(crate) fn problems(root: &Path) -> Result<Vec<String>, Failure> {
    let mut problems = Vec::new();
    for name in PURE {
        let folder = root.join("crates").join(name);
        if !folder.join("Cargo.toml").is_file() {
            continue;
        }
        let tree = output(cargo(&[
            "tree",
            "--quiet",
            "--package",
            name,
            "--edges",
            "normal,build",
            "--target",
            "all",
            "--all-features",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]))?;
        for foreign in foreign_crates(&tree) {
            problems.push(format!(
                "crates/{name}: a pure crate depends on `{foreign}`; see `cargo tree -p {name} -i {foreign}`"
            ));
        }
        match fs::read_to_string(folder.join("clippy.toml")) {
            Err(_) => problems.push(format!(
                "crates/{name}: has no clippy.toml; copy the one of routerwise-types"
            )),
            Ok(text) => problems.extend(
                allowed_methods(&text)
                    .into_iter()
                    .map(|path| format!("crates/{name}/clippy.toml: does not disallow `{path}`")),
            ),
        }
    }
    Ok(problems)
}

/// The foreign crates among the lines `name v1.2.3 …` of `cargo tree`.
fn foreign_crates(tree: &str) -> Vec<&'static str> {
    let in_tree = |name: &&str| tree.lines().any(|line| line.split_whitespace().next() == Some(*name));
    FOREIGN.into_iter().filter(in_tree).collect()
}

fn allowed_methods(clippy_toml: &str) -> Vec<&'static str> {
    let is_listed = |path: &&str| {
        let quoted = format!("\"{path}\"");
        clippy_toml
            .lines()
            .any(|line| !line.trim_start().starts_with('#') && line.contains(&quoted))
    };
    DISALLOWED.into_iter().filter(|path| !is_listed(path)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_crate_is_found_by_its_whole_name() {
        let tree =
            "routerwise-plan v0.1.0 (crates/routerwise-plan)\ntokio v1.40.0\ntoml_datetime v0.6.0\nserde v1.0.1\n";
        assert_eq!(foreign_crates(tree), ["tokio"]);
        assert_eq!(foreign_crates("hyperloop v1.0.0\n"), [] as [&str; 0]);
    }

    #[test]
    fn a_method_in_a_comment_is_not_disallowed() {
        let mut lines: Vec<String> = DISALLOWED
            .iter()
            .map(|path| format!("  {{ path = \"{path}\" }},"))
            .collect();
        assert_eq!(allowed_methods(&lines.join("\n")).len(), 0);
        lines[2].insert(0, '#');
        assert_eq!(allowed_methods(&lines.join("\n")), ["std::env::var"]);
    }
}
