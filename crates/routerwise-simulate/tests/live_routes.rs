//! Live prices of several classes of traffic on one cluster.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[path = "shared/planned.rs"]
mod planned;
mod shared;

use planned::{TARGETS, planned_routes};
use routerwise_route::settings::Settings;
use routerwise_simulate::live::{LivePlayed, Rule, Script, play_live};

/// Both kinds of prices at a part of the planned rate, of which so much is `chat`: 400 s, of which the first 100 do not count.
fn play(chat: f64, part: f64) -> [LivePlayed; 2] {
    let (scenario, plan) = planned_routes();
    let script = Script {
        mix: vec![chat, 1.0 - chat],
        ..Script::steady(part * plan.rate.value(), 400.0)
    };
    let settings = [Settings::default(), Settings::default().with_static_prices()];
    settings.map(|settings| play_live(scenario, plan, &script, &Rule::Gateway(settings), 3).unwrap())
}

/// TTFT of each route over its target.
fn used_up(played: &LivePlayed) -> [f64; 2] {
    [0, 1].map(|route| played.of_route(route, 100.0..400.0).ttft / TARGETS[route])
}

#[test]
fn each_route_keeps_to_its_objective_and_all_answer_better_than_by_static_prices() {
    for (chat, part) in [(0.5, 0.7), (0.5, 1.0), (0.8, 0.7), (0.8, 1.0), (0.2, 0.7), (0.2, 1.0)] {
        let [live, fixed] = play(chat, part);
        let used_up = used_up(&live);
        assert!(
            used_up.iter().all(|part| *part < 1.0),
            "{chat} at {part}: {used_up:?} of the targets"
        );
        let quality = |played: &LivePlayed| played.between(100.0..400.0).quality;
        assert!(
            quality(&live) > quality(&fixed) + 0.003,
            "{chat} at {part}: {} against {}",
            quality(&live),
            quality(&fixed)
        );
        // Who waits longer takes the slower model more often.
        let of_large = [0, 1].map(|route| live.of_route(route, 100.0..400.0).fractions[1]);
        assert!(of_large[0] < of_large[1], "{chat} at {part}: {of_large:?}");
    }
}

#[test]
fn a_rush_of_one_route_does_not_make_the_other_wait() {
    let [live, fixed] = play(0.2, 1.2);
    let (live, fixed) = (used_up(&live), used_up(&fixed));
    assert!(
        fixed[0] > 1.5 && fixed[1] > 3.0,
        "static prices drown in `batch`: {fixed:?} of the targets"
    );
    assert!(live.iter().all(|part| *part < 1.0), "{live:?} of the targets");
}
