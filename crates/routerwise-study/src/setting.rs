//! A scenario folder with its profiles: from the engine model, all cores.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use rayon::prelude::*;
use routerwise_inputs::profiles::possible_keys;
use routerwise_inputs::{Paths, load};
use routerwise_simulate::constants::Constants;
use routerwise_simulate::sweep::{Job, Sweep, profile};
use routerwise_types::profile::{Profile, ProfileKey};
use routerwise_types::scenario::Scenario;
use routerwise_types::units::{Fraction, RequestsPerSecond, Seconds};

/// Seed and size of the sweeps; `routerwise profile --simulate` has the same.
const SWEEP: Sweep = Sweep {
    seed: 1,
    n_requests: 2_000,
};

/// Reads a scenario, with other files of its folder instead of the usual where they are named.
pub(crate) fn read(folder: &Path, cluster: &str, models: &str) -> Result<Scenario> {
    let paths = Paths {
        cluster: folder.join(cluster),
        models: folder.join(models),
        profiles: PathBuf::new(),
        ..Paths::in_folder(folder)
    };
    Ok(load(&paths).map_err(|problems| anyhow!("{problems}"))?.scenario)
}

/// Profiles every configuration. What the engine model cannot simulate has no profile.
pub(crate) fn with_profiles(mut scenario: Scenario) -> Scenario {
    let constants = Constants::shipped();
    let models = scenario.models.iter();
    let keys: Vec<ProfileKey> = models
        .flat_map(|model| possible_keys(&scenario.cluster, model))
        .collect();
    let swept = keys.par_iter().map(|key| sweep(&scenario, key, &constants));
    scenario.profiles = swept.collect::<Vec<_>>().into_iter().flatten().collect();
    scenario
}

fn sweep(scenario: &Scenario, key: &ProfileKey, constants: &Constants) -> Option<Profile> {
    let cluster = &scenario.cluster;
    let gpu_type_ix = cluster.gpu_types.iter().position(|gpu| gpu.name == key.gpu_type)?;
    let job = Job {
        model: scenario.models.iter().find(|model| model.name == key.model)?,
        gpu: &cluster.gpu_types[gpu_type_ix],
        interconnect: cluster.interconnect_of(gpu_type_ix)?,
        tensor_parallel: key.tensor_parallel,
        share: key.share,
        workload: &scenario.workload,
    };
    profile(&job, SWEEP, constants).ok().map(|swept| swept.profile)
}

/// The same at another rate and target.
pub(crate) fn at(scenario: &Scenario, rate: f64, target_ms: f64) -> Scenario {
    let mut scenario = scenario.clone();
    let workload = &mut scenario.workload;
    workload.rate = RequestsPerSecond::new(rate).expect("a rate of the study");
    for slo in &mut workload.slos {
        slo.target = Seconds::new(target_ms / 1e3).expect("a target of the study");
    }
    scenario
}

/// What our planner may do beyond the paper's space: replicas, models off, GPUs left idle.
pub(crate) fn unconfined(scenario: &Scenario, max_replicas: u32) -> Scenario {
    let mut scenario = scenario.clone();
    for model in &mut scenario.models {
        model.max_replicas = max_replicas;
        model.may_be_off = true;
    }
    scenario.workload.planning.utilisation_floor = Fraction::ZERO;
    scenario
}

/// The same with other scores: columns of predictions in the order of the models.
pub(crate) fn with_scores(scenario: &Scenario, ids: &[i32], columns: &[Vec<f32>]) -> Scenario {
    let mut scenario = scenario.clone();
    let n_models = scenario.models.len();
    let scores = &mut scenario.scores;
    scores.prompts = ids
        .iter()
        .map(|id| routerwise_types::quality::Prompt {
            id: id.to_string(),
            weight: 1.0,
            text: None,
            tokens: None,
        })
        .collect();
    scores.columns = columns[..n_models].to_vec();
    scores.output_tokens = vec![None; n_models];
    scenario
}

#[cfg(test)]
mod tests {
    use routerwise_plan::problem::Problem;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios").join(name)
    }

    #[test]
    fn the_scenarios_of_the_study_can_be_read() {
        for (cluster, models, n) in [
            ("cluster.toml", "models.toml", (4, 3)),
            ("cluster-8.toml", "models-4.toml", (8, 4)),
        ] {
            let scenario = read(&folder("study-paper"), cluster, models).unwrap();
            assert_eq!((scenario.cluster.n_gpus(), scenario.models.len()), n);
        }
        let modern = read(&folder("study-modern"), "cluster.toml", "models.toml").unwrap();
        assert_eq!((modern.cluster.n_gpus(), modern.scores.n_prompts()), (8, 9_650));
    }

    #[test]
    fn the_papers_space_is_confined_and_ours_is_not() {
        let mut scenario = read(&folder("study-paper"), "cluster.toml", "models.toml").unwrap();
        for model in &mut scenario.models {
            model.tensor_parallel = vec![1];
            model.shares.retain(|share| (share.value() - 1.0).abs() < 1e-9);
        }
        let scenario = at(&with_profiles(scenario), 20.0, 500.0);
        let counts = |scenario: &Scenario| -> Vec<usize> {
            let problem = Problem::new(scenario).unwrap();
            problem.models.iter().map(|model| model.candidates.len()).collect()
        };
        assert_eq!(counts(&scenario), [1, 1, 1]);
        assert_eq!(counts(&unconfined(&scenario, 8)), [5, 5, 5]);
    }
}
