//! What a plan expects of its replicas: latency against load, and how many requests are in flight at it.

use routerwise_plan::curve::{LatencyCurve, Reading};
use routerwise_plan::problem::{Row, reading, rows};
use routerwise_types::Seconds;
use routerwise_types::plan::Plan;
use routerwise_types::profile::Profile;
use routerwise_types::scenario::Scenario;
use routerwise_types::workload::{Metric, Scope, Slo, Statistic, Workload};

/// Curves of every model of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// One entry per model; nothing where it is off.
    pub(crate) models: Vec<Option<ModelCurves>>,
    /// Names of the workload's routes.
    pub(crate) routes: Vec<String>,
    /// Constraints over the workload, each over the requests of one route.
    pub(crate) rows: Vec<Row>,
    /// The plan's objectives.
    pub(crate) slos: Vec<Slo>,
}

/// Curves of one replica of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelCurves {
    pub(crate) ttft: LatencyCurve,
    pub(crate) tpot: LatencyCurve,
    pub(crate) e2e: LatencyCurve,
    /// One per constraint.
    pub(crate) rows: Vec<LatencyCurve>,
    /// Highest load of a replica.
    pub(crate) load_most: f64,
    /// Up to which each route may use it, by its objectives on each model; nothing where one of them is missed by an idle replica.
    pub(crate) reach: Vec<Option<f64>>,
    pub(crate) mean_input_tokens: f64,
}

/// What a plan without an objective over the workload is held to.
const PATIENCE: Slo = Slo {
    metric: Metric::Ttft,
    statistic: Statistic::Mean,
    scope: Scope::Workload,
    target: Seconds::ZERO,
    route: None,
};

impl Curves {
    /// Reads them off the profiles that the plan was made from; nothing when one that it needs is missing.
    #[must_use]
    pub fn of(scenario: &Scenario, plan: &Plan) -> Option<Self> {
        let mut workload = scenario.workload.clone();
        for route in 0..workload.n_routes() {
            if rows(&workload).iter().all(|row| row.route != route) {
                // Something has to say that more load is worse.
                workload.slos.push(Slo {
                    target: Seconds::new(10.0).expect("a constant"),
                    route: (workload.n_routes() > 1).then(|| workload.route_name(route).to_owned()),
                    ..PATIENCE
                });
            }
        }
        let rows = rows(&workload);
        let mut models = Vec::with_capacity(plan.models.len());
        for planned in &plan.models {
            let Some(configuration) = planned.configuration else {
                models.push(None);
                continue;
            };
            let is_it = |profile: &&Profile| {
                let key = &profile.key;
                key.model == planned.name
                    && Some(&key.gpu_type) == planned.gpu_type.as_ref()
                    && key.tensor_parallel == configuration.tensor_parallel
                    && (key.share.value() - configuration.share.value()).abs() < 1e-9
            };
            let profile = scenario.profiles.iter().find(is_it)?;
            models.push(Some(ModelCurves::of(profile, &workload, &rows)?));
        }
        let routes = (0..workload.n_routes()).map(|route| workload.route_name(route).to_owned());
        Some(Self {
            models,
            routes: routes.collect(),
            rows,
            slos: workload.slos,
        })
    }

    /// The route of this name; the first where there is none.
    pub(crate) fn route(&self, name: &str) -> usize {
        self.routes.iter().position(|route| route == name).unwrap_or(0)
    }

    /// Indices of a route's rows.
    pub(crate) fn rows_of(&self, route: usize) -> impl Iterator<Item = usize> + Clone {
        (0..self.rows.len()).filter(move |row| self.rows[*row].route == route)
    }
}

impl ModelCurves {
    fn of(profile: &Profile, workload: &Workload, rows: &[Row]) -> Option<Self> {
        let mean = |metric| LatencyCurve::from_profile(profile, Reading::Statistic(metric, Statistic::Mean));
        let ttft = mean(Metric::Ttft)?;
        let reach = |route: usize| {
            let on_each = |slo: &&Slo| slo.scope == Scope::EachModel && workload.concerns(slo, route);
            workload.slos.iter().filter(on_each).try_fold(ttft.end(), |most, slo| {
                let curve = LatencyCurve::from_profile(profile, Reading::Statistic(slo.metric, slo.statistic))?;
                Some(most.min(curve.load_within(slo.target.value())?))
            })
        };
        let reach: Vec<Option<f64>> = (0..workload.n_routes()).map(reach).collect();
        let rows = rows
            .iter()
            .map(|row| LatencyCurve::from_profile(profile, reading(&workload.slos[row.slo_ix])));
        Some(Self {
            load_most: reach.iter().copied().flatten().reduce(f64::max)?,
            reach,
            ttft,
            tpot: mean(Metric::Tpot)?,
            e2e: mean(Metric::E2e)?,
            rows: rows.collect::<Option<_>>()?,
            mean_input_tokens: profile.conditions.mean_input_tokens,
        })
    }
}
