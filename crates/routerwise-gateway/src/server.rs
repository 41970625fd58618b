//! Listeners and connections: what is bounded before a request is read, and how all of it ends.

mod connection;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use routerwise_types::serve::Exposure;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;

use crate::force::Force;
use crate::gateway::{Calendar, Gateway, Source};
use crate::{admin, api, reload};
pub(crate) use connection::Alive;
use connection::{Rules, serve};

/// Wait after a listener failed to accept: out of file descriptors, most likely, and trying at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the gateway does not run.
#[derive(Debug, thiserror::Error)]
pub enum CannotServe {
    /// Plan, settings, keys or predictor are wrong.
    #[error("{0}")]
    Inputs(String),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// A gateway that listens.
#[derive(Debug)]
pub struct Server {
    gateway: Arc<Gateway>,
    listener: TcpListener,
    admin: Option<TcpListener>,
}

/// Makes a running gateway read everything again.
#[derive(Clone, Debug)]
pub struct Reloader(Arc<Gateway>);

impl Reloader {
    /// Reads everything again. Blocks: call it where the runtime of the gateway lets calls block.
    ///
    /// # Errors
    /// What is wrong; what was in force still is.
    pub fn reload(&self) -> Result<String, String> {
        self.0.reload()
    }
}

/// Whether settings may be served: another address than loopback needs keys.
pub(crate) fn guard(force: &Force) -> Result<(), String> {
    let settings = &force.settings;
    if settings.exposure == Exposure::Insecure {
        return Ok(());
    }
    if !is_loopback(settings.listen.ip()) && force.keys.is_empty() {
        return Err(format!(
            "{} can be reached from other machines, and no API keys are set: set `keys`, or say `--insecure`",
            settings.listen
        ));
    }
    if let Some(admin) = settings.admin.filter(|admin| !is_loopback(admin.ip()))
        && !force.keys.have_admin()
    {
        return Err(format!(
            "the administration on {admin} can be reached from other machines, and no API key has `admin = true`: add one, or say `--insecure`"
        ));
    }
    Ok(())
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback()),
    }
}

impl Server {
    /// Reads everything, and listens.
    ///
    /// # Errors
    /// [`CannotServe`].
    pub async fn bind(source: Box<dyn Source>) -> Result<Self, CannotServe> {
        Self::bind_with(source, Box::new(SystemTime::now)).await
    }

    /// Whether it could: everything is read, looked up and put together as for serving, and nothing listens.
    ///
    /// # Errors
    /// What does not go together.
    pub async fn check(source: Box<dyn Source>) -> Result<(), CannotServe> {
        let gateway = Gateway::new(source, Box::new(SystemTime::now)).await;
        let gateway = gateway.map_err(CannotServe::Inputs)?;
        guard(&gateway.force()).map_err(CannotServe::Inputs)
    }

    /// The same with another calendar than the system's: for tests of what its jumps do.
    ///
    /// # Errors
    /// [`CannotServe`].
    pub async fn bind_with(source: Box<dyn Source>, calendar: Calendar) -> Result<Self, CannotServe> {
        let gateway = Gateway::new(source, calendar).await.map_err(CannotServe::Inputs)?;
        let force = gateway.force();
        guard(&force).map_err(CannotServe::Inputs)?;
        let listener = listen(force.settings.listen).await?;
        let admin = match force.settings.admin {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        Ok(Self {
            gateway,
            listener,
            admin,
        })
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never: a listener has an address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a listener has an address")
    }

    /// Whether clients have to speak TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.gateway.force().tls.is_some()
    }

    /// Where metrics and administration are.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.local_addr().ok())
    }

    /// Reads everything again on request.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        Reloader(Arc::clone(&self.gateway))
    }

    /// Serves until `stop`, and then until every answer under way has ended or the time for it is over. Says how many were cut off.
    pub async fn run(self, stop: impl Future<Output = ()>) -> usize {
        let (stopping, stopped) = watch::channel(false);
        let gateway = self.gateway;
        let watcher = tokio::spawn(reload::watch(Arc::clone(&gateway)));
        let mut front = tokio::spawn(accept(
            Arc::clone(&gateway),
            self.listener,
            Side::Front,
            stopped.clone(),
        ));
        let admin = self
            .admin
            .map(|listener| tokio::spawn(accept(Arc::clone(&gateway), listener, Side::Admin, stopped)));
        stop.await;
        gateway.stop();
        let force = gateway.force();
        let until = Instant::now() + force.settings.timeouts.drain;
        tracing::info!(in_flight = gateway.door.n_in_flight(), "stopping");
        let _ = stopping.send(true);
        watcher.abort();
        let cut_off = match timeout_at(until, &mut front).await {
            Ok(_) => 0,
            Err(_) => {
                // Its connections are cut off with it.
                front.abort();
                gateway.door.n_in_flight().max(1)
            }
        };
        if let Some(admin) = admin {
            admin.abort();
        }
        if let Some(log) = force.log.clone() {
            let _ = tokio::task::spawn_blocking(move || log.flush()).await;
        }
        cut_off
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, CannotServe> {
    TcpListener::bind(address)
        .await
        .map_err(|source| CannotServe::Listen { address, source })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Front,
    Admin,
}

/// Takes connections until told to stop, and then waits for those that are open.
async fn accept(gateway: Arc<Gateway>, listener: TcpListener, side: Side, stopped: watch::Receiver<bool>) {
    let mut stop = stopped.clone();
    let most = gateway.force().settings.limits.connections;
    let places = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            gateway.metrics.connections_refused.inc();
            continue;
        };
        let _ = stream.set_nodelay(true);
        let force = gateway.force();
        let tls = force.tls.clone().filter(|_| side == Side::Front).map(TlsAcceptor::from);
        let rules = Rules::of(&force.settings);
        let gateway = Arc::clone(&gateway);
        let stopped = stopped.clone();
        connections.spawn(async move {
            let _place = place;
            gateway.metrics.connections.inc();
            let metrics = Arc::clone(&gateway.metrics);
            let handle = move |request| {
                let gateway = Arc::clone(&gateway);
                async move {
                    match side {
                        Side::Front => api::handle(&gateway, request).await,
                        Side::Admin => admin::handle(&gateway, request).await,
                    }
                }
            };
            serve(stream, tls, &rules, handle, stopped, &metrics).await;
            metrics.connections.dec();
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
