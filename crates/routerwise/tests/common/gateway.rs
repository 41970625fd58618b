//! The gateway as a process.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part; the panic is the report"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use routerwise_types::answer::serving::Serving;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A gateway that listens; killed when dropped.
pub(crate) struct Gateway {
    pub(crate) child: Child,
    pub(crate) serving: Serving,
}

impl Gateway {
    /// Serves the plan of the tiny scenario.
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_routerwise"))
            .current_dir(folder)
            .args([
                "serve",
                "tiny/plan.json",
                "--listen",
                "127.0.0.1:0",
                "--admin",
                "127.0.0.1:0",
                "--format",
                "json",
            ])
            .args(more)
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let serving = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        Self { child, serving }
    }

    pub(crate) fn post(&self, body: &str) -> String {
        ask(&self.serving.url, "POST", "/v1/chat/completions", body)
    }

    pub(crate) fn metric(&self, line: &str) -> Option<String> {
        let text = ask(self.serving.admin.as_ref().unwrap(), "GET", "/metrics", "");
        text.lines().find(|found| found.starts_with(line)).map(str::to_owned)
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.serving.pid.to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    pub(crate) fn metric_becomes(&self, line: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.metric(line).is_none() {
            assert!(Instant::now() < deadline, "{line} did not come");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request on a connection of its own; the whole answer.
pub(crate) fn ask(url: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Waits until a file is there and holds something.
pub(crate) fn wait_for_file(file: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while std::fs::metadata(file).map_or(0, |found| found.len()) == 0 {
        assert!(Instant::now() < deadline, "{} did not come", file.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}
