//! A judge's prompt with places that are filled for each answer.

use std::collections::BTreeSet;

use regex::Regex;

/// A place in a template, written `{name}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The user's prompt.
    Prompt,
    /// The answer that is graded.
    Answer,
    /// The reference answer.
    Reference,
    /// The text shown first: the answer, or in the other order the reference.
    First,
    /// The text shown second.
    Second,
    /// What the first text is.
    FirstTitle,
    /// What the second text is.
    SecondTitle,
    /// The answer called A: the graded one, or in the other order the one that it is compared with.
    AnswerA,
    /// The answer called B.
    AnswerB,
    /// Where the prompt comes from.
    Source,
}

const PLACES: [(&str, Place); 10] = [
    ("prompt", Place::Prompt),
    ("answer", Place::Answer),
    ("reference", Place::Reference),
    ("first", Place::First),
    ("second", Place::Second),
    ("first_title", Place::FirstTitle),
    ("second_title", Place::SecondTitle),
    ("answer_a", Place::AnswerA),
    ("answer_b", Place::AnswerB),
    ("source", Place::Source),
];

/// A text with places, in order.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Place(Place),
}

impl Template {
    /// Finds the places of a text. `{{word}}` stands for `{word}` itself; braces around anything but a lower-case word are text.
    ///
    /// # Errors
    /// The first word in braces that is no place.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let braces = Regex::new(r"\{\{[a-z_]+\}\}|\{([a-z_]+)\}").expect("a constant that tests use");
        let mut parts = Vec::new();
        let mut from = 0;
        for found in braces.captures_iter(text) {
            let whole = found.get(0).expect("every match has a whole");
            parts.push(Part::Text(text[from..whole.start()].to_owned()));
            from = whole.end();
            let Some(word) = found.get(1) else {
                let inner = whole.as_str();
                parts.push(Part::Text(inner[1..inner.len() - 1].to_owned()));
                continue;
            };
            let place = PLACES.iter().find(|(name, _)| *name == word.as_str());
            let (_, place) = place.ok_or_else(|| word.as_str().to_owned())?;
            parts.push(Part::Place(*place));
        }
        parts.push(Part::Text(text[from..].to_owned()));
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The places that it has.
    pub(crate) fn places(&self) -> BTreeSet<Place> {
        let places = self.parts.iter().filter_map(|part| match part {
            Part::Place(place) => Some(*place),
            Part::Text(_) => None,
        });
        places.collect()
    }

    /// The text with its places filled. What is filled in is not searched for places again.
    pub(crate) fn fill<'a>(&self, of: impl Fn(Place) -> &'a str) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            filled.push_str(match part {
                Part::Text(text) => text,
                Part::Place(place) => of(*place),
            });
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_once_and_other_braces_are_text() {
        let template = Template::parse("Q: {prompt} A: {answer} reply {\"score\": 1} or {{score}}").unwrap();
        let filled = template.fill(|place| {
            if place == Place::Prompt {
                "what is {answer}?"
            } else {
                "four"
            }
        });
        assert_eq!(filled, "Q: what is {answer}? A: four reply {\"score\": 1} or {score}");
        assert_eq!(template.places().len(), 2);
    }

    #[test]
    fn an_unknown_place_is_named() {
        assert_eq!(Template::parse("{prompt} {anwser}").unwrap_err(), "anwser");
    }
}
