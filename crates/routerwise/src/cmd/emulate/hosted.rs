//! Which engines are emulated: one of the catalogue or a scenario, or all of a plan.

use std::path::{Path, PathBuf};

use routerwise_emulate::{OutputTokens, Replica};
use routerwise_inputs::{Choice, Paths, Single, choose};
use routerwise_simulate::constants::Constants;
use routerwise_simulate::sweep::{CannotSimulate, Hosting};
use routerwise_simulate::world::engine_specs;
use routerwise_types::workload::Workload;
use routerwise_types::{GpuShare, Scenario};

use crate::failure::Failure;
use crate::plan_file;

/// Which engines.
#[derive(Debug, clap::Args)]
pub(crate) struct Which {
    /// Plan file, all of whose replicas are emulated
    #[arg(value_name = "PLAN", conflicts_with_all = ["model", "gpu"])]
    plan: Option<PathBuf>,
    /// Scenario folder: of the plan [default: the folder of the plan file], or of the model
    #[arg(long, value_name = "FOLDER", help_heading = "Engine")]
    scenario: Option<PathBuf>,
    /// Model of the catalogue, or of the scenario
    #[arg(long, value_name = "NAME", required_unless_present = "plan", help_heading = "Engine")]
    model: Option<String>,
    /// GPU type of the catalogue, or of the scenario
    #[arg(long, value_name = "NAME", required_unless_present = "plan", help_heading = "Engine")]
    gpu: Option<String>,
    /// Tensor-parallel degree
    #[arg(long = "tp", default_value_t = 1, value_name = "N", help_heading = "Engine")]
    tensor_parallel: u32,
    /// Share of each GPU in per cent
    #[arg(long, default_value = "100", value_name = "PERCENT", value_parser = share, help_heading = "Engine")]
    share: GpuShare,
    /// Replicas of the model
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Engine")]
    replicas: u16,
    /// Name by which clients ask for the model [default: its own]
    #[arg(long, value_name = "NAME", conflicts_with = "plan", help_heading = "Engine")]
    served_model_name: Option<String>,
    /// KV cache over all shards, such as `20 GB` or `32768 tokens` [default: 32768 tokens]
    #[arg(long, value_name = "SIZE", conflicts_with_all = ["plan", "scenario"], help_heading = "Engine")]
    kv_cache: Option<String>,
    /// Type of the weights, such as `fp8` [default: bf16]
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["plan", "scenario"], help_heading = "Engine")]
    dtype: Option<String>,
    /// Engine build whose overheads apply [default: vllm-0.11]
    #[arg(long, value_name = "NAME", conflicts_with_all = ["plan", "scenario"], help_heading = "Engine")]
    engine: Option<String>,
    /// Most sequences in one iteration [default: 256]
    #[arg(long, value_name = "N", conflicts_with_all = ["plan", "scenario"], help_heading = "Engine")]
    max_num_seqs: Option<u32>,
    /// Most tokens in one iteration [default: 2048]
    #[arg(long, value_name = "N", conflicts_with_all = ["plan", "scenario"], help_heading = "Engine")]
    max_num_batched_tokens: Option<u32>,
    /// Longest context in tokens [default: the model's, cut to the KV cache]
    #[arg(long, value_name = "N", conflicts_with_all = ["plan", "scenario"], help_heading = "Engine")]
    max_model_len: Option<u32>,
}

/// One engine to start.
#[derive(Clone, Debug)]
pub(crate) struct Hosted {
    pub(crate) engine: Replica,
    pub(crate) replica: usize,
    pub(crate) gpu_type: String,
    pub(crate) tensor_parallel: u32,
    pub(crate) share: GpuShare,
}

/// `60`, `60%` or `60 %`.
fn share(text: &str) -> Result<GpuShare, String> {
    let number = text.trim_end_matches('%').trim();
    let percent: f64 = number.parse().map_err(|_| "not a number of per cent".to_owned())?;
    if !(1.0..=100.0).contains(&percent) {
        return Err("a share is from 1 to 100 per cent of each GPU".to_owned());
    }
    GpuShare::new((percent * 100.0).round() / 1e4).map_err(|error| error.to_string())
}

