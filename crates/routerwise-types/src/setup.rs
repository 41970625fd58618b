//! How models are run, and where.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::GpuShare;

/// How one model is run (`θ`); a model that is not run has none.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// Index into the cluster's GPU types.
    pub gpu_type_ix: usize,
    /// Shards per replica, each on its own GPU.
    pub tensor_parallel: u32,
    /// Share of each of those GPUs.
    pub share: GpuShare,
    /// Copies of the model.
    pub n_replicas: u32,
}

/// One configuration, or off, for every model, in model order.
pub type Setup = Vec<Option<Configuration>>;

/// GPU indices of each replica's shards, in shard order, for every model: `placement[model][replica][shard]`.
pub type Placement = Vec<Vec<Vec<usize>>>;

/// `tp=2 share=50 % x1`.
impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "tp={} share={} x{}",
            self.tensor_parallel, self.share, self.n_replicas
        )
    }
}
