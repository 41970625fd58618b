//! From an answer to a score in [0, 1].

pub mod command;
pub mod judge;

mod choice;
mod exact;
mod pattern;

use std::fmt;

use routerwise_types::labels::Question;

use crate::chat::Answer;
pub use command::Command;
pub use judge::Judge;
pub use pattern::Pattern;

/// How answers are scored.
#[derive(Debug)]
pub enum Scorer {
    /// Equal to the reference, but for case, space and the way a number is written.
    Exact,
    /// The letter of an option, found in the answer.
    Choice,
    /// By a regular expression.
    Pattern(Pattern),
    /// By a program of the user's.
    Command(Command),
    /// By another model.
    Judge(Box<Judge>),
}

impl Scorer {
    /// Its name on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Choice => "choice",
            Self::Pattern(_) => "regex",
            Self::Command(_) => "command",
            Self::Judge(_) => "judge",
        }
    }

    /// Whether an answer cannot be scored without a reference.
    #[must_use]
    pub fn needs_reference(&self) -> bool {
        match self {
            Self::Exact | Self::Choice => true,
            Self::Pattern(pattern) => pattern.needs_reference(),
            Self::Command(_) => false,
            Self::Judge(judge) => judge.needs_reference(),
        }
    }
}

/// Why an answer has no score, or one that says less than it seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remark {
    /// The prompt has no reference to compare with.
    NoReference,
    /// No option could be read in the answer: score 0.
    NoChoice,
    /// The command said that this answer cannot be scored.
    Abstained,
    /// The command ended with an error.
    CommandFailed,
    /// The command did not end in time.
    CommandLate,
    /// The command printed no number in [0, 1].
    CommandUnreadable,
    /// The judge was not asked, or could not be.
    NotJudged,
    /// The judge's verdict could not be read.
    VerdictUnreadable,
    /// There is no answer to compare with.
    NoBaseline,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoReference => "no reference to compare with",
            Self::NoChoice => "no option found in the answer, counted as wrong",
            Self::Abstained => "left without a score by the command",
            Self::CommandFailed => "the command failed",
            Self::CommandLate => "the command took too long",
            Self::CommandUnreadable => "the command printed no number from 0 to 1",
            Self::NotJudged => "no verdict could be had",
            Self::VerdictUnreadable => "verdict unreadable",
            Self::NoBaseline => "no answer to compare with",
        })
    }
}

/// A score, and what is to be said about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// In [0, 1], where there is one.
    pub score: Option<f64>,
    /// Why not, or what is odd.
    pub remark: Option<Remark>,
}

impl Scored {
    pub(crate) fn of(score: f64) -> Self {
        Self {
            score: Some(score),
            remark: None,
        }
    }

    pub(crate) fn none(remark: Remark) -> Self {
        Self {
            score: None,
            remark: Some(remark),
        }
    }
}

/// Scores by rules that need nothing but the texts; `None` for those that do.
pub(crate) fn by_rule(scorer: &Scorer, question: &Question, answer: &Answer) -> Option<Scored> {
    let text = without_thoughts(&answer.text);
    let reference = question.reference.as_deref();
    match scorer {
        Scorer::Pattern(pattern) => Some(pattern.score(text, reference)),
        Scorer::Exact | Scorer::Choice => Some(match (reference, scorer) {
            (None, _) => Scored::none(Remark::NoReference),
            (Some(reference), Scorer::Exact) => Scored::of(exact::score(text, reference)),
            (Some(reference), _) => choice::score(text, reference),
        }),
        Scorer::Command(_) | Scorer::Judge(_) => None,
    }
}

/// What follows a reasoning model's thoughts, where these are part of the answer.
pub(crate) fn without_thoughts(text: &str) -> &str {
    match text.rsplit_once("</think>") {
        Some((_, rest)) => rest.trim(),
        None => text.trim(),
    }
}
