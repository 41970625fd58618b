//! What a plan expects of its replicas: latency against load, and how many requests are in flight at it.

use routerwise_plan::curve::{LatencyCurve, Reading};
use routerwise_plan::problem::{Row, reading, rows};
use routerwise_types::Seconds;
use routerwise_types::plan::Plan;
use routerwise_types::profile::Profile;
use routerwise_types::scenario::Scenario;
use routerwise_types::workload::{Metric, Scope, Slo, Statistic};

/// Curves of every model of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Curves {
    /// One entry per model; nothing where it is off.
    pub(crate) models: Vec<Option<ModelCurves>>,
    /// Constraints over the workload.
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
    /// Highest load of a replica, per-model objectives included.
    pub(crate) load_most: f64,
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
    /// Reads them off the profiles that the plan was made from; nothing when one that it needs is missing. Nothing either for a plan of several
    /// routes: what one of them sends changes what the others wait, and live prices are found for each by itself.
    #[must_use]
    pub fn of(scenario: &Scenario, plan: &Plan) -> Option<Self> {
        if plan.routes().len() > 1 {
            return None;
        }
        let mut workload = scenario.workload.clone();
        if rows(&workload).is_empty() {
            // Something has to say that more load is worse.
            workload.slos.push(Slo {
                target: Seconds::new(10.0).expect("a constant"),
                ..PATIENCE
            });
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
            models.push(Some(ModelCurves::of(profile, &workload.slos, &rows)?));
        }
        Some(Self {
            models,
            rows,
            slos: workload.slos,
        })
    }
}

impl ModelCurves {
    fn of(profile: &Profile, slos: &[Slo], rows: &[Row]) -> Option<Self> {
        let mean = |metric| LatencyCurve::from_profile(profile, Reading::Statistic(metric, Statistic::Mean));
        let ttft = mean(Metric::Ttft)?;
        let mut load_most = ttft.end();
        for slo in slos.iter().filter(|slo| slo.scope == Scope::EachModel) {
            let curve = LatencyCurve::from_profile(profile, Reading::Statistic(slo.metric, slo.statistic))?;
            load_most = load_most.min(curve.load_within(slo.target.value())?);
        }
        let rows = rows
            .iter()
            .map(|row| LatencyCurve::from_profile(profile, reading(&slos[row.slo_ix])));
        Some(Self {
            ttft,
            tpot: mean(Metric::Tpot)?,
            e2e: mean(Metric::E2e)?,
            rows: rows.collect::<Option<_>>()?,
            load_most,
            mean_input_tokens: profile.conditions.mean_input_tokens,
        })
    }
}
