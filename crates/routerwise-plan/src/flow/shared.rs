//! What several routes make of one configuration that they share.
//!
//! Route `r` sends the fraction `w_r` of its requests, and has the part `ρ_r` of all. Every one of them waits as long as the load of all makes
//! it wait, `L = Σ_r ρ_r·w_r`:
//!
//! ```text
//! H(α, β) = max over w of  Σ_r w_r·(α_r − Σ_k β_rk·ℓ_k(L)),    0 ≤ w_r ≤ 1,  L within a range and a piece of ℓ
//! ```
//!
//! That is not concave in `w`, but with `L` fixed it is a fractional knapsack: routes are filled in order of their worth per request,
//! `(A_r − B_r·L)/ρ_r` on a piece where `ℓ` is linear. Between two loads at which that order changes and two at which one route is full and the next
//! begins, only one `w_r` changes and the sum is a concave quadratic in `L`: its top is looked at on every such stretch, so `H` is exact.

use super::{Flow, Interval};
use crate::traffic::Traffic;

/// What one route's requests are worth on a piece: `A − B·L` each, as parts of the level's requests.
#[derive(Clone, Copy, Default)]
struct Line {
    worth: f64,
    slope: f64,
    /// Part of all requests.
    part: f64,
    route: usize,
}

impl Line {
    fn per_request(&self, load: f64) -> f64 {
        (self.worth - self.slope * load) / self.part
    }
}

/// Routes at most, for room on the stack.
const MOST: usize = routerwise_types::workload::MOST_ROUTES;

impl Flow {
    /// `H(α, β)` at one load level, with `prices` of each route and `row_prices` of each row, both in quality of their policy; `weights` are
    /// what each route's policy counts for. Writes the fractions that reach it; `−∞` where the range holds no load.
    pub(crate) fn best_shared(
        &self,
        traffic: &Traffic,
        weights: &[f64],
        prices: impl Fn(usize) -> f64,
        row_prices: &[f64],
        range: Interval,
        fractions: &mut [f64],
    ) -> f64 {
        fractions.fill(0.0);
        let mut best = if range.low <= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        for (piece, ends) in self.breaks.windows(2).enumerate() {
            let (low, high) = (ends[0].max(range.low), ends[1].min(range.high));
            if low > high {
                continue;
            }
            let mut lines = [Line::default(); MOST];
            let lines = &mut lines[..traffic.n_routes()];
            for (route, line) in lines.iter_mut().enumerate() {
                let (mut a, mut b) = (0.0, 0.0);
                for row in traffic.rows_of(route) {
                    let (row_a, row_b) = self.coefficient(piece, row);
                    a += row_prices[row] * row_a;
                    b += row_prices[row] * row_b;
                }
                *line = Line {
                    worth: weights[route] * (prices(route) - a),
                    slope: weights[route] * b,
                    part: traffic.parts[route],
                    route,
                };
            }
            self.best_on_piece(lines, low, high, &mut best, fractions);
        }
        best
    }

    /// Goes through the stretches of one piece on which the order of routes and those that may use the configuration stay the same.
    fn best_on_piece(&self, lines: &mut [Line], low: f64, high: f64, best: &mut f64, fractions: &mut [f64]) {
        let mut cuts = [0.0; MOST * MOST + 2];
        let mut n = 0;
        let mut cut = |at: f64| {
            cuts[n] = at;
            n += 1;
        };
        cut(low);
        cut(high);
        let inside = |at: &f64| low < *at && *at < high;
        self.reach.iter().filter(|at| inside(at)).for_each(|at| cut(*at));
        for (at, one) in lines.iter().enumerate() {
            for other in &lines[..at] {
                // (A − B·L)/ρ of both alike.
                let slope = one.slope * other.part - other.slope * one.part;
                let crossing = (one.worth * other.part - other.worth * one.part) / slope;
                if inside(&crossing) {
                    cut(crossing);
                }
            }
        }
        let cuts = &mut cuts[..n];
        cuts.sort_unstable_by(f64::total_cmp);
        // One stretch where both ends are the same.
        for at in 0..cuts.len() - 1 {
            let (from, to) = (cuts[at], cuts[at + 1]);
            let middle = 0.5 * (from + to);
            lines.sort_by(|a, b| b.per_request(middle).total_cmp(&a.per_request(middle)));
            self.best_on_stretch(lines, from, to, best, fractions);
        }
    }

    fn best_on_stretch(&self, lines: &[Line], from: f64, to: f64, best: &mut f64, fractions: &mut [f64]) {
        // What the routes that are full are worth, and how much of the load they are.
        let (mut worth, mut slope, mut filled) = (0.0, 0.0, 0.0);
        for (at, line) in lines.iter().enumerate() {
            if !self.may_use(line.route, to) {
                continue;
            }
            let (low, high) = (from.max(filled), to.min(filled + line.part));
            if low <= high {
                // Full routes and a part x = (L − filled)/ρ of this one, each at A − B·L.
                let value = |load: f64| {
                    let part = (load - filled) / line.part;
                    worth - slope * load + part * (line.worth - line.slope * load)
                };
                let bend = line.slope / line.part;
                let rise = -slope + (line.worth + line.slope * filled) / line.part;
                let load = if bend > 0.0 {
                    (rise / (2.0 * bend)).clamp(low, high)
                } else if rise > 0.0 {
                    high
                } else {
                    low
                };
                let found = value(load);
                if found > *best {
                    *best = found;
                    fractions.fill(0.0);
                    for full in lines[..at].iter().filter(|full| self.may_use(full.route, to)) {
                        fractions[full.route] = 1.0;
                    }
                    fractions[line.route] = ((load - filled) / line.part).clamp(0.0, 1.0);
                }
            }
            worth += line.worth;
            slope += line.slope;
            filled += line.part;
        }
    }

