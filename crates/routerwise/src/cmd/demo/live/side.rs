//! Who competes: our plan and two setups of today, each as a plan that the gateway runs.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use routerwise_emulate::{EmulatedEngine, Options, Replica};
use routerwise_gateway::{Loaded, Scorer, Server};
use routerwise_plan::baselines::{Contest, Entry, Rule, TunedFor};
use routerwise_route::curves::Curves;
use routerwise_simulate::world::engine_specs;
use routerwise_types::comparison::{AllocationRule, RoutingRule};
use routerwise_types::plan::Plan;
use routerwise_types::serve::{Endpoint, Prices, Settings};
use routerwise_types::{Fingerprint, Fraction, Price};
use tokio::sync::oneshot;

use crate::cmd::plan::unplannable;
use crate::failure::Failure;

/// Nobody pays this much: scores are at most 1.
const TOO_MUCH: f64 = 2.0;

/// One who competes.
pub(super) struct Side {
    pub(super) name: &'static str,
    pub(super) plan: Plan,
    pub(super) expected: Expected,
    prices: Prices,
}

/// What is expected of a side: by curves, without headroom.
pub(super) struct Expected {
    pub(super) quality: f64,
    pub(super) ttft: Option<f64>,
    /// Part of the requests for each model.
    pub(super) fractions: Vec<f64>,
}

/// Ours first.
pub(super) fn all(contest: &Contest) -> Result<Vec<Side>, Failure> {
    let outcome = routerwise_plan::plan(&contest.training, None).map_err(unplannable)?;
    let plan = outcome.plan().cloned().ok_or_else(|| Failure::Request {
        what: "half of the shipped scenario has no plan, which is a defect of this build".into(),
        help: "`--no-live` leaves the live part out".into(),
    })?;
    let today = [
        (
            "equal split, highest score",
            AllocationRule::EqualSplit,
            RoutingRule::HighestScore,
        ),
        (
            "one model on all GPUs",
            AllocationRule::SingleModel,
            RoutingRule::OneModel,
        ),
    ];
    let today = today.map(|(name, allocation, routing)| of_today(contest, &plan, name, allocation, routing));
    Ok(std::iter::once(ours(plan)).chain(today.into_iter().flatten()).collect())
}

fn ours(plan: Plan) -> Side {
    let policy = &plan.policies[0];
    let expected = Expected {
        quality: policy.prediction.quality.value(),
        ttft: Some(policy.prediction.latency_without_headroom.ttft.value()),
        fractions: policy.models.iter().map(|model| model.fraction.value()).collect(),
    };
    Side {
        name: "joint plan, live prices",
        plan,
        expected,
        prices: Prices::Live,
    }
}

/// What people do today, with parameters tuned as in `routerwise compare`; nothing where it cannot be done on these GPUs.
fn of_today(
    contest: &Contest,
    ours: &Plan,
    name: &'static str,
    allocation: AllocationRule,
    routing: RoutingRule,
) -> Option<Side> {
    let allocation = contest.allocate(allocation).ok()?;
    let entries = contest.entries(&allocation, TunedFor::Objectives);
    let entry = entries.into_iter().find(|entry| entry.routing == routing)?;
    let mut plan = ours.clone();
    plan.parent = Some(ours.id.clone());
    plan.models = contest.deployment(&allocation, &entry.training.visits);
    route_by(&mut plan, &entry);
    plan.id = Fingerprint::of(&(&plan.models, &plan.policies));
    Some(Side {
        name,
        plan,
        expected: Expected {
            quality: entry.test.quality,
            ttft: entry.test.ttft_mean,
            fractions: entry.test.visits.clone(),
        },
        prices: Prices::Static,
    })
}

fn route_by(plan: &mut Plan, entry: &Entry) {
    let policy = &mut plan.policies[0];
    let prices = match &entry.rule {
        Rule::Prices { prices, routing } => {
            policy.routing = routing.clone();
            prices.clone()
        }
        // There is one model only, so that its price decides nothing.
        _ => vec![0.0; policy.models.len()],
    };
    for (model, (price, part)) in policy.models.iter_mut().zip(prices.iter().zip(&entry.training.visits)) {
        model.price = Price::new(price.min(TOO_MUCH)).unwrap_or(Price::ZERO);
        model.fraction = Fraction::new(part.clamp(0.0, 1.0)).unwrap_or(Fraction::ZERO);
    }
}

/// A side whose engines and gateway run.
pub(super) struct Up {
    engines: Vec<EmulatedEngine>,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    gateway: tokio::task::JoinHandle<usize>,
}

impl Side {
    /// Starts its engines and its gateway on ports that are free.
    pub(super) async fn start(&self, contest: &Contest) -> Result<Up, Failure> {
        let cannot = |doing: &str, error: String| Failure::environment(doing.to_owned())(io::Error::other(error));
        let specs = engine_specs(&contest.test, &self.plan.models)
            .map_err(|error| cannot("starting the engines", error.to_string()))?;
        let (mut engines, mut endpoints) = (Vec::new(), Vec::new());
        for (planned, specs) in self.plan.models.iter().zip(specs) {
            for (replica, spec) in specs.into_iter().enumerate() {
                let model = planned.name.clone();
                let options = Options {
                    listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                    ..Options::default()
                };
                let engine = EmulatedEngine::start(Replica { model, spec }, options).await;
                let engine = engine.map_err(|error| cannot("starting an engine", error.to_string()))?;
                endpoints.push(Endpoint {
                    replica: Some(replica),
                    ..Endpoint::new(planned.name.clone(), engine.url())
                });
                engines.push(engine);
            }
        }
        let loaded = Mutex::new(Some(self.loaded(contest, endpoints)));
        let source = move || {
            let taken = loaded.lock().expect("nothing panics while it is held").take();
            taken.ok_or_else(|| "the demo's gateway has nothing to reload".to_owned())
        };
        let server = Server::bind(Box::new(source)).await;
        let server = server.map_err(|error| cannot("starting the gateway", error.to_string()))?;
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let gateway = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Ok(Up {
            engines,
            address,
            stop,
            gateway,
        })
    }

    fn loaded(&self, contest: &Contest, endpoints: Vec<Endpoint>) -> Loaded {
        let curves = match self.prices {
            Prices::Live => Curves::of(&contest.training, &self.plan),
            Prices::Static => None,
        };
        let mut settings = Settings::usual(endpoints);
        settings.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        settings.admin = None;
        settings.prices = self.prices;
        // Long queues are what is to be seen: a limit would hide them.
        settings.limits.in_flight = 100_000;
        settings.timeouts.first_byte = Duration::from_secs(300);
        settings.timeouts.drain = Duration::ZERO;
        Loaded {
            settings,
            plan: self.plan.clone(),
            curves,
            scorer: Scorer::none().with_known(&contest.test.scores, &self.plan),
            keys: Vec::new(),
        }
    }
}

impl Up {
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) async fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.gateway.await;
        for engine in self.engines {
            engine.stop().await;
        }
    }
}
