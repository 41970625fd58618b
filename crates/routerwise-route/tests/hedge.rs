//! Second copies of requests: when they are advised, within which bounds, and what is learned of them.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod shared;

use routerwise_route::core::RouterCore;
use routerwise_route::decision::{Decision, HedgeWhy, Refusal, Send};
use routerwise_route::event::Event;
use routerwise_route::facts::{RequestFacts, Tried};
use routerwise_route::replica::Breaker;
use routerwise_route::settings::{HedgeSettings, RetrySettings, Settings};
use routerwise_types::Seconds;
use shared::Fixture;
use shared::play::{at, core_of, fixture};

const HEDGE: HedgeSettings = HedgeSettings {
    predicted: true,
    target: None,
    quantile: None,
};

fn settings(hedge: HedgeSettings) -> Settings {
    let mut settings = Settings::default();
    settings.routes[0].hedge = Some(hedge);
    settings
}

fn one_model(n_replicas: u32) -> Fixture {
    Fixture {
        n_replicas: vec![n_replicas],
        prices: vec![0.0],
        fractions: vec![1.0],
        ..fixture()
    }
}

fn ask(core: &mut RouterCore, request: u64, target: Option<f64>) -> Send {
    let facts = RequestFacts {
        ttft_target: target.map(|target| Seconds::new(target).unwrap()),
        ..RequestFacts::new(&[0.5], request, request, at(0.0))
    };
    *core.route(at(0.0), &facts).sent().unwrap()
}

#[test]
fn a_hedge_is_advised_when_the_target_is_out_of_reach_where_the_request_goes() {
    let mut core = core_of(&one_model(2), settings(HEDGE));
    assert!(ask(&mut core, 1, Some(10.0)).hedge.is_none());
    assert!(ask(&mut core, 2, None).hedge.is_none(), "nothing to miss");
    let hopeless = ask(&mut core, 3, Some(0.01));
    assert_eq!(hopeless.hedge.unwrap().why, HedgeWhy::Predicted);
    assert!(hopeless.degraded);
    // The plan's objective counts where nobody asks for anything else, and so does a deadline.
    let planned = HedgeSettings {
        target: Some(Seconds::new(0.01).unwrap()),
        ..HEDGE
    };
    let mut core = core_of(&one_model(2), settings(planned));
    assert!(ask(&mut core, 1, None).hedge.is_some());
    assert!(ask(&mut core, 2, Some(10.0)).hedge.is_none());
    let mut core = core_of(&one_model(2), settings(HEDGE));
    let facts = RequestFacts {
        deadline: Some(at(0.02)),
        ..RequestFacts::new(&[0.5], 1, 1, at(0.0))
    };
    assert!(core.route(at(0.0), &facts).sent().unwrap().hedge.is_some());
}

#[test]
fn without_another_replica_or_unless_it_was_switched_on_there_is_no_hedge() {
    let mut core = core_of(&one_model(1), settings(HEDGE));
    assert!(ask(&mut core, 1, Some(0.01)).hedge.is_none());
    let mut core = core_of(&one_model(2), Settings::default());
    assert!(ask(&mut core, 1, Some(0.01)).hedge.is_none());
}

#[test]
fn what_takes_longer_than_nearly_all_is_hedged_and_the_slow_ones_are_not_forgotten() {
    let late = HedgeSettings {
        predicted: false,
        target: None,
        quantile: Some(0.9),
    };
    let mut core = core_of(&one_model(2), settings(late));
    let hedged_after = |core: &mut RouterCore, request| {
        let send = ask(core, request, None);
        core.observe(at(0.0), Event::Cancelled(send.ticket));
        send.hedge.map(|hedge| hedge.after.value())
    };
    assert_eq!(hedged_after(&mut core, 0), None, "nothing is known yet");
    for request in 1..=320u64 {
        let ticket = ask(&mut core, request, None).ticket;
        // Every tenth is slow, and overtaken by its copy after half a second.
        if request % 10 == 0 {
            core.observe(at(0.5), Event::Overtaken(ticket));
        } else {
            core.observe(at(0.1), Event::FirstToken(ticket));
            core.observe(at(0.2), Event::Cancelled(ticket));
        }
    }
    let after = hedged_after(&mut core, 1_000).unwrap();
    assert!((after - 0.1).abs() < 1e-9, "{after}");
    let slowest = HedgeSettings {
        quantile: Some(0.95),
        ..late
    };
    let mut core = core_of(&one_model(2), settings(slowest));
    for request in 1..=320u64 {
        let ticket = ask(&mut core, request, None).ticket;
        if request % 10 == 0 {
            core.observe(at(0.5), Event::Overtaken(ticket));
        } else {
            core.observe(at(0.1), Event::FirstToken(ticket));
            core.observe(at(0.2), Event::Cancelled(ticket));
        }
    }
    let after = hedged_after(&mut core, 1_000).unwrap();
    assert!((after - 0.5).abs() < 1e-9, "{after}");
}

#[test]
fn copies_come_out_of_the_budget_for_retries_and_losing_opens_no_breaker() {
    let settings = Settings {
        retries: RetrySettings {
            attempts_most: 3,
            budget: 0.0,
            burst: 5.0,
        },
        ..settings(HEDGE)
    };
    let mut core = core_of(&one_model(2), settings);
    let mut sent = 0;
    for request in 0..20u64 {
        let first = ask(&mut core, request, Some(0.01));
        let tried = [Tried {
            model: 0,
            replica: first.ticket.replica,
        }];
        let copy = RequestFacts {
            tried: &tried,
            ..RequestFacts::new(&[0.5], request, request, at(0.0))
        };
        match core.route(at(0.0), &copy) {
            Decision::Send(second) => {
                assert_ne!(second.ticket.replica, first.ticket.replica);
                assert!(second.hedge.is_none(), "two are enough");
                sent += 1;
                core.observe(at(0.0), Event::Cancelled(second.ticket));
            }
            Decision::Shed { why, .. } => assert_eq!(why, Refusal::NoRetry),
            Decision::Wait { .. } => panic!("a copy does not wait"),
        }
        core.observe(at(0.0), Event::Overtaken(first.ticket));
    }
    assert_eq!(sent, 5);
    let snapshot = core.snapshot(at(1.0));
    let replicas = &snapshot.models[0].replicas;
    assert!(
        replicas
            .iter()
            .all(|replica| replica.breaker == Breaker::Closed && replica.outstanding == 0)
    );
}
