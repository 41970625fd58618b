//! What asks a router, and what it may answer: the place where a simulator or a gateway plugs a rule in.

use crate::policy::Policy;

/// A request that needs a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ask<'a> {
    /// Score of every model for its prompt.
    pub scores: &'a [f32],
    /// Its number: another one for every request.
    pub request: u64,
    /// Hash of its prompt: the same for the same prompt.
    pub prompt_hash: u64,
    /// Requests in flight on each model, per replica; 0 for models that are off.
    pub outstanding: &'a [f64],
    /// Models that have answered it so far, in order; empty when it comes in.
    pub answered: &'a [usize],
}

/// Decides which model is asked next.
pub trait Router {
    /// The model to ask. Nothing when a request comes in: it is refused. Nothing after an answer: that answer stands.
    fn next(&self, ask: &Ask<'_>) -> Option<usize>;

    /// Whether an answer may be rejected and another model asked.
    fn asks_again(&self) -> bool {
        false
    }
}

impl Router for Policy {
    fn next(&self, ask: &Ask<'_>) -> Option<usize> {
        if ask.answered.is_empty() {
            self.choose(ask.scores, ask.prompt_hash)
        } else {
            None
        }
    }
}
