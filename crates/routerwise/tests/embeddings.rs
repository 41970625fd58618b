//! Predictors on embeddings of an endpoint, and scorers of the user's own, against servers in this process.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use common::routerwise;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Embeds by what a text is about, and scores by its own rule; the thread ends with the test.
fn serve() -> String {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let router = Router::new()
                .route("/v1/embeddings", post(embeddings))
                .route("/score", post(score))
                .route("/broken", post(async || Json(json!({"scores": {}}))));
            axum::serve(listener, router).await.unwrap();
        });
    });
    format!("http://{}", receiver.recv().unwrap())
}

async fn embeddings(Json(body): Json<Value>) -> Json<Value> {
    let texts = body["input"].as_array().unwrap().iter();
    if texts.clone().any(|text| text.as_str().unwrap().starts_with("asleep")) {
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    // What a text is about cannot be seen from words that training has seen: only its length in words says it.
    let point = |text: &Value| match text.as_str().unwrap().split(' ').count() % 2 {
        0 => json!([1.0, 0.1, 0.0]),
        _ => json!([0.0, 0.1, 1.0]),
    };
    let items = texts
        .enumerate()
        .map(|(ix, text)| json!({"index": ix, "embedding": point(text)}));
    Json(json!({"data": items.collect::<Vec<_>>()}))
}

async fn score(Json(body): Json<Value>) -> Json<Value> {
    assert_eq!(body["models"], json!(["odd", "even"]));
    Json(json!({"scores": {"odd": 0.125, "even": 0.875}}))
}

/// One model is right on texts of an even number of words, the other on the rest.
fn scores() -> TempDir {
    let folder = TempDir::new().unwrap();
    let mut table = String::from("prompt_id,prompt,source,score:odd,score:even\n");
    for ix in 0..160 {
        let words = (0..2 + ix * 7 % 11).map(|word| format!("w{}x{ix}", word * 31 + ix));
        let text = words.collect::<Vec<_>>().join(" ");
        let odd = text.split(' ').count() % 2;
        writeln!(table, "{ix},{text},s{},{odd},{}", ix % 4, 1 - odd).unwrap();
    }
    fs::write(folder.path().join("scores.csv"), table).unwrap();
    folder
}

fn train(folder: &Path, url: &str, head: &str) {
    let place = format!("{url}/v1");
    let arguments = [
        "train",
        "scores.csv",
        "--embeddings",
        &place,
        "--head",
        head,
        "-o",
        "p.rwp",
    ];
    let cached = [&arguments[..], &["--embeddings-cache", "vectors.rwv"]].concat();
    let (code, out, err) = routerwise(folder, &cached);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains(&format!("embeddings + {head}")), "{out}");
}

/// The scores that are printed as JSON, of `odd` and `even`.
fn printed(out: &str) -> [f64; 2] {
    let answer: Value = serde_json::from_str(out).unwrap();
    [0, 1].map(|ix| answer["scores"][ix]["score"].as_f64().unwrap())
}

#[test]
fn heads_on_an_endpoints_embeddings_are_trained_served_and_stood_in_for() {
    let folder = scores();
    let url = serve();
    let place = format!("{url}/v1");
    for head in ["knn", "ridge", "mlp"] {
        train(folder.path(), &url, head);
        let prompt = [
            "score",
            "p.rwp",
            "--prompt",
            "five words that are new",
            "--format",
            "json",
        ];
        let with = [&prompt[..], &["--embeddings", &place]].concat();
        let (code, out, err) = routerwise(folder.path(), &with);
        assert_eq!(code, 0, "{err}");
        let [odd, even] = printed(&out);
        assert!(odd > 0.7 && even < 0.3, "{head}: {odd} {even}");
        // Without embeddings the default predictor answers, which knows nothing of numbers of words.
        let (code, out, _) = routerwise(folder.path(), &prompt);
        assert_eq!(code, 0);
        assert!((printed(&out)[0] - 0.5).abs() < 0.25, "{out}");
    }
    let (_, out, _) = routerwise(folder.path(), &["score", "p.rwp", "--prompt", "a b"]);
    assert!(out.contains("`--embeddings` is not given"), "{out}");
    let other = [
        "score",
        "p.rwp",
        "--prompt",
        "a b",
        "--embeddings",
        &place,
        "--embeddings-model",
        "other",
    ];
    let (code, _, err) = routerwise(folder.path(), &other);
    assert_eq!(code, 2);
    assert!(
        err.contains("not the embeddings that the predictor learned from"),
        "{err}"
    );
    let file = [
        "score",
        "p.rwp",
        "--prompts",
        "scores.csv",
        "--out",
        "out.csv",
        "--embeddings",
        &place,
    ];
    assert_eq!(routerwise(folder.path(), &file).0, 0);
    assert_eq!(
        fs::read_to_string(folder.path().join("out.csv"))
            .unwrap()
            .lines()
            .count(),
        161
    );
}

