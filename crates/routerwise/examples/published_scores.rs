//! A scores file in which somebody else's predictions are the scores, so that plans can be made on them:
//!
//! ```sh
//! cargo run --release -p routerwise --example published_scores -- scores.parquet carrot predicted.parquet measured.parquet
//! ```
//!
//! Prompts for which every model has a number in `pred:<predictor>:<model>` and a measured score are kept. In the first file predictions
//! become `score:<model>` and what was measured `label:<model>`, as `routerwise train --cross-fitted` writes them; the second holds the
//! same prompts as they were.

use std::error::Error;
use std::path::Path;

use routerwise_inputs::labels;
use routerwise_inputs::tables::{self, Values};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [from, predictor, to, measured] = &arguments[..] else {
        return Err("name the scores file, the predictor and the two files to write".into());
    };
    let labels = labels::read(Path::new(from), &[]).map_err(|problems| format!("{problems:?}"))?;
    let Some(columns) = labels.published.get(predictor) else {
        let known: Vec<&String> = labels.published.keys().collect();
        return Err(format!("`{from}` has no predictions by `{predictor}` for every model; it has {known:?}").into());
    };
    let is_there = |row: &usize| columns.iter().all(|column| column[*row].is_finite());
    let kept: Vec<usize> = (0..labels.ids.len()).filter(is_there).collect();
    let labels = labels.of(&kept);
    let mut table = tables::read(Path::new(from))
        .map_err(|problems| format!("{problems:?}"))?
        .rows(&labels.rows);
    table.write(Path::new(measured))?;
    table.say_predicted_by(&format!("{predictor} (published)"));
    for (model, predicted) in labels.models.iter().zip(&labels.published[predictor]) {
        let score = format!("score:{model}");
        table.rename(&score, &format!("label:{model}"));
        let predicted: Vec<f32> = predicted.iter().map(|score| score.clamp(0.0, 1.0)).collect();
        table.put(&score, Values::scores(&predicted));
    }
    table.write(Path::new(to))?;
    Ok(())
}
