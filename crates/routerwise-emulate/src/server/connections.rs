//! Connections, as long as the engine lives.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::warn;

/// How long requests under way may take when the engine stops.
const GRACE: Duration = Duration::from_secs(10);

/// How long to wait when no connection can be accepted, such as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(50);

/// Where an engine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    /// It takes no more requests and finishes those that it has.
    Stopping,
    /// It is gone, and all connections with it.
    Crashed,
}

/// Serves until the engine stops or crashes.
pub(super) async fn accept(listener: TcpListener, router: Router, mut life: watch::Receiver<Life>) {
    let mut connections = JoinSet::new();
    let watched = life.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, router.clone(), watched.clone()));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(BREATH).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = until(&mut life, |life| life != Life::Running) => break,
        }
    }
    drop(listener);
    tokio::select! {
        () = async { while connections.join_next().await.is_some() {} } => {}
        () = tokio::time::sleep(GRACE) => {}
        () = until(&mut life, |life| life == Life::Crashed) => {}
    }
    // What is still open is dropped with the set.
}

/// Waits for a turn of life; whoever decides on it being gone is as a crash.
pub(super) async fn until(life: &mut watch::Receiver<Life>, turn: impl Fn(Life) -> bool) {
    drop(life.wait_for(|life| turn(*life)).await);
}

/// One connection. HTTP/1.1 only, as vLLM's server.
async fn serve(stream: TcpStream, router: Router, mut life: watch::Receiver<Life>) {
    // A chunk that waits for the next one to fill a packet would come late.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        () = until(&mut life, |life| life != Life::Running) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection.as_mut() => {}
        () = until(&mut life, |life| life == Life::Crashed) => {}
    }
}
