//! Where the scores of a prompt come from.

use std::collections::HashMap;
use std::fmt;

use routerwise_predict::{Piece, Predictor, PromptFacts, Role};
use routerwise_types::hash::{mix, prompt_hash, uniform};
use routerwise_types::plan::{Plan, PlannedModel, RoutePolicy};
use routerwise_types::quality::Scores;

/// Where the scores of a prompt come from: what was measured, then what is predicted.
#[derive(Default)]
pub struct Scorer {
    /// Measured scores by hash of the prompt; looked up, never listed, so its order decides nothing.
    known: HashMap<u64, Box<[f32]>>,
    predictor: Option<Predicting>,
}

struct Predicting {
    predictor: Box<dyn Predictor>,
    /// For each of the predictor's models, which of the plan's it is.
    order: Vec<Option<usize>>,
}

impl fmt::Debug for Scorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let predictor = if self.predictor.is_some() { "a" } else { "no" };
        write!(f, "{} known prompts and {predictor} predictor", self.known.len())
    }
}

impl Scorer {
    /// A scorer that knows nothing: prompts are spread by planned fractions.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// With the measured scores of a scenario's prompts, over the models of a plan.
    #[must_use]
    pub fn with_known(mut self, scores: &Scores, plan: &Plan) -> Self {
        let column = |name: &str| scores.models.iter().position(|model| model == name);
        let columns: Vec<Option<usize>> = plan.models.iter().map(|model| column(&model.name)).collect();
        for (nth, prompt) in scores.prompts.iter().enumerate() {
            let score = |column: &Option<usize>| column.map_or(0.0, |column| scores.columns[column][nth]);
            let vector: Box<[f32]> = columns.iter().map(score).collect();
            // Traffic that is replayed without texts asks for prompts by their ids.
            let text = prompt.text.as_deref().unwrap_or(&prompt.id);
            self.known.insert(prompt_hash(text), vector);
        }
        self
    }

    /// With a predictor for all other prompts, over the models of a plan.
    ///
    /// # Errors
    /// The models that the plan runs and the predictor does not know.
    pub fn with_predictor(mut self, predictor: Box<dyn Predictor>, plan: &Plan) -> Result<Self, Vec<String>> {
        let place = |name: &String| plan.models.iter().position(|model| model.name == *name);
        let order: Vec<Option<usize>> = predictor.models().iter().map(place).collect();
        let unknown = |(ix, model): (usize, &PlannedModel)| {
            let missing = model.configuration.is_some() && !order.contains(&Some(ix));
            missing.then(|| model.name.clone())
        };
        let unknown: Vec<String> = plan.models.iter().enumerate().filter_map(unknown).collect();
        if !unknown.is_empty() {
            return Err(unknown);
        }
        self.predictor = Some(Predicting { predictor, order });
        Ok(self)
    }

    /// Whether scoring a prompt may wait for something outside this process: it must leave the runtime then.
    pub(crate) fn waits(&self, hash: u64) -> bool {
        let waits = |predicting: &Predicting| predicting.predictor.waits();
        !self.known.contains_key(&hash) && self.predictor.as_ref().is_some_and(waits)
    }

    /// The scores of a prompt; false where nothing knows them.
    pub(crate) fn score(&self, prompt: &str, before: &str, hash: u64, scores: &mut [f32]) -> bool {
        if let Some(known) = self.known.get(&hash) {
            scores.copy_from_slice(known);
            return true;
        }
        let Some(Predicting { predictor, order }) = &self.predictor else {
            return false;
        };
        // An answer stands between the two, or they would count as one message.
        let pieces = [
            Piece::user(before),
            Piece {
                role: Role::Assistant,
                text: "",
            },
            Piece::user(prompt),
        ];
        let pieces = if before.is_empty() { &pieces[2..] } else { &pieces[..] };
        let mut predicted = [0.0; 64];
        let Some(predicted) = predicted.get_mut(..order.len()) else {
            return false;
        };
        if predictor.predict(&PromptFacts::new(pieces), predicted).is_err() {
            return false;
        }
        for (place, score) in order.iter().zip(predicted) {
            if let Some(place) = place {
                scores[*place] = *score;
            }
        }
        true
    }
}

/// The model that a prompt without scores gets: by the planned fractions, so that the load is at least what was planned for.
pub(crate) fn by_fraction(policy: &RoutePolicy, hash: u64, allowed: impl Fn(usize) -> bool) -> Option<usize> {
    let fraction = |model: usize| policy.models[model].fraction.value();
    let models = || (0..policy.models.len()).filter(|model| allowed(*model) && fraction(*model) > 0.0);
    let total: f64 = models().map(fraction).sum();
    let draw = uniform(mix(hash ^ policy.routing.salt)) * total;
    let mut sum = 0.0;
    let mut chosen = None;
    for model in models() {
        sum += fraction(model);
        chosen = Some(model);
        if draw < sum {
            break;
        }
    }
    chosen
}
