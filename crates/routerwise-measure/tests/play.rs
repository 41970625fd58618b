//! The load generator against a server that does as it is told.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod server;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use routerwise_measure::play::{Answerer, Load, Played, Progress, Settings, Unwatched, Users, Watch, Window, play};
use routerwise_measure::probe::probe;
use routerwise_measure::prompts::Prompts;
use routerwise_measure::record::Record;
use routerwise_measure::schedule::{Schedule, Stage};
use routerwise_measure::summary::{load_point, summarise};
use routerwise_measure::target::{Api, Target};
use routerwise_types::report::Limit;
use routerwise_types::workload::{Arrivals, Lengths, Metric};
use routerwise_types::{RequestsPerSecond, Seconds};
use server::{Manner, Server};

const LENGTHS: Lengths = Lengths { input: 12, output: 6 };

fn seconds(value: f64) -> Seconds {
    Seconds::new(value).unwrap()
}

fn steady(rate: f64, lasts: f64) -> Schedule {
    let stage = Stage::steady(RequestsPerSecond::new(rate).unwrap(), seconds(lasts));
    Schedule::staged(Arrivals::Poisson, &[stage], &[LENGTHS], 1)
}

fn settings(load: Load) -> Settings {
    Settings {
        load,
        prompts: Prompts::filler(1),
        window: Window::Requests(0..usize::MAX),
        timeout: Duration::from_secs(20),
        max_in_flight: 500,
        with_gaps: false,
    }
}

fn target(server: &Server, model: &str) -> Target {
    Target::new(&server.url(), Api::Chat, model).unwrap()
}

fn run(server: &Server, model: &str, schedule: Schedule) -> Played {
    play(&target(server, model), &settings(Load::Open(schedule)), &mut Unwatched).unwrap()
}

#[test]
fn every_request_of_a_schedule_is_sent_answered_and_measured() {
    let server = Server::start(Manner {
        first: Duration::from_millis(20),
        gap: Duration::from_millis(4),
        ..Manner::default()
    });
    let played = run(&server, "m", steady(100.0, 1.0));
    let measured = summarise(&played, &[]);
    assert_eq!(
        (measured.n_sent, measured.n_answered, measured.failures.len()),
        (100, 100, 0)
    );
    assert!((measured.offered.unwrap().value() - 100.0).abs() < 1e-6);
    let all = &measured.all;
    let mean = |latency: &Option<routerwise_types::answer::bench::Latency>| latency.as_ref().unwrap().mean.value();
    assert!(mean(&all.ttft) >= 0.020 && mean(&all.tpot) >= 0.004, "{all:?}");
    assert!(
        mean(&all.e2e) >= 0.040 && (mean(&all.itl) - mean(&all.tpot)).abs() < 1e-6,
        "{all:?}"
    );
    assert_eq!(all.itl.as_ref().unwrap().n, 500);
    assert!((all.input_tokens - 11.0).abs() < 1e-9 && (all.output_tokens - 6.0).abs() < 1e-9);
    assert!(measured.models.is_empty() && measured.n_uncounted == 0);
    // Connections are used again.
    assert!(played.n_connections < 60, "{}", played.n_connections);
    assert_eq!(load_point(&played).unwrap().n_requests, 100);
}

#[test]
fn latency_counts_from_the_intended_time_when_the_server_makes_everyone_wait() {
    // One at a time, 50 ms each, and 40 a second arrive: whoever comes last waits for all before.
    let server = Server::start(Manner {
        first: Duration::from_millis(50),
        at_once: 1,
        ..Manner::default()
    });
    let played = run(&server, "m", steady(40.0, 1.0));
    let measured = summarise(&played, &[]);
    let ttft = measured.all.ttft.unwrap();
    assert!(ttft.longest.value() > 0.8 && ttft.mean.value() > 0.4, "{ttft:?}");
    assert!(measured.saturation.unwrap().saturated, "{:?}", measured.saturation);
    // That is the server's doing, not ours.
    assert!(
        measured.lag.kept_up && measured.lag.mean.value() < 0.05,
        "{:?}",
        measured.lag
    );
}

