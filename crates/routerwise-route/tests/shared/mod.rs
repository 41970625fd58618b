//! A scenario and a plan made by hand: models of rising quality and rising latency, one GPU type, profiles with a knee.

pub(crate) mod play;

use routerwise_route::curves::Curves;
use routerwise_types::catalogue::{Engine, Model};
use routerwise_types::cluster::{Cluster, Interconnect};
use routerwise_types::hash::{mix, uniform};
use routerwise_types::plan::{
    Certificate, PLAN_SCHEMA, Plan, PlannedLatency, PlannedModel, Prediction, RoutePolicy, RoutedModel, Routing,
    SloValue, TieSplit,
};
use routerwise_types::profile::{Conditions, LatencyStat, LoadPoint, Profile, ProfileKey, ProfileSource};
use routerwise_types::quality::Scores;
use routerwise_types::scenario::{Inputs, Scenario};
use routerwise_types::setup::Configuration;
use routerwise_types::sketch::Sketch;
use routerwise_types::workload::{
    ALL_TRAFFIC, Arrivals, Lengths, Level, Metric, Objective, Planning, Scope, Slo, Statistic, Workload,
};
use routerwise_types::{Bytes, Fingerprint, Fraction, GpuShare, Price, RequestsPerSecond, Score, Seconds};

/// Models, replicas, rate and prices of a fixture.
#[derive(Clone, Debug)]
pub(crate) struct Fixture {
    pub(crate) n_replicas: Vec<u32>,
    pub(crate) prices: Vec<f64>,
    pub(crate) fractions: Vec<f64>,
    pub(crate) slo_price: f64,
    pub(crate) rate: f64,
}

fn none() -> Fingerprint {
    Fingerprint(String::new())
}

fn rate(value: f64) -> RequestsPerSecond {
    RequestsPerSecond::new(value).expect("a rate")
}

fn seconds(value: f64) -> Seconds {
    Seconds::new(value).expect("a time")
}

/// Capacity of one replica of a model, requests/s.
pub(crate) fn capacity(model: usize) -> f64 {
    10.0 / (1.0 + 0.3 * f64::from(u32::try_from(model).expect("few models")))
}

fn stat(mean: f64) -> LatencyStat {
    LatencyStat {
        mean: seconds(mean),
        ci95: Seconds::ZERO,
        sketch: Sketch::of([mean]),
    }
}

fn profile(model: usize) -> Profile {
    let capacity = capacity(model);
    let slower = 1.0 + 0.5 * f64::from(u32::try_from(model).expect("few models"));
    let points = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95].map(|part: f64| {
        let ttft = 0.08 * slower / (1.0 - part);
        let tpot = 0.01 * slower * (1.0 + part);
        LoadPoint {
            offered: rate(part * capacity),
            achieved: rate(part * capacity),
            n_requests: 1_000,
            ttft: stat(ttft),
            tpot: stat(tpot),
            e2e: stat(ttft + 100.0 * tpot),
        }
    });
    Profile {
        key: ProfileKey {
            model: name(model),
            gpu_type: "gpu".to_owned(),
            tensor_parallel: 1,
            share: GpuShare::WHOLE,
        },
        source: ProfileSource::Measured,
        conditions: Conditions {
            engine: "engine".to_owned(),
            kv_cache: Bytes(0),
            interconnect: Interconnect::Pcie,
            arrivals: Arrivals::Poisson,
            lengths: none(),
            model: none(),
            mean_input_tokens: 500.0,
            mean_output_tokens: 101.0,
        },
        points: points.to_vec(),
        capacity: rate(0.95 * capacity),
        evidence: None,
    }
}

fn name(model: usize) -> String {
    format!("model-{model}")
}

const TTFT: Slo = Slo {
    route: None,
    metric: Metric::Ttft,
    statistic: Statistic::Mean,
    scope: Scope::Workload,
    target: Seconds::ZERO,
};

impl Fixture {
    pub(crate) fn slo(&self) -> Slo {
        Slo {
            target: seconds(0.5),
            ..TTFT
        }
    }

    fn planning() -> Planning {
        Planning {
            headroom: 0.1,
            utilisation_floor: Fraction::ZERO,
            tolerance: 1e-4,
            max_solves: 10,
            max_work: 10,
        }
    }

    fn inputs() -> Inputs {
        Inputs {
            cluster: none(),
            models: none(),
            workload: none(),
            scores: none(),
            profiles: none(),
        }
    }

