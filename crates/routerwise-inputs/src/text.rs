//! Reading TOML so that every problem of a file is reported at once, each at its place.
//!
//! Derived deserialisation stops at the first wrong value or unknown key. Here a file is parsed once into values that know their
//! place, and each reader takes the keys it knows out of its table: what is wrong is noted and reading goes on, and what is left
//! at the end was unknown. `None` from any function means: absent, or noted already.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::NamedSource;
use toml::de::{DeTable, DeValue};

use crate::defaults::{Default, InForce};
use crate::problem::Problem;
use crate::quantity::{self, Unit};

/// One text file, the problems found in it so far and the defaults that it left in force.
#[derive(Debug)]
pub(crate) struct Document {
    path: PathBuf,
    text: Arc<NamedSource<String>>,
    problems: RefCell<Vec<(usize, Problem)>>,
    defaults: RefCell<Vec<InForce>>,
}

impl Document {
    pub(crate) fn new(path: &Path, text: String) -> Self {
        Self {
            path: path.to_owned(),
            text: Arc::new(NamedSource::new(path.display().to_string(), text)),
            problems: RefCell::new(Vec::new()),
            defaults: RefCell::new(Vec::new()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Notes a problem at a place; all are returned in the order of the file.
    pub(crate) fn note(&self, span: Range<usize>, label: &str, problem: Problem) {
        let start = span.start;
        self.problems
            .borrow_mut()
            .push((start, problem.at(&self.text, span, label)));
    }

    /// A problem in this file that has yet to be given its place.
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        Problem::new(&self.path, message)
    }

    /// The file's table. Syntax errors are noted, all of them; with one there is no table, because what else would be found wrong
    /// would only follow from it.
    pub(crate) fn root(&self) -> Option<Table<'_>> {
        let (table, errors) = DeTable::parse_recoverable(self.text.inner());
        for error in errors {
            let problem = self
                .problem(format!("not valid TOML: {}", error.message()))
                .help("strings stand in quotes, tables in [brackets], lists of tables in [[double brackets]]");
            self.note(error.span().unwrap_or(0..0), "here", problem);
        }
        (!self.has_errors()).then(|| Table {
            document: self,
            what: "file".into(),
            key_span: 0..0,
            entries: table.into_inner(),
            known: Vec::new(),
        })
    }

    /// What was found: problems in the order of the file, and defaults in force.
    pub(crate) fn finish(self) -> (Vec<Problem>, Vec<InForce>) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|(start, _)| *start);
        let problems = problems.into_iter().map(|(_, problem)| problem).collect();
        (problems, self.defaults.into_inner())
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.problems.borrow().iter().any(|(_, problem)| !problem.is_warning())
    }
}

/// A table that is being read.
#[derive(Debug)]
pub(crate) struct Table<'d> {
    document: &'d Document,
    /// What it describes, such as "model `llama-8b`".
    what: String,
    key_span: Range<usize>,
    entries: DeTable<'d>,
    known: Vec<&'static str>,
}

