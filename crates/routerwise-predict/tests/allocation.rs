//! Scoring allocates nothing, whatever the prompt.

#![expect(unsafe_code, reason = "a counting allocator is unsafe by its trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use routerwise_predict::learned::{Kind, learn};
use routerwise_predict::train::{Labelled, Options};
use routerwise_predict::{Piece, Predictor as _, PromptFacts, Role};

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; only a counter of this thread is touched besides.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn scoring_allocates_nothing() {
    let texts: Vec<String> = (0..80)
        .map(|i| format!("prompt {i} of {}", ["statute", "algebra"][i % 2]))
        .collect();
    let labels: Vec<Vec<f32>> = (0..3)
        .map(|m| (0..80).map(|i| f32::from(u8::from(i % 3 == m))).collect())
        .collect();
    let models = ["a", "b", "c"].map(str::to_owned).to_vec();
    let data = Labelled {
        models: &models,
        texts: &texts,
        labels: &labels,
        weights: &[],
    };
    let long = "Ein langer Text, 漢字と仮名, und `code`;\n".repeat(2_000);
    let chat = [
        Piece {
            role: Role::System,
            text: "be brief",
        },
        Piece::user("first"),
        Piece {
            role: Role::Assistant,
            text: "yes",
        },
        Piece::user("and in Python?"),
        Piece::user(&long),
    ];
    for kind in [Kind::Default, Kind::Static] {
        let learned = learn(kind, data, Options { seed: 1, n_threads: 1 }, &|| ())
            .unwrap()
            .predictor;
        let mut scores = [0.0; 3];
        let before = COUNT.with(Cell::get);
        for pieces in [
            &chat[..],
            &[Piece::user("")],
            &[],
            &[Piece::user("\u{0}\u{fffd}\u{202e}x")],
        ] {
            learned.predict(&PromptFacts::new(pieces), &mut scores).unwrap();
        }
        assert_eq!(COUNT.with(Cell::get), before, "{kind}");
        assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores:?}");
    }
}
