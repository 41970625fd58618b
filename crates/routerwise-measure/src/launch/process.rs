//! An engine that was started here: its log, whether it is ready, and how it is stopped.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::template::{Filled, Template};

/// Lines of a log that are shown.
const SHOWN: usize = 8;
/// Bytes of a log that are searched for what usually helps.
const SEARCHED: usize = 64 << 10;

/// Why an engine does not run.
#[derive(Debug, thiserror::Error)]
pub enum NotRunning {
    /// Its program cannot be run.
    #[error("`{program}` cannot be started: {source}")]
    NoProgram {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// Its log cannot be written.
    #[error("the log `{}` cannot be written: {source}", path.display())]
    NoLog {
        /// Where.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It ended.
    #[error("{name} ended before it was ready ({status}); its log ends with\n{tail}")]
    Ended {
        /// Name of the engine.
        name: String,
        /// How.
        status: ExitStatus,
        /// The last lines of its log.
        tail: String,
        /// What usually helps.
        help: Option<String>,
    },
    /// It took too long.
    #[error("{name} was not ready after {seconds:.0} s; its log ends with\n{tail}")]
    TooSlow {
        /// Name of the engine.
        name: String,
        /// How long it had.
        seconds: f64,
        /// The last lines of its log.
        tail: String,
        /// What usually helps.
        help: Option<String>,
    },
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// An engine that runs. It is stopped when this goes away.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    log: PathBuf,
    template: Template,
}

impl Engine {
    /// Starts an engine and waits until it is ready at `port` of this machine.
    ///
    /// # Errors
    /// [`NotRunning`] with the reason, as far as its log knows.
    pub fn start(
        template: &Template,
        filled: &Filled,
        port: u16,
        log: &Path,
        interrupt: &AtomicBool,
    ) -> Result<Self, NotRunning> {
        let child = spawn(filled, log)?;
        let mut engine = Self {
            child,
            log: log.to_owned(),
            template: template.clone(),
        };
        engine.wait_until_ready(port, interrupt)?;
        Ok(engine)
    }

    fn wait_until_ready(&mut self, port: u16, interrupt: &AtomicBool) -> Result<(), NotRunning> {
        let ready = self.template.ready.clone();
        let began = Instant::now();
        loop {
            if interrupt.load(Ordering::Relaxed) {
                return Err(NotRunning::Interrupted);
            }
            if let Some(ended) = self.ended() {
                return Err(ended);
            }
            if answers(port, &ready.path) {
                return Ok(());
            }
            if began.elapsed().as_secs_f64() > ready.timeout_seconds {
                let (tail, help) = self.log();
                return Err(NotRunning::TooSlow {
                    name: self.template.name.clone(),
                    seconds: ready.timeout_seconds,
                    tail,
                    help,
                });
            }
            thread::sleep(Duration::from_secs_f64(ready.every_seconds.clamp(0.01, 60.0)));
        }
    }

    /// Why it no longer runs; nothing while it does.
    pub fn ended(&mut self) -> Option<NotRunning> {
        let status = self.child.try_wait().ok().flatten()?;
        let (tail, help) = self.log();
        Some(NotRunning::Ended {
            name: self.template.name.clone(),
            status,
            tail,
            help,
        })
    }

    /// The last lines of its log, and what usually helps when it says so.
    fn log(&self) -> (String, Option<String>) {
        let text = fs::read(&self.log).unwrap_or_default();
        let end = String::from_utf8_lossy(&text[text.len().saturating_sub(SEARCHED)..]).into_owned();
        let lines: Vec<&str> = end.lines().collect();
        let tail = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        (tail, self.template.hint(&end).map(str::to_owned))
    }

    /// Asks it to stop, and makes it when it does not: the process and all that it started.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Ok(pid) = i32::try_from(self.child.id()) else {
            return;
        };
        let group = Pid::from_raw(pid);
        let grace = Duration::from_secs_f64(self.template.stop.grace_seconds.clamp(0.0, 600.0));
        let began = Instant::now();
        if matches!(self.child.try_wait(), Ok(None)) && killpg(group, Signal::SIGTERM).is_ok() {
            while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < grace {
                thread::sleep(Duration::from_millis(20));
            }
        }
        // What its children left behind, or all of it.
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

/// In a process group of its own, so that Ctrl-C reaches it through us and stopping reaches all that it starts.
fn spawn(filled: &Filled, log: &Path) -> Result<Child, NotRunning> {
    let no_log = |source| NotRunning::NoLog {
        path: log.to_owned(),
        source,
    };
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder).map_err(no_log)?;
    }
    let out = File::create(log).map_err(no_log)?;
    let err = out.try_clone().map_err(no_log)?;
    let program = &filled.command[0];
    let mut command = Command::new(program);
    command
        .args(&filled.command[1..])
        .envs(&filled.environment)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .process_group(0);
    command.spawn().map_err(|source| NotRunning::NoProgram {
        program: program.clone(),
        source,
    })
}

