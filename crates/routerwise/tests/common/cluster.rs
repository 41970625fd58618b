//! Emulated engines and a gateway in front of them, each a process, as users run them.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part; the panic is the report"
)]

#[path = "../../../routerwise-gateway/tests/common/plan.rs"]
mod plan;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use routerwise_types::decisions::DecisionRecord;
use tempfile::TempDir;

use crate::common::gateway::{Gateway, ask};
use crate::crowd::Tally;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// An emulated engine; killed when dropped.
pub(crate) struct Engine {
    child: Child,
    pub(crate) url: String,
    /// Whoever writes where nobody reads is ended by the system.
    _out: BufReader<ChildStdout>,
}

impl Engine {
    /// One of a model on a port of its own, fifty times as fast as the clock, with what else is given.
    pub(crate) fn start(model: &str, more: &[&str]) -> Self {
        let mut usual = vec!["--speed=50", "--port=0"];
        // What is given twice is refused.
        usual.retain(|usual| {
            !more
                .iter()
                .any(|more| more.split('=').next() == usual.split('=').next())
        });
        let mut child = Command::new(env!("CARGO_BIN_EXE_routerwise"))
            .args(["emulate", "--model=llama-3.1-8b", "--gpu=a100-80gb-sxm"])
            .arg(format!("--served-model-name={model}"))
            .args(usual)
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let url = line
            .strip_prefix("listening on ")
            .and_then(|rest| rest.split(' ').next());
        let url = url.unwrap_or_else(|| panic!("no engine: {line}")).to_owned();
        Self { child, url, _out: out }
    }