#[test]
fn users_wait_for_their_answer_before_they_ask_again() {
    let server = Server::start(Manner {
        first: Duration::from_millis(5),
        ..Manner::default()
    });
    let users = Users {
        n_users: 3,
        think: Seconds::ZERO,
        lengths: vec![LENGTHS],
        n_requests: Some(60),
        lasts: None,
    };
    let played = play(&target(&server, "m"), &settings(Load::Closed(users)), &mut Unwatched).unwrap();
    let measured = summarise(&played, &[]);
    assert_eq!((measured.n_answered, measured.n_connections), (60, 3));
    assert!(measured.in_flight <= 3.01 && measured.offered.is_none() && measured.saturation.is_none());
    assert!(measured.achieved.value() > 20.0, "{measured:?}");
}

#[test]
fn failures_are_counted_by_kind_and_the_good_ones_kept() {
    let server = Server::start(Manner::default());
    for (model, kind) in [
        ("busy", "status 503"),
        ("cut", "cut stream"),
        ("reset", "cut stream"),
        ("rubbish", "malformed stream"),
        ("failing", "error in mid-stream"),
    ] {
        let measured = summarise(&run(&server, model, steady(100.0, 0.2)), &[]);
        assert_eq!(measured.n_answered + measured.n_failed, 20, "{model}");
        assert!(measured.n_failed.abs_diff(10) <= 1, "{model}: {measured:?}");
        assert_eq!(measured.failures.len(), 1, "{model}: {:?}", measured.failures);
        assert_eq!(measured.failures[0].kind, kind);
    }
    let mut hasty = settings(Load::Open(steady(100.0, 0.2)));
    hasty.timeout = Duration::from_millis(500);
    let played = play(&target(&server, "hanging"), &hasty, &mut Unwatched).unwrap();
    assert_eq!(summarise(&played, &[]).failures[0].kind, "timeout");
}

#[test]
fn a_server_that_goes_away_is_a_failure_to_connect() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let target = Target::new(&format!("http://{free}"), Api::Chat, "m").unwrap();
    let played = play(&target, &settings(Load::Open(steady(50.0, 0.2))), &mut Unwatched).unwrap();
    let measured = summarise(&played, &[]);
    assert_eq!((measured.n_answered, measured.failures[0].n), (0, 10));
    assert_eq!(measured.failures[0].kind, "connect");
}

#[test]
fn a_connection_that_the_server_closed_meanwhile_is_no_failure() {
    let server = Server::start(Manner {
        closes: true,
        ..Manner::default()
    });
    let measured = summarise(&run(&server, "m", steady(100.0, 0.3)), &[]);
    assert_eq!((measured.n_answered, measured.failures.len()), (30, 0));
}

#[test]
fn who_answered_is_told_apart_by_the_headers_of_the_gateway() {
    let server = Server::start(Manner::default());
    let limits = [Limit {
        metric: Metric::Ttft,
        target: seconds(5.0),
    }];
    let measured = summarise(&run(&server, "auto", steady(200.0, 0.4)), &limits);
    let models: Vec<_> = measured
        .models
        .iter()
        .map(|served| (served.model.as_deref().unwrap(), served.n_answered))
        .collect();
    assert_eq!(models, [("large", 20), ("small", 60)]);
    // r0 of large, r0 and r1 of small.
    assert_eq!(measured.replicas.len(), 3);
    let sum: f64 = measured
        .models
        .iter()
        .map(|served| served.goodput.unwrap().value())
        .sum();
    assert!((sum - measured.goodput.unwrap().value()).abs() < 1e-6);
    assert!((measured.good.unwrap().value() - 1.0).abs() < 1e-9);
}

#[test]
fn tokens_that_the_server_does_not_count_are_counted_by_piece_and_that_is_said() {
    let server = Server::start(Manner::default());
    let measured = summarise(&run(&server, "uncounted", steady(100.0, 0.2)), &[]);
    assert_eq!(measured.n_uncounted, 20);
    assert!((measured.all.output_tokens - 6.0).abs() < 1e-9);
}

