//! The visits of a run on disk: a line each, written before the next visit begins, so that a run that was interrupted goes on and
//! nothing measured is lost.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use routerwise_types::Fingerprint;
use routerwise_types::profile::ProfileKey;
use serde::{Deserialize, Serialize};

use super::visit::Visit;

/// Version of the journal's layout.
const JOURNAL_SCHEMA: u32 = 1;

/// First line of the file: which run it is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    schema: u32,
    /// Of all that must be alike for measurements to belong together.
    run: Fingerprint,
    /// The same in words.
    of: String,
}

/// Any other line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: ProfileKey,
    visit: Visit,
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum NoJournal {
    /// The disk.
    #[error("failed {doing}")]
    Disk {
        /// What was being done.
        doing: String,
        /// What went wrong.
        source: io::Error,
    },
    /// Another process has it.
    #[error("another process is writing to `{0}`")]
    Busy(PathBuf),
    /// It is of another run.
    #[error("`{path}` holds {n_visits} measurements of another run: of {of}")]
    Other {
        /// Where.
        path: PathBuf,
        /// How many.
        n_visits: usize,
        /// Of what.
        of: String,
    },
}

/// The visits of a run by configuration, in memory and on disk.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    visits: BTreeMap<String, Vec<Visit>>,
}

impl Journal {
    /// Opens the journal of the run that `run` names, `of` in words, or begins it.
    ///
    /// # Errors
    /// [`NoJournal`] when the disk fails, or what is there is of another run or in use.
    pub fn open(path: &Path, run: &Fingerprint, of: &str) -> Result<Self, NoJournal> {
        let disk = |source| NoJournal::Disk {
            doing: format!("opening `{}`", path.display()),
            source,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(disk)?;
        }
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(disk)?;
        if file.try_lock().is_err() {
            return Err(NoJournal::Busy(path.to_owned()));
        }
        let mut bytes = Vec::new();
        // What is no file, such as a device, holds no journal and may never end.
        if file.metadata().map_err(disk)?.is_file() {
            file.read_to_end(&mut bytes).map_err(disk)?;
        }
        let header = Header {
            schema: JOURNAL_SCHEMA,
            run: run.clone(),
            of: of.to_owned(),
        };
        let (visits, good) = read(&String::from_utf8_lossy(&bytes), &header, path)?;
        // What follows the last whole line was being written when the run ended.
        if !bytes.is_empty() {
            let cut = file.set_len(good).and_then(|()| file.seek(SeekFrom::End(0)));
            cut.map_err(disk)?;
        }
        let mut journal = Self {
            path: path.to_owned(),
            file,
            visits,
        };
        if good == 0 {
            journal.append(&header)?;
        }
        Ok(journal)
    }

    /// Writes a visit down, through to the disk.
    ///
    /// # Errors
    /// [`NoJournal::Disk`] when the disk is full or gone; what was written before is still there.
    pub fn add(&mut self, key: &ProfileKey, visit: &Visit) -> Result<(), NoJournal> {
        let line = Line {
            key: key.clone(),
            visit: visit.clone(),
        };
        self.append(&line)?;
        self.visits.entry(json(key)).or_default().push(visit.clone());
        Ok(())
    }

    /// The visits to a configuration, in the order in which they were made.
    #[must_use]
    pub fn visits(&self, key: &ProfileKey) -> Vec<Visit> {
        self.visits.get(&json(key)).cloned().unwrap_or_default()
    }

    /// How many visits it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.visits.values().map(Vec::len).sum()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.visits.is_empty()
    }

    /// Ends the run: its profiles are written.
    ///
    /// # Errors
    /// [`NoJournal::Disk`] when the file cannot be removed.
    pub fn remove(self) -> Result<(), NoJournal> {
        drop(self.file);
        fs::remove_file(&self.path).map_err(|source| NoJournal::Disk {
            doing: format!("removing `{}`", self.path.display()),
            source,
        })
    }

    fn append(&mut self, line: &impl Serialize) -> Result<(), NoJournal> {
        // One call, so that a line is there or not.
        let written = self.file.write_all(format!("{}\n", json(line)).as_bytes());
        written
            .and_then(|()| self.file.sync_data())
            .map_err(|source| NoJournal::Disk {
                doing: format!("writing `{}`", self.path.display()),
                source,
            })
    }
}

fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("our own types serialise")
}

type Visits = BTreeMap<String, Vec<Visit>>;

/// The visits in a journal's text, and the length of the whole lines that hold them.
fn read(text: &str, header: &Header, path: &Path) -> Result<(Visits, u64), NoJournal> {
    let mut visits = Visits::new();
    let mut whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    let Some(first) = whole.next() else {
        return Ok((visits, 0));
    };
    let found: Option<Header> = serde_json::from_str(first).ok();
    if !found
        .as_ref()
        .is_some_and(|found| found.run == header.run && found.schema == header.schema)
    {
        let n_visits = text.lines().count() - 1;
        // One that holds nothing is no loss.
        if n_visits == 0 && found.is_some() {
            return Ok((visits, 0));
        }
        return Err(NoJournal::Other {
            path: path.to_owned(),
            n_visits,
            of: found.map_or_else(|| "another program".to_owned(), |found| found.of),
        });
    }
    let mut good = first.len();
    for line in whole {
        let Ok(Line { key, visit }) = serde_json::from_str(line) else {
            break;
        };
        visits.entry(json(&key)).or_default().push(visit);
        good += line.len();
    }
    Ok((visits, good as u64))
}

#[cfg(test)]
mod tests {
    use routerwise_types::units::{GpuShare, RequestsPerSecond, Seconds};

    use super::super::probe::{Flow, Played};
    use super::super::visit::Stage;
    use super::*;

    fn key() -> ProfileKey {
        ProfileKey {
            model: "m".into(),
            gpu_type: "g".into(),
            tensor_parallel: 1,
            share: GpuShare::WHOLE,
        }
    }

    fn visit(n_sent: u64) -> Visit {
        let played = Played {
            records: Vec::new(),
            flow: Flow::default(),
            n_sent,
            n_failed: 0,
            first_failure: None,
            spent: Seconds::ZERO,
        };
        Visit::new(Stage::Load, RequestsPerSecond::new(0.1).unwrap(), played)
    }

    fn open(path: &Path, run: &[u8]) -> Result<Journal, NoJournal> {
        Journal::open(path, &Fingerprint::of_bytes(run), "model m")
    }

    #[test]
    fn what_was_written_is_there_again_but_for_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = open(&path, b"a").unwrap();
        for n in 1..=3 {
            journal.add(&key(), &visit(n)).unwrap();
        }
        drop(journal);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 5]).unwrap();
        let mut journal = open(&path, b"a").unwrap();
        assert_eq!(journal.visits(&key()), [visit(1), visit(2)]);
        journal.add(&key(), &visit(3)).unwrap();
        drop(journal);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn measurements_of_another_run_are_not_mixed_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut journal = open(&path, b"a").unwrap();
        journal.add(&key(), &visit(1)).unwrap();
        assert!(matches!(open(&path, b"a"), Err(NoJournal::Busy(_))));
        drop(journal);
        let said = open(&path, b"b").unwrap_err().to_string();
        assert!(said.contains("1 measurements of another run: of model m"), "{said}");
        // One that holds nothing is taken over.
        let empty = folder.path().join("empty");
        drop(open(&empty, b"a").unwrap());
        drop(open(&empty, b"b").unwrap());
        assert!(open(&empty, b"b").unwrap().is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_said_and_what_was_there_stays() {
        let said = open(Path::new("/dev/full"), b"a").unwrap_err();
        let NoJournal::Disk { doing, source } = said else {
            panic!("{said}")
        };
        assert!(doing.contains("/dev/full"), "{doing}");
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }
}