    /// Waits until it has made so many tokens.
    pub(crate) fn has_made(&self, tokens: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = ask(&self.url, "GET", "/metrics", "");
            let line = metrics
                .lines()
                .find(|line| line.starts_with("vllm:generation_tokens_total"));
            let made: f64 = line.map_or(0.0, |line| line.rsplit(' ').next().unwrap().parse().unwrap());
            if made >= tokens {
                return;
            }
            assert!(Instant::now() < deadline, "{made} tokens");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// As the system does it to a process that takes too much memory.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Its address without `http://`.
    pub(crate) fn host(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    pub(crate) fn port(&self) -> &str {
        self.url.rsplit(':').next().unwrap()
    }

    /// What goes wrong from now on; `{}` is nothing.
    pub(crate) fn faults(&self, json: &str) {
        let answer = ask(&self.url, "POST", "/emulate/faults", json);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A gateway with a decision log, and how it is run.
pub(crate) struct Cluster {
    pub(crate) folder: TempDir,
    pub(crate) gateway: Gateway,
}

/// Limits that a test can wait for.
pub(crate) const QUICK: &str = "\
prices = \"static\"
[timeouts]
connect = \"150 ms\"
first-byte = \"500 ms\"
stall = \"500 ms\"
total = \"4 s\"
[retries]
budget = \"100 %\"
backoff = \"5 ms\"
[health]
every = \"200 ms\"
";

impl Cluster {
    /// Models `small` and `large` with replicas at these addresses.
    pub(crate) fn start(settings: &str, small: &[&str], large: &[&str]) -> Self {
        Self::logging(settings, small, large, "decisions.jsonl")
    }

    pub(crate) fn logging(settings: &str, small: &[&str], large: &[&str], log: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("tiny")).unwrap();
        let mut plan = plan::two_models(small.len().max(1), large.len().max(1));
        plan.id = plan.fingerprint();
        let mut text = settings.to_owned();
        let replicas = small
            .iter()
            .map(|url| ("small", url))
            .chain(large.iter().map(|url| ("large", url)));
        for (model, url) in replicas {
            write!(text, "[[replica]]\nmodel = \"{model}\"\nurl = \"{url}\"\n").unwrap();
        }
        fs::write(
            folder.path().join("tiny/plan.json"),
            serde_json::to_string(&plan).unwrap(),
        )
        .unwrap();
        fs::write(folder.path().join("tiny/serve.toml"), text).unwrap();
        let gateway = Gateway::start(folder.path(), &[&format!("--log={log}")]);
        Self { folder, gateway }
    }

    pub(crate) fn url(&self) -> &str {
        &self.gateway.serving.url
    }

    fn metrics(&self) -> String {
        ask(self.gateway.serving.admin.as_ref().unwrap(), "GET", "/metrics", "")
    }

    /// The sum of a metric by one of its labels; by nothing where it has none of that name.
    pub(crate) fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        let text = self.metrics();
        for line in text.lines().filter(|line| line.starts_with(name)) {
            let (labels, value) = line.rsplit_once(' ').unwrap();
            let found = labels
                .split(&format!("{label}=\""))
                .nth(1)
                .and_then(|rest| rest.split('"').next());
            *sums.entry(found.unwrap_or_default().to_owned()).or_default() += value.parse::<f64>().unwrap();
        }
        sums
    }

    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.by_label(name, "").values().sum()
    }

    /// Waits until the sum of a metric is so much.
    pub(crate) fn becomes(&self, name: &str, wanted: f64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.sum(name);
            if (found - wanted).abs() < 1e-9 {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{name} is {found}, not {wanted}, in\n{}",
                self.metrics()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a replica gets requests, or does not.
    pub(crate) fn replica_is(&self, engine: &Engine, up: bool) {
        let deadline = Instant::now() + PATIENCE;
        let replicas = || self.by_label("routerwise_replica_up", "replica");
        while replicas().get(engine.host()).is_none_or(|found| (*found > 0.5) != up) {
            assert!(
                Instant::now() < deadline,
                "{} is not {up}: {:?}",
                engine.host(),
                replicas()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Metrics and log say of all requests what clients saw. Ends the gateway.
    pub(crate) fn accounts_for(mut self, seen: &Tally) {
        // Whoever has the end of an answer finds it counted; whoever went away is noticed a little later.
        self.becomes("routerwise_requests_total", seen.n() as f64);
        self.becomes("routerwise_in_flight", 0.0);
        self.becomes("routerwise_waiting", 0.0);
        self.becomes("routerwise_buffered_bytes", 0.0);
        self.becomes("routerwise_replica_in_flight", 0.0);
        let counts = |name: &str, label: &str| -> BTreeMap<String, usize> {
            let sums = self.by_label(name, label).into_iter();
            let counts = sums.map(|(cause, n)| (cause, format!("{n:.0}").parse().unwrap()));
            counts.filter(|(_, n)| *n > 0).collect()
        };
        let failures = counts("routerwise_request_failures_total", "cause");
        assert_eq!(failures, seen.failed(), "metrics and clients");
        let attempts = counts("routerwise_attempts_total", "outcome");
        self.gateway.signal("TERM");
        assert!(self.gateway.child.wait().unwrap().success());
        let log = self.log();
        assert_eq!(log.len(), seen.n(), "lines of the log");
        let mut logged = BTreeMap::new();
        let mut tries = BTreeMap::new();
        for line in &log {
            if let Some(cause) = &line.cause {
                *logged.entry(cause.clone()).or_insert(0) += 1;
            }
            for failed in &line.failed_tries {
                *tries.entry(failed.cause.clone()).or_insert(0) += 1;
            }
            // What ends before a byte of an answer is a failed try; what breaks off later is one that had been answered.
            let last = line.cause.as_deref().unwrap_or("ok");
            if line.model.is_some() && ["ok", "truncated", "stalled", "malformed", "client_gone"].contains(&last) {
                *tries.entry(last.to_owned()).or_insert(0) += 1;
            }
        }
        assert_eq!(logged, seen.failed(), "log and clients");
        assert_eq!(tries, attempts, "tries in log and metrics");
        let mut ids: Vec<&String> = log.iter().map(|line| &line.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), log.len(), "an id stands twice");
    }

    pub(crate) fn log(&self) -> Vec<DecisionRecord> {
        let text = fs::read_to_string(self.folder.path().join("decisions.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
