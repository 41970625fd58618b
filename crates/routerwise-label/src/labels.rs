//! What is known after a run: a table of scores, and counts.

use std::collections::BTreeMap;

use routerwise_types::labels::{Endpoint, Question};

use crate::chat::Answer;
use crate::heard::heard;
use crate::journal::Journal;
use crate::run::{Run, answer_key, score_key};
use crate::score::{self, Remark, Scored, Scorer};

/// Everything that is known about the questions of a run.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    /// For the scores file.
    pub table: LabelTable,
    /// The answers' texts, in the layout of the scores.
    pub answers: Vec<Vec<Option<String>>>,
    /// One per model.
    pub models: Vec<ModelTally>,
    /// Answers that the judge was asked about in both orders, and how often the order changed its verdict.
    pub orders: Option<(usize, usize)>,
}

/// Labelled prompts, ready to be written as a scores file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelTable {
    /// Names of the score columns.
    pub models: Vec<String>,
    /// One per prompt.
    pub rows: Vec<LabelRow>,
}

/// One labelled prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelRow {
    /// Identity of the prompt.
    pub id: String,
    /// Where it comes from.
    pub source: Option<String>,
    /// Its text.
    pub text: String,
    /// Its length as the models' endpoints count it.
    pub prompt_tokens: Option<u32>,
    /// How often it is asked, relative to the others.
    pub weight: f64,
    /// In the order of the models; absent where an answer could not be had or not be scored.
    pub scores: Vec<Option<f64>>,
    /// Lengths of the answers, in the order of the models.
    pub output_tokens: Vec<Option<u32>>,
}

impl Labels {
    /// Answers that could not be had.
    #[must_use]
    pub fn n_unanswered(&self) -> usize {
        self.models
            .iter()
            .map(|model| self.table.rows.len() - model.n_answered)
            .sum()
    }

    /// Scores that another try may bring.
    #[must_use]
    pub fn n_unscored(&self) -> usize {
        let of = |model: &ModelTally| {
            let may_pass = [
                Remark::CommandFailed,
                Remark::CommandLate,
                Remark::CommandUnreadable,
                Remark::NotJudged,
            ];
            may_pass
                .iter()
                .filter_map(|remark| model.remarks.get(remark))
                .sum::<usize>()
        };
        self.models.iter().map(of).sum()
    }
}

/// Counts of one model.
#[derive(Clone, Debug, Default)]
pub struct ModelTally {
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
    /// Tokens of all prompts, as far as the endpoint counted them.
    pub input_tokens: u64,
    /// Tokens of all answers.
    pub output_tokens: u64,
    /// Why answers have no score, or what is odd about it.
    pub remarks: BTreeMap<Remark, usize>,
}

impl Run {
    /// Everything that is known about these questions.
    #[must_use]
    pub fn labels(&self, questions: &[&Question], journal: &Journal) -> Labels {
        let endpoints: Vec<&Endpoint> = self.models.iter().map(|caller| &caller.endpoint).collect();
        let mut labels = Labels {
            models: endpoints
                .iter()
                .map(|endpoint| ModelTally {
                    name: endpoint.name.clone(),
                    ..ModelTally::default()
                })
                .collect(),
            ..Labels::default()
        };
        labels.table.models = endpoints.iter().map(|endpoint| endpoint.name.clone()).collect();
        let mut sums = vec![(0.0, 0.0); endpoints.len()];
        for question in questions {
            let mut row = LabelRow {
                id: question.id.clone(),
                source: question.source.clone(),
                // What a predictor will read when such a chat is served.
                text: question.chat.as_ref().map_or_else(|| question.text.clone(), heard),
                prompt_tokens: None,
                weight: question.weight,
                scores: Vec::new(),
                output_tokens: Vec::new(),
            };
            let mut texts = Vec::new();
            for (ix, endpoint) in endpoints.iter().enumerate() {
                let answer = journal.answer(&answer_key(endpoint, question));
                let scored = answer.map(|answer| self.scored(endpoint, question, answer, journal));
                let score = scored.and_then(|scored| scored.score);
                row.prompt_tokens = row.prompt_tokens.or(answer.and_then(|answer| answer.prompt_tokens));
                row.output_tokens.push(answer.and_then(|answer| answer.output_tokens));
                row.scores.push(score);
                labels.models[ix].count(answer, scored);
                if let Some(score) = score {
                    sums[ix].0 += question.weight * score;
                    sums[ix].1 += question.weight;
                }
                texts.push(answer.map(|answer| answer.text.clone()));
            }
            labels.table.rows.push(row);
            labels.answers.push(texts);
        }
        for (tally, (sum, weight)) in labels.models.iter_mut().zip(sums) {
            tally.mean_score = (weight > 0.0).then(|| sum / weight);
        }
        labels.orders = self.orders(questions, journal);
        labels
    }

