//! How tokens are counted, and the words that answers are made of.
//!
//! No tokeniser is emulated. A word, that is what stands between white space, counts one token per six bytes, rounded up: English prose
//! comes to 1.3 tokens a word, as with the tokenisers of current models, and a prompt of `n` words of one to six letters has exactly
//! `n` tokens. Chat templates add nothing.

use routerwise_types::hash::mix;

/// Tokens that stand for one part of a message that is no text, such as an image.
pub const TOKENS_PER_PART: u32 = 256;

/// Bytes of a word that count as one token.
const BYTES_PER_TOKEN: usize = 6;

/// What answers are made of: one token each.
pub const WORDS: [&str; 64] = [
    "about", "again", "along", "among", "apple", "basin", "below", "birch", "brook", "cabin", "candle", "chalk",
    "cloud", "clover", "coast", "copper", "cotton", "creek", "dawn", "delta", "early", "ember", "falcon", "fern",
    "field", "finch", "garden", "grain", "harbor", "hazel", "hill", "island", "ivory", "lake", "linen", "maple",
    "marsh", "meadow", "mill", "moss", "north", "ocean", "olive", "orchid", "paper", "pebble", "pine", "plain",
    "quiet", "rain", "reed", "river", "sand", "shore", "slate", "south", "spring", "stone", "summer", "timber",
    "valley", "willow", "winter", "wood",
];

/// Tokens of a text.
#[must_use]
pub fn count(text: &str) -> u32 {
    let tokens: usize = text
        .split_whitespace()
        .map(|word| word.len().div_ceil(BYTES_PER_TOKEN))
        .sum();
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

/// The word that is token `ix` of the answer that belongs to a hash.
pub(crate) fn word(hash: u64, ix: u32) -> &'static str {
    let drawn = mix(hash.wrapping_add(u64::from(ix).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    WORDS[usize::try_from(drawn % 64).expect("below 64")]
}

/// Appends tokens `from..to` of an answer; all but the first bring the space before them.
pub(crate) fn append(text: &mut String, hash: u64, from: u32, to: u32) {
    for ix in from..to {
        if ix > 0 {
            text.push(' ');
        }
        text.push_str(word(hash, ix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_words_are_one_token_each() {
        assert_eq!(count(&WORDS.join(" ")), 64);
        assert_eq!(count("a bb\tccc\n dddd  eeeee ffffff"), 6);
        assert_eq!(count("sevenry nineteenthly"), 4);
        assert_eq!(count(""), 0);
    }

    #[test]
    fn an_answer_counts_as_many_tokens_as_it_has() {
        let mut text = String::new();
        append(&mut text, 99, 0, 10);
        let whole = text.clone();
        append(&mut text, 99, 10, 300);
        assert_eq!(count(&text), 300);
        assert!(text.starts_with(&whole));
        assert!(
            WORDS
                .iter()
                .all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()))
        );
    }
}
