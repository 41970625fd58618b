//! Everything that was answered, a line each, so that an interrupted run goes on where it stopped.
//!
//! An entry is found by what it depends on (the endpoint's settings and the prompt), not by its place in a run: after a change of
//! the sample, the scoring or one endpoint, what still holds is kept and only the rest is asked anew.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use routerwise_types::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::chat::Answer;

/// Layout version, in the first line.
const JOURNAL: u32 = 1;

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// Another process has it.
    #[error("another process is writing to `{}`", .0.display())]
    InUse(PathBuf),
    /// It is something else, or of another version.
    #[error("`{}` is no journal of this version", .0.display())]
    Foreign(PathBuf),
    /// The disk does not do it.
    #[error("failed {doing} `{}`", path.display())]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    label_journal: u32,
}

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Answer(Fingerprint, Answer),
    Score(Fingerprint, Option<f64>),
    Chosen(Fingerprint, Vec<(String, f64)>),
}

/// What was answered so far, in memory and on disk.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    answers: BTreeMap<Fingerprint, Answer>,
    scores: BTreeMap<Fingerprint, Option<f64>>,
    chosen: BTreeMap<Fingerprint, Vec<Vec<(String, f64)>>>,
}

impl Journal {
    /// Opens a journal, or begins one.
    ///
    /// # Errors
    /// When another process has it, it is something else, or the disk fails.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |doing| {
            let path = path.to_owned();
            move |source| JournalError::Disk { doing, path, source }
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed("making the folder of"))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        // It holds prompts and answers: nobody else's to read.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path).map_err(failed("opening"))?;
        if file.try_lock().is_err() {
            return Err(JournalError::InUse(path.to_owned()));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed("reading"))?;
        let mut journal = Self {
            path: path.to_owned(),
            file,
            answers: BTreeMap::new(),
            scores: BTreeMap::new(),
            chosen: BTreeMap::new(),
        };
        let good = journal.fill(&bytes)?;
        // What follows the last whole line was being written when the run ended.
        let cut = journal.file.set_len(good as u64);
        cut.and_then(|()| journal.file.seek(SeekFrom::End(0)))
            .map_err(failed("opening"))?;
        if good == 0 {
            journal.append(&Header { label_journal: JOURNAL })?;
        }
        Ok(journal)
    }

    /// Takes the whole lines over and returns where they end.
    fn fill(&mut self, bytes: &[u8]) -> Result<usize, JournalError> {
        let mut good = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if line.last() != Some(&b'\n') {
                break;
            }
            let foreign = |_| JournalError::Foreign(self.path.clone());
            if good == 0 {
                let header: Header = serde_json::from_slice(line).map_err(foreign)?;
                if header.label_journal != JOURNAL {
                    return Err(JournalError::Foreign(self.path.clone()));
                }
            } else {
                match serde_json::from_slice(line).map_err(foreign)? {
                    Entry::Answer(key, answer) => drop(self.answers.insert(key, answer)),
                    Entry::Score(key, score) => drop(self.scores.insert(key, score)),
                    Entry::Chosen(key, ids) => self.chosen.entry(key).or_default().push(ids),
                }
            }
            good += line.len();
        }
        // Half a header, and nothing else: begun anew. Half of something else: not ours to cut off.
        if good == 0 && !bytes.is_empty() && !b"{\"label_journal\":1}\n".starts_with(bytes) {
            return Err(JournalError::Foreign(self.path.clone()));
        }
        Ok(good)
    }

    /// The answer to what `key` stands for.
    #[must_use]
    pub fn answer(&self, key: &Fingerprint) -> Option<&Answer> {
        self.answers.get(key)
    }

    /// The score of what `key` stands for: `Some(None)` where it was found to have none.
    #[must_use]
    pub fn score(&self, key: &Fingerprint) -> Option<Option<f64>> {
        self.scores.get(key).copied()
    }

    /// The prompts that were chosen in each round so far, and their weights.
    #[must_use]
    pub fn chosen(&self, key: &Fingerprint) -> &[Vec<(String, f64)>] {
        self.chosen.get(key).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn add_answer(&mut self, key: &Fingerprint, answer: Answer) -> Result<(), JournalError> {
        self.append(&Entry::Answer(key.clone(), answer.clone()))?;
        self.answers.insert(key.clone(), answer);
        Ok(())
    }

    pub(crate) fn add_score(&mut self, key: &Fingerprint, score: Option<f64>) -> Result<(), JournalError> {
        self.append(&Entry::Score(key.clone(), score))?;
        self.scores.insert(key.clone(), score);
        Ok(())
    }

    /// Notes what was chosen in a round.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn add_chosen(&mut self, key: &Fingerprint, drawn: Vec<(String, f64)>) -> Result<(), JournalError> {
        self.append(&Entry::Chosen(key.clone(), drawn.clone()))?;
        self.chosen.entry(key.clone()).or_default().push(drawn);
        Ok(())
    }

    /// Ends the run: nothing of prompts and answers is left behind.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn remove(self) -> Result<(), JournalError> {
        drop(self.file);
        fs::remove_file(&self.path).map_err(|source| JournalError::Disk {
            doing: "removing",
            path: self.path,
            source,
        })
    }

    fn append<T: Serialize>(&mut self, entry: &T) -> Result<(), JournalError> {
        let mut line = serde_json::to_vec(entry).expect("our own types serialise");
        line.push(b'\n');
        // One call, so that a line is there or not.
        self.file.write_all(&line).map_err(|source| JournalError::Disk {
            doing: "writing",
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer {
            text: text.into(),
            prompt_tokens: None,
            output_tokens: Some(3),
            cut_off: false,
        }
    }

    #[test]
    fn a_torn_last_line_costs_one_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/journal");
        let (one, two) = (Fingerprint::of(&1), Fingerprint::of(&2));
        let mut journal = Journal::open(&path).unwrap();
        journal.add_answer(&one, answer("1")).unwrap();
        journal.add_score(&one, None).unwrap();
        journal.add_answer(&two, answer("2")).unwrap();
        drop(journal);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 5]).unwrap();
        let mut journal = Journal::open(&path).unwrap();
        assert_eq!(journal.answer(&one), Some(&answer("1")));
        assert_eq!(journal.score(&one), Some(None));
        assert_eq!(journal.answer(&two), None);
        journal.add_answer(&two, answer("2")).unwrap();
        drop(journal);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let _first = Journal::open(&path).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::InUse(_))));
    }

    #[test]
    fn somebody_elses_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes");
        for content in ["my notes", "my notes\n", "{\"label_journal\":2}\n"] {
            fs::write(&path, content).unwrap();
            assert!(matches!(Journal::open(&path), Err(JournalError::Foreign(_))));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
    }
}
