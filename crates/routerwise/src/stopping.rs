//! Being asked to stop.

/// Waits for Ctrl-C or a SIGTERM, from the call on and not only from the first look.
#[cfg(unix)]
pub(crate) fn asked_to_stop() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("this signal can be waited for");
    let mut interrupt = signal(SignalKind::interrupt()).expect("this signal can be waited for");
    async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

#[cfg(not(unix))]
pub(crate) async fn asked_to_stop() {
    let _ = tokio::signal::ctrl_c().await;
}
