//! Where profiles are kept: one file per model in a folder.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use routerwise_inputs::write_atomically;
use routerwise_types::Fingerprint;
use routerwise_types::profile::{PROFILE_SCHEMA, Profile, ProfileKey, ProfileSet, ProfileSource};

use crate::failure::Failure;

/// The file of each model. Measurements of real engines are not overwritten.
pub(super) fn files(wanted: &[ProfileKey], folder: &Path) -> Result<BTreeMap<String, PathBuf>, Failure> {
    let mut files = BTreeMap::new();
    for key in wanted {
        let path = folder.join(file_name(&key.model));
        if files.insert(key.model.clone(), path.clone()).is_none() && holds_measurements(&path) {
            return Err(Failure::Request {
                what: format!("`{}` holds measurements of a real engine", path.display()),
                help: "write simulated profiles elsewhere with `--out`, or move that file away".into(),
            });
        }
    }
    Ok(files)
}

fn holds_measurements(path: &Path) -> bool {
    let profiles = read(path).unwrap_or_default();
    profiles.iter().any(is_of_a_real_engine)
}

/// Whether a profile was measured, here or by another load generator.
pub(super) fn is_of_a_real_engine(profile: &Profile) -> bool {
    matches!(profile.source, ProfileSource::Measured | ProfileSource::Imported { .. })
}

/// The profiles of a file; nothing when it is not there.
///
/// # Errors
/// When it is something else than a file of profiles.
pub(super) fn read(path: &Path) -> Result<Vec<Profile>, Failure> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let bytes = fs::read(path).map_err(Failure::environment(format!("reading `{}`", path.display())))?;
    let wrong = |what: String| Failure::Request {
        what: format!("`{}` {what}", path.display()),
        help:
            "`routerwise schema profile` says what belongs there; move the file away, or write elsewhere with `--out`"
                .into(),
    };
    let set: ProfileSet =
        serde_json::from_slice(&bytes).map_err(|error| wrong(format!("is no profile file: {error}")))?;
    if set.schema != PROFILE_SCHEMA {
        return Err(wrong(format!(
            "has layout version {}, this program writes {PROFILE_SCHEMA}",
            set.schema
        )));
    }
    Ok(set.profiles)
}

/// Puts profiles into the file of their model; those of the same configurations are replaced, all others stay.
pub(super) fn put(folder: &Path, model: &str, new: &[Profile]) -> Result<PathBuf, Failure> {
    let path = folder.join(file_name(model));
    let mut profiles = read(&path)?;
    profiles.retain(|old| !new.iter().any(|new| same(&new.key, &old.key)));
    profiles.extend(new.iter().cloned());
    profiles.sort_by(|a, b| a.key.partial_cmp(&b.key).expect("shares are numbers"));
    let lines: Vec<String> = profiles
        .iter()
        .map(|profile| serde_json::to_string(profile).expect("our own types serialise"))
        .collect();
    let text = format!(
        "{{\"schema\":{PROFILE_SCHEMA},\"profiles\":[\n{}\n]}}\n",
        lines.join(",\n")
    );
    fs::create_dir_all(folder).map_err(Failure::environment(format!("making `{}`", folder.display())))?;
    let doing = format!("writing `{}`", path.display());
    write_atomically(&path, text.as_bytes()).map_err(Failure::environment(doing))?;
    Ok(path)
}

/// Shares are rounded on reading, so equal ones are equal numbers.
pub(super) fn same(a: &ProfileKey, b: &ProfileKey) -> bool {
    a.partial_cmp(b).is_some_and(std::cmp::Ordering::is_eq)
}

/// The model's name where a file may have it; else made so, with a mark that keeps two of them apart.
pub(super) fn file_name(model: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if model.chars().all(plain) && !model.starts_with('.') {
        return format!("{model}.json");
    }
    let spelled: String = model.chars().map(|c| if plain(c) { c } else { '-' }).collect();
    let mark = Fingerprint::of_bytes(model.as_bytes());
    format!("{}-{}.json", spelled.trim_start_matches('.'), mark.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_models_file_has_its_name_where_a_file_can() {
        assert_eq!(file_name("llama-3.1-8b"), "llama-3.1-8b.json");
        let odd = ["org/model", "org:model", "../model"].map(file_name);
        assert!(
            odd.iter()
                .all(|name| !name.contains(['/', ':']) && !name.starts_with('.')),
            "{odd:?}"
        );
        assert_ne!(odd[0], odd[1]);
    }
}
