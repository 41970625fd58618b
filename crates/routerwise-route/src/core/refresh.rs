//! From what was seen to a job that solves prices, and from its result to prices in force.

use std::sync::Arc;

use routerwise_plan::problem::Row;
use routerwise_types::Timestamp;
use routerwise_types::workload::{Metric, Statistic};

use super::RouterCore;
use super::state::RouteState;
use crate::curves::{Curves, ModelCurves};
use crate::facts::ModelSet;
use crate::flow::Measured;
use crate::prices::{Curve, Merged, Pieces, Prices, Problem, Running, Sample, Toll, least_value, solve};
use crate::replica::after;
use crate::settings::{LiveSettings, OutOfReach, Pricing};

/// Least time between two solves, also when capacity changes: a flapping replica must not keep a core busy.
const LEAST_GAP: u64 = 50_000_000;
/// A job that was not applied within so many periods is lost.
const LOST: u64 = 5;
/// `β` at least, for all of a limit: tells equally good models apart by latency, and costs next to nothing.
const ROW_PRICE_LEAST: f64 = 0.005;
/// `β` at most, for all of a limit: no score is worth more than a limit missed by a twentieth.
const ROW_PRICE_MOST: f64 = 20.0;
/// Part of an objective's limit that is used up: load goes up and down around what is known of it, and latency rises faster than it falls.
const AIM: f64 = 0.97;
/// An objective that is out of reach is missed by so much more than it must be: the last per cents would cost the most quality.
const SLACK: f64 = 1.05;
/// Seconds that twice the capacity adds to latencies: the mean over two minutes of overload.
const OVERLOAD: f64 = 60.0;
/// `β` follows what is solved for with this time constant, in seconds, as a logarithm: near the knee of a curve a per cent of rate moves it
/// by a factor, and rates are known to a few per cent. Fractions follow rate and capacity at once, at the `β` that there is.
const CALM: f64 = 20.0;
/// Others on a model's engines that are less than this of a replica's capacity count as nobody.
const OTHERS: f64 = 0.05;
/// Rows of the sample that `β` is solved from.
const ROWS_FOR_BETA: usize = 1_024;
/// Solves of each route from where it is told how well routes settle, seconds between two such looks, the score for which one moves, and
/// what an objective costs that is missed by all of its limit.
const PASSES: usize = 4;
const LOOKS: f64 = 10.0;
const WORTH_MOVING: f64 = 0.002;
const MISSED: f64 = 2.0;
/// A row above its limit by less than this is rounding.
const VIOLATED: f64 = 1.02;

/// Re-solved prices of a route.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Live {
    pub(super) prices: Prices,
    /// Requests in flight on each replica of a model that prices reckon with.
    pub(super) expected: Vec<f64>,
    /// Seconds that a replica of each model takes for one more request when it is busy.
    pub(super) service: Vec<f64>,
    /// Score that a second of latency is worth.
    pub(super) second_price: f64,
    /// Whether an objective is out of reach.
    pub(super) out_of_reach: bool,
    /// The rate that they are for, requests/s.
    pub(super) rate: f64,
}

/// When prices are solved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Refresh {
    last: Option<Timestamp>,
    applied: Option<Timestamp>,
    /// When what was applied last was begun.
    seen: Option<Timestamp>,
    under_way: Option<Timestamp>,
    changed: Option<Timestamp>,
    /// When it was last looked whether routes had better settle in another way.
    looked: Option<Timestamp>,
}

impl Refresh {
    /// The same in another router: what is under way is not.
    pub(super) fn resumed(&self) -> Self {
        Self {
            under_way: None,
            ..*self
        }
    }

    /// Prices must be solved at once.
    pub(super) fn capacity_changed(&mut self, now: Timestamp) {
        self.changed.get_or_insert(now);
    }
}

/// New prices to be solved: everything that takes, so that it can be done without the router.
#[derive(Clone, Debug)]
pub struct RefreshJob {
    curves: Arc<Curves>,
    headroom: f64,
    models: Vec<ModelNow>,
    routes: Vec<RouteNow>,
    /// The sample of each; nothing while it has too few rows, or nothing is to be found.
    samples: Vec<Option<Sample>>,
    /// The same with equal rows merged, once it is being solved.
    merged: Vec<Option<Merged>>,
    urgent: bool,
    /// Whether to look if routes had better settle in another way.
    looks_elsewhere: bool,
    /// Seconds since what the prices in force were solved from was seen.
    passed: f64,
    row_price_most: f64,
}

