//! The parts of `routerwise explain`: what prices mean, what changes are worth, the runner-up, and how far the rate may go.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::setup::Configuration;
use crate::units::{Fraction, Price, RequestsPerSecond, Score, Seconds};

/// What the price of one model means under one policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PriceMeaning {
    /// Load level.
    pub level: String,
    /// Route; absent where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Model name.
    pub model: String,
    /// Whether it runs.
    pub runs: bool,
    /// Dual price: quality that one more prompt on it costs everybody together.
    pub price: Price,
    /// The running model with the least price.
    pub cheapest: String,
    /// A prompt goes to the model rather than to the cheapest one when it is predicted to be better by more than this.
    pub above_cheapest: f64,
    /// What one more prompt in a hundred adds to the mean that the objective limits; absent unless exactly one objective binds, on a mean.
    pub added_latency: Option<Seconds>,
}

/// What a small change of the scenario is worth.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Value {
    /// The change in words.
    pub change: String,
    /// Quality gained to first order, from the plan's multipliers; absent where they do not tell.
    pub first_order: Option<f64>,
    /// Quality after planning again; absent where nothing is feasible then.
    pub quality: Option<f64>,
    /// Quality gained against the plan.
    pub gain: Option<f64>,
    /// Whether planning again was finished; if not, `quality` is what it had found so far.
    pub finished: bool,
}

/// The best setup in which one model runs in another way than planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alternative {
    /// Model name.
    pub model: String,
    /// How that model is held.
    pub held: Held,
    /// The setup found; absent where nothing feasible is left.
    pub setup: Option<RivalSetup>,
    /// Whether the search was finished.
    pub finished: bool,
}

/// How a model is held while the best setup is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Held {
    /// In any way but the planned one.
    Otherwise,
    /// On, where the plan has it off.
    On,
    /// Off, where the plan has it on.
    Off,
}

/// A setup beside the plan's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RivalSetup {
    /// Its quality.
    pub quality: Score,
    /// Proven: no setup of its kind reaches more.
    pub upper_bound: f64,
    /// Models that run differently.
    pub differences: Vec<Difference>,
    /// Fraction of the prompts of each model, in the scenario's order.
    pub fractions: Vec<Fraction>,
}

/// A model that runs differently.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// Model name.
    pub model: String,
    /// In the plan; absent when off.
    pub planned: Option<Configuration>,
    /// In the other setup; absent when off.
    pub other: Option<Configuration>,
    /// What the change is worth at the plan's prices. Their sum bounds what the other setup can reach beyond the plan.
    pub worth: f64,
}

/// How far the arrival rate may go before the latency objectives cannot be met; headroom included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RateLimits {
    /// With the plan as it is: its setup, its prices, its fractions.
    pub as_planned: RateLimit,
    /// With its setup and new prices.
    pub same_setup: RateLimit,
    /// With any setup on the same GPUs.
    pub any_setup: RateLimit,
}

/// A bracket around the highest rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RateLimit {
    /// At this rate the objectives are met.
    pub reached: RequestsPerSecond,
    /// At this rate they are proven to be out of reach; absent where no rate is.
    pub refuted: Option<RequestsPerSecond>,
}
