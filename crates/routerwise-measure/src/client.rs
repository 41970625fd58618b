//! Connections to one endpoint, and one request over one of them.
//!
//! Hyper's connections are driven by the task that waits for their answer, not by one of their own: a piece of an answer
//! then costs one wake-up instead of two. Idle ones wait in a stack, so that few are kept warm.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::target::Target;

/// Connections to one endpoint.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) target: Arc<Target>,
    addresses: Vec<SocketAddr>,
    idle: RefCell<Vec<Connection>>,
    n_opened: Cell<u64>,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Nothing once the connection is closed.
    driver: Option<Driver>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

/// Who hears an answer.
pub(crate) trait Listener {
    /// Its head came.
    fn head(&mut self, status: StatusCode, headers: &HeaderMap);
    /// A piece of its body came.
    fn piece(&mut self, bytes: &[u8]);
}

/// Why there is no answer, or not all of one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The host has no address.
    #[error("its name has no address: {0}")]
    Name(io::Error),
    /// Nobody takes the connection.
    #[error("{0}")]
    Connect(io::Error),
    /// This machine has no means for one more connection.
    #[error("{0}")]
    OutOfSockets(io::Error),
    /// The connection ended before the answer did, or what came is no HTTP.
    #[error("{0}")]
    Http(hyper::Error),
}

impl Client {
    /// Looks the host's name up, once for all connections.
    pub(crate) async fn new(target: Arc<Target>) -> Result<Self, Broken> {
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let addresses: Vec<SocketAddr> = found.map_err(Broken::Name)?.collect();
        Ok(Self {
            target,
            addresses,
            idle: RefCell::new(Vec::new()),
            n_opened: Cell::new(0),
        })
    }

    /// Connections opened so far.
    pub(crate) fn n_opened(&self) -> u64 {
        self.n_opened.get()
    }

    /// Sends a request and hands the answer on as it comes.
    ///
    /// A server may close a connection that was kept open at the moment at which it is used again. Then nothing of the answer
    /// has come, and the request goes over a new connection, as every client does that keeps them.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>, listener: &mut dyn Listener) -> Result<(), Broken> {
        if let Some(mut connection) = self.kept() {
            match connection.ask(request.clone()).await {
                Ok(response) => return self.read(connection, response, listener).await,
                Err(error) if error.is_parse() || error.is_timeout() => return Err(Broken::Http(error)),
                Err(_) => {}
            }
        }
        let mut connection = self.open().await?;
        let response = connection.ask(request).await.map_err(Broken::Http)?;
        self.read(connection, response, listener).await
    }

    async fn read(
        &self,
        mut connection: Connection,
        response: Response<Incoming>,
        listener: &mut dyn Listener,
    ) -> Result<(), Broken> {
        listener.head(response.status(), response.headers());
        let mut body = pin!(response.into_body());
        loop {
            let frame = poll_fn(|cx| {
                drive(&mut connection.driver, cx);
                body.as_mut().poll_frame(cx)
            });
            match frame.await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        listener.piece(data);
                    }
                }
                Some(Err(error)) => return Err(Broken::Http(error)),
                None => break,
            }
        }
        if connection.is_ready() {
            self.idle.borrow_mut().push(connection);
        }
        Ok(())
    }

    /// A connection that was kept and that the server has not closed.
    fn kept(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            if connection.is_ready() {
                return Some(connection);
            }
        }
    }

    async fn open(&self) -> Result<Connection, Broken> {
        self.n_opened.set(self.n_opened.get() + 1);
        let tcp = TcpStream::connect(self.addresses.as_slice())
            .await
            .map_err(no_connection)?;
        tcp.set_nodelay(true).map_err(Broken::Connect)?;
        let Some((config, name)) = &self.target.tls else {
            return Connection::over(tcp).await;
        };
        let tls = TlsConnector::from(Arc::clone(config)).connect(name.clone(), tcp);
        Connection::over(tls.await.map_err(Broken::Connect)?).await
    }
}

/// `EMFILE`, `ENFILE` and `EADDRNOTAVAIL` are about this side.
fn no_connection(error: io::Error) -> Broken {
    let ours = matches!(error.raw_os_error(), Some(23 | 24)) || error.kind() == io::ErrorKind::AddrNotAvailable;
    if ours {
        Broken::OutOfSockets(error)
    } else {
        Broken::Connect(error)
    }
}

impl Connection {
    async fn over<S>(stream: S) -> Result<Self, Broken>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + 'static,
    {
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(Broken::Http)?;
        Ok(Self {
            sender,
            driver: Some(Box::pin(driver)),
        })
    }

    async fn ask(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let mut answer = pin!(self.sender.send_request(request));
        let driver = &mut self.driver;
        poll_fn(|cx| {
            drive(driver, cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Whether it takes another request now.
    fn is_ready(&mut self) -> bool {
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        self.driver.is_some() && self.sender.is_ready()
    }
}

/// Lets a connection read and write. How it ended is no result: an error comes out of the answer too.
fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if driver
        .as_mut()
        .is_some_and(|driver| driver.as_mut().poll(cx).is_ready())
    {
        *driver = None;
    }
}
