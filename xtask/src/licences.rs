//! `cargo xtask licences`: every dependency may be used, and comes from crates.io.
//!
//! The check reads the list that cargo-deny reads, `deny.toml`, and needs nothing installed: building cargo-deny takes
//! minutes, longer than all other steps before the tests. Where cargo-deny is present it runs as well, and adds the
//! bans, the duplicates and the licence texts.

use std::collections::BTreeSet;
use std::fs;
use std::iter::Peekable;

use crate::process::{Failure, cargo, output, root, run as run_command, succeeds};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

pub(crate) fn run() -> Result<(), Failure> {
    let tree = output(cargo(&[
        "tree",
        "--workspace",
        "--edges",
        "all",
        "--target",
        "all",
        "--all-features",
        "--prefix",
        "none",
        "--format",
        "{p}\t{l}",
    ]))?;
    let allowed = allowed(&read("deny.toml")?);
    let mut problems = licence_problems(&tree, &allowed);
    problems.extend(source_problems(&read("Cargo.lock")?));
    if !problems.is_empty() {
        for problem in &problems {
            println!("{problem}");
        }
        return Err(Failure::Found(format!(
            "{} problem(s) with dependencies; see deny.toml",
            problems.len()
        )));
    }
    println!("licences: {} packages are in order", packages(&tree).len());

    if succeeds(cargo(&["deny", "--version"])) {
        return run_command(cargo(&[
            "deny",
            "--log-level",
            "error",
            "check",
            "licenses",
            "bans",
            "sources",
        ]));
    }
    println!("cargo-deny is not installed: bans, duplicates and licence texts are left to the hosted CI");
    Ok(())
}

fn read(name: &str) -> Result<String, Failure> {
    fs::read_to_string(root().join(name)).map_err(|error| Failure::Environment(format!("cannot read {name}: {error}")))
}

/// The strings of `allow = […]` under `[licenses]`.
fn allowed(deny_toml: &str) -> BTreeSet<String> {
    let lines = deny_toml
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    let list = lines
        .skip_while(|line| *line != "[licenses]")
        .skip_while(|line| !line.starts_with("allow "))
        .scan(false, |ended, line| {
            let goes_on = !*ended;
            *ended = line.ends_with(']');
            goes_on.then_some(line)
        });
    list.flat_map(|line| line.split('"').skip(1).step_by(2))
        .map(str::to_owned)
        .collect()
}

/// (package with version, licence) from the lines of `cargo tree`, once each.
fn packages(tree: &str) -> BTreeSet<(String, &str)> {
    let packages = tree.lines().filter_map(|line| {
        let (package, licence) = line.split_once('\t')?;
        let name_and_version: Vec<&str> = package.split_whitespace().take(2).collect();
        Some((name_and_version.join(" "), licence.trim_end_matches("(*)").trim()))
    });
    packages.collect()
}

fn licence_problems(tree: &str, allowed: &BTreeSet<String>) -> Vec<String> {
    let mut problems = Vec::new();
    for (package, licence) in packages(tree) {
        match is_allowed(licence, allowed) {
            Some(true) => {}
            Some(false) => problems.push(format!("{package}: its licence `{licence}` is not among those allowed")),
            None => problems.push(format!("{package}: its licence `{licence}` is not an SPDX expression")),
        }
    }
    problems
}

fn source_problems(lock: &str) -> Vec<String> {
    let sources = lock
        .lines()
        .filter_map(|line| line.strip_prefix("source = \"")?.strip_suffix('"'));
    let foreign: BTreeSet<&str> = sources.filter(|source| *source != CRATES_IO).collect();
    foreign
        .into_iter()
        .map(|source| format!("Cargo.lock: `{source}` is not crates.io"))
        .collect()
}

/// Whether the terms of an SPDX expression can be met; none where it is not one.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> Option<bool> {
    // The slash is how manifests once spelled `OR`.
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let verdict = any_of(&mut words, allowed)?;
    words.next().is_none().then_some(verdict)
}

fn any_of<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut verdict = all_of(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        verdict |= all_of(words, allowed)?;
    }
    Some(verdict)
}

fn all_of<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut verdict = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        verdict &= one(words, allowed)?;
    }
    Some(verdict)
}

fn one<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>, allowed: &BTreeSet<String>) -> Option<bool> {
    match words.next()? {
        "(" => {
            let verdict = any_of(words, allowed)?;
            words.next_if_eq(&")").map(|_| verdict)
        }
        ")" | "OR" | "AND" | "WITH" => None,
        licence if words.next_if_eq(&"WITH").is_some() => {
            let exception = words.next()?;
            Some(allowed.contains(&format!("{licence} WITH {exception}")))
        }
        licence => Some(allowed.contains(licence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> BTreeSet<String> {
        allowed(
            "[graph]\n\n[licenses]\nallow = [\n  \"MIT\",\n  \"ISC\", # one use\n  \"A WITH e\",\n]\nother = [\"GPL\"]\n",
        )
    }

    #[test]
    fn the_list_ends_with_its_bracket() {
        assert_eq!(some().into_iter().collect::<Vec<_>>(), ["A WITH e", "ISC", "MIT"]);
        assert_eq!(allowed("[licenses]\nallow = [\"MIT\"]\nother = [\"GPL\"]").len(), 1);
    }

    #[test]
    fn the_shipped_list_is_read() {
        let shipped = allowed(&read("deny.toml").unwrap());
        assert!(shipped.contains("MIT") && shipped.contains("Apache-2.0"), "{shipped:?}");
    }

    #[test]
    fn one_of_several_licences_suffices_and_all_of_several_are_needed() {
        let cases = [
            ("MIT", Some(true)),
            ("GPL", Some(false)),
            ("GPL OR MIT", Some(true)),
            ("GPL/MIT", Some(true)),
            ("GPL AND MIT", Some(false)),
            ("(GPL OR MIT) AND ISC", Some(true)),
            ("GPL OR MIT AND ISC", Some(true)),
            ("A WITH e", Some(true)),
            ("A", Some(false)),
            ("", None),
            ("(MIT", None),
            ("MIT ISC", None),
        ];
        for (expression, expected) in cases {
            assert_eq!(is_allowed(expression, &some()), expected, "{expression}");
        }
    }

    #[test]
    fn packages_are_named_with_what_is_wrong() {
        let tree = "a v1.0.0\tMIT\nb v2.0.0 (proc-macro)\tGPL (*)\nc v3.0.0\t\na v1.0.0\tMIT (*)\n";
        let problems = licence_problems(tree, &some());
        assert_eq!(
            problems,
            [
                "b v2.0.0: its licence `GPL` is not among those allowed",
                "c v3.0.0: its licence `` is not an SPDX expression"
            ]
        );
    }

    #[test]
    fn a_package_from_elsewhere_is_found() {
        let lock = format!("source = \"{CRATES_IO}\"\nsource = \"git+https://example.org/a\"\n");
        assert_eq!(
            source_problems(&lock),
            ["Cargo.lock: `git+https://example.org/a` is not crates.io"]
        );
    }
}
