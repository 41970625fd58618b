//! `[[replica]]` of `serve.toml`: where one replica of one model answers.

use routerwise_types::serve::{Endpoint, Secret};

use super::path;
use crate::text::{Document, Table, Value};

/// Reads one. Credentials come from the environment or a file, so that the settings can be shown to anybody.
pub(super) fn read(document: &Document, mut table: Table<'_>) -> Option<Endpoint> {
    let model = table.require("model", "\"small\"").and_then(|value| value.string());
    let url = table
        .require("url", "\"http://10.0.0.4:8000\"")
        .and_then(|value| value.string());
    let replica = table.optional("replica", |value| value.integer(0..=100_000));
    let served_as = table.optional("served-name", |value| value.string());
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
    table.finish();
    Some(Endpoint {
        model: model?,
        replica: replica?.and_then(|replica| usize::try_from(replica).ok()),
        url: url?,
        served_as: served_as?,
        credential: from_environment?.or(from_file?),
        ca: ca?,
        identity,
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
