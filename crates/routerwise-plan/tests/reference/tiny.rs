//! Random problems that are small enough to solve the slow and obvious way.

#![expect(clippy::unwrap_used, reason = "the numbers here are ours")]

use rand::seq::IndexedRandom;
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
use routerwise_types::workload::{Arrivals, Level, Metric, Objective, Planning, Scope, Slo, Statistic, Workload};

/// How scores are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScoreKind {
    Continuous,
    ZeroOne,
    FewLevels,
    ConstantPerModel,
    AllEqual,
    EqualModels,
}

const KINDS: [ScoreKind; 6] = [
    ScoreKind::Continuous,
    ScoreKind::ZeroOne,
    ScoreKind::FewLevels,
    ScoreKind::ConstantPerModel,
    ScoreKind::AllEqual,
    ScoreKind::EqualModels,
];

/// A scenario that follows from its seed alone.
pub(crate) fn scenario(seed: u64) -> (Scenario, ScoreKind) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let kind = *KINDS.choose(&mut rng).unwrap();
    let n_models = *[1, 2, 2, 2, 3, 3].choose(&mut rng).unwrap();
    let cluster = cluster(&mut rng);
    let models: Vec<Model> = (0..n_models).map(|i| model(&mut rng, i)).collect();
    let profiles = models
        .iter()
        .flat_map(|model| profiles(&mut rng, &cluster, model))
        .collect();
    let scores = scores(&mut rng, kind, &models);
    let print = || Fingerprint("test".into());
    let scenario = Scenario {
        cluster,
        models,
        workload: workload(&mut rng),
        scores,
        profiles,
        fingerprints: Inputs {
            cluster: print(),
            models: print(),
            workload: print(),
            scores: print(),
            profiles: print(),
        },
    };
    (scenario, kind)
}

fn cluster(rng: &mut ChaCha8Rng) -> Cluster {
    let n_types = if rng.random_bool(0.25) { 2 } else { 1 };
    let links = [Interconnect::Nvswitch, Interconnect::NvlinkPairs, Interconnect::Pcie];
    let of_type: Vec<Interconnect> = (0..n_types).map(|_| *links.choose(rng).unwrap()).collect();
    let n_nodes = n_types.max(rng.random_range(1..=2));
    Cluster {
        gpu_types: (0..n_types)
            .map(|i| GpuType {
                name: format!("gpu-{i}"),
                memory: Bytes(100),
                usable_memory: Bytes(if i == 0 { 100 } else { 60 }),
                peak_flops: 1.0,
                peak_bandwidth: 1.0,
                price_per_hour: None,
            })
            .collect(),
        nodes: (0..n_nodes)
            .map(|i| Node {
                name: format!("node-{i}"),
                gpu_type_ix: i % n_types,
                n_gpus: rng.random_range(1..=2),
                interconnect: of_type[i % n_types],
            })
            .collect(),
    }
}

fn model(rng: &mut ChaCha8Rng, index: usize) -> Model {
    let all_shares: &[&[f64]] = &[&[1.0], &[0.5], &[0.5, 1.0], &[0.3, 0.7], &[0.25, 0.6, 1.0]];
    let degrees: &[&[u32]] = &[&[1], &[1], &[2], &[1, 2]];
    Model {
        name: format!("model-{index}"),
        architecture: None,
        weights: Bytes(rng.random_range(5..90)),
        bytes_per_weight: 2.0,
        bytes_per_kv: 2.0,
        tensor_parallel: degrees.choose(rng).unwrap().to_vec(),
        shares: all_shares
            .choose(rng)
            .unwrap()
            .iter()
            .map(|share| GpuShare::new(*share).unwrap())
            .collect(),
        max_replicas: *[1, 1, 2, 3].choose(rng).unwrap(),
        may_be_off: rng.random_bool(0.7),
        kv_reserve: Bytes(rng.random_range(0..20)),
        overhead_per_shard: Bytes(rng.random_range(0..8)),
        engine: Engine {
            name: "test".into(),
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            block_size: 16,
            max_model_len: 8192,
        },
    }
}

fn profiles(rng: &mut ChaCha8Rng, cluster: &Cluster, model: &Model) -> Vec<Profile> {
    let mut profiles = Vec::new();
    let speed = rng.random_range(0.3..1.5);
    for gpu_type in &cluster.gpu_types {
        for tensor_parallel in &model.tensor_parallel {
            for share in &model.shares {
                // A gap in the measurements now and then.
                if rng.random_bool(0.9) {
                    let power = f64::from(*tensor_parallel) * share.value() * speed;
                    let key = ProfileKey {
                        model: model.name.clone(),
                        gpu_type: gpu_type.name.clone(),
                        tensor_parallel: *tensor_parallel,
                        share: *share,
                    };
                    profiles.push(profile(rng, key, power));
                }
            }
        }
    }
    profiles
}

