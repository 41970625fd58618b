//! Curves off profiles: value against the load of one replica, in requests/s.

use routerwise_types::profile::Profile;
use routerwise_types::workload::{Metric, Scope, Slo, Statistic, Workload};

/// Constant up to the first point, linear between points, undefined beyond the end.
#[derive(Clone, Debug)]
pub(super) struct Curve {
    points: Vec<(f64, f64)>,
    pub(super) end: f64,
}

impl Curve {
    pub(super) fn mean(profile: &Profile, metric: Metric) -> Option<Self> {
        let values = profile.points.iter().map(|point| Some(point.stat(metric).mean.value()));
        Self::new(profile, values.collect::<Option<_>>()?)
    }

    /// The left-hand side that an SLO sums over models: a mean, or the share of requests above the target.
    pub(super) fn row(profile: &Profile, slo: &Slo) -> Option<Self> {
        let Statistic::Quantile { .. } = slo.statistic else {
            return Self::mean(profile, slo.metric);
        };
        let sketches = profile.points.iter().map(|point| &point.stat(slo.metric).sketch);
        let values = sketches.map(|sketch| sketch.exceedance(slo.target.value()));
        Self::new(profile, values.collect::<Option<_>>()?)
    }

    /// The statistic of an SLO itself.
    pub(super) fn statistic(profile: &Profile, slo: &Slo) -> Option<Self> {
        let Statistic::Quantile { q } = slo.statistic else {
            return Self::mean(profile, slo.metric);
        };
        let sketches = profile.points.iter().map(|point| &point.stat(slo.metric).sketch);
        Self::new(
            profile,
            sketches.map(|sketch| sketch.quantile(q)).collect::<Option<_>>()?,
        )
    }

    fn new(profile: &Profile, values: Vec<f64>) -> Option<Self> {
        let loads = profile.points.iter().map(|point| point.offered.value());
        #[expect(clippy::cast_precision_loss, reason = "sample counts stay far below 2^53")]
        let weights: Vec<f64> = profile
            .points
            .iter()
            .map(|point| point.n_requests.max(1) as f64)
            .collect();
        let points: Vec<(f64, f64)> = loads.zip(isotonic(&values, &weights)).collect();
        let end = points.last()?.0.min(profile.capacity.value());
        Some(Self { points, end })
    }

    /// Value at a load; beyond the end it is the end's.
    pub(super) fn at(&self, load: f64) -> f64 {
        let load = load.min(self.end);
        let (first, last) = (self.points[0], self.points[self.points.len() - 1]);
        if load <= first.0 {
            return first.1;
        }
        let segment = self.points.windows(2).find(|pair| load <= pair[1].0);
        segment.map_or(last.1, |pair| {
            let part = (load - pair[0].0) / (pair[1].0 - pair[0].0);
            pair[0].1 * (1.0 - part) + pair[1].1 * part
        })
    }

    /// Highest load up to the end at which the value is at most `limit`; nothing when it is above it when idle.
    pub(super) fn reach(&self, limit: f64) -> Option<f64> {
        if self.at(0.0) > limit {
            return None;
        }
        if self.at(self.end) <= limit {
            return Some(self.end);
        }
        let (mut low, mut high) = (0.0, self.end);
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if self.at(middle) <= limit {
                low = middle
            } else {
                high = middle
            }
        }
        Some(low)
    }

    /// Loads at which the slope may change, below the end.
    pub(super) fn corners(&self) -> impl Iterator<Item = f64> + '_ {
        self.points.iter().map(|point| point.0).filter(|load| *load < self.end)
    }
}

/// Weighted isotonic regression by its minimax formula: `max over j ≤ i of min over k ≥ i of mean(j..=k)`.
fn isotonic(values: &[f64], weights: &[f64]) -> Vec<f64> {
    let mean = |from: usize, to: usize| {
        let weight: f64 = weights[from..=to].iter().sum();
        (from..=to).map(|i| values[i] * weights[i]).sum::<f64>() / weight
    };
    let lowest = |from: usize, i: usize| (i..values.len()).map(|to| mean(from, to)).fold(f64::INFINITY, f64::min);
    (0..values.len())
        .map(|i| (0..=i).map(|from| lowest(from, i)).fold(f64::NEG_INFINITY, f64::max))
        .collect()
}

/// Names of all routes; nothing for the one route of traffic that is not told apart.
pub(super) fn routes(workload: &Workload) -> Vec<Option<&str>> {
    if workload.routes.is_empty() {
        return vec![None];
    }
    workload.routes.iter().map(|route| Some(route.name.as_str())).collect()
}

/// The SLOs that count the requests of a route.
fn slos_of<'a>(workload: &'a Workload, route: Option<&'a str>) -> impl Iterator<Item = &'a Slo> {
    let slos = workload.slos.iter();
    slos.filter(move |slo| slo.route.is_none() || slo.route.as_deref() == route)
}

/// Highest load of one replica that its curves cover and every per-model SLO on a route allows; nothing when one fails even when idle.
pub(super) fn load_limit(profile: &Profile, workload: &Workload, route: Option<&str>) -> Option<f64> {
    let mut limit = Curve::mean(profile, Metric::Ttft)?.end;
    for slo in slos_of(workload, route).filter(|slo| slo.scope == Scope::EachModel) {
        limit = limit.min(Curve::statistic(profile, slo)?.reach(slo.target.value())?);
    }
    Some(limit)
}

/// The SLOs over the requests of a route, with their right-hand sides.
pub(super) fn rows_of<'a>(workload: &'a Workload, route: Option<&'a str>) -> Vec<(&'a Slo, f64)> {
    let over_all = slos_of(workload, route).filter(|slo| slo.scope == Scope::Workload);
    over_all.map(|slo| (slo, limit(slo))).collect()
}

/// Those of all routes, one after the other.
pub(super) fn rows(workload: &Workload) -> Vec<(&Slo, f64)> {
    let routes = routes(workload).into_iter();
    routes.flat_map(|route| rows_of(workload, route)).collect()
}

/// Right-hand side of an SLO over the workload.
pub(super) fn limit(slo: &Slo) -> f64 {
    match slo.statistic {
        Statistic::Mean => slo.target.value(),
        Statistic::Quantile { q } => 1.0 - q,
    }
}