#[test]
fn more_in_flight_than_allowed_are_not_sent_and_that_is_said() {
    let server = Server::start(Manner {
        first: Duration::from_secs(1),
        ..Manner::default()
    });
    let mut few = settings(Load::Open(steady(100.0, 0.3)));
    few.max_in_flight = 10;
    let measured = summarise(&play(&target(&server, "m"), &few, &mut Unwatched).unwrap(), &[]);
    assert_eq!((measured.n_answered, measured.lag.n_not_sent), (10, 20));
    assert!(!measured.lag.kept_up);
}

struct StopAfter {
    n: usize,
    seen: usize,
}

impl Watch for StopAfter {
    fn progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        if progress.n_answered >= self.n {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn finished(&mut self, _: usize, record: &Record, gaps: &[f32], _: &[Answerer]) -> ControlFlow<()> {
        assert!(record.request().is_some() && gaps.len() == 5);
        self.seen += 1;
        ControlFlow::Continue(())
    }
}

#[test]
fn a_run_that_is_stopped_keeps_what_it_has() {
    let server = Server::start(Manner::default());
    let mut long = settings(Load::Open(steady(100.0, 600.0)));
    long.with_gaps = true;
    let mut watch = StopAfter { n: 20, seen: 0 };
    let played = play(&target(&server, "m"), &long, &mut watch).unwrap();
    let measured = summarise(&played, &[]);
    assert!(played.stopped && measured.n_answered >= 20 && measured.n_sent < 10_000);
    assert!(watch.seen >= 20);
}

#[test]
fn requests_outside_the_window_are_played_but_not_counted() {
    let server = Server::start(Manner::default());
    let mut part = settings(Load::Open(steady(200.0, 0.5)));
    part.window = Window::Requests(10..90);
    let measured = summarise(&play(&target(&server, "m"), &part, &mut Unwatched).unwrap(), &[]);
    assert_eq!(
        (measured.n_sent, measured.n_requests, measured.n_answered),
        (100, 80, 80)
    );
    assert_eq!(measured.all.itl.unwrap().n, 400);
}

#[test]
fn what_would_fail_every_request_is_found_before_the_run() {
    let server = Server::start(Manner::default());
    let timeout = Duration::from_secs(5);
    let said = |target: &Target| {
        probe(target, &Prompts::filler(1), LENGTHS, timeout)
            .unwrap_err()
            .to_string()
    };
    assert!(said(&target(&server, "unknown")).contains("has no model `unknown`"));
    let page = Target::new(&format!("{}/page", server.url()), Api::Chat, "m").unwrap();
    assert!(said(&page).contains("no OpenAI-compatible endpoint"), "{}", said(&page));
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let nobody = Target::new(&format!("http://{free}"), Api::Chat, "m").unwrap();
    assert!(said(&nobody).contains("nothing answers"), "{}", said(&nobody));
    let closed = Server::start(Manner {
        key: Some("right"),
        ..Manner::default()
    });
    assert!(said(&target(&closed, "m")).contains("refuses the key: a key is wanted"));
    assert!(said(&target(&closed, "m").with_key("wrong").unwrap()).contains("refuses the key"));
    let right = target(&closed, "m").with_key("right").unwrap();
    let probed = probe(&right, &Prompts::filler(1), LENGTHS, timeout).unwrap();
    assert_eq!((probed.usage.unwrap().prompt_tokens, probed.models.len()), (11, 2));
    assert_eq!(server.n_requests.load(Ordering::Relaxed), 1);
}

#[test]
fn https_is_spoken_to_whom_the_given_certificate_vouches_for_and_to_nobody_else() {
    let tls = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/tls");
    let server = Server::start_with(Manner::default(), Some(server::tls(&tls)));
    let url = format!("https://localhost:{}", server.address.port());
    let target = Target::new(&url, Api::Chat, "m").unwrap();
    let timeout = Duration::from_secs(5);
    let refused = probe(&target, &Prompts::filler(1), LENGTHS, timeout)
        .unwrap_err()
        .to_string();
    assert!(refused.contains("certificate"), "{refused}");
    let trusting = target.with_certificates(&tls.join("cert.pem")).unwrap();
    let played = play(&trusting, &settings(Load::Open(steady(100.0, 0.2))), &mut Unwatched).unwrap();
    assert_eq!(summarise(&played, &[]).n_answered, 20);
}
