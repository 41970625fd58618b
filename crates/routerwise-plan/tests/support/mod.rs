//! Synthetic scenarios of any size: queue-shaped curves, scores that rise with model size. Shared by tests and benchmarks.

#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "each test and benchmark uses its own part; the numbers here are ours"
)]

pub(crate) mod fleet;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use routerwise_types::catalogue::{Engine, Model};
use routerwise_types::cluster::{Cluster, GpuType, Interconnect, Node};
use routerwise_types::fingerprint::Fingerprint;
use routerwise_types::profile::{Conditions, LatencyStat, LoadPoint, Profile, ProfileKey, ProfileSource};
use routerwise_types::quality::{Prompt, Scores};
use routerwise_types::scenario::{Inputs, Scenario};
use routerwise_types::sketch::Sketch;
use routerwise_types::units::{Bytes, Fraction, GpuShare, RequestsPerSecond, Seconds};
use routerwise_types::workload::{
    Arrivals, Lengths, Level, Metric, Objective, Planning, Scope, Slo, Statistic, Workload,
};

/// A model of the synthetic world.
pub(crate) struct Size {
    pub(crate) name: &'static str,
    pub(crate) billions: f64,
}

/// What to make.
pub(crate) struct Shape<'a> {
    pub(crate) sizes: &'a [Size],
    pub(crate) n_gpus: usize,
    pub(crate) tensor_parallel: &'a [u32],
    pub(crate) shares: &'a [f64],
    pub(crate) max_replicas: u32,
    pub(crate) may_be_off: bool,
    pub(crate) floor: f64,
    pub(crate) rate: f64,
    pub(crate) target: f64,
    pub(crate) columns: Vec<Vec<f32>>,
}

pub(crate) const PAPER_MODELS: [Size; 4] = [
    Size {
        name: "7b",
        billions: 7.2,
    },
    Size {
        name: "13b",
        billions: 13.0,
    },
    Size {
        name: "34b",
        billions: 34.4,
    },
    Size {
        name: "70b",
        billions: 70.6,
    },
];

