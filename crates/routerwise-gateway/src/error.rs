//! What goes wrong, as clients are told: `{"error": {message, type, param, code}}` with the right status.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::response::Out;

/// The openai clients obey it: a request that can never pass need not come again.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request is not answered, or not to its end. Also the label of the failure in metrics and log: a bounded set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The request is wrong: not JSON, no model, a header that means nothing.
    BadRequest,
    /// No such path, or not with that method.
    NoSuchPath,
    /// No key, a wrong one, or one that has expired.
    Unauthorized,
    /// The key may not ask this model.
    Forbidden,
    /// No such model or route.
    NoSuchModel,
    /// Too many bytes.
    TooLarge,
    /// The client took too long to send its request.
    SlowRequest,
    /// The key's requests or tokens per minute are used up.
    RateLimited,
    /// As many requests in flight and waiting as are allowed.
    Overloaded,
    /// No model that the request allows is running, or none is good enough.
    NoModel,
    /// The objective is out of reach, and the route sheds.
    Shed,
    /// No connection to a replica.
    Connect,
    /// The connection ended before the first byte of the answer.
    Reset,
    /// No first byte in time.
    FirstByte,
    /// The replica failed its checks before it answered.
    GivenUp,
    /// The replica answered 429.
    Upstream429,
    /// The replica answered 5xx.
    Upstream5xx,
    /// The replica answered something that is not HTTP.
    Malformed,
    /// The answer broke off.
    Truncated,
    /// The answer stalled.
    Stalled,
    /// The whole answer, or the deadline of the request, took too long.
    Deadline,
    /// The client went away.
    ClientGone,
    /// The gateway is stopping.
    Stopping,
}

impl Cause {
    /// Its name in metrics, logs and error codes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::NoSuchPath => "no_such_path",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NoSuchModel => "model_not_found",
            Self::TooLarge => "too_large",
            Self::SlowRequest => "slow_request",
            Self::RateLimited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::NoModel => "no_model",
            Self::Shed => "shed",
            Self::Connect => "connect",
            Self::Reset => "reset",
            Self::FirstByte => "first_byte_timeout",
            Self::GivenUp => "given_up",
            Self::Upstream429 => "upstream_429",
            Self::Upstream5xx => "upstream_5xx",
            Self::Malformed => "malformed",
            Self::Truncated => "truncated",
            Self::Stalled => "stalled",
            Self::Deadline => "deadline",
            Self::ClientGone => "client_gone",
            Self::Stopping => "stopping",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NoSuchPath | Self::NoSuchModel => StatusCode::NOT_FOUND,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowRequest => StatusCode::REQUEST_TIMEOUT,
            Self::RateLimited | Self::Shed | Self::Upstream429 => StatusCode::TOO_MANY_REQUESTS,
            Self::Overloaded | Self::NoModel | Self::Connect | Self::GivenUp | Self::Stopping => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Reset | Self::Upstream5xx | Self::Malformed | Self::Truncated | Self::ClientGone => {
                StatusCode::BAD_GATEWAY
            }
            Self::FirstByte | Self::Stalled | Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// What the OpenAI clients call errors of this status.
    fn kind(self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }
}

/// An answer that says no.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) cause: Cause,
    status: StatusCode,
    message: Cow<'static, str>,
    param: Option<&'static str>,
    retry_after: Option<Duration>,
    never: bool,
    allow: Option<&'static str>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    param: Option<&'a str>,
    code: &'a str,
}

impl Refusal {
    pub(crate) fn new(cause: Cause, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            cause,
            status: cause.status(),
            message: message.into(),
            param: None,
            retry_after: None,
            never: false,
            allow: None,
        }
    }

    /// The field or header that is meant.
    pub(crate) fn param(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    /// When to come again.
    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same request can never pass.
    pub(crate) fn never(mut self) -> Self {
        self.never = true;
        self
    }

    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn allow(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self.status(StatusCode::METHOD_NOT_ALLOWED)
    }

    pub(crate) fn code(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn body(&self) -> Bytes {
        error_json(&self.message, self.cause, self.param)
    }

    pub(crate) fn into_response(self) -> Response<Out> {
        let mut response = Response::new(Out::full(self.body()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let coming_back_helps = matches!(
            self.status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        if let Some(wait) = self
            .retry_after
            .or((coming_back_helps && !self.never).then_some(Duration::from_secs(1)))
        {
            // Whole seconds is all that the header can say; rounding down would bring the client back too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.never {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The body of an error.
pub(crate) fn error_json(message: &str, cause: Cause, param: Option<&str>) -> Bytes {
    let envelope = Envelope {
        error: Inner {
            message,
            kind: cause.kind(),
            param,
            code: cause.name(),
        },
    };
    serde_json::to_vec(&envelope).expect("four texts are JSON").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_the_shape_that_openai_clients_parse() {
        let refusal = Refusal::new(Cause::NoSuchModel, "no model is called `x`").param("model");
        let body: serde_json::Value = serde_json::from_slice(&refusal.body()).unwrap();
        assert_eq!(body["error"]["message"], "no model is called `x`");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["param"], "model");
        assert_eq!(body["error"]["code"], "model_not_found");
        assert_eq!(refusal.into_response().status(), 404);
    }

    #[test]
    fn whoever_may_come_again_is_told_when() {
        let header = |refusal: Refusal| refusal.into_response().headers().get(RETRY_AFTER).cloned();
        assert_eq!(header(Refusal::new(Cause::Overloaded, "full")).unwrap(), "1");
        let later = Refusal::new(Cause::RateLimited, "wait").after(Duration::from_millis(1200));
        assert_eq!(header(later).unwrap(), "2");
        let never = Refusal::new(Cause::RateLimited, "too many tokens").never();
        assert_eq!(header(never), None);
    }
}