/// A model as it runs now.
#[derive(Clone, Copy, Debug)]
struct ModelNow {
    /// Replicas, those that ramp up in part.
    n_replicas: f64,
    /// By the time per token of its engines.
    engines: f64,
    measured: Measured,
    /// Requests/s that others send to its engines.
    others: f64,
}

#[derive(Clone, Debug)]
struct RouteNow {
    /// Index in the workload that the plan was made for.
    of_plan: usize,
    rate: f64,
    /// What one of its requests counts for.
    worth: f64,
    start: Prices,
    /// What the plan says.
    planned: Prices,
    allowed: ModelSet,
    may_refuse: bool,
}

/// Prices that a [`RefreshJob`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Solved {
    routes: Vec<Option<Live>>,
    engines: Vec<f64>,
    measured: Vec<Measured>,
    urgent: bool,
}

impl Solved {
    /// Newton steps that it took, over all routes.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.routes.iter().flatten().map(|live| live.prices.steps).sum()
    }
}

impl RefreshJob {
    /// Solves; milliseconds at most.
    #[must_use]
    pub fn solve(mut self) -> Solved {
        let merged = self.samples.iter().map(|sample| sample.as_ref().map(Sample::merged));
        self.merged = merged.collect();
        let mut starts: Vec<Prices> = self.routes.iter().map(|route| route.start.clone()).collect();
        if self.looks_elsewhere {
            starts = self.better_of(starts);
        }
        let mut solved = Vec::with_capacity(self.routes.len());
        for ix in 0..self.routes.len() {
            let live = self.solve_route(ix, &starts);
            if let Some(live) = &live {
                starts[ix] = live.prices.clone();
            }
            solved.push(live);
        }
        Solved {
            routes: solved,
            engines: self.models.iter().map(|model| model.engines).collect(),
            measured: self.models.iter().map(|model| model.measured).collect(),
            urgent: self.urgent,
        }
    }

    /// Routes that share models may settle in more than one way: where this one is, or where they settle from the plan's prices, if that is better.
    fn better_of(&self, here: Vec<Prices>) -> Vec<Prices> {
        let there = self.settled(self.routes.iter().map(|route| route.planned.clone()).collect());
        let stays = self.worth(&self.settled(here.clone()));
        if self.worth(&there) > stays + WORTH_MOVING {
            there
        } else {
            here
        }
    }

    /// Where routes arrive that answer to each other.
    fn settled(&self, mut at: Vec<Prices>) -> Vec<Prices> {
        for _ in 0..PASSES {
            for ix in 0..self.routes.len() {
                if let Some(problem) = self.problem(ix, &at) {
                    at[ix] = solve(&problem, &[&at[ix]], ROWS_FOR_BETA);
                }
            }
        }
        at
    }

    /// Mean score of a request, less what objectives are missed by.
    fn worth(&self, at: &[Prices]) -> f64 {
        let (mut sum, mut all) = (0.0, 0.0);
        for (ix, route) in self.routes.iter().enumerate() {
            let Some(problem) = self.problem(ix, at) else { continue };
            let over =
                |(row, limit): (usize, &f64)| (value_of_row(&problem.flows, &at[ix].fractions, row) - limit).max(0.0);
            let missed = problem.limits.iter().enumerate().map(over);
            let counts = route.rate * route.worth;
            sum += counts * (at[ix].score - MISSED * missed.sum::<f64>().min(1.0));
            all += counts;
        }
        sum / f64::max(all, 1e-12)
    }

