//! What was measured, one visit to the engine at a time: the lines of the journal.

use routerwise_types::Timestamp;
use routerwise_types::report::RequestRecord;
use routerwise_types::units::{RequestsPerSecond, Seconds};
use routerwise_types::workload::Lengths;
use serde::{Deserialize, Serialize};

use super::probe::{Flow, Played};

/// What a visit was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Requests of the mix one by one.
    Alone,
    /// Short and then long prompts one by one, one token of answer each; as many of either.
    Prefill,
    /// Requests at a rate.
    Load,
}

/// One visit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Visit {
    /// What it was for.
    pub stage: Stage,
    /// Rate at which requests were sent (0 for one by one).
    pub offered: RequestsPerSecond,
    /// What came and what went while the requests of the window arrived.
    pub flow: Flow,
    /// Requests sent.
    pub n_sent: u64,
    /// Requests of the window that failed.
    pub n_failed: u64,
    /// What the first of them was told.
    pub first_failure: Option<String>,
    /// How long it took.
    pub spent: Seconds,
    /// Requests of the window: arrived, first token, finished (nanoseconds), prompt and answer tokens.
    records: Vec<(u64, u64, u64, u32, u32)>,
}

impl Visit {
    /// What was played, as it is kept.
    #[must_use]
    pub fn new(stage: Stage, offered: RequestsPerSecond, played: Played) -> Self {
        let line = |record: &RequestRecord| {
            let lengths = record.lengths;
            (
                record.arrived.0,
                record.first_token.0,
                record.finished.0,
                lengths.input,
                lengths.output,
            )
        };
        Self {
            stage,
            offered,
            flow: played.flow,
            n_sent: played.n_sent,
            n_failed: played.n_failed,
            first_failure: played.first_failure,
            spent: played.spent,
            records: played.records.iter().map(line).collect(),
        }
    }

    /// The requests of the window that were answered.
    pub fn records(&self) -> impl ExactSizeIterator<Item = RequestRecord> + '_ {
        self.records
            .iter()
            .map(|&(arrived, first_token, finished, input, output)| RequestRecord {
                arrived: Timestamp(arrived),
                first_token: Timestamp(first_token),
                finished: Timestamp(finished),
                lengths: Lengths { input, output },
            })
    }
}

/// Time that visits took together, seconds.
#[must_use]
pub fn spent(visits: &[Visit]) -> f64 {
    visits.iter().map(|visit| visit.spent.value()).sum()
}
