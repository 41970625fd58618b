//! Prices that follow what is seen, through the interface that gateway and simulator call.

mod shared;

use proptest::prelude::*;
use routerwise_route::core::RouterCore;
use routerwise_route::decision::{Decision, Reason, Refusal, Ticket};
use routerwise_route::event::{Event, Failure};
use routerwise_route::facts::{ModelSet, Priority, RequestFacts};
use routerwise_route::policy::mix;
use routerwise_route::settings::{Balance, OutOfReach, Pricing, Settings};
use routerwise_types::Seconds;
use shared::play::{at, base_prices, core_of, fixture, play, play_slowly, refresh};
use shared::{Fixture, capacity};

#[test]
fn at_a_constant_load_prices_stay_where_they_are() {
    let fixture = fixture();
    let mut core = core_of(&fixture, Settings::default());
    play(&mut core, &fixture, 0.0, 250.0, 20.0);
    let solved = core.snapshot(at(250.0)).routes[0].clone();
    // A plan made of these prices is a fixed point of the refresh.
    let planned = Fixture {
        prices: solved.base_prices.clone(),
        fractions: solved.fractions.clone(),
        slo_price: solved.slo_prices[0] / 0.5,
        ..fixture
    };
    let mut core = core_of(&planned, Settings::default());
    let mut worst = 0.0f64;
    for minute in 0..5 {
        play(
            &mut core,
            &planned,
            f64::from(minute) * 60.0,
            f64::from(minute + 1) * 60.0,
            20.0,
        );
        let now = base_prices(&core, f64::from(minute + 1) * 60.0);
        let moved = now.iter().zip(&planned.prices).map(|(now, then)| (now - then).abs());
        worst = moved.fold(worst, f64::max);
    }
    assert!(worst < 0.02, "prices moved by {worst} from {:?}", planned.prices);
}

#[test]
fn more_traffic_makes_models_dearer_and_less_makes_them_cheaper() {
    let fixture = fixture();
    let mut core = core_of(&fixture, Settings::default());
    let calm = play(&mut core, &fixture, 0.0, 120.0, 8.0);
    let before = base_prices(&core, 120.0);
    play(&mut core, &fixture, 120.0, 200.0, 26.0);
    let busy = base_prices(&core, 200.0);
    assert!(busy[2] > before[2] + 0.02, "{before:?} {busy:?}");
    play(&mut core, &fixture, 200.0, 400.0, 8.0);
    let after = base_prices(&core, 400.0);
    assert!(after[2] < busy[2] - 0.02, "{busy:?} {after:?}");
    assert!(
        calm[2] > calm[0],
        "with room for it, the best model gets the most: {calm:?}"
    );
}

/// The objective's price follows by the time that passed since what it was solved from was seen, not since it came into force.
#[test]
fn prices_that_come_into_force_late_follow_as_fast() {
    let fixture = fixture();
    let risen = |late: f64| {
        let mut core = core_of(&fixture, Settings::default());
        play(&mut core, &fixture, 0.0, 120.0, 8.0);
        let before = core.snapshot(at(120.0)).routes[0].slo_prices[0];
        let mut now = 120.0;
        while now < 150.0 {
            let job = core.refresh(at(now)).unwrap();
            // Nothing is due while a solve is under way.
            play(&mut core, &fixture, now, now + late, 22.0);
            now += late;
            core.apply(at(now), job.solve());
        }
        (core.snapshot(at(now)).routes[0].slo_prices[0] / before).ln()
    };
    let (soon, late) = (risen(1.0), risen(3.0));
    assert!(soon > 0.1 && late > 0.6 * soon, "{soon} {late}");
}

