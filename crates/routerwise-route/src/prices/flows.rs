//! `φ(w)` of one model as it runs now: the plan's curves, slower or faster, over the replicas that are left, beside other routes.
//!
//! A replica that takes `σ` times as long for everything has `ℓ'(x) = σ·ℓ(σ·x)`: its latency is `σ` times as high and its capacity `σ`
//! times as low. With `r` replicas, other routes' load `B` and the route's own rate `λ`, a fraction `w` is read at `x = σ·(λ·w + B)/r`.

use routerwise_plan::curve::LatencyCurve;

/// A curve and what its values are divided by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Curve<'a> {
    pub(crate) curve: &'a LatencyCurve,
    pub(crate) limit: f64,
    /// Highest load of a replica, and what twice that load adds to its value.
    pub(crate) most: f64,
    pub(crate) beyond: f64,
}

impl Curve<'_> {
    /// At a load, of an engine that is so slow.
    fn value(&self, load: f64, slowness: f64) -> f64 {
        let over = (load / self.most - 1.0).max(0.0);
        let within = self.curve.at(load.min(self.most).min(self.curve.end()));
        (within.expect("within the curve") * slowness + self.beyond * over) / self.limit
    }
}

/// What others wait for: `weight` times a curve's value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Toll<'a> {
    pub(crate) curve: Curve<'a>,
    pub(crate) weight: f64,
}

/// How a model runs now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Running {
    /// Requests/s of the route, with headroom.
    pub(crate) rate: f64,
    /// Requests/s of other routes on the model.
    pub(crate) other_load: f64,
    /// Replicas, in wholes and parts; more than 0.
    pub(crate) n_replicas: f64,
    /// Observed over predicted latency.
    pub(crate) slowness: f64,
    /// Highest load of a replica on the curve.
    pub(crate) load_most: f64,
}

impl Running {
    /// Load on the curve for each unit of fraction.
    pub(crate) fn per_fraction(&self) -> f64 {
        self.slowness * self.rate / self.n_replicas
    }

    /// Load on the curve without the route.
    pub(crate) fn of_others(&self) -> f64 {
        self.slowness * self.other_load / self.n_replicas
    }
}

/// `φ` of one model: quadratic pieces, row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pieces {
    n_rows: usize,
    /// Largest fraction within the capacity.
    cap: f64,
    /// Piece `j` is `[breaks[j], breaks[j + 1]]`.
    breaks: Vec<f64>,
    /// `a`, `b` of piece `j`, row `k` at `[j · n_rows + k]`: `φ = w·(a + b·w)`.
    coefficients: Vec<(f64, f64)>,
    /// `κ` on piece `j`: `t0 + t1·w`.
    tolls: Vec<(f64, f64)>,
}

/// What a model offers at some prices.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Offer {
    pub(crate) value: f64,
    pub(crate) fraction: f64,
    /// Derivative of the fraction by the price; 0 at an end or a corner.
    pub(crate) response: f64,
    pub(crate) piece: usize,
}

impl Pieces {
    /// `φ` of the curves, one per row, and `κ` of the tolls.
    pub(crate) fn new(curves: &[Curve<'_>], tolls: &[Toll<'_>], ends_at: &LatencyCurve, running: &Running) -> Self {
        let (per_fraction, offset) = (running.per_fraction(), running.of_others());
        let fraction = |load: f64| (load - offset) / per_fraction;
        let cap = fraction(running.load_most).clamp(0.0, 1.0);
        let most = tolls.iter().map(|toll| toll.curve.most);
        let last = fraction(most.clone().fold(running.load_most, f64::max)).clamp(0.0, 1.0);
        let corners = ends_at.corners().map(|(load, _)| load).chain(most).map(fraction);
        let mut corners: Vec<f64> = corners.chain([cap]).collect();
        corners.sort_by(f64::total_cmp);
        let mut breaks = vec![0.0];
        for w in corners {
            if w > breaks[breaks.len() - 1] + 1e-9 && w < last - 1e-9 {
                breaks.push(w);
            }
        }
        breaks.push(last);
        if last < 1.0 {
            breaks.push(1.0);
        }
        let mut coefficients = Vec::with_capacity(curves.len() * (breaks.len() - 1));
        let load = |w: f64| offset + w * per_fraction;
        for piece in breaks.windows(2) {
            for curve in curves {
                let value = |w: f64| curve.value(load(w), running.slowness);
                let (low, high) = (value(piece[0]), value(piece[1]));
                let width = piece[1] - piece[0];
                let b = if width > 1e-12 {
                    ((high - low) / width).max(0.0)
                } else {
                    0.0
                };
                coefficients.push((low - b * piece[0], b));
            }
        }
        let toll = |w: f64| -> f64 {
            let of = |toll: &Toll<'_>| toll.weight * toll.curve.value(load(w), running.slowness);
            tolls.iter().map(of).sum()
        };
        let without = toll(0.0);
        let line = |piece: &[f64]| {
            let (low, high) = (toll(piece[0]) - without, toll(piece[1]) - without);
            let slope = (high - low).max(0.0) / (piece[1] - piece[0]).max(1e-12);
            (low - slope * piece[0], slope)
        };
        let tolls = if tolls.is_empty() {
            vec![(0.0, 0.0); breaks.len() - 1]
        } else {
            breaks.windows(2).map(line).collect()
        };
        Self {
            n_rows: curves.len(),
            cap,
            breaks,
            coefficients,
            tolls,
        }
    }

