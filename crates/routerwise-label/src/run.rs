//! One labelling run: asks what the journal does not have, then scores.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::{env, thread};

use futures_util::stream::{self, TryStreamExt as _};
use routerwise_types::Fingerprint;
use routerwise_types::labels::{Endpoint, Question};
use serde_json::json;
use tokio::sync::watch;

use crate::chat::{self, Answer};
use crate::endpoint::{Caller, Patience};
use crate::journal::{Journal, JournalError};
use crate::score::{self, Remark, Scorer};
use crate::trouble::{Trouble, TroubleKind};

/// Answers that are scored before all others are asked for: a command that always fails must not cost a whole run first.
const TRIED_FIRST: usize = 4;

/// Why a run cannot start.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A key is not there.
    #[error("the environment has no `{variable}`, which is to hold the key of `{endpoint}`")]
    NoKey {
        /// Whose key.
        endpoint: String,
        /// Where it should be.
        variable: String,
    },
    /// The system does not let us.
    #[error("failed preparing to send requests")]
    Client(#[from] reqwest::Error),
}

/// Something that a progress display wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request, a verdict or a command is done, well or not.
    Done,
    /// One of them went wrong for good.
    Failed,
}

/// An endpoint that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEndpoint {
    /// Its name.
    pub name: String,
    /// What it or the system said.
    pub said: String,
}

/// What went wrong in a run, by endpoint and kind: how often, and what was said the first time.
pub type Troubles = BTreeMap<(String, TroubleKind), (usize, String)>;

/// A run.
#[derive(Debug)]
pub struct Run {
    pub(crate) models: Vec<Caller>,
    judge: Option<Caller>,
    pub(crate) scorer: Arc<Scorer>,
    troubles: RefCell<Troubles>,
    /// Failures of the command in this run; by answer, so that a second try replaces the first.
    pub(crate) failures: RefCell<BTreeMap<Fingerprint, (Remark, String)>>,
}

/// Names an answer in the journal, by all that it depends on.
#[must_use]
pub fn answer_key(model: &Endpoint, question: &Question) -> Fingerprint {
    Fingerprint::of(&(
        "answer",
        (&model.url, &model.served_name, &model.system),
        (model.max_tokens, model.temperature, &model.extra),
        (&question.text, &question.chat),
    ))
}

impl Run {
    /// Prepares a run. Keys are read from the environment; once `stop` holds true, nothing new is asked.
    ///
    /// # Errors
    /// When a key is missing or the system has no certificates.
    pub fn new(
        models: &[Endpoint],
        scorer: Scorer,
        patience: Patience,
        stop: &watch::Receiver<bool>,
    ) -> Result<Self, SetupError> {
        let client = chat::client()?;
        let caller = |endpoint: &Endpoint| {
            let key = key(endpoint)?;
            Ok::<_, SetupError>(Caller::new(
                endpoint.clone(),
                client.clone(),
                key,
                patience,
                stop.clone(),
            ))
        };
        let judge = match &scorer {
            Scorer::Judge(judge) => Some(caller(&judge.endpoint)?),
            _ => None,
        };
        Ok(Self {
            models: models.iter().map(caller).collect::<Result<_, _>>()?,
            judge,
            scorer: Arc::new(scorer),
            troubles: RefCell::default(),
            failures: RefCell::default(),
        })
    }

    /// The scorer.
    #[must_use]
    pub fn scorer(&self) -> &Scorer {
        &self.scorer
    }

