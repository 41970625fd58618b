//! A text as numbers: hashed words, pairs of words and pieces of words, and what its surface shows.
//!
//! Words are runs of letters and digits in lower case; every other visible character is a word of its own. Features are a word, a word
//! with the one before it, the first four and the last three letters of longer words, and inside words of scripts that do without
//! spaces (and very long ones) every pair and triple of characters. Each is present or not: how often does not matter.
//! Hashes are written down here, so that no library can change what a predictor file means.

use routerwise_types::hash::mix;

/// Buckets that features are hashed into.
pub(crate) const N_BUCKETS: usize = 1 << BUCKET_BITS;
const BUCKET_BITS: u32 = 16;
/// Numbers that describe the surface.
pub(crate) const N_SURFACE: usize = 18;

/// The surface of a text; order and meaning are part of the file format.
pub(crate) type Surface = [f32; N_SURFACE];

/// Which buckets a text has set, once each. Lives on the stack: 8 KiB.
struct Seen([u64; N_BUCKETS / 64]);

impl Seen {
    fn first(&mut self, bucket: usize) -> bool {
        let (word, bit) = (&mut self.0[bucket / 64], 1 << (bucket % 64));
        let is_first = *word & bit == 0;
        *word |= bit;
        is_first
    }
}

/// Which features are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// Words, pairs and pieces.
    All,
    /// Words by themselves, and characters of scripts without spaces.
    Words,
}

/// What a feature is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Word,
    Pair,
    Piece,
    Inside,
}

/// Calls `found` once for each bucket that the texts set, and returns their surface.
pub(crate) fn extract(texts: &[&str], wanted: Wanted, mut found: impl FnMut(usize)) -> Surface {
    let mut seen = Seen([0; N_BUCKETS / 64]);
    let mut words = Words::new(|sort, hash| {
        let bucket = bucket(hash);
        let is_wanted = wanted == Wanted::All || matches!(sort, Sort::Word | Sort::Inside);
        if is_wanted && seen.first(bucket) {
            found(bucket);
        }
    });
    let mut counts = Counts::default();
    for text in texts {
        for c in text.chars() {
            counts.add(c);
            words.add(c);
        }
        counts.add('\n');
        words.add('\n');
    }
    counts.surface()
}

fn bucket(hash: u64) -> usize {
    usize::try_from(mix(hash) >> (64 - BUCKET_BITS)).expect("16 bits")
}

/// A step of FNV-1a, a character at a time.
fn step(hash: u64, c: char) -> u64 {
    (hash ^ u64::from(c)).wrapping_mul(0x0000_0100_0000_01b3)
}

const WORD: u64 = 0xcbf2_9ce4_8422_2325;
const START: u64 = 0x9e37_79b9_7f4a_7c15;
const END: u64 = 0xc2b2_ae3d_27d4_eb4f;
const INSIDE: u64 = 0x1656_67b1_9e37_79f9;
const PAIR: u64 = 0x27d4_eb2f_1656_67c5;
const NUMBER: u64 = 0x85eb_ca77_c2b2_ae63;
/// Longer words are cut up, also in scripts with spaces.
const LONG_WORD: usize = 14;

/// Finds words as characters come.
struct Words<F> {
    emit: F,
    hash: u64,
    length: usize,
    n_digits: usize,
    start: u64,
    last: [char; 3],
    before: u64,
}

impl<F: FnMut(Sort, u64)> Words<F> {
    fn new(emit: F) -> Self {
        Self {
            emit,
            hash: WORD,
            length: 0,
            n_digits: 0,
            start: START,
            last: ['\0'; 3],
            before: WORD,
        }
    }

    fn add(&mut self, c: char) {
        if c.is_ascii() {
            match c {
                'a'..='z' | '0'..='9' => self.letter(c),
                'A'..='Z' => self.letter(c.to_ascii_lowercase()),
                _ => self.between(c),
            }
        } else if c.is_alphanumeric() {
            for c in c.to_lowercase() {
                self.letter(c);
            }
        } else {
            self.between(c);
        }
    }

