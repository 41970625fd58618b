//! Fleets around a middle one: each differs from it in one respect.

use crate::support::fleet::Fleet;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Factor {
    Models,
    Gpus,
    Prompts,
    /// Ways to run a model: finer shares, more replicas.
    Candidates,
}

/// A fleet, and what it shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Case {
    pub(crate) factor: Factor,
    n_models: usize,
    n_gpus: usize,
    n_prompts: usize,
    /// Shares in so many steps.
    n_shares: u32,
    max_replicas: u32,
    /// Widest gap, as a part of the quality; nothing where no plan is found within the effort.
    pub(crate) widest: Option<f64>,
}

const MIDDLE: Case = Case {
    factor: Factor::Models,
    n_models: 8,
    n_gpus: 64,
    n_prompts: 20_000,
    n_shares: 10,
    max_replicas: 32,
    widest: Some(0.01),
};

impl Case {
    pub(crate) fn name(&self) -> String {
        match self.factor {
            Factor::Models => format!("models-{}", self.n_models),
            Factor::Gpus => format!("gpus-{}", self.n_gpus),
            Factor::Prompts => format!("prompts-{}", self.n_prompts),
            Factor::Candidates => format!("shares-{}-replicas-{}", self.n_shares, self.max_replicas),
        }
    }

    /// What grows, where that is a number of the case itself.
    pub(crate) fn value(&self) -> usize {
        match self.factor {
            Factor::Models => self.n_models,
            Factor::Gpus => self.n_gpus,
            Factor::Prompts => self.n_prompts,
            Factor::Candidates => 0,
        }
    }

    pub(crate) fn same_fleet(&self, other: &Self) -> bool {
        *self
            == Self {
                factor: self.factor,
                widest: self.widest,
                ..*other
            }
    }

    pub(crate) fn fleet(&self) -> Fleet {
        let steps = f64::from(self.n_shares);
        Fleet {
            shares: (1..=self.n_shares).map(|step| f64::from(step) / steps).collect(),
            max_replicas: self.max_replicas,
            ..Fleet::of_a100s(self.n_models, self.n_gpus / 8, self.n_prompts)
        }
    }
}

pub(crate) fn all() -> Vec<Case> {
    let models = [3, 5, 8, 12, 20, 30].map(|n_models| Case { n_models, ..MIDDLE });
    let gpus = [8, 16, 32, 64, 128, 256, 512, 1024].map(|n_gpus| Case {
        factor: Factor::Gpus,
        n_gpus,
        ..MIDDLE
    });
    let prompts = [1_000, 5_000, 20_000, 50_000, 100_000, 200_000].map(|n_prompts| Case {
        factor: Factor::Prompts,
        n_prompts,
        ..MIDDLE
    });
    let candidates =
        [(1, 32), (4, 32), (10, 8), (10, 32), (10, 128), (20, 32), (20, 128)].map(|(n_shares, max_replicas)| Case {
            factor: Factor::Candidates,
            n_shares,
            max_replicas,
            ..MIDDLE
        });
    let series = [models.to_vec(), gpus.to_vec(), prompts.to_vec(), candidates.to_vec()];
    let mut all = series.concat();
    for case in &mut all {
        case.widest = match (case.n_models, case.n_gpus) {
            (30, 64) | (8, 16) => Some(0.025),
            _ => case.widest,
        };
    }
    all
}
