//! Visits at the same rate, taken together.

use routerwise_types::profile::{LatencyStat, LoadPoint};
use routerwise_types::report::{RequestRecord, latency_stat};
use routerwise_types::sketch::Sketch;
use routerwise_types::units::{RequestsPerSecond, Seconds};
use routerwise_types::workload::Metric;

use super::visit::{Stage, Visit};

/// A load is sustained when at least this part of it is finished while it arrives, as in the simulated sweep.
const SUSTAINED: f64 = 0.95;
/// Answers at a load that is too much after which it is known how much an engine does at most.
const SATURATED: u64 = 20;
/// Requests of a sustained load that outweigh any number at a smaller one.
const CONFIRMED: u64 = 200;
/// A load at which this many times as much is missing as may be by chance is not visited again to make sure.
const HOPELESS: f64 = 2.0;
/// Above this part of the capacity latency is almost vertical and scatters for as long as one measures, and no plan rests there
/// (curves are read with 10 % headroom): intervals count by so much less.
const KNEE: f64 = 0.9;
const KNEE_SLACK: f64 = 3.0;
/// A stretch narrower than this part of the capacity is not looked into.
const NARROWEST: f64 = 0.06;
/// Visits to a load that is not sustained, though it is not far from it or a larger one is, until it is believed.
pub(super) const VISITS_IN_DOUBT: usize = 3;
/// Part of the requests of a load that may fail.
const MAY_FAIL: f64 = 0.01;

/// A load and all that was measured at it.
#[derive(Clone, Debug)]
pub struct Point {
    /// The load with its latencies.
    pub load: LoadPoint,
    /// Whether the engine keeps up with it as far as its own visits tell.
    keeps_up: bool,
    /// Whether it falls behind by more than chance makes, or requests fail.
    flooded: bool,
    /// Whether the engine keeps up with it, as far as can be told by all loads together.
    pub sustained: bool,
    /// Whether looking again would not change that.
    pub hopeless: bool,
    /// Visits to it.
    pub n_visits: usize,
}

/// All visits, with one point per rate, rising.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    visits: Vec<Visit>,
    points: Vec<Point>,
}

impl Seen {
    /// Of visits in the order in which they were made.
    #[must_use]
    pub fn of(visits: Vec<Visit>) -> Self {
        let mut seen = Self::default();
        for visit in visits {
            seen.push(visit);
        }
        seen
    }

    /// One more.
    pub fn push(&mut self, visit: Visit) {
        let (stage, offered) = (visit.stage, visit.offered);
        self.visits.push(visit);
        if stage != Stage::Load {
            return;
        }
        let same = |other: &Visit| other.stage == Stage::Load && compare(other.offered, offered).is_eq();
        let visits: Vec<&Visit> = self.visits.iter().filter(|other| same(other)).collect();
        let point = merge(&visits);
        match self
            .points
            .binary_search_by(|point| compare(point.load.offered, offered))
        {
            Ok(ix) => self.points[ix] = point,
            Err(ix) => self.points.insert(ix, point),
        }
        self.see_through();
    }

    /// What loads say about each other.
    ///
    /// An engine that does not keep up does as much as it can, whatever arrives. A load above that at which it does no more than that is not sustained
    /// either: its visits only were too short for the queue to show. And one that keeps up with a larger load keeps up with a smaller one that failed narrowly.
    fn see_through(&mut self) {
        let sure = |point: &&Point| point.flooded || !point.keeps_up && point.n_visits >= VISITS_IN_DOUBT;
        let failing = self
            .points
            .iter()
            .filter(sure)
            .filter(|point| point.load.n_requests >= SATURATED);
        let most = failing.map(|point| point.load.achieved.value()).reduce(f64::max);
        let mut above = 0;
        for point in self.points.iter_mut().rev() {
            let (offered, achieved) = (point.load.offered.value(), point.load.achieved.value());
            let saturated = most
                .is_some_and(|most| offered > most / SUSTAINED && (achieved - most).abs() < (achieved - offered).abs());
            let n = point.load.n_requests;
            let by_chance = !point.flooded && above >= n.min(CONFIRMED);
            point.sustained = !saturated && (point.keeps_up || by_chance);
            point.hopeless = !point.sustained && (point.flooded || saturated && point.keeps_up);
            if point.sustained {
                above = above.max(n);
            }
        }
    }

    /// In the order in which they were made.
    #[must_use]
    pub fn visits(&self) -> &[Visit] {
        &self.visits
    }

    /// Rising by rate.
    #[must_use]
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    /// The points of the curve: up to the largest load below which all are sustained.
    #[must_use]
    pub fn curve(&self) -> &[Point] {
        let n = self.points.iter().take_while(|point| point.sustained).count();
        &self.points[..n]
    }

    /// Smallest load that is not sustained.
    #[must_use]
    pub fn not_sustained(&self) -> Option<RequestsPerSecond> {
        let failed = self.points.iter().find(|point| !point.sustained);
        failed.map(|point| point.load.offered)
    }
}

