//! Multiple choice: the letter that an answer settles on.

use std::sync::LazyLock;

use regex::Regex;

use super::exact;
use super::{Remark, Scored};

/// Forms in which a letter is stated, the clearest first; the last occurrence counts, because answers end with their result.
static FORMS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"\\boxed\s*\{\s*(?:\\text\s*\{)?\s*\(?([A-Za-z])\)?\s*\}",
        r"(?i:\b(?:answer|choice|option)\b(?:\s+(?:is|would\s+be|must\s+be))?\s*[:=]?\s*(?:option\s+)?)[\*_`\x22]*(?:\(([A-Za-z])\)|([A-Z])(?:[\*_`\x22.,:;)\s]|$))",
        r"^[\s\*_`\x22]*\(?([A-Za-z])(?:[\s]*$|[.):\]\*_`\x22])",
        r"\(([A-Z])\)",
        r"(?:^|[\s\*_`])([A-Z])[.):]?[\*_`]*\s*$",
    ]
    .iter()
    .map(|form| Regex::new(form).expect("a constant that a test compiles"))
    .collect()
});

/// 1 where the letter found is that of the reference, else 0; remarked upon where none was found.
pub(super) fn score(answer: &str, reference: &str) -> Scored {
    let right = letter_of(reference);
    match (chosen(answer), right) {
        (Some(chosen), Some(right)) => Scored::of(f64::from(u8::from(chosen == right))),
        // A reference that is no letter: the option's own words.
        (_, None) => Scored::of(exact::score(answer, reference)),
        (None, Some(_)) => Scored {
            score: Some(0.0),
            remark: Some(Remark::NoChoice),
        },
    }
}

fn letter_of(reference: &str) -> Option<char> {
    let bare = reference.trim().trim_matches(['(', ')', '.', ' ']);
    let mut letters = bare.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if letter.is_ascii_alphabetic() => Some(letter.to_ascii_uppercase()),
        _ => None,
    }
}

fn chosen(answer: &str) -> Option<char> {
    let of_form = |form: &Regex| {
        let last = form.captures_iter(answer).last()?;
        last.iter().skip(1).flatten().next()?.as_str().chars().next()
    };
    FORMS.iter().find_map(of_form).map(|letter| letter.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_letter_is_found_where_answers_put_it() {
        for (answer, letter) in [
            ("B", 'B'),
            ("b", 'B'),
            ("(C)", 'C'),
            ("D. because of gravity", 'D'),
            ("**A**", 'A'),
            ("Let's think. A is wrong, (B) may be. The answer is (C).", 'C'),
            ("First I thought the answer is A. No: the correct answer is D", 'D'),
            ("Answer: **E**", 'E'),
            ("so we get $\\boxed{F}$", 'F'),
            ("\\boxed{\\text{G}}", 'G'),
            ("I would choose option (J).", 'J'),
            ("Options (A) and (B) fail, hence (B)", 'B'),
            ("The final one is\n\nH", 'H'),
        ] {
            assert_eq!(chosen(answer), Some(letter), "{answer}");
        }
        for answer in ["", "I do not know", "A good question, that one", "none of them"] {
            assert_eq!(chosen(answer), None, "{answer}");
        }
    }

    #[test]
    fn an_unreadable_answer_is_wrong_and_counted() {
        assert_eq!(
            score("no idea", "(a)"),
            Scored {
                score: Some(0.0),
                remark: Some(Remark::NoChoice)
            }
        );
        assert_eq!(score("(A)", "a."), Scored::of(1.0));
        assert_eq!(score("Mars", "mars"), Scored::of(1.0));
    }
}