impl Which {
    /// The engines, and how long their answers are where the files say so.
    pub(super) fn load(&self) -> Result<(Vec<Hosted>, Option<OutputTokens>), Failure> {
        if let Some(plan) = &self.plan {
            return of_plan(plan, self.scenario.as_deref());
        }
        let (single, lengths) = match &self.scenario {
            Some(folder) => {
                let scenario = routerwise_inputs::load(&Paths::in_folder(folder))?.scenario;
                let single = self.of_scenario(&scenario)?;
                (single, Some(output_tokens(&scenario.workload)))
            }
            None => (choose(&self.choice())?, None),
        };
        Ok((self.replicas_of(&single)?, lengths))
    }

    fn choice(&self) -> Choice {
        let flags = [
            ("max-num-seqs", self.max_num_seqs),
            ("max-num-batched-tokens", self.max_num_batched_tokens),
            ("max-model-len", self.max_model_len),
        ];
        let flags = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        Choice {
            model: self.model.clone().unwrap_or_default(),
            gpu: self.gpu.clone().unwrap_or_default(),
            tensor_parallel: self.tensor_parallel,
            kv_cache: self.kv_cache.clone(),
            dtype: self.dtype.clone(),
            engine: self.engine.clone(),
            flags: flags.collect(),
        }
    }

    fn of_scenario(&self, scenario: &Scenario) -> Result<Single, Failure> {
        let (model, gpu) = (self.model.as_deref(), self.gpu.as_deref());
        let unknown = |kind: &str, name: Option<&str>, known: Vec<&str>| Failure::Request {
            what: format!("the scenario has no {kind} `{}`", name.unwrap_or_default()),
            help: format!("it has `{}`", known.join("`, `")),
        };
        let models = &scenario.models;
        let found = models.iter().find(|known| Some(known.name.as_str()) == model);
        let names = || models.iter().map(|known| known.name.as_str()).collect();
        let found_model = found.ok_or_else(|| unknown("model", model, names()))?;
        let gpus = &scenario.cluster.gpu_types;
        let found = gpus.iter().position(|known| Some(known.name.as_str()) == gpu);
        let names = || gpus.iter().map(|known| known.name.as_str()).collect();
        let gpu_ix = found.ok_or_else(|| unknown("GPU type", gpu, names()))?;
        Ok(Single {
            model: found_model.clone(),
            gpu: gpus[gpu_ix].clone(),
            interconnect: scenario.cluster.interconnect_of(gpu_ix).expect("every type has a node"),
        })
    }

    fn replicas_of(&self, single: &Single) -> Result<Vec<Hosted>, Failure> {
        let hosting = Hosting {
            model: &single.model,
            gpu: &single.gpu,
            interconnect: single.interconnect,
            tensor_parallel: self.tensor_parallel,
            share: self.share,
        };
        let replica = hosting.replica(&Constants::shipped(), single.model.kv_reserve, 1.0);
        let engine = Replica {
            model: self
                .served_model_name
                .clone()
                .unwrap_or_else(|| single.model.name.clone()),
            spec: replica.map_err(|error| cannot(&error))?.spec,
        };
        let hosted = |replica| Hosted {
            engine: engine.clone(),
            replica,
            gpu_type: single.gpu.name.clone(),
            tensor_parallel: self.tensor_parallel,
            share: self.share,
        };
        Ok((0..usize::from(self.replicas)).map(hosted).collect())
    }
}

fn of_plan(file: &Path, folder: Option<&Path>) -> Result<(Vec<Hosted>, Option<OutputTokens>), Failure> {
    let (scenario, plan) = plan_file::load_with(file, folder)?;
    let specs = engine_specs(&scenario, &plan.models).map_err(|error| cannot(&error))?;
    let mut all = Vec::new();
    for (planned, specs) in plan.models.iter().zip(specs) {
        let Some(configuration) = planned.configuration else {
            continue;
        };
        all.extend(specs.into_iter().enumerate().map(|(replica, spec)| Hosted {
            engine: Replica {
                model: planned.name.clone(),
                spec,
            },
            replica,
            gpu_type: scenario.cluster.gpu_types[configuration.gpu_type_ix].name.clone(),
            tensor_parallel: configuration.tensor_parallel,
            share: configuration.share,
        }));
    }
    Ok((all, Some(output_tokens(&scenario.workload))))
}

fn output_tokens(workload: &Workload) -> OutputTokens {
    OutputTokens::Mix(workload.lengths.iter().map(|lengths| lengths.output).collect())
}

fn cannot(error: &CannotSimulate) -> Failure {
    Failure::Request {
        what: error.to_string(),
        help: "the engine model needs the model's architecture, an engine build that it knows, and links that were measured".into(),
    }
}