#[test]
fn prices_move_within_their_bound() {
    let fixture = fixture();
    let settings = Settings::default();
    let Pricing::Live(live) = settings.pricing else {
        unreachable!()
    };
    let mut core = core_of(&fixture, settings);
    let mut last = base_prices(&core, 0.0);
    for second in 0..180u32 {
        let now = f64::from(second);
        play(
            &mut core,
            &fixture,
            now,
            now + 1.0,
            if second < 90 { 5.0 } else { 40.0 },
        );
        let prices = base_prices(&core, now + 1.0);
        for (price, before) in prices.iter().zip(&last) {
            assert!(
                (price - before).abs() <= 1.2 * live.step * (1.0 + before) + 1e-9,
                "{before} -> {price} at {now}"
            );
        }
        last = prices;
    }
}

#[test]
fn a_replica_that_dies_reprices_at_once_and_one_that_returns_is_ramped() {
    let fixture = fixture();
    let mut core = core_of(&fixture, Settings::default());
    play(&mut core, &fixture, 0.0, 100.0, 20.0);
    let before = core.snapshot(at(100.0)).routes[0].clone();
    core.observe(
        at(100.1),
        Event::Health {
            model: 0,
            replica: 1,
            up: false,
        },
    );
    assert!(
        core.next_deadline().unwrap() <= at(100.2),
        "not only at the next second"
    );
    let due = core.next_deadline().unwrap().max(at(100.1));
    refresh(&mut core, due);
    let after = core.snapshot(at(100.2)).routes[0].clone();
    assert!(
        after.base_prices[0] > before.base_prices[0] + 0.05,
        "{before:?} {after:?}"
    );
    core.observe(
        at(101.0),
        Event::Health {
            model: 0,
            replica: 1,
            up: true,
        },
    );
    let counts = |core: &mut RouterCore, from: f64| {
        let mut counts = [0, 0];
        for nth in 0..200u64 {
            let scores = [1.0, 0.0, 0.0];
            let now = at(from);
            let facts = RequestFacts {
                allowed: ModelSet::only(0),
                ..RequestFacts::new(&scores, nth, mix(nth), now)
            };
            counts[core.route(now, &facts).sent().unwrap().ticket.replica] += 1;
        }
        counts
    };
    let mut fresh = core.clone();
    let early = counts(&mut fresh, 101.0);
    assert!(early[1] * 4 < early[0], "{early:?}");
    let late = counts(&mut core, 120.0);
    assert!(late[1] * 10 > late[0] * 9, "{late:?}");
}

#[test]
fn a_slow_replica_gets_less_and_its_model_becomes_dearer() {
    let fixture = fixture();
    let mut core = core_of(&fixture, Settings::default());
    play(&mut core, &fixture, 0.0, 100.0, 20.0);
    let before = core.snapshot(at(100.0)).routes[0].clone();
    for request in 0..40u64 {
        let scores = [0.0, 1.0, 0.0];
        let now = at(100.0 + request as f64 * 0.1);
        let facts = RequestFacts {
            allowed: ModelSet::only(1),
            ..RequestFacts::new(&scores, request, mix(request), now)
        };
        let ticket = core.route(now, &facts).sent().unwrap().ticket;
        // 100 gaps at three times the time per token of an idle replica.
        let end = at(now.as_seconds() + 0.15 + 100.0 * 3.0 * 0.0165);
        let ttft = Some(Seconds::new(0.15).unwrap());
        core.observe(
            end,
            Event::Finished {
                ticket,
                ttft,
                output_tokens: 101,
            },
        );
    }
    let snapshot = core.snapshot(at(110.0));
    assert!(snapshot.models[1].slowness > 1.8, "{}", snapshot.models[1].slowness);
    play(&mut core, &fixture, 110.0, 145.0, 20.0);
    let after = core.snapshot(at(145.0)).routes[0].clone();
    assert!(after.fractions[1] < 0.8 * before.fractions[1], "{before:?} {after:?}");
}