/// Whether a path of this machine answers with status 200.
fn answers(port: u16, path: &str) -> bool {
    let ask = || -> io::Result<bool> {
        let patience = Duration::from_secs(5);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, patience)?;
        stream.set_read_timeout(Some(patience))?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok(status.starts_with(b"HTTP/1.") && status.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

/// A port of this machine that is free now.
///
/// # Errors
/// When there is none.
pub fn free_port() -> io::Result<u16> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Template {
        let ready = "[ready]\npath = \"/\"\ntimeout-seconds = 0.3\nevery-seconds = 0.02\n[stop]\ngrace-seconds = 0.2\n";
        let help = "[[help]]\npattern = \"no GPU\"\nhelp = \"plug one in\"\n";
        Template::parse(&format!("name = \"test\"\ncommand = {text}\n{ready}{help}")).unwrap()
    }

    fn start(command: &str, port: u16) -> (Result<Engine, NotRunning>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let template = template(command);
        let filled = template.fill(&std::collections::BTreeMap::new()).unwrap();
        let log = folder.path().join("logs/engine.log");
        (
            Engine::start(&template, &filled, port, &log, &AtomicBool::new(false)),
            folder,
        )
    }

    #[test]
    fn an_engine_that_ends_says_why_and_what_helps() {
        let (ended, _) = start("[\"sh\", \"-c\", \"echo one; echo there is NO gpu; exit 7\"]", 1);
        let Err(NotRunning::Ended { tail, help, status, .. }) = ended else {
            panic!("{ended:?}")
        };
        assert_eq!(tail, "one\nthere is NO gpu");
        assert_eq!((help.as_deref(), status.code()), (Some("plug one in"), Some(7)));
    }

    #[test]
    fn an_engine_that_is_never_ready_is_stopped_with_all_that_it_started() {
        // It shrugs off the polite signal, and so does its child, which would outlive it.
        let script = "trap '' TERM; echo $$; (trap '' TERM; sleep 60) & sleep 60";
        let (slow, folder) = start(&format!("[\"sh\", \"-c\", \"{script}\"]"), 1);
        assert!(matches!(slow, Err(NotRunning::TooSlow { .. })), "{slow:?}");
        let group = fs::read_to_string(folder.path().join("logs/engine.log")).unwrap();
        let group = Pid::from_raw(group.trim().parse().unwrap());
        let gone = |_: &u32| {
            thread::sleep(Duration::from_millis(20));
            killpg(group, None).is_err()
        };
        assert!((0..100).any(|n| gone(&n)), "its process group is still there");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let (missing, _) = start("[\"no-such-engine-anywhere\"]", 1);
        assert!(missing.unwrap_err().to_string().contains("`no-such-engine-anywhere`"));
    }

    #[test]
    fn an_engine_is_ready_when_it_answers() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let _ = stream.read(&mut [0; 512]);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        let (engine, _) = start("[\"sleep\", \"60\"]", port);
        let mut engine = engine.unwrap();
        assert!(engine.ended().is_none());
        engine.stop();
    }
}
