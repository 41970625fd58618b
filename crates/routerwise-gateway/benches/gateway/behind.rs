//! The gateway as a process of its own, that says on request how often it has allocated.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::client::prompt;
use crate::{common, counting};

/// Runs the gateway until nobody asks any more.
pub(crate) fn run(engine: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let gateway = runtime.block_on(async {
        let mut inputs = common::inputs(&[engine], &[engine]);
        inputs.scores = vec![(prompt(), vec![0.9, 0.5])];
        common::Gateway::start(inputs).await
    });
    println!("{}", gateway.address);
    let asked = std::io::stdin().lines();
    for _ in asked.map_while(Result::ok) {
        println!("{}", counting::count());
    }
}

/// That process, seen from here; it ends with this value.
pub(crate) struct Behind {
    pub(crate) at: SocketAddr,
    child: Child,
    out: BufReader<ChildStdout>,
}

/// What it has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub(crate) allocations: u64,
    pub(crate) on_a_core: Duration,
}

impl Behind {
    pub(crate) fn start(engine: SocketAddr) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["gateway", &engine.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let at = line(&mut out).parse().unwrap();
        Self { at, child, out }
    }

    pub(crate) fn spent(&mut self) -> Spent {
        let mut asking = self.child.stdin.as_ref().unwrap();
        writeln!(asking).unwrap();
        Spent {
            allocations: line(&mut self.out).parse().unwrap(),
            on_a_core: self.on_a_core(),
        }
    }

    /// Time of all its threads on a core, by the kernel's count.
    fn on_a_core(&self) -> Duration {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanoseconds = threads.flatten().map(|thread| {
            // A thread may have ended meanwhile.
            let text = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            text.split(' ')
                .next()
                .and_then(|field| field.parse::<u64>().ok())
                .unwrap_or(0)
        });
        Duration::from_nanos(nanoseconds.sum())
    }
}

fn line(out: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    line.trim().to_owned()
}

impl Drop for Behind {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
