//! The space that a certificate speaks of: every way to run every model.

use routerwise_types::catalogue::Model;
use routerwise_types::profile::Profile;
use routerwise_types::scenario::Scenario;
use routerwise_types::setup::Configuration;
use routerwise_types::units::GpuShare;

use super::reading::{Curve, load_limit, routes, rows};

/// One way to run a model.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) configuration: Option<Configuration>,
    /// Percent of one GPU that a shard takes.
    pub(super) shard_percent: u64,
    /// Bytes that a shard takes.
    pub(super) shard_memory: u64,
    /// Its flow at each load level.
    pub(super) flows: Vec<Flow>,
}

impl Choice {
    fn shards(&self) -> u64 {
        let shards = |c: &Configuration| u64::from(c.tensor_parallel) * u64::from(c.n_replicas);
        self.configuration.as_ref().map_or(0, shards)
    }

    /// Percent of a GPU over all shards of all replicas.
    pub(super) fn percent(&self) -> u64 {
        self.shard_percent * self.shards()
    }

    /// Bytes over all shards of all replicas.
    pub(super) fn memory(&self) -> u64 {
        self.shard_memory * self.shards()
    }
}

/// A share in whole percents, rounded up: engines take no finer ones.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and 100"
)]
pub(super) fn percent(share: GpuShare) -> u64 {
    (100.0 * share.value() - 1e-7).ceil() as u64
}

/// The profile of a configuration's replica.
pub(super) fn profile_of<'a>(
    scenario: &'a Scenario,
    model: &Model,
    configuration: &Configuration,
) -> Option<&'a Profile> {
    let gpu_type = scenario.cluster.gpu_types.get(configuration.gpu_type_ix)?;
    scenario.profiles.iter().find(|profile| {
        profile.key.model == model.name
            && profile.key.gpu_type == gpu_type.name
            && profile.key.tensor_parallel == configuration.tensor_parallel
            && (profile.key.share.value() - configuration.share.value()).abs() < 1e-9
    })
}

/// All ways to run a model: off where it may be, and 1 to all replicas that could fit if nothing else ran, of everything that is
/// allowed, has a profile and meets the per-model SLOs when idle.
pub(super) fn choices(scenario: &Scenario, model: &Model) -> Vec<Choice> {
    let mut found = Vec::new();
    if model.may_be_off {
        found.push(Choice {
            configuration: None,
            shard_percent: 0,
            shard_memory: 0,
            flows: vec![Flow::off(rows(&scenario.workload).len()); scenario.workload.levels.len()],
        });
    }
    for (gpu_type_ix, gpu_type) in scenario.cluster.gpu_types.iter().enumerate() {
        for profile in &scenario.profiles {
            let key = &profile.key;
            let close = |share: &GpuShare| (share.value() - key.share.value()).abs() < 1e-9;
            if key.model != model.name
                || key.gpu_type != gpu_type.name
                || !model.tensor_parallel.contains(&key.tensor_parallel)
                || !model.shares.iter().any(close)
            {
                continue;
            }
            let one = Configuration {
                gpu_type_ix,
                tensor_parallel: key.tensor_parallel,
                share: key.share,
                n_replicas: 1,
            };
            for n_replicas in 1..=most_replicas(scenario, model, &one) {
                let levels = scenario.workload.levels.iter();
                let flows = levels.map(|level| Flow::new(scenario, model, profile, n_replicas, level.part));
                found.extend(flows.collect::<Option<Vec<_>>>().map(|flows| Choice {
                    configuration: Some(Configuration { n_replicas, ..one }),
                    shard_percent: percent(key.share),
                    shard_memory: model.shard_memory(key.tensor_parallel).0,
                    flows,
                }));
            }
        }
    }
    found
}

fn most_replicas(scenario: &Scenario, model: &Model, one: &Configuration) -> u32 {
    let usable = scenario.cluster.gpu_types[one.gpu_type_ix].usable_memory.0;
    let shard = model.shard_memory(one.tensor_parallel).0.max(1);
    let shards_per_gpu = (usable / shard).min(100 / percent(one.share));
    let groups = scenario
        .cluster
        .linked_groups(one.gpu_type_ix, one.tensor_parallel as usize);
    let gpus: usize = groups.iter().map(Vec::len).sum();
    let most = shards_per_gpu * gpus as u64 / u64::from(one.tensor_parallel);
    u32::try_from(most).unwrap_or(u32::MAX).min(model.max_replicas)
}

/// Flow-weighted latency `φ(w) = w·ℓ(λ·w)` of each row relative to the row's limit, for fractions `0 ..= cap`.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    /// Fractions between which `ℓ` is linear; the last is the cap.
    corners: Vec<f64>,
    /// `ℓ / limit` at the corners, row by row.
    values: Vec<Vec<f64>>,
    /// Largest fraction of all at which each route may use it; empty where there is one route.
    reach: Vec<f64>,
}

impl Flow {
    fn off(n_rows: usize) -> Self {
        Self {
            corners: vec![0.0],
            values: vec![vec![0.0]; n_rows],
            reach: Vec::new(),
        }
    }