    /// Asks every endpoint for one token; returns those that do not answer.
    pub async fn check(&self) -> Vec<BadEndpoint> {
        let all = self.models.iter().chain(&self.judge);
        let checks = all.map(async |caller: &Caller| {
            let said = caller.check().await.err()?;
            let name = caller.endpoint.name.clone();
            Some(BadEndpoint { name, said })
        });
        futures_util::future::join_all(checks)
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    /// How many [`Event`]s a call of [`Run::label`] will make at most.
    #[must_use]
    pub fn n_steps(&self, questions: &[&Question], journal: &Journal) -> usize {
        let open = |caller: &Caller| {
            let open = questions
                .iter()
                .filter(|question| journal.answer(&answer_key(&caller.endpoint, question)).is_none());
            open.count()
        };
        let asked: usize = self.models.iter().map(open).sum();
        let per_answer = match &*self.scorer {
            Scorer::Judge(judge) => judge.asks_per_answer(),
            Scorer::Command(_) => 1,
            Scorer::Exact | Scorer::Choice | Scorer::Pattern(_) => 0,
        };
        asked + per_answer * self.models.len() * questions.len()
    }

    /// Asks and scores what the journal does not have.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn label(
        &self,
        questions: &[&Question],
        journal: &RefCell<Journal>,
        seen: &dyn Fn(Event),
    ) -> Result<(), JournalError> {
        let (first, rest) = questions.split_at(questions.len().min(TRIED_FIRST));
        for part in [first, rest] {
            self.ask_all(part, journal, seen).await?;
            match &*self.scorer {
                Scorer::Judge(_) => self.judge_all(part, journal, seen).await?,
                Scorer::Command(_) => self.command_all(part, journal, seen).await?,
                Scorer::Exact | Scorer::Choice | Scorer::Pattern(_) => {}
            }
            if self.is_hopeless() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the user has stopped it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.models.iter().any(Caller::is_stopped)
    }

    /// Whether to go on makes no sense: the command failed on every answer so far, or nobody is left to answer.
    #[must_use]
    pub fn is_hopeless(&self) -> bool {
        let all_dead = self.models.iter().all(Caller::is_dead);
        let judge_dead = self.judge.as_ref().is_some_and(Caller::is_dead);
        all_dead || judge_dead || self.command_trouble().is_some()
    }

    /// What the command said, where it has failed on all that it was tried on first.
    #[must_use]
    pub fn command_trouble(&self) -> Option<String> {
        let failures = self.failures.borrow();
        let (remark, said) = failures.values().next()?;
        let tried = TRIED_FIRST * self.models.len();
        (failures.len() >= tried).then(|| format!("{remark} ({said})"))
    }

    async fn ask_all(
        &self,
        questions: &[&Question],
        journal: &RefCell<Journal>,
        seen: &dyn Fn(Event),
    ) -> Result<(), JournalError> {
        let of_model = async |caller: &Caller| {
            let open = |question: &&&Question| {
                let key = answer_key(&caller.endpoint, question);
                journal.borrow().answer(&key).is_none()
            };
            let open: Vec<&Question> = questions.iter().filter(open).copied().collect();
            stream::iter(open.into_iter().map(Ok))
                .try_for_each_concurrent(caller.endpoint.concurrency as usize, async |question| {
                    let key = answer_key(&caller.endpoint, question);
                    self.obtain(caller, &key, chat::messages(question), journal, seen).await
                })
                .await
        };
        let all = self.models.iter().map(of_model);
        futures_util::future::try_join_all(all).await.map(drop)
    }

    /// Asks an endpoint and keeps the answer.
    async fn obtain(
        &self,
        caller: &Caller,
        key: &Fingerprint,
        messages: serde_json::Value,
        journal: &RefCell<Journal>,
        seen: &dyn Fn(Event),
    ) -> Result<(), JournalError> {
        if caller.is_stopped() || caller.is_dead() {
            return Ok(());
        }
        match caller.ask(messages).await {
            Ok(answer) => {
                journal.borrow_mut().add_answer(key, answer)?;
                seen(Event::Done);
            }
            Err(trouble) => {
                self.note(&caller.endpoint.name, trouble);
                seen(Event::Failed);
            }
        }
        Ok(())
    }

    fn note(&self, name: &str, trouble: Trouble) {
        let mut troubles = self.troubles.borrow_mut();
        let entry = troubles.entry((name.to_owned(), trouble.kind));
        entry.or_insert_with(|| (0, trouble.said)).0 += 1;
    }

    async fn judge_all(
        &self,
        questions: &[&Question],
        journal: &RefCell<Journal>,
        seen: &dyn Fn(Event),
    ) -> Result<(), JournalError> {
        let (Scorer::Judge(judge), Some(caller)) = (&*self.scorer, &self.judge) else {
            return Ok(());
        };
        let mut prompts = BTreeMap::new();
        for question in questions {
            for model in &self.models {
                let of_answer = self.judged(&model.endpoint, question, &journal.borrow());
                for prompt in of_answer.and_then(Result::ok).unwrap_or_default() {
                    prompts.insert(judge.key(&prompt), prompt);
                }
            }
        }
        prompts.retain(|key, _| journal.borrow().answer(key).is_none());
        stream::iter(prompts.into_iter().map(Ok))
            .try_for_each_concurrent(caller.endpoint.concurrency as usize, async |(key, prompt)| {
                let messages = json!([{"role": "user", "content": prompt}]);
                self.obtain(caller, &key, messages, journal, seen).await
            })
            .await
    }

    /// What the judge is asked about an answer; `None` without an answer, or where the answer is the one compared with.
    pub(crate) fn judged(
        &self,
        model: &Endpoint,
        question: &Question,
        journal: &Journal,
    ) -> Option<Result<Vec<String>, Remark>> {
        let Scorer::Judge(judge) = &*self.scorer else {
            return None;
        };
        let answer = journal.answer(&answer_key(model, question))?;
        let Some(baseline) = &judge.baseline else {
            return Some(judge.prompts(question, &answer.text, question.reference.as_deref()));
        };
        if *baseline == model.name {
            return None;
        }
        let baseline = self.models.iter().find(|caller| caller.endpoint.name == *baseline)?;
        let other = journal.answer(&answer_key(&baseline.endpoint, question));
        Some(judge.prompts(question, &answer.text, other.map(|other| other.text.as_str())))
    }

    async fn command_all(
        &self,
        questions: &[&Question],
        journal: &RefCell<Journal>,
        seen: &dyn Fn(Event),
    ) -> Result<(), JournalError> {
        let Scorer::Command(command) = &*self.scorer else {
            return Ok(());
        };
        let mut jobs = Vec::new();
        for question in questions {
            for caller in &self.models {
                let key = score_key(&command.line, &caller.endpoint, question);
                let journal = journal.borrow();
                if let (None, Some(answer)) = (
                    journal.score(&key),
                    journal.answer(&answer_key(&caller.endpoint, question)),
                ) {
                    jobs.push((key, command_input(&caller.endpoint, question, answer)));
                }
            }
        }
        let at_once = thread::available_parallelism().map_or(2, usize::from);
        stream::iter(jobs.into_iter().map(Ok))
            .try_for_each_concurrent(at_once, async |(key, input)| {
                if self.is_stopped() {
                    return Ok(());
                }
                let command = command.clone();
                let ran = tokio::task::spawn_blocking(move || command.score(&input)).await;
                let ran = ran.expect("scoring by a command does not panic");
                match ran.scored.remark {
                    None | Some(Remark::Abstained) => {
                        self.failures.borrow_mut().remove(&key);
                        journal.borrow_mut().add_score(&key, ran.scored.score)?;
                        seen(Event::Done);
                    }
                    Some(remark) => {
                        self.failures.borrow_mut().insert(key, (remark, ran.said));
                        seen(Event::Failed);
                    }
                }
                Ok(())
            })
            .await
    }

    /// What went wrong so far.
    #[must_use]
    pub fn troubles(&self) -> Troubles {
        self.troubles.borrow().clone()
    }

    /// Tries beyond the first so far, of all endpoints.
    #[must_use]
    pub fn n_retried(&self) -> u32 {
        self.models.iter().chain(&self.judge).map(Caller::n_retried).sum()
    }

    /// What one of the command's failures said.
    #[must_use]
    pub fn command_said(&self) -> Option<String> {
        self.failures.borrow().values().next().map(|(_, said)| said.clone())
    }
}

fn key(endpoint: &Endpoint) -> Result<Option<String>, SetupError> {
    let Some(variable) = &endpoint.key_env else {
        return Ok(None);
    };
    let found = env::var(variable).ok().filter(|key| !key.is_empty());
    found.map(Some).ok_or_else(|| SetupError::NoKey {
        endpoint: endpoint.name.clone(),
        variable: variable.clone(),
    })
}

pub(crate) fn score_key(line: &str, model: &Endpoint, question: &Question) -> Fingerprint {
    Fingerprint::of(&("command", line, answer_key(model, question), &question.reference))
}

fn command_input(model: &Endpoint, question: &Question, answer: &Answer) -> serde_json::Value {
    json!({
        "prompt_id": question.id,
        "prompt": question.text,
        "answer": score::without_thoughts(&answer.text),
        "reference": question.reference,
        "source": question.source,
        "model": model.name,
    })
}
