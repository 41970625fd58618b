use routerwise_types::fingerprint::Fingerprint;
use routerwise_types::plan::{
    Certificate, PLAN_SCHEMA, PlannedLatency, PlannedModel, Prediction, RoutePolicy, RoutedModel, Routing, TieSplit,
};
use routerwise_types::scenario::Inputs;
use routerwise_types::setup::Configuration;
use routerwise_types::workload::{ALL_TRAFFIC, Objective, Planning};
use routerwise_types::{Fraction, GpuShare, Price, RequestsPerSecond, Score};

use super::*;
use crate::decision::{Reason, Verdict};
use crate::event::{Event, Failure};
use crate::facts::Tried;
use crate::replica::after;
use crate::settings::RouteSettings;

/// A plan of models at these prices, with so many replicas each; ties are split by `parts` where all models are tied.
pub(super) fn plan(prices: &[f64], n_replicas: &[u32], parts: &[f64]) -> Plan {
    let configuration = |n| Configuration {
        gpu_type_ix: 0,
        tensor_parallel: 1,
        share: GpuShare::WHOLE,
        n_replicas: n,
    };
    let models = n_replicas.iter().enumerate().map(|(ix, n)| PlannedModel {
        name: format!("model-{ix}"),
        configuration: (*n > 0).then(|| configuration(*n)),
        gpu_type: (*n > 0).then(|| "gpu".to_owned()),
        replicas: (0..*n).map(|_| vec![0]).collect(),
        kv_cache: Vec::new(),
        utilisation: Fraction::ZERO,
    });
    let routed = prices.iter().zip(parts).map(|(price, part)| RoutedModel {
        price: Price::new(*price).unwrap(),
        barred: false,
        fraction: Fraction::new(*part).unwrap(),
        quality: None,
        latency: None,
    });
    let zero = PlannedLatency {
        ttft: Seconds::ZERO,
        tpot: Seconds::ZERO,
        e2e: Seconds::ZERO,
    };
    let named = |name: &str| Fingerprint(name.to_owned());
    let inputs = Inputs {
        cluster: named("c"),
        models: named("m"),
        workload: named("w"),
        scores: named("s"),
        profiles: named("p"),
    };
    Plan {
        schema: PLAN_SCHEMA,
        id: named("plan"),
        parent: None,
        inputs,
        rate: RequestsPerSecond::new(10.0).unwrap(),
        slos: Vec::new(),
        objective: Objective::BEST_QUALITY,
        planning: Planning {
            headroom: 0.1,
            utilisation_floor: Fraction::ZERO,
            tolerance: 1e-4,
            max_solves: 10,
            max_work: 10,
        },
        models: models.collect(),
        policies: vec![RoutePolicy {
            level: "always".to_owned(),
            route: ALL_TRAFFIC.to_owned(),
            rate: RequestsPerSecond::new(10.0).unwrap(),
            weight: Fraction::ONE,
            models: routed.collect(),
            routing: Routing {
                tie_tolerance: 1e-6,
                salt: 0,
                ties: vec![TieSplit {
                    models: (0..prices.len()).collect(),
                    parts: parts.to_vec(),
                }],
            },
            prediction: Prediction {
                quality: Score::new(0.5).unwrap(),
                slo_values: Vec::new(),
                latency: zero,
                latency_without_headroom: zero,
            },
        }],
        certificate: Certificate {
            quality: Score::new(0.5).unwrap(),
            upper_bound: 0.5,
            gap: 0.0,
            space: String::new(),
            setups_in_space: 1.0,
            setups_bounded: 0,
            setups_packed: 0,
            setups_solved: 0,
            evaluations: 0,
            dual_points: Vec::new(),
        },
        achievement: None,
        realised: Vec::new(),
    }
}

fn core(prices: &[f64], n_replicas: &[u32]) -> RouterCore {
    let parts = vec![1.0 / prices.len() as f64; prices.len()];
    RouterCore::new(
        &plan(prices, n_replicas, &parts),
        None,
        Settings::default().with_static_prices(),
    )
    .unwrap()
}

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_seconds(seconds)
}

