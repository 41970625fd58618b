//! What `routerwise label --format json` prints.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a labelling run did, and what it found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Labelling {
    /// Layout version: [`ANSWER_SCHEMA`](super::ANSWER_SCHEMA).
    pub schema: u32,
    /// The scores file.
    pub scores: String,
    /// Prompts in the input.
    pub n_prompts: usize,
    /// Prompts in the sample.
    pub n_sampled: usize,
    /// How answers were scored.
    pub scored_by: String,
    /// Whether every model has answered every prompt, and no score is missing that another try may bring.
    pub complete: bool,
    /// One per model.
    pub models: Vec<LabelledModel>,
    /// The judge, where there is one.
    pub judge: Option<JudgeReport>,
    /// What went wrong for good in this run, retries included.
    pub troubles: Vec<TroubleCount>,
    /// Requests that were sent again in this run.
    pub n_retried: u32,
}

/// One model's labels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LabelledModel {
    /// Its name.
    pub name: String,
    /// Prompts that it answered.
    pub n_answered: usize,
    /// Answers that reached their longest length.
    pub n_cut_off: usize,
    /// Answers without a text.
    pub n_empty: usize,
    /// Answers with a score.
    pub n_scored: usize,
    /// Weighted mean of the scores.
    pub mean_score: Option<f64>,
    /// Tokens of the prompts, as the endpoint counted.
    pub input_tokens: u64,
    /// Tokens of the answers, as the endpoint counted.
    pub output_tokens: u64,
    /// What these cost; absent without a price.
    pub cost: Option<f64>,
    /// Why answers have no score, or what is odd about it, with how many each.
    pub remarks: BTreeMap<String, usize>,
}

/// How reliable the judge was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JudgeReport {
    /// Its name.
    pub name: String,
    /// Answers whose verdict could not be read.
    pub n_unreadable: usize,
    /// Answers judged with the texts in both orders; absent where one text is shown alone.
    pub n_both_orders: Option<usize>,
    /// Of these, how many were judged otherwise in the other order.
    pub n_order_mattered: Option<usize>,
}

/// A kind of trouble at one endpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TroubleCount {
    /// The endpoint's name.
    pub endpoint: String,
    /// Which kind.
    pub kind: String,
    /// How often.
    pub count: usize,
    /// What was said the first time.
    pub said: String,
}
