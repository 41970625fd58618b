//! What others send to the same engines is load too: their queues say so where our own counts cannot.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod shared;

use routerwise_route::core::RouterCore;
use routerwise_route::event::{Event, Gauges};
use routerwise_route::facts::{ModelSet, RequestFacts};
use routerwise_route::policy::mix;
use routerwise_route::settings::{Balance, Settings};
use shared::play::{at, base_prices, core_of, fixture, play};

fn says(core: &mut RouterCore, now: f64, (model, replica): (usize, usize), running: u32, kv_used: f32) {
    let gauges = Gauges {
        running,
        waiting: 0,
        kv_used,
    };
    let own = core.outstanding(model, replica);
    core.observe(
        at(now),
        Event::Metrics {
            model,
            replica,
            gauges,
            own,
        },
    );
}

/// Which replica of the first model each of some requests gets; none of them is answered.
fn replicas(core: &mut RouterCore, now: f64, numbers: std::ops::Range<u64>) -> [usize; 2] {
    let mut counts = [0; 2];
    for request in numbers {
        let facts = RequestFacts {
            allowed: ModelSet::only(0),
            ..RequestFacts::new(&[], request, mix(request), at(now))
        };
        let ticket = core.route(at(now), &facts).sent().unwrap().ticket;
        counts[ticket.replica] += 1;
        core.observe(at(now), Event::Cancelled(ticket));
    }
    counts
}

#[test]
fn a_replica_that_others_keep_busy_is_avoided_until_its_word_is_old() {
    for balance in [Balance::TwoChoices, Balance::LeastWait] {
        let settings = Settings {
            balance,
            ..Settings::default()
        };
        let mut core = core_of(&fixture(), settings);
        says(&mut core, 10.0, (0, 0), 6, 0.1);
        says(&mut core, 10.0, (0, 1), 0, 0.1);
        assert_eq!(replicas(&mut core, 10.0, 0..40), [0, 40], "{balance:?}");
        assert_eq!(core.snapshot(at(10.0)).models[0].replicas[0].others, 6);
        let old = core.snapshot(at(16.0)).models[0].replicas[0];
        assert_eq!((old.others, old.gauges), (0, None));
        assert!(replicas(&mut core, 16.0, 40..80)[0] > 0, "{balance:?}");
    }
}

#[test]
fn our_own_requests_are_not_taken_for_those_of_others() {
    let mut core = core_of(&fixture(), Settings::default());
    let facts = RequestFacts {
        allowed: ModelSet::only(1),
        ..RequestFacts::new(&[], 1, 1, at(1.0))
    };
    let first = core.route(at(1.0), &facts).sent().unwrap().ticket;
    let own = core.outstanding(1, 0);
    // It ends while the question is under way.
    core.observe(at(1.1), Event::Cancelled(first));
    let gauges = Gauges {
        running: 1,
        waiting: 2,
        kv_used: 0.0,
    };
    core.observe(
        at(1.2),
        Event::Metrics {
            model: 1,
            replica: 0,
            gauges,
            own,
        },
    );
    assert_eq!(core.snapshot(at(1.2)).models[1].replicas[0].others, 2);
}

#[test]
fn a_full_cache_counts_although_few_requests_fill_it() {
    let mut core = core_of(&fixture(), Settings::default());
    says(&mut core, 10.0, (0, 0), 1, 0.99);
    says(&mut core, 10.0, (0, 1), 2, 0.5);
    assert_eq!(replicas(&mut core, 10.0, 0..20), [0, 20]);
}

#[test]
fn expected_waits_and_prices_know_the_queues_of_others() {
    let fixture = fixture();
    let mut core = core_of(&fixture, Settings::default());
    play(&mut core, &fixture, 0.0, 60.0, 15.0);
    let before = base_prices(&core, 60.0);
    let ask = |core: &mut RouterCore, now: f64| {
        let scores = [0.5; 3];
        let facts = RequestFacts {
            allowed: ModelSet::only(2),
            ..RequestFacts::new(&scores, 1_000_000, 1, at(now))
        };
        let send = *core.route(at(now), &facts).sent().unwrap();
        core.observe(at(now), Event::Cancelled(send.ticket));
        (send.ttft.unwrap().value(), send.price)
    };
    let idle = ask(&mut core, 60.0);
    says(&mut core, 60.0, (2, 0), 30, 0.5);
    let busy = ask(&mut core, 60.0);
    assert!(busy.0 > 2.0 * idle.0, "the wait goes from {} to {}", idle.0, busy.0);
    assert!(busy.1 > idle.1, "the price goes at once from {} to {}", idle.1, busy.1);
    // While others stay, prices are solved for what they leave.
    for second in 60..100 {
        let now = f64::from(second);
        says(&mut core, now, (2, 0), 30, 0.5);
        play(&mut core, &fixture, now, now + 1.0, 15.0);
    }
    let after = base_prices(&core, 100.0);
    assert!(after[2] > before[2] + 0.01, "{before:?} {after:?}");
    let snapshot = core.snapshot(at(100.0));
    assert!(snapshot.routes[0].fractions[2] < 0.3, "{snapshot:?}");
}
