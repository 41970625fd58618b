//! How much the load generator itself costs: streamed requests of 20 chunks from one core against a server that only writes.
//!
//! `cargo bench -p routerwise-measure --bench client -- [rate] [seconds]`. Client and server are two processes, each held to a core of its own
//! with `taskset`. The bench fails when a request is lost or a chunk is missed, or when the client needs 100 MB; rates and times are
//! reported.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench: the panic is the report"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use routerwise_measure::play::{Load, Played, Settings, Unwatched, Users, Window, play};
use routerwise_measure::prompts::Prompts;
use routerwise_measure::schedule::{Schedule, Stage};
use routerwise_measure::summary::summarise;
use routerwise_measure::target::{Api, Target};
use routerwise_types::workload::{Arrivals, Lengths};
use routerwise_types::{RequestsPerSecond, Seconds};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const N_CHUNKS: usize = 20;
const LENGTHS: Lengths = Lengths { input: 32, output: 20 };
/// Most memory that the client may take, in megabytes.
const MOST_MEMORY: f64 = 100.0;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", manner] => serve(manner == "separate"),
        ["ask", url, rate, seconds] => ask(url, rate.parse().unwrap(), seconds.parse().unwrap()),
        _ => {
            let rate = words.first().unwrap_or(&"5000");
            let seconds = words.get(1).unwrap_or(&"20");
            for manner in ["together", "separate"] {
                both(manner, rate, seconds);
            }
        }
    }
}

fn on_core(core: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("taskset");
    command
        .args(["-c", core])
        .arg(std::env::current_exe().unwrap())
        .args(arguments);
    command
}

/// One client and one server, each on its core.
fn both(manner: &str, rate: &str, seconds: &str) {
    let mut server: Child = on_core("1", &["serve", manner]).stdout(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut url)
        .unwrap();
    println!("chunks written {manner}:");
    let status = on_core("0", &["ask", url.trim(), rate, seconds]).status();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(status.unwrap().success());
}

fn ask(url: &str, rate: f64, seconds: f64) {
    let target = Target::new(url, Api::Chat, "m").unwrap();
    let stage = Stage::steady(RequestsPerSecond::new(rate).unwrap(), Seconds::new(seconds).unwrap());
    let schedule = Schedule::staged(Arrivals::Poisson, &[stage], &[LENGTHS], 1);
    run("open loop", &target, Load::Open(schedule));
    let users = Users {
        n_users: 64,
        think: Seconds::ZERO,
        lengths: vec![LENGTHS],
        n_requests: None,
        lasts: Some(Seconds::new(seconds / 2.0).unwrap()),
    };
    run("64 users", &target, Load::Closed(users));
    let peak = status("VmHWM:") / 1e3;
    println!("  at most {peak:.0} MB resident");
    assert!(peak < MOST_MEMORY, "{peak} MB");
}

fn run(name: &str, target: &Target, load: Load) {
    let settings = Settings {
        load,
        prompts: Prompts::filler(1),
        window: Window::Requests(0..usize::MAX),
        timeout: Duration::from_secs(30),
        max_in_flight: 4_096,
        with_gaps: false,
    };
    let before = cpu_seconds();
    let played: Played = play(target, &settings, &mut Unwatched).unwrap();
    let spent = cpu_seconds() - before;
    let measured = summarise(&played, &[]);
    assert_eq!(measured.n_answered, measured.n_sent, "{:?}", measured.failures);
    let gaps = measured.all.itl.as_ref().unwrap().n;
    assert_eq!(
        gaps,
        (measured.n_answered * (N_CHUNKS - 1)) as u64,
        "a chunk was missed"
    );
    let n = measured.n_answered as f64;
    println!(
        "  {name}: {:.0} requests/s completed, {:.0} chunks/s; {:.0} µs of CPU a request; sent {} late on average, P99 {}; kept up: {}; mean TTFT {}",
        n / measured.lasted.value(),
        n * N_CHUNKS as f64 / measured.lasted.value(),
        spent / n * 1e6,
        measured.lag.mean,
        measured.lag.p99,
        measured.lag.kept_up,
        measured.all.ttft.as_ref().unwrap().mean,
    );
}

/// User and system time of this process, in seconds.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = text.rsplit(')').next().unwrap();
    let ticks: Vec<f64> = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse().unwrap())
        .collect();
    ticks.iter().sum::<f64>() / 100.0
}

/// A line of this process's status, in its own unit (kilobytes).
fn status(name: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Answers whatever comes with the same stream.
fn serve(separate: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            tcp.set_nodelay(true).unwrap();
            tokio::spawn(answer_all(tcp, separate));
        }
    });
}

async fn answer_all(mut tcp: TcpStream, separate: bool) -> Option<()> {
    let pieces = pieces();
    let whole: Vec<u8> = pieces.concat();
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = request_end(&bytes) {
                break end;
            }
            if tcp.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        bytes.drain(..end);
        if separate {
            for piece in &pieces {
                tcp.write_all(piece).await.ok()?;
                tokio::task::yield_now().await;
            }
        } else {
            tcp.write_all(&whole).await.ok()?;
        }
    }
}

/// Where the request ends that the bytes start with, once all of it is there.
fn request_end(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap();
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let length = lines.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length
        .map(|(_, value)| value.trim().parse().unwrap())
        .next()
        .unwrap_or(0);
    (bytes.len() >= head + length).then_some(head + length)
}

/// The head, the chunks as vLLM writes them, the usage and the end.
fn pieces() -> Vec<Vec<u8>> {
    let head =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    let event = |data: &str| {
        let event = format!("data: {data}\n\n");
        format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
    };
    let mut pieces = vec![head.as_bytes().to_vec()];
    for n in 0..N_CHUNKS {
        pieces.push(event(&format!(
            "{{\"id\":\"chatcmpl-0123456789abcdef\",\"object\":\"chat.completion.chunk\",\"created\":1795471509,\"model\":\"m\",\"choices\":\
             [{{\"index\":0,\"delta\":{{\"content\":\" word{n}\"}},\"logprobs\":null,\"finish_reason\":null}}],\"usage\":null}}"
        )));
    }
    pieces.push(event(
        "{\"choices\":[],\"usage\":{\"prompt_tokens\":32,\"total_tokens\":52,\"completion_tokens\":20}}",
    ));
    let mut last = event("[DONE]");
    last.extend_from_slice(b"0\r\n\r\n");
    pieces.push(last);
    pieces
}
