//! Labelling in rounds: what the labels so far leave open is drawn more often for the next.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use routerwise_label::active::{Known, draw};
use routerwise_label::labels::Labels;
use routerwise_label::{Journal, Run, sample};
use routerwise_types::Fingerprint;
use routerwise_types::labels::{Endpoint, Question};

use super::journal_failure;
use crate::failure::Failure;

/// Rounds in a run; more would ask more often for little that is new.
const ROUNDS: usize = 4;
/// Fewest prompts of the first round, which is drawn by chance.
const FIRST_MIN: usize = 60;

/// What a choice depends on.
pub(super) struct Choice<'a> {
    pub(super) questions: &'a [Question],
    pub(super) models: &'a [Endpoint],
    /// Part of the prompts that each model is to get.
    pub(super) fractions: Vec<f64>,
    pub(super) sample: usize,
    pub(super) seed: u64,
}

impl Choice<'_> {
    /// Names the choice in the journal.
    fn key(&self) -> Fingerprint {
        let ids: Vec<&str> = self.questions.iter().map(|question| question.id.as_str()).collect();
        let names: Vec<&str> = self.models.iter().map(|model| model.name.as_str()).collect();
        Fingerprint::of(&("chosen", ids, names, &self.fractions, (self.sample, self.seed)))
    }

    /// Draws and labels round by round. Returns what was drawn, each with the weight that undoes its draw.
    pub(super) fn label(
        &self,
        run: &Run,
        journal: &RefCell<Journal>,
        label: &dyn Fn(&[&Question]) -> Result<(), Failure>,
    ) -> Result<Vec<Question>, Failure> {
        let key = self.key();
        let wanted = self.sample.min(self.questions.len());
        let first = wanted.div_ceil(ROUNDS).max(FIRST_MIN);
        let by_id: BTreeMap<&str, &Question> = self.questions.iter().map(|q| (q.id.as_str(), q)).collect();
        let mut drawn: Vec<Question> = Vec::new();
        for round in 0.. {
            let left = wanted - drawn.len();
            if left == 0 || run.is_stopped() || run.is_hopeless() {
                break;
            }
            let known = journal.borrow().chosen(&key).get(round).cloned();
            let chosen = match known {
                Some(known) => known,
                None => {
                    let chosen = self.draw(run, &journal.borrow(), &drawn, first.min(left), round);
                    journal
                        .borrow_mut()
                        .add_chosen(&key, chosen.clone())
                        .map_err(journal_failure)?;
                    chosen
                }
            };
            let chosen = chosen
                .iter()
                .filter_map(|(id, weight)| Some((*by_id.get(id.as_str())?, weight)));
            let chosen: Vec<Question> = chosen
                .map(|(question, weight)| Question {
                    weight: question.weight * weight,
                    ..question.clone()
                })
                .collect();
            label(&chosen.iter().collect::<Vec<_>>())?;
            drawn.extend(chosen);
        }
        Ok(drawn)
    }

    fn draw(&self, run: &Run, journal: &Journal, drawn: &[Question], count: usize, round: usize) -> Vec<(String, f64)> {
        let taken: BTreeSet<&str> = drawn.iter().map(|question| question.id.as_str()).collect();
        let order = sample::shuffled(self.questions.len(), self.seed);
        let pool: Vec<&Question> = order.into_iter().map(|ix| &self.questions[ix]).collect();
        let pool: Vec<&Question> = pool
            .into_iter()
            .filter(|question| !taken.contains(question.id.as_str()))
            .collect();
        let labels = run.labels(&drawn.iter().collect::<Vec<_>>(), journal);
        let chosen = (round > 0)
            .then(|| self.by_committee(&labels, &pool, count, round))
            .flatten();
        // By chance at first, and where nothing can be learned yet.
        chosen.unwrap_or_else(|| {
            pool.iter()
                .take(count)
                .map(|question| (question.id.clone(), 1.0))
                .collect()
        })
    }

    fn by_committee(
        &self,
        labels: &Labels,
        pool: &[&Question],
        count: usize,
        round: usize,
    ) -> Option<Vec<(String, f64)>> {
        let complete: Vec<_> = labels
            .table
            .rows
            .iter()
            .filter(|row| row.scores.iter().all(Option::is_some))
            .collect();
        let texts: Vec<String> = complete.iter().map(|row| row.text.clone()).collect();
        #[expect(clippy::cast_possible_truncation, reason = "a score needs no more than seven digits")]
        let column = |ix: usize| {
            complete
                .iter()
                .map(|row| row.scores[ix].unwrap_or_default() as f32)
                .collect()
        };
        let columns: Vec<Vec<f32>> = (0..self.models.len()).map(column).collect();
        let known = Known {
            models: &labels.table.models,
            texts: &texts,
            labels: &columns,
            fractions: &self.fractions,
        };
        let pool_texts: Vec<&str> = pool.iter().map(|question| question.text.as_str()).collect();
        let drawn = draw(known, &pool_texts, count, self.seed.wrapping_add(round as u64)).ok()?;
        Some(
            drawn
                .into_iter()
                .map(|drawn| (pool[drawn.ix].id.clone(), drawn.weight))
                .collect(),
        )
    }
}

/// The fractions that the user gives, or even ones.
pub(super) fn fractions(given: &[String], models: &[Endpoint]) -> Result<Vec<f64>, Failure> {
    if given.is_empty() {
        #[expect(clippy::cast_precision_loss, reason = "a handful of models")]
        return Ok(vec![1.0 / models.len() as f64; models.len()]);
    }
    let wrong = |what: String| Failure::Request {
        what,
        help: "write `--fractions small=0.7,large=0.3`; parts are scaled to sum to 1".into(),
    };
    let mut parts = vec![0.0; models.len()];
    for entry in given {
        let read = entry.rsplit_once('=').and_then(|(name, part)| {
            let ix = models.iter().position(|model| model.name == name.trim())?;
            let part: f64 = part.trim().parse().ok().filter(|part| (0.0..=1e6).contains(part))?;
            Some((ix, part))
        });
        let (ix, part) =
            read.ok_or_else(|| wrong(format!("`--fractions` has `{entry}`, which is no part of a model")))?;
        parts[ix] = part;
    }
    let sum: f64 = parts.iter().sum();
    if sum <= 0.0 {
        return Err(wrong("`--fractions` gives no model anything".into()));
    }
    Ok(parts.into_iter().map(|part| part / sum).collect())
}