    fn letter(&mut self, c: char) {
        self.hash = step(self.hash, c);
        self.length += 1;
        self.n_digits += usize::from(c.is_ascii_digit());
        if self.length <= 4 {
            self.start = step(self.start, c);
        }
        self.last = [self.last[1], self.last[2], c];
        if self.length > 1 && (!c.is_ascii() || self.length > LONG_WORD) {
            let pair = step(step(INSIDE, self.last[1]), c);
            (self.emit)(Sort::Inside, pair);
            if self.length > 2 {
                (self.emit)(Sort::Inside, step(pair, self.last[0]));
            }
        }
    }

    fn between(&mut self, c: char) {
        if self.length > 0 {
            if self.n_digits == self.length {
                (self.emit)(Sort::Piece, NUMBER ^ self.length as u64);
            } else if self.length > 4 {
                (self.emit)(Sort::Piece, self.start);
                (self.emit)(Sort::Piece, self.last.iter().fold(END, |hash, c| step(hash, *c)));
            }
            self.word(self.hash);
            (self.hash, self.length, self.n_digits, self.start) = (WORD, 0, 0, START);
        }
        if !c.is_whitespace() && !c.is_control() {
            self.word(step(WORD, c));
        }
    }

    fn word(&mut self, hash: u64) {
        (self.emit)(Sort::Word, hash);
        (self.emit)(Sort::Pair, mix(self.before ^ PAIR) ^ hash);
        self.before = hash;
    }
}

/// Counts from which the surface is made.
#[derive(Default)]
struct Counts {
    n: u32,
    n_digits: u32,
    n_formula: u32,
    n_upper: u32,
    n_letters: u32,
    n_words: u32,
    n_lines: u32,
    n_questions: u32,
    n_options: u32,
    n_indented: u32,
    n_code: u32,
    n_ticks: u32,
    scripts: [u32; 5],
    /// Characters of the current line so far, up to a few.
    line: Line,
    in_word: bool,
    first_word: FirstWord,
}

/// How the current line began.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Empty,
    Spaces(u8),
    /// One letter or up to three digits, perhaps behind a bracket.
    Label,
    Text,
}

/// The first word, as far as it decides what kind of request this is.
#[derive(Clone, Copy, Default)]
struct FirstWord {
    letters: [u8; 8],
    length: usize,
    ended: bool,
}

const ASKING: [&[u8]; 14] = [
    b"what", b"which", b"who", b"whose", b"when", b"where", b"why", b"how", b"is", b"are", b"can", b"do", b"does",
    b"did",
];

impl FirstWord {
    fn add(&mut self, c: char) {
        match u8::try_from(c) {
            Ok(byte) if byte.is_ascii_alphabetic() && !self.ended => {
                if let Some(slot) = self.letters.get_mut(self.length) {
                    *slot = byte.to_ascii_lowercase();
                }
                self.length += 1;
            }
            _ => self.ended = self.ended || self.length > 0,
        }
    }

    fn asks(&self) -> bool {
        self.letters
            .get(..self.length)
            .is_some_and(|word| ASKING.contains(&word))
    }
}

impl Counts {
    fn add(&mut self, c: char) {
        self.n += 1;
        self.first_word.add(c);
        self.line(c);
        let is_letter = c.is_alphabetic();
        if (is_letter || c.is_ascii_digit()) && !self.in_word {
            self.n_words += 1;
        }
        self.in_word = is_letter || c.is_ascii_digit();
        self.n_letters += u32::from(is_letter);
        if let Some(script) = script(c).filter(|_| is_letter) {
            self.scripts[script] += 1;
        }
        match c {
            '0'..='9' => self.n_digits += 1,
            'A'..='Z' => self.n_upper += 1,
            '\\' | '$' | '^' | '_' | '=' | '+' | '<' | '>' => self.n_formula += 1,
            '{' | '}' | ';' | '(' | ')' | '[' | ']' => self.n_code += 1,
            '`' => self.n_ticks += 1,
            '?' | '\u{ff1f}' => self.n_questions += 1,
            _ => {}
        }
    }

