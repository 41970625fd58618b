//! Emulated engines that fail in every way on their menu behind the gateway, all of them processes: nothing hangs, nothing fails that could
//! have been served, and clients, metrics and log agree on every request.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "the panic is the report")]

#[path = "common/cluster.rs"]
mod cluster;
mod common;
#[path = "common/crowd.rs"]
mod crowd;

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use cluster::{Cluster, Engine, QUICK};
use crowd::{Ask, STREAM, Seen, Tally, WHOLE, crowd};

/// Answers that take seconds on an engine of the usual speed.
const SLOW: [&str; 1] = ["--speed=2"];
const LONG: Ask = Ask { tokens: 200, ..STREAM };

#[test]
fn an_engine_killed_in_mid_stream_costs_the_streams_that_had_begun_and_nothing_else() {
    let mut first = Engine::start("small", &SLOW);
    let second = Engine::start("small", &SLOW);
    // Whole answers take as long as streams here: their first byte comes with the last.
    let settings = QUICK.replace("total = \"4 s\"", "total = \"15 s\"");
    let cluster = Cluster::start(&settings, &[&first.url, &second.url], &[]);
    let url = cluster.url().to_owned();
    let kinds = [LONG, Ask { stream: false, ..LONG }];
    let asking = thread::spawn(move || crowd(&url, 24, 24, &kinds));
    cluster.becomes("routerwise_replica_in_flight", 24.0);
    // Streams have begun, whole answers have not.
    first.has_made(200.0);
    let n_hit = cluster.by_label("routerwise_replica_in_flight", "replica")[first.host()];
    assert!(n_hit >= 4.0, "{n_hit} of 24 on the engine that is killed");
    first.kill();
    let seen = asking.join().unwrap();
    let broken: Vec<&Seen> = seen.0.iter().filter(|seen| seen.failed.is_some()).collect();
    assert!(!broken.is_empty() && broken.len() < 24, "{:?}", seen.failed());
    for seen in broken {
        assert_eq!(
            (seen.stream, seen.failed.as_deref()),
            (true, Some("truncated")),
            "{seen:?}"
        );
    }
    // With one engine left all are answered, and the other one is taken back when it is there again.
    let seen = seen.and(crowd(cluster.url(), 20, 8, &[STREAM, WHOLE]));
    cluster.replica_is(&first, false);
    let first = Engine::start("small", &[&format!("--port={}", first.port())]);
    cluster.replica_is(&first, true);
    let seen = seen.and(crowd(cluster.url(), 20, 8, &[STREAM, WHOLE]));
    assert!(
        seen.0[24..].iter().all(|seen| seen.failed.is_none()),
        "{:?}",
        seen.failed()
    );
    cluster.accounts_for(&seen);
}

/// An address where connections are neither taken nor refused: the queue of those that wait to be taken is full.
fn blackhole() -> (String, Vec<TcpStream>, tokio::net::TcpListener) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listener = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        socket.listen(1).unwrap()
    });
    let at = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&at, Duration::from_millis(50)) {
        waiting.push(stream);
        assert!(waiting.len() < 64, "the queue has no end");
    }
    (format!("http://{at}"), waiting, listener)
}

#[test]
fn engines_that_refuse_swallow_or_freeze_cost_no_request() {
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refusing = format!("http://{refusing}");
    let (swallowing, _waiting, _listener) = blackhole();
    let frozen = Engine::start("small", &[]);
    let good = Engine::start("small", &[]);
    let replicas = [&refusing, &swallowing, &frozen.url, &good.url].map(String::as_str);
    // Without checks the requests themselves find out.
    let settings = QUICK
        .replace("every = \"200 ms\"", "every = false")
        .replace("[retries]", "[retries]\nmost = 4");
    let cluster = Cluster::start(&settings, &replicas, &[]);
    frozen.signal("STOP");
    let seen = crowd(cluster.url(), 40, 8, &[STREAM]);
    frozen.signal("CONT");
    seen.all_answered();
    let tries = cluster.by_label("routerwise_attempts_total", "outcome");
    assert!(tries["connect"] > 0.0 && tries["first_byte_timeout"] > 0.0, "{tries:?}");
    cluster.accounts_for(&seen);
}

#[test]
fn a_frozen_engine_is_found_out_by_its_checks_also_by_those_who_wait_for_a_whole_answer() {
    let frozen = Engine::start("small", &[]);
    let good = Engine::start("small", &[]);
    let settings = QUICK.replace("total = \"4 s\"", "total = \"60 s\"");
    let cluster = Cluster::start(&settings, &[&frozen.url, &good.url], &[]);
    frozen.signal("STOP");
    // Nothing but the checks says that no answer will come: a whole answer may take as long as it likes.
    let seen = crowd(cluster.url(), 12, 12, &[WHOLE]);
    seen.all_answered();
    cluster.replica_is(&frozen, false);
    frozen.signal("CONT");
    cluster.replica_is(&frozen, true);
    let seen = seen.and(crowd(cluster.url(), 12, 4, &[WHOLE]));
    seen.all_answered();
    cluster.accounts_for(&seen);
}

