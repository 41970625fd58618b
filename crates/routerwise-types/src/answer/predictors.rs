//! What a quality predictor is worth: tests on prompts that it had not seen.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A figure with its 95 % interval: the prompts drawn again and again from those of the test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What `routerwise evaluate --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// Layout version: [`ANSWER_SCHEMA`](super::ANSWER_SCHEMA).
    pub schema: u32,
    /// Names of the models.
    pub models: Vec<String>,
    /// One test per predictor and way to split.
    pub tests: Vec<PredictorTest>,
    /// What could not be tested, and why.
    pub left_out: Vec<String>,
}

/// One predictor on one test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PredictorTest {
    /// Which predictor.
    pub predictor: String,
    /// How the prompts of the test were chosen.
    pub split: SplitBy,
    /// Prompts that were learned from; 0 where that is not known.
    pub n_train: usize,
    /// Prompts of the test.
    pub n_test: usize,
    /// The model that answers best alone, and its mean score.
    pub best_single: ModelQuality,
    /// Prediction lift, the mean over the mixes: (routed − static mix) / (oracle − static mix) at the same fractions.
    pub lift: Interval,
    /// Lift less that of another predictor on the same prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versus: Option<Versus>,
    /// What routing gains over the static mix, in score, the mean over the mixes.
    pub gain: Interval,
    /// What the gain says.
    pub verdict: Verdict,
    /// At given fractions.
    pub mixes: Vec<MixTest>,
    /// From the weakest to the strongest model, prompt by prompt.
    pub deferral: Deferral,
    /// How far scores can be taken at their word, for each model.
    pub models: Vec<ModelTest>,
    /// Where routing (at even fractions) loses, by source; empty where sources are not known.
    pub sources: Vec<SourceTest>,
}

/// Two predictors on the same prompts: both are judged on each draw of them, so the interval is that of the difference and narrower than
/// theirs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Versus {
    /// The other predictor.
    pub predictor: String,
    /// By how much its lift is exceeded.
    pub lift: Interval,
}

/// How the prompts of a test were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SplitBy {
    /// By chance, the same prompt always on one side.
    Prompt,
    /// Each source in turn, by what was learned from the others: prompts unlike those of training.
    Source,
    /// All prompts of the file, which were not learned from.
    Given,
}

/// Whether routing by a predictor beats fractions by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The interval of the gain lies above zero.
    Better,
    /// The gain may be chance.
    Unclear,
    /// The gain is not above zero.
    NotBetter,
}

/// A model and a mean score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelQuality {
    /// Which model.
    pub model: String,
    /// Its mean score.
    pub quality: f64,
}

/// Routing at given fractions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixTest {
    /// Name of the mix.
    pub mix: String,
    /// Part of the prompts that each model answers.
    pub fractions: Vec<f64>,
    /// Mean score when routed by predictions.
    pub quality: f64,
    /// What the predictions promised for that: how far it is above `quality` is the winner's curse.
    pub predicted: f64,
    /// Mean score by chance at the same fractions.
    pub static_mix: f64,
    /// Mean score when routed by the answers' real scores.
    pub oracle: f64,
    /// Prediction lift.
    pub lift: Interval,
    /// `quality − static_mix`.
    pub gain: Interval,
}

/// Quality as ever more prompts go to the strong model, those first where it is predicted to gain most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Deferral {
    /// The model with the lowest mean score.
    pub weak: String,
    /// The model with the highest mean score.
    pub strong: String,
    /// The curve.
    pub points: Vec<DeferralPoint>,
    /// Area between curve and straight line, as a part of the area that the real scores reach.
    pub area: Interval,
}

/// One point of a deferral curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeferralPoint {
    /// Part of the prompts that go to the strong model.
    pub fraction: f64,
    /// Mean score by predictions.
    pub quality: f64,
    /// Mean score by chance.
    pub random: f64,
    /// Mean score by the real scores.
    pub oracle: f64,
}

/// How far one model's scores can be taken at their word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelTest {
    /// Which model.
    pub model: String,
    /// Mean real score.
    pub mean: f64,
    /// Mean predicted score.
    pub predicted: f64,
    /// How often a good answer (score of at least 0.5) was predicted above a bad one; nothing where all are alike.
    pub auc: Option<f64>,
    /// Mean distance of predicted and real score over the bins.
    pub ece: f64,
    /// Reliability: prompts by predicted score, in ten bins of equal size.
    pub bins: Vec<Bin>,
}

/// Prompts of about the same predicted score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bin {
    /// How many.
    pub n: usize,
    /// Mean predicted score.
    pub predicted: f64,
    /// Mean real score.
    pub observed: f64,
}

/// Routing on the prompts of one source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceTest {
    /// Which source.
    pub source: String,
    /// Its prompts.
    pub n: usize,
    /// Mean score when routed by predictions.
    pub quality: f64,
    /// Mean score by chance.
    pub static_mix: f64,
    /// Mean score when routed by the real scores.
    pub oracle: f64,
    /// `oracle − quality`.
    pub regret: f64,
}

/// What `routerwise score --format json` prints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptScores {
    /// Layout version: [`ANSWER_SCHEMA`](super::ANSWER_SCHEMA).
    pub schema: u32,
    /// Whether the predictor was learned from this very prompt, which flatters the scores.
    pub learned_from: bool,
    /// The predicted score of each model, in the order of the predictor.
    pub scores: Vec<ModelScore>,
}

/// A model's predicted score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelScore {
    /// Which model.
    pub model: String,
    /// Expected score of its answer, in [0, 1].
    pub score: f64,
}
