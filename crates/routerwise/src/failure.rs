//! How a command ends: an answer, or a failure that is printed once. Exit codes are interface.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;

use miette::Diagnostic;
use routerwise_inputs::Problems;

/// What a command concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Done. Exit code 0.
    Yes,
    /// Done, and the answer is no (no plan exists, a check found something). Exit code 1.
    No,
}

impl Answer {
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::Yes => ExitCode::SUCCESS,
            Self::No => ExitCode::from(1),
        }
    }
}

/// Why a command did not come to an answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The input files are wrong. Exit code 2.
    Inputs(Problems),
    /// The request cannot be served as it was put. Exit code 2.
    Request {
        /// What was found.
        what: String,
        /// What to do.
        help: String,
    },
    /// Disk, memory or another program failed. Exit code 3.
    Environment {
        /// What was being done.
        doing: String,
        /// What went wrong.
        source: io::Error,
    },
    /// Something outside this process ended the work before its end. Exit code 3.
    Stopped {
        /// What was found, and what is kept.
        what: String,
        /// What to do.
        help: String,
    },
    /// Whoever read our output has stopped reading. Exit code 0, silently: `routerwise check … | head` is no error.
    OutputClosed,
}

impl Failure {
    /// What went wrong while `doing` something outside this process.
    pub(crate) fn environment(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Environment { doing, source }
    }

    /// Prints the failure to standard error and says how to exit.
    pub(crate) fn report(self) -> ExitCode {
        let code = match &self {
            Self::Inputs(_) | Self::Request { .. } => 2,
            Self::Environment { .. } | Self::Stopped { .. } => 3,
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        let report = match self {
            Self::Inputs(problems) => miette::Report::new(problems),
            other => miette::Report::new(other),
        };
        // Nothing is left to tell anybody when standard error is closed too.
        let _ = writeln!(io::stderr(), "{report:?}");
        ExitCode::from(code)
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Inputs(problems)
    }
}

/// For `writeln!(out, …)?`: commands write nothing but their standard output without naming what they do.
impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::Environment {
                doing: "writing to standard output".into(),
                source,
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inputs(problems) => problems.fmt(f),
            Self::Request { what, .. } | Self::Stopped { what, .. } => f.write_str(what),
            Self::Environment { doing, .. } => write!(f, "failed {doing}"),
            Self::OutputClosed => f.write_str("standard output was closed"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Environment { source, .. } => Some(source),
            Self::Inputs(_) | Self::Request { .. } | Self::Stopped { .. } | Self::OutputClosed => None,
        }
    }
}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        match self {
            Self::Request { help, .. } | Self::Stopped { help, .. } => Some(Box::new(help)),
            Self::Inputs(_) | Self::Environment { .. } | Self::OutputClosed => None,
        }
    }
}
