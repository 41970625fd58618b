//! What the gateway costs: the decision alone, and the whole proxy in front of an engine that answers at once.
//!
//! ```sh
//! cargo bench -p routerwise-gateway --bench gateway                  # or: -- [seconds of each load] [requests/s of the open loop]
//! ```
//!
//! The gateway is a process of its own, so that its allocations and its time on a core can be counted; engine and clients share another
//! one. Requests, arrivals and chance are fixed by [`SEED`]. The bench fails when an answer is not the engine's, when a decision is not
//! the best score less price, when a request allocates more often than is recorded here, or when an engine hears of a client's leaving
//! too late; times are reported.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench talks to the person who started it; the panic is the report"
)]

#[path = "../../tests/common/mod.rs"]
#[allow(unused_imports, reason = "the tests use more of it")]
mod common;

mod behind;
mod client;
mod counting;
mod decision;
mod engine;
mod leaving;

use std::net::SocketAddr;
use std::time::Duration;

use behind::Behind;
use client::{Kind, Taken};
use engine::Engine;

/// Of arrivals, prompts and labels.
const SEED: u64 = 1;
/// Requests per second of the open loop, direct and through the gateway together: a small part of what either can do.
const RATE: f64 = 200.0;
/// Seconds of each load.
const SECONDS: f64 = 10.0;
/// Clients that ask one after another, when as much is asked as can be answered.
const AT_ONCE: usize = 32;
/// Allocations of the gateway for one request, beyond which something was added: they hardly jitter.
const MOST_ALLOCATIONS: [(Kind, f64); 2] = [(Kind::Whole, 72.0), (Kind::Stream, 96.0)];

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["gateway", engine] = words[..] {
        return behind::run(engine.parse().unwrap());
    }
    let number = |nth: usize, usual: f64| words.get(nth).map_or(usual, |word| word.parse().unwrap());
    let lasting = Duration::from_secs_f64(number(0, SECONDS));
    let rate = number(1, RATE);

    decision::run();
    let engine = Engine::start();
    let mut gateway = Behind::start(engine.at);
    added(engine.at, gateway.at, rate, lasting);
    for kind in Kind::ALL {
        saturated(engine.at, &mut gateway, kind, lasting);
    }
    leaving::run(&engine, gateway.at);
}

/// What the gateway adds to a request while nobody waits for anybody: an open loop, one request to the engine, the next to the gateway.
fn added(engine: SocketAddr, gateway: SocketAddr, rate: f64, lasting: Duration) {
    println!(
        "\n{rate} requests/s, to the engine and through the gateway in turn, {:.0} s each; microseconds:",
        lasting.as_secs_f64()
    );
    println!("                          direct             through            added");
    println!("                          p50      p99       p50      p99       p50      p99");
    for kind in Kind::ALL {
        let taken = client::open_loop([engine, gateway], kind, rate, lasting);
        let row = |name: &str, of: fn(&Taken) -> Duration| {
            let [direct, through] = [0, 1].map(|to| {
                let mut times: Vec<Duration> = taken.iter().filter(|taken| taken.to == to).map(of).collect();
                times.sort_unstable();
                [0.50, 0.99].map(|part| quantile(&times, part))
            });
            let added = [0, 1].map(|at| through[at] - direct[at]);
            let cells: String = [direct, through, added]
                .iter()
                .flatten()
                .map(|value| format!("{value:9.1}"))
                .collect();
            println!("{name:20}{cells}");
        };
        match kind {
            Kind::Whole => row("whole answer", |taken| taken.last),
            Kind::Stream => {
                row("stream, first byte", |taken| taken.first);
                row("stream, last byte", |taken| taken.last);
            }
        }
        let late = taken.iter().filter(|taken| taken.late).count();
        println!(
            "                    {} requests; {:.2} % found no client free and count from when they were due",
            taken.len(),
            100.0 * late as f64 / taken.len() as f64
        );
    }
}

/// Microseconds.
fn quantile(sorted: &[Duration], part: f64) -> f64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a list"
    )]
    let at = ((sorted.len() - 1) as f64 * part).round() as usize;
    sorted[at].as_secs_f64() * 1e6
}

/// As much as goes through, and what a request costs then.
fn saturated(engine: SocketAddr, gateway: &mut Behind, kind: Kind, lasting: Duration) {
    println!("\n{kind}, {AT_ONCE} clients that ask one after another:");
    for (name, to) in [("direct", engine), ("through", gateway.at)] {
        client::closed_loop(to, kind, AT_ONCE, lasting.mul_f64(0.2));
        let before = gateway.spent();
        let mut load = client::closed_loop(to, kind, AT_ONCE, lasting);
        let after = gateway.spent();
        load.times.sort_unstable();
        let n = load.times.len() as f64;
        print!(
            "  {name:8}{:8.0} requests/s, p50 {:.0} us, p99 {:.0} us",
            n / load.lasted.as_secs_f64(),
            quantile(&load.times, 0.5),
            quantile(&load.times, 0.99)
        );
        if to == gateway.at {
            let allocations = (after.allocations - before.allocations) as f64 / n;
            let on_a_core = (after.on_a_core - before.on_a_core).as_secs_f64() / n * 1e6;
            print!("; in the gateway {on_a_core:.1} us of one core and {allocations:.1} allocations a request");
            let most = MOST_ALLOCATIONS.iter().find(|(of, _)| *of == kind).unwrap().1;
            assert!(
                allocations < most,
                "a request allocates {allocations} times, not below {most}"
            );
        }
        println!();
    }
}
