//! Which load to measure next: pure, from what was measured so far, so that a run that was interrupted goes on as it would have.
//!
//! 1. The engine alone gives the time of one request, `s`. One request every `s` seconds is the first load.
//! 2. Twice as much until the engine no longer keeps up, then bisection between the largest load that it sustains and the
//!    smallest that it does not, to within [`KNEE`]. A load that fails narrowly is visited again before it is believed.
//! 3. A load well below, where the curve begins.
//! 4. Whatever is left of the budget goes to the stretch of the curve that is least sure: to the end of it with the wider
//!    interval, or into its middle where interpolation may be further off than that.

use routerwise_types::units::{RequestsPerSecond, Seconds};
use routerwise_types::workload::Metric;

use super::points::{Point, Seen, VISITS_IN_DOUBT, stretches};
use super::visit::{Stage, Visit, spent};

/// The knee is known when the load that is not sustained is at most this much above the one that is.
const KNEE: f64 = 0.05;
/// The curve begins at or below this part of the capacity.
const BEGINNING: f64 = 0.1;
/// Part of the budget that one visit takes.
const VISIT: f64 = 1.0 / 40.0;
/// Fewest and most requests that one visit measures.
const FEWEST: f64 = 20.0;
/// Fewest where the curve begins: latency scatters least there, and requests are far between.
const FEWEST_IDLE: f64 = 8.0;
const MOST: f64 = 4_000.0;
/// Halvings of the first load after which an engine counts as unable to serve.
const LEAST: f64 = 1.0 / 64.0;

/// What decides how a profile is measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Stop when no stretch of the curve is less sure than this, relative to its value.
    pub precision: f64,
    /// Stop when this much time was spent on one configuration.
    pub budget: Seconds,
    /// Latencies that the precision is of.
    pub metrics: Vec<Metric>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Next {
    /// Short and long prompts, one by one.
    Prefill,
    /// Requests of the mix, one by one.
    Alone {
        /// How many.
        n_requests: usize,
    },
    /// Requests at a rate.
    Load(LoadVisit),
    /// Nothing more.
    Done(Stop),
}

/// A visit to a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadVisit {
    /// Requests per second.
    pub rate: RequestsPerSecond,
    /// Requests to send before any is measured.
    pub n_warm_up: usize,
    /// Requests to measure.
    pub n_requests: usize,
    /// How long to wait for answers after the last of them was sent.
    pub patience: Seconds,
    /// What for.
    pub aim: Aim,
}

/// What a visit is to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The largest load that is sustained.
    Knee,
    /// Where the curve begins.
    Beginning,
    /// Another load between two that are measured.
    Between,
    /// More requests at a load that is measured.
    More,
}

/// Why measuring ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The curve is as sure as was asked for.
    Precise,
    /// The budget is spent.
    BudgetSpent,
    /// Not even a small part of the rate of one request at a time is sustained.
    NeverKeepsUp,
}

/// Decides what to do next.
#[must_use]
pub fn next(settings: &Settings, seen: &Seen) -> Next {
    let visits = seen.visits();
    if !visits.iter().any(|visit| visit.stage == Stage::Prefill) {
        return Next::Prefill;
    }
    let Some(alone) = alone_seconds(visits) else {
        return Next::Alone { n_requests: 2 };
    };
    let left = settings.budget.value() - spent(visits);
    let n_alone = more_alone(settings, visits, alone);
    if n_alone > 0 {
        return Next::Alone { n_requests: n_alone };
    }
    let scene = Scene {
        settings,
        alone,
        left,
        seen,
    };
    scene
        .knee()
        .or_else(|| scene.beginning())
        .unwrap_or_else(|| scene.refine())
}

/// Mean time of one request by itself, seconds.
#[must_use]
pub fn alone_seconds(visits: &[Visit]) -> Option<f64> {
    let alone = visits.iter().filter(|visit| visit.stage == Stage::Alone);
    let times: Vec<f64> = alone
        .flat_map(|visit| visit.records())
        .map(|record| record.e2e().value())
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "some tens of requests")]
    let n = times.len() as f64;
    (!times.is_empty()).then(|| (times.iter().sum::<f64>() / n).max(1e-6))
}

/// Ten more requests by themselves, or as many as one visit has time for.
fn more_alone(settings: &Settings, visits: &[Visit], alone: f64) -> usize {
    if visits.iter().filter(|visit| visit.stage == Stage::Alone).count() > 1 {
        return 0;
    }
    whole((settings.budget.value() * VISIT / alone).clamp(1.0, 10.0))
}

/// What is known when the next load is chosen.
struct Scene<'a> {
    settings: &'a Settings,
    /// Seconds of one request by itself.
    alone: f64,
    /// Seconds left of the budget.
    left: f64,
    seen: &'a Seen,
}

