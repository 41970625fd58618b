//! One model on one GPU type, both from the catalogue, without the files of a scenario.

use std::fmt::Write;
use std::path::Path;

use routerwise_types::catalogue::Model;
use routerwise_types::cluster::{GpuType, Interconnect};

use crate::catalogue::Catalogue;
use crate::problem::Problems;
use crate::text::Document;
use crate::{cluster, models};

/// What was chosen; everything else is as where a scenario says nothing. Numbers are written as in `models.toml`.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Architecture of the catalogue.
    pub model: String,
    /// GPU type of the catalogue.
    pub gpu: String,
    /// Shards.
    pub tensor_parallel: u32,
    /// KV cache, such as `20 GB` or `32768 tokens`.
    pub kv_cache: Option<String>,
    /// Such as `fp8`.
    pub dtype: Option<String>,
    /// Engine build, such as `vllm-0.11`.
    pub engine: Option<String>,
    /// Flags of the engine, by their names in `models.toml`.
    pub flags: Vec<(&'static str, u32)>,
}

/// One model on one GPU type.
#[derive(Clone, Debug, PartialEq)]
pub struct Single {
    /// The model, whose KV reserve is the cache that was chosen.
    pub model: Model,
    /// The GPUs.
    pub gpu: GpuType,
    /// The links between them.
    pub interconnect: Interconnect,
}

/// Looks a model and a GPU type up, and checks them as a scenario of the two would be.
///
/// # Errors
/// Every problem with what was chosen, shown in the files that stand for it.
pub fn choose(choice: &Choice) -> Result<Single, Problems> {
    let catalogue = Catalogue::shipped();
    let mut problems = Vec::new();
    let document = Document::new(Path::new("the GPUs that were chosen"), cluster_text(choice));
    let cluster = cluster::read(&document, &catalogue);
    problems.extend(document.finish().0);
    let document = Document::new(Path::new("the model that was chosen"), model_text(choice));
    let models = models::read(&document, &catalogue, cluster.as_ref());
    problems.extend(document.finish().0);
    problems.retain(|problem| !problem.is_warning());
    match (cluster, models.and_then(|mut models| models.models.pop())) {
        (Some(cluster), Some(model)) if problems.is_empty() => Ok(Single {
            model,
            gpu: cluster.gpu_types[0].clone(),
            interconnect: cluster.nodes[0].interconnect,
        }),
        _ => Err(Problems(problems)),
    }
}

fn cluster_text(choice: &Choice) -> String {
    let (gpu, n_gpus) = (quoted(&choice.gpu), choice.tensor_parallel.max(1));
    format!("[[node]]\nname = \"node\"\ngpu = {gpu}\ngpus = {n_gpus}\n")
}

fn model_text(choice: &Choice) -> String {
    let name = quoted(&choice.model);
    let mut text = format!(
        "[[model]]\nname = {name}\narchitecture = {name}\ntensor-parallel = [{}]\n",
        choice.tensor_parallel
    );
    let optional = [("kv-reserve", &choice.kv_cache), ("dtype", &choice.dtype)];
    for (key, value) in optional
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_ref()?)))
    {
        writeln!(text, "{key} = {}", quoted(value)).expect(TO_STRING);
    }
    let name = choice.engine.as_ref().map(|name| format!("name = {}", quoted(name)));
    let flags = choice.flags.iter().map(|(flag, value)| format!("{flag} = {value}"));
    let engine: Vec<String> = name.into_iter().chain(flags).collect();
    if !engine.is_empty() {
        writeln!(text, "engine = {{ {} }}", engine.join(", ")).expect(TO_STRING);
    }
    text
}

const TO_STRING: &str = "writing to a string";

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use routerwise_types::Bytes;

    use super::*;

    fn choice() -> Choice {
        Choice {
            model: "llama-3.1-8b".into(),
            gpu: "a100-80gb-sxm".into(),
            tensor_parallel: 1,
            ..Choice::default()
        }
    }

    #[test]
    fn a_choice_is_what_a_scenario_with_nothing_else_would_be() {
        let single = choose(&choice()).unwrap();
        assert_eq!(
            (single.model.name.as_str(), single.gpu.name.as_str()),
            ("llama-3.1-8b", "a100-80gb-sxm")
        );
        assert_eq!(single.model.kv_reserve, Bytes(32_768 * 131_072));
        assert_eq!(single.interconnect, Interconnect::Nvswitch);
        let flagged = Choice {
            kv_cache: Some("20 GB".into()),
            engine: Some("vllm-0.11".into()),
            flags: vec![("max-num-seqs", 512), ("max-model-len", 4096)],
            ..choice()
        };
        let model = choose(&flagged).unwrap().model;
        assert_eq!(model.kv_reserve, Bytes(20_000_000_000));
        assert_eq!((model.engine.max_num_seqs, model.engine.max_model_len), (512, 4096));
    }

    #[test]
    fn what_cannot_be_says_why() {
        let wrong = |choice: Choice| {
            let problems = choose(&choice).unwrap_err();
            let texts = problems
                .0
                .iter()
                .map(|problem| format!("{} {}", problem.message(), problem.help_text().unwrap_or_default()));
            texts.collect::<String>()
        };
        let model = Choice {
            model: "llama-3.1-8".into(),
            ..choice()
        };
        assert!(wrong(model).contains("did you mean `llama-3.1-8b`"));
        let gpu = Choice {
            gpu: "a100".into(),
            ..choice()
        };
        assert!(wrong(gpu).contains("no GPU type is named `a100`"));
        let heads = Choice {
            tensor_parallel: 3,
            ..choice()
        };
        assert!(wrong(heads).contains("cannot be dealt out to 3 shards"));
        let large = Choice {
            model: "llama-3.1-70b".into(),
            ..choice()
        };
        assert!(!wrong(large).is_empty());
    }
}
