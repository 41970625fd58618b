//! `[[replica]]` of `serve.toml`: where one replica of one model answers, or who knows where its replicas do.

use routerwise_types::serve::{Discover, DiscoverBy, Endpoint, Secret};

use super::discover::{self, By, Cluster};
use super::path;
use crate::text::{Document, Table, Value};

/// What an entry is about.
#[derive(Debug)]
pub(super) enum Replica {
    /// One replica.
    Named(Endpoint),
    /// As many as there are.
    Found(Discover),
}

/// Reads one. Credentials come from the environment or a file, so that the settings can be shown to anybody.
pub(super) fn read(document: &Document, mut table: Table<'_>, cluster: &Cluster) -> Option<Replica> {
    let model = table.require("model", "\"small\"").and_then(|value| value.string());
    let by = table.optional("discover", discover::by);
    let found = match by {
        Some(Some(By::Dns)) => discover::dns(&mut table).map(Some),
        Some(Some(By::EndpointSlices)) => {
            let slices = discover::endpoint_slices(&mut table, cluster);
            slices.map(|slices| Some(DiscoverBy::EndpointSlices(slices)))
        }
        Some(None) => Some(None),
        None => None,
    };
    let url = match &found {
        // The Service's own name, which its certificate will have.
        Some(Some(DiscoverBy::EndpointSlices(slices))) if !table.has("url") => {
            Some(format!("http://{}.{}.svc", slices.service, slices.namespace))
        }
        _ => table
            .require("url", "\"http://10.0.0.4:8000\"")
            .and_then(|value| value.string()),
    };
    let replica = table.optional("replica", |value| value.integer(0..=100_000));
    let served_as = table.optional("served-name", |value| value.string());
    let http2 = table.optional("http2", |value| value.boolean());
    let from_environment = table.optional("key-env", environment);
    let from_file = table.optional("key-file", |value| credential_file(document, value));
    let ca = table.optional("ca", |value| path(document, value));
    let certificate = table.optional("client-certificate", |value| path(document, value));
    let key = table.optional("client-key", |value| path(document, value));
    let identity = match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let problem = table.problem("`client-certificate` and `client-key` of a replica go together");
            table.note(problem.help("write both, or neither"));
            None
        }
    };
    if matches!(by, Some(Some(_))) && matches!(replica, Some(Some(_))) {
        let problem = table.problem("`replica` is the number of one replica, and `discover` finds many");
        table.note(problem.help("leave one of them out"));
    }
    if matches!(from_environment, Some(Some(_))) && matches!(from_file, Some(Some(_))) {
        let problem = table.problem("`key-env` and `key-file` both say what the credential of a replica is");
        table.note(problem.help("leave one of them out"));
    }
    table.finish();
    let endpoint = Endpoint {
        model: model?,
        replica: replica?.and_then(|replica| usize::try_from(replica).ok()),
        at: None,
        url: url?,
        served_as: served_as?,
        http2: http2?.unwrap_or(false),
        credential: from_environment?.or(from_file?),
        ca: ca?,
        identity,
    };
    Some(match found? {
        Some(by) => Replica::Found(Discover { like: endpoint, by }),
        None => Replica::Named(endpoint),
    })
}

fn environment(value: &Value<'_>) -> Option<Secret> {
    let name = value.string()?;
    match std::env::var(&name) {
        Ok(secret) if !secret.trim().is_empty() => Some(Secret(secret.trim().to_owned())),
        _ => value.refuse(
            format!("the environment variable `{name}` is not set"),
            "set it before the gateway starts, or use `key-file`",
        ),
    }
}

fn credential_file(document: &Document, value: &Value<'_>) -> Option<Secret> {
    let path = path(document, value)?;
    match crate::file::text(&path) {
        Ok(secret) if !secret.trim().is_empty() => Some(Secret(secret.trim().to_owned())),
        Ok(_) => value.refuse(format!("`{}` is empty", path.display()), "put the credential into it"),
        Err(wrong) => value.refuse(format!("`{}` {}", path.display(), wrong.what), wrong.help),
    }
}
