//! Replicas that are looked for: by name, or as endpoints of a Service of Kubernetes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use routerwise_types::serve::{DiscoverBy, EndpointSlices, ServicePort};

use super::{path, time};
use crate::text::{Document, Table, Value};

/// Where Kubernetes puts what a pod needs to talk to its API server.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Time between two look-ups of a name: Kubernetes and most others let names live for about as long.
const EVERY: Duration = Duration::from_secs(5);

/// `[kubernetes]`: how the API server is reached. A pod need not say.
#[derive(Debug, Default)]
pub(super) struct Cluster {
    api: Option<String>,
    namespace: Option<String>,
    token: Option<PathBuf>,
    ca: Option<PathBuf>,
}

pub(super) fn cluster(document: &Document, mut table: Table<'_>) -> Cluster {
    let cluster = Cluster {
        api: table.optional("api", |value| value.string()).flatten(),
        namespace: table.optional("namespace", label).flatten(),
        token: table.optional("token-file", |value| path(document, value)).flatten(),
        ca: table.optional("ca", |value| path(document, value)).flatten(),
    };
    table.finish();
    cluster
}

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Dns,
    EndpointSlices,
}

pub(super) fn by(value: &Value<'_>) -> Option<By> {
    value.choice(&[("dns", By::Dns), ("endpoint-slices", By::EndpointSlices)])
}

pub(super) fn dns(table: &mut Table<'_>) -> Option<DiscoverBy> {
    let every = table.optional("every", time)?.unwrap_or(EVERY);
    Some(DiscoverBy::Dns { every })
}

pub(super) fn endpoint_slices(table: &mut Table<'_>, cluster: &Cluster) -> Option<EndpointSlices> {
    let service = table.require("service", "\"small-engines\"");
    let service = service.and_then(|value| label(&value).map(|service| (value, service)));
    let namespace = table.optional("namespace", label);
    let port = table.optional("port", port);
    let (place, service) = service?;
    let namespace = namespace?.or_else(|| cluster.namespace.clone());
    let in_pod = |file: &str| {
        let file = Path::new(POD).join(file);
        file.is_file().then_some(file)
    };
    let (api, token, ca) = match &cluster.api {
        Some(api) => (api.clone(), cluster.token.clone(), cluster.ca.clone()),
        None => (
            api_of_pod(&place)?,
            cluster.token.clone().or_else(|| in_pod("token")),
            cluster.ca.clone().or_else(|| in_pod("ca.crt")),
        ),
    };
    Some(EndpointSlices {
        service,
        namespace: namespace
            .or_else(namespace_of_pod)
            .unwrap_or_else(|| "default".to_owned()),
        port: port?,
        api,
        token,
        ca,
    })
}

fn api_of_pod(place: &Value<'_>) -> Option<String> {
    let said = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some((host, port)) = said("KUBERNETES_SERVICE_HOST").zip(said("KUBERNETES_SERVICE_PORT")) else {
        return place.refuse(
            "nothing says where the API server of Kubernetes is",
            "run in a pod, or write `api = \"https://…\"` in `[kubernetes]` (\"http://127.0.0.1:8001\" beside `kubectl proxy`)",
        );
    };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(format!("https://{host}:{port}"))
}

fn namespace_of_pod() -> Option<String> {
    let text = crate::file::text(&Path::new(POD).join("namespace")).ok()?;
    Some(text.trim().to_owned()).filter(|name| is_label(name))
}

/// A name as Kubernetes has them: it becomes part of a path.
fn label(value: &Value<'_>) -> Option<String> {
    let name = value.string()?;
    if is_label(&name) {
        return Some(name);
    }
    value.refuse(
        format!("`{name}` is no name in Kubernetes"),
        "use small letters, digits, `-` and `.`, 253 at most",
    )
}

fn is_label(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    !name.is_empty() && name.len() <= 253 && name.bytes().all(allowed) && !name.starts_with('.')
}

fn port(value: &Value<'_>) -> Option<ServicePort> {
    if let Some(text) = value.text() {
        return Some(ServicePort::Name(text.to_owned()));
    }
    let number = value.integer(1..=u32::from(u16::MAX))?;
    Some(ServicePort::Number(u16::try_from(number).ok()?))
}
