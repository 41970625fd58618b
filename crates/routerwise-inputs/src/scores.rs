//! `scores.parquet` or `scores.csv`: the score of each model on each prompt.
//!
//! Columns: `prompt_id`, one `score:<model>` per model; and where they are there `prompt`, `prompt_tokens`, `weight` and
//! `output_tokens:<model>`, and those that tell routes apart. Others are not read.

use std::collections::BTreeSet;
use std::path::Path;

use routerwise_types::quality::{Prompt, Scores};
use routerwise_types::workload::{PromptFilter, Route};

use crate::columns::{self, Columns};
use crate::file::Wrong;
use crate::models::Models;
use crate::problem::Problem;
use crate::quantity::whole;
use crate::text::{nearest, quoted};

/// The scores, and how many prompts were left out for a missing score.
pub(crate) struct Read {
    pub(crate) scores: Scores,
    pub(crate) n_dropped: usize,
}

/// Reads the scores of the given models, or returns all problems of the file.
pub(crate) fn read(path: &Path, models: &Models, routes: &[Route]) -> Result<Read, Vec<Problem>> {
    let tells_routes = |name: &str| {
        routes
            .iter()
            .any(|route| matches!(&route.prompts, PromptFilter::Column { column, .. } if column == name))
    };
    let wanted = |name: &str| {
        let of_model = |prefix: &str| {
            name.strip_prefix(prefix)
                .is_some_and(|column| models.score_columns.iter().any(|known| known == column))
        };
        ["prompt_id", "prompt", "prompt_tokens", "weight"].contains(&name)
            || of_model("score:")
            || of_model("output_tokens:")
            || tells_routes(name)
    };
    let columns = columns::read(path, &wanted).map_err(|wrong| vec![wrong.at(path)])?;
    let mut reader = Reader {
        path,
        columns: &columns,
        problems: Vec::new(),
    };
    let read = reader.scores(models, routes);
    if reader.problems.is_empty() {
        read.ok_or_else(Vec::new)
    } else {
        Err(reader.problems)
    }
}

/// Values of a column that a message names.
const MOST_SHOWN: usize = 8;