#[test]
fn out_of_reach_degrades_marked_or_sheds_or_queues() {
    let fixture = fixture();
    let all: f64 = (0..3)
        .map(|model| capacity(model) * f64::from(fixture.n_replicas[model]))
        .sum();
    let overload = |out_of_reach| {
        let mut settings = Settings::default();
        settings.routes[0].out_of_reach = out_of_reach;
        let mut core = core_of(&fixture, settings);
        let counts = play_slowly(&mut core, &fixture, (0.0, 120.0), 1.5 * all, 4.0);
        (core, counts.iter().sum::<usize>() as f64 / (120.0 * 1.5 * all))
    };
    let (mut core, answered) = overload(OutOfReach::Degrade);
    assert!(answered > 0.999);
    let scores = fixture.scores(1);
    assert!(
        core.route(at(120.0), &RequestFacts::new(&scores, 1, 1, at(120.0)))
            .sent()
            .unwrap()
            .degraded
    );
    let (core, answered) = overload(OutOfReach::Shed);
    assert!(0.4 < answered && answered < 0.9, "{answered}");
    assert!(core.snapshot(at(120.0)).routes[0].refused > 0.2);
    let most = Seconds::new(4.0).unwrap();
    let (mut core, _) = overload(OutOfReach::Queue { most });
    assert!(core.n_waiting() > 0 && core.n_waiting() <= core.settings().queue_most);
    // Who is urgent is turned away last. What is in flight is what prices reckon with, and more.
    for request in 0..300 {
        let scores = fixture.scores(request);
        let facts = RequestFacts {
            priority: Priority(255),
            ..RequestFacts::new(&scores, request, mix(request), at(120.0))
        };
        core.route(at(120.0), &facts);
    }
    let decide = |core: &RouterCore, priority| {
        let n = (0..400).filter(|request| {
            let scores = fixture.scores(*request);
            let facts = RequestFacts {
                priority: Priority(priority),
                ..RequestFacts::new(&scores, *request, mix(*request), at(120.0))
            };
            core.explain(at(120.0), &facts).decision.sent().is_some()
        });
        n.count()
    };
    let by_priority = [0, 2, 4, 8, 16].map(|priority| decide(&core, priority));
    assert!(
        by_priority.is_sorted() && by_priority[0] < by_priority[4],
        "{by_priority:?}"
    );
}

#[test]
fn a_queued_request_is_sent_when_there_is_room_and_told_when_its_time_is_over() {
    let fixture = fixture();
    let mut core = core_of(
        &fixture,
        Settings {
            queue_most: 2,
            ..Settings::default()
        },
    );
    for (model, n) in fixture.n_replicas.iter().enumerate() {
        (0..*n as usize).for_each(|replica| {
            core.observe(
                at(0.0),
                Event::Health {
                    model,
                    replica,
                    up: false,
                },
            )
        });
    }
    let scores = fixture.scores(1);
    let ask = |core: &mut RouterCore, request, priority| {
        core.route(
            at(0.0),
            &RequestFacts {
                priority: Priority(priority),
                ..RequestFacts::new(&scores, request, request, at(0.0))
            },
        )
    };
    assert!(matches!(ask(&mut core, 1, 1), Decision::Wait { .. }));
    assert!(matches!(ask(&mut core, 2, 7), Decision::Wait { .. }));
    assert!(matches!(
        ask(&mut core, 3, 7),
        Decision::Shed {
            why: Refusal::QueueFull,
            ..
        }
    ));
    core.observe(
        at(1.0),
        Event::Health {
            model: 0,
            replica: 0,
            up: true,
        },
    );
    assert_eq!(
        [
            core.next_ready(at(1.0)),
            core.next_ready(at(1.0)),
            core.next_ready(at(1.0))
        ],
        [Some(2), Some(1), None]
    );
}