impl<'d> Table<'d> {
    /// Takes a key's value out, if it is there.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Value<'d>> {
        self.known.push(key);
        let (_, value) = self.entries.remove_entry(key)?;
        Some(Value {
            document: self.document,
            key,
            what: self.what.clone(),
            span: value.span(),
            value: value.into_inner(),
        })
    }

    /// Takes a key's value out; its absence is a problem, and `example` shows how to write it.
    pub(crate) fn require(&mut self, key: &'static str, example: &str) -> Option<Value<'d>> {
        let found = self.take(key);
        if found.is_none() {
            let problem = self.document.problem(format!("the {} has no `{key}`", self.what));
            self.note(problem.help(format!("add `{key} = {example}`")));
        }
        found
    }

    /// Takes a key's value out and reads it: `Some(None)` when it is absent, `None` when it is wrong.
    pub(crate) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&Value<'d>) -> Option<T>,
    ) -> Option<Option<T>> {
        self.take(key).map_or(Some(None), |value| read(&value).map(Some))
    }

    /// Takes a key's value out and reads it: `usual` when it is absent, and a problem when there is no usual one.
    pub(crate) fn or_usual<T>(
        &mut self,
        key: &'static str,
        example: &str,
        usual: Option<T>,
        read: impl FnOnce(&Value<'d>) -> Option<T>,
    ) -> Option<T> {
        match usual {
            Some(usual) => self.take(key).map_or(Some(usual), |value| read(&value)),
            None => self.require(key, example).and_then(|value| read(&value)),
        }
    }

    /// Takes the name out, which must be there, and is what the table is called from then on.
    pub(crate) fn name(&mut self, kind: &str) -> Option<String> {
        self.what = kind.into();
        let name = self
            .require("name", &format!("\"my-{}\"", kind.replace(' ', "-")))
            .and_then(|value| value.string())?;
        self.what = format!("{kind} `{name}`");
        Some(name)
    }

    /// Takes a key's value out and reads it, or puts the default in force.
    pub(crate) fn or_default<T: Clone + fmt::Display>(
        &mut self,
        key: &'static str,
        default: &Default<T>,
        read: impl FnOnce(&Value<'d>) -> Option<T>,
    ) -> Option<T> {
        if let Some(value) = self.take(key) {
            return read(&value);
        }
        self.put_in_force(key, default.value.to_string(), default.why);
        Some(default.value.clone())
    }

    /// Records that a value was not written and which one stands in for it.
    pub(crate) fn put_in_force(&self, key: &'static str, value: String, why: &'static str) {
        self.document.defaults.borrow_mut().push(InForce {
            of: self.what.clone(),
            key,
            value,
            why,
        });
    }

    /// A table that was not written, so that all in it is by default.
    pub(crate) fn empty(&self, key: &'static str) -> Self {
        Self {
            document: self.document,
            what: format!("`{key}` of the {}", self.what),
            key_span: self.key_span.clone(),
            entries: DeTable::new(),
            known: Vec::new(),
        }
    }

    /// What the table describes, such as "model `llama-8b`".
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// The place of the table's header.
    pub(crate) fn span(&self) -> Range<usize> {
        self.key_span.clone()
    }

    /// Notes a problem of the table as a whole.
    pub(crate) fn note(&self, problem: Problem) {
        self.document.note(self.key_span.clone(), "declared here", problem);
    }

    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        self.document.problem(message)
    }

    /// Notes a problem of something in the table.
    pub(crate) fn note_at(&self, span: Range<usize>, problem: Problem) {
        self.document.note(span, "declared here", problem);
    }

    /// Reports the keys that nobody took.
    pub(crate) fn finish(&mut self) {
        for (key, _) in std::mem::take(&mut self.entries) {
            let span = key.span();
            let key = key.into_inner();
            let mut known = self.known.clone();
            known.sort_unstable();
            let help = match nearest(&key, known.iter().copied()) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("known here: {}", quoted(known)),
            };
            let problem = self
                .document
                .problem(format!("the {} has an unknown key `{key}`", self.what));
            self.document.note(span, "unknown key", problem.help(help));
        }
    }
}

/// A value that knows its place.
#[derive(Debug)]
pub(crate) struct Value<'d> {
    document: &'d Document,
    key: &'static str,
    what: String,
    span: Range<usize>,
    value: DeValue<'d>,
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

    /// `` `rate` of the file must be a rate``-style message for a value of the wrong kind.
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

    /// A whole number in a range.
    pub(crate) fn integer(&self, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
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
            DeValue::Integer(number) => number.as_str().parse().ok(),
            DeValue::Float(number) => number.as_str().parse().ok(),
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
            .wrong_kind("a list in [brackets]"),
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

/// `` `a`, `b` ``.
pub(crate) fn quoted<S: fmt::Display>(names: impl IntoIterator<Item = S>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// The known name that is most like a misspelt one, if any is.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (strsim::jaro_winkler(known, name), known))
        .filter(|(similarity, _)| *similarity > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
