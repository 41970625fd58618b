//! What is asked: filler of a wanted length, or prompts of a file.

use std::fmt;
use std::sync::Arc;

use rand::RngExt as _;
use routerwise_simulate::arrivals::stream;
use routerwise_types::workload::Lengths;

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Its words.
    pub content: Content,
    /// Tokens that it is to have, for servers that can be told.
    pub prompt_tokens: u32,
    /// Tokens that the answer may have.
    pub max_tokens: u32,
}

/// The words of a question.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// One text: the user's message, or the prompt of a completion.
    Text(Arc<str>),
    /// The `messages` of a chat, as JSON.
    Messages(Arc<str>),
}

impl Content {
    /// Bytes of it.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) | Self::Messages(text) => text.len(),
        }
    }
}

/// Prompts reach no log.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

/// Where questions come from.
#[derive(Clone, Debug)]
pub enum Prompts {
    /// Random words, about one token each, different for every request so that no cache of prefixes helps.
    Filler {
        /// Seed of the words.
        seed: u64,
        /// Words to send for one token; 1 unless the tokeniser was asked.
        words_per_token: f64,
    },
    /// Given ones, one for each request in turn, from the start again when they are used up.
    Given(Arc<[Content]>),
}

impl Prompts {
    /// Random words of a seed.
    #[must_use]
    pub fn filler(seed: u64) -> Self {
        Self::Filler {
            seed,
            words_per_token: 1.0,
        }
    }

    /// The question of request number `ix`.
    #[must_use]
    pub fn ask(&self, ix: usize, lengths: Lengths) -> Ask {
        let content = match self {
            Self::Filler { seed, words_per_token } => {
                Content::Text(filler(*seed, ix, words(lengths.input, *words_per_token)).into())
            }
            Self::Given(given) => given[ix % given.len()].clone(),
        };
        Ask {
            content,
            prompt_tokens: lengths.input,
            max_tokens: lengths.output,
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped first")]
fn words(tokens: u32, words_per_token: f64) -> usize {
    (f64::from(tokens) * words_per_token).round().clamp(1.0, 1e8) as usize
}

/// `n` words for request `ix`, of a random stream of its own.
fn filler(seed: u64, ix: usize, n: usize) -> String {
    let mut random = stream(
        seed.wrapping_add((ix as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        "filler",
    );
    let mut text = String::with_capacity(n * 6);
    for _ in 0..n {
        let word: usize = random.random_range(0..WORDS.len());
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(WORDS[word]);
    }
    text
}

/// Short common words that most vocabularies have whole.
const WORDS: [&str; 64] = [
    "time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state",
    "family", "table", "group", "street", "answer", "hand", "part", "place", "case", "week", "river", "system",
    "field", "door", "work", "number", "night", "point", "home", "water", "room", "mother", "area", "money", "story",
    "fact", "month", "lot", "right", "study", "book", "eye", "job", "word", "letter", "issue", "side", "kind", "head",
    "house", "stone", "friend", "father", "power", "hour", "game", "line", "end", "member", "law", "car",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_has_a_word_for_every_token_and_repeats_by_seed() {
        let text = |seed, ix, input| match Prompts::filler(seed).ask(ix, Lengths { input, output: 7 }).content {
            Content::Text(text) => text,
            Content::Messages(_) => unreachable!("filler is text"),
        };
        assert_eq!(text(1, 0, 300).split(' ').count(), 300);
        assert_eq!(text(1, 5, 40), text(1, 5, 40));
        assert_ne!(text(1, 5, 40), text(1, 6, 40));
        assert_ne!(text(1, 5, 40), text(2, 5, 40));
    }

    #[test]
    fn given_prompts_start_again_when_they_are_used_up_and_are_not_shown() {
        let given: Vec<Content> = ["a secret", "b"].map(|text| Content::Text(text.into())).into();
        let prompts = Prompts::Given(given.clone().into());
        let lengths = Lengths { input: 1, output: 1 };
        assert_eq!(prompts.ask(2, lengths).content, given[0]);
        assert!(!format!("{prompts:?}").contains("secret"));
    }
}
