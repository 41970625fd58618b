//! Who may ask what, and what nobody may do.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::upstream::{Upstream, ok};
use common::{CHAT, Gateway, PATIENCE, chat, get, inputs, parse, post, post_with, raw};
use routerwise_types::serve::{Exposure, Key, Secret};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const BODY: &str = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;

fn key(name: &str) -> Key {
    Key {
        name: name.to_owned(),
        sha256: Sha256::digest(format!("key-of-{name}")).into(),
        models: Vec::new(),
        requests_per_minute: None,
        tokens_per_minute: None,
        expires: None,
        admin: false,
    }
}

async fn guarded(keys: Vec<Key>) -> (Upstream, Gateway) {
    let small = Upstream::start(vec![ok(BODY)]).await;
    let mut inputs = inputs(&[small.at], &[]);
    inputs.keys = keys;
    (small, Gateway::start(inputs).await)
}

async fn status(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> u16 {
    post_with(gateway.address, path, headers, &chat("small", "x"))
        .await
        .status
}

#[tokio::test]
async fn no_endpoint_opens_without_a_key() {
    let (small, gateway) = guarded(vec![key("a")]).await;
    let posts = [
        CHAT,
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
        "/v1/route",
    ];
    let attempts: [&[(&str, &str)]; 8] = [
        &[],
        &[("authorization", "Bearer wrong")],
        &[("authorization", "key-of-a")],
        &[("authorization", "Basic a2V5LW9mLWE=")],
        &[("x-api-key", "")],
        &[("authorization", "Bearer wrong"), ("x-api-key", "key-of-a")],
        &[("x-forwarded-for", "127.0.0.1"), ("x-original-url", "/health")],
        &[("cookie", "key=key-of-a")],
    ];
    for path in posts {
        for headers in attempts {
            assert_eq!(status(&gateway, path, headers).await, 401, "{path} {headers:?}");
        }
        for twisted in [
            format!("/{path}"),
            format!("{path}/"),
            path.replace("v1", "V1"),
            format!("/health/..{path}"),
            path.replace("/v1", "/%761"),
        ] {
            assert_eq!(status(&gateway, &twisted, &[]).await, 404, "{twisted}");
        }
    }
    assert_eq!(get(gateway.address, "/v1/models").await.status, 401);
    assert_eq!(get(gateway.address, "/v1/models/small").await.status, 401);
    assert_eq!(small.n_seen(), 0);
    assert_eq!(
        status(&gateway, CHAT, &[("authorization", "Bearer key-of-a")]).await,
        200
    );
    assert_eq!(get(gateway.address, "/health").await.status, 200);
    // Metrics and administration are elsewhere.
    for path in ["/metrics", "/admin/state", "/admin/reload"] {
        assert_eq!(get(gateway.address, path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn the_administration_has_keys_of_its_own_and_no_browser_gets_in() {
    let mut admin = key("admin");
    admin.admin = true;
    let (_, gateway) = guarded(vec![key("a"), admin]).await;
    let ask = async |path: &str, method: &str, headers: &str| {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n{headers}content-length: 0\r\n\r\n");
        parse(&raw(gateway.admin, request.as_bytes()).await).status
    };
    for (path, method) in [("/metrics", "GET"), ("/admin/state", "GET"), ("/admin/reload", "POST")] {
        assert_eq!(ask(path, method, "").await, 401, "{path}");
        assert_eq!(
            ask(path, method, "authorization: Bearer key-of-a\r\n").await,
            403,
            "{path}"
        );
        assert_eq!(
            ask(
                path,
                method,
                "authorization: Bearer key-of-admin\r\norigin: http://evil\r\n"
            )
            .await,
            403,
            "{path}"
        );
        assert_eq!(
            ask(path, method, "authorization: Bearer key-of-admin\r\n").await,
            200,
            "{path}"
        );
    }
    assert_eq!(
        ask("/v1/chat/completions", "POST", "authorization: Bearer key-of-admin\r\n").await,
        404
    );
}

#[tokio::test]
async fn another_address_than_loopback_needs_keys_or_a_word() {
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let small = Upstream::start(vec![ok(BODY)]).await;
    let mut open = inputs(&[small.at], &[]);
    open.settings.listen = everywhere;
    let refused = Gateway::try_start(open.clone()).await.err().unwrap();
    assert!(refused.contains("--insecure"), "{refused}");
    let mut insecure = open.clone();
    insecure.settings.exposure = Exposure::Insecure;
    assert!(Gateway::try_start(insecure).await.is_ok());
    open.keys = vec![key("a")];
    assert!(Gateway::try_start(open.clone()).await.is_ok());
    open.settings.admin = Some(everywhere);
    let refused = Gateway::try_start(open.clone()).await.err().unwrap();
    assert!(refused.contains("administration"), "{refused}");
    // And taking the keys away while it runs is refused too.
    open.settings.admin = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let gateway = Gateway::start(open).await;
    gateway.change(|inputs| inputs.keys.clear());
    let reload = b"POST /admin/reload HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(parse(&raw(gateway.admin, reload).await).status, 400);
}

#[tokio::test]
async fn a_key_asks_what_it_may_and_as_much_as_it_may() {
    let mut narrow = key("narrow");
    narrow.models = vec!["auto".to_owned()];
    let mut rare = key("rare");
    rare.requests_per_minute = Some(2);
    let mut thrifty = key("thrifty");
    thrifty.tokens_per_minute = Some(100);
    let mut old = key("old");
    old.expires = Some(1);
    let (small, gateway) = guarded(vec![narrow, rare, thrifty, old]).await;
    let ask = async |name: &str, body: &str| {
        let bearer = format!("Bearer key-of-{name}");
        post_with(gateway.address, CHAT, &[("authorization", &bearer)], body).await
    };
    assert_eq!(ask("narrow", &chat("small", "x")).await.status, 403);
    assert_eq!(ask("narrow", &chat("auto", "x")).await.status, 200);
    assert_eq!(ask("old", &chat("small", "x")).await.status, 401);
    let codes = [
        ask("rare", &chat("small", "x")).await,
        ask("rare", &chat("small", "x")).await,
        ask("rare", &chat("small", "x")).await,
    ];
    assert_eq!(codes.each_ref().map(|answer| answer.status), [200, 200, 429]);
    assert!(codes[2].header("retry-after").is_some());
    // 80 are set aside, 7 are used: the next 80 fit, and 94 do not.
    let limited = |tokens: u32| format!(r#"{{"model":"small","max_tokens":{tokens},"prompt":""}}"#);
    assert_eq!(ask("thrifty", &limited(80)).await.status, 200);
    assert_eq!(ask("thrifty", &limited(80)).await.status, 200);
    assert_eq!(ask("thrifty", &limited(94)).await.status, 429);
    let never = ask("thrifty", &limited(1000)).await;
    assert_eq!((never.status, never.header("x-should-retry")), (429, Some("false")));
    assert_eq!(small.n_seen(), 5);
    assert!((gateway.metric("routerwise_key_tokens_total{key=\"thrifty\"}").await - 14.0).abs() < 1e-9);
}

#[tokio::test]
async fn keys_stay_here_and_replicas_get_their_own_credential() {
    let small = Upstream::start(vec![ok(BODY)]).await;
    let mut inputs = inputs(&[small.at], &[]);
    inputs.keys = vec![key("a")];
    inputs.settings.replicas[0].credential = Some(Secret("engine-secret".to_owned()));
    let gateway = Gateway::start(inputs).await;
    assert_eq!(
        status(
            &gateway,
            CHAT,
            &[
                ("authorization", "Bearer key-of-a"),
                ("connection", "x-hop"),
                ("x-hop", "1")
            ]
        )
        .await,
        200
    );
    let head = small.last().head;
    assert!(head.contains("authorization: Bearer engine-secret"), "{head}");
    assert!(!head.contains("key-of-a") && !head.contains("x-hop"), "{head}");
}

#[tokio::test]
async fn nobody_chooses_a_replica_by_header_or_address() {
    let elsewhere = Upstream::start(vec![ok(BODY)]).await;
    let (small, gateway) = guarded(vec![]).await;
    let host = elsewhere.at.to_string();
    let body = chat("small", "x");
    let absolute = format!(
        "POST http://{host}{CHAT} HTTP/1.1\r\nhost: {host}\r\nx-forwarded-host: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(parse(&raw(gateway.address, absolute.as_bytes()).await).status, 200);
    assert_eq!((elsewhere.n_seen(), small.n_seen()), (0, 1));
    assert!(small.last().head.contains(&format!("host: {}", small.at)));
    let connect = format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    assert!(parse(&raw(gateway.address, connect.as_bytes()).await).status >= 400);
    assert_eq!(elsewhere.n_seen(), 0);
}

#[tokio::test]
async fn requests_cannot_be_smuggled() {
    let (small, gateway) = guarded(vec![]).await;
    let hidden = "POST /v1/hidden HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n";
    let body = chat("small", "x");
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let heads = [
        // Both lengths: the chunks count, and the replica gets one length.
        format!("content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{chunked}{hidden}"),
        format!(
            "transfer-encoding: chunked\r\ncontent-length: {}\r\n\r\n{chunked}",
            body.len()
        ),
        format!(
            "content-length: {0}\r\ncontent-length: {1}\r\n\r\n{body}",
            body.len(),
            body.len() + 1
        ),
        format!("transfer-encoding: xchunked\r\n\r\n{chunked}"),
        format!("transfer-encoding : chunked\r\n\r\n{chunked}"),
        format!("content-length: +{}\r\n\r\n{body}", body.len()),
        format!("x: a\0b\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
    ];
    for head in heads {
        let request = format!("POST {CHAT} HTTP/1.1\r\nhost: g\r\nconnection: close\r\n{head}");
        let text = raw(gateway.address, request.as_bytes()).await;
        for seen in small.seen.lock().unwrap().drain(..) {
            assert!(
                seen.head.starts_with(&format!("POST {CHAT} HTTP/1.1\r\n")),
                "{head}: {}",
                seen.head
            );
            assert_eq!(seen.body, body.as_bytes(), "{head}");
            assert_eq!(
                seen.head.to_ascii_lowercase().matches("content-length").count(),
                1,
                "{head}"
            );
            assert!(!seen.head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        }
        assert!(!text.contains("hidden"), "{text}");
    }
}

#[tokio::test]
async fn bodies_and_headers_have_an_end() {
    let small = Upstream::start(vec![ok(BODY)]).await;
    let mut inputs = inputs(&[small.at], &[]);
    inputs.settings.limits.body = 1000;
    let gateway = Gateway::start(inputs).await;
    let large = post(gateway.address, CHAT, &chat("small", &"x".repeat(2000))).await;
    assert_eq!((large.status, large.code().as_str()), (413, "too_large"));
    let chunk = format!("7d0\r\n{}\r\n", "x".repeat(2000));
    let request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: g\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    );
    assert_eq!(parse(&raw(gateway.address, request.as_bytes()).await).status, 413);
    let bomb = {
        use std::io::Write as _;
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![b' '; 100_000]).unwrap();
        packer.finish().unwrap()
    };
    let mut request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        bomb.len()
    )
    .into_bytes();
    request.extend_from_slice(&bomb);
    assert_eq!(parse(&raw(gateway.address, &request).await).status, 413);
    let headers = format!(
        "GET /v1/models HTTP/1.1\r\nhost: g\r\nx: {}\r\n\r\n",
        "y".repeat(200_000)
    );
    assert_eq!(parse(&raw(gateway.address, headers.as_bytes()).await).status, 431);
    gateway.metric_becomes("routerwise_buffered_bytes", 0.0).await;
    assert_eq!(small.n_seen(), 0);
}

#[tokio::test]
async fn who_sends_too_slowly_is_cut_off() {
    let small = Upstream::start(vec![ok(BODY)]).await;
    let mut inputs = inputs(&[small.at], &[]);
    inputs.settings.timeouts.client = Duration::from_millis(150);
    let gateway = Gateway::start(inputs).await;
    let beginnings = [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nx-slow: ",
    ];
    for beginning in beginnings {
        let mut slow = TcpStream::connect(gateway.address).await.unwrap();
        slow.write_all(beginning.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, slow.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "{beginning:?} was waited for");
    }
    let mut slow = TcpStream::connect(gateway.address).await.unwrap();
    let begun = format!("POST {CHAT} HTTP/1.1\r\nhost: g\r\ncontent-length: 50\r\n\r\n{{");
    slow.write_all(begun.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let n = timeout(PATIENCE, slow.read(&mut answer)).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer[..n]).into_owned();
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    gateway.metric_becomes("routerwise_in_flight", 0.0).await;
}

#[tokio::test]
async fn whatever_is_sent_gets_an_answer_or_an_end() {
    use proptest::strategy::{Strategy as _, ValueTree as _};
    use proptest::test_runner::TestRunner;
    let (_, gateway) = guarded(vec![]).await;
    let mut runner = TestRunner::deterministic();
    let junk = proptest::collection::vec(proptest::num::u8::ANY, 0..120);
    let field = proptest::string::string_regex("[ -~]{0,40}").unwrap();
    for nth in 0..60 {
        let bytes = junk.new_tree(&mut runner).unwrap().current();
        let text = field.new_tree(&mut runner).unwrap().current();
        let request = match nth % 3 {
            0 => bytes,
            1 => format!("POST {CHAT} HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-routerwise-{text}\r\ncontent-length: 2\r\n\r\n{{}}").into_bytes(),
            _ => {
                let mut request =
                    format!("POST {CHAT}?{} HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.replace(' ', "+"), bytes.len()).into_bytes();
                request.extend_from_slice(&bytes);
                request
            }
        };
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        let _ = client.write_all(&request).await;
        let _ = client.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, client.read_to_end(&mut answer))
            .await
            .expect("an end");
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.starts_with("HTTP/1.1 5"), "{text}");
    }
    assert_eq!(post(gateway.address, CHAT, &chat("small", "x")).await.status, 200);
}