/// Latencies that rise with load: smoothly like a queue's, in steps (not convex), or with noise that isotonic regression pools.
fn profile(rng: &mut ChaCha8Rng, key: ProfileKey, power: f64) -> Profile {
    let capacity = 10.0 * power;
    let n_points = rng.random_range(1..=5);
    let shape = rng.random_range(0..3);
    let mut ttft = rng.random_range(0.05..0.3) / power.max(0.2);
    let mut load = 0.0;
    let points = (0..n_points).map(|_| {
        load += rng.random_range(0.05..0.4) * capacity;
        let u: f64 = (load / capacity / 1.3).min(0.95);
        ttft = match shape {
            0 => ttft * (1.0 + 0.3 * u / (1.0 - u)),
            1 => {
                ttft + if rng.random_bool(0.5) {
                    rng.random_range(0.0..0.4)
                } else {
                    0.01
                }
            }
            _ => (ttft + rng.random_range(-0.05..0.2)).max(0.01),
        };
        point(rng, load, ttft)
    });
    let points: Vec<LoadPoint> = points.collect();
    let last = points.last().unwrap().offered.value();
    let capacity = if rng.random_bool(0.5) {
        last
    } else {
        last * rng.random_range(0.7..1.2)
    };
    Profile {
        key,
        source: ProfileSource::Measured,
        conditions: Conditions {
            engine: "test".into(),
            kv_cache: Bytes(10),
            interconnect: Interconnect::Nvswitch,
            arrivals: Arrivals::Poisson,
            lengths: Fingerprint("lengths".into()),
            model: Fingerprint("model".into()),
            mean_input_tokens: 100.0,
            mean_output_tokens: 100.0,
        },
        points,
        capacity: RequestsPerSecond::new(capacity).unwrap(),
        evidence: None,
    }
}

fn point(rng: &mut ChaCha8Rng, load: f64, ttft: f64) -> LoadPoint {
    let spread = rng.random_range(0.2..1.0);
    let stat = |seconds: f64| LatencyStat {
        mean: Seconds::new(seconds).unwrap(),
        ci95: Seconds::ZERO,
        sketch: Sketch::of((0..40).map(|i| seconds * (1.0 + spread * (f64::from(i) - 19.5) / 20.0))),
    };
    let rate = RequestsPerSecond::new(load).unwrap();
    LoadPoint {
        offered: rate,
        achieved: rate,
        n_requests: rng.random_range(0..2000),
        ttft: stat(ttft),
        tpot: stat(0.02 + ttft * rng.random_range(0.05..0.15)),
        e2e: stat(2.0 + ttft * rng.random_range(5.0..12.0)),
    }
}

fn scores(rng: &mut ChaCha8Rng, kind: ScoreKind, models: &[Model]) -> Scores {
    let n_prompts = *[1, 2, 3, 5, 8, 12, 18, 25].choose(rng).unwrap();
    let level = rng.random_range(0.1f32..0.9);
    let column = |rng: &mut ChaCha8Rng, index: u8| -> Vec<f32> {
        let constant = rng.random_range(0.0f32..=1.0);
        let score = |rng: &mut ChaCha8Rng| match kind {
            ScoreKind::Continuous | ScoreKind::EqualModels => {
                (rng.random_range(0.0f32..0.7) + 0.1 * f32::from(index)).clamp(0.0, 1.0)
            }
            ScoreKind::ZeroOne => f32::from(u8::from(rng.random_bool(0.5))),
            ScoreKind::FewLevels => f32::from(rng.random_range(0u8..=4)) / 4.0,
            ScoreKind::ConstantPerModel => constant,
            ScoreKind::AllEqual => level,
        };
        (0..n_prompts).map(|_| score(rng)).collect()
    };
    let mut columns: Vec<Vec<f32>> = (0u8..).zip(models).map(|(index, _)| column(rng, index)).collect();
    if kind == ScoreKind::EqualModels {
        let first = columns[0].clone();
        columns.fill(first);
    }
    let weighted = rng.random_bool(0.4);
    Scores {
        models: models.iter().map(|model| model.name.clone()).collect(),
        prompts: (0..n_prompts)
            .map(|i| Prompt {
                id: i.to_string(),
                weight: if weighted { rng.random_range(0.1..4.0) } else { 1.0 },
                text: None,
                tokens: None,
            })
            .collect(),
        columns,
        routes: Vec::new(),
        output_tokens: vec![None; models.len()],
    }
}

fn workload(rng: &mut ChaCha8Rng) -> Workload {
    let slo = |metric, statistic, scope, target: f64| Slo {
        metric,
        statistic,
        scope,
        target: Seconds::new(target).unwrap(),
        route: None,
    };
    let (mean, q) = (Statistic::Mean, rng.random_range(0.6..0.97));
    let quantile = Statistic::Quantile { q };
    let target: f64 = rng.random_range(0.1..1.0);
    let over_all = Scope::Workload;
    let each = Scope::EachModel;
    let sets = [
        vec![slo(Metric::Ttft, mean, over_all, target)],
        vec![slo(Metric::Ttft, mean, over_all, target)],
        vec![slo(Metric::Ttft, quantile, over_all, 1.5 * target)],
        vec![
            slo(Metric::Ttft, mean, over_all, target),
            slo(Metric::E2e, mean, over_all, 2.0 + 9.0 * target),
        ],
        vec![slo(Metric::Ttft, mean, each, 1.5 * target)],
        vec![
            slo(Metric::E2e, mean, over_all, 2.0 + 9.0 * target),
            slo(Metric::Ttft, quantile, each, 2.0 * target),
        ],
        vec![
            slo(Metric::Ttft, quantile, over_all, 1.5 * target),
            slo(Metric::Tpot, mean, over_all, 0.02 + 0.1 * target),
        ],
    ];
    Workload {
        rate: RequestsPerSecond::new(rng.random_range(1.0..15.0)).unwrap(),
        levels: vec![Level::always()],
        routes: Vec::new(),
        arrivals: Arrivals::Poisson,
        lengths: Vec::new(),
        slos: sets.choose(rng).unwrap().clone(),
        objective: Objective::BEST_QUALITY,
        planning: Planning {
            headroom: *[0.0, 0.1].choose(rng).unwrap(),
            utilisation_floor: Fraction::new(*[0.0, 0.0, 0.0, 0.5, 1.0].choose(rng).unwrap()).unwrap(),
            tolerance: 1e-6,
            max_solves: 100_000,
            max_work: 150,
        },
    }
}
