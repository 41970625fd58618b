//! A model in process: a tiny one with random weights, written here.

#![cfg(feature = "local")]
#![expect(clippy::unwrap_used, reason = "test helpers: the panic is the report")]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use routerwise_embed::{Embedder, Local};
use serde_json::json;

const HIDDEN: usize = 8;

fn write_model(folder: &Path) {
    let config = json!({
        "model_type": "bert", "vocab_size": 8, "hidden_size": HIDDEN, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "hidden_act": "gelu", "hidden_dropout_prob": 0.0, "max_position_embeddings": 32,
        "type_vocab_size": 2, "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0,
        "position_embedding_type": "absolute", "use_cache": true, "classifier_dropout": null
    });
    let words = ["[UNK]", "a", "b", "c", "d", "e", "f", "g"];
    let vocabulary: HashMap<&str, usize> = words.into_iter().zip(0..).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    });
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize]| {
        let n: usize = shape.iter().product();
        // Any numbers will do that are no pattern.
        let value = |i: usize| ((i * 7919 + name.len() * 104_729) % 1009) as f32 / 1009.0 - 0.5;
        let values: Vec<f32> = (0..n).map(value).collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    };
    for (name, rows) in [("word", 8), ("position", 32), ("token_type", 2)] {
        add(format!("embeddings.{name}_embeddings.weight"), &[rows, HIDDEN]);
    }
    let layer = "encoder.layer.0";
    let linears = [
        ("attention.self.query", HIDDEN, HIDDEN),
        ("attention.self.key", HIDDEN, HIDDEN),
        ("attention.self.value", HIDDEN, HIDDEN),
        ("attention.output.dense", HIDDEN, HIDDEN),
        ("intermediate.dense", 16, HIDDEN),
        ("output.dense", HIDDEN, 16),
    ];
    for (name, rows, columns) in linears {
        add(format!("{layer}.{name}.weight"), &[rows, columns]);
        add(format!("{layer}.{name}.bias"), &[rows]);
    }
    for norm in [
        "embeddings.LayerNorm".to_owned(),
        format!("{layer}.attention.output.LayerNorm"),
        format!("{layer}.output.LayerNorm"),
    ] {
        add(format!("{norm}.weight"), &[HIDDEN]);
        add(format!("{norm}.bias"), &[HIDDEN]);
    }
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
}

#[test]
fn a_folder_makes_vectors_that_do_not_depend_on_their_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    write_model(folder.path());
    let model = Local::open(folder.path(), 4).unwrap();
    assert_eq!(model.dimension(), HIDDEN);
    let texts = ["a b c", "", "d", "c b a", "a b c d e f g", "a b c d"];
    let together = model.embed(&texts).unwrap();
    for (text, vector) in texts.iter().zip(&together) {
        assert_eq!(&model.embed(&[text]).unwrap()[0], vector, "{text}");
        let length: f32 = vector.iter().map(|value| value * value).sum();
        assert!(text.is_empty() || (length - 1.0).abs() < 1e-4, "{text}: {length}");
    }
    assert_ne!(together[0], together[3], "order matters");
    assert_eq!(together[4], together[5], "only the first four tokens are read");
    assert_ne!(model.identity(), Local::open(folder.path(), 3).unwrap().identity());
}

#[test]
fn a_folder_without_a_model_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let error = || Local::open(folder.path(), 128).unwrap_err().to_string();
    assert!(error().contains("`config.json`"), "{}", error());
    write_model(folder.path());
    fs::write(folder.path().join("config.json"), r#"{"model_type": "gpt2"}"#).unwrap();
    assert!(error().contains("`gpt2`"), "{}", error());
}
