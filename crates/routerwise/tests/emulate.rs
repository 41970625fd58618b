//! `routerwise emulate` with the real binary: engines that listen, answer and end as they should.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use common::{routerwise, tiny};
use serde_json::Value;

/// Engines of a process that is ended with the test.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(assert_cmd::cargo::cargo_bin!("routerwise"))
            .current_dir(folder)
            .arg("emulate")
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next line, in which an engine says where it listens.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// Asks it to end, and says how it did.
    fn end(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already where the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer with its head, to a request on a connection of its own.
fn http(url: &str, method: &str, path: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: engine\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    // An engine that crashes breaks off.
    let _ = stream.read_to_string(&mut answer);
    answer
}

const ASK: &str = r#"{"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3}"#;

#[test]
fn an_engine_of_the_catalogue_says_where_it_listens_and_ends_when_told() {
    let folder = tempfile::TempDir::new().unwrap();
    let arguments = [
        "--model",
        "llama-3.1-8b",
        "--gpu",
        "a100-80gb-sxm",
        "--share",
        "60",
        "--port",
        "0",
    ];
    let mut running = Running::start(folder.path(), &arguments);
    let line = running.line();
    let mut words = line.strip_prefix("listening on ").unwrap().split_whitespace();
    let url = words.next().unwrap();
    let rest: Vec<&str> = words.collect();
    assert_eq!(
        rest,
        [
            "model=llama-3.1-8b",
            "replica=0",
            "gpu=a100-80gb-sxm",
            "tp=1",
            "share=0.6",
            "kv-tokens=32768"
        ]
    );
    assert!(http(url, "POST", "/v1/chat/completions", ASK).contains("\"completion_tokens\":3"));
    assert_eq!(running.end(), Some(0));
}

#[test]
fn all_replicas_of_a_plan_listen_with_the_caches_that_the_plan_gives_them() {
    let folder = tiny();
    let (code, _, err) = routerwise(folder.path(), &["plan", "tiny"]);
    assert_eq!(code, 0, "{err}");
    let arguments = [
        "tiny/plan.json",
        "--port",
        "0",
        "--format",
        "json",
        "--endpoints",
        "engines.json",
        "--speed",
        "10",
    ];
    let mut running = Running::start(folder.path(), &arguments);
    let mut printed = String::new();
    while !printed.ends_with("\n}\n") {
        let line = running.line();
        assert!(!line.is_empty(), "{printed}");
        printed.push_str(&line);
    }
    assert_eq!(
        std::fs::read_to_string(folder.path().join("engines.json")).unwrap(),
        printed
    );
    let engines: Value = serde_json::from_str(&printed).unwrap();
    let plan: Value = serde_json::from_slice(&std::fs::read(folder.path().join("tiny/plan.json")).unwrap()).unwrap();
    let planned: Vec<String> = plan["models"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|model| {
            let n_replicas = model["replicas"].as_array().unwrap().len();
            (0..n_replicas).map(|replica| format!("{} {replica}", model["name"]))
        })
        .collect();
    let listening = engines["engines"].as_array().unwrap();
    let named: Vec<String> = listening
        .iter()
        .map(|engine| format!("{} {}", engine["model"], engine["replica"]))
        .collect();
    assert_eq!(named, planned);
    for engine in listening {
        let url = engine["url"].as_str().unwrap();
        assert!(http(url, "GET", "/v1/models", "").contains(&engine["model"].to_string()));
        assert!(http(url, "POST", "/v1/chat/completions", ASK).contains("\"completion_tokens\":3"));
        assert!(engine["kv_cache_tokens"].as_u64().unwrap() > 0);
    }
    assert_eq!(running.end(), Some(0));
}

#[test]
fn a_process_whose_engines_have_all_crashed_ends_with_3() {
    let folder = tempfile::TempDir::new().unwrap();
    let arguments = [
        "--model",
        "qwen2.5-7b",
        "--gpu",
        "h100-80gb-sxm",
        "--port",
        "0",
        "--replicas",
        "2",
        "--fault",
        "crash_after=1",
    ];
    let mut running = Running::start(folder.path(), &arguments);
    let urls: Vec<String> = (0..2)
        .map(|_| running.line().split_whitespace().nth(2).unwrap().to_owned())
        .collect();
    assert!(http(&urls[0], "POST", "/v1/chat/completions", ASK).contains("completion_tokens"));
    assert_eq!(http(&urls[0], "POST", "/v1/chat/completions", ASK), "");
    let deadline = Instant::now() + Duration::from_secs(60);
    while TcpStream::connect(urls[0].strip_prefix("http://").unwrap()).is_ok() {
        assert!(Instant::now() < deadline, "its port is still open");
    }
    // The other lives on, until it is told to crash as well.
    assert!(http(&urls[1], "GET", "/health", "").starts_with("HTTP/1.1 200"));
    http(&urls[1], "POST", "/emulate/crash", "");
    assert_eq!(running.child.wait().unwrap().code(), Some(3));
}

#[test]
fn what_cannot_be_emulated_is_said_and_nothing_starts() {
    let folder = tempfile::TempDir::new().unwrap();
    let wrong = |arguments: &[&str]| {
        let mut all = vec!["emulate"];
        all.extend(arguments);
        let (code, out, err) = routerwise(folder.path(), &all);
        assert_eq!((code, out.as_str()), (2, ""), "{err}");
        err
    };
    let engine = ["--model", "llama-3.1-8b", "--gpu", "a100-80gb-sxm"];
    let with = |more: &[&'static str]| [&engine[..], more].concat();
    assert!(wrong(&["--model", "llama-3.1-8", "--gpu", "a100-80gb-sxm"]).contains("did you mean `llama-3.1-8b`"));
    assert!(wrong(&["--model", "llama-3.1-8b", "--gpu", "a100-80gb"]).contains("no GPU type is named `a100-80gb`"));
    assert!(wrong(&with(&["--tp", "3"])).contains("cannot be dealt out to 3 shards"));
    assert!(wrong(&with(&["--share", "0.6"])).contains("from 1 to 100 per cent"));
    assert!(wrong(&with(&["--fault", "error_503=2"])).contains("`error_503` must be a part of all requests"));
    assert!(wrong(&with(&["--fault", "made_up=1"])).contains("made_up"));
    assert!(wrong(&with(&["--speed", "0"])).contains("--speed"));
    assert!(wrong(&with(&["--engine", "vllm-0.1"])).contains("no constants for the engine `vllm-0.1`"));
    assert!(wrong(&["no-plan.json"]).contains("cannot read the plan"));
    assert!(wrong(&[]).contains("--model"));
}

#[test]
fn a_port_that_is_taken_fails_with_3() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::TempDir::new().unwrap();
    let arguments = [
        "emulate",
        "--model",
        "llama-3.1-8b",
        "--gpu",
        "a100-80gb-sxm",
        "--port",
        &port,
    ];
    let (code, _, err) = routerwise(folder.path(), &arguments);
    assert_eq!(code, 3);
    assert!(err.contains(&format!("listening on 127.0.0.1:{port}")), "{err}");
}

#[test]
fn as_many_connections_are_allowed_as_the_system_lets_us() {
    let folder = tempfile::TempDir::new().unwrap();
    let program = assert_cmd::cargo::cargo_bin!("routerwise");
    let script = format!(
        "ulimit -Sn 64 && exec {} emulate --model llama-3.1-8b --gpu a100-80gb-sxm --port 0",
        program.display()
    );
    let mut child = Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let mut running = Running { child, out };
    assert!(running.line().contains("http://"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.child.id())).unwrap();
    let open = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let columns: Vec<&str> = open.split_whitespace().collect();
    assert_eq!(columns[3], columns[4], "{open}");
    assert_eq!(running.end(), Some(0));
}