fn compare(a: RequestsPerSecond, b: RequestsPerSecond) -> std::cmp::Ordering {
    a.value().total_cmp(&b.value())
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn merge(visits: &[&Visit]) -> Point {
    let records: Vec<RequestRecord> = visits.iter().flat_map(|visit| visit.records()).collect();
    let sum = |of: fn(&Visit) -> u64| visits.iter().map(|visit| of(visit)).sum::<u64>() as f64;
    let seconds: f64 = visits.iter().map(|visit| visit.flow.seconds).sum();
    let achieved = sum(|visit| visit.flow.n_finished) / seconds.max(1e-9);
    let stat = |metric| latency_stat(&records, metric).unwrap_or_else(no_latency);
    let load = LoadPoint {
        offered: visits[0].offered,
        achieved: RequestsPerSecond::new(achieved).expect("a count over a positive time"),
        n_requests: records.len() as u64,
        ttft: stat(Metric::Ttft),
        tpot: stat(Metric::Tpot),
        e2e: stat(Metric::E2e),
    };
    let failed = sum(|visit| visit.n_failed);
    let n = records.len() as f64 + failed;
    let served = !records.is_empty() && failed <= (MAY_FAIL * n).max(1.0);
    // What raised the doubt is no evidence for it: those who look again at what looked bad by chance must not count the chance.
    let judged = match visits {
        [first, later @ ..] if !later.is_empty() && behind(&[first], &load) > 1.0 => later,
        all => all,
    };
    let behind = behind(judged, &load);
    let (keeps_up, flooded) = (served && behind <= 1.0, !served || behind > HOPELESS);
    Point {
        keeps_up,
        flooded,
        sustained: keeps_up,
        hopeless: flooded,
        n_visits: visits.len(),
        load,
    }
}

/// How many requests are missing, finished less arrived, relative to how many may be while the engine keeps up: a small part of all, or the
/// scatter of those in flight: with `L` of them on average their number at the end of a visit differs from that at its start by about
/// `sqrt(2 L)` even when nothing piles up. One visit in dozens is above 1 by chance.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn behind(visits: &[&Visit], load: &LoadPoint) -> f64 {
    let sum = |of: fn(&Visit) -> u64| visits.iter().map(|visit| of(visit)).sum::<u64>() as f64;
    let arrived = sum(|visit| visit.flow.n_arrived);
    let in_flight = load.achieved * load.e2e.mean;
    let scatter = (2.0 * in_flight * visits.len() as f64).sqrt();
    let may_be = (2.0 * scatter).max((1.0 - SUSTAINED) * arrived).max(1.0);
    (arrived - sum(|visit| visit.flow.n_finished)) / may_be
}

/// Where every answer has one token there is no time per further token: it is 0 for curves.
fn no_latency() -> LatencyStat {
    LatencyStat {
        mean: Seconds::ZERO,
        ci95: Seconds::ZERO,
        sketch: Sketch::default(),
    }
}

/// How unsure one stretch of the curve is, relative to its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// The point at its left end.
    pub left_ix: usize,
    /// Half width of the wider 95 % interval of its ends; those near the capacity count a third.
    pub interval: f64,
    /// The end that has it.
    pub wider_ix: usize,
    /// What linear interpolation may be off by in its middle.
    pub interpolation: f64,
}

impl Stretch {
    /// Both together.
    #[must_use]
    pub fn uncertainty(&self) -> f64 {
        self.interval.hypot(self.interpolation)
    }
}

/// Stretches between neighbours, for the worst of the metrics.
#[must_use]
pub fn stretches(points: &[Point], metrics: &[Metric]) -> Vec<Stretch> {
    // A single point is a stretch by itself.
    let n = points.len().saturating_sub(1).max(points.len().min(1));
    (0..n)
        .map(|left_ix| {
            let of = |metric: &Metric| stretch(points, left_ix, *metric);
            let worst = metrics.iter().map(of);
            worst
                .max_by(|a, b| a.uncertainty().total_cmp(&b.uncertainty()))
                .expect("a profile is measured for at least one metric")
        })
        .collect()
}

fn stretch(points: &[Point], left_ix: usize, metric: Metric) -> Stretch {
    let x = |ix: usize| points[ix].load.offered.value();
    let y = |ix: usize| points[ix].load.stat(metric).mean.value();
    let interval = |ix: usize| {
        let slack = if x(ix) > KNEE * x(points.len() - 1) {
            KNEE_SLACK
        } else {
            1.0
        };
        relative(points[ix].load.stat(metric).ci95.value(), y(ix)) / slack
    };
    if points.len() == 1 {
        return Stretch {
            left_ix,
            interval: interval(left_ix),
            wider_ix: left_ix,
            interpolation: 0.0,
        };
    }
    let right_ix = left_ix + 1;
    let wider_ix = if interval(left_ix) > interval(right_ix) {
        left_ix
    } else {
        right_ix
    };
    // The second divided difference of each parabola through the two ends and a neighbour.
    let bend = |a: usize, b: usize, c: usize| {
        let slope = |p: usize, q: usize| (y(q) - y(p)) / (x(q) - x(p));
        ((slope(b, c) - slope(a, b)) / (x(c) - x(a))).abs()
    };
    let left = left_ix.checked_sub(1).map(|before| bend(before, left_ix, right_ix));
    let right = (right_ix + 1 < points.len()).then(|| bend(left_ix, right_ix, right_ix + 1));
    let width = x(right_ix) - x(left_ix);
    let bent = left.into_iter().chain(right).fold(0.0, f64::max) * width * width / 4.0;
    // A curve that never falls stays between the values of both ends, so their middle is never off by more than half their difference.
    let narrow = width < NARROWEST * x(points.len() - 1);
    let most = if narrow {
        0.0
    } else {
        (y(right_ix) - y(left_ix)).abs() / 2.0
    };
    Stretch {
        left_ix,
        interval: interval(wider_ix),
        wider_ix,
        interpolation: relative(bent.min(most), f64::midpoint(y(left_ix), y(right_ix))),
    }
}

fn relative(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
