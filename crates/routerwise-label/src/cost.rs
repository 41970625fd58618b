//! What a run will ask for, before it does.

use routerwise_types::labels::{Endpoint, Question};

use crate::chat;
use crate::journal::Journal;
use crate::run::answer_key;
use crate::score::Scorer;

/// Bytes of a token, about: English text in the usual vocabularies has four to five, other scripts fewer characters but more bytes.
const BYTES_PER_TOKEN: usize = 4;

/// What one endpoint will be asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Its name.
    pub name: String,
    /// Requests that are still to be sent.
    pub n_requests: usize,
    /// Tokens of all their prompts, about.
    pub input_tokens: f64,
    /// Tokens of all answers, if each is as long as it may be.
    pub output_tokens_max: f64,
    /// What they cost at most; absent without a price.
    pub cost_max: Option<f64>,
}

impl Load {
    fn of(endpoint: &Endpoint, n_requests: usize, input_tokens: f64) -> Self {
        let output_tokens_max = n_requests as f64 * f64::from(endpoint.max_tokens);
        Self {
            name: endpoint.name.clone(),
            n_requests,
            input_tokens,
            output_tokens_max,
            cost_max: endpoint.price.map(|price| price.of(input_tokens, output_tokens_max)),
        }
    }
}

/// What is still to be asked for, of each model and then of the judge.
#[must_use]
pub fn estimate(models: &[Endpoint], scorer: &Scorer, questions: &[&Question], journal: &Journal) -> Vec<Load> {
    let mut loads = Vec::new();
    for model in models {
        let open = questions
            .iter()
            .filter(|question| journal.answer(&answer_key(model, question)).is_none());
        let lengths: Vec<usize> = open.map(|question| asked(model, question)).collect();
        let bytes: usize = lengths.iter().sum();
        loads.push(Load::of(model, lengths.len(), tokens(bytes)));
    }
    if let Scorer::Judge(judge) = scorer {
        // Answers that are still unknown count as long as they may be, those that are judged already count again: at most this.
        let n_judged = models.len() - usize::from(judge.baseline.is_some());
        let longest: usize = models.iter().map(|model| model.max_tokens as usize).max().unwrap_or(0);
        let bytes: usize = questions
            .iter()
            .map(|question| {
                judge.template_len() + question.text.len() + question.reference.as_ref().map_or(0, String::len)
            })
            .sum();
        let shown = 1 + usize::from(judge.baseline.is_some());
        let answers = (longest * shown * questions.len()) as f64;
        let times = n_judged * judge.asks_per_answer();
        loads.push(Load::of(
            &judge.endpoint,
            questions.len() * times,
            (tokens(bytes) + answers) * times as f64,
        ));
    }
    loads
}

fn asked(model: &Endpoint, question: &Question) -> usize {
    let system = model.system.as_ref().map_or(0, String::len);
    system
        + question
            .chat
            .as_ref()
            .map_or(question.text.len(), |_| chat::messages(question).to_string().len())
}

fn tokens(bytes: usize) -> f64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as f64
}
