//! What the planner is to make best, and what that may cost.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Cluster;
use crate::units::Score;
use crate::workload::Metric;

/// What the planner is to make best under the SLOs, and within which budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// What to make best.
    pub aim: Aim,
    /// What the plan may take of the cluster.
    pub budget: Budget,
}

/// What to make best.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Aim {
    /// Highest mean score.
    MaximiseQuality,
    /// Fewest GPUs with which the mean score is still at least this.
    MinimiseGpus {
        /// Least mean score.
        quality_floor: Score,
    },
    /// Lowest cost per hour at which the mean score is still at least this.
    MinimiseCost {
        /// Least mean score.
        quality_floor: Score,
    },
    /// Lowest mean of a latency over the workload at which the mean score is still at least this.
    MinimiseLatency {
        /// Which latency.
        metric: Metric,
        /// Least mean score.
        quality_floor: Score,
    },
}

/// What a plan may take of the cluster; what is absent is not limited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Most GPUs.
    pub max_gpus: Option<u32>,
    /// Most that its GPUs may cost per hour, in the user's currency.
    pub max_cost_per_hour: Option<f64>,
}

impl Objective {
    /// Highest quality on the whole cluster.
    pub const BEST_QUALITY: Self = Self {
        aim: Aim::MaximiseQuality,
        budget: Budget::NONE,
    };

    /// Whether what a GPU costs makes a difference.
    #[must_use]
    pub fn counts_cost(&self) -> bool {
        matches!(self.aim, Aim::MinimiseCost { .. }) || self.budget.max_cost_per_hour.is_some()
    }

    /// Whether a plan may have to leave GPUs empty.
    #[must_use]
    pub fn chooses_gpus(&self) -> bool {
        matches!(self.aim, Aim::MinimiseGpus { .. } | Aim::MinimiseCost { .. }) || self.budget != Budget::NONE
    }
}

impl Aim {
    /// Least mean score that the plan must reach; nothing where quality itself is the aim.
    #[must_use]
    pub fn quality_floor(&self) -> Option<Score> {
        match self {
            Self::MaximiseQuality => None,
            Self::MinimiseGpus { quality_floor }
            | Self::MinimiseCost { quality_floor }
            | Self::MinimiseLatency { quality_floor, .. } => Some(*quality_floor),
        }
    }
}

impl Budget {
    /// No limit.
    pub const NONE: Self = Self {
        max_gpus: None,
        max_cost_per_hour: None,
    };

    /// Whether so many GPUs of each type, at these prices, are within it.
    #[must_use]
    pub fn allows(&self, cluster: &Cluster, gpus: &[usize]) -> bool {
        let count: usize = gpus.iter().sum();
        let few = self.max_gpus.is_none_or(|most| count <= most as usize);
        // What is paid for exactly must not fail for rounding.
        let cheap = self
            .max_cost_per_hour
            .is_none_or(|most| cost_per_hour(cluster, gpus).is_some_and(|cost| cost <= most * (1.0 + 1e-9)));
        few && cheap
    }
}

/// What so many GPUs of each type cost per hour; nothing when the price of one of them is not known.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a count of GPUs")]
pub fn cost_per_hour(cluster: &Cluster, gpus: &[usize]) -> Option<f64> {
    let pairs = cluster.gpu_types.iter().zip(gpus).filter(|(_, count)| **count > 0);
    pairs
        .map(|(gpu_type, count)| Some(gpu_type.price_per_hour? * *count as f64))
        .sum()
}

/// `fewest GPUs with a quality of at least 0.7000, on at most 6 GPUs`.
impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.aim.fmt(f)?;
        let mut joint = ", on";
        if let Some(most) = self.budget.max_gpus {
            let noun = if most == 1 { "GPU" } else { "GPUs" };
            write!(f, "{joint} at most {most} {noun}")?;
            joint = " and";
        }
        if let Some(most) = self.budget.max_cost_per_hour {
            write!(f, "{joint} GPUs for at most {most:.2}/h")?;
        }
        Ok(())
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaximiseQuality => f.write_str("highest quality"),
            Self::MinimiseGpus { quality_floor } => write!(f, "fewest GPUs with a quality of at least {quality_floor}"),
            Self::MinimiseCost { quality_floor } => {
                write!(f, "lowest cost per hour with a quality of at least {quality_floor}")
            }
            Self::MinimiseLatency { metric, quality_floor } => {
                write!(f, "lowest mean {metric} with a quality of at least {quality_floor}")
            }
        }
    }
}
