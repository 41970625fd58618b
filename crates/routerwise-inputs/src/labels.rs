//! Tables of prompts with measured scores, as predictors are learned from and judged on: any number of models, no scenario.
//!
//! Columns: `prompt_id`, `prompt`, one `score:<model>` per model; `label:<model>` where `score:<model>` holds predictions; and where they
//! are there `source`, `pred:<predictor>:<model>`, `prompt_tokens`, `weight`, `output_tokens:<model>`.

use std::collections::BTreeMap;
use std::path::Path;

use routerwise_types::Fingerprint;

use crate::columns::{self, Columns};
use crate::file::{self, Wrong};
use crate::problem::{Problem, Problems};
use crate::text::{nearest, quoted};

/// Column that says what predicted the scores, the same in every row.
pub const PREDICTED_BY: &str = "predicted_by";
/// Column that says how much a prompt counts.
const WEIGHT: &str = "weight";

/// Prompts with the measured score of each model.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// Row of each prompt in the file, counted from 0.
    pub rows: Vec<usize>,
    /// Name of each prompt; its row, counted from 1, where the file has no `prompt_id`.
    pub ids: Vec<String>,
    /// Text of each prompt; empty where the file has none.
    pub texts: Vec<String>,
    /// Where each prompt comes from; empty where the file does not say.
    pub sources: Vec<String>,
    /// How much each prompt counts, relative to the others; 1 where the file does not say.
    pub weights: Vec<f32>,
    /// Names of the models.
    pub models: Vec<String>,
    /// For each model one score per prompt, in [0, 1].
    pub columns: Vec<Vec<f32>>,
    /// What `score:<model>` predicts, in the same layout, where every model has a `label:<model>` beside it.
    pub predicted: Option<Vec<Vec<f32>>>,
    /// What the predictions are by, where the file says so.
    pub predicted_by: Option<String>,
    /// Predictions of others that the file holds: by predictor, for each model one per prompt; not a number where there is none.
    pub published: BTreeMap<String, Vec<Vec<f32>>>,
    /// Prompts that were left out because a model has no score for them.
    pub n_dropped: usize,
    /// Of the file's bytes.
    pub fingerprint: Fingerprint,
}

impl Labels {
    /// Some of the prompts, in the order given.
    ///
    /// # Panics
    /// When a row is out of range.
    #[must_use]
    pub fn of(&self, rows: &[usize]) -> Self {
        let texts = |all: &[String]| rows.iter().map(|row| all[*row].clone()).collect();
        let numbers = |all: &Vec<f32>| rows.iter().map(|row| all[*row]).collect();
        let table = |columns: &Vec<Vec<f32>>| columns.iter().map(numbers).collect();
        Self {
            rows: rows.iter().map(|row| self.rows[*row]).collect(),
            ids: texts(&self.ids),
            texts: texts(&self.texts),
            sources: texts(&self.sources),
            weights: numbers(&self.weights),
            models: self.models.clone(),
            predicted: self.predicted.as_ref().map(table),
            predicted_by: self.predicted_by.clone(),
            columns: table(&self.columns),
            published: self
                .published
                .iter()
                .map(|(name, columns)| (name.clone(), table(columns)))
                .collect(),
            n_dropped: self.n_dropped,
            fingerprint: self.fingerprint.clone(),
        }
    }
}

