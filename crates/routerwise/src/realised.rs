//! What a plan on predicted scores really scores: its routing rule played over prompts whose answers are known.

use std::path::Path;

use routerwise_inputs::labels::{self, Labels};
use routerwise_route::policy::{Policy, prompt_hash};
use routerwise_types::Scenario;
use routerwise_types::plan::{Plan, Realised};

use crate::failure::Failure;

/// A table of scores as a plan sees it, with what was measured.
pub(crate) struct Judge {
    labels: Labels,
    /// Column of each model of the scenario.
    columns: Vec<usize>,
    name: String,
}

impl Judge {
    /// The table at `path`, where it has predictions and labels of every model, and what predicted them, where it says so;
    /// `score_columns` are those of the scenario's models.
    pub(crate) fn read(path: &Path, score_columns: &[String]) -> Result<(Option<Self>, Option<String>), Failure> {
        let labels = labels::read(path, score_columns)?;
        let by = labels.predicted_by.clone();
        Ok((Self::new(labels, path, score_columns), by))
    }

    fn new(labels: Labels, path: &Path, score_columns: &[String]) -> Option<Self> {
        labels.predicted.as_ref()?;
        let at = |name: &String| labels.models.iter().position(|known| known == name);
        let columns: Option<Vec<usize>> = score_columns.iter().map(at).collect();
        Some(Self {
            columns: columns?,
            name: path
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            labels,
        })
    }

    /// The same for a file that the user named to be judged on.
    pub(crate) fn require(path: &Path, score_columns: &[String]) -> Result<Self, Failure> {
        Self::read(path, score_columns)?.0.ok_or_else(|| Failure::Request {
            what: format!("`{}` does not hold both predicted and measured scores", path.display()),
            help: "write one with `routerwise score <predictor> --prompts <scores> --out <file>`: columns `score:<model>` and `label:<model>`".into(),
        })
    }

    /// What the plan scores here.
    pub(crate) fn judge(&self, scenario: &Scenario, plan: &Plan) -> Realised {
        let predicted = self.labels.predicted.as_ref().expect("read only where it is there");
        let running: Vec<bool> = plan.models.iter().map(|model| model.configuration.is_some()).collect();
        let n_prompts = self.labels.texts.len();
        let weights = self.weights(scenario);
        let mut found = Realised {
            on: self.name.clone(),
            n_prompts,
            predicted: 0.0,
            realised: 0.0,
            static_mix: 0.0,
        };
        for policy in &plan.policies {
            let part = policy.weight.value();
            let rule = Policy::new(policy, running.clone());
            let mut fractions = vec![0.0; running.len()];
            let mut means = vec![0.0; running.len()];
            for (row, weight) in weights.iter().enumerate() {
                let scores: Vec<f32> = self.columns.iter().map(|at| predicted[*at][row]).collect();
                for (mean, at) in means.iter_mut().zip(&self.columns) {
                    *mean += weight * f64::from(self.labels.columns[*at][row]);
                }
                let text = &self.labels.texts[row];
                let hash = prompt_hash(if text.is_empty() { &self.labels.ids[row] } else { text });
                let Some(model) = rule.choose(&scores, hash) else {
                    continue;
                };
                fractions[model] += weight;
                found.predicted += part * weight * f64::from(scores[model]);
                found.realised += part * weight * f64::from(self.labels.columns[self.columns[model]][row]);
            }
            let by_chance: f64 = fractions
                .iter()
                .zip(&means)
                .map(|(fraction, mean)| fraction * mean)
                .sum();
            found.static_mix += part * by_chance;
        }
        found
    }

    /// Weights of the prompts, as the scenario has them where it has the prompt.
    fn weights(&self, scenario: &Scenario) -> Vec<f64> {
        let known: std::collections::BTreeMap<&str, f64> = scenario
            .scores
            .prompts
            .iter()
            .map(|prompt| (prompt.id.as_str(), prompt.weight))
            .collect();
        let weights: Vec<f64> = self
            .labels
            .ids
            .iter()
            .map(|id| known.get(id.as_str()).copied().unwrap_or(1.0))
            .collect();
        let total: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / total).collect()
    }
}