    /// What is to be solved for a route beside others that are where they are.
    fn problem(&self, ix: usize, at: &[Prices]) -> Option<Problem<'_>> {
        let route = &self.routes[ix];
        let merged = self.merged[ix].as_ref()?;
        let planned_rate = (route.rate * (1.0 + self.headroom)).max(1e-3);
        let flows = self.flows(ix, planned_rate, at);
        if flows.iter().all(Option::is_none) {
            return None;
        }
        let limits = (0..self.curves.rows_of(route.of_plan).count()).map(|row| {
            let reachable = if route.may_refuse {
                0.0
            } else {
                least_value(&flows, row)
            };
            f64::max(AIM, SLACK * reachable)
        });
        Some(Problem {
            sample: merged,
            limits: limits.collect(),
            flows,
            row_price: (ROW_PRICE_LEAST, self.row_price_most),
            row_prices: None,
            may_refuse: route.may_refuse,
        })
    }

    /// What every model offers a route at a rate.
    fn flows(&self, ix: usize, rate: f64, at: &[Prices]) -> Vec<Option<Pieces>> {
        let of = |model: usize| {
            let (running, curves) = self.running(ix, model, rate, at)?;
            let tolls = self.tolls(ix, model, curves, at);
            let rows = self.curves.rows_of(self.routes[ix].of_plan);
            let rows: Vec<Curve<'_>> = rows.map(|row| self.row(model, curves, row)).collect();
            Some(Pieces::new(&rows, &tolls, &curves.e2e, &running))
        };
        (0..self.models.len()).map(of).collect()
    }

    fn solve_route(&self, ix: usize, at: &[Prices]) -> Option<Live> {
        let route = &self.routes[ix];
        let start = &at[ix];
        let mut problem = self.problem(ix, at)?;
        // `β` is only followed calmly, so a part of the sample will do for it.
        let free = solve(&problem, &[start], ROWS_FOR_BETA);
        problem.row_prices = Some(self.calmed(&start.row_prices, &free.row_prices));
        let prices = solve(&problem, &[start, &free], usize::MAX);
        let now = self.flows(ix, route.rate.max(1e-3), at);
        let violated = |row: usize| value_of_row(&now, &prices.fractions, row) > VIOLATED;
        let beyond = |(pieces, w): (&Option<Pieces>, &f64)| pieces.as_ref().is_some_and(|p| *w > p.cap() + 0.01);
        let out_of_reach = now.iter().zip(&prices.fractions).any(beyond)
            || (0..problem.limits.len()).any(violated)
            || prices.refused > 0.01;
        let expected = (0..self.models.len()).map(|model| {
            self.running(ix, model, route.rate, at)
                .map_or(0.0, |(running, curves)| {
                    let load = running.per_fraction() * prices.fractions[model] + running.of_others();
                    let load = load.min(curves.e2e.end());
                    load * curves.e2e.at(load).unwrap_or(0.0)
                })
        });
        let service = (0..self.models.len()).map(|model| {
            let curves = self.curves.models[model].as_ref();
            curves.map_or(0.0, |curves| {
                self.models[model].measured.slowness / curves.load_most.max(1e-9)
            })
        });
        Some(Live {
            expected: expected.collect(),
            service: service.collect(),
            second_price: price_of_a_second(&self.curves, route.of_plan, &prices.row_prices, 0.0),
            prices,
            out_of_reach,
            rate: route.rate,
        })
    }

    /// How a model runs for a route; nothing where it may not be used.
    fn running(&self, route: usize, model: usize, rate: f64, starts: &[Prices]) -> Option<(Running, &ModelCurves)> {
        let curves = self.curves.models[model].as_ref()?;
        let now = self.models[model];
        let route_now = &self.routes[route];
        let load_most = curves.reach[route_now.of_plan]?;
        if now.n_replicas <= 0.0 || !route_now.allowed.has(model) {
            return None;
        }
        let running = Running {
            rate,
            other_load: self.other_load(route, model, starts) + now.others,
            n_replicas: now.n_replicas,
            slowness: now.measured.slowness,
            load_most,
        };
        Some((running, curves))
    }

    /// `β` between what it was and what it should be.
    fn calmed(&self, before: &[f64], solved: &[f64]) -> Vec<f64> {
        let part = if self.urgent {
            1.0
        } else {
            1.0 - (-self.passed / CALM).exp()
        };
        let bounded = |price: f64| price.clamp(ROW_PRICE_LEAST, self.row_price_most).ln();
        let rows = before.iter().zip(solved);
        rows.map(|(before, solved)| (bounded(*before) + part * (bounded(*solved) - bounded(*before))).exp())
            .collect()
    }

    fn others(&self, route: usize) -> impl Iterator<Item = usize> {
        (0..self.routes.len()).filter(move |other| *other != route)
    }

    /// Requests/s that other routes send to a model.
    fn other_load(&self, route: usize, model: usize, starts: &[Prices]) -> f64 {
        let load = |other: usize| self.routes[other].rate * starts[other].fractions.get(model).copied().unwrap_or(0.0);
        self.others(route).map(load).sum()
    }

    /// What the other routes wait for on a model, for every unit of this route's requests: `Σ λ_o·v_o·w_o·Σ_k β_ok·ℓ_k(x) / (λ·v)`, with `v` what a
    /// request of a route counts for. It is a function of this route's load, not a slope: near the knee a slope would lead far beyond it.
    fn tolls<'a>(&self, route: usize, model: usize, curves: &'a ModelCurves, starts: &[Prices]) -> Vec<Toll<'a>> {
        let own = &self.routes[route];
        let whole = own.rate.max(1e-3) * own.worth;
        let of = |other: usize| {
            let (now, start) = (&self.routes[other], &starts[other]);
            let sent = now.rate * now.worth * start.fractions.get(model).copied().unwrap_or(0.0);
            let rows = self.curves.rows_of(now.of_plan).zip(start.row_prices.clone());
            rows.map(move |(row, price)| Toll {
                curve: self.row(model, curves, row),
                weight: sent / whole * price,
            })
        };
        let tolls = self.others(route).flat_map(of);
        tolls.filter(|toll| toll.weight > 0.0).collect()
    }

    fn row<'a>(&self, model: usize, curves: &'a ModelCurves, row: usize) -> Curve<'a> {
        let Row { slo_ix, limit, route } = self.curves.rows[row];
        let slo = &self.curves.slos[slo_ix];
        let beyond = match (slo.metric, slo.statistic) {
            // At a fifth more than its capacity nearly everybody is late.
            (_, Statistic::Quantile { .. }) => 5.0,
            (Metric::Tpot, Statistic::Mean) => limit,
            (Metric::Ttft | Metric::E2e, Statistic::Mean) => OVERLOAD,
        };
        let lateness = match slo.metric {
            Metric::Ttft => self.models[model].measured.lateness,
            Metric::Tpot | Metric::E2e => 1.0,
        };
        Curve {
            curve: &curves.rows[row],
            limit: limit / lateness,
            most: curves.reach[route].unwrap_or(curves.load_most),
            beyond,
        }
    }
}

