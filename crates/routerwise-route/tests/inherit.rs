//! A router that replaces another one knows what that one learned about what is still the same.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

mod shared;

use routerwise_route::core::{RouterCore, Same};
use routerwise_route::event::{Event, Failure};
use routerwise_route::facts::{ModelSet, RequestFacts};
use routerwise_route::policy::mix;
use routerwise_route::replica::Breaker;
use routerwise_route::settings::Settings;
use shared::Fixture;
use shared::play::{at, core_of, fixture, play};

/// Everything is the same.
fn all_of(fixture: &Fixture) -> Same {
    Same {
        models: (0..fixture.n_replicas.len()).map(Some).collect(),
        replicas: fixture
            .n_replicas
            .iter()
            .map(|n| (0..*n as usize).map(Some).collect())
            .collect(),
        routes: vec![Some(0)],
        plan: true,
    }
}

fn ask(core: &mut RouterCore, now: f64, number: u64, model: usize) -> routerwise_route::decision::Ticket {
    let facts = RequestFacts {
        allowed: ModelSet::only(model),
        session: Some(77),
        prompt_tokens: 10_000,
        ..RequestFacts::new(&[0.5; 3], number, mix(number), at(now))
    };
    core.route(at(now), &facts).sent().unwrap().ticket
}

/// A router that knows a broken replica, a slow one, a session and prices.
fn learned(fixture: &Fixture) -> RouterCore {
    let mut core = core_of(fixture, Settings::default());
    play(&mut core, fixture, 0.0, 60.0, 20.0);
    for number in 0..60u64 {
        let ticket = ask(&mut core, 60.0, number, 1);
        let event = Event::Finished {
            ticket,
            ttft: None,
            output_tokens: 0,
        };
        core.observe(at(70.0 + number as f64 * 0.1), event);
    }
    for _ in 0..3 {
        let ticket = ask(&mut core, 76.0, 1_000, 2);
        let failure = Failure::Connect;
        core.observe(at(76.0), Event::Failed { ticket, failure });
    }
    core
}

#[test]
fn nothing_is_forgotten_where_nothing_has_changed() {
    let fixture = fixture();
    let before = learned(&fixture);
    let mut after = core_of(&fixture, Settings::default());
    after.inherit(at(76.0), &before, &all_of(&fixture));
    let (old, new) = (before.snapshot(at(76.0)), after.snapshot(at(76.0)));
    assert_eq!(new.models, old.models);
    assert_eq!(new.routes, old.routes);
    assert!(matches!(new.models[2].replicas[0].breaker, Breaker::Open { .. }));
    assert!(new.models[1].slowness > 1.5, "{}", new.models[1].slowness);
    assert!(new.routes[0].live && new.routes[0].n_sampled > 256);
    // Both decide the same from then on.
    let (mut before, mut after) = (before, after);
    for number in 2_000..2_100u64 {
        let scores = fixture.scores(number);
        let facts = RequestFacts {
            session: Some(77),
            ..RequestFacts::new(&scores, number, mix(number), at(76.1))
        };
        assert_eq!(before.route(at(76.1), &facts), after.route(at(76.1), &facts));
    }
}

#[test]
fn what_was_in_flight_stays_with_the_old_one() {
    let fixture = fixture();
    let mut before = learned(&fixture);
    let probe_at = 78.0;
    // The broken replica is being tried when the router is replaced.
    let probe = ask(&mut before, probe_at, 5_000, 2);
    assert!(probe.probe && before.outstanding(2, 0) == 1);
    let mut after = core_of(&fixture, Settings::default());
    after.inherit(at(probe_at), &before, &all_of(&fixture));
    assert_eq!(after.outstanding(2, 0), 0);
    // Who tries tells the old one, so the new one tries for itself.
    assert!(ask(&mut after, probe_at, 5_001, 2).probe);
    before.observe(at(79.0), Event::Cancelled(probe));
}

#[test]
fn replicas_and_models_are_known_wherever_they_are_now() {
    let fixture = fixture();
    let before = learned(&fixture);
    // Model 1 comes first now, with its replica and a new one; the others are gone.
    let smaller = Fixture {
        n_replicas: vec![2, 1],
        prices: vec![0.0; 2],
        fractions: vec![0.5; 2],
        ..fixture
    };
    let mut after = core_of(&smaller, Settings::default());
    let same = Same {
        models: vec![Some(1), None],
        replicas: vec![vec![None, Some(0)], vec![None]],
        routes: vec![Some(0)],
        plan: false,
    };
    after.inherit(at(76.0), &before, &same);
    let snapshot = after.snapshot(at(76.0));
    let [new, known] = &snapshot.models[0].replicas[..] else {
        panic!("{snapshot:?}")
    };
    assert!(
        new.ramp < 0.5 && known.ramp > 0.99,
        "a new one beside a known one is ramped"
    );
    // The curves are those of another model: how slow it is relative to them is not known.
    assert!((known.slowness - 1.0).abs() < 1e-9);
    // Nobody could spare the model without a known replica a ramp.
    assert!(snapshot.models[1].replicas[0].ramp > 0.99);
    assert!(!snapshot.routes[0].live);
    assert!((snapshot.routes[0].rate - before.snapshot(at(76.0)).routes[0].rate).abs() < 1e-9);
    // The session is where it was.
    assert_eq!(ask(&mut after, 76.0, 9_000, 0).replica, 1);
}
