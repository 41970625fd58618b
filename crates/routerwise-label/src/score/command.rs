//! Scoring by a program of the user's.
//!
//! It is started once for each answer, by `sh -c`. On its standard input is one JSON object with `prompt_id`, `prompt`, `answer`,
//! `reference` (or null), `source` (or null) and `model`; on its standard output it writes one number from 0 to 1. Exit code 0: the
//! number counts. Exit code 3: this answer cannot be scored and is left without. Any other: it failed, which is counted, and the
//! same command of ours tries again.

use std::io::{Read as _, Write as _};
use std::process::{self, Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use wait_timeout::ChildExt as _;

use super::{Remark, Scored};

/// Exit code with which a command leaves an answer without a score.
const ABSTAIN: i32 = 3;
/// A command that prints more prints no number.
const OUTPUT_MAX: u64 = 64 << 10;

/// A program of the user's and how long it may take.
#[derive(Clone, Debug)]
pub struct Command {
    /// As `sh -c` takes it.
    pub line: String,
    /// For one answer.
    pub deadline: Duration,
}

/// A score, and what the command said where it failed.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) scored: Scored,
    pub(crate) said: String,
}

impl Command {
    /// Runs it on one answer. Blocks.
    pub(crate) fn score(&self, input: &Value) -> Ran {
        let mut shell = process::Command::new("sh");
        shell.args(["-c", &self.line]);
        shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match shell.spawn() {
            Ok(child) => self.finish(child, input),
            Err(error) => failed(Remark::CommandFailed, format!("cannot start `sh`: {error}")),
        }
    }

    fn finish(&self, mut child: Child, input: &Value) -> Ran {
        let mut stdin = child.stdin.take().expect("piped above");
        let input = input.to_string();
        // In a thread of its own: a command that prints before it reads must not wait for us. One that does not read at all
        // closes the pipe, which is no error.
        thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let out = read_aside(child.stdout.take().expect("piped above"));
        let err = read_aside(child.stderr.take().expect("piped above"));
        let status = match child.wait_timeout(self.deadline) {
            Ok(Some(status)) => status,
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                let said = format!("no result after {} s", self.deadline.as_secs_f64());
                return failed(Remark::CommandLate, said);
            }
            Err(error) => return failed(Remark::CommandFailed, error.to_string()),
        };
        // Something that the command left running may hold the pipes open; what came until now is all there is to be.
        let grace = Duration::from_secs(1);
        let out = out.recv_timeout(grace).unwrap_or_default();
        if status.code() == Some(ABSTAIN) {
            return Ran {
                scored: Scored::none(Remark::Abstained),
                said: String::new(),
            };
        }
        if !status.success() {
            let said = err.recv_timeout(grace).unwrap_or_default();
            let line = said.lines().next_back().unwrap_or_default();
            return failed(Remark::CommandFailed, format!("{status}: {}", shortened(line)));
        }
        match out.trim().parse::<f64>() {
            Ok(score) if (0.0..=1.0).contains(&score) => Ran {
                scored: Scored::of(score),
                said: String::new(),
            },
            _ => failed(
                Remark::CommandUnreadable,
                format!("it printed `{}`", shortened(out.trim())),
            ),
        }
    }
}

fn failed(remark: Remark, said: String) -> Ran {
    Ran {
        scored: Scored::none(remark),
        said,
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}

fn read_aside(pipe: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let mut pipe = pipe;
        let _ = pipe.by_ref().take(OUTPUT_MAX).read_to_end(&mut bytes);
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        // Read on, so that the command is not stopped by a full pipe.
        let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    });
    receiver
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn run(line: &str) -> Ran {
        let command = Command {
            line: line.into(),
            deadline: Duration::from_secs(5),
        };
        command.score(&json!({"answer": "four", "reference": "4"}))
    }

    #[test]
    fn a_number_counts_and_nothing_else_does() {
        assert_eq!(run("echo 0.25").scored, Scored::of(0.25));
        assert_eq!(run("grep -q four && echo 1").scored, Scored::of(1.0));
        for bad in ["echo 1.5", "echo good", "true", "echo nan"] {
            assert_eq!(run(bad).scored, Scored::none(Remark::CommandUnreadable), "{bad}");
        }
        assert_eq!(run("echo 0.5; exit 3").scored, Scored::none(Remark::Abstained));
        let failed = run("echo 0.5; echo broken >&2; exit 1");
        assert_eq!(failed.scored, Scored::none(Remark::CommandFailed));
        assert!(failed.said.contains("broken"), "{}", failed.said);
    }

    #[test]
    fn a_late_command_is_ended() {
        let command = Command {
            line: "exec sleep 60".into(),
            deadline: Duration::from_millis(50),
        };
        assert_eq!(command.score(&json!({})).scored, Scored::none(Remark::CommandLate));
    }

    #[test]
    fn much_input_and_output_does_not_stop_it() {
        let command = Command {
            line: "head -c 300000 /dev/zero >&2; cat > /dev/null; echo 1".into(),
            deadline: Duration::from_secs(20),
        };
        let input = json!({"answer": "x".repeat(1_000_000)});
        assert_eq!(command.score(&input).scored, Scored::of(1.0));
    }
}