    /// Option lists are lines that begin with `A.`, `(b)` or `3:`; code has lines that begin with spaces.
    fn line(&mut self, c: char) {
        if c == '\n' {
            self.n_lines += 1;
            self.line = Line::Empty;
            return;
        }
        self.line = match (self.line, c) {
            (Line::Empty, ' ' | '\t') => Line::Spaces(if c == '\t' { 4 } else { 1 }),
            (Line::Spaces(n), ' ') => Line::Spaces(n.saturating_add(1)),
            (Line::Empty | Line::Spaces(_), '(') => self.line,
            (Line::Empty | Line::Spaces(_), c) => {
                self.n_indented += u32::from(matches!(self.line, Line::Spaces(2..)));
                if c.is_ascii_alphanumeric() {
                    Line::Label
                } else {
                    Line::Text
                }
            }
            (Line::Label, '.' | ')' | ':') => {
                self.n_options += 1;
                Line::Text
            }
            (Line::Label, '0'..='9') => Line::Label,
            (Line::Label | Line::Text, _) => Line::Text,
        };
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of at most some thousand characters")]
    fn surface(&self) -> Surface {
        let part = |count: u32, of: u32| count as f32 / of.max(1) as f32;
        let some = |count: u32| (count as f32).ln_1p();
        let [latin, cyrillic, ideographs, arabic, other] = self.scripts;
        [
            some(self.n),
            some(self.n_words),
            part(self.n_letters, self.n_words),
            part(self.n_digits, self.n),
            part(self.n_formula, self.n),
            part(self.n_upper, self.n),
            part(self.n_code, self.n),
            part(self.n_ticks, self.n),
            some(self.n_lines),
            some(self.n_indented),
            some(self.n_options),
            some(self.n_questions),
            f32::from(u8::from(self.first_word.asks())),
            part(latin, self.n_letters),
            part(cyrillic, self.n_letters),
            part(ideographs, self.n_letters),
            part(arabic, self.n_letters),
            part(other, self.n_letters),
        ]
    }
}

/// Latin, Cyrillic, East Asian, Arabic and Hebrew, others.
fn script(c: char) -> Option<usize> {
    Some(match u32::from(c) {
        0x41..=0x024f | 0x1e00..=0x1eff => 0,
        0x0400..=0x052f => 1,
        0x3040..=0x30ff | 0x3400..=0x9fff | 0xac00..=0xd7af | 0x2_0000..=0x3_134f => 2,
        0x0590..=0x06ff | 0x0750..=0x077f => 3,
        _ => 4,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn buckets(text: &str) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        extract(&[text], Wanted::All, |bucket| assert!(found.insert(bucket), "twice"));
        found
    }

    #[test]
    fn what_words_are_does_not_depend_on_case_or_spaces() {
        assert_eq!(buckets("Sort  the\nLIST"), buckets("sort the list"));
        assert_ne!(buckets("sort the list"), buckets("list the sort"));
        assert_eq!(buckets(""), BTreeSet::new());
    }

    #[test]
    fn scripts_without_spaces_share_pieces() {
        let (a, b) = (buckets("東京都の人口"), buckets("東京都の面積"));
        assert!(a.intersection(&b).count() >= 3);
    }

    #[test]
    fn the_surface_tells_questions_options_code_and_formulas() {
        let of = |text: &str| extract(&[text], Wanted::All, |_| ());
        let question = of("Which planet is largest?\nA. Mars\n(B) Jupiter\n10: Venus");
        assert!((question[12] - 1.0).abs() < 1e-6 && (question[10] - 4.0_f32.ln()).abs() < 1e-6);
        let code = of("def f(x):\n    return x;\n    pass");
        assert!((code[9] - 3.0_f32.ln()).abs() < 1e-6 && code[12] < 0.5);
        assert!(of("$x^2 = 3$")[4] > 0.3);
        assert!((of("привет")[14] - 1.0).abs() < 1e-6);
        assert!(of("").iter().all(|value| value.is_finite()));
    }
}