#[test]
fn a_session_stays_while_its_cached_prompt_is_worth_more_than_the_gain() {
    let fixture = Fixture {
        slo_price: 0.2,
        ..fixture()
    };
    let mut core = core_of(&fixture, Settings::default().with_static_prices());
    let ask = |core: &mut RouterCore, request, scores: &[f32], tokens| {
        let facts = RequestFacts {
            session: Some(9),
            prompt_tokens: tokens,
            ..RequestFacts::new(scores, request, request, at(0.0))
        };
        *core.route(at(0.0), &facts).sent().unwrap()
    };
    let first = ask(&mut core, 1, &[0.5, 0.4, 0.4], 4_000);
    assert_eq!(first.ticket.model, 0);
    core.observe(
        at(2.0),
        Event::Finished {
            ticket: first.ticket,
            ttft: None,
            output_tokens: 100,
        },
    );
    // 4 000 tokens at the curve's 0.178 ms each are 0.71 s, and a second is worth 0.2: up to 0.14 of score.
    let second = ask(&mut core, 2, &[0.5, 0.6, 0.4], 4_000);
    assert_eq!((second.ticket.model, second.reason), (0, Reason::Session));
    assert_eq!(
        ask(&mut core, 3, &[0.5, 0.7, 0.4], 4_000).ticket.model,
        1,
        "a gain of 0.2 is worth the prefill"
    );
    assert_eq!(
        ask(&mut core, 4, &[0.5, 0.6, 0.4], 100).ticket.model,
        1,
        "a short prompt is computed quickly anywhere"
    );
}

#[test]
fn prefixes_stay_together_and_the_least_wait_wins() {
    let fixture = Fixture {
        n_replicas: vec![4],
        prices: vec![0.0],
        fractions: vec![1.0],
        ..fixture()
    };
    let mut core = core_of(
        &fixture,
        Settings {
            balance: Balance::Prefix { bound: 1.5 },
            ..Settings::default()
        },
    );
    let send = |core: &mut RouterCore, request, prefix| {
        let facts = RequestFacts {
            prefix: Some(prefix),
            ..RequestFacts::new(&[0.5], request, request, at(0.0))
        };
        core.route(at(0.0), &facts).sent().unwrap().ticket
    };
    let home = send(&mut core, 0, 77);
    core.observe(at(0.0), Event::Cancelled(home));
    for request in 1..20 {
        let ticket = send(&mut core, request, 77);
        assert_eq!(ticket.replica, home.replica);
        core.observe(at(0.0), Event::Cancelled(ticket));
    }
    let mut counts = [0; 4];
    (20..60).for_each(|request| counts[send(&mut core, request, 77).replica] += 1);
    assert!(
        *counts.iter().max().unwrap() <= 16,
        "one prefix does not overload its replica: {counts:?}"
    );
    let mut core = core_of(
        &fixture,
        Settings {
            balance: Balance::LeastWait,
            ..Settings::default()
        },
    );
    let mut counts = [0; 4];
    (0..40).for_each(|request| counts[send(&mut core, request, 77).replica] += 1);
    assert_eq!(counts, [10; 4]);
}

/// One call of a random sequence.
#[derive(Clone, Debug)]
enum Call {
    Route { allowed: u8 },
    Finish(usize),
    Fail(usize, bool),
    Cancel(usize),
    Health { model: usize, replica: usize, up: bool },
    Remove { model: usize, replica: usize, back: bool },
    Refresh,
}

fn calls() -> impl Strategy<Value = Vec<(f64, Call)>> {
    let call = prop_oneof![
        8 => any::<u8>().prop_map(|allowed| Call::Route { allowed }),
        4 => any::<usize>().prop_map(Call::Finish),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(nth, connect)| Call::Fail(nth, connect)),
        1 => any::<usize>().prop_map(Call::Cancel),
        1 => (0usize..3, 0usize..2, any::<bool>()).prop_map(|(model, replica, up)| Call::Health { model, replica, up }),
        1 => (0usize..3, 0usize..2, any::<bool>()).prop_map(|(model, replica, back)| Call::Remove { model, replica, back }),
        1 => Just(Call::Refresh),
    ];
    prop::collection::vec((0.0f64..0.5, call), 1..400)
}