impl RouterCore {
    /// The next solve, if one is due; at most one is under way at a time. Its result goes to [`RouterCore::apply`].
    pub fn refresh(&mut self, now: Timestamp) -> Option<RefreshJob> {
        if self.next_refresh().is_none_or(|due| due > now) {
            return None;
        }
        self.refresh.last = Some(now);
        for route in &mut self.routes {
            let rate = route.rate.settle(now);
            route.settle_level(rate);
        }
        let Pricing::Live(settings) = self.settings.pricing else {
            return None;
        };
        let curves = self.curves.clone()?;
        let urgent = self.refresh.changed.take().is_some();
        self.refresh.under_way = Some(now);
        let several = self.routes.iter().filter(|route| route.named.is_none()).count() > 1;
        let long_ago = |at: Timestamp| now.since(at).value() >= LOOKS;
        let looks_elsewhere = several && (urgent || self.refresh.looked.is_none_or(long_ago));
        if looks_elsewhere {
            self.refresh.looked = Some(now);
        }
        Some(RefreshJob {
            headroom: settings.headroom,
            models: (0..self.models.len()).map(|model| self.model_now(now, model)).collect(),
            routes: self.routes.iter().map(RouteNow::of).collect(),
            samples: self.routes.iter().map(|route| route.enough(&settings)).collect(),
            merged: Vec::new(),
            curves,
            urgent,
            looks_elsewhere,
            passed: self.passed(now, &settings),
            row_price_most: settings.violation_price.unwrap_or(ROW_PRICE_MOST).max(ROW_PRICE_LEAST),
        })
    }

    fn passed(&self, now: Timestamp, settings: &LiveSettings) -> f64 {
        // A result may come into force long after it was begun, and the next solve begin at once.
        self.refresh
            .seen
            .map_or(settings.every.value(), |at| now.since(at).value())
    }

    fn model_now(&self, now: Timestamp, model: usize) -> ModelNow {
        let serving = self.models[model]
            .replicas
            .iter()
            .filter(|replica| replica.is_serving());
        let n_replicas = serving.map(|replica| replica.ramp(now, &self.settings.health)).sum();
        let engines = self.slowness(model);
        let state = &self.models[model];
        let curves = self.curves.as_ref().and_then(|curves| curves.models[model].as_ref());
        let others = self.rate_of_others(now, model);
        // What others have in flight and get done is known too roughly to count with.
        let alone = |(curves, _): &(&ModelCurves, _)| others < OTHERS * curves.load_most;
        let measured = curves
            .zip(state.occupancy.as_ref())
            .filter(alone)
            .map(|(curves, occupancy)| state.flow.measured(curves, occupancy, n_replicas, engines));
        ModelNow {
            n_replicas,
            engines,
            measured: measured.unwrap_or(Measured::as_profiled(engines)),
            others,
        }
    }

    /// Requests/s that others send to a model's engines: what is in flight over the time that it takes there (Little's law).
    fn rate_of_others(&self, now: Timestamp, model: usize) -> f64 {
        let state = &self.models[model];
        let Some(occupancy) = &state.occupancy else { return 0.0 };
        let (mut others, mut ours, mut n) = (0.0, 0.0, 0.0);
        for replica in state.replicas.iter().filter(|replica| replica.is_serving()) {
            others += replica.others_calm(now, &self.settings.health);
            ours += f64::from(replica.outstanding);
            n += 1.0;
        }
        if others <= 0.0 {
            return 0.0;
        }
        let takes = occupancy.at((others + ours) / n).e2e * self.slowness(model);
        others / takes.max(1e-9)
    }

