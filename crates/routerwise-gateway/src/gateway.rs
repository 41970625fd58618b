//! The gateway as a whole: what is in force, and what is counted.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;

use crate::admission::Door;
use crate::desk::Desk;
use crate::discover::{self, Known};
use crate::force::{Force, Loaded};
use crate::metrics::{Metrics, PlanLabels, ReplicaLabels, ResultLabels};

/// The time of the calendar: what a log shows and keys expire by. It may jump; nothing waits by it.
pub type Calendar = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// Reads everything that a reload may change, anew.
pub trait Source: Send + Sync {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, for people.
    fn load(&self) -> Result<Loaded, String>;

    /// Files whose change is a reason to load again.
    fn files(&self) -> Vec<PathBuf>;
}

impl<F: Fn() -> Result<Loaded, String> + Send + Sync> Source for F {
    fn load(&self) -> Result<Loaded, String> {
        self()
    }

    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
}

/// The gateway.
pub(crate) struct Gateway {
    force: ArcSwap<Force>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) door: Door,
    source: Box<dyn Source>,
    calendar: Calendar,
    /// One reload at a time.
    reloading: Mutex<()>,
    number: AtomicU64,
    /// Different for every run, so that ids are.
    pub(crate) run: u64,
    stopping: AtomicBool,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gateway of plan {}", self.force().plan_name)
    }
}

impl Gateway {
    pub(crate) async fn new(source: Box<dyn Source>, calendar: Calendar) -> Result<Arc<Self>, String> {
        let metrics = Metrics::new();
        let loaded = source.load()?;
        let found = discover::first(&loaded.settings.discover, None).await;
        let force = Arc::new(Force::new(loaded, &found, None, &metrics)?);
        let now = calendar().duration_since(UNIX_EPOCH).unwrap_or_default();
        let nanos = u64::try_from(now.as_nanos() & u128::from(u64::MAX)).unwrap_or(0);
        let gateway = Self {
            door: Door::new(&force.settings.limits),
            force: ArcSwap::new(Arc::clone(&force)),
            metrics,
            source,
            calendar,
            reloading: Mutex::new(()),
            number: AtomicU64::new(0),
            run: routerwise_types::hash::mix(nanos ^ u64::from(std::process::id())),
            stopping: AtomicBool::new(false),
        };
        gateway.begin(&force);
        Ok(Arc::new(gateway))
    }

    /// What is in force now.
    pub(crate) fn force(&self) -> Arc<Force> {
        self.force.load_full()
    }

    pub(crate) fn calendar(&self) -> SystemTime {
        (self.calendar)()
    }

    pub(crate) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        self.source.files()
    }

    fn begin(&self, force: &Arc<Force>) {
        let plan = force.plan_name.clone();
        self.metrics.plan.clear();
        self.metrics.plan.get_or_create(&PlanLabels { plan }).set(1);
        tokio::spawn(Desk::keep(Arc::downgrade(&force.desk)));
        tokio::spawn(crate::checks::run(Arc::downgrade(force)));
        tokio::spawn(crate::gauges::run(Arc::downgrade(force)));
        discover::begin(force, &self.metrics);
    }

    /// Reads everything again and puts it in force, or leaves all as it is and says why. Blocks: it reads files, and asks where replicas are.
    pub(crate) fn reload(&self) -> Result<String, String> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.force();
        let made = self.source.load().and_then(|loaded| {
            let unchanged =
                loaded.settings.listen == before.settings.listen && loaded.settings.admin == before.settings.admin;
            if !unchanged {
                return Err("the addresses that the gateway listens on change only when it is started anew".to_owned());
            }
            // Sources that are the same know already; new ones are given a moment, so that no model is without replicas meanwhile.
            let known = Known::of(&before);
            let found = Handle::current().block_on(discover::first(&loaded.settings.discover, Some(&known)));
            let force = Force::new(loaded, &found, Some(&before), &self.metrics)?;
            crate::server::guard(&force)?;
            Ok(force)
        });
        let result = if made.is_ok() { "ok" } else { "refused" };
        self.metrics.reloads.get_or_create(&ResultLabels { result }).inc();
        match made {
            Ok(force) => {
                let force = Arc::new(force);
                self.door.resize(&force.settings.limits);
                self.force.store(Arc::clone(&force));
                before.supersede();
                self.begin(&force);
                tracing::info!(plan = %force.plan_name, "reloaded");
                Ok(force.plan_name.clone())
            }
            Err(why) => {
                tracing::warn!(%why, "not reloaded; what was in force still is");
                Err(why)
            }
        }
    }

    /// Brings the gauges up to date.
    pub(crate) fn measure(&self) {
        let force = self.force();
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.in_flight.set(count(self.door.n_in_flight()));
        self.metrics
            .waiting
            .set(count(self.door.n_waiting() + force.desk.n_waiting()));
        self.metrics.buffered.set(count(self.door.n_held()));
        let snapshot = force.desk.snapshot();
        for (route, meters) in snapshot.routes.iter().zip(&force.routes) {
            for (price, meters) in route.prices.iter().zip(&meters.models) {
                meters.price.set(*price);
            }
        }
        self.metrics.replica_up.clear();
        self.metrics.replica_in_flight.clear();
        self.metrics.engines.clear();
        for (model, upstreams) in snapshot.models.iter().zip(force.replicas.all().iter()) {
            for (replica, upstream) in model.replicas.iter().zip(upstreams) {
                // One that is gone is not down.
                let Some(upstream) = upstream.as_ref().filter(|_| replica.present) else {
                    continue;
                };
                let labels = ReplicaLabels {
                    model: model.name.as_str().into(),
                    replica: upstream.name().into(),
                };
                self.metrics
                    .replica_up
                    .get_or_create(&labels)
                    .set(i64::from(replica.ready));
                let in_flight = i64::from(replica.outstanding);
                self.metrics.replica_in_flight.get_or_create(&labels).set(in_flight);
                if let Some(gauges) = replica.gauges {
                    self.metrics.engines.set(&labels, &gauges, replica.others);
                }
            }
        }
    }
}