fn facts<'a>(scores: &'a [f32], request: u64) -> RequestFacts<'a> {
    RequestFacts::new(scores, request, crate::policy::mix(request), Timestamp::START)
}

fn refused(decision: Decision) -> Refusal {
    match decision {
        Decision::Shed { why, .. } => why,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

#[test]
fn the_model_with_the_highest_score_less_price_is_sent_to_with_its_margin() {
    let mut core = core(&[0.3, 0.0], &[1, 1]);
    let sent = *core.route(at(0.0), &facts(&[0.9, 0.5], 1)).sent().unwrap();
    assert_eq!(
        (sent.ticket.model, sent.reason, sent.runner_up),
        (0, Reason::Price, Some(1))
    );
    assert!((sent.margin.unwrap() - 0.1).abs() < 1e-6);
}

#[test]
fn a_barred_model_is_never_taken_unless_it_is_named() {
    let mut plan = plan(&[0.3, 0.0], &[1, 1], &[0.5, 0.5]);
    plan.policies[0].models[0].barred = true;
    let route = |by_name: bool| RouteSettings {
        by_name,
        ..RouteSettings::named(ALL_TRAFFIC)
    };
    let settings = Settings {
        routes: vec![route(false), route(true)],
        ..Settings::default().with_static_prices()
    };
    let mut core = RouterCore::new(&plan, None, settings).unwrap();
    let scores = [1.0, 0.1];
    assert_eq!(core.route(at(0.0), &facts(&scores, 1)).sent().unwrap().ticket.model, 1);
    let named = RequestFacts {
        route: 1,
        allowed: ModelSet::only(0),
        ..facts(&scores, 2)
    };
    assert_eq!(core.route(at(0.0), &named).sent().unwrap().ticket.model, 0);
    // What is named is what such a route sends, and nobody planned for it.
    let snapshot = core.snapshot(at(0.0));
    assert_eq!(snapshot.routes[1].fractions, vec![1.0, 0.0]);
    assert!(snapshot.routes[1].rate < snapshot.routes[0].rate);
}

#[test]
fn what_is_in_flight_is_counted_until_it_ends() {
    let mut core = core(&[0.0], &[2]);
    let tickets: Vec<Ticket> = (0..10)
        .map(|request| core.route(at(0.0), &facts(&[0.5], request)).sent().unwrap().ticket)
        .collect();
    let outstanding = |core: &RouterCore| {
        core.models[0]
            .replicas
            .iter()
            .map(|r| r.outstanding)
            .collect::<Vec<_>>()
    };
    assert_eq!(outstanding(&core), [5, 5]);
    for ticket in &tickets[..4] {
        core.observe(
            at(1.0),
            Event::Finished {
                ticket: *ticket,
                ttft: None,
                output_tokens: 3,
            },
        );
    }
    core.observe(at(1.0), Event::Cancelled(tickets[4]));
    core.observe(
        at(1.0),
        Event::Failed {
            ticket: tickets[5],
            failure: Failure::Stalled,
        },
    );
    assert_eq!(outstanding(&core).iter().sum::<u32>(), 4);
}

#[test]
fn a_model_without_a_replica_costs_infinitely_much() {
    let mut core = core(&[0.0, 0.2], &[1, 1]);
    core.observe(
        at(0.0),
        Event::Health {
            model: 0,
            replica: 0,
            up: false,
        },
    );
    let receipt = core.explain(at(0.0), &facts(&[0.9, 0.5], 1));
    assert!(receipt.models[0].price.is_infinite());
    assert_eq!(receipt.models[0].verdict, Verdict::NoReplica);
    assert_eq!(receipt.decision.sent().unwrap().ticket.model, 1);
}

#[test]
fn a_retry_tries_another_replica_and_then_the_next_model() {
    let mut core = core(&[0.0, 0.0], &[2, 1]);
    let scores = [0.9, 0.5];
    let first = core.route(at(0.0), &facts(&scores, 1)).sent().unwrap().ticket;
    let mut tried = vec![Tried {
        model: first.model,
        replica: first.replica,
    }];
    let second = *core
        .route(
            at(0.1),
            &RequestFacts {
                tried: &tried,
                ..facts(&scores, 1)
            },
        )
        .sent()
        .unwrap();
    assert_eq!((second.ticket.model, second.reason), (0, Reason::RetryReplica));
    assert_ne!(second.ticket.replica, first.replica);
    tried.push(Tried {
        model: 0,
        replica: second.ticket.replica,
    });
    let third = *core
        .route(
            at(0.2),
            &RequestFacts {
                tried: &tried,
                ..facts(&scores, 1)
            },
        )
        .sent()
        .unwrap();
    assert_eq!((third.ticket.model, third.reason), (1, Reason::RetryModel));
    tried.push(Tried { model: 1, replica: 0 });
    let last = core.route(
        at(0.3),
        &RequestFacts {
            tried: &tried,
            ..facts(&scores, 1)
        },
    );
    assert_eq!(refused(last), Refusal::NoRetry);
}

#[test]
fn retries_stay_within_their_budget() {
    let mut core = core(&[0.0], &[3]);
    let tried = [Tried { model: 0, replica: 0 }];
    let mut n = 0;
    for request in 0..1_000 {
        let ticket = core.route(at(0.0), &facts(&[0.5], request)).sent().unwrap().ticket;
        core.observe(at(0.0), Event::Cancelled(ticket));
        let again = core.route(
            at(0.0),
            &RequestFacts {
                tried: &tried,
                ..facts(&[0.5], request)
            },
        );
        if let Some(send) = again.sent() {
            n += 1;
            core.observe(at(0.0), Event::Cancelled(send.ticket));
        }
    }
    assert!((200..=211).contains(&n), "{n} retries of 1000 requests");
}

#[test]
fn a_breaker_opens_after_failures_in_a_row_and_lets_one_request_try() {
    let mut core = core(&[0.0], &[1]);
    for request in 0..3 {
        let ticket = core.route(at(0.0), &facts(&[0.5], request)).sent().unwrap().ticket;
        core.observe(
            at(0.0),
            Event::Failed {
                ticket,
                failure: Failure::Connect,
            },
        );
    }
    let waits = core.route(
        at(0.5),
        &RequestFacts {
            arrived: at(0.5),
            ..facts(&[0.5], 4)
        },
    );
    assert!(matches!(waits, Decision::Wait { .. }));
    assert_eq!(core.next_ready(at(0.5)), None);
    assert_eq!(core.next_ready(at(1.0)), Some(4));
    let probe = core
        .route(
            at(1.0),
            &RequestFacts {
                arrived: at(0.5),
                waited: true,
                ..facts(&[0.5], 4)
            },
        )
        .sent()
        .unwrap()
        .ticket;
    assert!(probe.probe);
    let second = core.route(
        at(1.0),
        &RequestFacts {
            arrived: at(1.0),
            ..facts(&[0.5], 5)
        },
    );
    assert!(
        matches!(second, Decision::Wait { .. }),
        "one request at a time finds out"
    );
    core.observe(
        at(1.2),
        Event::Finished {
            ticket: probe,
            ttft: None,
            output_tokens: 1,
        },
    );
    assert_eq!(core.next_ready(at(1.2)), Some(5));
    let after_probe = core.route(at(1.2), &facts(&[0.5], 6));
    assert!(!after_probe.sent().unwrap().ticket.probe);
}

/// One replica whose breaker was opened at 0 s, and the request that tries it at 1 s.
fn probed() -> (RouterCore, Ticket) {
    let mut core = core(&[0.0], &[1]);
    for request in 0..3 {
        let ticket = core.route(at(0.0), &facts(&[0.5], request)).sent().unwrap().ticket;
        let failure = Failure::Connect;
        core.observe(at(0.0), Event::Failed { ticket, failure });
    }
    let ticket = core.route(at(1.0), &facts(&[0.5], 3)).sent().unwrap().ticket;
    assert!(ticket.probe);
    (core, ticket)
}

fn at_two(request: u64) -> RequestFacts<'static> {
    RequestFacts {
        arrived: at(2.0),
        ..facts(&[0.5], request)
    }
}

#[test]
fn the_first_token_of_a_try_closes_the_breaker_however_long_the_rest_takes() {
    let (mut core, probe) = probed();
    assert!(matches!(core.route(at(2.0), &at_two(4)), Decision::Wait { .. }));
    core.observe(at(2.0), Event::FirstToken(probe));
    assert_eq!(core.next_ready(at(2.0)), Some(4));
    assert!(core.route(at(2.0), &at_two(5)).sent().is_some());
}

#[test]
fn a_replica_that_answers_its_checks_is_tried_by_others_while_a_try_takes_long() {
    let (mut core, _) = probed();
    let (model, replica, up) = (0, 0, true);
    core.observe(at(2.0), Event::Health { model, replica, up });
    let next = core.route(at(2.0), &at_two(4)).sent().unwrap().ticket;
    assert!(next.probe);
}

#[test]
fn who_has_tried_waits_in_an_outage_like_everybody_else() {
    let (mut core, probe) = probed();
    let failure = Failure::Connect;
    core.observe(at(2.0), Event::Failed { ticket: probe, failure });
    let tried = [Tried { model: 0, replica: 0 }];
    let again = RequestFacts {
        tried: &tried,
        ..at_two(3)
    };
    assert!(matches!(core.route(at(2.0), &again), Decision::Wait { .. }));
    // Nobody waits for a replica that is there and was tried.
    let mut core = self::core(&[0.0], &[1]);
    let decision = core.route(at(2.0), &again);
    assert!(
        matches!(
            decision,
            Decision::Shed {
                why: Refusal::NoReplica,
                ..
            }
        ),
        "{decision:?}"
    );
}

#[test]
fn clients_that_leave_and_answers_that_take_long_open_no_breaker() {
    let mut core = core(&[0.0], &[1]);
    for request in 0..50 {
        let ticket = core.route(at(0.0), &facts(&[0.5], request)).sent().unwrap().ticket;
        let event = match request % 3 {
            0 => Event::Cancelled(ticket),
            1 => Event::Failed {
                ticket,
                failure: Failure::TotalTimeout,
            },
            _ => Event::Failed {
                ticket,
                failure: Failure::Status(400),
            },
        };
        core.observe(after(at(0.0), Seconds::new(100.0).unwrap()), event);
    }
    assert!(core.models[0].replicas[0].is_serving());
}

#[test]
fn equal_scores_meet_the_planned_fractions() {
    let parts = [0.2, 0.5, 0.3];
    let mut core = RouterCore::new(
        &plan(&[0.1; 3], &[1, 1, 1], &parts),
        None,
        Settings::default().with_static_prices(),
    )
    .unwrap();
    let mut counts = [0.0; 3];
    for request in 0..20_000 {
        counts[core
            .route(at(0.0), &facts(&[0.5; 3], request))
            .sent()
            .unwrap()
            .ticket
            .model] += 1.0 / 20_000.0;
    }
    assert!(
        counts
            .iter()
            .zip(&parts)
            .all(|(count, part): (&f64, &f64)| (count - part).abs() < 0.012),
        "{counts:?}"
    );
}

#[test]
fn who_gives_up_waiting_is_told_so() {
    let mut core = core(&[0.0], &[1]);
    core.observe(
        at(0.0),
        Event::Health {
            model: 0,
            replica: 0,
            up: false,
        },
    );
    let Decision::Wait { until } = core.route(at(0.0), &facts(&[0.5], 1)) else {
        panic!("must wait")
    };
    assert_eq!(core.next_deadline(), Some(until));
    assert_eq!(core.next_ready(until), Some(1));
    let expired = core.route(
        until,
        &RequestFacts {
            waited: true,
            ..facts(&[0.5], 1)
        },
    );
    assert_eq!(refused(expired), Refusal::Expired);
    // One with a deadline of its own is told that it was that.
    let hurried = |waited| RequestFacts {
        waited,
        deadline: Some(at(0.2)),
        ..facts(&[0.5], 2)
    };
    assert_eq!(core.route(at(0.0), &hurried(false)), Decision::Wait { until: at(0.2) });
    assert_eq!(refused(core.route(at(0.2), &hurried(true))), Refusal::Deadline);
}
