//! What tests do to an engine at run time.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use http::StatusCode;

use super::App;
use crate::error::ApiError;
use crate::options::Faults;

pub(super) async fn faults(State(app): State<Arc<App>>) -> Json<Faults> {
    Json(app.faults())
}

/// What is not named is off.
pub(super) async fn set_faults(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Faults>, ApiError> {
    let faults: Faults =
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_request(format!("invalid faults: {error}")))?;
    app.set_faults(faults)
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(Json(faults))
}

pub(super) async fn clear_faults(State(app): State<Arc<App>>) -> Result<Json<Faults>, ApiError> {
    app.set_faults(Faults::default())
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(Json(Faults::default()))
}

/// The caller's connection breaks off with all others.
pub(super) async fn crash(State(app): State<Arc<App>>) -> StatusCode {
    app.crash();
    std::future::pending().await
}
