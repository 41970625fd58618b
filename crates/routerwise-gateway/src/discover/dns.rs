//! Every address of a host's name is a replica.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use http::Uri;
use tokio::net::lookup_host;

use super::{Pauses, Target};

/// Longest wait for an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Looks a host up again and again. A name without an address says that nobody could be asked as often as that nobody is there: what was
/// found last stays.
pub(super) async fn follow(target: &Target, every: Duration) {
    let mut pauses = Pauses::default();
    loop {
        match look_up(&target.discover.like.url).await {
            Ok(addresses) => {
                pauses.reset();
                target.found(&addresses);
                tokio::time::sleep(every).await;
            }
            Err(why) => {
                target.failed(&why);
                tokio::time::sleep(pauses.next().max(every)).await;
            }
        }
    }
}

/// The addresses of the host that an address names.
pub(super) async fn look_up(url: &str) -> Result<BTreeSet<SocketAddr>, String> {
    let (host, port) = host_and_port(url)?;
    let found = tokio::time::timeout(LIMIT, lookup_host((host.as_str(), port))).await;
    let found = found.map_err(|_| format!("no answer about `{host}` within {} s", LIMIT.as_secs()))?;
    let found = found.map_err(|error| format!("`{host}` has no address: {error}"))?;
    Ok(of_one_family(found.collect()))
}

fn host_and_port(url: &str) -> Result<(String, u16), String> {
    let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no address: {error}"))?;
    let host = uri.host().ok_or_else(|| format!("`{url}` names no host"))?;
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), uri.port_u16().unwrap_or(usual)))
}

/// A host that has addresses of both kinds is one replica, not two.
pub(super) fn of_one_family(addresses: BTreeSet<SocketAddr>) -> BTreeSet<SocketAddr> {
    if addresses.iter().any(SocketAddr::is_ipv4) {
        addresses.into_iter().filter(SocketAddr::is_ipv4).collect()
    } else {
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_address_or_of_its_scheme() {
        assert_eq!(
            host_and_port("http://engines:8000/v1").unwrap(),
            ("engines".to_owned(), 8000)
        );
        assert_eq!(host_and_port("https://engines").unwrap(), ("engines".to_owned(), 443));
        assert_eq!(host_and_port("http://[::1]").unwrap(), ("::1".to_owned(), 80));
        assert!(host_and_port("/v1").is_err());
    }

    #[test]
    fn a_host_with_addresses_of_both_kinds_counts_once() {
        let of = |texts: &[&str]| of_one_family(texts.iter().map(|text| text.parse().unwrap()).collect());
        assert_eq!(of(&["10.0.0.1:1", "[fd00::1]:1"]), of(&["10.0.0.1:1"]));
        assert_eq!(of(&["[fd00::1]:1", "[fd00::2]:1"]).len(), 2);
    }

    #[tokio::test]
    async fn this_machine_is_found_by_its_name_and_nobody_by_a_name_that_nobody_has() {
        let found = look_up("http://localhost:8000").await.unwrap();
        assert_eq!(found, BTreeSet::from(["127.0.0.1:8000".parse().unwrap()]));
        assert!(
            look_up("http://nobody.invalid:8000")
                .await
                .unwrap_err()
                .contains("nobody.invalid")
        );
    }
}