    /// At a level with this part of the workload's rate.
    fn new(scenario: &Scenario, model: &Model, profile: &Profile, n_replicas: u32, part: f64) -> Option<Self> {
        let workload = &scenario.workload;
        let load = workload.rate.value() * part * (1.0 + workload.planning.headroom) / f64::from(n_replicas);
        let may = |at: &usize| {
            let allowed = workload.routes.get(*at).and_then(|route| route.models.as_ref());
            allowed.is_none_or(|names| names.contains(&model.name))
        };
        let names = routes(workload);
        let limits: Vec<Option<f64>> = (0..names.len())
            .map(|at| load_limit(profile, workload, names[at]).filter(|_| may(&at)))
            .collect();
        let cap = (limits.iter().copied().flatten().reduce(f64::max)? / load).min(1.0);
        let reach = if limits.len() == 1 {
            Vec::new()
        } else {
            limits
                .iter()
                .map(|limit| limit.map_or(-1.0, |limit| limit / load))
                .collect()
        };
        let curves: Vec<(Curve, f64)> = rows(workload)
            .into_iter()
            .map(|(slo, limit)| Some((Curve::row(profile, slo)?, limit)))
            .collect::<Option<_>>()?;
        let mut corners = vec![0.0, cap];
        corners.extend(
            curves
                .iter()
                .flat_map(|(curve, _)| curve.corners())
                .map(|at| at / load)
                .filter(|w| *w < cap),
        );
        corners.sort_by(f64::total_cmp);
        corners.dedup_by(|a, b| (*a - *b).abs() < 1e-13);
        let values = curves
            .iter()
            .map(|(curve, limit)| corners.iter().map(|w| curve.at(w * load) / limit).collect())
            .collect();
        Some(Self { corners, values, reach })
    }

    /// Largest fraction.
    pub(super) fn cap(&self) -> f64 {
        self.corners[self.corners.len() - 1]
    }

    /// `Σ_k β_k · φ_k(w)`.
    pub(super) fn cost(&self, w: f64, row_prices: &[f64]) -> f64 {
        let piece = self.corners.windows(2).position(|ends| w <= ends[1]);
        w * piece.map_or_else(
            || self.priced(self.corners.len() - 1, row_prices),
            |j| self.line(j, w, row_prices),
        )
    }

    /// `Σ_k β_k · ℓ_k` at a corner.
    fn priced(&self, corner: usize, row_prices: &[f64]) -> f64 {
        self.values
            .iter()
            .zip(row_prices)
            .map(|(values, price)| price * values[corner])
            .sum()
    }

    fn line(&self, piece: usize, w: f64, row_prices: &[f64]) -> f64 {
        let (from, to) = (self.corners[piece], self.corners[piece + 1]);
        let part = (w - from) / (to - from);
        self.priced(piece, row_prices) * (1.0 - part) + self.priced(piece + 1, row_prices) * part
    }

    /// `H`: the highest `α·w − Σ_k β_k·φ_k(w)` for `low ≤ w ≤ high`, exactly; `−∞` when the range is empty.
    pub(super) fn worth(&self, price: f64, row_prices: &[f64], low: f64, high: f64) -> f64 {
        let (low, high) = (low.max(0.0), high.min(self.cap()));
        if low > high {
            return f64::NEG_INFINITY;
        }
        let at = |w: f64| price * w - self.cost(w, row_prices);
        let mut best = at(low).max(at(high));
        for (piece, ends) in self.corners.windows(2).enumerate() {
            let (from, to) = (ends[0].max(low), ends[1].min(high));
            if from >= to {
                continue;
            }
            best = best.max(at(from)).max(at(to));
            let first = self.priced(piece, row_prices);
            let slope = (self.priced(piece + 1, row_prices) - first) / (ends[1] - ends[0]);
            if slope > 0.0 {
                // Where the derivative of w·(price − first − slope·(w − corner)) is zero.
                let top = (price - first + slope * ends[0]) / (2.0 * slope);
                best = best.max(at(top.clamp(from, to)));
            }
        }
        best
    }

    /// Interior corner at which the priced flow lies highest above the convex hull of its corners within a range, and by how much.
    pub(super) fn worst_kink(&self, row_prices: &[f64], low: f64, high: f64) -> Option<(f64, f64)> {
        let mut points = vec![(low, self.cost(low, row_prices))];
        let inside = self.corners.iter().filter(|w| low + 1e-12 < **w && **w < high - 1e-12);
        points.extend(inside.map(|w| (*w, self.cost(*w, row_prices))));
        points.push((high, self.cost(high, row_prices)));
        let hull = |w: f64| {
            let mut least = f64::INFINITY;
            for a in points.iter().filter(|a| a.0 < w) {
                for b in points.iter().filter(|b| w < b.0) {
                    least = least.min(a.1 + (b.1 - a.1) * (w - a.0) / (b.0 - a.0));
                }
            }
            least
        };
        let interior = &points[1..points.len() - 1];
        let gaps = interior.iter().map(|(w, cost)| (*w, cost - hull(*w)));
        gaps.filter(|(_, gap)| *gap > 1e-12).max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Ranges of fractions on which every `ℓ` is linear.
    pub(super) fn pieces(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.corners.windows(2).map(|ends| (ends[0], ends[1]))
    }

    /// `ℓ / limit` of a row.
    pub(super) fn value(&self, row: usize, w: f64) -> f64 {
        let values = &self.values[row];
        let Some(piece) = self.corners.windows(2).position(|ends| w <= ends[1]) else {
            return values[values.len() - 1];
        };
        let (from, to) = (self.corners[piece], self.corners[piece + 1]);
        let part = (w - from) / (to - from);
        values[piece] * (1.0 - part) + values[piece + 1] * part
    }

    /// Largest fraction of all at which a route may use it.
    pub(super) fn reach(&self, route: usize) -> f64 {
        self.reach.get(route).map_or(self.cap(), |reach| reach.min(self.cap()))
    }

    pub(super) fn n_rows(&self) -> usize {
        self.values.len()
    }

    /// `φ` of one row.
    pub(super) fn of_row(&self, row: usize, w: f64) -> f64 {
        let mut only = vec![0.0; self.values.len()];
        only[row] = 1.0;
        self.cost(w, &only)
    }
}
