//! What can be set about a router, each default with its reason.

use routerwise_types::Seconds;
use routerwise_types::workload::ALL_TRAFFIC;

use crate::facts::ModelSet;

/// What can be set about a router.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The routes, at least one.
    pub routes: Vec<RouteSettings>,
    /// Where prices come from.
    pub pricing: Pricing,
    /// How a replica is chosen.
    pub balance: Balance,
    /// When replicas are given up, and how they come back.
    pub health: HealthSettings,
    /// How often a request may be tried.
    pub retries: RetrySettings,
    /// Requests that may wait, over all routes.
    pub queue_most: usize,
    /// Sessions that are remembered.
    pub sessions_most: usize,
    /// How long a session's prompt is taken to stay cached.
    pub session_kept: Seconds,
    /// Seed of what is left to chance (the reservoir).
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            routes: vec![RouteSettings::named(ALL_TRAFFIC)],
            pricing: Pricing::Live(LiveSettings::default()),
            balance: Balance::TwoChoices,
            health: HealthSettings::default(),
            retries: RetrySettings::default(),
            queue_most: 1_024,
            sessions_most: 65_536,
            session_kept: Seconds::new(600.0).expect("a constant"),
            seed: 1,
        }
    }
}

impl Settings {
    /// The plan's prices as they are, whatever happens.
    #[must_use]
    pub fn with_static_prices(mut self) -> Self {
        self.pricing = Pricing::Static;
        self
    }
}

/// One class of traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteSettings {
    /// Its name: policies of this name are its own; without one it uses the plan's first.
    pub name: String,
    /// Models that may answer it, as far as the plan does not bar them.
    pub allowed: ModelSet,
    /// Whether its requests name their model: the plan bars none then.
    pub by_name: bool,
    /// What happens when its objectives are out of reach.
    pub out_of_reach: OutOfReach,
    /// When a second copy of its requests is sent elsewhere; never when absent.
    pub hedge: Option<HedgeSettings>,
    /// TTFT that every request of the route asks for, unless it says so itself.
    pub ttft_target: Option<Seconds>,
}

impl RouteSettings {
    /// A route with the usual settings.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            allowed: ModelSet::ALL,
            by_name: false,
            out_of_reach: OutOfReach::Degrade,
            hedge: None,
            ttft_target: None,
        }
    }
}

/// When a second copy of a request is sent elsewhere because the first one is slow, or will be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HedgeSettings {
    /// Where the predicted TTFT misses what the request asks for, or its route, or [`HedgeSettings::target`].
    pub predicted: bool,
    /// TTFT that is meant to be met where neither request nor route asks for one: that of the plan's objective.
    pub target: Option<Seconds>,
    /// When no first token came within the time that this part of the model's last answers took.
    pub quantile: Option<f64>,
}

/// What happens when objectives are out of reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OutOfReach {
    /// Everybody is answered, objectives are violated as little as possible, and answers are marked.
    Degrade,
    /// Requests that the prices would turn away wait until there is room, or this long, or to their deadline.
    Queue {
        /// The longest wait.
        most: Seconds,
    },
    /// Requests that the prices would turn away are.
    Shed,
}

/// Where prices come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pricing {
    /// The plan's, of the load level that fits the live rate.
    Static,
    /// Re-solved from what is seen.
    Live(LiveSettings),
}

/// How prices follow what is seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveSettings {
    /// Time between two solves.
    pub every: Seconds,
    /// The most that a price may move per second, in units of score; not after a change of capacity.
    pub step: f64,
    /// Score that missing an objective by its whole limit costs at most: what is given up for an objective that is out of reach. Nothing:
    /// it is missed by as little as can be.
    pub violation_price: Option<f64>,
    /// How much prices follow the queues between two solves: 0 not at all, 1 by the price of the seconds that wait. Half of that lost least
    /// quality at equal latency in simulation.
    pub queue_gain: f64,
    /// Score vectors in the reservoir.
    pub reservoir: usize,
    /// Score vectors before the first solve: fewer say too little.
    pub reservoir_least: usize,
    /// Load above the live rate that prices must carry. None by default: unlike a plan's, curves are those that are measured.
    pub headroom: f64,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            every: Seconds::new(1.0).expect("a constant"),
            step: 0.1,
            violation_price: None,
            queue_gain: 0.5,
            reservoir: 4_096,
            reservoir_least: 256,
            headroom: 0.0,
        }
    }
}

/// How a replica is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Balance {
    /// The one with less outstanding work of two chosen by hash.
    TwoChoices,
    /// By the hash of the prompt's beginning, as long as no replica has more than this many times its fair share; then the next one.
    Prefix {
        /// At least 1.
        bound: f64,
    },
    /// The one with the least expected wait.
    LeastWait,
}

/// When replicas are given up, and how they come back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthSettings {
    /// Failures in a row that open a replica's circuit breaker.
    pub failures_in_a_row: u32,
    /// Part of the last attempts that may fail, in the exponential mean over about twenty of them.
    pub failing_part: f64,
    /// How long a breaker stays open the first time; twice as long every further time, up to `open_most`.
    pub open_first: Seconds,
    /// The longest that a breaker stays open.
    pub open_most: Seconds,
    /// How long a new or recovered replica takes to get its full share.
    pub ramp: Seconds,
    /// Where the ramp begins.
    pub ramp_from: f64,
    /// How long a request waits when no replica is there at all: longer than a restart of a process, shorter than clients' patience.
    pub outage_wait: Seconds,
    /// How long what an engine said about itself counts: a few times as long as it is asked again.
    pub gauges_kept: Seconds,
}

impl Default for HealthSettings {
    fn default() -> Self {
        let seconds = |value| Seconds::new(value).expect("a constant");
        Self {
            failures_in_a_row: 3,
            failing_part: 0.5,
            open_first: seconds(1.0),
            open_most: seconds(30.0),
            ramp: seconds(10.0),
            ramp_from: 0.1,
            outage_wait: seconds(5.0),
            gauges_kept: seconds(5.0),
        }
    }
}

/// How often a request may be tried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySettings {
    /// Attempts of one request in all.
    pub attempts_most: usize,
    /// Retries per request over the last requests: what keeps an outage from doubling the load.
    pub budget: f64,
    /// Retries that are always allowed in a row, so that a quiet gateway can retry too.
    pub burst: f64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            attempts_most: 3,
            budget: 0.2,
            burst: 10.0,
        }
    }
}
