//! `keys.toml`: who may ask what. The keys themselves are not in it, only their hashes.

use std::path::Path;

use routerwise_types::serve::Key;

use crate::file;
use crate::problem::Problems;
use crate::text::{Document, Table, Value};

/// Reads API keys.
///
/// # Errors
/// Every problem of the file.
pub fn load_keys(path: &Path) -> Result<Vec<Key>, Problems> {
    let text = file::text(path).map_err(|wrong| Problems(vec![wrong.at(path)]))?;
    let document = Document::new(path, text);
    let keys = read(&document);
    let (problems, _) = document.finish();
    keys.ok_or(Problems(problems))
}

/// The entry of a new key, as it stands in the file.
#[must_use]
pub fn key_entry(name: &str, sha256: &[u8; 32]) -> String {
    let digits: String = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let name: String = name
        .chars()
        .filter(|c| !c.is_control() && *c != '"' && *c != '\\')
        .collect();
    format!("[[key]]\nname = \"{name}\"\nsha256 = \"{digits}\"\n")
}

fn read(document: &Document) -> Option<Vec<Key>> {
    let mut root = document.root()?;
    let entries = root
        .require("key", "[{ name = \"team\", sha256 = \"…\" }]")
        .and_then(Value::list)
        .unwrap_or_default();
    let mut keys: Vec<Key> = Vec::new();
    for value in entries {
        let place = value.place();
        let Some(key) = value.table().and_then(one) else {
            continue;
        };
        if keys.iter().any(|known| known.name == key.name) {
            place.refuse::<()>(
                format!("two keys are named `{}`", key.name),
                "rename or remove one of them",
            );
        }
        keys.push(key);
    }
    root.finish();
    (!document.has_errors()).then_some(keys)
}

fn one(mut table: Table<'_>) -> Option<Key> {
    let name = table.name("key");
    let sha256 = table
        .require("sha256", "\"…\"")
        .and_then(|value| value.string().and_then(|text| hash(&value, &text)));
    let models = match table.take("models") {
        Some(value) => value.list()?.iter().filter_map(|value| value.string()).collect(),
        None => Vec::new(),
    };
    let per_minute = 1..=u32::MAX;
    let requests = table.optional("requests-per-minute", |value| value.integer(per_minute.clone()));
    let tokens = table.optional("tokens-per-minute", |value| value.integer(per_minute.clone()));
    let expires = table.optional("expires", |value| value.moment());
    let admin = table.optional("admin", |value| value.boolean());
    table.finish();
    Some(Key {
        name: name?,
        sha256: sha256?,
        models,
        requests_per_minute: requests?,
        tokens_per_minute: tokens?,
        expires: expires?,
        admin: admin?.unwrap_or(false),
    })
}

fn hash(value: &Value<'_>, text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    let is_hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        // What was written may be the key itself: it is not shown.
        return value.refuse(
            "`sha256` is not 64 hexadecimal digits",
            "make a key and its entry with `routerwise serve --new-key NAME`",
        );
    }
    for (byte, digits) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *byte = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> Result<Vec<Key>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        std::fs::write(&path, text).unwrap();
        load_keys(&path).map_err(|problems| problems.0.iter().map(|problem| format!("{problem}\n")).collect())
    }

    #[test]
    fn an_entry_that_was_made_is_read_back() {
        let mut text = key_entry("team", &[0xab; 32]);
        text.push_str("models = [\"auto\"]\nrequests-per-minute = 5\ntokens-per-minute = 1000\nexpires = 2027-01-01T01:00:00+01:00\n");
        let key = keys(&text).unwrap().remove(0);
        assert_eq!((key.name.as_str(), key.sha256, key.admin), ("team", [0xab; 32], false));
        assert_eq!(key.expires, Some(1_798_761_600));
        assert_eq!(key.requests_per_minute, Some(5));
    }

    #[test]
    fn a_key_in_the_place_of_its_hash_is_refused_and_not_shown() {
        let problems = keys("[[key]]\nname = \"a\"\nsha256 = \"rwk_hidden\"\n").unwrap_err();
        assert!(
            problems.contains("64 hexadecimal digits") && !problems.contains("hidden"),
            "{problems}"
        );
        let twice = format!("{}{}", key_entry("a", &[1; 32]), key_entry("a", &[2; 32]));
        assert!(keys(&twice).unwrap_err().contains("two keys are named"));
        assert!(keys("").unwrap_err().contains("has no `key`"));
        let day = format!("{}expires = 07:00:00\n", key_entry("a", &[1; 32]));
        assert!(keys(&day).unwrap_err().contains("expires"));
    }
}