#[test]
fn answers_that_break_off_stall_or_make_no_sense_are_told_apart_and_counted() {
    let faults = [
        "--fault=truncate_rate=0.2",
        "--fault=stall_rate=0.2",
        "--fault=malformed_rate=0.2",
    ];
    let small = Engine::start("small", &faults);
    let large = Engine::start("large", &["--fault=stall_rate=0.3", "--fault=stall_seconds=0.2"]);
    // Enough replicas' faults in a row would give the only replica up, which is another test.
    let settings = QUICK.replace("total = \"4 s\"", "total = \"2 s\"");
    let cluster = Cluster::start(&settings, &[&small.url], &[&large.url]);
    let seen = crowd(cluster.url(), 48, 16, &[STREAM]);
    let causes = seen.failed();
    for cause in ["truncated", "stalled", "malformed"] {
        assert!(causes.contains_key(cause), "{causes:?}");
    }
    let seen = seen.and(crowd(cluster.url(), 24, 12, &[WHOLE]));
    // Who stalls for less than the limit is waited for.
    let patient = crowd(
        cluster.url(),
        12,
        6,
        &[
            Ask {
                model: "large",
                ..STREAM
            },
            Ask {
                model: "large",
                ..WHOLE
            },
        ],
    );
    patient.all_answered();
    cluster.accounts_for(&seen.and(patient));
}

#[test]
fn a_storm_of_errors_costs_nothing_while_somebody_else_can_answer() {
    let good = [Engine::start("small", &[]), Engine::start("large", &[])];
    let auto = Ask {
        model: "auto",
        ..STREAM
    };
    let auto_whole = Ask { stream: false, ..auto };
    for fault in ["error_429", "error_500", "error_503"] {
        let stormy = Engine::start("small", &[&format!("--fault={fault}=1")]);
        // Another replica of the model can, or only another model.
        let beside: [(&[&str], &[&str], [Ask; 2]); 2] = [
            (&[&stormy.url, &good[0].url], &[], [STREAM, WHOLE]),
            (&[&stormy.url], &[&good[1].url], [auto, auto_whole]),
        ];
        for (small, large, kinds) in beside {
            let cluster = Cluster::start(QUICK, small, large);
            let seen = crowd(cluster.url(), 40, 8, &kinds);
            seen.all_answered();
            cluster.accounts_for(&seen);
        }
    }
}

#[test]
fn a_storm_that_leaves_nobody_is_passed_on_at_once_and_over_when_it_is_over() {
    let storm = r#"{"error_503":0.6,"error_429":0.4,"error_500":0.3}"#;
    let only = Engine::start("small", &[]);
    // Above the time that requests wait for somebody to be there.
    let settings = QUICK.replace("total = \"4 s\"", "total = \"15 s\"");
    let cluster = Cluster::start(&settings, &[&only.url], &[]);
    only.faults(storm);
    let during = crowd(cluster.url(), 24, 8, &[STREAM, WHOLE]);
    for seen in during.0.iter().filter(|seen| seen.failed.is_some()) {
        assert!([429, 500, 503].contains(&seen.status), "{seen:?}");
        assert!(seen.text.to_ascii_lowercase().contains("\r\nretry-after: "), "{seen:?}");
        assert!(seen.took < Duration::from_secs(8), "{seen:?}");
    }
    only.faults("{}");
    cluster.replica_is(&only, true);
    let after = crowd(cluster.url(), 24, 8, &[STREAM, WHOLE]);
    after.all_answered();
    cluster.accounts_for(&during.and(after));
}

#[test]
fn an_engine_that_comes_back_within_seconds_costs_those_who_wait_for_it_nothing() {
    let mut only = Engine::start("small", &[]);
    let cluster = Cluster::start(QUICK, &[&only.url], &[]);
    let before = crowd(cluster.url(), 4, 4, &[STREAM]);
    only.kill();
    cluster.replica_is(&only, false);
    let url = cluster.url().to_owned();
    let asking = thread::spawn(move || crowd(&url, 16, 16, &[Ask { tokens: 40, ..STREAM }, WHOLE]));
    cluster.becomes("routerwise_waiting", 16.0);
    let port = format!("--port={}", only.port());
    let only = Engine::start("small", &[&port]);
    let during = asking.join().unwrap();
    during.all_answered();
    drop(only);
    let seen: Tally = before.and(during);
    cluster.accounts_for(&seen);
}
