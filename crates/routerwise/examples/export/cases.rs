//! Problems that are small enough for a general solver, each with something of its own that has to be right.

use routerwise_types::cluster::Interconnect;
use routerwise_types::scenario::Scenario;
use routerwise_types::units::Seconds;
use routerwise_types::workload::{Level, Metric, Scope, Slo, Statistic};

use crate::support::fleet::{A100, Fleet, Kind, L40S};
use crate::support::{PAPER_MODELS, Shape, continuous_scores, paper, scenario};

/// A named problem.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What is special about it.
    pub(crate) what: &'static str,
    pub(crate) scenario: fn() -> Scenario,
}

const fn case(name: &'static str, what: &'static str, scenario: fn() -> Scenario) -> Case {
    Case { name, what, scenario }
}

/// From the smallest on.
pub(crate) const CASES: [Case; 12] = [
    case("tiny", "2 models on 1 GPU, 4 prompts: to look at the layout", tiny),
    case("3-on-4", "3 models on 4 GPUs, tight, all of the share in use", || {
        paper(3, 4, 50.0, 0.2, 500)
    }),
    case("3-on-4-loose", "the same, hardly bound", || paper(3, 4, 20.0, 0.2, 500)),
    case("4-on-4", "4 models on 4 GPUs, all on", || paper(4, 4, 20.0, 0.2, 500)),
    case("replicas", "4 models on 4 GPUs, up to 4 replicas, may be off", || {
        replicas(4, 4, 4, 500)
    }),
    case(
        "two-limits",
        "a mean and a percentile; flows that are not convex",
        two_limits,
    ),
    case(
        "two-levels",
        "one setup for a busy and a quiet half of the day",
        two_levels,
    ),
    case("memory", "4 models on 4 GPUs, memory binds", || {
        fleet(vec![gpus(&A100, 1, 4)], 4, 4, 500).scenario()
    }),
    case("two-types", "4 models on 4 A100 and 4 L40S in nodes of 2", || {
        fleet(vec![gpus(&A100, 2, 2), gpus(&L40S, 2, 2)], 4, 2, 500).scenario()
    }),
    case("pairs", "3 models on 4 GPUs that are linked in pairs", pairs),
    case("4-on-8", "4 models on 8 GPUs, all of the share in use", || {
        paper(4, 8, 50.0, 0.2, 500)
    }),
    case("5-on-16", "5 models on 2 nodes of 8, memory binds", || {
        fleet(vec![gpus(&A100, 2, 8)], 5, 8, 500).scenario()
    }),
];

fn tiny() -> Scenario {
    scenario(&Shape {
        sizes: &PAPER_MODELS[..2],
        n_gpus: 1,
        tensor_parallel: &[1],
        shares: &[0.5],
        max_replicas: 2,
        may_be_off: true,
        floor: 0.0,
        rate: 20.0,
        target: 0.2,
        columns: vec![vec![0.5, 1.0, 0.25, 0.0], vec![1.0, 1.0, 0.5, 0.75]],
    })
}

fn replicas(n_models: usize, n_gpus: usize, max_replicas: u32, n_prompts: usize) -> Scenario {
    scenario(&Shape {
        sizes: &PAPER_MODELS[..n_models],
        n_gpus,
        tensor_parallel: &[1, 2, 4],
        shares: &[0.25, 0.5, 0.75, 1.0],
        max_replicas,
        may_be_off: true,
        floor: 0.0,
        rate: 40.0,
        target: 0.2,
        columns: continuous_scores(&PAPER_MODELS[..n_models], n_prompts, 7),
    })
}

fn two_limits() -> Scenario {
    let mut scenario = replicas(3, 4, 2, 500);
    scenario.workload.slos.push(Slo {
        metric: Metric::Ttft,
        statistic: Statistic::Quantile { q: 0.9 },
        scope: Scope::Workload,
        target: Seconds::new(0.35).expect("a number"),
        route: None,
    });
    scenario
}

fn two_levels() -> Scenario {
    let mut scenario = replicas(3, 4, 2, 300);
    scenario.workload.levels = [("busy", 1.0), ("quiet", 0.4)]
        .map(|(name, part)| Level {
            name: name.into(),
            part,
            hours: 12.0,
        })
        .into();
    scenario
}

fn gpus(kind: &Kind, n_nodes: usize, n_gpus: usize) -> Kind {
    Kind {
        n_nodes,
        n_gpus,
        ..*kind
    }
}

fn fleet(kinds: Vec<Kind>, n_models: usize, max_replicas: u32, n_prompts: usize) -> Fleet {
    Fleet {
        kinds,
        shares: vec![0.25, 0.5, 0.75, 1.0],
        max_replicas,
        ..Fleet::of_a100s(n_models, 1, n_prompts)
    }
}

fn pairs() -> Scenario {
    let mut scenario = fleet(vec![gpus(&A100, 1, 4)], 3, 3, 500).scenario();
    for node in &mut scenario.cluster.nodes {
        node.interconnect = Interconnect::NvlinkPairs;
    }
    scenario
}
