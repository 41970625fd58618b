//! A decision, and a solve of prices from a full reservoir: `cargo bench -p routerwise-route`.
//!
//! Eleven models. The count of Newton steps is checked, so a solve that needs more fails instead of only taking longer.

#![expect(
    clippy::print_stderr,
    reason = "counts and times of a core, beside criterion's report"
)]

#[path = "../tests/shared/mod.rs"]
mod shared;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use routerwise_route::core::RouterCore;
use routerwise_route::curves::Curves;
use routerwise_route::event::Event;
use routerwise_route::facts::RequestFacts;
use routerwise_route::policy::mix;
use routerwise_route::settings::{RouteSettings, Settings};
use routerwise_types::plan::RoutePolicy;
use routerwise_types::workload::{PromptFilter, Route, Slo};
use routerwise_types::{Fraction, RequestsPerSecond, Timestamp};
use shared::Fixture;

const N_MODELS: usize = 11;
const RATE: f64 = 60.0;

fn fixture() -> Fixture {
    Fixture {
        n_replicas: vec![2; N_MODELS],
        prices: vec![0.02; N_MODELS],
        fractions: vec![1.0 / 11.0; N_MODELS],
        slo_price: 0.1,
        rate: RATE,
    }
}

/// A router that has seen a full reservoir and whose first solve is due.
fn seen(fixture: &Fixture, settings: Settings) -> (RouterCore, Timestamp) {
    let core = RouterCore::new(&fixture.plan(), Some(fixture.curves()), settings).expect("the plan routes");
    fill(core, fixture, 1)
}

/// The same with two routes of half the traffic each, of the same objective, and a full reservoir of each.
fn seen_of_two(fixture: &Fixture) -> (RouterCore, Timestamp) {
    let names = ["chat", "batch"];
    let (mut plan, mut scenario) = (fixture.plan(), fixture.scenario());
    let of_route = |name: &&str| Slo {
        route: Some((*name).to_owned()),
        ..fixture.slo()
    };
    scenario.workload.slos = names.iter().map(of_route).collect();
    scenario.workload.routes = names
        .iter()
        .map(|name| Route {
            name: (*name).to_owned(),
            part: 0.5,
            weight: 0.5,
            prompts: PromptFilter::All,
            models: None,
        })
        .collect();
    plan.slos.clone_from(&scenario.workload.slos);
    let half = RequestsPerSecond::new(RATE / 2.0).expect("a rate");
    let policy = &plan.policies[0];
    let policies = names.iter().map(|name| RoutePolicy {
        route: (*name).to_owned(),
        rate: half,
        weight: Fraction::new(0.5).expect("a fraction"),
        ..policy.clone()
    });
    plan.policies = policies.collect();
    let curves = Curves::of(&scenario, &plan).expect("every model has a profile");
    let settings = Settings {
        routes: names.map(RouteSettings::named).to_vec(),
        ..Settings::default()
    };
    let core = RouterCore::new(&plan, Some(curves), settings).expect("the plan routes");
    fill(core, fixture, 2)
}

/// Sends 4 096 requests of each route.
fn fill(mut core: RouterCore, fixture: &Fixture, n_routes: u64) -> (RouterCore, Timestamp) {
    let mut now = Timestamp::START;
    for request in 0..4_096 * n_routes {
        now = Timestamp::from_seconds(request as f64 / RATE);
        let scores = fixture.scores(request);
        let facts = RequestFacts {
            route: usize::from(request % n_routes != 0),
            ..RequestFacts::new(&scores, request, mix(request), now)
        };
        let decision = core.route(now, &facts);
        let ticket = decision.sent().expect("every replica is up").ticket;
        core.observe(now, Event::Cancelled(ticket));
    }
    (core, now)
}

fn decisions(criterion: &mut Criterion) {
    let fixture = fixture();
    let scores: Vec<Vec<f32>> = (0..1_024).map(|request| fixture.scores(request)).collect();
    for (name, settings) in [
        ("decision/static", Settings::default().with_static_prices()),
        ("decision/live", Settings::default()),
    ] {
        let (mut core, now) = seen(&fixture, settings);
        if let Some(job) = core.refresh(now) {
            let solved = job.solve();
            core.apply(now, solved);
        }
        let mut request = 10_000;
        let mut decide = || {
            for _ in 0..1_000 {
                request += 1;
                let scores = &scores[usize::try_from(request % 1_024).expect("small")];
                let decision = core.route(now, &RequestFacts::new(scores, request, mix(request), now));
                let ticket = decision.sent().expect("every replica is up").ticket;
                core.observe(now, Event::Cancelled(ticket));
                black_box(ticket);
            }
        };
        of_a_core(&format!("{name} x 1000"), &mut decide);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| {
                request += 1;
                let scores = &scores[usize::try_from(request % 1_024).expect("small")];
                let decision = core.route(now, &RequestFacts::new(scores, request, mix(request), now));
                let ticket = decision.sent().expect("every replica is up").ticket;
                core.observe(now, Event::Cancelled(ticket));
                black_box(ticket)
            });
        });
    }
}

/// Seconds that this process was on a core: on a busy machine wall time says little.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the kernel's counters")]
fn on_a_core() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds: Option<f64> = text.split(' ').next().and_then(|field| field.parse().ok());
    nanoseconds.unwrap_or(0.0) * 1e-9
}

/// Milliseconds of one core that a run takes, over many.
fn of_a_core(name: &str, mut run: impl FnMut()) {
    const RUNS: u32 = 50;
    let before = on_a_core();
    (0..RUNS).for_each(|_| run());
    eprintln!(
        "{name}: {:.4} ms of one core",
        (on_a_core() - before) * 1e3 / f64::from(RUNS)
    );
}

fn solves(criterion: &mut Criterion) {
    let fixture = fixture();
    let (mut core, now) = seen(&fixture, Settings::default());
    let cold = core.refresh(now).expect("a solve is due");
    let solved = cold.clone().solve();
    eprintln!("refresh/first: {} Newton steps", solved.steps());
    assert!(solved.steps() < 150, "{} steps", solved.steps());
    core.apply(now, solved);
    let later = Timestamp(now.0 + 1_000_000_000);
    let warm = core.refresh(later).expect("a solve is due");
    eprintln!("refresh/next: {} Newton steps", warm.clone().solve().steps());
    of_a_core("refresh/first", || drop(black_box(cold.clone().solve())));
    of_a_core("refresh/next", || drop(black_box(warm.clone().solve())));
    let (mut two, now) = seen_of_two(&fixture);
    let looks = two.refresh(now).expect("a solve is due");
    two.apply(now, looks.clone().solve());
    let usual = two.refresh(Timestamp(now.0 + 1_000_000_000)).expect("a solve is due");
    of_a_core("refresh/two routes", || drop(black_box(usual.clone().solve())));
    of_a_core("refresh/two routes, looking elsewhere", || {
        drop(black_box(looks.clone().solve()))
    });
    criterion.bench_function("refresh/two routes", |bencher| {
        bencher.iter(|| black_box(usual.clone().solve()))
    });
    criterion.bench_function("refresh/two routes, looking elsewhere", |bencher| {
        bencher.iter(|| black_box(looks.clone().solve()))
    });
    criterion.bench_function("refresh/first", |bencher| {
        bencher.iter(|| black_box(cold.clone().solve()))
    });
    criterion.bench_function("refresh/next", |bencher| {
        bencher.iter(|| black_box(warm.clone().solve()))
    });
}

criterion_group!(benches, decisions, solves);
criterion_main!(benches);