#[test]
fn prompts_whose_embedding_is_late_have_the_scores_of_what_stands_in() {
    let folder = scores();
    let url = serve();
    train(folder.path(), &url, "ridge");
    let mut lines = String::new();
    for ix in 0..120 {
        // The endpoint takes its time for texts that begin with this word.
        let word = if ix < 16 { "asleep" } else { "awake" };
        writeln!(lines, "{word} is number {ix}").unwrap();
    }
    fs::write(folder.path().join("p.txt"), lines).unwrap();
    let place = format!("{url}/v1");
    let arguments = [
        "score",
        "p.rwp",
        "--prompts",
        "p.txt",
        "--out",
        "o.csv",
        "--embeddings",
        &place,
    ];
    let in_time = [&arguments[..], &["--deadline", "40"]].concat();
    let (code, out, err) = routerwise(folder.path(), &in_time);
    assert_eq!(code, 0, "{err}");
    assert!(
        out.contains(
            "have the scores of the default predictor, for want of an embedding: the scorer did not answer in time"
        ),
        "{out}"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("o.csv")).unwrap().lines().count(),
        121
    );
}

#[test]
fn evaluate_judges_heads_beside_the_others() {
    let folder = scores();
    let place = format!("{}/v1", serve());
    let arguments = [
        "evaluate",
        "scores.csv",
        "--embeddings",
        &place,
        "--by",
        "prompt",
        "--format",
        "json",
    ];
    let (_, out, err) = routerwise(folder.path(), &arguments);
    let evaluation: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{err}"));
    let names: Vec<&str> = evaluation["tests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|test| test["predictor"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "default",
            "static",
            "embeddings + knn",
            "embeddings + ridge",
            "embeddings + mlp"
        ]
    );
}

#[test]
fn a_scorer_of_the_users_own_answers_or_is_stood_in_for() {
    let folder = scores();
    let url = serve();
    let trained = routerwise(folder.path(), &["train", "scores.csv", "-o", "p.rwp"]);
    assert_eq!(trained.0, 0, "{}", trained.2);
    let by = |path: &str, format: &str| {
        let scorer = format!("{url}{path}");
        let arguments = [
            "score", "p.rwp", "--prompt", "a b", "--scorer", &scorer, "--format", format,
        ];
        let (code, out, err) = routerwise(folder.path(), &arguments);
        assert_eq!(code, 0, "{err}");
        out
    };
    let [odd, even] = printed(&by("/score", "json"));
    assert!(
        (odd - 0.125).abs() < 1e-6 && (even - 0.875).abs() < 1e-6,
        "{odd} {even}"
    );
    let out = by("/broken", "table");
    assert!(out.contains("no score of `odd`") && out.contains("stands in"), "{out}");
}

#[test]
fn embeddings_that_cannot_be_had_are_refused_at_once() {
    let folder = scores();
    let dead = [
        "train",
        "scores.csv",
        "--embeddings",
        "http://127.0.0.1:1/v1",
        "--head",
        "knn",
    ];
    let (code, _, err) = routerwise(folder.path(), &dead);
    assert_eq!(code, 3);
    assert!(err.contains("the embeddings endpoint failed"), "{err}");
    assert!(!folder.path().join("predictor.rwp").exists());
    let (code, _, err) = routerwise(
        folder.path(),
        &["train", "scores.csv", "--embeddings", "no-such-folder", "--head", "knn"],
    );
    assert_eq!(code, 2, "{err}");
}