    fn scored(&self, endpoint: &Endpoint, question: &Question, answer: &Answer, journal: &Journal) -> Scored {
        if let Some(scored) = score::by_rule(&self.scorer, question, answer) {
            return scored;
        }
        match &*self.scorer {
            Scorer::Command(command) => {
                let key = score_key(&command.line, endpoint, question);
                let failed = || self.failures.borrow().get(&key).map(|(remark, _)| *remark);
                match journal.score(&key) {
                    Some(Some(score)) => Scored::of(score),
                    Some(None) => Scored::none(Remark::Abstained),
                    None => Scored::none(failed().unwrap_or(Remark::CommandFailed)),
                }
            }
            Scorer::Judge(judge) => match self.judged(endpoint, question, journal) {
                // The answer that all others are compared with draws with itself.
                None => Scored::of(0.5),
                Some(Err(remark)) => Scored::none(remark),
                Some(Ok(prompts)) => {
                    let replies: Option<Vec<&str>> = prompts
                        .iter()
                        .map(|prompt| journal.answer(&judge.key(prompt)).map(|reply| reply.text.as_str()))
                        .collect();
                    let score = replies
                        .ok_or(Remark::NotJudged)
                        .and_then(|replies| judge.score(&replies));
                    score.map_or_else(Scored::none, Scored::of)
                }
            },
            Scorer::Exact | Scorer::Choice | Scorer::Pattern(_) => unreachable!("scored by a rule above"),
        }
    }

    fn orders(&self, questions: &[&Question], journal: &Journal) -> Option<(usize, usize)> {
        let Scorer::Judge(judge) = &*self.scorer else {
            return None;
        };
        if judge.asks_per_answer() == 1 {
            return None;
        }
        let mut counts = (0, 0);
        for question in questions {
            for model in &self.models {
                let Some(Ok(prompts)) = self.judged(&model.endpoint, question, journal) else {
                    continue;
                };
                let replies = prompts.iter().map(|prompt| journal.answer(&judge.key(prompt)));
                let replies: Option<Vec<&str>> = replies.map(|reply| reply.map(|reply| reply.text.as_str())).collect();
                if let Some(replies) = replies
                    && judge.score(&replies).is_ok()
                {
                    counts.0 += 1;
                    counts.1 += usize::from(judge.depends_on_order(&replies));
                }
            }
        }
        Some(counts)
    }
}

impl ModelTally {
    fn count(&mut self, answer: Option<&Answer>, scored: Option<Scored>) {
        if let Some(answer) = answer {
            self.n_answered += 1;
            self.n_cut_off += usize::from(answer.cut_off);
            self.n_empty += usize::from(answer.text.trim().is_empty());
            self.input_tokens += u64::from(answer.prompt_tokens.unwrap_or(0));
            self.output_tokens += u64::from(answer.output_tokens.unwrap_or(0));
        }
        if let Some(scored) = scored {
            self.n_scored += usize::from(scored.score.is_some());
            if let Some(remark) = scored.remark {
                *self.remarks.entry(remark).or_insert(0) += 1;
            }
        }
    }
}
