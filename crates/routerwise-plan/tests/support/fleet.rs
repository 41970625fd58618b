//! Synthetic fleets: many models, nodes and GPU types, replicas in the dozens, memory that binds.

use super::{
    Bytes, ChaCha8Rng, Cluster, GpuType, Interconnect, Model, Node, RngExt, Scenario, SeedableRng, Shape, Size,
    assemble, model, profile, speed,
};

/// A kind of GPU: name, usable memory in GB, speed relative to an A100, price per hour, nodes and GPUs in each.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) gigabytes: f64,
    pub(crate) speed: f64,
    pub(crate) price: f64,
    pub(crate) n_nodes: usize,
    pub(crate) n_gpus: usize,
}

/// What to make.
pub(crate) struct Fleet {
    pub(crate) kinds: Vec<Kind>,
    pub(crate) n_models: usize,
    pub(crate) n_prompts: usize,
    pub(crate) shares: Vec<f64>,
    pub(crate) max_replicas: u32,
    /// Requests/s for each A100's worth of compute.
    pub(crate) load: f64,
    pub(crate) target: f64,
    pub(crate) seed: u64,
}

pub(crate) const A100: Kind = Kind {
    name: "a100-80gb",
    gigabytes: 72.0,
    speed: 1.0,
    price: 2.0,
    n_nodes: 8,
    n_gpus: 8,
};
pub(crate) const H100: Kind = Kind {
    name: "h100-80gb",
    speed: 2.2,
    price: 4.0,
    ..A100
};
pub(crate) const L40S: Kind = Kind {
    name: "l40s-48gb",
    gigabytes: 43.0,
    speed: 0.6,
    price: 1.0,
    n_gpus: 4,
    ..A100
};

/// Shares in steps of a tenth.
pub(crate) fn tenths() -> Vec<f64> {
    (1..=10).map(|tenth| f64::from(tenth) / 10.0).collect()
}

impl Fleet {
    /// So many models on nodes of eight A100s.
    pub(crate) fn of_a100s(n_models: usize, n_nodes: usize, n_prompts: usize) -> Self {
        Self {
            kinds: vec![Kind { n_nodes, ..A100 }],
            n_models,
            n_prompts,
            shares: tenths(),
            max_replicas: 32,
            load: 8.0,
            target: 0.3,
            seed: 11,
        }
    }

    /// So many models on a mix of three GPU types: half the GPUs A100s, a quarter each H100s and L40Ss.
    pub(crate) fn mixed(n_models: usize, n_gpus: usize, n_prompts: usize) -> Self {
        let kinds = vec![
            Kind {
                n_nodes: n_gpus / 16,
                ..A100
            },
            Kind {
                n_nodes: n_gpus / 32,
                ..H100
            },
            Kind {
                n_nodes: n_gpus / 16,
                ..L40S
            },
        ];
        Self {
            kinds,
            max_replicas: 64,
            ..Self::of_a100s(n_models, 1, n_prompts)
        }
    }

    pub(crate) fn scenario(&self) -> Scenario {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let sizes: Vec<f64> = (0..self.n_models)
            .map(|i| 3.0 * (130.0f64 / 3.0).powf((i as f64 + rng.random_range(0.0..0.6)) / self.n_models as f64))
            .collect();
        let cluster = self.cluster();
        let compute: f64 = self
            .kinds
            .iter()
            .map(|kind| kind.speed * (kind.n_nodes * kind.n_gpus) as f64)
            .sum();
        let shape = Shape {
            sizes: &[],
            n_gpus: 0,
            tensor_parallel: &[1, 2, 4, 8],
            shares: &self.shares,
            max_replicas: self.max_replicas,
            may_be_off: true,
            floor: 0.0,
            rate: self.load * compute,
            target: self.target,
            columns: self.scores(&sizes, &mut rng),
        };
        let models: Vec<Model> = sizes
            .iter()
            .enumerate()
            .map(|(i, billions)| Model {
                name: format!("m{i:02}-{billions:.0}b"),
                weights: Bytes::ceil(billions * 2e9),
                ..model(
                    &shape,
                    &Size {
                        name: "",
                        billions: *billions,
                    },
                )
            })
            .collect();
        let mut profiles = Vec::new();
        for (model, billions) in models.iter().zip(&sizes) {
            for (kind, gpu) in self.kinds.iter().zip(&cluster.gpu_types) {
                for tp in model.tensor_parallel.iter().filter(|tp| **tp as usize <= kind.n_gpus) {
                    if model.shard_memory(*tp).0 > gpu.usable_memory.0 {
                        continue;
                    }
                    for share in &self.shares {
                        let (idle, capacity) = speed(*billions, *tp, *share);
                        let (idle, capacity) = (idle / kind.speed, capacity * kind.speed);
                        let points: Vec<(f64, f64)> = [0.02, 0.2, 0.4, 0.6, 0.7, 0.8, 0.88, 0.94, 0.98]
                            .iter()
                            .map(|u| (u * capacity, idle * (1.0 + 0.6 * u / (1.0 - u))))
                            .collect();
                        let mut profile = profile(&model.name, *tp, *share, &points, capacity);
                        profile.key.gpu_type = kind.name.into();
                        profiles.push(profile);
                    }
                }
            }
        }
        assemble(cluster, models, profiles, &shape)
    }

    fn cluster(&self) -> Cluster {
        let mut nodes = Vec::new();
        for (gpu_type_ix, kind) in self.kinds.iter().enumerate() {
            for node in 0..kind.n_nodes {
                nodes.push(Node {
                    name: format!("{}-{node}", kind.name),
                    gpu_type_ix,
                    n_gpus: kind.n_gpus,
                    interconnect: Interconnect::Nvswitch,
                });
            }
        }
        let gpu_types = self.kinds.iter().map(|kind| GpuType {
            name: kind.name.into(),
            memory: Bytes::ceil(kind.gigabytes / 0.9 * 1e9),
            usable_memory: Bytes::ceil(kind.gigabytes * 1e9),
            peak_flops: 312e12 * kind.speed,
            peak_bandwidth: 2e12 * kind.speed,
            price_per_hour: Some(kind.price),
        });
        Cluster {
            gpu_types: gpu_types.collect(),
            nodes,
        }
    }

    /// Ability less difficulty plus what a model knows of a topic, plus chance: small models win some topics.
    fn scores(&self, sizes: &[f64], rng: &mut ChaCha8Rng) -> Vec<Vec<f32>> {
        const N_TOPICS: usize = 12;
        let prompts: Vec<(usize, f64)> = (0..self.n_prompts)
            .map(|_| (rng.random_range(0..N_TOPICS), rng.random_range(-0.3..0.3)))
            .collect();
        sizes
            .iter()
            .map(|billions| {
                let skill = 0.3 + 0.08 * billions.ln();
                let topics: Vec<f64> = (0..N_TOPICS).map(|_| rng.random_range(-0.12..0.12)).collect();
                let score = |(topic, difficulty): &(usize, f64)| {
                    (skill + difficulty + topics[*topic] + rng.random_range(-0.15..0.15f64)).clamp(0.0, 1.0) as f32
                };
                prompts.iter().map(score).collect()
            })
            .collect()
    }
}
