//! Scoring by a judge model.
//!
//! The template decides what the judge sees. It either grades one answer on a scale, or says which of two answers is better. Where
//! two texts stand beside each other (two answers, or an answer and a reference), judges favour a place; so they are asked twice,
//! with the texts in both orders, and the mean counts.

use regex::Regex;
use routerwise_types::Fingerprint;
use routerwise_types::labels::{Endpoint, Question};

use super::{Remark, without_thoughts};
use crate::template::{Place, Template};

/// Title of the graded text in templates with `{first_title}`.
const ANSWER_TITLE: &str = "Answer to grade";
/// Title of the text beside it.
const REFERENCE_TITLE: &str = "Reference answer";

/// A judge and how it is asked.
#[derive(Debug)]
pub struct Judge {
    /// The model that judges.
    pub endpoint: Endpoint,
    template: Template,
    kind: Kind,
    swapped: bool,
    scale: Scale,
    verdict: Option<Regex>,
    /// The model that all are compared with; the reference where absent.
    pub(crate) baseline: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One answer, a number.
    Grade {
        /// Whether the template shows the reference too.
        shows_reference: bool,
    },
    /// Two answers, `A`, `B` or a tie.
    Compare,
}

/// Lowest and highest grade.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Becomes score 0.
    pub lowest: f64,
    /// Becomes score 1.
    pub highest: f64,
}

/// What is wrong with a judge's template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A word in braces that means nothing.
    #[error("`{{{0}}}` in the template means nothing")]
    UnknownPlace(String),
    /// It would judge without seeing.
    #[error("the template shows no answer")]
    NoAnswer,
    /// Half of two kinds.
    #[error("the template mixes `{0}` with `{1}`")]
    Mixed(&'static str, &'static str),
    /// One text of two.
    #[error("the template has `{0}` but not `{1}`")]
    Lacks(&'static str, &'static str),
    /// A fixed place for the reference.
    #[error("the template shows `{{reference}}` at a fixed place, so the texts cannot be shown in both orders")]
    FixedOrder,
    /// Compared with a model, but the template grades.
    #[error("the template compares with no other answer, so there is nothing to do with a baseline")]
    NoBaseline,
}

/// How a judge is asked.
#[derive(Debug)]
pub struct Asking {
    /// Grades.
    pub scale: Scale,
    /// Finds the verdict in a reply, in its first group; the usual forms where absent.
    pub verdict: Option<Regex>,
    /// Model that all others are compared with.
    pub baseline: Option<String>,
    /// Whether two texts are shown in both orders.
    pub both_orders: bool,
}

