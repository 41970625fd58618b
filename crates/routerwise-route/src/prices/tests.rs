use routerwise_plan::curve::{LatencyCurve, Sample as Measured};
use routerwise_types::hash::uniform;

use super::flows::Running;
use super::*;
use crate::policy::mix;

/// A solve is cut short after so many steps and goes on from there a second later: what it arrives at.
fn solve(problem: &Problem<'_>, start: &Prices) -> Prices {
    let mut solved = super::solve(problem, &[start], usize::MAX);
    for _ in 0..SOLVES {
        let steps = solved.steps;
        if steps == 0 {
            break;
        }
        solved = super::solve(problem, &[&solved], usize::MAX);
    }
    solved
}

/// Seconds within which prices must have arrived from nothing.
const SOLVES: usize = 10;

fn curve(points: &[(f64, f64)]) -> LatencyCurve {
    let samples: Vec<Measured> = points
        .iter()
        .map(|&(load, value)| Measured { load, value, weight: 1 })
        .collect();
    LatencyCurve::new(&samples, points.last().unwrap().0).unwrap()
}

/// Latency of an engine with this capacity and this latency when idle: flat, then steeper and steeper.
fn engine(idle: f64, capacity: f64) -> LatencyCurve {
    let parts = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95];
    let points: Vec<(f64, f64)> = parts
        .iter()
        .map(|part| (part * capacity, idle / (1.0 - part)))
        .collect();
    curve(&points)
}

#[expect(clippy::cast_possible_truncation, reason = "scores are f32")]
fn sample(n_models: usize, n: u64, levels: u32) -> Merged {
    let mut sample = Sample::new(n_models, 4_096, 1);
    for row in 0..n {
        let score = |model: u64| {
            let draw = uniform(mix(row * 64 + model + 1));
            let score = (0.3 + 0.04 * model as f64 + 0.5 * draw).min(1.0);
            if levels == 0 {
                score as f32
            } else {
                ((score * f64::from(levels)).round() / f64::from(levels)) as f32
            }
        };
        sample.add(&(0..n_models as u64).map(score).collect::<Vec<_>>());
    }
    sample.merged()
}

fn problem<'a>(sample: &'a Merged, curves: &[LatencyCurve], rate: f64, limit: f64) -> Problem<'a> {
    let flow = |curve: &LatencyCurve| {
        let running = Running {
            rate,
            other_load: 0.0,
            n_replicas: 1.0,
            slowness: 1.0,
            load_most: curve.end(),
        };
        Some(Pieces::new(
            &[Curve {
                curve,
                limit,
                most: curve.end(),
                beyond: 15.0,
            }],
            &[],
            curve,
            &running,
        ))
    };
    Problem {
        sample,
        flows: curves.iter().map(flow).collect(),
        limits: vec![1.0],
        row_price: (0.0, 0.5),
        row_prices: None,
        may_refuse: false,
    }
}

fn start(n_models: usize) -> Prices {
    Prices {
        prices: vec![0.0; n_models],
        row_prices: vec![0.0],
        ..Prices::default()
    }
}

