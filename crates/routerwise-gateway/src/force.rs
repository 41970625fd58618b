//! What is in force: plan, settings, keys, replicas and the router, in one piece that is exchanged as one.
//!
//! A request keeps the piece that it came in under to its end. A reload makes a new piece out of what the old one has learned (connections,
//! used-up minutes) and puts it in the old one's place; where anything is wrong the old one stays.

use std::collections::HashMap;
use std::sync::Arc;

use routerwise_route::RouterCore;
use routerwise_route::core::Same;
use routerwise_route::curves::Curves;
use routerwise_route::facts::ModelSet;
use routerwise_route::settings::{self as core, Pricing, RouteSettings};
use routerwise_types::Seconds;
use routerwise_types::plan::Plan;
use routerwise_types::serve::{Balance, Key, OutOfReach, Prices, Route, Settings};
use routerwise_types::workload::{ALL_TRAFFIC, Metric};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::desk::Desk;
use crate::keys::Keys;
use crate::log::Log;
use crate::meters::{ModelMeters, RouteMeters};
use crate::metrics::Metrics;
use crate::replicas::{Found, Replicas};
use crate::scorer::Scorer;
use crate::upstream::Upstream;

/// Times its fair share that a replica may have before its prefixes go elsewhere: the bound that consistent hashing with bounded loads is
/// mostly run with, a compromise between hits in the cache and even queues.
const PREFIX_BOUND: f64 = 1.25;

/// Times between two questions that an engine's answer about itself counts: one or two may be lost.
const GAUGES_KEPT: u32 = 5;

/// Route of requests that name a model themselves.
const BY_NAME: &str = "by-name";

/// Everything that a reload may change, as it was read.
#[derive(Debug)]
pub struct Loaded {
    /// How the gateway runs.
    pub settings: Settings,
    /// What it routes by.
    pub plan: Plan,
    /// What the plan expects of its replicas; prices stay the plan's without.
    pub curves: Option<Curves>,
    /// Where scores come from.
    pub scorer: Scorer,
    /// Who may ask.
    pub keys: Vec<Key>,
}

/// What a client may write as `model`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Route(usize),
    Model(usize),
}

/// What is in force.
#[derive(Debug)]
pub(crate) struct Force {
    pub(crate) settings: Settings,
    pub(crate) plan: Plan,
    /// The beginning of the plan's id.
    pub(crate) plan_name: String,
    pub(crate) desk: Arc<Desk>,
    pub(crate) scorer: Scorer,
    pub(crate) keys: Keys,
    pub(crate) log: Option<Arc<Log>>,
    /// What clients are shown; plain HTTP without.
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) replicas: Replicas,
    /// Says that another piece has taken its place: nothing needs to be looked after any more.
    over: watch::Sender<bool>,
    pub(crate) names: Vec<Arc<str>>,
    pub(crate) models: Vec<ModelMeters>,
    pub(crate) routes: Vec<RouteMeters>,
    targets: HashMap<String, Target>,
    /// Index of the plan's policy that each route starts with.
    policies: Vec<usize>,
}

