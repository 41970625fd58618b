//! Vectors kept in a file, so that learning again with another head, or other labels, embeds only what is new.
//!
//! ```text
//! "RWVECTOR"  version u32  identity 32 bytes  dimension u32  then for each text: hash 16 bytes, numbers
//! ```
//!
//! Texts themselves are not kept. Numbers are little-endian.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use routerwise_types::Fingerprint;
use sha2::{Digest as _, Sha256};

use crate::{EmbedError, Embedder};

const MAGIC: &[u8; 8] = b"RWVECTOR";
const VERSION: u32 = 1;
const HEADER: usize = 8 + 4 + 32 + 4;
const HASH: usize = 16;

/// An embedder whose vectors are looked up in a file first, and added to it.
pub struct Stored {
    inner: Box<dyn Embedder>,
    path: PathBuf,
    kept: Mutex<Kept>,
}

struct Kept {
    file: File,
    places: HashMap<[u8; HASH], usize>,
    numbers: Vec<f32>,
}

impl std::fmt::Debug for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stored")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Stored {
    /// Opens a file of vectors, or begins one.
    ///
    /// # Errors
    /// When the file holds something else, vectors of another model, or the disk fails.
    pub fn open(path: &Path, inner: Box<dyn Embedder>) -> Result<Self, EmbedError> {
        let wrong = |what: String| EmbedError::Store {
            path: path.display().to_string(),
            what,
        };
        let disk = |error: io::Error| wrong(error.to_string());
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(path).map_err(disk)?;
        if file.try_lock().is_err() {
            return Err(wrong("another process is writing to it".into()));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(disk)?;
        let header = header(inner.as_ref());
        if bytes.is_empty() {
            file.write_all(&header).map_err(disk)?;
            bytes.clone_from(&header);
        }
        if bytes.len() < HEADER || bytes[..8] != *MAGIC {
            return Err(wrong("is no file of vectors".into()));
        }
        if bytes[..HEADER] != *header {
            let what = "holds vectors of another model or of another length of texts; name another file";
            return Err(wrong(what.into()));
        }
        let entry = HASH + 4 * inner.dimension();
        let mut places = HashMap::new();
        let mut numbers = Vec::new();
        let entries = bytes[HEADER..].chunks_exact(entry);
        let good = HEADER + entry * entries.len();
        for (ix, bytes) in entries.enumerate() {
            let hash = bytes[..HASH].try_into().expect("cut to this length");
            places.insert(hash, ix * inner.dimension());
            let of = bytes[HASH..].as_chunks::<4>().0;
            numbers.extend(of.iter().map(|bytes| f32::from_le_bytes(*bytes)));
        }
        // What follows the last whole entry was being written when the process ended.
        let cut = file.set_len(good as u64).and_then(|()| file.seek(SeekFrom::End(0)));
        cut.map_err(disk)?;
        let kept = Mutex::new(Kept { file, places, numbers });
        Ok(Self {
            inner,
            path: path.to_owned(),
            kept,
        })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nobody panics while holding it")
    }
}

fn header(of: &dyn Embedder) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&Sha256::digest(of.identity().0.as_bytes()));
    let dimension = u32::try_from(of.dimension()).unwrap_or(u32::MAX);
    header.extend_from_slice(&dimension.to_le_bytes());
    header
}

fn hash(text: &str) -> [u8; HASH] {
    let digest = Sha256::digest(text.as_bytes());
    digest[..HASH].try_into().expect("SHA-256 is longer")
}

impl Embedder for Stored {
    fn identity(&self) -> &Fingerprint {
        self.inner.identity()
    }

    fn dimension(&self) -> usize {
        self.inner.dimension()
    }

    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        let hashes: Vec<[u8; HASH]> = texts.iter().map(|text| hash(text)).collect();
        let missing: Vec<usize> = {
            let kept = self.kept();
            (0..texts.len())
                .filter(|ix| !kept.places.contains_key(&hashes[*ix]))
                .collect()
        };
        let asked: Vec<&str> = missing.iter().map(|ix| texts[*ix]).collect();
        let fresh = if asked.is_empty() {
            Vec::new()
        } else {
            self.inner.embed(&asked)?
        };
        let mut kept = self.kept();
        let mut bytes = Vec::new();
        for (ix, vector) in missing.iter().zip(&fresh) {
            let place = kept.numbers.len();
            if kept.places.insert(hashes[*ix], place).is_none() {
                kept.numbers.extend(vector);
                bytes.extend_from_slice(&hashes[*ix]);
                bytes.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
            } else {
                // The same text twice in one call.
                kept.numbers.extend(vector);
            }
        }
        kept.file.write_all(&bytes).map_err(|error| EmbedError::Store {
            path: self.path.display().to_string(),
            what: error.to_string(),
        })?;
        let dimension = self.dimension();
        let of = |hash: &[u8; HASH]| {
            let place = kept.places[hash];
            kept.numbers[place..place + dimension].to_vec()
        };
        Ok(hashes.iter().map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counting(Arc<AtomicUsize>, Fingerprint);

    impl Embedder for Counting {
        fn identity(&self) -> &Fingerprint {
            &self.1
        }
        fn dimension(&self) -> usize {
            2
        }
        fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
            self.0.fetch_add(texts.len(), Ordering::Relaxed);
            Ok(texts
                .iter()
                .map(|text| vec![1.0, if text.len() == 1 { 0.5 } else { 0.25 }])
                .collect())
        }
    }

    fn open(path: &Path, count: &Arc<AtomicUsize>, model: &str) -> Result<Stored, EmbedError> {
        Stored::open(path, Box::new(Counting(Arc::clone(count), Fingerprint::of(&model))))
    }

    #[test]
    fn a_text_is_embedded_once_and_a_torn_end_is_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors");
        let count = Arc::default();
        let first = open(&path, &count, "m").unwrap().embed(&["a", "bb", "a"]).unwrap();
        assert_eq!(first, [vec![1.0, 0.5], vec![1.0, 0.25], vec![1.0, 0.5]]);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), HEADER + 2 * (HASH + 8));
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        let asked = count.load(Ordering::Relaxed);
        assert_eq!(
            open(&path, &count, "m").unwrap().embed(&["bb", "a"]).unwrap()[0],
            [1.0, 0.25]
        );
        assert_eq!(count.load(Ordering::Relaxed), asked + 1, "only what was torn");
    }

    #[test]
    fn vectors_of_another_model_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectors");
        let count = Arc::default();
        open(&path, &count, "m").unwrap().embed(&["a"]).unwrap();
        assert!(
            open(&path, &count, "other")
                .unwrap_err()
                .to_string()
                .contains("another model")
        );
        std::fs::write(&path, "my notes, which are longer than a header of vectors would be").unwrap();
        assert!(
            open(&path, &count, "m")
                .unwrap_err()
                .to_string()
                .contains("no file of vectors")
        );
    }
}
