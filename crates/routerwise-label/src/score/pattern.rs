//! Scoring by a regular expression.

use regex::Regex;

use super::exact;
use super::{Remark, Scored};

/// Stands for the prompt's reference in an expression.
const REFERENCE: &str = "{reference}";

/// A regular expression: what it captures is compared with the reference, and without a capture it only has to match.
#[derive(Debug)]
pub struct Pattern {
    text: String,
    /// Compiled once where it does not hold the reference.
    fixed: Option<Regex>,
}

impl Pattern {
    /// Checks an expression.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        let tried = Regex::new(&text.replace(REFERENCE, "x"))?;
        Ok(Self {
            text: text.to_owned(),
            fixed: (!text.contains(REFERENCE)).then_some(tried),
        })
    }

    pub(super) fn needs_reference(&self) -> bool {
        self.fixed.as_ref().is_none_or(|fixed| fixed.captures_len() > 1)
    }

    pub(super) fn score(&self, answer: &str, reference: Option<&str>) -> Scored {
        let Some(fixed) = &self.fixed else {
            let Some(reference) = reference else {
                return Scored::none(Remark::NoReference);
            };
            let filled = self.text.replace(REFERENCE, &regex::escape(reference.trim()));
            let matches = Regex::new(&filled).is_ok_and(|filled| filled.is_match(answer));
            return Scored::of(f64::from(u8::from(matches)));
        };
        if fixed.captures_len() == 1 {
            return Scored::of(f64::from(u8::from(fixed.is_match(answer))));
        }
        let Some(reference) = reference else {
            return Scored::none(Remark::NoReference);
        };
        // The last one counts: answers end with their result.
        let last = fixed.captures_iter(answer).last();
        let captured = last.and_then(|found| found.iter().skip(1).flatten().next().map(|part| part.as_str()));
        Scored::of(captured.map_or(0.0, |captured| exact::score(captured, reference)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_compared_with_the_reference() {
        let pattern = Pattern::new(r"####\s*(\S+)").unwrap();
        assert_eq!(pattern.score("#### 3\nno: #### 1,200", Some("1200")), Scored::of(1.0));
        assert_eq!(pattern.score("1200", Some("1200")), Scored::of(0.0));
        assert_eq!(pattern.score("#### 3", None), Scored::none(Remark::NoReference));
    }

    #[test]
    fn without_a_group_it_has_to_match() {
        let pattern = Pattern::new(r"(?i)^yes\b").unwrap();
        assert_eq!(pattern.score("Yes, it is", None), Scored::of(1.0));
        assert_eq!(pattern.score("no", None), Scored::of(0.0));
    }

    #[test]
    fn the_reference_may_be_part_of_it() {
        let pattern = Pattern::new(r"\b{reference}\b").unwrap();
        assert_eq!(pattern.score("it is 3.5 m", Some("3.5")), Scored::of(1.0));
        assert_eq!(pattern.score("it is 315 m", Some("3.5")), Scored::of(0.0));
        assert!(Pattern::new("(").is_err());
    }
}
