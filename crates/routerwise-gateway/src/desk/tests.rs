//! The simulator plays the desk of a gateway, and its own router: the same events in the same order, and then the same decisions.

#[path = "../../../routerwise-simulate/tests/shared/planned.rs"]
mod planned;
#[allow(dead_code, unreachable_pub, reason = "each test uses its own part")]
#[path = "../../../routerwise-simulate/tests/shared/mod.rs"]
mod shared;

use routerwise_route::curves::Curves;
use routerwise_route::settings::{OutOfReach, Settings};
use routerwise_simulate::live::{Deciding, Incident, LivePlayed, Outcome, Rule, Script, What, play_live, play_with};
use routerwise_types::Seconds;

use super::*;

/// A desk whose clock is the simulator's.
struct Played<'a> {
    desk: &'a Desk,
    turns: BTreeMap<u64, Turn<'a>>,
}

impl Deciding for Played<'_> {
    fn route(&mut self, now: Timestamp, facts: &RequestFacts<'_>) -> Decision {
        let (decision, turn) = self.desk.route_at(now, facts);
        self.turns.extend(turn.map(|turn| (facts.request, turn)));
        decision
    }

    fn observe(&mut self, now: Timestamp, event: Event) {
        self.desk.observe_at(now, event);
    }

    fn refresh(&mut self, now: Timestamp) -> Option<RefreshJob> {
        self.desk.due(now)
    }

    fn apply(&mut self, now: Timestamp, solved: Solved) {
        self.desk.take_over(now, solved);
    }

    fn next_ready(&mut self, now: Timestamp) -> Option<u64> {
        let called = self.desk.call_next(now)?;
        let mut turn = self.turns.remove(&called).expect("only who waits is called");
        assert!(
            turn.called.try_recv().is_ok(),
            "the one whose turn has come hears of it"
        );
        Some(called)
    }

    fn next_deadline(&self) -> Option<Timestamp> {
        self.desk.core().next_deadline()
    }

    fn n_waiting(&self) -> usize {
        self.desk.n_waiting()
    }

    fn snapshot(&self, now: Timestamp) -> Snapshot {
        self.desk.core().snapshot(now)
    }
}

/// A rush, a replica that dies and comes back, and one that slows down.
fn script() -> Script {
    let (_, plan) = planned::planned();
    let rate = plan.rate.value();
    let (busy, other) = if plan.models[0].replicas.len() > 1 {
        (0, 1)
    } else {
        (1, 0)
    };
    let incident = |at, model, what| Incident {
        at,
        model,
        replica: 0,
        what,
    };
    Script {
        rates: vec![(0.0, 0.6 * rate), (60.0, 1.5 * rate), (120.0, 0.7 * rate)],
        incidents: vec![
            incident(80.0, busy, What::Dies),
            incident(140.0, busy, What::Returns),
            incident(160.0, other, What::Slows(3.0)),
        ],
        end: 220.0,
        apply_after: 0.0,
        mix: Vec::new(),
    }
}

/// What the desk's router and the simulator's make of the script.
fn both(settings: &Settings) -> [LivePlayed; 2] {
    let (scenario, plan) = planned::planned();
    let script = script();
    let core = RouterCore::new(plan, Curves::of(scenario, plan), settings.clone()).expect("the plan routes");
    let desk = Desk::new(core, Instant::now());
    let mut of_desk = Played {
        desk: &desk,
        turns: BTreeMap::new(),
    };
    let gateways = play_with(scenario, plan, &script, &mut of_desk, 3).expect("the engines are known");
    let simulators = play_live(scenario, plan, &script, &Rule::Gateway(settings.clone()), 3);
    [gateways, simulators.expect("the engines are known")]
}

#[test]
fn live_prices_of_desk_and_simulator_are_equal_bit_for_bit() {
    let [gateways, simulators] = both(&Settings::default());
    assert!(gateways.timeline.len() > 200, "prices were solved every second");
    let first = &gateways.timeline[0].base_prices;
    assert!(
        gateways.timeline.iter().any(|point| point.base_prices != *first),
        "prices moved"
    );
    let retried = gateways.requests.iter().filter(|request| request.n_attempts > 1);
    assert!(retried.count() > 0, "some requests of the dead replica went elsewhere");
    assert!(gateways == simulators, "decisions, replicas and prices are the same");
}

#[test]
fn who_waits_is_called_at_the_same_time_by_desk_and_simulator() {
    let mut settings = Settings::default();
    let most = Seconds::new(3.0).expect("a constant");
    settings.routes[0].out_of_reach = OutOfReach::Queue { most };
    settings.queue_most = 8;
    let [gateways, simulators] = both(&settings);
    let refused = |request: &&routerwise_simulate::live::LiveRequest| matches!(request.outcome, Outcome::Refused(_));
    assert!(
        gateways.requests.iter().any(|request| refused(&request)),
        "the rush is too much"
    );
    assert!(gateways == simulators, "decisions, replicas and prices are the same");
}
