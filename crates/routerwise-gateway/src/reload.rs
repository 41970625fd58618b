//! Reloading when files change.
//!
//! Files are looked at once a second instead of being watched: that also sees what file notifications miss (network disks, the swapped
//! links of Kubernetes), and costs a few system calls.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::gateway::Gateway;

const EVERY: Duration = Duration::from_secs(1);

/// What tells one version of a file from the next.
type Mark = Option<(SystemTime, u64)>;

fn mark(path: &PathBuf) -> Mark {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn marks(gateway: &Gateway) -> Vec<(PathBuf, Mark)> {
    let files = gateway.files();
    files.into_iter().map(|path| (path.clone(), mark(&path))).collect()
}

/// Reloads whenever a file is another one than before, once it has been the same for one look: it may be in the middle of being written.
pub(crate) async fn watch(gateway: Arc<Gateway>) {
    let mut in_force = marks(&gateway);
    let mut last = in_force.clone();
    loop {
        tokio::time::sleep(EVERY).await;
        let now = marks(&gateway);
        let settled = now == last;
        last.clone_from(&now);
        if settled && now != in_force {
            in_force = now;
            let gateway = Arc::clone(&gateway);
            // What went wrong is logged and counted there.
            let _ = tokio::task::spawn_blocking(move || gateway.reload()).await;
        }
    }
}
