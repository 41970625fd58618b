//! Finished profiles of a run that is not: a line each, so that an interrupted run can go on.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use routerwise_types::Fingerprint;
use routerwise_types::profile::{Profile, ProfileKey};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// First line of the file: which run it is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// Layout version of the profiles.
    pub(super) schema: u32,
    /// Of all that decides the profiles' bytes.
    pub(super) run: Fingerprint,
    /// For messages: already in `run`.
    pub(super) seed: u64,
    /// For messages: already in `run`.
    pub(super) requests: u32,
}

/// Finished profiles, in memory and on disk.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// By key, as JSON; kept as text because reading and writing a number again may change its last digit.
    lines: BTreeMap<String, String>,
}

impl Journal {
    /// Opens the journal of the run that `header` names, or begins it.
    pub(super) fn open(path: &Path, header: &Header) -> Result<Self, Failure> {
        let doing = || format!("opening `{}`", path.display());
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Failure::environment(doing()))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(Failure::environment(doing()))?;
        if file.try_lock().is_err() {
            return Err(Failure::Request {
                what: format!("another process is writing to `{}`", path.display()),
                help: "wait for it, or write elsewhere with `--out`".into(),
            });
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(Failure::environment(doing()))?;
        let text = String::from_utf8_lossy(&bytes);
        let (lines, good) = read(&text, header, path)?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            lines,
        };
        // What follows the last whole line was being written when the run ended.
        let truncated = journal
            .file
            .set_len(good)
            .and_then(|()| journal.file.seek(SeekFrom::End(0)));
        truncated.map_err(Failure::environment(doing()))?;
        if good == 0 {
            journal.append(&json(header))?;
        }
        Ok(journal)
    }

    /// Adds a finished profile.
    pub(super) fn add(&mut self, profile: &Profile) -> Result<(), Failure> {
        let line = json(profile);
        self.append(&line)?;
        self.lines.insert(json(&profile.key), line);
        Ok(())
    }

    pub(super) fn has(&self, key: &ProfileKey) -> bool {
        self.lines.contains_key(&json(key))
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// A profile as JSON.
    pub(super) fn line(&self, key: &ProfileKey) -> Option<&str> {
        self.lines.get(&json(key)).map(String::as_str)
    }

    pub(super) fn profile(&self, key: &ProfileKey) -> Option<Profile> {
        self.line(key).and_then(|line| serde_json::from_str(line).ok())
    }

    /// Ends the run.
    pub(super) fn remove(self) -> Result<(), Failure> {
        let doing = format!("removing `{}`", self.path.display());
        drop(self.file);
        fs::remove_file(&self.path).map_err(Failure::environment(doing))
    }

    fn append(&mut self, line: &str) -> Result<(), Failure> {
        let doing = format!("writing `{}`", self.path.display());
        // One call, so that a line is there or not.
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        written.map_err(Failure::environment(doing))
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types serialise")
}

/// The profiles in a journal's text, and the length of the whole lines that hold them.
fn read(text: &str, header: &Header, path: &Path) -> Result<(BTreeMap<String, String>, u64), Failure> {
    let mut lines = BTreeMap::new();
    let mut whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let Some(first) = whole.next() else {
        return Ok((lines, 0));
    };
    let found: Option<Header> = serde_json::from_str(first).ok();
    if found.as_ref() != Some(header) {
        return Err(stale(found, text.lines().count() - 1, path));
    }
    let mut good = first.len();
    for line in whole {
        let Ok(profile) = serde_json::from_str::<Profile>(line) else {
            break;
        };
        lines.insert(json(&profile.key), line.trim_end().to_owned());
        good += line.len();
    }
    Ok((lines, good as u64))
}

fn stale(found: Option<Header>, n_lines: usize, path: &Path) -> Failure {
    let run = found.map_or_else(
        || "another program".to_owned(),
        |header| {
            format!(
                "a run with seed {} and {} requests a load, or of other inputs",
                header.seed, header.requests
            )
        },
    );
    Failure::Request {
        what: format!("`{}` holds {n_lines} finished profiles of {run}", path.display()),
        help: "go on with that run as it was begun, delete the file to begin anew, or write elsewhere with `--out`"
            .into(),
    }
}
