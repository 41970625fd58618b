//! The body of what clients get: something whole, or an answer that is passed on as it comes.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};
use serde::Serialize;

use crate::relay::Relay;

/// A body that goes to a client.
#[derive(Debug)]
pub(crate) enum Out {
    Full(Full<Bytes>),
    Relay(Box<Relay>),
}

impl Out {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Full::new(bytes.into()))
    }

    pub(crate) fn empty() -> Self {
        Self::full(Bytes::new())
    }
}

impl Body for Out {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Full(full) => Pin::new(full)
                .poll_frame(cx)
                .map_err(|never: Infallible| match never {}),
            Self::Relay(relay) => Pin::new(relay.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Full(full) => full.is_end_stream(),
            Self::Relay(relay) => relay.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(full) => full.size_hint(),
            Self::Relay(relay) => relay.size_hint(),
        }
    }
}

/// An answer of the gateway itself, as JSON.
pub(crate) fn json(value: &impl Serialize) -> Response<Out> {
    let bytes = serde_json::to_vec(value).expect("answers hold only what JSON holds");
    let mut response = Response::new(Out::full(bytes));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer of the gateway itself, as text.
pub(crate) fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Out> {
    let mut response = Response::new(Out::full(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