    pub(crate) fn scenario(&self) -> Scenario {
        let n = self.n_replicas.len();
        let model = |ix: usize| Model {
            name: name(ix),
            architecture: None,
            weights: Bytes(0),
            bytes_per_weight: 2.0,
            bytes_per_kv: 2.0,
            tensor_parallel: vec![1],
            shares: vec![GpuShare::WHOLE],
            max_replicas: 8,
            may_be_off: true,
            kv_reserve: Bytes(0),
            overhead_per_shard: Bytes(0),
            engine: Engine {
                name: "engine".to_owned(),
                max_num_seqs: 256,
                max_num_batched_tokens: 8192,
                block_size: 16,
                max_model_len: 4096,
            },
        };
        Scenario {
            cluster: Cluster {
                gpu_types: Vec::new(),
                nodes: Vec::new(),
            },
            models: (0..n).map(model).collect(),
            workload: Workload {
                routes: Vec::new(),
                rate: rate(self.rate),
                levels: vec![Level::always()],
                arrivals: Arrivals::Poisson,
                lengths: vec![Lengths {
                    input: 500,
                    output: 101,
                }],
                slos: vec![self.slo()],
                objective: Objective::BEST_QUALITY,
                planning: Self::planning(),
            },
            scores: Scores {
                routes: Vec::new(),
                models: (0..n).map(name).collect(),
                prompts: Vec::new(),
                columns: Vec::new(),
                output_tokens: Vec::new(),
            },
            profiles: (0..n).map(profile).collect(),
            fingerprints: Self::inputs(),
        }
    }

    pub(crate) fn plan(&self) -> Plan {
        let models = self.n_replicas.iter().enumerate().map(|(ix, n)| PlannedModel {
            name: name(ix),
            configuration: (*n > 0).then_some(Configuration {
                gpu_type_ix: 0,
                tensor_parallel: 1,
                share: GpuShare::WHOLE,
                n_replicas: *n,
            }),
            gpu_type: (*n > 0).then(|| "gpu".to_owned()),
            replicas: (0..*n).map(|_| vec![0]).collect(),
            kv_cache: Vec::new(),
            utilisation: Fraction::ZERO,
        });
        let routed = self
            .prices
            .iter()
            .zip(&self.fractions)
            .map(|(price, part)| RoutedModel {
                price: Price::new(*price).expect("a price"),
                barred: false,
                fraction: Fraction::new(*part).expect("a fraction"),
                quality: None,
                latency: None,
            });
        let zero = PlannedLatency {
            ttft: Seconds::ZERO,
            tpot: Seconds::ZERO,
            e2e: Seconds::ZERO,
        };
        let half = Score::new(0.5).expect("a score");
        Plan {
            schema: PLAN_SCHEMA,
            id: none(),
            parent: None,
            inputs: Self::inputs(),
            rate: rate(self.rate),
            slos: vec![self.slo()],
            objective: Objective::BEST_QUALITY,
            planning: Self::planning(),
            models: models.collect(),
            policies: vec![RoutePolicy {
                level: "always".to_owned(),
                route: ALL_TRAFFIC.to_owned(),
                rate: rate(self.rate),
                weight: Fraction::ONE,
                models: routed.collect(),
                routing: Routing {
                    tie_tolerance: 1e-6,
                    salt: 7,
                    ties: vec![TieSplit {
                        models: (0..self.prices.len()).collect(),
                        parts: self.fractions.clone(),
                    }],
                },
                prediction: Prediction {
                    quality: half,
                    slo_values: vec![SloValue {
                        value: 0.5,
                        limit: 0.5,
                        price: self.slo_price,
                    }],
                    latency: zero,
                    latency_without_headroom: zero,
                },
            }],
            certificate: Certificate {
                quality: half,
                upper_bound: 0.5,
                gap: 0.0,
                space: String::new(),
                setups_in_space: 1.0,
                setups_bounded: 0,
                setups_packed: 0,
                setups_solved: 0,
                evaluations: 0,
                dual_points: Vec::new(),
            },
            achievement: None,
            realised: Vec::new(),
        }
    }

    pub(crate) fn curves(&self) -> Curves {
        Curves::of(&self.scenario(), &self.plan()).expect("every model has a profile")
    }

    /// Predicted scores of a request: later models are better on average.
    #[expect(clippy::cast_possible_truncation, reason = "scores are f32")]
    pub(crate) fn scores(&self, request: u64) -> Vec<f32> {
        let score = |model: usize| {
            let draw = uniform(mix(request * 64 + model as u64 + 1));
            (0.3 + 0.03 * model as f64 + 0.4 * draw) as f32
        };
        (0..self.n_replicas.len()).map(score).collect()
    }
}
