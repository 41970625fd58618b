//! The openai packages for Python and Node, as people install them, against the gateway.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the panic and the note are the report"
)]

mod common;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::gateway::Gateway;
use common::{routerwise, tiny};

/// Where `cargo xtask test` has put the packages; nothing when the tests were started in another way.
fn packages() -> Option<PathBuf> {
    std::env::var_os("ROUTERWISE_SDK").map(PathBuf::from)
}

fn suites() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/sdk")
}

/// The scripted engine, stopped when dropped.
struct Engine {
    child: Child,
    url: String,
}

impl Engine {
    fn start(python: &Path) -> Self {
        let mut child = Command::new(python)
            .arg(suites().join("engine.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        Self {
            child,
            url: format!("http://127.0.0.1:{}", port.trim()),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn passes(suite: impl Fn(&Path, &str, &str) -> Command) {
    let Some(packages) = packages() else {
        eprintln!("left out: `cargo xtask test` gets the packages and runs this");
        return;
    };
    let engine = Engine::start(&packages.join("venv/bin/python"));
    let folder = tiny();
    let (code, _, err) = routerwise(folder.path(), &["plan", "tiny"]);
    assert_eq!(code, 0, "{err}");
    let upstreams = ["small", "large"].map(|model| format!("--upstream={model}={}", engine.url));
    let settings = "[retries]\nbackoff = \"1 ms\"\n[health]\nevery = false\n";
    std::fs::write(folder.path().join("tiny/serve.toml"), settings).unwrap();
    let gateway = Gateway::start(folder.path(), &[&upstreams[0], &upstreams[1], "--static-prices"]);
    let output = suite(&packages, &gateway.serving.url, &engine.url).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
}

#[test]
fn the_openai_package_for_python_works_against_the_gateway() {
    passes(|packages, gateway, engine| {
        let mut command = Command::new(packages.join("venv/bin/python"));
        command.arg(suites().join("suite.py")).args([gateway, engine]);
        command
    });
}

#[test]
fn the_openai_package_for_node_works_against_the_gateway() {
    passes(|packages, gateway, engine| {
        let mut command = Command::new("node");
        command
            .arg(suites().join("suite.mjs"))
            .arg(packages.join("node"))
            .args([gateway, engine]);
        command
    });
}