impl Force {
    /// Makes it, out of what was read and what was learned before.
    ///
    /// # Errors
    /// What does not go together.
    pub(crate) fn new(
        loaded: Loaded,
        found: &Found,
        before: Option<&Self>,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, String> {
        let Loaded {
            settings,
            plan,
            curves,
            scorer,
            keys,
        } = loaded;
        let slots = before.map(|before| before.replicas.all());
        let replicas = Replicas::new(&settings, &plan, found, slots.as_deref())?;
        let core_settings = core_settings(&settings, &plan)?;
        let core = RouterCore::new(&plan, curves, core_settings).map_err(|error| error.to_string())?;
        let now = Instant::now();
        let desk = Desk::new(core, before.map_or(now, |before| before.desk.start()));
        replicas.introduce(&desk, &plan);
        if let Some(before) = before {
            desk.inherit(&before.desk, &same(&settings, &plan, &replicas, before));
        }
        let names: Vec<Arc<str>> = plan.models.iter().map(|model| model.name.as_str().into()).collect();
        let targets = targets(&settings, &plan)?;
        let log = log(&settings, before, metrics)?;
        let tls = settings.tls.as_ref().map(crate::tls::server).transpose()?;
        let empty = Keys::default();
        let keys = Keys::new(keys, before.map_or(&empty, |before| &before.keys), now.into_std());
        let policy_of = |route: &Route| {
            let own = plan.policies.iter().position(|policy| policy.route == route.of_plan);
            own.unwrap_or(0)
        };
        let mut policies: Vec<usize> = settings.routes.iter().map(policy_of).collect();
        policies.push(0);
        let routes = settings.routes.iter().map(|route| route.name.as_str()).chain([BY_NAME]);
        let routes = routes.map(|name| RouteMeters::new(name, &names, metrics)).collect();
        let models = names.iter().map(|name| ModelMeters::new(name, metrics)).collect();
        let plan_name = plan.id.short().to_string();
        Ok(Self {
            plan_name,
            desk,
            scorer,
            keys,
            log,
            tls,
            replicas,
            over: watch::Sender::new(false),
            names,
            models,
            routes,
            targets,
            policies,
            settings,
            plan,
        })
    }

    /// Another piece has taken its place.
    pub(crate) fn supersede(&self) {
        self.over.send_replace(true);
    }

    /// Hears when that happens, or when nobody uses it any more.
    pub(crate) fn over(&self) -> watch::Receiver<bool> {
        self.over.subscribe()
    }

    pub(crate) fn target(&self, name: &str) -> Option<Target> {
        self.targets.get(name).copied()
    }

    /// The router's route of a target.
    pub(crate) fn route_of(&self, target: Target) -> usize {
        match target {
            Target::Route(route) => route,
            Target::Model(_) => self.settings.routes.len(),
        }
    }

    pub(crate) fn model_ix(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|model| **model == *name)
    }

    pub(crate) fn policy(&self, route: usize) -> &routerwise_types::plan::RoutePolicy {
        &self.plan.policies[self.policies[route]]
    }

    /// Target of the time to first token of a route: its own, or that of the plan where it has one for the mean.
    pub(crate) fn ttft_target(&self, route: usize) -> Option<f64> {
        let own = self.settings.routes.get(route).and_then(|route| route.ttft_target);
        own.map(|target| target.as_secs_f64())
            .or_else(|| planned_target(&self.plan).map(Seconds::value))
    }

    /// Whether any replica could answer now.
    pub(crate) fn is_ready(&self) -> bool {
        let snapshot = self.desk.snapshot();
        let mut replicas = snapshot.models.iter().flat_map(|model| &model.replicas);
        replicas.any(|replica| replica.present && replica.healthy)
    }
}

/// What is the same as before: models and routes by their names, replicas by where they are.
fn same(settings: &Settings, plan: &Plan, replicas: &Replicas, before: &Force) -> Same {
    let slots = before.replicas.all();
    let models: Vec<Option<usize>> = plan.models.iter().map(|model| before.model_ix(&model.name)).collect();
    let number = |model: Option<usize>, upstream: &Option<Arc<Upstream>>| {
        let upstream = upstream.as_ref()?;
        let old = slots[model?].iter();
        old.map(Option::as_ref)
            .position(|old| old.is_some_and(|old| old.is_at(upstream)))
    };
    let of_models = replicas.all();
    let numbers = of_models.iter().zip(&models);
    let numbers = numbers.map(|(slots, model)| slots.iter().map(|slot| number(*model, slot)).collect());
    let routes = settings.routes.iter().map(|route| {
        let mut old = before.settings.routes.iter();
        old.position(|old| old.name == route.name)
    });
    Same {
        routes: routes.chain([Some(before.settings.routes.len())]).collect(),
        replicas: numbers.collect(),
        models,
        plan: plan.id == before.plan.id && settings.prices == before.settings.prices,
    }
}

