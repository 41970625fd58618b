//! All inputs of a plan together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::catalogue::Model;
use crate::cluster::Cluster;
use crate::fingerprint::Fingerprint;
use crate::profile::Profile;
use crate::quality::Scores;
use crate::workload::Workload;

/// All inputs of a plan, validated: every model has scores, names are unique, every number is in its range.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The GPUs.
    pub cluster: Cluster,
    /// The models that may run on them.
    pub models: Vec<Model>,
    /// What arrives.
    pub workload: Workload,
    /// Scores: column `i` belongs to `models[i]`.
    pub scores: Scores,
    /// Profiles; empty before `profile` has run.
    pub profiles: Vec<Profile>,
    /// Content of each input.
    pub fingerprints: Inputs,
}

/// Fingerprints of the inputs of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// Of the validated cluster.
    pub cluster: Fingerprint,
    /// Of the validated models.
    pub models: Fingerprint,
    /// Of the validated workload.
    pub workload: Fingerprint,
    /// Of the scores file's bytes.
    pub scores: Fingerprint,
    /// Of the profiles.
    pub profiles: Fingerprint,
}
