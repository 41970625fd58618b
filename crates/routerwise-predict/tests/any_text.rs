//! Whatever the text, scores are numbers in [0, 1] and nothing panics; whatever the bytes, a file is read or refused.

use std::sync::LazyLock;

use proptest::prelude::*;
use routerwise_predict::file::{About, PredictorFile, decode, encode};
use routerwise_predict::learned::{Kind, learn};
use routerwise_predict::train::{Labelled, Options};
use routerwise_predict::{Piece, Predictor as _, PromptFacts, Role};
use routerwise_types::Fingerprint;

fn file(kind: Kind) -> PredictorFile {
    let texts: Vec<String> = (0..60)
        .map(|i| format!("prompt {i} of {}", ["statute", "algebra"][i % 2]))
        .collect();
    let labels: Vec<Vec<f32>> = (0..2)
        .map(|m| (0..60).map(|i| f32::from(u8::from(i % 2 == m))).collect())
        .collect();
    let models = ["a", "b"].map(str::to_owned).to_vec();
    let data = Labelled {
        models: &models,
        texts: &texts,
        labels: &labels,
        weights: &[],
    };
    let trained = learn(kind, data, Options { seed: 3, n_threads: 1 }, &|| ()).expect("enough prompts");
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
        trained_on: vec![1, 2],
        predictor: trained.predictor,
    }
}

static FILES: LazyLock<[PredictorFile; 2]> = LazyLock::new(|| [Kind::Default, Kind::Static].map(file));
static BYTES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| FILES.each_ref().map(encode));

fn role(number: u8) -> Role {
    [Role::System, Role::User, Role::Assistant, Role::Other][usize::from(number % 4)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_conversation_has_scores(
        pieces in prop::collection::vec((any::<u8>(), any::<Vec<u8>>()), 0..12),
        times in 1..60_usize,
    ) {
        let pieces: Vec<(Role, String)> = pieces
            .into_iter()
            .map(|(number, bytes)| (role(number), String::from_utf8_lossy(&bytes).repeat(times)))
            .collect();
        let pieces: Vec<Piece> = pieces.iter().map(|(role, text)| Piece { role: *role, text }).collect();
        for file in FILES.iter() {
            let mut scores = [f32::NAN; 2];
            file.predict(&PromptFacts::new(&pieces), &mut scores).expect("every text has scores");
            prop_assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
        }
    }

    #[test]
    fn every_text_has_scores(text in "\\PC*") {
        for file in FILES.iter() {
            let mut scores = [f32::NAN; 2];
            file.predict(&PromptFacts::new(&[Piece::user(&text)]), &mut scores).expect("every text has scores");
            prop_assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
        }
    }

    #[test]
    fn bytes_that_are_no_predictor_are_refused(bytes in any::<Vec<u8>>()) {
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn a_changed_file_is_refused(at in any::<prop::sample::Index>(), with in 1..=255_u8, which in 0..2_usize) {
        let mut bytes = BYTES[which][..].to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        prop_assert!(decode(&bytes).is_err());
    }
}
