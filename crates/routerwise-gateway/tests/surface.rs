//! What clients see: paths, bytes, receipts and errors.

#![allow(clippy::unwrap_used, reason = "the panic is the report")]

mod common;

use common::upstream::{Act, Upstream, error, ok, stream};
use common::{CHAT, Gateway, chat, get, inputs, post, post_with, streamed};

const BODY: &str = r#"{"id":"1","zzz":1.0e2,"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}"#;

async fn two() -> (Upstream, Upstream, common::Inputs) {
    let small = Upstream::start(vec![ok(BODY)]).await;
    let large = Upstream::start(vec![ok(BODY)]).await;
    let mut inputs = inputs(&[small.at], &[large.at]);
    inputs.scores = vec![("easy".to_owned(), vec![0.8, 0.9]), ("hard".to_owned(), vec![0.2, 0.9])];
    (small, large, inputs)
}

#[tokio::test]
async fn a_prompt_goes_where_score_minus_price_is_highest_and_gets_a_receipt() {
    let (small, large, inputs) = two().await;
    let gateway = Gateway::start(inputs).await;
    let answer = post(gateway.address, CHAT, &chat("auto", "easy")).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, BODY));
    assert_eq!(answer.header("x-routerwise-model"), Some("small"));
    assert_eq!(answer.header("x-routerwise-replica"), Some("0"));
    assert_eq!(answer.header("x-routerwise-score"), Some("0.8000"));
    assert_eq!(answer.header("x-routerwise-price"), Some("0.0000"));
    assert_eq!(answer.header("x-routerwise-margin"), Some("0.1000"));
    assert_eq!(answer.header("x-routerwise-reason"), Some("price"));
    assert!(answer.header("x-routerwise-plan").is_some() && answer.header("x-request-id").is_some());
    let hard = post(gateway.address, CHAT, &chat("auto", "hard")).await;
    assert_eq!(hard.header("x-routerwise-model"), Some("large"));
    assert_eq!((small.n_seen(), large.n_seen()), (1, 1));
    gateway.metric_becomes("routerwise_moved_by_price_total", 1.0).await;
}

