//! Labels as a scores file.

use std::path::Path;

use routerwise_inputs::tables::{Table, Values};
use routerwise_label::labels::{LabelRow, LabelTable};

/// Whether a file of this name can be written.
pub(super) fn is_writable(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    matches!(ending, Some("csv" | "parquet"))
}

/// The columns of a scores file; those that nothing is known for are left out.
pub(super) fn table(labels: &LabelTable) -> Table {
    let rows = || labels.rows.iter();
    let texts = |of: &dyn Fn(&LabelRow) -> Option<String>| Values::Texts(rows().map(of).collect());
    let numbers = |of: &dyn Fn(&LabelRow) -> Option<f64>| Values::Numbers(rows().map(of).collect());
    let mut table = Table::default();
    table.put("prompt_id", texts(&|row| Some(row.id.clone())));
    if rows().any(|row| row.source.is_some()) {
        table.put("source", texts(&|row| row.source.clone()));
    }
    table.put("prompt", texts(&|row| Some(row.text.clone())));
    if rows().any(|row| row.prompt_tokens.is_some()) {
        table.put("prompt_tokens", numbers(&|row| row.prompt_tokens.map(f64::from)));
    }
    if rows().any(|row| (row.weight - 1.0).abs() > f64::EPSILON) {
        table.put("weight", numbers(&|row| Some(row.weight)));
    }
    for (ix, model) in labels.models.iter().enumerate() {
        table.put(&format!("score:{model}"), numbers(&|row| row.scores[ix]));
    }
    for (ix, model) in labels.models.iter().enumerate() {
        let tokens = numbers(&|row| row.output_tokens[ix].map(f64::from));
        table.put(&format!("output_tokens:{model}"), tokens);
    }
    table
}
