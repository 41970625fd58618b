//! Values that know their place, read into what they should be.

use std::ops::{Range, RangeInclusive};

use toml::de::DeValue;
use toml::value::{Datetime, Offset};

use super::{Document, Table, quoted};
use crate::quantity::{self, Unit};

/// A value that knows its place.
#[derive(Debug)]
pub(crate) struct Value<'d> {
    pub(super) document: &'d Document,
    pub(super) key: &'static str,
    pub(super) what: String,
    pub(super) span: Range<usize>,
    pub(super) value: DeValue<'d>,
}

impl<'d> Value<'d> {
    /// Notes what is wrong with this value, and what to do.
    pub(crate) fn refuse<T>(&self, message: impl Into<String>, help: impl Into<String>) -> Option<T> {
        let problem = self.document.problem(message).help(help);
        self.document.note(self.span.clone(), "declared here", problem);
        None
    }

    /// Notes what is doubtful about this value.
    pub(crate) fn warn(&self, message: impl Into<String>, help: impl Into<String>) {
        let problem = self.document.problem(message).help(help).warning();
        self.document.note(self.span.clone(), "declared here", problem);
    }

    /// Notes what was found in place of what was expected.
    fn wrong_kind<T>(&self, expected: &str) -> Option<T> {
        let found = match &self.value {
            DeValue::String(text) => format!("the text \"{text}\""),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date".into(),
            DeValue::Array(_) => "a list".into(),
            DeValue::Table(_) => "a table".into(),
        };
        self.refuse(
            format!("`{}` of the {} is {found}", self.key, self.what),
            format!("write {expected}"),
        )
    }

    pub(crate) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    pub(crate) fn text(&self) -> Option<&str> {
        self.value.as_str()
    }

    /// Text that is not empty.
    pub(crate) fn string(&self) -> Option<String> {
        match self.value.as_str().map(str::trim) {
            Some("") => self.refuse(
                format!("`{}` of the {} is empty", self.key, self.what),
                "write at least one character",
            ),
            Some(text) => Some(text.to_owned()),
            None => self.wrong_kind("a text in quotes"),
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.wrong_kind("`true` or `false`"))
    }

    /// Whether it is `false`, which switches off what would otherwise have a value.
    pub(crate) fn is_false(&self) -> bool {
        self.value.as_bool() == Some(false)
    }

    /// A date, with or without a time, in seconds since 1970; without an offset it is UTC.
    pub(crate) fn moment(&self) -> Option<u64> {
        let moment = match &self.value {
            DeValue::Datetime(moment) => seconds_since_1970(moment),
            _ => None,
        };
        moment.or_else(|| {
            self.wrong_kind("a date from 1970 on without quotes, such as 2027-01-31 or 2027-01-31T12:00:00Z")
        })
    }

    /// A whole number in a range.
    pub(crate) fn integer(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let bounds = format!("a whole number from {} to {}", range.start(), range.end());
        let number = match &self.value {
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => None,
        };
        match number.and_then(|number| u32::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Some(number),
            _ => self.wrong_kind(&bounds),
        }
    }

    /// A number with a unit (`"250 ms"`), or a plain one in the unit's base.
    pub(crate) fn quantity(&self, unit: &Unit) -> Option<f64> {
        let parsed = match &self.value {
            DeValue::String(text) => quantity::parse(text, unit),
            DeValue::Integer(number) if unit.takes_plain_numbers() => number.as_str().parse().ok(),
            DeValue::Float(number) if unit.takes_plain_numbers() => number.as_str().parse().ok(),
            _ => None,
        };
        match parsed {
            Some(value) if unit.accepts(value) => Some(value),
            _ => self.wrong_kind(unit.expected()),
        }
    }

    /// One of several words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let found = self
            .value
            .as_str()
            .and_then(|text| choices.iter().find(|(name, _)| *name == text));
        match found {
            Some((_, choice)) => Some(*choice),
            None => self.wrong_kind(&format!("one of {}", quoted(choices.iter().map(|(name, _)| *name)))),
        }
    }

    /// The entries of a list that must not be empty.
    pub(crate) fn list(self) -> Option<Vec<Value<'d>>> {
        let Self {
            document,
            key,
            what,
            span,
            value,
        } = self;
        match value {
            DeValue::Array(entries) if !entries.is_empty() => Some(
                entries
                    .into_iter()
                    .map(|entry| Value {
                        document,
                        key,
                        what: what.clone(),
                        span: entry.span(),
                        value: entry.into_inner(),
                    })
                    .collect(),
            ),
            DeValue::Array(_) => {
                let problem = document.problem(format!("`{key}` of the {what} is empty"));
                document.note(span, "declared here", problem.help("write at least one entry"));
                None
            }
            value => Value {
                document,
                key,
                what,
                span,
                value,
            }
            .wrong_kind(&format!(
                "a list in [brackets], or `[[{key}]]` over each of several tables"
            )),
        }
    }

    /// A table, called by its key and what the key is of.
    pub(crate) fn table(self) -> Option<Table<'d>> {
        if !self.value.is_table() {
            return self.wrong_kind("a table");
        }
        match self.value {
            DeValue::Table(entries) => Some(Table {
                document: self.document,
                what: format!("`{}` of the {}", self.key, self.what),
                key_span: self.span,
                entries,
                known: Vec::new(),
            }),
            _ => None,
        }
    }

    /// The value as a program would write it; dates become texts.
    pub(crate) fn json(&self) -> serde_json::Value {
        json(&self.value)
    }

    /// The place of the value, for problems that are found after it was read.
    pub(crate) fn place(&self) -> Self {
        Self {
            document: self.document,
            key: self.key,
            what: self.what.clone(),
            span: self.span.clone(),
            value: DeValue::Boolean(false),
        }
    }

    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// What the value is of, such as "model `llama-8b`".
    pub(crate) fn what(&self) -> &str {
        &self.what
    }
}

fn json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => {
            i64::from_str_radix(number.as_str(), number.radix()).map_or(serde_json::Value::Null, Into::into)
        }
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .map_or(serde_json::Value::Null, Into::into),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Array(entries) => entries.iter().map(|entry| json(entry.get_ref())).collect(),
        DeValue::Table(entries) => entries
            .iter()
            .map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref())))
            .collect(),
    }
}

fn seconds_since_1970(moment: &Datetime) -> Option<u64> {
    let date = moment.date?;
    let (hour, minute, second) = moment
        .time
        .map_or((0, 0, 0), |time| (time.hour, time.minute, time.second.unwrap_or(0)));
    let offset_minutes = match moment.offset {
        Some(Offset::Custom { minutes }) => i64::from(minutes),
        Some(Offset::Z) | None => 0,
    };
    // Days of the Gregorian calendar, with years that begin in March so that the leap day is the last one.
    let (year, month, day) = (i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let minutes = (days * 24 + i64::from(hour)) * 60 + i64::from(minute) - offset_minutes;
    u64::try_from(minutes * 60 + i64::from(second)).ok()
}
