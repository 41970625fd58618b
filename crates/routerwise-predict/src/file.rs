//! A predictor as bytes: versioned, checksummed, with what it was learned from and its own test results.
//!
//! ```text
//! "RWPREDIC"  version u32  bytes in all u64  header length u32  header (JSON)  numbers  SHA-256 of all before
//! ```
//!
//! Numbers are little-endian. A file that is cut off, changed, of another version or no predictor at all is refused before anything of it
//! is used; what is read is checked against the header, so that no file makes a predictor panic.

pub(crate) mod bytes;
mod heads;
pub(crate) mod linear;

use routerwise_types::Fingerprint;
use routerwise_types::answer::predictors::PredictorTest;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::learned::{Kind, Learned, OnEmbeddings};
use crate::predictor::{NotScored, Predictor};
use crate::prompt::PromptFacts;
use bytes::{Reader, Writer};

const MAGIC: &[u8; 8] = b"RWPREDIC";
/// Version of the format that this build writes and reads.
pub const VERSION: u32 = 2;
const PREAMBLE: usize = MAGIC.len() + 4 + 8 + 4;
const CHECKSUM: usize = 32;

/// A predictor and what is known of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictorFile {
    /// What is known of it.
    pub about: About,
    /// Hashes of the prompts that it was learned from ([`identity`](crate::groups::identity)), in rising order.
    pub trained_on: Vec<u64>,
    /// The predictor.
    pub predictor: Learned,
}

/// What is known of a predictor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct About {
    /// Which kind it is.
    pub kind: Kind,
    /// Names of the models, in the order of the scores.
    pub models: Vec<String>,
    /// Content of the scores file that it was learned from.
    pub data: Fingerprint,
    /// Prompts that it was learned from.
    pub n_prompts: usize,
    /// Seed of the folds and the test.
    pub seed: u64,
    /// How strongly each component is held back; nothing where nothing could be told about it.
    pub strengths: Vec<Option<f64>>,
    /// Names the model of the embeddings and what it read of a text, where it was learned from some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embeddings: Option<Fingerprint>,
    /// What a predictor learned in the same way from a part of the prompts was worth on the others.
    pub test: Option<PredictorTest>,
    /// The same on prompts of sources that were not learned from, where sources are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_by_source: Option<PredictorTest>,
}

impl Predictor for PredictorFile {
    fn models(&self) -> &[String] {
        &self.about.models
    }

    fn predict(&self, prompt: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored> {
        self.predictor.predict(prompt, scores)
    }
}

/// Why bytes are no predictor: the end of a sentence that starts with the file's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreadable {
    /// Something else.
    #[error("is no predictor file")]
    Foreign,
    /// Of another time.
    #[error("is a predictor file of version {0}, and this program reads version {VERSION}")]
    Version(u32),
    /// Its end is missing, or something was added.
    #[error("has {found} bytes and should have {declared}: it is incomplete")]
    Length {
        /// Bytes found.
        found: usize,
        /// Bytes that it says it has.
        declared: u64,
    },
    /// Its content is not what was written.
    #[error("is damaged: its checksum does not match its content")]
    Damaged,
    /// Written by something that does not know the format.
    #[error("is inconsistent: {0}")]
    Inconsistent(String),
}

/// The bytes of a predictor file.
///
/// # Panics
/// Never: headers are short and serialise.
#[must_use]
pub fn encode(file: &PredictorFile) -> Vec<u8> {
    let header = serde_json::to_vec(&file.about).expect("names and numbers serialise");
    let mut body = Writer::default();
    body.hashes(&file.trained_on);
    match &file.predictor {
        Learned::Linear(linear) => body.append(&linear::body(linear)),
        Learned::Static(learned) => heads::write_static(learned, &mut body),
        Learned::Embedded(learned) => {
            heads::write_head(&learned.head, &mut body);
            body.append(&linear::body(&learned.fallback));
        }
    }
    let body = body.into_bytes();
    let length = PREAMBLE + header.len() + body.len() + CHECKSUM;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&(length as u64).to_le_bytes());
    let header_length = u32::try_from(header.len()).expect("a header of some kilobytes");
    bytes.extend_from_slice(&header_length.to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&body);
    let checksum = Sha256::digest(&bytes);
    bytes.extend_from_slice(&checksum);
    bytes
}