    /// When the next solve is due.
    pub(super) fn next_refresh(&self) -> Option<Timestamp> {
        let Pricing::Live(settings) = self.settings.pricing else {
            let follows = self.routes.iter().any(|route| route.levels.len() > 1);
            let due = self
                .refresh
                .last
                .map_or(Timestamp::START, |last| Timestamp(last.0 + 1_000_000_000));
            return follows.then_some(due);
        };
        self.curves.as_ref()?;
        let every = after(Timestamp::START, settings.every).0.max(LEAST_GAP);
        let last = self.refresh.last.map_or(0, |last| last.0);
        if let Some(since) = self.refresh.under_way {
            return Some(Timestamp(since.0 + LOST * every));
        }
        let regular = last + every;
        let at_once = self.refresh.changed.map(|_| last + LEAST_GAP);
        Some(Timestamp(at_once.map_or(regular, |at_once| at_once.min(regular))))
    }

    /// Takes solved prices over, as far as the bound on their movement allows; after a change of capacity there is none.
    pub fn apply(&mut self, now: Timestamp, solved: Solved) {
        self.refresh.seen = self.refresh.under_way.take().or(self.refresh.seen);
        let Pricing::Live(settings) = self.settings.pricing else {
            return;
        };
        let passed = self
            .refresh
            .applied
            .map_or(settings.every.value(), |at| now.since(at).value());
        self.refresh.applied = Some(now);
        self.room = true;
        let priced = solved.engines.into_iter().zip(solved.measured);
        for (model, (engines, measured)) in self.models.iter_mut().zip(priced) {
            model.engines_priced = engines;
            model.priced = measured;
        }
        for (route, live) in self.routes.iter_mut().zip(solved.routes) {
            let Some(mut live) = live else { continue };
            if !solved.urgent {
                let before = route
                    .live
                    .as_ref()
                    .map_or(route.level().policy.prices(), |live| &live.prices.prices);
                for (price, before) in live.prices.prices.iter_mut().zip(before) {
                    let most = settings.step * passed.min(10.0) * (1.0 + before.abs());
                    *price = price.clamp(before - most, before + most);
                }
            }
            route.live = Some(live);
        }
    }

    /// Score that a second of one request's latency is worth, for about so many seconds.
    pub(super) fn price_of_a_second(&self, route: usize, seconds: f64) -> f64 {
        let Some(curves) = &self.curves else { return 0.0 };
        let route = &self.routes[route];
        let row_prices = route
            .live
            .as_ref()
            .map_or(&route.level().row_prices, |live| &live.prices.row_prices);
        price_of_a_second(curves, route.of_plan, row_prices, seconds)
    }
}

/// Left-hand side of a row where every model gets so much.
fn value_of_row(flows: &[Option<Pieces>], fractions: &[f64], row: usize) -> f64 {
    let both = flows.iter().zip(fractions);
    both.map(|(pieces, w)| pieces.as_ref().map_or(0.0, |pieces| pieces.value(row, *w)))
        .sum()
}

/// `β` of the objectives that count a second of latency.
fn price_of_a_second(curves: &Curves, route: usize, row_prices: &[f64], seconds: f64) -> f64 {
    let of = |(row, price): (usize, &f64)| {
        let row = &curves.rows[row];
        let slo = &curves.slos[row.slo_ix];
        match (slo.metric, slo.statistic) {
            (Metric::Tpot, _) => 0.0,
            (_, Statistic::Mean) => price / row.limit,
            // A request counts when it crosses the target: the nearer the delay is to the whole target, the surer it does.
            (_, Statistic::Quantile { .. }) => price / row.limit / slo.target.value().max(seconds).max(1e-9),
        }
    };
    curves.rows_of(route).zip(row_prices).map(of).sum()
}

impl RouteNow {
    fn of(route: &RouteState) -> Self {
        let level = route.level();
        let planned = Prices {
            prices: level.policy.prices().to_vec(),
            row_prices: level.row_prices.clone(),
            fractions: route.usual_fractions(),
            ..Prices::default()
        };
        Self {
            of_plan: route.of_plan,
            worth: level.worth,
            rate: route.rate.current(),
            start: route
                .live
                .as_ref()
                .map_or_else(|| planned.clone(), |live| live.prices.clone()),
            planned,
            allowed: route.settings.allowed,
            may_refuse: !matches!(route.settings.out_of_reach, OutOfReach::Degrade),
        }
    }
}