#[tokio::test]
async fn everything_but_the_model_goes_through_byte_for_byte() {
    let (small, _, inputs) = two().await;
    let gateway = Gateway::start(inputs).await;
    let body = " {\"n\":2,\"x_unknown\":{\"a\":1.00},\"model\" :\t\"auto\",\"logprobs\":true,\"tools\":[{\"type\":\"function\"}],\
        \"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"easy\"},{\"type\":\"image_url\",\"image_url\":{\"url\":\"data:\\u0041\"}}]}]} ";
    let headers = [
        ("x-custom", "stays"),
        ("x-routerwise-session", "s"),
        ("x-request-id", "mine"),
    ];
    let answer = post_with(gateway.address, "/v1/chat/completions?beta=1", &headers, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-request-id"), Some("mine"));
    let seen = small.seen.lock().unwrap().first().cloned();
    let seen = seen.unwrap_or_else(|| panic!("{answer:?}"));
    assert_eq!(seen.body, body.replace("\"auto\"", "\"small\"").as_bytes());
    assert!(
        seen.head.starts_with("POST /v1/chat/completions?beta=1 HTTP/1.1"),
        "{}",
        seen.head
    );
    assert!(
        seen.head.contains("x-custom: stays") && seen.head.contains("x-request-id: mine"),
        "{}",
        seen.head
    );
    assert!(!seen.head.contains("x-routerwise"), "{}", seen.head);
}

#[tokio::test]
async fn a_stream_goes_through_byte_for_byte() {
    let small = Upstream::start(vec![Act::Say(stream(&["a", "b", "c"]))]).await;
    let gateway = Gateway::start(inputs(&[small.at], &[])).await;
    let answer = post(gateway.address, CHAT, &streamed("small", "x")).await;
    let sent = common::parse(&String::from_utf8(stream(&["a", "b", "c"])).unwrap());
    assert_eq!(answer.body, sent.body);
    assert_eq!(answer.header("content-type"), Some("text/event-stream; charset=utf-8"));
    gateway
        .metric_becomes("gen_ai_server_time_to_first_token_seconds_count", 1.0)
        .await;
    gateway.metric_becomes("routerwise_request_failures_total", 0.0).await;
}

#[tokio::test]
async fn every_endpoint_is_passed_on_to_where_the_engine_has_it() {
    let small = Upstream::start(vec![ok(BODY)]).await;
    let gateway = Gateway::start(inputs(&[small.at], &[])).await;
    for path in ["/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"] {
        let answer = post(gateway.address, path, r#"{"model":"small","input":"x","prompt":"x"}"#).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, BODY), "{path}");
        assert!(small.last().head.starts_with(&format!("POST {path} ")), "{path}");
    }
    small.then(vec![error("404 Not Found")]);
    assert_eq!(
        post(gateway.address, "/v1/responses", r#"{"model":"small"}"#)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_route_s_embeddings_come_from_the_model_that_was_set_for_them_or_from_its_only_one() {
    let (small, large, inputs) = two().await;
    let gateway = Gateway::start(inputs.clone()).await;
    const ASK: &str = r#"{"model":"auto","input":"x"}"#;
    let routed = post(gateway.address, "/v1/embeddings", ASK).await;
    assert_eq!((routed.status, routed.code().as_str()), (400, "bad_request"));
    let message = routed.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("`small`, `large`") && message.contains("embeddings = "),
        "{message}"
    );
    gateway.change(|inputs| inputs.settings.routes[0].embeddings = Some("large".to_owned()));
    assert_eq!(post(gateway.admin, "/admin/reload", "").await.status, 200);
    let routed = post(gateway.address, "/v1/embeddings", ASK).await;
    assert_eq!(
        (routed.status, routed.header("x-routerwise-model")),
        (200, Some("large"))
    );
    assert!(String::from_utf8_lossy(&large.last().body).contains(r#""model":"large""#));
    gateway.change(|inputs| {
        inputs.settings.routes[0].embeddings = None;
        inputs.settings.routes[0].models = vec!["small".to_owned()];
    });
    assert_eq!(post(gateway.admin, "/admin/reload", "").await.status, 200);
    assert_eq!(post(gateway.address, "/v1/embeddings", ASK).await.status, 200);
    assert_eq!((small.n_seen(), large.n_seen()), (1, 1));
    gateway.change(|inputs| inputs.settings.routes[0].embeddings = Some("nobody".to_owned()));
    let refused = post(gateway.admin, "/admin/reload", "").await;
    assert!(
        refused.status == 400 && refused.body.contains("`nobody`"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn models_and_routes_are_listed() {
    let (_, _, inputs) = two().await;
    let gateway = Gateway::start(inputs).await;
    let list = get(gateway.address, "/v1/models").await.json();
    let ids: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["auto", "small", "large"]);
    assert_eq!(get(gateway.address, "/v1/models/large").await.json()["id"], "large");
    assert_eq!(get(gateway.address, "/v1/models/none").await.status, 404);
}

#[tokio::test]
async fn the_decision_alone_is_explained_and_nothing_is_sent() {
    let (small, large, inputs) = two().await;
    let gateway = Gateway::start(inputs).await;
    let answer = post(gateway.address, "/v1/route", &chat("auto", "hard")).await.json();
    assert_eq!(answer["model"], "large");
    assert_eq!(answer["models"][0]["verdict"], "worth 0.5000 less");
    assert_eq!(answer["models"][1]["verdict"], "chosen");
    assert!(
        answer["would_change"][0]
            .as_str()
            .unwrap()
            .contains("price of the chosen model")
    );
    assert_eq!(small.n_seen() + large.n_seen(), 0);
}

#[tokio::test]
async fn decisions_are_those_of_the_router_that_the_simulator_asks() {
    use routerwise_route::RouterCore;
    use routerwise_route::event::Event;
    use routerwise_route::facts::RequestFacts;
    use routerwise_types::Timestamp;
    let engine = Upstream::start(vec![ok(BODY)]).await;
    let mut inputs = inputs(&[engine.at; 3], &[engine.at; 2]);
    // Half of the prompts tie, so that hashes decide too.
    let score = |nth: u32| {
        vec![
            0.5,
            if nth.is_multiple_of(2) {
                0.7
            } else {
                0.4 + 0.01 * f32::from(u8::try_from(nth).unwrap())
            },
        ]
    };
    inputs.scores = (0..60).map(|nth| (format!("prompt {nth}"), score(nth))).collect();
    let settings = routerwise_route::settings::Settings::default().with_static_prices();
    let mut core = RouterCore::new(&inputs.plan, None, settings).unwrap();
    let gateway = Gateway::start(inputs.clone()).await;
    let mut n_large = 0;
    for (number, (prompt, scores)) in (0u64..).zip(&inputs.scores) {
        let now = Timestamp(number);
        let facts = RequestFacts::new(scores, number, routerwise_types::hash::prompt_hash(prompt), now);
        let decision = core.route(now, &facts);
        let ticket = decision.sent().unwrap().ticket;
        let output_tokens = 4;
        core.observe(
            now,
            Event::Finished {
                ticket,
                ttft: None,
                output_tokens,
            },
        );
        let answer = post(gateway.address, CHAT, &chat("auto", prompt)).await;
        let decided = (
            answer.header("x-routerwise-model").unwrap(),
            answer.header("x-routerwise-replica").unwrap(),
        );
        let expected = (["small", "large"][ticket.model], ticket.replica.to_string());
        assert_eq!(decided, (expected.0, expected.1.as_str()), "{prompt}");
        n_large += usize::from(ticket.model == 1);
    }
    assert!((20..55).contains(&n_large), "{n_large} of 60");
}

#[tokio::test]
async fn what_a_request_asks_for_by_header_is_respected() {
    let (_, _, inputs) = two().await;
    let gateway = Gateway::start(inputs).await;
    let model = async |headers: &[(&str, &str)]| {
        let answer = post_with(gateway.address, CHAT, headers, &chat("auto", "easy")).await;
        answer.header("x-routerwise-model").map(str::to_owned)
    };
    assert_eq!(
        model(&[("x-routerwise-models", "large")]).await.as_deref(),
        Some("large")
    );
    assert_eq!(
        model(&[("x-routerwise-min-quality", "0.85")]).await.as_deref(),
        Some("large")
    );
    let wrong = post_with(
        gateway.address,
        CHAT,
        &[("x-routerwise-models", "none")],
        &chat("auto", "x"),
    )
    .await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "bad_request"));
    let unknown = post_with(
        gateway.address,
        CHAT,
        &[("x-routerwise-upstream", "http://evil")],
        &chat("auto", "x"),
    )
    .await;
    assert_eq!(unknown.status, 400);
}

#[tokio::test]
async fn prompts_that_nobody_knows_are_spread_by_planned_fractions_and_marked() {
    let (small, large, inputs) = two().await;
    let gateway = Gateway::start(inputs).await;
    for nth in 0..40 {
        let answer = post(gateway.address, CHAT, &chat("auto", &format!("prompt {nth}"))).await;
        assert_eq!(answer.header("x-routerwise-reason"), Some("planned-fractions"));
        assert_eq!(answer.header("x-routerwise-score"), None);
    }
    assert!((10..=30).contains(&small.n_seen()), "{} of 40", small.n_seen());
    assert_eq!(small.n_seen() + large.n_seen(), 40);
    // A model that fails is left for another one, as long as the request allows that.
    small.then(vec![error("500 Internal Server Error")]);
    let headers = [("x-routerwise-models", "small")];
    let alone = post_with(gateway.address, CHAT, &headers, &chat("auto", "x")).await;
    assert_eq!(alone.status, 500);
    for nth in 0..10 {
        assert_eq!(
            post(gateway.address, CHAT, &chat("auto", &format!("p{nth}")))
                .await
                .status,
            200
        );
    }
}

#[tokio::test]
async fn errors_have_the_right_status_and_shape() {
    let (_, _, inputs) = two().await;
    let gateway = Gateway::start(inputs).await;
    let cases = [
        (
            post(gateway.address, CHAT, &chat("nobody", "x")).await,
            404,
            "model_not_found",
        ),
        (post(gateway.address, CHAT, "{").await, 400, "bad_request"),
        (post(gateway.address, "/v1/other", "{}").await, 404, "no_such_path"),
        (get(gateway.address, CHAT).await, 405, "no_such_path"),
    ];
    for (answer, status, code) in cases {
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert!(answer.header("x-request-id").is_some());
        assert!(answer.json()["error"]["message"].is_string() && answer.json()["error"]["type"].is_string());
    }
    gateway.metric_becomes("routerwise_request_failures_total", 4.0).await;
}

#[tokio::test]
async fn packed_bodies_are_unpacked_for_the_engine() {
    use std::io::Write as _;
    let (small, _, inputs) = two().await;
    let gateway = Gateway::start(inputs).await;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(chat("auto", "easy").as_bytes()).unwrap();
    let packed = packer.finish().unwrap();
    let mut request = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        packed.len()
    )
    .into_bytes();
    request.extend_from_slice(&packed);
    let answer = common::parse(&common::raw(gateway.address, &request).await);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(small.last().body, chat("small", "easy").as_bytes());
    assert!(!small.last().head.contains("content-encoding"));
}