impl Judge {
    /// Checks a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(endpoint: Endpoint, template: &str, asking: Asking) -> Result<Self, TemplateError> {
        let template = Template::parse(template).map_err(TemplateError::UnknownPlace)?;
        let places = template.places();
        let has = |place| places.contains(&place);
        let pairs = [
            (Place::AnswerA, "{answer_a}", Place::AnswerB, "{answer_b}"),
            (Place::First, "{first}", Place::Second, "{second}"),
        ];
        for (one, one_name, other, other_name) in pairs {
            if has(one) != has(other) {
                let (there, lacking) = if has(one) {
                    (one_name, other_name)
                } else {
                    (other_name, one_name)
                };
                return Err(TemplateError::Lacks(there, lacking));
            }
        }
        let (compares, either) = (has(Place::AnswerA), has(Place::First));
        let fixed = has(Place::Answer) || has(Place::Reference);
        match (compares, either, fixed) {
            (false, false, false) => return Err(TemplateError::NoAnswer),
            (true, true, _) => return Err(TemplateError::Mixed("{answer_a}", "{first}")),
            (true, _, true) => return Err(TemplateError::Mixed("{answer_a}", "{answer} or {reference}")),
            (_, true, true) => return Err(TemplateError::Mixed("{first}", "{answer} or {reference}")),
            _ => {}
        }
        if either && !has(Place::FirstTitle) {
            return Err(TemplateError::Lacks("{first}", "{first_title}"));
        }
        if either && !has(Place::SecondTitle) {
            return Err(TemplateError::Lacks("{second}", "{second_title}"));
        }
        if fixed && !has(Place::Answer) {
            return Err(TemplateError::NoAnswer);
        }
        let shows_reference = either || has(Place::Reference);
        if has(Place::Reference) && asking.both_orders {
            return Err(TemplateError::FixedOrder);
        }
        if asking.baseline.is_some() && !compares {
            return Err(TemplateError::NoBaseline);
        }
        Ok(Self {
            endpoint,
            kind: if compares {
                Kind::Compare
            } else {
                Kind::Grade { shows_reference }
            },
            swapped: (compares || either) && asking.both_orders,
            template,
            scale: asking.scale,
            verdict: asking.verdict,
            baseline: asking.baseline,
        })
    }

    /// How often it is asked about one answer.
    #[must_use]
    pub fn asks_per_answer(&self) -> usize {
        1 + usize::from(self.swapped)
    }

    /// Whether it can judge nothing without a reference.
    pub(super) fn needs_reference(&self) -> bool {
        match self.kind {
            Kind::Grade { shows_reference } => shows_reference,
            Kind::Compare => self.baseline.is_none(),
        }
    }

    /// Length of the template, in bytes.
    pub(crate) fn template_len(&self) -> usize {
        self.template.text().len()
    }

    /// What it is asked about an answer, in each order; or why it cannot be.
    pub(crate) fn prompts(
        &self,
        question: &Question,
        answer: &str,
        other: Option<&str>,
    ) -> Result<Vec<String>, Remark> {
        let answer = without_thoughts(answer);
        let other = other.map(without_thoughts);
        let other = match (self.kind, other) {
            (Kind::Compare, None) => return Err(Remark::NoBaseline),
            (Kind::Grade { shows_reference: true }, None) => return Err(Remark::NoReference),
            (_, other) => other.unwrap_or_default(),
        };
        let filled = |swap: bool| {
            let (first, second) = if swap { (other, answer) } else { (answer, other) };
            let titles = if swap {
                (REFERENCE_TITLE, ANSWER_TITLE)
            } else {
                (ANSWER_TITLE, REFERENCE_TITLE)
            };
            self.template.fill(|place| match place {
                Place::Prompt => &question.text,
                Place::Answer => answer,
                Place::Reference => other,
                Place::First | Place::AnswerA => first,
                Place::Second | Place::AnswerB => second,
                Place::FirstTitle => titles.0,
                Place::SecondTitle => titles.1,
                Place::Source => question.source.as_deref().unwrap_or_default(),
            })
        };
        let orders = [false, true];
        Ok(orders[..self.asks_per_answer()]
            .iter()
            .map(|swap| filled(*swap))
            .collect())
    }

    /// Names one verdict in the journal.
    pub(crate) fn key(&self, prompt: &str) -> Fingerprint {
        let judge = &self.endpoint;
        Fingerprint::of(&(
            "verdict",
            (&judge.url, &judge.served_name, &judge.system),
            (judge.max_tokens, judge.temperature, &judge.extra),
            prompt,
        ))
    }

    /// The score that the replies give, in the order of [`Judge::prompts`]; all of them must be readable.
    pub(crate) fn score(&self, replies: &[&str]) -> Result<f64, Remark> {
        let mut sum = 0.0;
        for (ix, reply) in replies.iter().enumerate() {
            let read = self.read(without_thoughts(reply));
            let read = read.ok_or(Remark::VerdictUnreadable)?;
            sum += if ix == 1 && self.kind == Kind::Compare {
                1.0 - read
            } else {
                read
            };
        }
        #[expect(clippy::cast_precision_loss, reason = "one or two replies")]
        Ok(sum / replies.len() as f64)
    }

    /// Whether the two orders led to different verdicts.
    pub(crate) fn depends_on_order(&self, replies: &[&str]) -> bool {
        let [first, second] = replies else { return false };
        let of = |reply: &str| self.read(without_thoughts(reply));
        match (of(first), of(second)) {
            (Some(first), Some(second)) if self.kind == Kind::Compare => (first - (1.0 - second)).abs() > 1e-9,
            (Some(first), Some(second)) => (first - second).abs() > 1e-9,
            _ => false,
        }
    }

    /// A verdict as a score; for two answers that of the one called A.
    fn read(&self, reply: &str) -> Option<f64> {
        match self.kind {
            Kind::Compare => self.winner(reply),
            Kind::Grade { .. } => self.grade(reply),
        }
    }

    fn winner(&self, reply: &str) -> Option<f64> {
        let word = self.found(reply, &[r"\[\[\s*([A-Za-z]+)\s*\]\]", r"^\W*([A-Za-z]+)\W*$"])?;
        match word.trim().to_lowercase().as_str() {
            "a" => Some(1.0),
            "b" => Some(0.0),
            "c" | "tie" | "equal" | "draw" => Some(0.5),
            _ => None,
        }
    }

    fn grade(&self, reply: &str) -> Option<f64> {
        const FORMS: [&str; 4] = [
            r"\[\[\s*(-?[0-9]+(?:\.[0-9]+)?)\s*\]\]",
            r#"(?i)"?\b(?:score|rating|grade)\b"?[\s\*_]*(?:[:=]|is)[\s\*_"]*(-?[0-9]+(?:\.[0-9]+)?)"#,
            r"^\W*?(-?[0-9]+(?:\.[0-9]+)?)\W*$",
            r"(-?[0-9]+(?:\.[0-9]+)?)\s*/\s*[0-9]+\W*$",
        ];
        let grade: f64 = self.found(reply, &FORMS)?.trim().parse().ok()?;
        let Scale { lowest, highest } = self.scale;
        (lowest <= grade && grade <= highest).then(|| (grade - lowest) / (highest - lowest))
    }

    /// What the user's expression or the first of the usual forms finds last.
    fn found<'a>(&self, reply: &'a str, forms: &[&str]) -> Option<&'a str> {
        let last = |form: &Regex| {
            let last = form.captures_iter(reply).last()?;
            Some(last.get(1)?.as_str())
        };
        match &self.verdict {
            Some(form) => last(form),
            None => forms
                .iter()
                .find_map(|form| last(&Regex::new(form).expect("a constant that tests use"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use routerwise_types::Seconds;

    use super::*;

    fn judge(template: &str, both_orders: bool) -> Result<Judge, TemplateError> {
        let endpoint = Endpoint {
            name: "judge".into(),
            url: "http://localhost/v1".into(),
            served_name: "judge".into(),
            key_env: None,
            system: None,
            requests_per_second: None,
            concurrency: 1,
            max_tokens: 100,
            temperature: 0.0,
            timeout: Seconds::new(1.0).unwrap(),
            price: None,
            extra: serde_json::Map::new(),
        };
        let asking = Asking {
            scale: Scale {
                lowest: 1.0,
                highest: 5.0,
            },
            verdict: None,
            baseline: None,
            both_orders,
        };
        Judge::new(endpoint, template, asking)
    }

    fn question() -> Question {
        Question {
            id: "1".into(),
            text: "2+2?".into(),
            chat: None,
            reference: Some("4".into()),
            source: None,
            weight: 1.0,
        }
    }

    const WITH_REFERENCE: &str = "{prompt}|{first_title}:{first}|{second_title}:{second}";

    #[test]
    fn a_grade_is_read_in_the_usual_forms_and_scaled() {
        let judge = judge("{prompt} {answer}", true).unwrap();
        assert_eq!(judge.asks_per_answer(), 1);
        for reply in [
            "I say [[2]] ... no, [[4]]",
            "Score: 4",
            "{\"reason\": \"x\", \"score\": 4}",
            "**Rating:** 4",
            "4",
            "4.",
            "It is good: 4/5",
            "<think>score: 1</think> [[4]]",
        ] {
            assert_eq!(judge.score(&[reply]), Ok(0.75), "{reply}");
        }
        for reply in ["", "good", "[[6]]", "[[0]]", "there are 4 reasons"] {
            assert_eq!(judge.score(&[reply]), Err(Remark::VerdictUnreadable), "{reply}");
        }
    }

    #[test]
    fn two_answers_are_shown_in_both_orders_and_a_favoured_place_cancels_out() {
        let judge = judge("{prompt} A: {answer_a} B: {answer_b}", true).unwrap();
        let prompts = judge.prompts(&question(), "four", Some("five")).unwrap();
        assert_eq!(prompts, ["2+2? A: four B: five", "2+2? A: five B: four"]);
        assert_eq!(judge.score(&["[[A]]", "[[B]]"]), Ok(1.0));
        assert_eq!(judge.score(&["[[B]]", "A"]), Ok(0.0));
        assert_eq!(judge.score(&["[[A]]", "[[A]]"]), Ok(0.5));
        assert_eq!(judge.score(&["[[A]]", "[[tie]]"]), Ok(0.75));
        assert!(judge.depends_on_order(&["[[A]]", "[[A]]"]) && !judge.depends_on_order(&["[[A]]", "[[B]]"]));
        assert_eq!(judge.score(&["[[A]]", "both"]), Err(Remark::VerdictUnreadable));
        assert_eq!(judge.prompts(&question(), "x", None), Err(Remark::NoBaseline));
    }

    #[test]
    fn a_reference_is_shown_in_both_orders_too() {
        let judge = judge(WITH_REFERENCE, true).unwrap();
        let prompts = judge.prompts(&question(), "four", Some("4")).unwrap();
        assert_eq!(prompts[0], "2+2?|Answer to grade:four|Reference answer:4");
        assert_eq!(prompts[1], "2+2?|Reference answer:4|Answer to grade:four");
        assert_eq!(judge.score(&["[[5]]", "[[3]]"]), Ok(0.75));
    }

    #[test]
    fn templates_that_cannot_work_are_refused() {
        let error = |template: &str| judge(template, true).unwrap_err();
        assert_eq!(error("{prompt} {answr}"), TemplateError::UnknownPlace("answr".into()));
        assert_eq!(error("{prompt}"), TemplateError::NoAnswer);
        assert_eq!(error("{answer_a}"), TemplateError::Lacks("{answer_a}", "{answer_b}"));
        assert_eq!(error("{answer} {reference}"), TemplateError::FixedOrder);
        assert_eq!(
            error("{first} {second}"),
            TemplateError::Lacks("{first}", "{first_title}")
        );
        assert!(matches!(
            error("{answer_a}{answer_b}{answer}"),
            TemplateError::Mixed(..)
        ));
        assert_eq!(judge("{answer} {reference}", false).unwrap().asks_per_answer(), 1);
    }
}
