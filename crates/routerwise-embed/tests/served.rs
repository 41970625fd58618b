//! Embedders and scorers behind deadlines, against endpoints in this process.

#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use axum::routing::post;
use axum::{Json, Router};
use routerwise_embed::{Access, EmbedError, Embedder, HttpScorer, OrElse, Remote, Served, Service};
use routerwise_predict::{NotScored, Piece, Predictor, PromptFacts};
use routerwise_types::Fingerprint;
use serde_json::{Value, json};

/// Serves one path with what `reply` makes of a body; the thread ends with the test.
fn serve(path: &'static str, reply: impl Fn(Value) -> Value + Clone + Send + Sync + 'static) -> String {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            sender.send(listener.local_addr().unwrap()).unwrap();
            let handler = move |Json(body): Json<Value>| {
                let reply = reply.clone();
                async move {
                    let reply = tokio::task::spawn_blocking(move || reply(body)).await;
                    Json(reply.unwrap())
                }
            };
            axum::serve(listener, Router::new().route(path, post(handler)))
                .await
                .unwrap();
        });
    });
    format!("http://{}", receiver.recv().unwrap())
}

fn access() -> Access {
    Access {
        model: "mini".into(),
        key_env: None,
        deadline: Duration::from_secs(10),
        max_tokens: 128,
    }
}

#[test]
fn an_endpoint_gets_batches_and_its_order_does_not_matter() {
    let sizes: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen = Arc::clone(&sizes);
    let url = serve("/v1/embeddings", move |body| {
        let texts = body["input"].as_array().unwrap();
        assert_eq!(body["model"], "mini");
        seen.lock().unwrap().push(texts.len());
        let vector = |text: &Value| json!([text.as_str().unwrap().len(), 1]);
        let items = texts.iter().enumerate();
        let items = items.map(|(ix, text)| json!({"index": ix, "embedding": vector(text)}));
        json!({"data": items.rev().collect::<Vec<_>>()})
    });
    let remote = Remote::open(&format!("{url}/v1"), access()).unwrap();
    assert_eq!(remote.dimension(), 2);
    let texts: Vec<String> = (0..100).map(|n| "x".repeat(n % 7)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let vectors = remote.embed(&texts).unwrap();
    for (text, vector) in texts.iter().zip(&vectors) {
        let length = text.len().max(1) as f32;
        assert!((vector[0] / vector[1] - length).abs() < 1e-4, "{text} {vector:?}");
        assert!((vector[0].hypot(vector[1]) - 1.0).abs() < 1e-5);
    }
    assert_eq!(*sizes.lock().unwrap(), [1, 64, 36]);
}

#[test]
fn an_endpoint_that_is_none_is_refused_when_it_is_opened() {
    let refused = |url: &str| Remote::open(url, access()).unwrap_err().to_string();
    assert!(refused("http://127.0.0.1:1/v1").contains("the embeddings endpoint failed"));
    let url = serve("/v1/embeddings", |_| json!({"data": []}));
    assert!(refused(&format!("{url}/v1")).contains("no vector for every text"));
}

/// Answers only when told to.
struct Slow {
    go: Mutex<mpsc::Receiver<()>>,
    asked: Arc<AtomicUsize>,
    identity: Fingerprint,
}

impl Embedder for Slow {
    fn identity(&self) -> &Fingerprint {
        &self.identity
    }
    fn dimension(&self) -> usize {
        1
    }
    fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.asked.fetch_add(texts.len(), Ordering::SeqCst);
        self.go
            .lock()
            .unwrap()
            .recv()
            .map_err(|error| EmbedError::Model(error.to_string()))?;
        Ok(vec![vec![1.0]; texts.len()])
    }
}

#[test]
fn a_late_vector_is_not_waited_for_but_remembered() {
    let (go, gate) = mpsc::channel();
    let asked = Arc::<AtomicUsize>::default();
    let slow = Slow {
        go: Mutex::new(gate),
        asked: Arc::clone(&asked),
        identity: Fingerprint::of(&"slow"),
    };
    let service = Service {
        deadline: Duration::from_millis(50),
        cached: 1,
        ..Service::default()
    };
    let served = Served::new(Box::new(slow), service);
    assert_eq!(served.vector("a"), Err(NotScored::Late));
    go.send(()).unwrap();
    while served.vector("a").is_err() {
        // The first answer is on its way into the cache; another question may have joined the queue meanwhile.
        let _ = go.send(());
    }
    let before = asked.load(Ordering::SeqCst);
    assert_eq!(served.vector("a"), Ok(vec![1.0]));
    assert_eq!(asked.load(Ordering::SeqCst), before, "from the cache");
    go.send(()).unwrap();
    let _ = served.vector("b");
    let _ = served.vector("a");
    assert!(
        asked.load(Ordering::SeqCst) > before + 1,
        "a cache of one has forgotten the first"
    );
}

struct Constant(Vec<String>);

impl Predictor for Constant {
    fn models(&self) -> &[String] {
        &self.0
    }
    fn predict(&self, _: &PromptFacts<'_>, scores: &mut [f32]) -> Result<(), NotScored> {
        scores.fill(0.5);
        Ok(())
    }
}

#[test]
fn a_scorer_that_fails_is_stood_in_for() {
    let url = serve("/score", |body| match body["prompt"].as_str().unwrap() {
        "good" => json!({"scores": {"large": 1.7, "small": 0.25}}),
        "late" => {
            thread::sleep(Duration::from_secs(2));
            json!({"scores": {"large": 1, "small": 1}})
        }
        _ => json!({"scores": {"large": 0.5}}),
    });
    let models = ["small", "large"].map(str::to_owned).to_vec();
    let scorer = HttpScorer::new(&format!("{url}/score"), &models, None, Duration::from_millis(700)).unwrap();
    let score = |predictor: &dyn Predictor, text: &str| {
        let mut scores = [0.0; 2];
        let pieces = [Piece::user(text)];
        predictor
            .predict(&PromptFacts::new(&pieces), &mut scores)
            .map(|()| scores)
    };
    assert!(scorer.waits());
    assert_eq!(score(&scorer, "good"), Ok([0.25, 1.0]));
    assert_eq!(score(&scorer, "late"), Err(NotScored::Late));
    let missing = score(&scorer, "odd").unwrap_err();
    assert_eq!(missing, NotScored::Failed("the reply has no score of `small`".into()));
    let both = OrElse::new(scorer, Constant(models)).unwrap();
    assert_eq!(score(&both, "odd"), Ok([0.5, 0.5]));
    assert_eq!(score(&both, "good"), Ok([0.25, 1.0]));
    assert_eq!(both.n_fallen_back(), 1);
    assert!(OrElse::new(Constant(vec!["a".into()]), Constant(vec!["b".into()])).is_err());
}
