//! Prices that follow load and faults, played with engines whose answers come late.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

#[path = "shared/planned.rs"]
mod planned;
mod shared;

use planned::{TARGET, planned};
use routerwise_route::policy::{Policy, prompt_hash};
use routerwise_route::settings::Settings;
use routerwise_simulate::live::{Incident, LivePlayed, Outcome, Rule, Script, What, play_live};

const SEEDS: u64 = 8;

fn play(script: &Script, settings: Settings) -> LivePlayed {
    let (scenario, plan) = planned();
    play_live(scenario, plan, script, &Rule::Gateway(settings), 3).unwrap()
}

#[test]
fn static_prices_decide_as_the_plan_says_for_every_request() {
    let (scenario, plan) = planned();
    let played = play(
        &Script::steady(plan.rate.value(), 60.0),
        Settings::default().with_static_prices(),
    );
    let running = plan.models.iter().map(|model| model.configuration.is_some()).collect();
    let policy = Policy::new(&plan.policies[0], running);
    for request in &played.requests {
        let scores: Vec<f32> = scenario
            .scores
            .columns
            .iter()
            .map(|column| column[request.prompt_ix])
            .collect();
        let hash = prompt_hash(&scenario.scores.prompts[request.prompt_ix].id);
        assert_eq!(request.to.map(|to| to.0), policy.choose(&scores, hash));
    }
}

#[test]
fn the_same_script_plays_the_same_bit_for_bit() {
    let (_, plan) = planned();
    let script = Script::drift(0.5 * plan.rate.value(), plan.rate.value(), 60.0);
    assert_eq!(play(&script, Settings::default()), play(&script, Settings::default()));
}

#[test]
fn prices_settle_at_a_steady_rate_and_after_a_step_and_meet_the_objective() {
    let (_, plan) = planned();
    let rate = plan.rate.value();
    let script = Script {
        rates: vec![(0.0, 0.6 * rate), (300.0, rate)],
        incidents: Vec::new(),
        end: 600.0,
        apply_after: 0.0,
        mix: Vec::new(),
    };
    let played = play(&script, Settings::default());
    for settled in [100.0..300.0, 400.0..600.0] {
        assert!(
            played.between(settled.clone()).ttft <= TARGET,
            "{:?}",
            played.between(settled)
        );
        let fractions = played
            .timeline
            .iter()
            .filter(|point| settled.contains(&point.at))
            .map(|point| point.fractions[0]);
        let fractions: Vec<f64> = fractions.collect();
        let mean = fractions.iter().sum::<f64>() / fractions.len() as f64;
        let worst = fractions
            .iter()
            .map(|fraction| (fraction - mean).abs())
            .fold(0.0, f64::max);
        assert!(worst < 0.15, "fractions swing by {worst} around {mean} in {settled:?}");
        // What answers come from does not swing either.
        let windows = (0..4)
            .map(|nth| settled.start + 50.0 * f64::from(nth))
            .map(|at| played.between(at..at + 50.0).fractions[0]);
        let windows: Vec<f64> = windows.collect();
        let (low, high) = windows
            .iter()
            .fold((1.0f64, 0.0f64), |(low, high), w| (low.min(*w), high.max(*w)));
        assert!(high - low < 0.15, "{windows:?}");
    }
}

#[test]
fn a_dead_replica_and_a_slow_one_are_followed_and_every_request_is_accounted_for() {
    let (_, plan) = planned();
    let model = (0..2).max_by_key(|ix| plan.models[*ix].replicas.len()).unwrap();
    for what in [What::Dies, What::Slows(3.0)] {
        let script = Script {
            rates: vec![(0.0, 0.6 * plan.rate.value())],
            incidents: vec![Incident {
                at: 100.0,
                model,
                replica: 0,
                what,
            }],
            end: 300.0,
            apply_after: 0.0,
            mix: Vec::new(),
        };
        let live = play(&script, Settings::default());
        let fixed = play(&script, Settings::default().with_static_prices());
        let after = |played: &LivePlayed| played.between(130.0..300.0);
        let (live_after, fixed_after) = (after(&live), after(&fixed));
        let better = live_after.quality > fixed_after.quality || fixed_after.ttft > TARGET;
        assert!(
            live_after.ttft <= TARGET && better,
            "{what:?}: {live_after:?} {fixed_after:?}"
        );
        let answered = |request: &&routerwise_simulate::live::LiveRequest| request.outcome == Outcome::Answered;
        let lost = live
            .requests
            .iter()
            .filter(|request| request.outcome == Outcome::Broken)
            .count();
        assert_eq!(
            live.requests.iter().filter(answered).count() + lost,
            live.requests.len(),
            "{what:?}"
        );
        assert!(lost < 100 && (what == What::Dies || lost == 0), "{lost}");
    }
}

/// What fractions do after a step of the rate when prices come into force seconds after what they were solved from was seen: mean over seeds,
/// as one of them may meet a burst of its own.
#[test]
fn late_feedback_makes_prices_swing_less_and_less() {
    let (scenario, plan) = planned();
    let rate = plan.rate.value();
    for apply_after in [1.0, 3.0] {
        let script = Script {
            rates: vec![(0.0, 0.5 * rate), (100.0, rate)],
            incidents: Vec::new(),
            end: 500.0,
            apply_after,
            mix: Vec::new(),
        };
        let mut means = [0.0; 2];
        for seed in 0..SEEDS {
            let played = play_live(scenario, plan, &script, &Rule::Gateway(Settings::default()), seed).unwrap();
            let swing = |from: f64| {
                let points = played
                    .timeline
                    .iter()
                    .filter(|point| (from..from + 100.0).contains(&point.at));
                let fractions = points.map(|point| point.fractions[0]);
                let (low, high) = fractions.fold((1.0f64, 0.0f64), |(low, high), w| (low.min(w), high.max(w)));
                high - low
            };
            let late = [200.0, 300.0, 400.0].map(swing);
            assert!(
                late.iter().all(|swing| *swing < 0.18),
                "{apply_after} s late, seed {seed}: {late:?}"
            );
            means[0] += swing(95.0) / SEEDS as f64;
            means[1] += late.iter().sum::<f64>() / 3.0 / SEEDS as f64;
            let ttft = played.between(200.0..500.0).ttft;
            assert!(ttft < 1.05 * TARGET, "{apply_after} s late, seed {seed}: {ttft} s");
        }
        assert!(
            means[0] > 0.1 && means[1] < 0.36 * means[0],
            "{apply_after} s late: {means:?}"
        );
    }
}
