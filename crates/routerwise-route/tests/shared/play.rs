//! Playing requests against a router: what comes when, and what its answers take.

#![allow(dead_code, reason = "each test file uses its own part")]
#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a failure here is a failed test; counts of requests, and seconds as numbers"
)]

use routerwise_route::core::RouterCore;
use routerwise_route::decision::Ticket;
use routerwise_route::event::Event;
use routerwise_route::facts::RequestFacts;
use routerwise_route::policy::mix;
use routerwise_route::settings::Settings;
use routerwise_types::Timestamp;

use super::Fixture;

pub(crate) fn fixture() -> Fixture {
    Fixture {
        n_replicas: vec![2, 1, 1],
        prices: vec![0.0; 3],
        fractions: vec![0.4, 0.3, 0.3],
        slo_price: 0.02,
        rate: 20.0,
    }
}

pub(crate) fn at(seconds: f64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

pub(crate) fn core_of(fixture: &Fixture, settings: Settings) -> RouterCore {
    RouterCore::new(&fixture.plan(), Some(fixture.curves()), settings).unwrap()
}

pub(crate) fn refresh(core: &mut RouterCore, now: Timestamp) {
    if let Some(job) = core.refresh(now) {
        let solved = job.solve();
        core.apply(now, solved);
    }
}

/// Sends `rate` requests/s for some seconds; each is answered after a second. Gives the requests that were sent to each model.
pub(crate) fn play(core: &mut RouterCore, fixture: &Fixture, from: f64, to: f64, rate: f64) -> Vec<usize> {
    play_slowly(core, fixture, (from, to), rate, 1.0)
}

/// The same with answers that take this many seconds.
pub(crate) fn play_slowly(
    core: &mut RouterCore,
    fixture: &Fixture,
    (from, to): (f64, f64),
    rate: f64,
    takes: f64,
) -> Vec<usize> {
    let mut counts = vec![0; fixture.n_replicas.len()];
    let mut under_way: Vec<(Timestamp, Ticket)> = Vec::new();
    let n = ((to - from) * rate).round() as u64;
    for nth in 0..n {
        let now = at(from + nth as f64 / rate);
        let (done, rest): (Vec<_>, Vec<_>) = under_way.into_iter().partition(|(end, _)| *end <= now);
        under_way = rest;
        for (end, ticket) in done {
            core.observe(end, Event::Cancelled(ticket));
        }
        refresh(core, now);
        let request = (from * 1e6) as u64 + nth;
        let scores = fixture.scores(request);
        if let Some(send) = core
            .route(now, &RequestFacts::new(&scores, request, mix(request), now))
            .sent()
        {
            counts[send.ticket.model] += 1;
            under_way.push((at(from + nth as f64 / rate + takes), send.ticket));
        }
    }
    for (_, ticket) in under_way {
        core.observe(at(to), Event::Cancelled(ticket));
    }
    counts
}

pub(crate) fn base_prices(core: &RouterCore, now: f64) -> Vec<f64> {
    core.snapshot(at(now)).routes[0].base_prices.clone()
}
