//! Starting other programs, and how a chore fails.

use std::fmt;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

/// Why a chore did not succeed; the exit codes are those of the `routerwise` binary.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The check ran and the answer is no.
    Found(String),
    /// The command line is wrong.
    Usage(String),
    /// A program or a file that the chore needs is not usable.
    Environment(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Found(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            Self::Environment(_) => ExitCode::from(3),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Found(text) | Self::Usage(text) | Self::Environment(text)) = self;
        f.write_str(text)
    }
}

/// The folder that holds the workspace's manifest.
pub(crate) fn root() -> PathBuf {
    // Cargo sets it for `cargo run`; the value of the build may be another clone that shares the target folder.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let mut root = PathBuf::from(here);
    root.pop();
    root
}

/// Cargo, started in the root of the workspace.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root());
    command
}

/// Shows the command, runs it with this process's streams, and fails unless it succeeds.
pub(crate) fn run(mut command: Command) -> Result<(), Failure> {
    eprintln!("$ {}", shown(&command));
    let status = command.status().map_err(|error| not_started(&command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Failure::Found(format!("`{}` failed ({status})", shown(&command))))
    }
}

/// Whether the command can be started and succeeds; its output is thrown away.
pub(crate) fn succeeds(mut command: Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// What the command prints to standard output.
pub(crate) fn output(mut command: Command) -> Result<String, Failure> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| not_started(&command, &error))?;
    if !output.status.success() {
        return Err(Failure::Environment(format!(
            "`{}` failed ({})",
            shown(&command),
            output.status
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Which stream of a command to keep a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// What a command did, and what it wrote to the stream that was watched.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) success: bool,
    pub(crate) text: String,
}

/// Runs the command, passing one stream on as it comes and keeping a copy of it.
pub(crate) fn watch(mut command: Command, stream: Stream) -> Result<Watched, Failure> {
    eprintln!("$ {}", shown(&command));
    match stream {
        Stream::Stdout => command.stdout(Stdio::piped()),
        Stream::Stderr => command.stderr(Stdio::piped()),
    };
    let mut child = command.spawn().map_err(|error| not_started(&command, &error))?;
    let copied = match stream {
        Stream::Stdout => pass_on(child.stdout.take(), io::stdout()),
        Stream::Stderr => pass_on(child.stderr.take(), io::stderr()),
    };
    let status = child.wait().map_err(|error| not_started(&command, &error))?;
    let text = copied.map_err(|error| Failure::Environment(format!("cannot read its output: {error}")))?;
    Ok(Watched {
        success: status.success(),
        text: String::from_utf8_lossy(&text).into_owned(),
    })
}

fn pass_on(source: Option<impl Read>, mut sink: impl Write) -> io::Result<Vec<u8>> {
    let mut source = source.expect("the stream was piped");
    let mut copy = Vec::new();
    let mut chunk = [0; 8192];
    loop {
        match source.read(&mut chunk)? {
            0 => return Ok(copy),
            n => {
                sink.write_all(&chunk[..n])?;
                sink.flush()?;
                copy.extend_from_slice(&chunk[..n]);
            }
        }
    }
}

fn not_started(command: &Command, error: &io::Error) -> Failure {
    Failure::Environment(format!("cannot run `{}`: {error}", command.get_program().display()))
}

fn shown(command: &Command) -> String {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn a_missing_program_is_the_environments_fault() {
        let failure = run(Command::new("no-such-program-anywhere")).unwrap_err();
        assert!(matches!(failure, Failure::Environment(_)), "{failure}");
    }

    #[test]
    fn a_watched_command_keeps_its_output_and_its_verdict() {
        let watched = watch(cargo(&["--version"]), Stream::Stdout).unwrap();
        assert!(watched.success);
        assert!(watched.text.starts_with("cargo "));
    }
}
