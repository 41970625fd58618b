//! The latency curves of an allocation, and what they forecast of a routing.
//!
//! A request may ask several models one after the other: it loads each of them, and what it waits for is the whole answer of all but the
//! last. Curves end at capacity: beyond it there is no forecast, only by how much capacity is exceeded.

use routerwise_types::comparison::Judged;
use routerwise_types::profile::Profile;
use routerwise_types::scenario::Scenario;
use routerwise_types::workload::{Metric, Scope, Slo, Statistic};

use super::allocation::Allocation;
use super::rule::{Way, Ways};
use super::spread::Spread;
use crate::curve::{LatencyCurve, Reading};
use crate::problem::{Problem, reading};

/// One running model.
#[derive(Clone, Debug)]
pub(crate) struct Server<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) n_replicas: u32,
    /// Mean latencies of one replica.
    pub(crate) ttft: LatencyCurve,
    pub(crate) tpot: LatencyCurve,
    pub(crate) e2e: LatencyCurve,
    /// What each SLO reads off one replica.
    pub(crate) slos: Vec<LatencyCurve>,
    /// GPU-seconds that a request takes at capacity.
    pub(crate) cost: f64,
}

impl Server<'_> {
    /// Requests/s that one replica can take.
    pub(crate) fn end(&self) -> f64 {
        self.ttft.end()
    }

    fn mean(&self, metric: Metric, load: f64) -> f64 {
        let curve = match metric {
            Metric::Ttft => &self.ttft,
            Metric::Tpot => &self.tpot,
            Metric::E2e => &self.e2e,
        };
        curve.at(load.min(curve.end())).unwrap_or(f64::INFINITY)
    }
}

/// All running models of an allocation.
#[derive(Clone, Debug)]
pub(crate) struct Servers<'a> {
    /// One entry per model of the scenario.
    pub(crate) list: Vec<Option<Server<'a>>>,
    pub(crate) slos: &'a [Slo],
}

/// How far a routing is from meeting the objectives. Both 0 when it does.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(crate) struct Violation {
    /// Highest load over capacity, less 1.
    pub(crate) overload: f64,
    /// Highest left-hand side over right-hand side, less 1; 0 beyond capacity, where nothing is known.
    pub(crate) late: f64,
}

/// Loads may exceed capacity by this much, relative, through rounding.
const ROUNDING: f64 = 1e-6;

impl<'a> Servers<'a> {
    pub(crate) fn new(scenario: &'a Scenario, problem: &Problem, allocation: &Allocation) -> Self {
        let server = |(model, candidate): (usize, &Option<usize>)| {
            let candidate = &problem.models[model].candidates[(*candidate)?];
            let profile = &scenario.profiles[candidate.profile_ix?];
            let n_replicas = candidate.configuration?.n_replicas;
            let mean = |metric| LatencyCurve::from_profile(profile, Reading::Statistic(metric, Statistic::Mean));
            let slos = scenario.workload.slos.iter().map(|slo| {
                let reading = match slo.scope {
                    Scope::Workload => reading(slo),
                    Scope::EachModel => Reading::Statistic(slo.metric, slo.statistic),
                };
                LatencyCurve::from_profile(profile, reading)
            });
            let ttft = mean(Metric::Ttft)?;
            let gpus = f64::from(candidate.units) / f64::from(problem.units_per_gpu * n_replicas);
            Some(Server {
                profile,
                n_replicas,
                cost: gpus / ttft.end(),
                ttft,
                tpot: mean(Metric::Tpot)?,
                e2e: mean(Metric::E2e)?,
                slos: slos.collect::<Option<Vec<_>>>()?,
            })
        };
        Self {
            list: allocation.candidates.iter().enumerate().map(server).collect(),
            slos: &scenario.workload.slos,
        }
    }