impl Scene<'_> {
    /// Largest load that is sustained and smallest above it that is not.
    fn bracket(&self) -> (Option<&Point>, Option<f64>) {
        let above = self.seen.not_sustained();
        (self.seen.curve().last(), above.map(RequestsPerSecond::value))
    }

    /// A load that was not sustained though a larger one was, or by so little that it may be chance: the knee would be far too low if the
    /// one visit to it were believed.
    fn doubtful(&self) -> Option<f64> {
        let (failed, above) = self.seen.points()[self.seen.curve().len()..].split_first()?;
        let doubtful = !failed.hopeless || above.iter().any(|point| point.sustained);
        (doubtful && failed.n_visits < VISITS_IN_DOUBT).then(|| failed.load.offered.value())
    }

    fn knee(&self) -> Option<Next> {
        if let Some(doubtful) = self.doubtful() {
            return Some(self.visit(doubtful, Aim::Knee, MOST));
        }
        let (below, above) = self.bracket();
        let below = below.map(|point| point.load.offered.value());
        let rate = match (below, above) {
            (None, None) => 1.0 / self.alone,
            (Some(below), None) => 2.0 * below,
            (None, Some(above)) if above * self.alone <= LEAST => return Some(Next::Done(Stop::NeverKeepsUp)),
            (None, Some(above)) => above / 2.0,
            (Some(below), Some(above)) if above > below * (1.0 + KNEE) => (below * above).sqrt(),
            (Some(_), Some(_)) => return None,
        };
        Some(self.visit(rounded(rate), Aim::Knee, MOST))
    }

    fn beginning(&self) -> Option<Next> {
        let (below, _) = self.bracket();
        let capacity = below?.load.offered.value();
        let first = self.seen.points().first()?.load.offered.value();
        (first > 1.5 * BEGINNING * capacity).then(|| self.visit(rounded(BEGINNING * capacity), Aim::Beginning, MOST))
    }

    fn refine(&self) -> Next {
        let curve = self.seen.curve();
        let rate = |ix: usize| curve[ix].load.offered.value();
        let open = stretches(curve, &self.settings.metrics);
        let widest = open.iter().max_by(|a, b| a.uncertainty().total_cmp(&b.uncertainty()));
        match widest {
            Some(widest) if widest.uncertainty() > self.settings.precision => {
                if widest.interpolation > widest.interval {
                    let middle = f64::midpoint(rate(widest.left_ix), rate(widest.left_ix + 1));
                    return self.visit(rounded(middle), Aim::Between, MOST);
                }
                let point = &curve[widest.wider_ix];
                let wanted = widest.interval / self.settings.precision;
                let so_far = count(point.load.n_requests).max(1.0);
                // As many as would do, were they like those so far; at least half as many again, so that this ends.
                let more = (so_far * (wanted * wanted - 1.0)).max(so_far / 2.0);
                self.visit(point.load.offered.value(), Aim::More, more)
            }
            _ => Next::Done(Stop::Precise),
        }
    }

    /// A visit of its share of the budget, or of what is left.
    fn visit(&self, rate: f64, aim: Aim, most: f64) -> Next {
        let latency = self.latency_near(rate);
        let seconds = (self.settings.budget.value() * VISIT).max(3.0 * latency);
        let fewest = if aim == Aim::Beginning { FEWEST_IDLE } else { FEWEST };
        let n_wanted = (rate * seconds).clamp(fewest, most.clamp(fewest, MOST));
        let warm_up = |n: f64| (n / 4.0).max(1.5 * rate * latency).min(2.0 * n);
        // After the window its last requests are still being answered.
        let time = |n: f64| (n + warm_up(n)) / rate + latency;
        let mut n = n_wanted;
        while n > fewest && time(n) > self.left {
            n = (0.8 * n).max(fewest);
        }
        if time(n) > 1.5 * self.left {
            return Next::Done(Stop::BudgetSpent);
        }
        Next::Load(LoadVisit {
            rate: RequestsPerSecond::new(rate).expect("a positive rate"),
            n_warm_up: whole(warm_up(n)),
            n_requests: whole(n),
            patience: Seconds::new((4.0 * latency).max(0.5 * n / rate)).expect("a positive time"),
            aim,
        })
    }

    /// What a request takes at a rate, seconds: as at the next lower load, or by itself.
    fn latency_near(&self, rate: f64) -> f64 {
        let below = self
            .seen
            .points()
            .iter()
            .take_while(|point| point.load.offered.value() <= rate);
        let nearest = below.filter(|point| point.sustained).last();
        nearest.map_or(self.alone, |point| point.load.e2e.mean.value().max(self.alone))
    }
}

/// To three digits, so that loads read well and a rate is the same number however it was come by.
fn rounded(rate: f64) -> f64 {
    format!("{rate:.2e}").parse().expect("a number as it was written")
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn count(n: u64) -> f64 {
    n as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a count of requests, clamped by the callers"
)]
fn whole(n: f64) -> usize {
    n.ceil().max(0.0) as usize
}