/// Reads the scores of the models named, or of all that the file has when none is.
///
/// # Errors
/// Every problem of the file.
pub fn read(path: &Path, only: &[String]) -> Result<Labels, Problems> {
    let one = |problem: Problem| Problems(vec![problem]);
    let wanted = |name: &str| {
        ["prompt_id", "prompt", "source", WEIGHT, PREDICTED_BY].contains(&name)
            || ["score:", "label:", "pred:"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
    };
    let bytes = file::bytes(path).map_err(|wrong| one(wrong.at(path)))?;
    let columns = columns::read(path, &wanted).map_err(|wrong| one(wrong.at(path)))?;
    let mut problems = Vec::new();
    let models = models(path, &columns, only, &mut problems);
    let scores: Vec<Vec<Option<f32>>> = models
        .iter()
        .filter_map(|model| {
            scores(&columns, model)
                .map_err(|wrong| problems.push(wrong.at(path)))
                .ok()
        })
        .collect();
    let weights = weights(&columns).unwrap_or_else(|wrong| {
        problems.push(wrong.at(path));
        Vec::new()
    });
    if columns.n_rows == 0 {
        problems.push(Problem::new(path, "holds no prompts").help("add at least one row below the header"));
    }
    if !problems.is_empty() {
        return Err(Problems(problems));
    }
    let complete = |row: &usize| scores.iter().all(|column| column[*row].is_some());
    let kept: Vec<usize> = (0..columns.n_rows).filter(complete).collect();
    if kept.is_empty() {
        let problem = Problem::new(path, "has no prompt that every model has a score for");
        return Err(one(
            problem.help("leave out the model with the most missing scores: name the others")
        ));
    }
    let texts = |name: &str| {
        let column = columns.texts(name);
        let text = |row: &usize| column.as_ref().and_then(|column| column[*row].clone());
        kept.iter().map(text).collect::<Vec<Option<String>>>()
    };
    let ids = kept.iter().zip(texts("prompt_id"));
    Ok(Labels {
        ids: ids
            .map(|(row, id)| id.unwrap_or_else(|| (row + 1).to_string()))
            .collect(),
        texts: texts("prompt").into_iter().map(Option::unwrap_or_default).collect(),
        sources: texts("source").into_iter().map(Option::unwrap_or_default).collect(),
        weights: kept.iter().map(|row| weights[*row]).collect(),
        predicted: predicted(&columns, &models, &kept),
        predicted_by: texts(PREDICTED_BY).into_iter().flatten().next(),
        published: published(&columns, &models, &kept),
        columns: scores
            .iter()
            .map(|column| kept.iter().map(|row| column[*row].unwrap_or_default()).collect())
            .collect(),
        models,
        n_dropped: columns.n_rows - kept.len(),
        rows: kept,
        fingerprint: Fingerprint::of_bytes(&bytes),
    })
}

/// The models asked for, or all, in the order of the file.
fn models(path: &Path, columns: &Columns, only: &[String], problems: &mut Vec<Problem>) -> Vec<String> {
    let mut there: Vec<String> = Vec::new();
    for name in &columns.names {
        let model = name.strip_prefix("score:").or_else(|| name.strip_prefix("label:"));
        if let Some(model) = model.filter(|model| !there.iter().any(|known| known == model)) {
            there.push(model.to_owned());
        }
    }
    if there.is_empty() {
        let problem = Problem::new(path, "has no column `score:<model>`");
        problems.push(problem.help("name the columns of scores after their models, as in `score:llama-3.1-8b`"));
    }
    if only.is_empty() {
        return there;
    }
    for name in only.iter().filter(|name| !there.contains(name)) {
        let hint = nearest(name, there.iter().map(String::as_str));
        let hint = hint.map_or(String::new(), |nearest| format!("did you mean `{nearest}`? "));
        let problem = Problem::new(path, format!("has no scores of model `{name}`"));
        problems.push(problem.help(format!("{hint}there are {}", quoted(&there))));
    }
    there.retain(|model| only.contains(model));
    there
}

/// Measured scores of a model: `label:<model>`, or `score:<model>` where there is no such column.
fn scores(columns: &Columns, model: &str) -> Result<Vec<Option<f32>>, Wrong> {
    let label = format!("label:{model}");
    let name = if columns.names.contains(&label) {
        label
    } else {
        format!("score:{model}")
    };
    let numbers = columns.numbers(&name).expect("the models are those of the file");
    let numbers = numbers?;
    let wrong = |score: &Option<f64>| score.is_some_and(|score| !(0.0..=1.0).contains(&score));
    if let Some(row) = numbers.iter().position(wrong) {
        let shown = numbers[row].unwrap_or_default();
        let what = format!("has the score {shown} in column `{name}`, row {}", row + 1);
        return Err(Wrong::new(
            what,
            "scale scores to lie between 0 (useless) and 1 (perfect)",
        ));
    }
    Ok(numbers.into_iter().map(|score| score.map(narrow)).collect())
}

/// How much each row counts.
fn weights(columns: &Columns) -> Result<Vec<f32>, Wrong> {
    let Some(numbers) = columns.numbers(WEIGHT) else {
        return Ok(vec![1.0; columns.n_rows]);
    };
    let numbers = numbers?;
    let weight = |(row, weight): (usize, Option<f64>)| match weight.unwrap_or(1.0) {
        weight if weight > 0.0 && weight < 1e9 => Ok(narrow(weight)),
        weight => Err(Wrong::new(
            format!("has the weight {weight} in column `{WEIGHT}`, row {}", row + 1),
            "write a positive number, or leave the column out to weigh all alike",
        )),
    };
    numbers.into_iter().enumerate().map(weight).collect()
}

/// What `score:<model>` holds where `label:<model>` holds what was measured, of every model.
fn predicted(columns: &Columns, models: &[String], kept: &[usize]) -> Option<Vec<Vec<f32>>> {
    let column = |model: &String| -> Option<Vec<f32>> {
        if !columns.names.contains(&format!("label:{model}")) {
            return None;
        }
        let numbers = columns.numbers(&format!("score:{model}"))?.ok()?;
        kept.iter().map(|row| numbers[*row].map(narrow)).collect()
    };
    models.iter().map(column).collect()
}

/// Columns `pred:<predictor>:<model>`, of predictors that have one for every model.
fn published(columns: &Columns, models: &[String], kept: &[usize]) -> BTreeMap<String, Vec<Vec<f32>>> {
    let predictors = columns
        .names
        .iter()
        .filter_map(|name| name.strip_prefix("pred:")?.split_once(':'));
    let predictors: std::collections::BTreeSet<&str> = predictors.map(|(predictor, _)| predictor).collect();
    let of = |predictor: &str| -> Option<Vec<Vec<f32>>> {
        let column = |model: &String| {
            let numbers = columns.numbers(&format!("pred:{predictor}:{model}"))?.ok()?;
            Some(kept.iter().map(|row| numbers[*row].map_or(f32::NAN, narrow)).collect())
        };
        models.iter().map(column).collect()
    };
    predictors
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), of(name)?)))
        .collect()
}

#[expect(clippy::cast_possible_truncation, reason = "a score needs no more than seven digits")]
fn narrow(score: f64) -> f32 {
    score as f32
}