/// The paper's space: tp {1, 2, 4}, shares 10 to 100 %, one replica, every model on, all compute used.
pub(crate) fn paper(n_models: usize, n_gpus: usize, rate: f64, target: f64, n_prompts: usize) -> Scenario {
    scenario(&Shape {
        sizes: &PAPER_MODELS[..n_models],
        n_gpus,
        tensor_parallel: &[1, 2, 4],
        shares: &[0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        max_replicas: 1,
        may_be_off: false,
        floor: 1.0,
        rate,
        target,
        columns: continuous_scores(&PAPER_MODELS[..n_models], n_prompts, 7),
    })
}

/// Scores in [0, 1] with a common difficulty per prompt and a mean that rises with size.
pub(crate) fn continuous_scores(sizes: &[Size], n_prompts: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let difficulty: Vec<f64> = (0..n_prompts).map(|_| rng.random_range(-0.35..0.35)).collect();
    sizes
        .iter()
        .map(|size| {
            let skill = 0.25 + 0.08 * size.billions.ln();
            difficulty
                .iter()
                .map(|d| (skill + d + rng.random_range(-0.2..0.2f64)).clamp(0.0, 1.0) as f32)
                .collect()
        })
        .collect()
}

pub(crate) fn scenario(shape: &Shape<'_>) -> Scenario {
    let cluster = Cluster {
        gpu_types: vec![GpuType {
            name: "gpu".into(),
            memory: Bytes(80_000_000_000),
            usable_memory: Bytes(72_000_000_000_000),
            peak_flops: 312e12,
            peak_bandwidth: 2e12,
            price_per_hour: None,
        }],
        nodes: vec![Node {
            name: "node-1".into(),
            gpu_type_ix: 0,
            n_gpus: shape.n_gpus,
            interconnect: Interconnect::Nvswitch,
        }],
    };
    let models: Vec<Model> = shape.sizes.iter().map(|size| model(shape, size)).collect();
    let mut profiles = Vec::new();
    for size in shape.sizes {
        for tp in shape.tensor_parallel.iter().filter(|tp| **tp as usize <= shape.n_gpus) {
            for share in shape.shares {
                let (idle, capacity) = speed(size.billions, *tp, *share);
                let points: Vec<(f64, f64)> = [0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.88, 0.94, 0.98]
                    .iter()
                    .map(|u| (u * capacity, idle * (1.0 + 0.6 * u / (1.0 - u))))
                    .collect();
                profiles.push(profile(size.name, *tp, *share, &points, capacity));
            }
        }
    }
    assemble(cluster, models, profiles, shape)
}

/// Idle TTFT in seconds and capacity in requests/s of the synthetic world.
fn speed(billions: f64, tp: u32, share: f64) -> (f64, f64) {
    let parallel = f64::from(tp).powf(0.8);
    let compute = share * (1.0 + 0.3 * (1.0 - share));
    (
        0.04 * billions / 7.0 / (parallel * compute.sqrt()),
        40.0 * 7.0 / billions * parallel * compute,
    )
}

pub(crate) fn model(shape: &Shape<'_>, size: &Size) -> Model {
    Model {
        name: size.name.into(),
        architecture: None,
        weights: Bytes::ceil(size.billions * 2e9),
        bytes_per_weight: 2.0,
        bytes_per_kv: 2.0,
        tensor_parallel: shape.tensor_parallel.to_vec(),
        shares: shape
            .shares
            .iter()
            .map(|share| GpuShare::new(*share).unwrap())
            .collect(),
        max_replicas: shape.max_replicas,
        may_be_off: shape.may_be_off,
        kv_reserve: Bytes(4_000_000_000),
        overhead_per_shard: Bytes(2_000_000_000),
        engine: Engine {
            name: "test".into(),
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            block_size: 16,
            max_model_len: 8192,
        },
    }
}

/// A profile whose TTFT means are `points` (load, seconds); the other metrics follow along.
pub(crate) fn profile(model: &str, tp: u32, share: f64, points: &[(f64, f64)], capacity: f64) -> Profile {
    let stat = |seconds: f64| LatencyStat {
        mean: Seconds::new(seconds).unwrap(),
        ci95: Seconds::ZERO,
        sketch: Sketch::of((1..=20).map(|i| seconds * f64::from(i) / 10.5)),
    };
    Profile {
        key: ProfileKey {
            model: model.into(),
            gpu_type: "gpu".into(),
            tensor_parallel: tp,
            share: GpuShare::new(share).unwrap(),
        },
        source: ProfileSource::Measured,
        conditions: Conditions {
            engine: "test".into(),
            kv_cache: Bytes(4_000_000_000),
            interconnect: Interconnect::Nvswitch,
            arrivals: Arrivals::Poisson,
            lengths: Fingerprint("lengths".into()),
            model: Fingerprint("model".into()),
            mean_input_tokens: 100.0,
            mean_output_tokens: 100.0,
        },
        points: points
            .iter()
            .map(|(load, ttft)| LoadPoint {
                offered: RequestsPerSecond::new(*load).unwrap(),
                achieved: RequestsPerSecond::new(*load).unwrap(),
                n_requests: 2000,
                ttft: stat(*ttft),
                tpot: stat(0.02 + ttft * 0.1),
                e2e: stat(2.0 + ttft * 10.0),
            })
            .collect(),
        capacity: RequestsPerSecond::new(capacity).unwrap(),
        evidence: None,
    }
}

pub(crate) fn assemble(cluster: Cluster, models: Vec<Model>, profiles: Vec<Profile>, shape: &Shape<'_>) -> Scenario {
    let n_prompts = shape.columns.first().map_or(0, Vec::len);
    let print = || Fingerprint("test".into());
    Scenario {
        cluster,
        scores: Scores {
            models: models.iter().map(|model| model.name.clone()).collect(),
            prompts: (0..n_prompts)
                .map(|i| Prompt {
                    id: i.to_string(),
                    weight: 1.0,
                    text: None,
                    tokens: None,
                })
                .collect(),
            columns: shape.columns.clone(),
            routes: Vec::new(),
            output_tokens: vec![None; models.len()],
        },
        models,
        workload: Workload {
            rate: RequestsPerSecond::new(shape.rate).unwrap(),
            levels: vec![Level::always()],
            routes: Vec::new(),
            arrivals: Arrivals::Poisson,
            lengths: vec![Lengths {
                input: 100,
                output: 100,
            }],
            slos: vec![Slo {
                metric: Metric::Ttft,
                statistic: Statistic::Mean,
                scope: Scope::Workload,
                target: Seconds::new(shape.target).unwrap(),
                route: None,
            }],
            objective: Objective::BEST_QUALITY,
            planning: Planning {
                headroom: 0.0,
                utilisation_floor: Fraction::new(shape.floor).unwrap(),
                tolerance: 1e-4,
                max_solves: 100_000,
                max_work: 150,
            },
        },
        profiles,
        fingerprints: Inputs {
            cluster: print(),
            models: print(),
            workload: print(),
            scores: print(),
            profiles: print(),
        },
    }
}

/// A small count as a number.
pub(crate) fn as_f64(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}
