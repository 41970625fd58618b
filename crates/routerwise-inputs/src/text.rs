//! Reading TOML so that every problem of a file is reported at once, each at its place.
//!
//! Derived deserialisation stops at the first wrong value or unknown key. Here a file is parsed once into values that know their
//! place, and each reader takes the keys it knows out of its table: what is wrong is noted and reading goes on, and what is left
//! at the end was unknown. `None` from any function means: absent, or noted already.

mod value;

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::NamedSource;
use toml::de::DeTable;

use crate::defaults::{Default, InForce};
use crate::problem::Problem;

pub(crate) use value::Value;

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

    /// Whether a key is there and not taken yet.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
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
