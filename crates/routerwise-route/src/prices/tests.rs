use proptest::prelude::*;
use routerwise_plan::curve::{LatencyCurve, Sample as Measured};

use super::flows::Running;
use super::*;

/// All rows, and again from there: what a router does second after second.
fn solve(problem: &Problem<'_>, start: &Prices) -> Prices {
    let first = super::solve(problem, start, usize::MAX);
    let second = super::solve(problem, &first, usize::MAX);
    super::solve(problem, &second, usize::MAX)
}
use crate::policy::mix;
use routerwise_types::hash::uniform;

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
                beyond: 15.0,
            }],
            curve,
            &running,
        ))
    };
    Problem {
        sample,
        flows: curves.iter().map(flow).collect(),
        tolls: vec![0.0; curves.len()],
        n_rows: 1,
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

proptest! {
    #[test]
    fn no_price_vector_nearby_is_better(
        seed in 0u64..1000, n in 2usize..8, rate in 2.0f64..25.0, limit in 0.4f64..3.0, levels in prop::sample::select(vec![0u32, 1, 10]),
    ) {
        let sample = sample(n, 1_000, levels);
        let curves: Vec<LatencyCurve> = (0..n as u64)
            .map(|ix| engine(0.03 + 0.3 * uniform(mix(seed * 100 + ix)), 4.0 + 12.0 * uniform(mix(seed * 100 + ix + 50))))
            .collect();
        let problem = problem(&sample, &curves, rate, limit);
        let caps: f64 = problem.flows.iter().flatten().map(Pieces::cap).sum();
        prop_assume!(caps > 1.05);
        let solved = solve(&problem, &start(n));
        // Prices far out of reach need not be found to the last digit.
        prop_assume!(solved.row_prices[0] < 0.499);
        let value = newton::value(&problem, &solved);
        for step in 0..40u64 {
            let mut other = solved.clone();
            let at = usize::try_from(step % (n as u64 + 1)).unwrap();
            let by = 0.003 * (uniform(mix(seed + step)) - 0.5);
            if at < n { other.prices[at] = (other.prices[at] + by).max(0.0) } else { other.row_prices[0] = (other.row_prices[0] + by).clamp(0.0, 0.5) }
            prop_assert!(newton::value(&problem, &other) >= value - 2e-5 * (1.0 + value.abs()), "{:?}", solved);
        }
    }
}
