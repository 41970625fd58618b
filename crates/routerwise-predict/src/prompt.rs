//! What is known of a request before anybody answers it, and which part of it predictors read.
//!
//! Predictors read **the last user message**: all of its text pieces, in order. Where that message is shorter than
//! [`SHORT`] bytes ("and in Python?"), the user message before it is read too, in front of it. System prompts, answers, tool results
//! and what is no text (images, sound) are not read: training tables hold questions, and a system prompt is the same for a whole
//! application, so its words would say nothing and drown what does.
//!
//! Of a text longer than [`LONGEST`] bytes the first [`HEAD`] and the last bytes up to [`LONGEST`] in all are read: instructions
//! stand at either end. Cuts fall on character borders. Nothing here allocates, and no text is refused: what is no UTF-8 has to be
//! made so before (`String::from_utf8_lossy`), and an empty prompt gets the scores of an average one.

/// Who wrote a piece of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions of the application (`system`, `developer`).
    System,
    /// The person or program that asks.
    User,
    /// An earlier answer.
    Assistant,
    /// What a tool returned, and anything else.
    Other,
}

/// One text of a conversation: a whole message, or one text part of a message that has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Who wrote it.
    pub role: Role,
    /// The text.
    pub text: &'a str,
}

/// What is known of a request before anybody answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptFacts<'a> {
    /// The conversation, oldest first. Pieces of one message follow each other; so do messages of one role without an answer between
    /// them, and count as one.
    pub pieces: &'a [Piece<'a>],
}

/// Most bytes that are read of one prompt.
pub const LONGEST: usize = 8192;
/// Of them, those from the beginning of a longer text.
pub const HEAD: usize = 6144;
/// A last message below this many bytes is read together with the user message before it.
pub const SHORT: usize = 48;
/// Most pieces that are read; of more, the last ones.
const MOST_PIECES: usize = 8;

impl<'a> Piece<'a> {
    /// A user's text.
    #[must_use]
    pub fn user(text: &'a str) -> Self {
        Self { role: Role::User, text }
    }
}

/// The texts that a predictor reads, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read<'a> {
    texts: [&'a str; MOST_PIECES + 1],
    n: usize,
}

impl<'a> Read<'a> {
    pub(crate) fn texts(&self) -> &[&'a str] {
        &self.texts[..self.n]
    }
}

impl<'a> PromptFacts<'a> {
    /// A conversation.
    #[must_use]
    pub fn new(pieces: &'a [Piece<'a>]) -> Self {
        Self { pieces }
    }

    /// What is read of it, as one text: for predictors outside this process.
    #[must_use]
    pub fn text(&self) -> String {
        self.read().texts().join("\n")
    }

    /// What is read of it.
    pub(crate) fn read(&self) -> Read<'a> {
        let mut backwards: [&'a str; MOST_PIECES] = [""; MOST_PIECES];
        let (mut n, mut n_bytes) = (0, 0);
        let mut rest = self.pieces;
        while let Some(last) = rest.iter().rposition(|piece| piece.role == Role::User) {
            let first = rest[..last]
                .iter()
                .rposition(|piece| piece.role != Role::User)
                .map_or(0, |before| before + 1);
            for piece in rest[first..=last].iter().rev().take(MOST_PIECES - n) {
                backwards[n] = piece.text;
                n_bytes += piece.text.len();
                n += 1;
            }
            rest = &rest[..first];
            if n_bytes >= SHORT || n == MOST_PIECES {
                break;
            }
        }
        backwards[..n].reverse();
        cut(&backwards[..n], n_bytes)
    }
}

/// Leaves out the middle of what is too long.
fn cut<'a>(texts: &[&'a str], n_bytes: usize) -> Read<'a> {
    let mut read = Read {
        texts: [""; MOST_PIECES + 1],
        n: 0,
    };
    let mut push = |text: &'a str| {
        if !text.is_empty() && read.n < read.texts.len() {
            read.texts[read.n] = text;
            read.n += 1;
        }
    };
    if n_bytes <= LONGEST {
        texts.iter().copied().for_each(push);
        return read;
    }
    let (head, tail) = (HEAD, n_bytes - (LONGEST - HEAD));
    let mut start = 0;
    for text in texts {
        let end = start + text.len();
        // At most one text holds both cuts, so one slot more than pieces is enough.
        if start < head {
            push(&text[..text.floor_char_boundary(head.min(end) - start)]);
        }
        if tail < end {
            push(&text[text.ceil_char_boundary(tail.max(start) - start)..]);
        }
        start = end;
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(role: Role, text: &str) -> Piece<'_> {
        Piece { role, text }
    }

    fn read(pieces: &[Piece<'_>]) -> Vec<String> {
        let facts = PromptFacts::new(pieces);
        facts.read().texts().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_last_user_message_is_read_with_all_its_parts() {
        let long = "x".repeat(SHORT);
        let chat = [
            piece(Role::System, "be brief"),
            piece(Role::User, "first question"),
            piece(Role::Assistant, "an answer"),
            piece(Role::User, "one part"),
            piece(Role::User, &long),
            piece(Role::Other, "a tool's result"),
        ];
        assert_eq!(read(&chat), ["one part", &long]);
    }

    #[test]
    fn a_short_follow_up_is_read_with_the_question_before_it() {
        let chat = [
            piece(Role::User, "how do I sort a list of a thousand names in Rust?"),
            piece(Role::Assistant, "so"),
            piece(Role::User, "and in Python?"),
        ];
        assert_eq!(read(&chat).len(), 2);
        assert_eq!(read(&chat)[1], "and in Python?");
    }

    #[test]
    fn nothing_to_read_is_no_text() {
        assert!(read(&[]).is_empty());
        assert!(read(&[piece(Role::System, "be brief")]).is_empty());
        assert!(read(&[piece(Role::User, "")]).is_empty());
    }

    #[test]
    fn long_texts_lose_their_middle_on_character_borders() {
        let long = "é".repeat(10_000);
        let texts = read(&[piece(Role::User, "begin "), piece(Role::User, &long)]);
        let n: usize = texts.iter().map(String::len).sum();
        assert!((LONGEST - 4..=LONGEST).contains(&n), "{n}");
        assert_eq!(texts.len(), 3);
        let many: Vec<Piece> = (0..100).map(|_| piece(Role::User, &long)).collect();
        assert!(read(&many).iter().map(String::len).sum::<usize>() <= LONGEST);
    }
}
