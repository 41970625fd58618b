//! Replicas that are looked for: by name, or as endpoints of a Service of Kubernetes.
//!
//! Who cannot be asked now does not make replicas go away: what was found last stays, and health checks and breakers judge it.

mod dns;
mod kubernetes;
mod slices;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use routerwise_types::hash::{mix, uniform};
use routerwise_types::serve::{Discover, DiscoverBy};

use crate::force::Force;
use crate::metrics::{Metrics, SourceLabels};
use crate::replicas::Found;

/// How long the first answers may take before the gateway goes on without them.
const FIRST: Duration = Duration::from_secs(3);
/// Longest wait between two questions after failures.
const PAUSE_FIRST: Duration = Duration::from_millis(500);
const PAUSE_MOST: Duration = Duration::from_secs(30);

/// What sources that are asked already have found.
#[derive(Debug)]
pub(crate) struct Known(Vec<(Discover, Option<BTreeSet<SocketAddr>>)>);

impl Known {
    pub(crate) fn of(force: &Force) -> Self {
        let sources = force.settings.discover.iter().cloned();
        Self(sources.zip(force.replicas.found()).collect())
    }

    /// The same source's addresses, or nothing where it is new or has not answered yet.
    fn find(&self, discover: &Discover) -> Option<BTreeSet<SocketAddr>> {
        let same = self.0.iter().find(|(known, _)| known == discover)?;
        same.1.clone()
    }
}

/// Asks every source once that is not known already.
pub(crate) async fn first(sources: &[Discover], known: Option<&Known>) -> Found {
    let mut found = Vec::with_capacity(sources.len());
    let mut asked = Vec::new();
    for (nth, discover) in sources.iter().enumerate() {
        let already = known.and_then(|known| known.find(discover));
        if already.is_none() {
            let discover = discover.clone();
            asked.push((nth, tokio::spawn(async move { ask(&discover).await })));
        }
        found.push(already);
    }
    let until = tokio::time::Instant::now() + FIRST;
    for (nth, mut answer) in asked {
        let (model, by) = (&sources[nth].like.model, sources[nth].by.name());
        match tokio::time::timeout_at(until, &mut answer).await {
            Ok(Ok(Ok(addresses))) => found[nth] = Some(addresses),
            Ok(Ok(Err(why))) => tracing::warn!(%model, %by, %why, "no replicas found yet"),
            Ok(Err(_)) | Err(_) => {
                answer.abort();
                tracing::warn!(%model, %by, "no replicas found yet: no answer in time");
            }
        }
    }
    found
}

async fn ask(discover: &Discover) -> Result<BTreeSet<SocketAddr>, String> {
    match &discover.by {
        DiscoverBy::Dns { .. } => dns::look_up(&discover.like.url).await,
        DiscoverBy::EndpointSlices(slices) => {
            let client = kubernetes::Client::new(slices)?;
            let listed = client.list().await?;
            slices::addresses(&listed.slices, slices.port.as_ref())
        }
    }
}

/// Follows every source until what is in force is so no more.
pub(crate) fn begin(force: &Arc<Force>, metrics: &Arc<Metrics>) {
    for (nth, discover) in force.settings.discover.iter().enumerate() {
        let discover = discover.clone();
        let labels = SourceLabels {
            model: discover.like.model.as_str().into(),
            by: discover.by.name(),
        };
        let found = force.replicas.found()[nth].as_ref().map_or(0, BTreeSet::len);
        let target = Target {
            force: Arc::downgrade(force),
            metrics: Arc::clone(metrics),
            labels,
            nth,
            discover: discover.clone(),
        };
        target.count(found);
        let mut over = force.over();
        tokio::spawn(async move {
            let following = async {
                match &discover.by {
                    DiscoverBy::Dns { every } => dns::follow(&target, *every).await,
                    DiscoverBy::EndpointSlices(slices) => kubernetes::follow(&target, slices).await,
                }
            };
            tokio::select! {
                () = following => {}
                _ = over.wait_for(|over| *over) => {}
            }
        });
    }
}

/// Whom a source tells what it found.
struct Target {
    force: Weak<Force>,
    metrics: Arc<Metrics>,
    labels: SourceLabels,
    nth: usize,
    discover: Discover,
}

impl Target {
    /// The replicas are here, and nowhere else.
    fn found(&self, addresses: &BTreeSet<SocketAddr>) {
        let Some(force) = self.force.upgrade() else { return };
        let (model, by) = (&self.labels.model, self.labels.by);
        match force.replicas.update(&force.desk, self.nth, &self.discover, addresses) {
            Ok(changes) => {
                for at in &changes.new {
                    tracing::info!(%model, %by, %at, "replica found");
                }
                for at in &changes.gone {
                    tracing::info!(%model, %by, %at, "replica gone");
                }
                for name in &changes.replaced {
                    self.metrics.forget(model, name);
                }
            }
            Err(why) => self.failed(&why),
        }
        self.count(addresses.len());
    }

    fn count(&self, n: usize) {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.discovered.get_or_create(&self.labels).set(n);
    }

    /// It could not be asked, or said something that makes no sense.
    fn failed(&self, why: &str) {
        let (model, by) = (&self.labels.model, self.labels.by);
        self.metrics.discovery_failures.get_or_create(&self.labels).inc();
        tracing::warn!(%model, %by, %why, "replicas cannot be looked for; those that were found stay");
    }
}

/// Waits between questions: longer after every failure, and never the same for two gateways.
#[derive(Debug, Default)]
struct Pauses(u32);

impl Pauses {
    fn reset(&mut self) {
        self.0 = 0;
    }

    fn next(&mut self) -> Duration {
        let longest = PAUSE_MOST.min(PAUSE_FIRST * 2u32.pow(self.0.min(16)));
        self.0 += 1;
        let draw = uniform(mix(u64::from(std::process::id()) ^ mix(u64::from(self.0))));
        longest.mul_f64(0.5 + 0.5 * draw)
    }
}
