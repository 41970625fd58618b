//! Active health checks: every replica is asked now and then whether it is well.

use std::sync::{Arc, Weak};
use std::time::Duration;

use routerwise_route::event::Event;
use tokio::task::JoinSet;

use crate::force::Force;

/// Checks that fail one after another before a replica is given up: an engine in the middle of a long step may be late once.
const FAILURES: u32 = 2;
/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(2);

/// Asks until what is in force is so no more.
pub(crate) async fn run(force: Weak<Force>) {
    let Some(every) = force.upgrade().and_then(|force| force.settings.health.every) else {
        return;
    };
    let mut failures: Vec<Vec<u32>> = Vec::new();
    loop {
        let Some(now) = force.upgrade() else { return };
        check(&now, &mut failures).await;
        drop(now);
        tokio::time::sleep(every).await;
    }
}

async fn check(force: &Arc<Force>, failures: &mut Vec<Vec<u32>>) {
    let slots = force.replicas.all();
    failures.resize_with(slots.len(), Vec::new);
    let mut checks = JoinSet::new();
    for (model, upstreams) in slots.iter().enumerate() {
        failures[model].resize(upstreams.len(), 0);
        for (replica, upstream) in upstreams.iter().enumerate() {
            let Some(upstream) = upstream.clone() else { continue };
            let path = force.settings.health.path.clone();
            checks.spawn(async move { (model, replica, upstream.is_well(&path, LIMIT).await) });
        }
    }
    while let Some(done) = checks.join_next().await {
        let Ok((model, replica, well)) = done else { continue };
        let failed = &mut failures[model][replica];
        *failed = if well { 0 } else { failed.saturating_add(1) };
        if *failed == FAILURES
            && let Some(upstream) = &slots[model][replica]
        {
            upstream.give_up();
        }
        // In between nothing is said: one late answer changes nothing.
        if well || *failed >= FAILURES {
            force.desk.observe(Event::Health {
                model,
                replica,
                up: well,
            });
        }
    }
}