    /// Largest fraction that the model can take for good.
    pub(crate) fn cap(&self) -> f64 {
        self.cap
    }

    /// `φ_row` and its derivative at a fraction on a piece.
    pub(crate) fn at(&self, row: usize, piece: usize, w: f64) -> (f64, f64) {
        let (a, b) = self.coefficients[piece * self.n_rows + row];
        (w * (a + b * w), a + 2.0 * b * w)
    }

    /// `φ_row` at a fraction.
    pub(crate) fn value(&self, row: usize, w: f64) -> f64 {
        let piece = self
            .breaks
            .partition_point(|corner| *corner < w)
            .clamp(1, self.breaks.len() - 1)
            - 1;
        self.at(row, piece, w).0
    }

    /// The fraction at which a row's flow less a margin for every unit is least.
    fn best_of_row(&self, row: usize, margin: f64) -> f64 {
        let (mut best, mut at) = (f64::NEG_INFINITY, 0.0);
        for (piece, ends) in self.breaks.windows(2).enumerate() {
            let (a, b) = self.coefficients[piece * self.n_rows + row];
            let w = if b > 0.0 {
                ((margin - a) / (2.0 * b)).clamp(ends[0], ends[1])
            } else if margin > a {
                ends[1]
            } else {
                ends[0]
            };
            let value = w * (margin - a - b * w);
            if value > best {
                (best, at) = (value, w);
            }
        }
        at
    }

    /// The best offer for a price, `κ` taken off, with flows bent by `bend`.
    pub(crate) fn best(&self, price: f64, row_prices: &[f64], bend: f64) -> Offer {
        let mut best = Offer {
            value: f64::NEG_INFINITY,
            ..Offer::default()
        };
        for (piece, ends) in self.breaks.windows(2).enumerate() {
            let (toll, toll_slope) = self.tolls[piece];
            let (mut a, mut b) = (toll_slope, 0.5 * bend);
            for (row, row_price) in row_prices.iter().enumerate() {
                let (row_a, row_b) = self.coefficients[piece * self.n_rows + row];
                a += row_price * row_a;
                b += row_price * row_b;
            }
            let free = (price - a) / (2.0 * b);
            let w = free.clamp(ends[0], ends[1]);
            let value = w * (price - a - b * w) - toll;
            if value > best.value {
                let inside = ends[0] < free && free < ends[1];
                let response = if inside { 1.0 / (2.0 * b) } else { 0.0 };
                best = Offer {
                    value,
                    fraction: w,
                    response,
                    piece,
                };
            }
        }
        best
    }
}

/// The least that a row can come to, scores left aside: every request where it adds least, `min Σ φ_i(w_i)` over `Σ w_i = 1`.
///
/// All models in use have the same marginal flow there; it is found by halving.
pub(crate) fn least_value(flows: &[Option<Pieces>], row: usize) -> f64 {
    let taken = |margin: f64| -> (f64, f64) {
        let on = flows.iter().flatten();
        on.map(|pieces| {
            let offer = pieces.best_of_row(row, margin);
            (offer, pieces.value(row, offer))
        })
        .fold((0.0, 0.0), |(w, value), (offer, flow)| (w + offer, value + flow))
    };
    let (mut low, mut high) = (0.0, 1.0);
    while taken(high).0 < 1.0 {
        (low, high) = (high, 2.0 * high);
        if high > 1e12 {
            return 0.0;
        }
    }
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if taken(middle).0 < 1.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    // Where offers jump, what is missing is added at the margin.
    let (w, value) = taken(low);
    value + (1.0 - w) * high
}