    /// Indices of running models.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.list.len())
            .filter(|model| self.list[*model].is_some())
            .collect()
    }

    /// Requests/s that all replicas of a model can take.
    pub(crate) fn capacity(&self, model: usize) -> f64 {
        self.list[model]
            .as_ref()
            .map_or(0.0, |server| server.end() * f64::from(server.n_replicas))
    }

    /// Load over capacity.
    pub(crate) fn utilisation(&self, model: usize, visits: f64, rate: f64) -> f64 {
        if visits <= 0.0 {
            return 0.0;
        }
        visits * rate / self.capacity(model)
    }

    fn load(&self, model: usize, visits: &[f64], rate: f64) -> f64 {
        let n_replicas = self.list[model].as_ref().map_or(1, |server| server.n_replicas);
        visits[model] * rate / f64::from(n_replicas)
    }

    pub(crate) fn visits(&self, ways: &[Way]) -> Vec<f64> {
        let mut visits = vec![0.0; self.list.len()];
        for way in ways {
            for model in &way.models {
                visits[*model] += way.fraction;
            }
        }
        visits
    }

    fn highest_utilisation(&self, visits: &[f64], rate: f64) -> f64 {
        let of_model = |model: usize| self.utilisation(model, visits[model], rate);
        (0..visits.len()).map(of_model).fold(0.0, f64::max)
    }

    /// Mean of a metric over all requests.
    pub(crate) fn mean(&self, ways: &[Way], visits: &[f64], rate: f64, metric: Metric) -> f64 {
        let of_model = |model: usize, metric: Metric| {
            let load = self.load(model, visits, rate);
            self.list[model]
                .as_ref()
                .map_or(f64::INFINITY, |server| server.mean(metric, load))
        };
        let of_way = |way: &Way| {
            let (last, before) = way.models.split_last().expect("a way ends at a model");
            let waited: f64 = match metric {
                Metric::Tpot => 0.0,
                Metric::Ttft | Metric::E2e => before.iter().map(|model| of_model(*model, Metric::E2e)).sum(),
            };
            waited + of_model(*last, metric)
        };
        ways.iter()
            .filter(|way| way.fraction > 0.0)
            .map(|way| way.fraction * of_way(way))
            .sum()
    }

    /// How far a routing is from meeting the objectives at a rate.
    pub(crate) fn violation(&self, ways: &[Way], rate: f64) -> Violation {
        let visits = self.visits(ways);
        let overload = self.highest_utilisation(&visits, rate) - 1.0;
        if overload > ROUNDING {
            return Violation { overload, late: 0.0 };
        }
        let parts = (0..self.slos.len()).map(|slo_ix| self.slo_part(ways, &visits, rate, slo_ix));
        Violation {
            overload: 0.0,
            late: parts.map(|part| (part - 1.0 - ROUNDING).max(0.0)).fold(0.0, f64::max),
        }
    }

    /// An objective's left-hand side over its right-hand side, within capacity.
    fn slo_part(&self, ways: &[Way], visits: &[f64], rate: f64, slo_ix: usize) -> f64 {
        let slo = &self.slos[slo_ix];
        let target = slo.target.value();
        let read = |model: usize| {
            let load = self.load(model, visits, rate);
            self.list[model].as_ref().map_or(f64::INFINITY, |server| {
                let curve = &server.slos[slo_ix];
                curve.at(load.min(curve.end())).unwrap_or(f64::INFINITY)
            })
        };
        match (slo.scope, slo.statistic) {
            (Scope::Workload, Statistic::Mean) => self.mean(ways, visits, rate, slo.metric) / target,
            (Scope::Workload, Statistic::Quantile { q }) => {
                let late = ways.iter().filter(|way| way.fraction > 0.0).map(|way| {
                    let part = match way.models.as_slice() {
                        [only] => read(*only),
                        _ => self.exceedance(way, visits, rate, slo),
                    };
                    way.fraction * part
                });
                late.sum::<f64>() / (1.0 - q)
            }
            (Scope::EachModel, _) => {
                let asked = (0..visits.len()).filter(|model| visits[*model] > 0.0);
                asked.map(read).fold(0.0, f64::max) / target
            }
        }
    }

    /// How a metric is spread over the requests that go one way.
    fn spread(&self, way: &Way, visits: &[f64], rate: f64, metric: Metric) -> Spread {
        let (waited, own) = self.spreads(way, visits, rate, metric);
        match waited {
            Some(waited) => waited.plus(&own),
            None => own,
        }
    }

    /// Part of the requests that go one way above an objective's target.
    fn exceedance(&self, way: &Way, visits: &[f64], rate: f64, slo: &Slo) -> f64 {
        let (waited, own) = self.spreads(way, visits, rate, slo.metric);
        let target = slo.target.value();
        match waited {
            Some(waited) => waited.exceedance_with(own, target),
            None => own.exceedance(target),
        }
    }

    /// What the requests that go one way wait for answers that they reject, where that counts, and the metric on the last model.
    fn spreads(&self, way: &Way, visits: &[f64], rate: f64, metric: Metric) -> (Option<Spread>, Spread) {
        let of_model = |model: usize, metric: Metric| {
            let load = self.load(model, visits, rate);
            self.list[model]
                .as_ref()
                .map_or_else(Spread::default, |server| Spread::at(server.profile, metric, load))
        };
        let (last, before) = way.models.split_last().expect("a way ends at a model");
        let waited = before.iter().map(|model| of_model(*model, Metric::E2e));
        let waited = waited.reduce(|sum, next| sum.plus(&next));
        (waited.filter(|_| metric != Metric::Tpot), of_model(*last, metric))
    }

    /// All that is reported of a routing at a rate.
    pub(crate) fn judge(&self, ways: &Ways, rate: f64) -> Judged {
        let visits = self.visits(&ways.list);
        let utilisation = self.highest_utilisation(&visits, rate);
        let holds = utilisation <= 1.0 + ROUNDING;
        let over_all = |metric: Metric| {
            let spreads: Vec<(f64, Spread)> = ways
                .list
                .iter()
                .filter(|way| way.fraction > 0.0)
                .map(|way| (way.fraction, self.spread(way, &visits, rate, metric)))
                .collect();
            Spread::mix(spreads.iter().map(|(part, spread)| (*part, spread)))
        };
        let slo_parts: Vec<Option<f64>> = (0..self.slos.len())
            .map(|slo_ix| holds.then(|| self.slo_part(&ways.list, &visits, rate, slo_ix)))
            .collect();
        let within = self.slos.iter();
        let within = within.map(|slo| 1.0 - over_all(slo.metric).exceedance(slo.target.value()));
        Judged {
            quality: ways.quality,
            ttft_mean: holds.then(|| self.mean(&ways.list, &visits, rate, Metric::Ttft)),
            ttft_mean_ci95: None,
            ttft_p95: holds.then(|| over_all(Metric::Ttft).quantile(0.95)).flatten(),
            within: holds.then(|| within.fold(1.0, f64::min)),
            met: holds && slo_parts.iter().flatten().all(|part| *part <= 1.0 + ROUNDING),
            slo_parts,
            utilisation: Some(utilisation),
            visits,
        }
    }
}