/// Makes the calls; gives every decision. Checks that nothing forbidden or dead is sent to.
fn make(core: &mut RouterCore, fixture: &Fixture, calls: &[(f64, Call)]) -> Vec<Decision> {
    let mut alive = [[(true, true); 2]; 3];
    let (mut now, mut tickets, mut decisions) = (0.0, Vec::<Ticket>::new(), Vec::new());
    let there = |model: usize, replica: usize| replica < fixture.n_replicas[model] as usize;
    for (number, (passed, call)) in (0u64..).zip(calls) {
        now += passed;
        match *call {
            Call::Route { allowed } => {
                let scores = fixture.scores(number);
                let allowed: ModelSet = (0..3).filter(|model| allowed & (1 << model) != 0).collect();
                let facts = RequestFacts {
                    allowed,
                    ..RequestFacts::new(&scores, number, mix(number), at(now))
                };
                let decision = core.route(at(now), &facts);
                if let Some(send) = decision.sent() {
                    let (present, healthy) = alive[send.ticket.model][send.ticket.replica];
                    assert!(allowed.has(send.ticket.model) && present && healthy, "{send:?}");
                    tickets.push(send.ticket);
                }
                decisions.push(decision);
            }
            Call::Finish(nth) | Call::Fail(nth, _) | Call::Cancel(nth) if !tickets.is_empty() => {
                let ticket = tickets.swap_remove(nth % tickets.len());
                core.observe(
                    at(now),
                    match call {
                        Call::Finish(_) => Event::Finished {
                            ticket,
                            ttft: None,
                            output_tokens: 5,
                        },
                        Call::Fail(_, connect) => Event::Failed {
                            ticket,
                            failure: if *connect {
                                Failure::Connect
                            } else {
                                Failure::Status(400)
                            },
                        },
                        _ => Event::Cancelled(ticket),
                    },
                );
            }
            Call::Health { model, replica, up } if there(model, replica) => {
                alive[model][replica].1 = up;
                core.observe(at(now), Event::Health { model, replica, up });
            }
            Call::Remove { model, replica, back } if there(model, replica) => {
                alive[model][replica].0 = back;
                if back {
                    alive[model][replica].1 = true;
                    core.observe(at(now), Event::ReplicaReturned { model, replica });
                } else {
                    core.observe(at(now), Event::ReplicaRemoved { model, replica });
                }
            }
            Call::Refresh => refresh(core, at(now)),
            _ => {}
        }
    }
    decisions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_same_calls_decide_the_same_and_nothing_dead_or_forbidden_is_sent_to(calls in calls(), live: bool) {
        let fixture = fixture();
        let settings = if live { Settings::default() } else { Settings::default().with_static_prices() };
        let mut first = core_of(&fixture, settings.clone());
        let mut second = core_of(&fixture, settings);
        play(&mut first, &fixture, 0.0, 20.0, 20.0);
        play(&mut second, &fixture, 0.0, 20.0, 20.0);
        let shifted: Vec<(f64, Call)> = [(20.0, Call::Refresh)].into_iter().chain(calls).collect();
        prop_assert_eq!(make(&mut first, &fixture, &shifted), make(&mut second, &fixture, &shifted));
        let snapshot = first.snapshot(at(1_000.0));
        prop_assert_eq!(&snapshot, &second.snapshot(at(1_000.0)));
        prop_assert!(snapshot.routes[0].base_prices.iter().all(|price| price.is_finite() && *price >= 0.0));
    }

    #[test]
    fn explaining_changes_nothing_and_says_what_is_done(numbers in prop::collection::vec(any::<u64>(), 1..50)) {
        let fixture = fixture();
        let mut core = core_of(&fixture, Settings::default());
        play(&mut core, &fixture, 0.0, 20.0, 20.0);
        for number in numbers {
            let scores = fixture.scores(number % 10_000);
            let facts = RequestFacts::new(&scores, number, mix(number), at(20.0));
            let receipt = core.explain(at(20.0), &facts);
            let decision = core.route(at(20.0), &facts);
            let (told, done) = (receipt.decision.sent().unwrap(), decision.sent().unwrap());
            prop_assert_eq!((told.ticket.model, told.ticket.replica), (done.ticket.model, done.ticket.replica));
            let price = receipt.models[done.ticket.model].price;
            prop_assert!((price - done.price).abs() < 1e-12);
        }
    }
}
