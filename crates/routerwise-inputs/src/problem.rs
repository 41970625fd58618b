//! What is wrong with a file: where, what was found, what to do.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{Diagnostic, LabeledSpan, NamedSource, Severity, SourceCode};

/// One thing that is wrong (or, as a warning, doubtful) in one file.
#[derive(Clone, Debug)]
pub struct Problem {
    message: String,
    help: Option<String>,
    severity: Severity,
    file: PathBuf,
    /// The file's text and the part of it that is meant; absent for binary files and files that could not be read.
    excerpt: Option<Excerpt>,
}

#[derive(Clone, Debug)]
struct Excerpt {
    text: Arc<NamedSource<String>>,
    span: Range<usize>,
    label: String,
}

impl Problem {
    /// An error in `file`; `message` says what was found, lower case and without a final stop.
    #[must_use]
    pub fn new(file: &Path, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: None,
            severity: Severity::Error,
            file: file.to_owned(),
            excerpt: None,
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Makes it a warning: the inputs can be used as they are.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Points at a part of the file's text.
    #[must_use]
    pub(crate) fn at(mut self, text: &Arc<NamedSource<String>>, span: Range<usize>, label: impl Into<String>) -> Self {
        self.excerpt = Some(Excerpt {
            text: Arc::clone(text),
            span,
            label: label.into(),
        });
        self
    }

    /// Whether the inputs can be used in spite of it.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        self.severity == Severity::Warning
    }

    /// What was found.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    #[must_use]
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The file that it is in.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }
}

/// The message; with the file's name where no excerpt shows it.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.excerpt.is_none() {
            write!(f, "{}: ", self.file.display())?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        Some(self.severity)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.excerpt.as_ref().map(|excerpt| &*excerpt.text as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let excerpt = self.excerpt.as_ref()?;
        let label = LabeledSpan::new_with_span(Some(excerpt.label.clone()), excerpt.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

/// Everything that is wrong with the inputs; holds at least one error when returned as one.
#[derive(Clone, Debug, Default)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn push(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    /// Whether any of them forbids using the inputs.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| !problem.is_warning())
    }
}

/// `3 problems in the inputs`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.iter().filter(|problem| !problem.is_warning()).count() {
            1 => f.write_str("1 problem in the inputs"),
            n => write!(f, "{n} problems in the inputs"),
        }
    }
}

impl std::error::Error for Problems {}

impl Diagnostic for Problems {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn Diagnostic> + 'a>> {
        Some(Box::new(self.0.iter().map(|problem| problem as &dyn Diagnostic)))
    }
}
