//! What a client of the OpenAI API relies on.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

mod support;

use std::collections::BTreeSet;

use routerwise_emulate::{Options, OutputTokens, tokens};
use serde_json::{Value, json};
use support::{Client, fast, start};

fn error(answer: &support::Answer, status: u16) -> Value {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.text);
    let error = answer.json()["error"].clone();
    let keys: BTreeSet<&str> = error.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, BTreeSet::from(["message", "type", "param", "code"]));
    assert_eq!(error["code"], status);
    error
}

fn text_of(answer: &support::Answer) -> String {
    let text = answer.json()["choices"][0]["message"]["content"].clone();
    text.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_chat_has_an_answer_of_the_tokens_that_usage_says() {
    let (engine, client) = start(fast()).await;
    let answer = client.chat(json!({"max_tokens": 7, "ignore_eos": true})).await;
    let body = answer.json();
    assert_eq!(body["object"], "chat.completion");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
    assert_eq!(body["choices"][0]["message"]["role"], "assistant");
    assert_eq!(tokens::count(&text_of(&answer)), 7);
    let usage = &body["usage"];
    assert_eq!(
        (
            &usage["prompt_tokens"],
            &usage["completion_tokens"],
            &usage["total_tokens"]
        ),
        (&json!(6), &json!(7), &json!(13))
    );
    engine.stop().await;
}

#[tokio::test]
async fn a_stream_has_a_chunk_per_token_a_last_chunk_of_usage_and_done() {
    let (engine, client) = start(fast()).await;
    let more = json!({"max_completion_tokens": 5, "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true}});
    let answer = client.chat(more).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
    let chunks = answer.chunks();
    assert_eq!(chunks.len(), 1 + 5 + 1);
    assert_eq!(
        chunks[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    let text: String = chunks[1..6]
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap())
        .collect();
    let reasons: Vec<&Value> = chunks[..6]
        .iter()
        .map(|chunk| &chunk["choices"][0]["finish_reason"])
        .collect();
    assert_eq!(reasons[5], "length");
    assert!(reasons[..5].iter().all(|reason| reason.is_null()));
    assert_eq!(chunks[6]["choices"], json!([]));
    assert_eq!(chunks[6]["usage"]["completion_tokens"], 5);
    assert!(
        chunks
            .iter()
            .all(|chunk| chunk["object"] == "chat.completion.chunk" && chunk["id"] == chunks[0]["id"])
    );
    // The same request not streamed has the same answer.
    assert_eq!(
        text,
        text_of(&client.chat(json!({"max_tokens": 5, "ignore_eos": true})).await)
    );
    // Without being asked for there is no usage; with continuous usage every chunk has it.
    let bare = client
        .chat(json!({"max_tokens": 5, "stream": true, "ignore_eos": true}))
        .await
        .chunks();
    assert_eq!(bare.len(), 6);
    let more = json!({"max_tokens": 5, "ignore_eos": true, "stream": true, "stream_options": {"include_usage": true, "continuous_usage_stats": true}});
    let chunks = client.chat(more).await.chunks();
    let made: Vec<u64> = chunks
        .iter()
        .map(|chunk| chunk["usage"]["completion_tokens"].as_u64().unwrap())
        .collect();
    assert_eq!(made, [0, 1, 2, 3, 4, 5, 5]);
    engine.stop().await;
}

#[tokio::test]
async fn completions_take_texts_and_token_ids_and_give_n_answers_each() {
    let (engine, client) = start(fast()).await;
    let ask = |body: Value| {
        let client = client.clone();
        async move { client.post("/v1/completions", &body).await }
    };
    let answer =
        ask(json!({"model": "small", "prompt": ["a bb ccc", "d"], "n": 2, "max_tokens": 3, "ignore_eos": true})).await;
    let body = answer.json();
    assert_eq!(body["object"], "text_completion");
    let choices = body["choices"].as_array().unwrap();
    let indices: Vec<u64> = choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1, 2, 3]);
    let texts: BTreeSet<&str> = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(texts.len(), 4);
    assert_eq!(
        (&body["usage"]["prompt_tokens"], &body["usage"]["completion_tokens"]),
        (&json!(4), &json!(12))
    );
    for prompt in [json!([5, 6, 7]), json!([[5, 6, 7]])] {
        let body = ask(json!({"prompt": prompt})).await.json();
        assert_eq!(body["usage"]["prompt_tokens"], 3);
        assert!(body["usage"]["completion_tokens"].as_u64().unwrap() <= 16);
    }
    let stream = ask(json!({"prompt": "a", "n": 3, "max_tokens": 4, "ignore_eos": true, "stream": true})).await;
    for index in 0..3 {
        let chunks = stream.chunks();
        let mine = chunks.iter().filter(|chunk| chunk["choices"][0]["index"] == index);
        assert_eq!(mine.count(), 4);
    }
    engine.stop().await;
}

#[tokio::test]
async fn an_answer_stops_before_the_first_stop_word() {
    let (engine, client) = start(fast()).await;
    let whole = text_of(&client.chat(json!({"max_tokens": 40, "ignore_eos": true})).await);
    let words: Vec<&str> = whole.split(' ').collect();
    let at = words.iter().position(|word| !words[..5].contains(word)).unwrap();
    let stop = words[at];
    let more = json!({"max_tokens": 40, "ignore_eos": true, "stop": ["no such word", stop]});
    let stopped = client.chat(more.clone()).await;
    assert_eq!(text_of(&stopped).trim_end(), words[..at].join(" "));
    let choice = &stopped.json()["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], &choice["stop_reason"]),
        (&json!("stop"), &json!(stop))
    );
    assert_eq!(stopped.json()["usage"]["completion_tokens"], at + 1);
    // Streamed it is the same text.
    let mut more = more;
    more["stream"] = json!(true);
    let chunks = client.chat(more).await.chunks();
    let text: String = chunks
        .iter()
        .map(|chunk| chunk["choices"][0]["delta"]["content"].as_str().unwrap())
        .collect();
    assert_eq!(text, text_of(&stopped));
    engine.stop().await;
}

#[tokio::test]
async fn lengths_are_drawn_by_request_and_held_between_min_and_max_tokens() {
    let options = Options {
        output_tokens: OutputTokens::Mean(50.0),
        speed: 200.0,
        ..Options::default()
    };
    let (engine, client) = start(options).await;
    let length = |more: Value| {
        let client = client.clone();
        async move {
            let body = client.chat(more).await.json();
            let reason = body["choices"][0]["finish_reason"].as_str().unwrap().to_owned();
            (body["usage"]["completion_tokens"].as_u64().unwrap(), reason)
        }
    };
    let mut drawn = BTreeSet::new();
    for seed in 0..12 {
        let (tokens, reason) = length(json!({"seed": seed})).await;
        assert_eq!(reason, "stop");
        drawn.insert(tokens);
    }
    assert!(drawn.len() > 6, "{drawn:?}");
    assert_eq!(length(json!({"seed": 3})).await, length(json!({"seed": 3})).await);
    assert_eq!(length(json!({"max_tokens": 1})).await.0, 1);
    assert_eq!(length(json!({"min_tokens": 400, "max_tokens": 400})).await.0, 400);
    assert_eq!(
        length(json!({"ignore_eos": true, "max_tokens": 300})).await,
        (300, "length".into())
    );
    engine.stop().await;
}

#[tokio::test]
async fn prompts_count_by_words_by_parts_or_as_they_are_said_to() {
    let (engine, client) = start(fast()).await;
    let prompt_tokens = |answer: support::Answer| answer.json()["usage"]["prompt_tokens"].as_u64().unwrap();
    let parts =
        json!([{"type": "text", "text": "one two three"}, {"type": "image_url", "image_url": {"url": "data:"}}]);
    let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": parts, "name": "x"}]);
    let body = json!({"messages": messages, "max_tokens": 2, "tools": [], "user": "u", "made_up": {"a": 1}});
    let answer = client.post("/v1/chat/completions", &body).await;
    assert_eq!(prompt_tokens(answer), 5 + 256);
    let stated = client.with("x-prompt-tokens", "512");
    assert_eq!(prompt_tokens(stated.chat(json!({"max_tokens": 2})).await), 512);
    let ids: Vec<u32> = (0..77).collect();
    assert_eq!(
        prompt_tokens(client.chat(json!({"max_tokens": 2, "prompt_token_ids": ids})).await),
        77
    );
    let counted = client
        .post("/tokenize", &json!({"prompt": "a bb nineteenthly"}))
        .await
        .json();
    assert_eq!(
        (&counted["count"], &counted["max_model_len"]),
        (&json!(4), &json!(8192))
    );
    engine.stop().await;
}

#[tokio::test]
async fn what_cannot_be_answered_is_an_error_as_vllm_words_it() {
    let (engine, client) = start(fast()).await;
    let long = client.with("x-prompt-tokens", "8192").chat(json!({})).await;
    let message = error(&long, 400)["message"].to_string();
    assert!(message.contains("maximum context length is 8192 tokens"), "{message}");
    let message = error(&client.chat(json!({"max_tokens": 8190})).await, 400);
    assert!(
        message["message"].to_string().contains("(8190 > 8192 - 6)"),
        "{message}"
    );
    assert_eq!(message["type"], "BadRequestError");
    let unknown = error(&client.chat(json!({"model": "large"})).await, 404);
    assert_eq!(unknown["message"], "The model `large` does not exist.");
    assert_eq!(
        (&unknown["type"], &unknown["param"]),
        (&json!("NotFoundError"), &json!("model"))
    );
    for wrong in [
        json!({"max_tokens": 0}),
        json!({"max_tokens": "many"}),
        json!({"n": 0}),
        json!({"n": 5000}),
        json!({"temperature": -1}),
        json!({"top_p": 0}),
        json!({"stop": ""}),
        json!({"messages": []}),
        json!({"messages": [{"content": "no role"}]}),
        json!({"stream_options": {"include_usage": true}}),
        json!({"min_tokens": 10, "max_tokens": 5}),
    ] {
        error(&client.chat(wrong).await, 400);
    }
    error(&client.post_text("/v1/chat/completions", "{not json").await, 400);
    error(&client.post("/v1/completions", &json!({"model": "small"})).await, 400);
    error(&client.with("x-prompt-tokens", "many").chat(json!({})).await, 400);
    error(&client.get("/v1/chat/completions").await, 405);
    error(&client.get("/v2").await, 404);
    // The connection and the engine are none the worse for it.
    assert_eq!(client.chat(json!({"max_tokens": 1})).await.status, 200);
    engine.stop().await;
}

#[tokio::test]
async fn models_health_and_metrics_say_what_is_there() {
    let (engine, client) = start(fast()).await;
    let models = client.get("/v1/models").await.json();
    assert_eq!(
        (&models["object"], &models["data"][0]["id"]),
        (&json!("list"), &json!("small"))
    );
    assert_eq!(models["data"][0]["max_model_len"], 8192);
    assert_eq!(client.get("/health").await.status, 200);
    client.chat(json!({"max_tokens": 20, "ignore_eos": true})).await;
    let answer = client.get("/metrics").await;
    let value = |name: &str| support::metric(&answer.text, name, "model_name=\"small\"");
    let counted = [
        ("vllm:prompt_tokens_total", 6.0),
        ("vllm:generation_tokens_total", 20.0),
        ("vllm:num_requests_running", 0.0),
        ("vllm:kv_cache_usage_perc", 0.0),
        ("vllm:time_to_first_token_seconds_count", 1.0),
        ("vllm:inter_token_latency_seconds_count", 19.0),
        ("vllm:request_time_per_output_token_seconds_count", 1.0),
        ("vllm:e2e_request_latency_seconds_count", 1.0),
        ("vllm:request_queue_time_seconds_count", 1.0),
        ("vllm:iteration_tokens_total_sum", 26.0),
    ];
    for (name, wanted) in counted {
        assert!((value(name) - wanted).abs() < 1e-9, "{name} is {}", value(name));
    }
    let finished = support::metric(&answer.text, "vllm:request_success_total", "finished_reason=\"length\"");
    assert!((finished - 1.0).abs() < 1e-9);
    let lag = support::metric(&answer.text, "routerwise_emulate_lag_seconds_count", "stage=\"engine\"");
    assert!(lag >= 20.0);
    // One description per metric, as the format wants it.
    let mut described: Vec<&str> = answer.text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let n = described.len();
    described.sort_unstable();
    described.dedup();
    assert_eq!(described.len(), n);
    engine.stop().await;
}

#[tokio::test]
async fn embeddings_are_as_many_as_texts() {
    let (engine, client) = start(fast()).await;
    let answer = client
        .post("/v1/embeddings", &json!({"model": "small", "input": ["a b", "c"]}))
        .await;
    let body = answer.json();
    let lengths: Vec<usize> = body["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["embedding"].as_array().unwrap().len())
        .collect();
    assert_eq!((lengths, &body["usage"]["prompt_tokens"]), (vec![64, 64], &json!(3)));
    error(
        &client
            .post("/v1/embeddings", &json!({"model": "other", "input": "a"}))
            .await,
        404,
    );
    engine.stop().await;
}

#[tokio::test]
async fn with_a_key_only_those_who_have_it_are_answered() {
    let options = Options {
        api_key: Some("secret".into()),
        ..fast()
    };
    let (engine, client) = start(options).await;
    error(&client.chat(json!({"max_tokens": 1})).await, 401);
    error(
        &client.with("authorization", "Bearer wrong").get("/v1/models").await,
        401,
    );
    error(&client.get("/emulate/faults").await, 401);
    let known = client.with("authorization", "Bearer secret");
    assert_eq!(known.chat(json!({"max_tokens": 1})).await.status, 200);
    assert_eq!(client.get("/health").await.status, 200);
    engine.stop().await;
}

#[tokio::test]
async fn a_request_id_comes_back() {
    let (engine, client) = start(fast()).await;
    let answer = client.with("x-request-id", "abc").chat(json!({"max_tokens": 1})).await;
    assert_eq!(answer.headers["x-request-id"], "abc");
    let ids =
        [client.get("/health").await, client.get("/v2").await].map(|answer| answer.headers["x-request-id"].clone());
    assert_ne!(ids[0], ids[1]);
    engine.stop().await;
}

#[tokio::test]
async fn who_stops_the_engine_gets_the_answers_that_were_begun() {
    let (engine, client) = start(fast()).await;
    let stream = json!({"max_tokens": 60, "ignore_eos": true, "stream": true});
    let body = support::chat(stream).to_string();
    let begun = client.begin(http::Method::POST, "/v1/chat/completions", &body);
    let begun = begun.await.unwrap();
    let (answer, ()) = tokio::join!(support::read(begun), engine.stop());
    assert!(answer.complete);
    assert_eq!(answer.chunks().len(), 61);
    assert!(
        Client::new("http://127.0.0.1:1")
            .begin(http::Method::GET, "/health", "")
            .await
            .is_err()
    );
    assert!(client.begin(http::Method::GET, "/health", "").await.is_err());
}
