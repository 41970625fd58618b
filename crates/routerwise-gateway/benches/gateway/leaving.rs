//! How long an engine goes on working for a client that has gone away.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::client::request;
use crate::engine::{Engine, HALF, Noticed, SILENT};

const ROUNDS: usize = 100;
/// What half of the rounds must be below.
const MOST: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn run(engine: &Engine, gateway: SocketAddr) {
    println!("\nfrom a client's leaving to its engine's noticing, {ROUNDS} rounds each, milliseconds:");
    for (name, how) in [("during prefill", SILENT), ("in mid-stream", HALF)] {
        let mut times: Vec<Duration> = (0..ROUNDS).map(|_| round(engine, gateway, how)).collect();
        times.sort_unstable();
        let millis = |at: usize| times[at].as_secs_f64() * 1e3;
        println!(
            "  {name:16} p50 {:.2}, p99 {:.2}, longest {:.2}",
            millis(ROUNDS / 2),
            millis(ROUNDS * 99 / 100),
            millis(ROUNDS - 1)
        );
        assert!(times[ROUNDS / 2] < MOST, "{:?}", times[ROUNDS / 2]);
    }
}

fn round(engine: &Engine, gateway: SocketAddr, how: &str) -> Duration {
    let mut client = TcpStream::connect(gateway).unwrap();
    client.write_all(&request(&format!(",\"stream\":true,{how}"))).unwrap();
    assert!(matches!(engine.noticed.recv_timeout(PATIENCE), Ok(Noticed::Arrived)));
    let mut seen = Vec::new();
    let mut piece = [0; 4096];
    // All that is there: what is left unread would make the system say it in another way.
    while how == HALF && !seen.ends_with(b"\n\n\r\n") {
        let n = client.read(&mut piece).unwrap();
        assert!(n > 0, "the stream broke off");
        seen.extend_from_slice(&piece[..n]);
    }
    let gone = Instant::now();
    drop(client);
    match engine.noticed.recv_timeout(PATIENCE) {
        Ok(Noticed::Left(at)) => at - gone,
        other => panic!("the engine was not told: {other:?}"),
    }
}