fn core_settings(settings: &Settings, plan: &Plan) -> Result<core::Settings, String> {
    let mut routes = Vec::with_capacity(settings.routes.len() + 1);
    for route in &settings.routes {
        let mut allowed = ModelSet::NONE;
        for name in &route.models {
            let model = plan.models.iter().position(|model| model.name == *name);
            let model = model
                .ok_or_else(|| format!("route `{}` allows `{name}`, which is no model of the plan", route.name))?;
            allowed = allowed.with(model);
        }
        if route.of_plan != ALL_TRAFFIC && !plan.routes().contains(&route.of_plan.as_str()) {
            let (name, own) = (&route.name, plan.routes().join("`, `"));
            return Err(format!(
                "route `{name}` takes the prices of `{}`, which is no route of the plan: it has `{own}`",
                route.of_plan
            ));
        }
        let unknown = |name: &&String| !plan.models.iter().any(|model| model.name == **name);
        if let Some(name) = route.embeddings.as_ref().filter(unknown) {
            let route = &route.name;
            return Err(format!(
                "route `{route}` has its embeddings from `{name}`, which is no model of the plan"
            ));
        }
        routes.push(RouteSettings {
            name: route.of_plan.clone(),
            allowed: if route.models.is_empty() {
                ModelSet::ALL
            } else {
                allowed
            },
            by_name: false,
            out_of_reach: match route.out_of_reach {
                OutOfReach::Degrade => core::OutOfReach::Degrade,
                OutOfReach::Shed => core::OutOfReach::Shed,
                OutOfReach::Queue => core::OutOfReach::Queue {
                    most: seconds(settings.timeouts.queue),
                },
            },
            ttft_target: route.ttft_target.map(seconds),
            hedge: hedge(settings, plan),
        });
    }
    routes.push(RouteSettings {
        by_name: true,
        hedge: hedge(settings, plan),
        ..RouteSettings::named(BY_NAME)
    });
    let usual = core::Settings::default();
    Ok(core::Settings {
        routes,
        pricing: match settings.prices {
            Prices::Live => usual.pricing,
            Prices::Static => Pricing::Static,
        },
        retries: core::RetrySettings {
            attempts_most: settings.retries.most as usize,
            budget: settings.retries.budget,
            ..usual.retries
        },
        balance: match settings.balance {
            Balance::TwoChoices => core::Balance::TwoChoices,
            Balance::Prefix => core::Balance::Prefix { bound: PREFIX_BOUND },
            Balance::LeastWait => core::Balance::LeastWait,
        },
        queue_most: settings.limits.queue,
        health: core::HealthSettings {
            gauges_kept: settings
                .engine_metrics
                .every
                .map_or(Seconds::ZERO, |every| seconds(every * GAUGES_KEPT)),
            ..usual.health
        },
        ..usual
    })
}

fn hedge(settings: &Settings, plan: &Plan) -> Option<core::HedgeSettings> {
    let hedging = settings.hedging?;
    Some(core::HedgeSettings {
        predicted: hedging.predicted,
        target: planned_target(plan),
        quantile: hedging.quantile,
    })
}

/// Time to the first token that the plan promises, where it does.
fn planned_target(plan: &Plan) -> Option<Seconds> {
    let slo = plan.slos.iter().find(|slo| slo.metric == Metric::Ttft)?;
    Some(slo.target)
}

pub(crate) fn seconds(span: std::time::Duration) -> Seconds {
    Seconds::new(span.as_secs_f64()).expect("a span of time is finite and not negative")
}

/// Names of routes and models, and what engines call the models.
fn targets(settings: &Settings, plan: &Plan) -> Result<HashMap<String, Target>, String> {
    let mut targets = HashMap::new();
    for (ix, route) in settings.routes.iter().enumerate() {
        if targets.insert(route.name.clone(), Target::Route(ix)).is_some() {
            return Err(format!("two routes are called `{}`", route.name));
        }
    }
    for (ix, model) in plan.models.iter().enumerate() {
        if targets.contains_key(&model.name) {
            return Err(format!("a route is called `{0}` like a model", model.name));
        }
        targets.insert(model.name.clone(), Target::Model(ix));
    }
    let found = settings.discover.iter().map(|discover| &discover.like);
    for endpoint in settings.replicas.iter().chain(found) {
        let served_as = endpoint.served_as.as_ref();
        let model = plan.models.iter().position(|model| model.name == endpoint.model);
        if let (Some(served_as), Some(model)) = (served_as, model) {
            targets.entry(served_as.clone()).or_insert(Target::Model(model));
        }
    }
    Ok(targets)
}

fn log(settings: &Settings, before: Option<&Force>, metrics: &Arc<Metrics>) -> Result<Option<Arc<Log>>, String> {
    let Some(wanted) = &settings.log else { return Ok(None) };
    let old = before.and_then(|before| before.log.as_ref());
    if let Some(old) = old.filter(|old| old.settings == *wanted) {
        return Ok(Some(Arc::clone(old)));
    }
    let log = Log::open(wanted, metrics).map_err(|error| {
        format!(
            "the decision log `{}` cannot be written: {error}",
            wanted.file.display()
        )
    })?;
    Ok(Some(Arc::new(log)))
}