#[test]
fn fractions_meet_offers_and_the_objective_is_used_up() {
    for levels in [0, 1, 10] {
        let sample = sample(4, 4_096, levels);
        let curves = [engine(0.05, 12.0), engine(0.1, 8.0), engine(0.2, 6.0), engine(0.5, 4.0)];
        let problem = problem(&sample, &curves, 15.0, 0.3);
        let solved = solve(&problem, &start(4));
        assert!((solved.fractions.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!((solved.rows[0] - 1.0).abs() < 0.05, "levels {levels}: {solved:?}");
        for (fraction, pieces) in solved.fractions.iter().zip(&problem.flows) {
            assert!(
                *fraction <= pieces.as_ref().unwrap().cap() + 0.003,
                "levels {levels}: {solved:?}"
            );
        }
        // Warm: there already, or nearly.
        let again = solve(&problem, &solved);
        assert!(again.steps <= 12, "levels {levels}: {} steps", again.steps);
        // Tied scores leave some freedom.
        let moved = again
            .prices
            .iter()
            .zip(&solved.prices)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f64::max);
        assert!(moved < 0.02, "levels {levels}: {moved}");
    }
}

#[test]
fn with_little_traffic_everybody_gets_the_best_model() {
    let sample = sample(3, 2_000, 0);
    let curves = [engine(0.05, 100.0), engine(0.1, 100.0), engine(0.2, 100.0)];
    let solved = solve(&problem(&sample, &curves, 1.0, 10.0), &start(3));
    assert!(solved.prices.iter().all(|price| *price < 2e-3), "{solved:?}");
    assert!(solved.row_prices[0] < 1e-6);
}

#[test]
fn an_objective_out_of_reach_is_violated_as_little_as_possible() {
    let sample = sample(2, 2_000, 0);
    let curves = [engine(0.4, 20.0), engine(2.0, 20.0)];
    let solved = solve(&problem(&sample, &curves, 5.0, 0.1), &start(2));
    assert!((solved.row_prices[0] - 0.5).abs() < 1e-6, "{solved:?}");
    assert!(solved.fractions[0] > 0.99, "{solved:?}");
    assert!(solved.rows[0] > 1.0);
}

#[test]
fn the_least_that_an_objective_can_come_to_is_found_and_then_quality_counts() {
    let sample = sample(3, 2_000, 0);
    let curves = [engine(0.3, 10.0), engine(0.5, 8.0), engine(0.9, 6.0)];
    // Once within capacity, once far beyond it.
    for rate in [12.0, 40.0] {
        let mut problem = problem(&sample, &curves, rate, 0.1);
        let least = least_value(&problem.flows, 0);
        let value = |w: [f64; 3]| -> f64 {
            let flows = problem.flows.iter().zip(w);
            flows.map(|(pieces, w)| pieces.as_ref().unwrap().value(0, w)).sum()
        };
        let parts = || (0..=200).map(|part| f64::from(part) / 200.0);
        let grid = parts().flat_map(|a| parts().map(move |b| [a, b, 1.0 - a - b]));
        let best = grid.filter(|w| w[2] >= -1e-9).map(value).fold(f64::INFINITY, f64::min);
        assert!(least <= best + 1e-9 && best <= 1.02 * least, "{least} {best}");

        problem.limits = vec![1.05 * least];
        problem.row_price = (0.0, 20.0);
        let solved = solve(&problem, &start(3));
        assert!(solved.rows[0] <= 1.07 * least, "{least}: {solved:?}");
        let quality = newton::quality(&problem, &solved);
        problem.limits = vec![least];
        problem.row_prices = Some(vec![20.0]);
        let fastest = solve(&problem, &start(3));
        assert!(
            quality > newton::quality(&problem, &fastest),
            "what is left over goes to quality"
        );
    }
}

#[test]
fn a_quick_look_at_many_prompts_sees_what_a_slow_one_sees() {
    let (n_models, n_rows) = (5, 1_003);
    let merged = sample(n_models, n_rows, 20);
    let on = [0, 2, 3, 4];
    let prices = [0.0, 0.05, 0.1, 0.02];
    for refusal in [f64::NEG_INFINITY, 0.6] {
        let mut n_alone = 0;
        for block in merged.blocks(usize::MAX) {
            let lead = lead::Lead::of(&block, &on, &prices, refusal);
            for lane in 0..sample::LANES {
                let worth = |nth: usize| f64::from(block.of(on[nth])[lane]) - prices[nth];
                let best = (0..on.len())
                    .reduce(|a, b| if worth(b) > worth(a) { b } else { a })
                    .unwrap();
                let others = (0..on.len()).filter(|nth| *nth != best).map(worth);
                let next = others.fold(refusal, f64::max);
                let alone = lead.alone(lane, 0.01);
                n_alone += usize::from(alone.is_some());
                assert_eq!(alone, (worth(best) - next > 0.01).then_some(best));
            }
        }
        assert!(n_alone > 200, "{n_alone}");
    }
}

#[test]
fn who_may_be_turned_away_is_where_that_meets_the_objective() {
    let sample = sample(2, 4_000, 0);
    let curves = [engine(0.05, 10.0), engine(0.1, 5.0)];
    let problem = Problem {
        may_refuse: true,
        ..problem(&sample, &curves, 30.0, 0.3)
    };
    let solved = solve(&problem, &start(2));
    assert!(0.4 < solved.refused && solved.refused < 0.7, "{solved:?}");
    assert!(solved.rows[0] <= 1.02, "{solved:?}");
}

#[test]
fn draws_meet_the_smooth_fractions() {
    let worth = [0.5, 0.5 - TEMPERATURE, 0.1];
    let first = (0..20_000u64)
        .filter(|i| Smooth::draw(&worth, 0..3, uniform(mix(*i))) == Some(0))
        .count();
    let part = first as f64 / 20_000.0;
    let expected = 1.0 / (1.0 + (-1.0f64).exp());
    assert!((part - expected).abs() < 0.012, "{part} for {expected}");
}

/// How far prices are from the best after [`SOLVES`], over random problems. Not every solve arrives: where offers and tied scores both
/// have corners, steps can get stuck. Of 2 752 such problems 16 stayed more than 2e-5 of score short, the worst by 0.0011.
#[test]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small counts drawn from a number in [0, 1)"
)]
fn nearly_all_solves_arrive_and_none_stays_far_off() {
    let (mut n_solved, mut n_short, mut worst) = (0, 0, 0.0f64);
    for case in 0..400u64 {
        let draw = |nth: u64| uniform(mix(case * 10 + nth + 1));
        let n = 2 + (draw(0) * 6.0) as usize;
        let levels = [0u32, 1, 10][(draw(1) * 3.0) as usize];
        let (seed, rate, limit) = ((draw(2) * 1000.0) as u64, 2.0 + 23.0 * draw(3), 0.4 + 2.6 * draw(4));
        let sample = sample(n, 1_000, levels);
        let of = |nth: u64| uniform(mix(seed * 100 + nth));
        let curves: Vec<LatencyCurve> = (0..n as u64)
            .map(|ix| engine(0.03 + 0.3 * of(ix), 4.0 + 12.0 * of(ix + 50)))
            .collect();
        let problem = problem(&sample, &curves, rate, limit);
        let solved = solve(&problem, &start(n));
        let caps: f64 = problem.flows.iter().flatten().map(Pieces::cap).sum();
        // What is out of reach need not be found to the last digit.
        if caps <= 1.05 || solved.row_prices[0] >= 0.499 {
            continue;
        }
        let mut longer = solved.clone();
        for _ in 0..30 {
            longer = super::solve(&problem, &[&longer], usize::MAX);
        }
        let short = newton::value(&problem, &solved) - newton::value(&problem, &longer);
        n_solved += 1;
        n_short += usize::from(short > 2e-5);
        worst = worst.max(short);
    }
    assert!(
        n_solved > 300 && n_short * 50 <= n_solved && worst < 2e-3,
        "{n_short} of {n_solved}, worst {worst}"
    );
}
