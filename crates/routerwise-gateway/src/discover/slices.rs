//! What `EndpointSlice` objects say: which endpoints of a Service are ready, and at which port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use routerwise_types::serve::ServicePort;
use serde::Deserialize;

use super::dns::of_one_family;

/// One slice; a Service has as many as it needs.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Slice {
    pub(super) metadata: Metadata,
    #[serde(default)]
    endpoints: Option<Vec<Endpoint>>,
    #[serde(default)]
    ports: Option<Vec<Port>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) resource_version: String,
    /// Where a list goes on.
    #[serde(rename = "continue")]
    pub(super) more: String,
}

#[derive(Clone, Debug, Deserialize)]
struct Endpoint {
    #[serde(default)]
    addresses: Vec<String>,
    #[serde(default)]
    conditions: Conditions,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Conditions {
    ready: Option<bool>,
    terminating: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
struct Port {
    name: Option<String>,
    port: Option<u16>,
}

/// Slices by name.
pub(super) type Slices = BTreeMap<String, Slice>;

impl Endpoint {
    /// Kubernetes says that unknown counts as ready. Who is about to end gets nothing new, even where it still calls itself ready.
    fn is_ready(&self) -> bool {
        self.conditions.ready != Some(false) && self.conditions.terminating != Some(true)
    }
}

/// Where the ready endpoints are.
pub(super) fn addresses(slices: &Slices, wanted: Option<&ServicePort>) -> Result<BTreeSet<SocketAddr>, String> {
    let mut found = BTreeSet::new();
    for slice in slices.values() {
        let ready = slice.endpoints.iter().flatten().filter(|endpoint| endpoint.is_ready());
        // All addresses of an endpoint lead to the same one. Names, which Kubernetes has given up, are no addresses.
        let addresses: Vec<IpAddr> = ready
            .filter_map(|endpoint| endpoint.addresses.first()?.parse().ok())
            .collect();
        if !addresses.is_empty() {
            let port = port(slice, wanted)?;
            found.extend(addresses.iter().map(|address| SocketAddr::new(*address, port)));
        }
    }
    // A Service of both families has slices for each, with the same pods.
    Ok(of_one_family(found))
}

fn port(slice: &Slice, wanted: Option<&ServicePort>) -> Result<u16, String> {
    let ports = slice.ports.as_deref().unwrap_or_default();
    let found = match wanted {
        Some(ServicePort::Name(name)) => ports.iter().find(|port| port.name.as_deref() == Some(name)),
        Some(ServicePort::Number(number)) => return Ok(*number),
        None if ports.len() == 1 => ports.first(),
        None => None,
    };
    found.and_then(|port| port.port).ok_or_else(|| {
        let known: Vec<String> = ports
            .iter()
            .map(|port| {
                let name = port.name.as_deref().unwrap_or_default();
                port.port
                    .map_or_else(|| name.to_owned(), |number| format!("{name} {number}"))
            })
            .collect();
        format!(
            "which port of the endpoints is meant is not clear: set `port` to one of [{}]",
            known.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slices(values: &[serde_json::Value]) -> Slices {
        let slices = values
            .iter()
            .map(|value| serde_json::from_value::<Slice>(value.clone()).unwrap());
        slices.map(|slice| (slice.metadata.name.clone(), slice)).collect()
    }

    fn texts(slices: &Slices, port: Option<&ServicePort>) -> Vec<String> {
        let found = addresses(slices, port).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ready_endpoints_count_and_others_do_not() {
        let slice = json!({
            "metadata": {"name": "a", "labels": {"x": "y"}}, "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8000, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.3"], "conditions": {}},
                {"addresses": ["10.0.0.4"]},
                {"addresses": ["10.0.0.5"], "conditions": {"ready": true, "terminating": true}},
            ],
        });
        let found = slices(&[
            slice,
            json!({"metadata": {"name": "empty"}, "endpoints": null, "ports": null}),
        ]);
        assert_eq!(texts(&found, None), ["10.0.0.1:8000", "10.0.0.3:8000", "10.0.0.4:8000"]);
    }

    #[test]
    fn endpoints_in_two_slices_or_of_two_families_count_once() {
        let slice = |name: &str, addresses: &[&str]| {
            let endpoints: Vec<_> = addresses
                .iter()
                .map(|address| json!({"addresses": [address]}))
                .collect();
            json!({"metadata": {"name": name}, "endpoints": endpoints, "ports": [{"port": 80}]})
        };
        let found = slices(&[
            slice("a", &["10.0.0.1"]),
            slice("b", &["10.0.0.1"]),
            slice("c", &["fd00::1"]),
        ]);
        assert_eq!(texts(&found, None), ["10.0.0.1:80"]);
    }

    #[test]
    fn which_port_must_be_clear() {
        let slice = json!({
            "metadata": {"name": "a"}, "endpoints": [{"addresses": ["10.0.0.1"]}],
            "ports": [{"name": "http", "port": 8000}, {"name": "metrics", "port": 9000}],
        });
        let found = slices(&[slice]);
        assert!(addresses(&found, None).unwrap_err().contains("http 8000, metrics 9000"));
        let name = |name: &str| ServicePort::Name(name.to_owned());
        assert_eq!(texts(&found, Some(&name("metrics"))), ["10.0.0.1:9000"]);
        assert_eq!(texts(&found, Some(&ServicePort::Number(7000))), ["10.0.0.1:7000"]);
        assert!(addresses(&found, Some(&name("grpc"))).is_err());
    }
}
