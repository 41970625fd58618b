//! Reading a request body: whole, because the model is chosen by what it says, and bounded in every way.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use routerwise_types::serve::{Limits, Timeouts};
use tokio::time::timeout;

use crate::admission::{Door, Held};
use crate::error::{Cause, Refusal};

/// Reads it; packed bodies are unpacked, because engines do not do that themselves.
pub(crate) async fn read<'a>(
    headers: &HeaderMap,
    body: Incoming,
    door: &'a Door,
    limits: &Limits,
    timeouts: &Timeouts,
) -> Result<(Bytes, Held<'a>), Refusal> {
    let packing = packing(headers)?;
    let announced: Option<u64> = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|announced| announced > limits.body as u64) {
        return Err(too_large(limits));
    }
    let mut held = Held::default();
    let whole = collect(body, announced, door, &mut held, limits, timeouts.client);
    let bytes = timeout(timeouts.body, whole)
        .await
        .map_err(|_| slow("the body took too long to arrive"))??;
    match packing {
        Packing::None => Ok((bytes, held)),
        Packing::Gzip => Ok((unpack(&bytes, door, &mut held, limits)?, held)),
    }
}

#[derive(Clone, Copy)]
enum Packing {
    None,
    Gzip,
}

fn packing(headers: &HeaderMap) -> Result<Packing, Refusal> {
    let mut encodings = headers.get_all(CONTENT_ENCODING).iter();
    let Some(encoding) = encodings.next() else {
        return Ok(Packing::None);
    };
    let encoding = encoding.to_str().unwrap_or("?").trim();
    if encodings.next().is_none() {
        if encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip") {
            return Ok(Packing::Gzip);
        }
        if encoding.eq_ignore_ascii_case("identity") {
            return Ok(Packing::None);
        }
    }
    let message = "the body's `content-encoding` is neither `gzip` nor `identity`";
    Err(Refusal::new(Cause::BadRequest, message).status(http::StatusCode::UNSUPPORTED_MEDIA_TYPE))
}

async fn collect<'a>(
    mut body: Incoming,
    announced: Option<u64>,
    door: &'a Door,
    held: &mut Held<'a>,
    limits: &Limits,
    patience: Duration,
) -> Result<Bytes, Refusal> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let frame = match timeout(patience, body.frame()).await {
            Err(_) => return Err(slow("the body stopped arriving")),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Refusal::new(Cause::ClientGone, "the body broke off")),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        let so_far = first.as_ref().map_or(0, Bytes::len) + rest.len();
        if so_far + data.len() > limits.body {
            return Err(too_large(limits));
        }
        door.hold(held, data.len(), limits)?;
        // Most bodies come in one piece, which need not be copied.
        match &first {
            None => first = Some(data),
            Some(_) => {
                if rest.is_empty() {
                    let left = usize::try_from(announced.unwrap_or(0)).unwrap_or(0);
                    rest.reserve(left.min(limits.body).saturating_sub(so_far).max(data.len()));
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    let first = first.unwrap_or_default();
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// A few bytes can unpack into gigabytes: the bounds hold for what comes out, and are looked at as it comes.
fn unpack<'a>(packed: &[u8], door: &'a Door, held: &mut Held<'a>, limits: &Limits) -> Result<Bytes, Refusal> {
    let mut decoder = GzDecoder::new(packed);
    let mut whole = Vec::new();
    let mut piece = [0; 16 << 10];
    loop {
        let n = decoder
            .read(&mut piece)
            .map_err(|_| Refusal::new(Cause::BadRequest, "the body is not valid gzip"))?;
        if n == 0 {
            return Ok(whole.into());
        }
        if whole.len() + n > limits.body {
            return Err(too_large(limits));
        }
        door.hold(held, n, limits)?;
        whole.extend_from_slice(&piece[..n]);
    }
}

fn too_large(limits: &Limits) -> Refusal {
    let message = format!("the body has more than {} bytes", limits.body);
    Refusal::new(Cause::TooLarge, message).never()
}

fn slow(what: &'static str) -> Refusal {
    Refusal::new(Cause::SlowRequest, what)
}
