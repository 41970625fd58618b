//! Several routes on one model: what a box of its loads is worth at most, the obvious way.
//!
//! With the load `L` of all fixed, `Σ_r w_r·(α_r − Σ_k β_rk·ℓ_k(L))` is linear in the fractions, so it is highest where all but one of them are none
//! or all. Every set of routes that send everything, with every other route that sends a part, is a quadratic in `L` on a piece of the
//! curves: its ends and its top are looked at.

use routerwise_types::plan::PolicyPrices;
use routerwise_types::scenario::Scenario;

use super::space::Flow;

/// What routes have to do with each other; one route where traffic is not told apart.
pub(super) struct Sharing {
    /// Part of all requests of a level that each route has.
    pub(super) parts: Vec<f64>,
    /// What each route counts for within a level; sums to 1.
    pub(super) weights: Vec<f64>,
}

impl Sharing {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let routes = &scenario.workload.routes;
        if routes.is_empty() {
            return Self {
                parts: vec![1.0],
                weights: vec![1.0],
            };
        }
        Self {
            parts: routes.iter().map(|route| route.part).collect(),
            weights: routes.iter().map(|route| route.weight).collect(),
        }
    }

    pub(super) fn n_routes(&self) -> usize {
        self.parts.len()
    }

    /// `H` of one way to run a model at one level, the weighted sum over its routes, with the load of all within a range; `−∞` where there is none.
    /// A route that may use the model up to the least load of its `whole` box and not beyond is left to the box below, which ends there.
    pub(super) fn worth(
        &self,
        flow: &Flow,
        at: &[PolicyPrices],
        model: usize,
        (low, high): (f64, f64),
        whole: (f64, f64),
    ) -> f64 {
        if self.n_routes() == 1 {
            return flow.worth(at[0].prices[model], &at[0].slo_prices, low, high);
        }
        let high = high.min(flow.cap());
        let mut best = if low <= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        for piece in flow.pieces() {
            let (from, to) = (piece.0.max(low), piece.1.min(high));
            if from <= to {
                best = best.max(self.on_piece(flow, at, model, piece, (from, to), whole.0));
            }
        }
        best
    }

    fn on_piece(
        &self,
        flow: &Flow,
        at: &[PolicyPrices],
        model: usize,
        piece: (f64, f64),
        range: (f64, f64),
        floor: f64,
    ) -> f64 {
        let mut first_row = 0;
        // Worth of one request of each route at the ends of the piece.
        let lines: Vec<(f64, f64)> = at
            .iter()
            .zip(&self.weights)
            .map(|(at, weight)| {
                let cost = |load: f64| -> f64 {
                    let rows = at.slo_prices.iter().enumerate();
                    rows.map(|(row, price)| price * flow.value(first_row + row, load)).sum()
                };
                let line = (
                    weight * (at.prices[model] - cost(piece.0)),
                    weight * (at.prices[model] - cost(piece.1)),
                );
                first_row += at.slo_prices.len();
                line
            })
            .collect();
        let of = |route: usize, load: f64| {
            let (first, last) = lines[route];
            if piece.1 <= piece.0 {
                return first;
            }
            first + (last - first) * (load - piece.0) / (piece.1 - piece.0)
        };
        let n = self.n_routes();
        let mut best = f64::NEG_INFINITY;
        for full in 0u32..1 << n {
            let full: Vec<usize> = (0..n).filter(|route| full >> route & 1 == 1).collect();
            let filled: f64 = full.iter().map(|route| self.parts[*route]).sum();
            for partial in (0..n).filter(|route| !full.contains(route)) {
                let users = full.iter().chain([&partial]);
                let reach = users.map(|route| flow.reach(*route)).fold(f64::INFINITY, f64::min);
                let low = range.0.max(filled);
                let high = range.1.min(filled + self.parts[partial]).min(reach);
                if low > high || reach <= floor {
                    continue;
                }
                let value = |load: f64| {
                    let all: f64 = full.iter().map(|route| of(*route, load)).sum();
                    all + (load - filled) / self.parts[partial] * of(partial, load)
                };
                best = best.max(top(value, low, high));
            }
        }
        best
    }
}

/// Highest value of a quadratic between two ends, from three of its points.
fn top(value: impl Fn(f64) -> f64, low: f64, high: f64) -> f64 {
    let middle = 0.5 * (low + high);
    let (a, b, c) = (value(low), value(middle), value(high));
    let ends = a.max(b).max(c);
    let bend = a - 2.0 * b + c;
    if bend >= 0.0 {
        return ends;
    }
    // Vertex of the parabola, as a part of half the width from the middle.
    let part = (0.5 * (a - c) / bend).clamp(-1.0, 1.0);
    ends.max(value(middle + part * (high - middle)))
}
