//! HTTP/2, TLS and certificates of clients and replicas.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use common::upstream::{Act, Upstream, ok, stream};
use common::{CHAT, Gateway, chat, inputs, parse, post, request, streamed};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use routerwise_types::serve::ServerTls;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const BODY: &str = r#"{"choices":[]}"#;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

fn tls(client_ca: Option<PathBuf>) -> ServerTls {
    ServerTls {
        certificate: file("server.pem"),
        key: file("server-key.pem"),
        client_ca,
    }
}

/// A client that trusts the test authority and offers these protocols.
fn trusting(protocols: &[&[u8]]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(file("ca.pem")).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config).into()
}

#[tokio::test]
async fn http2_is_spoken_and_streams_many_answers_on_one_connection() {
    let small = Upstream::start(vec![Act::Say(stream(&["a", "b"]))]).await;
    let gateway = Gateway::start(inputs(&[small.at], &[])).await;
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    let ask = |client: Client<_, Full<Bytes>>| {
        let request = http::Request::post(format!("http://{}{CHAT}", gateway.address))
            .body(Full::from(streamed("small", "x")))
            .unwrap();
        async move {
            let answer = client.request(request).await.unwrap();
            assert_eq!(
                (answer.status().as_u16(), answer.version()),
                (200, http::Version::HTTP_2)
            );
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(body.ends_with(b"data: [DONE]\n\n"));
        }
    };
    ask(client.clone()).await;
    let many: Vec<_> = (0..20).map(|_| tokio::spawn(ask(client.clone()))).collect();
    for one in many {
        one.await.unwrap();
    }
    assert!((gateway.metric("routerwise_connections").await - 2.0).abs() < 1e-9);
    // Giving up one answer cancels it at the replica and leaves the connection alone.
    small.then(vec![Act::Hang]);
    let (n_before, deadline) = (small.n_seen(), tokio::time::Instant::now() + common::PATIENCE);
    let hanging = tokio::spawn(ask(client.clone()));
    while small.n_seen() == n_before {
        assert!(tokio::time::Instant::now() < deadline, "the request did not arrive");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    hanging.abort();
    tokio::time::timeout(common::PATIENCE, small.left.notified())
        .await
        .unwrap();
}

#[tokio::test]
async fn tls_is_spoken_and_both_protocols_are_offered() {
    let small = Upstream::start(vec![ok(BODY)]).await;
    let mut inputs = inputs(&[small.at], &[]);
    inputs.settings.tls = Some(tls(None));
    let gateway = Gateway::start(inputs).await;
    let name = || ServerName::try_from("127.0.0.1").unwrap();
    for (offered, spoken) in [
        (&[&b"h2"[..], b"http/1.1"][..], &b"h2"[..]),
        (&[b"http/1.1"], b"http/1.1"),
    ] {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let mut stream = trusting(offered).connect(name(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(spoken));
        if spoken == b"http/1.1" {
            stream
                .write_all(request(CHAT, &[], &chat("small", "x")).as_bytes())
                .await
                .unwrap();
            let mut text = Vec::new();
            let _ = stream.read_to_end(&mut text).await;
            assert_eq!(parse(&String::from_utf8_lossy(&text)).status, 200);
        }
    }
    let plain = common::raw(gateway.address, request(CHAT, &[], &chat("small", "x")).as_bytes()).await;
    assert!(!plain.contains("200 OK"), "{plain}");
    gateway.metric_becomes("routerwise_handshake_failures_total", 1.0).await;
}

#[tokio::test]
async fn certificates_are_asked_of_clients_and_shown_to_replicas() {
    // A gateway that wants client certificates is the replica of another one.
    let engine = Upstream::start(vec![ok(BODY)]).await;
    let mut inner = inputs(&[engine.at], &[]);
    inner.settings.tls = Some(tls(Some(file("ca.pem"))));
    let inner = Gateway::start(inner).await;
    let mut outer = inputs(&[inner.address], &[]);
    outer.settings.retries.most = 1;
    let replica = &mut outer.settings.replicas[0];
    replica.url = format!("https://{}", inner.address);
    replica.ca = Some(file("ca.pem"));
    let without = Gateway::start(outer.clone()).await;
    assert!(post(without.address, CHAT, &chat("small", "x")).await.status >= 500);
    outer.settings.replicas[0].identity = Some((file("client.pem"), file("client-key.pem")));
    let with = Gateway::start(outer.clone()).await;
    assert_eq!(post(with.address, CHAT, &chat("small", "x")).await.status, 200);
    // Who is not signed by the authority that was named is not asked.
    outer.settings.replicas[0].ca = Some(file("client.pem"));
    let strange = Gateway::start(outer).await;
    let refused = post(strange.address, CHAT, &chat("small", "x")).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "connect"));
    assert_eq!(engine.n_seen(), 1);
}

#[tokio::test]
async fn engines_may_be_spoken_to_in_http2_over_one_connection() {
    // A gateway speaks both, with and without TLS, and is the replica of another one.
    for scheme in ["http", "https"] {
        let engine = Upstream::start(vec![Act::Say(stream(&["a", "b"]))]).await;
        let mut inner = inputs(&[engine.at], &[]);
        inner.settings.tls = (scheme == "https").then(|| tls(None));
        let inner = Gateway::start(inner).await;
        let mut outer = inputs(&[inner.address], &[]);
        let replica = &mut outer.settings.replicas[0];
        replica.url = format!("{scheme}://{}", inner.address);
        replica.ca = Some(file("ca.pem"));
        replica.http2 = true;
        let outer = Gateway::start(outer).await;
        let address = outer.address;
        let ask = move || async move {
            let answer = post(address, CHAT, &streamed("small", "x")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.body.ends_with("data: [DONE]\n\n"));
        };
        ask().await;
        let many: Vec<_> = (0..10).map(|_| tokio::spawn(ask())).collect();
        for one in many {
            one.await.unwrap();
        }
        assert!(
            (inner.metric("routerwise_connections").await - 2.0).abs() < 1e-9,
            "{scheme}"
        );
        // A client that goes away cancels its request there.
        engine.then(vec![Act::Hang]);
        let seen = engine.n_seen();
        let hanging = tokio::spawn(ask());
        let deadline = tokio::time::Instant::now() + common::PATIENCE;
        while engine.n_seen() == seen {
            assert!(tokio::time::Instant::now() < deadline, "the request did not arrive");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        hanging.abort();
        tokio::time::timeout(common::PATIENCE, engine.left.notified())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn wrong_certificates_are_refused_at_the_start_and_name_no_secret() {
    let mut inputs = inputs(&[([127, 0, 0, 1], 1).into()], &[]);
    let wrong = |certificate: &str, key: &str| ServerTls {
        certificate: file(certificate),
        key: file(key),
        client_ca: None,
    };
    for (certificate, key) in [
        ("server.pem", "client-key.pem"),
        ("missing.pem", "server-key.pem"),
        ("server.pem", "server.pem"),
    ] {
        inputs.settings.tls = Some(wrong(certificate, key));
        let refused = Gateway::try_start(inputs.clone()).await.err().unwrap();
        assert!(refused.contains(".pem"), "{refused}");
        assert!(!refused.contains("BEGIN"), "{refused}");
    }
}