    /// Whether a route's objectives and permissions let it use the configuration at this load of all.
    pub(crate) fn may_use(&self, route: usize, load: f64) -> bool {
        self.reach.get(route).is_none_or(|reach| load <= *reach + REACHED)
    }

    /// `ℓ_row(L)` relative to the row's limit, for `L ≤ cap`.
    #[must_use]
    pub fn latency(&self, row: usize, load: f64) -> f64 {
        let (a, b) = self.coefficient_at(row, load);
        a + b * load
    }

    /// Up to which load of all a route may use the configuration.
    #[must_use]
    pub fn reach(&self, route: usize) -> f64 {
        self.reach.get(route).map_or(self.cap(), |reach| reach.min(self.cap()))
    }

    /// Limits the load up to which each route may use the configuration; below 0 where it may not at all. No load goes beyond the
    /// highest.
    #[must_use]
    pub(crate) fn with_reach(mut self, reach: Vec<f64>) -> Self {
        let cap = reach.iter().copied().fold(0.0, f64::max).min(self.cap());
        let n_pieces = self.breaks[1..].iter().take_while(|end| **end < cap).count() + 1;
        self.breaks.truncate(n_pieces + 1);
        if let Some(last) = self.breaks.last_mut() {
            *last = last.min(cap);
        }
        self.coefficients.truncate(2 * self.n_rows * n_pieces);
        self.reach = reach;
        self
    }

    /// The configuration as it is at one load: every request waits as long as then, and no more load comes. What keeps to the rows like this does so
    /// with the true latencies, which are no higher below that load. Routes that may not use it at that load do not.
    pub(crate) fn held_at(&self, load: f64, n_routes: usize) -> Self {
        let load = load.clamp(0.0, self.cap());
        let never = -1.0;
        Self {
            n_rows: self.n_rows,
            breaks: vec![0.0, load],
            coefficients: (0..self.n_rows)
                .flat_map(|row| [self.latency(row, load), 0.0])
                .collect(),
            reach: (0..n_routes)
                .map(|route| if self.may_use(route, load) { load } else { never })
                .collect(),
        }
    }
}

/// Loads are compared with this much slack for rounding.
const REACHED: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::curve::{LatencyCurve, Sample};

    /// A curve over `λ·w` with `λ` of 10.
    fn curve(steps: &[(f64, f64)]) -> LatencyCurve {
        let (mut x, mut y) = (0.0, 0.05);
        let samples: Vec<Sample> = steps
            .iter()
            .map(|(dx, dy)| {
                x += dx;
                y += dy;
                Sample {
                    load: x,
                    value: y,
                    weight: 1,
                }
            })
            .collect();
        LatencyCurve::new(&samples, x).unwrap()
    }

    proptest! {
        #[test]
        fn the_best_point_of_several_routes_is_the_best_of_a_grid(
            steps in prop::collection::vec((0.2f64..4.0, 0.0f64..2.0), 1..6),
            raw in prop::collection::vec(0.1f64..1.0, 2..4), prices in prop::collection::vec(0.0f64..3.0, 3),
            row_prices in prop::collection::vec(0.0f64..2.0, 3), reach in prop::collection::vec(-0.2f64..1.5, 3),
            low in 0.0f64..0.5, width in 0.0f64..1.0,
        ) {
            let n = raw.len();
            let all: f64 = raw.iter().sum();
            let parts: Vec<f64> = raw.iter().map(|part| part / all).collect();
            let traffic = Traffic { weights: parts.clone(), parts: parts.clone(), row_routes: (0..n).collect() };
            let curves: Vec<LatencyCurve> = (0..n).map(|_| curve(&steps)).collect();
            let limits: Vec<f64> = (0..n).map(|at| 0.4 + 0.3 * f64::from(u8::try_from(at).unwrap())).collect();
            let flow = Flow::new(&curves, &limits, 10.0, curves[0].end()).with_reach(reach[..n].to_vec());
            let range = Interval { low: low.min(flow.cap()), high: (low + width).min(flow.cap()) };
            let mut fractions = vec![0.0; n];
            let found = flow.best_shared(&traffic, &parts, |route| prices[route], &row_prices[..n], range, &mut fractions);
            let load = |w: &[f64]| -> f64 { w.iter().zip(&parts).map(|(w, part)| w * part).sum() };
            let worth = |w: &[f64]| -> f64 {
                let at = load(w);
                (0..n).map(|r| parts[r] * w[r] * (prices[r] - row_prices[r] * flow.latency(r, at))).sum()
            };
            if found > f64::NEG_INFINITY {
                prop_assert!((worth(&fractions) - found).abs() < 1e-9, "{found} {fractions:?}");
                prop_assert!(load(&fractions) >= range.low - 1e-9 && load(&fractions) <= range.high + 1e-9);
            }
            let steps = 16u32;
            for at in 0..(steps + 1).pow(u32::try_from(n).unwrap()) {
                let w: Vec<f64> = (0..n)
                    .map(|r| f64::from(at / (steps + 1).pow(u32::try_from(r).unwrap()) % (steps + 1)) / f64::from(steps))
                    .collect();
                let at = load(&w);
                let may = (0..n).all(|r| w[r] <= 0.0 || at < flow.reach(r) - 1e-9);
                if range.low <= at && at <= range.high && may {
                    prop_assert!(worth(&w) <= found + 1e-9, "{w:?} is worth {} and not {found}", worth(&w));
                }
            }
        }
    }
}
