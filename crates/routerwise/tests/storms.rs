//! What comes from elsewhere than engines: reloads without end, clients that are slow, a full disk, a process that was stopped for a while.
//! No request is lost, and all of them are accounted for.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "the panic is the report")]

#[path = "common/cluster.rs"]
mod cluster;
mod common;
#[path = "common/crowd.rs"]
mod crowd;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, Engine, QUICK};
use common::gateway::ask;
use crowd::{Ask, PATIENCE, STREAM, Seen, Tally, WHOLE, crowd, read};

#[test]
fn hundreds_of_reloads_under_load_lose_no_request() {
    let engines = [Engine::start("small", &[]), Engine::start("small", &[])];
    // One of three is dead, and every reload forgets that.
    let replicas = [&engines[0].url, &engines[1].url, "http://127.0.0.1:1"];
    let cluster = Cluster::start(QUICK, &replicas, &[]);
    let admin = cluster.gateway.serving.admin.clone().unwrap();
    let done = AtomicBool::new(false);
    let (seen, n_reloads) = thread::scope(|scope| {
        let signals = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                cluster.gateway.signal("HUP");
                thread::sleep(Duration::from_millis(5));
            }
        });
        let calls = scope.spawn(|| {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) || n < 100 {
                let answer = ask(&admin, "POST", "/admin/reload", "");
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                n += 1;
            }
            n
        });
        // Ends the others also when an assertion fails.
        let seen = std::panic::catch_unwind(|| crowd(cluster.url(), 200, 12, &[STREAM, WHOLE]));
        done.store(true, Ordering::Relaxed);
        let seen = seen.unwrap();
        signals.join().unwrap();
        (seen, calls.join().unwrap())
    });
    seen.all_answered();
    let reloads = cluster.by_label("routerwise_reloads_total", "result");
    assert!(
        reloads["ok"] > f64::from(n_reloads),
        "{reloads:?} of {n_reloads} and the signals"
    );
    assert!(!reloads.contains_key("refused"), "{reloads:?}");
    // What was in force before is gone when nothing uses it any more.
    let pid = cluster.gateway.serving.pid;
    let n_files = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let deadline = Instant::now() + PATIENCE;
    while n_files() > 64 {
        assert!(Instant::now() < deadline, "{} files are open", n_files());
        thread::sleep(Duration::from_millis(20));
    }
    cluster.accounts_for(&seen);
}

/// A client that sends its request in pieces and reads the answer in pieces, with pauses.
fn slow_client(url: &str, nth: usize) -> Seen {
    let start = Instant::now();
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let kind = Ask { tokens: 60, ..STREAM };
    for piece in kind.request(nth).as_bytes().chunks(48) {
        stream.write_all(piece).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    let mut bytes = Vec::new();
    let mut piece = [0; 512];
    loop {
        let n = stream.read(&mut piece).unwrap();
        if n == 0 {
            break;
        }
        bytes.extend_from_slice(&piece[..n]);
        thread::sleep(Duration::from_millis(20));
    }
    read(&String::from_utf8(bytes).unwrap(), true, start.elapsed())
}

#[test]
fn slow_clients_and_slow_engines_are_served_and_keep_nobody_waiting() {
    let quick = Engine::start("small", &[]);
    // A token every 150 ms or so, which is well below the limit for a stall.
    let slow = Engine::start("large", &["--speed=1", "--fault=slowdown=12"]);
    let settings = QUICK.replace("first-byte = \"500 ms\"", "first-byte = \"8 s\"\nclient = \"1 s\"");
    let settings = settings.replace("total = \"4 s\"", "total = \"15 s\"");
    let cluster = Cluster::start(&settings, &[&quick.url], &[&slow.url]);
    let url = cluster.url();
    let seen = thread::scope(|scope| {
        let slow_ones: Vec<_> = (0..6).map(|nth| scope.spawn(move || slow_client(url, nth))).collect();
        let from_slow = Ask {
            model: "large",
            tokens: 4,
            ..STREAM
        };
        let from_slow = scope.spawn(move || crowd(url, 4, 4, &[from_slow]));
        // One that sends half of a request and no more.
        let half = scope.spawn(move || {
            let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = WHOLE.request(0);
            stream.write_all(&request.as_bytes()[..request.len() - 10]).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            read(&text, false, Duration::ZERO)
        });
        let quick_ones = crowd(url, 60, 6, &[STREAM, WHOLE]);
        let slow_ones = Tally(slow_ones.into_iter().map(|client| client.join().unwrap()).collect());
        quick_ones.all_answered();
        slow_ones.all_answered();
        let from_slow = from_slow.join().unwrap();
        from_slow.all_answered();
        let half = half.join().unwrap();
        assert_eq!((half.status, half.failed.as_deref()), (408, Some("slow_request")));
        quick_ones.and(slow_ones).and(from_slow).and(Tally(vec![half]))
    });
    cluster.accounts_for(&seen);
}

#[test]
fn a_full_disk_costs_lines_of_the_log_which_are_counted_and_comes_back_by_itself() {
    let engine = Engine::start("small", &[]);
    let folder = tempfile::TempDir::new().unwrap();
    let log = folder.path().join("decisions.jsonl");
    symlink("/dev/full", &log).unwrap();
    let cluster = Cluster::logging(QUICK, &[&engine.url], &[], log.to_str().unwrap());
    let full = crowd(cluster.url(), 30, 6, &[STREAM, WHOLE]);
    full.all_answered();
    cluster.becomes("routerwise_log_lost_total", 30.0);
    assert!(cluster.sum("routerwise_log_errors_total") >= 1.0);
    // Room again; what was there before ends in the middle of a line, as a disk that becomes full leaves it.
    let real = folder.path().join("real.jsonl");
    fs::write(&real, "{\"schema\":1,\"at\":17").unwrap();
    fs::remove_file(&log).unwrap();
    symlink(&real, &log).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut seen = full;
    while cluster.sum("routerwise_log_written_total") < 1.0 {
        assert!(Instant::now() < deadline, "nothing is written");
        seen = seen.and(crowd(cluster.url(), 4, 2, &[WHOLE]));
    }
    seen.all_answered();
    let logged = |name: &str| cluster.sum(&format!("routerwise_log_{name}_total"));
    let all = || logged("written") + logged("lost");
    while all() < seen.n() as f64 {
        assert!(Instant::now() < deadline, "{} lines of {}", all(), seen.n());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(
        (all() - seen.n() as f64).abs() < 1e-9,
        "{} lines of {}",
        all(),
        seen.n()
    );
    assert!((cluster.sum("routerwise_requests_total") - seen.n() as f64).abs() < 1e-9);
    let text = fs::read_to_string(&real).unwrap();
    let whole = text
        .lines()
        .filter(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
    assert!((whole.count() as f64 - logged("written")).abs() < 1e-9, "{text}");
}

#[test]
fn a_gateway_that_was_stopped_for_a_while_gives_up_nothing_that_came_meanwhile() {
    let engine = Engine::start("small", &["--speed=4"]);
    // Shorter limits than it is stopped for.
    let cluster = Cluster::start(QUICK, &[&engine.url], &[]);
    let url = cluster.url().to_owned();
    let long = Ask { tokens: 150, ..STREAM };
    let asking = thread::spawn(move || crowd(&url, 12, 12, &[long]));
    cluster.becomes("routerwise_replica_in_flight", 12.0);
    engine.has_made(60.0);
    cluster.gateway.signal("STOP");
    thread::sleep(Duration::from_millis(1200));
    cluster.gateway.signal("CONT");
    let seen = asking.join().unwrap();
    seen.all_answered();
    cluster.accounts_for(&seen);
}
