//! Endpoint files: what `routerwise emulate --endpoints` and other starters of engines write.

use std::path::Path;

use routerwise_types::serve::Endpoint;
use serde::Deserialize;

use crate::file::{self, Wrong};
use crate::problem::Problems;

/// Only what the gateway goes by; whoever starts engines may write more.
#[derive(Deserialize)]
struct EnginesFile {
    engines: Vec<EngineEntry>,
}

#[derive(Deserialize)]
struct EngineEntry {
    url: String,
    model: String,
    replica: Option<usize>,
}

/// Reads where the replicas answer.
///
/// # Errors
/// What is wrong with the file.
pub fn load_endpoints(path: &Path) -> Result<Vec<Endpoint>, Problems> {
    let wrong = |wrong: Wrong| Problems(vec![wrong.at(path)]);
    let text = file::text(path).map_err(wrong)?;
    let help = "make it with `routerwise emulate <plan> --endpoints FILE`";
    let file: EnginesFile = serde_json::from_str(&text)
        .map_err(|error| wrong(Wrong::new(format!("is no list of engines: {error}"), help)))?;
    if file.engines.is_empty() {
        return Err(wrong(Wrong::new("lists no engine", help)));
    }
    let endpoint = |entry: EngineEntry| Endpoint {
        replica: entry.replica,
        ..Endpoint::new(entry.model, entry.url)
    };
    Ok(file.engines.into_iter().map(endpoint).collect())
}