/// Reads a predictor file.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &[u8]) -> Result<PredictorFile, Unreadable> {
    let (header, body) = parts(bytes)?;
    let about: About = serde_json::from_slice(header).map_err(|error| Unreadable::Inconsistent(error.to_string()))?;
    let mut body = Reader::new(body);
    let trained_on = body.hashes()?;
    let predictor = match about.kind {
        Kind::Default => Learned::Linear(Box::new(linear::read(&mut body, &about.models)?)),
        Kind::Static => Learned::Static(Box::new(heads::read_static(&mut body, &about.models)?)),
        Kind::EmbeddingsKnn | Kind::EmbeddingsRidge | Kind::EmbeddingsMlp => {
            Learned::Embedded(Box::new(OnEmbeddings {
                head: heads::read_head(&mut body, &about.models)?,
                fallback: linear::read(&mut body, &about.models)?,
            }))
        }
    };
    body.is_empty()?;
    Ok(PredictorFile {
        about,
        trained_on,
        predictor,
    })
}

/// Header and body of a file whose length and checksum are right.
fn parts(bytes: &[u8]) -> Result<(&[u8], &[u8]), Unreadable> {
    if bytes.is_empty() || !bytes.iter().zip(MAGIC).all(|(a, b)| a == b) {
        return Err(Unreadable::Foreign);
    }
    let incomplete = |declared| Unreadable::Length {
        found: bytes.len(),
        declared,
    };
    let least = (PREAMBLE + CHECKSUM) as u64;
    let preamble = bytes.get(MAGIC.len()..PREAMBLE).ok_or_else(|| incomplete(least))?;
    let mut preamble = Reader::new(preamble);
    let version = preamble.u32()?;
    if version != VERSION {
        return Err(Unreadable::Version(version));
    }
    let declared = preamble.u64()?;
    let header_length = preamble.u32()? as usize;
    if declared != bytes.len() as u64 || declared < least {
        return Err(incomplete(declared.max(least)));
    }
    let (content, checksum) = bytes.split_at(bytes.len() - CHECKSUM);
    if Sha256::digest(content)[..] != *checksum {
        return Err(Unreadable::Damaged);
    }
    content[PREAMBLE..]
        .split_at_checked(header_length)
        .ok_or_else(|| Unreadable::Inconsistent("its header is longer than the file".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::Groups;
    use crate::heads::HeadKind;
    use crate::learned::{learn, learn_on_embeddings};
    use crate::matrix::Matrix;
    use crate::prompt::Piece;
    use crate::train::{Labelled, Options};

    /// Two models, each right about one of two subjects: their names, the prompts, and a column of labels for each.
    fn examples() -> (Vec<String>, Vec<String>, Vec<Vec<f32>>) {
        let texts: Vec<String> = (0..60)
            .map(|i| format!("prompt {} of {}", i, ["statute", "algebra"][i % 2]))
            .collect();
        let labels: Vec<Vec<f32>> = (0..2)
            .map(|m| (0..60).map(|i| f32::from(u8::from(i % 2 == m))).collect())
            .collect();
        let models = ["a", "b"].map(str::to_owned).to_vec();
        (models, texts, labels)
    }

    fn small() -> PredictorFile {
        of_kind(Kind::Default)
    }

    fn of_kind(kind: Kind) -> PredictorFile {
        let (models, texts, labels) = examples();
        let data = Labelled {
            models: &models,
            texts: &texts,
            labels: &labels,
            weights: &[],
        };
        let options = Options { seed: 3, n_threads: 1 };
        let trained = learn(kind, data, options, &|| ()).unwrap();
        PredictorFile {
            about: About {
                kind,
                models,
                data: Fingerprint::of_bytes(b"scores"),
                n_prompts: 60,
                seed: 3,
                strengths: trained.strengths,
                embeddings: None,
                test: None,
                test_by_source: None,
            },
            trained_on: Groups::by_prompt(&texts).hashes(),
            predictor: trained.predictor,
        }
    }

    #[test]
    fn what_is_written_is_read_and_scores_alike() {
        for kind in [Kind::Default, Kind::Static] {
            round_trip(of_kind(kind));
        }
    }

    fn round_trip(file: PredictorFile) {
        let bytes = encode(&file);
        assert!(bytes.len() < 20_000_000, "{}", bytes.len());
        let read = decode(&bytes).unwrap();
        assert_eq!(read, file);
        let mut scores = [[0.0; 2]; 2];
        for (file, scores) in [&file, &read].into_iter().zip(&mut scores) {
            file.predict(&PromptFacts::new(&[Piece::user("law 5")]), scores)
                .unwrap();
        }
        assert_eq!(scores[0].map(f32::to_bits), scores[1].map(f32::to_bits));
    }

    #[test]
    fn what_is_no_whole_predictor_file_is_refused() {
        let bytes = encode(&small());
        let refusal = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
        assert_eq!(refusal(b""), "is no predictor file");
        assert_eq!(refusal(b"PAR1 something"), "is no predictor file");
        for length in [3, 8, 20, 60, bytes.len() / 2, bytes.len() - 1] {
            assert!(refusal(&bytes[..length]).contains("incomplete"), "{length}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(refusal(&longer).contains("incomplete"));
        for at in [30, 200, bytes.len() / 2, bytes.len() - 5] {
            let mut changed = bytes.clone();
            changed[at] ^= 4;
            assert!(refusal(&changed).contains("damaged"), "{at}");
        }
        let mut newer = bytes;
        newer[8] = 9;
        assert!(refusal(&newer).contains("version 9"));
    }

    #[test]
    fn a_right_checksum_does_not_make_wrong_numbers_pass() {
        let bytes = encode(&small());
        let content = bytes.len() - CHECKSUM;
        let signed = |mut bytes: Vec<u8>| {
            let end = bytes.len() - CHECKSUM;
            let length = (bytes.len() as u64).to_le_bytes();
            bytes[12..20].copy_from_slice(&length);
            let checksum = Sha256::digest(&bytes[..end]);
            bytes[end..].copy_from_slice(&checksum);
            decode(&bytes).unwrap_err().to_string()
        };
        let mut infinite = bytes.clone();
        infinite[content - 4..content].copy_from_slice(&f32::INFINITY.to_le_bytes());
        assert!(signed(infinite).contains("not finite"));
        let mut shorter = bytes.clone();
        shorter.drain(content - 400..content);
        assert!(signed(shorter).contains("fewer numbers"));
        let mut longer = bytes.clone();
        longer.splice(content..content, [0; 8]);
        assert!(signed(longer).contains("too many"));
        let mut header = bytes;
        header[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(signed(header).contains("header"));
    }

    #[test]
    fn heads_on_embeddings_are_written_with_what_stands_in_for_them() {
        let (models, texts, labels) = examples();
        let data = Labelled {
            models: &models,
            texts: &texts,
            labels: &labels,
            weights: &[],
        };
        let points = Matrix::new(2, (0..60).flat_map(|i| [[1.0, 0.0], [0.0, 1.0]][i % 2]).collect());
        for head in [HeadKind::Knn, HeadKind::Ridge, HeadKind::Mlp] {
            let options = Options { seed: 3, n_threads: 1 };
            let trained = learn_on_embeddings(head, &points, data, options, &|| ()).unwrap();
            let file = PredictorFile {
                about: About {
                    kind: head.into(),
                    embeddings: Some(Fingerprint::of(&"mini")),
                    ..small().about
                },
                trained_on: Vec::new(),
                predictor: trained.predictor,
            };
            let read = decode(&encode(&file)).unwrap();
            assert_eq!(read, file);
            let Learned::Embedded(learned) = &read.predictor else {
                panic!("another kind came back");
            };
            let scores = learned.score_all(&texts[..2], &points);
            assert!(scores[0][0] > 0.6 && scores[0][1] < 0.4, "{head:?} {scores:?}");
            assert_eq!(read.predictor.score_all(&texts[..2]).len(), 2, "without embeddings");
        }
    }
}