struct Reader<'a> {
    path: &'a Path,
    columns: &'a Columns,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn refuse<T>(&mut self, what: impl Into<String>, help: impl Into<String>) -> Option<T> {
        self.problems.push(Problem::new(self.path, what).help(help));
        None
    }

    fn scores(&mut self, models: &Models, routes: &[Route]) -> Option<Read> {
        if self.columns.n_rows == 0 {
            return self.refuse("holds no prompts", "add at least one row below the header");
        }
        let ids = self.ids();
        let weights = self.weights();
        let tokens = self.counts("prompt_tokens");
        let texts = self.columns.texts("prompt");
        let named = || models.models.iter().zip(&models.score_columns);
        let scores: Vec<_> = named()
            .map(|(model, column)| self.score_column(&model.name, column))
            .collect();
        let output_tokens: Vec<_> = named()
            .map(|(_, column)| self.counts(&format!("output_tokens:{column}")))
            .collect();
        let scores: Vec<Vec<Option<f64>>> = scores.into_iter().collect::<Option<_>>()?;
        let kept = self.kept_rows(&scores, models)?;
        let of_routes: Vec<_> = routes.iter().map(|route| self.prompts_of(route, &kept)).collect();
        let (ids, weights) = (ids?, weights?);
        let prompts = kept.iter().map(|row| Prompt {
            id: ids[*row].clone(),
            weight: weights[*row],
            text: texts.as_ref().and_then(|texts| texts[*row].clone()),
            tokens: tokens.as_ref().and_then(|tokens| tokens[*row]),
        });
        let scores = Scores {
            models: models.models.iter().map(|model| model.name.clone()).collect(),
            prompts: prompts.collect(),
            columns: scores
                .iter()
                .map(|column| kept.iter().map(|row| narrow(column[*row])).collect())
                .collect(),
            routes: of_routes.into_iter().collect::<Option<_>>()?,
            output_tokens: output_tokens
                .into_iter()
                .map(|column| {
                    let column = column?;
                    kept.iter().map(|row| column[*row]).collect()
                })
                .collect(),
        };
        Some(Read {
            n_dropped: self.columns.n_rows - scores.n_prompts(),
            scores,
        })
    }

    /// Which of the kept prompts are a route's.
    fn prompts_of(&mut self, route: &Route, kept: &[usize]) -> Option<Vec<usize>> {
        let PromptFilter::Column { column, values } = &route.prompts else {
            return Some((0..kept.len()).collect());
        };
        let Some(texts) = self.columns.texts(column) else {
            let found = format!(
                "has no column `{column}`, so it is not known which prompts are of route `{}`",
                route.name
            );
            return self.refuse(
                found,
                "add the column, or say in workload.toml which prompts are its own: `prompts = { column = \"…\", values = [\"…\"] }`, or `prompts = \"all\"`",
            );
        };
        let is_own = |at: &usize| texts[kept[*at]].as_ref().is_some_and(|text| values.contains(text));
        let own: Vec<usize> = (0..kept.len()).filter(is_own).collect();
        if own.is_empty() {
            let there: BTreeSet<&str> = texts.iter().flatten().map(String::as_str).collect();
            let some: Vec<&str> = there.into_iter().take(MOST_SHOWN).collect();
            return self.refuse(
                format!(
                    "has no prompt with {} in column `{column}`, so route `{}` has none",
                    quoted(values),
                    route.name
                ),
                format!("the column holds {}", quoted(some)),
            );
        }
        Some(own)
    }

    fn ids(&mut self) -> Option<Vec<String>> {
        let Some(ids) = self.columns.texts("prompt_id") else {
            return self.refuse(
                "has no column `prompt_id`",
                "add one: a text or number that names each prompt once",
            );
        };
        let mut seen = BTreeSet::new();
        for (row, id) in ids.iter().enumerate() {
            match id {
                None => return self.refuse(format!("has no `prompt_id` in row {}", row + 1), "name every prompt"),
                Some(id) if !seen.insert(id) => {
                    return self.refuse(
                        format!("has the `prompt_id` `{id}` twice, the second time in row {}", row + 1),
                        "name every prompt once; to ask one more often, use a column `weight`",
                    );
                }
                Some(_) => {}
            }
        }
        ids.into_iter().collect()
    }

    fn weights(&mut self) -> Option<Vec<f64>> {
        let Some(weights) = self.columns.numbers("weight") else {
            return Some(vec![1.0; self.columns.n_rows]);
        };
        let weights = self.unwrap(weights)?;
        let right = |weight: &Option<f64>| weight.is_some_and(|weight| weight > 0.0 && weight.is_finite());
        let n_wrong = weights.iter().filter(|weight| !right(weight)).count();
        if let Some(row) = weights.iter().position(|weight| !right(weight)) {
            return self.refuse(
                format!(
                    "has {n_wrong} weights that are no positive number, the first in row {}: {}",
                    row + 1,
                    shown(weights[row])
                ),
                "write how often each prompt is asked, relative to the others; leave the column out to weigh all alike",
            );
        }
        weights.into_iter().collect()
    }

    /// Token counts, where the file has them: whole numbers of at least 0.
    fn counts(&mut self, name: &str) -> Option<Vec<Option<u32>>> {
        let numbers = self.columns.numbers(name)?;
        let numbers = self.unwrap(numbers)?;
        let right = |number: f64| (0.0..1e9).contains(&number);
        if let Some(row) = numbers
            .iter()
            .position(|number| number.is_some_and(|number| !right(number)))
        {
            return self.refuse(
                format!("has {} in column `{name}`, row {}", shown(numbers[row]), row + 1),
                "token counts are whole numbers of at least 0",
            );
        }
        Some(numbers.into_iter().map(|number| number.map(whole)).collect())
    }

    fn score_column(&mut self, model: &str, column: &str) -> Option<Vec<Option<f64>>> {
        let name = format!("score:{column}");
        let Some(numbers) = self.columns.numbers(&name) else {
            let there: Vec<&str> = self
                .columns
                .names
                .iter()
                .filter_map(|name| name.strip_prefix("score:"))
                .collect();
            let nearest = nearest(column, there.iter().copied());
            let hint = nearest.map_or(String::new(), |nearest| format!("did you mean `{nearest}`? "));
            let help = format!(
                "{hint}add the column, or name another for this model in models.toml: `scores = \"…\"`; there are {}",
                quoted(there)
            );
            return self.refuse(
                format!("has no column `{name}`, so model `{model}` has no scores"),
                help,
            );
        };
        let numbers = self.unwrap(numbers)?;
        let wrong = |score: &Option<f64>| score.is_some_and(|score| !(0.0..=1.0).contains(&score));
        let n_wrong = numbers.iter().filter(|score| wrong(score)).count();
        if let Some(row) = numbers.iter().position(wrong) {
            return self.refuse(
                format!(
                    "has {n_wrong} scores outside 0 to 1 in column `{name}`, the first in row {}: {}",
                    row + 1,
                    shown(numbers[row])
                ),
                "scale scores to lie between 0 (useless) and 1 (perfect)",
            );
        }
        Some(numbers)
    }

    /// Rows in which every model has a score; others are refused unless they are to be left out.
    fn kept_rows(&mut self, scores: &[Vec<Option<f64>>], models: &Models) -> Option<Vec<usize>> {
        let complete = |row: usize| scores.iter().all(|column| column[row].is_some());
        let kept: Vec<usize> = (0..self.columns.n_rows).filter(|row| complete(*row)).collect();
        if !models.drop_null_rows {
            for (column, name) in scores.iter().zip(&models.score_columns) {
                let n_missing = column.iter().filter(|score| score.is_none()).count();
                if let Some(row) = column.iter().position(Option::is_none) {
                    self.refuse::<()>(
                        format!(
                            "lacks {n_missing} scores in column `score:{name}`, the first in row {}",
                            row + 1
                        ),
                        "fill them in, or leave such prompts out with `drop-null-rows = true` in models.toml",
                    );
                }
            }
        } else if kept.is_empty() {
            return self.refuse(
                "has no prompt that every model has a score for",
                "leave out the model with the most missing scores",
            );
        }
        Some(kept)
    }

    fn unwrap<T>(&mut self, read: Result<T, Wrong>) -> Option<T> {
        read.map_err(|wrong| self.problems.push(wrong.at(self.path))).ok()
    }
}

fn shown(number: Option<f64>) -> String {
    number.map_or_else(|| "nothing".to_owned(), |number| number.to_string())
}

#[expect(clippy::cast_possible_truncation, reason = "a score needs no more than seven digits")]
fn narrow(score: Option<f64>) -> f32 {
    score.unwrap_or_default() as f32
}
