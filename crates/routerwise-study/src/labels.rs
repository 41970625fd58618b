//! Tables of measured scores, and the table of predicted ones that ships.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Float32Type, Int32Type};
use arrow_array::{Array as _, ArrayRef, Float32Array, Int32Array, RecordBatch};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// Prompts with the measured score of each model.
#[derive(Clone, Debug)]
pub(crate) struct Labels {
    /// Identity of each prompt.
    pub(crate) ids: Vec<i32>,
    /// Its text.
    pub(crate) texts: Vec<String>,
    /// Columns of scores, in the order asked for.
    pub(crate) columns: Vec<Vec<f32>>,
}

/// Reads the columns `score:<name>` of a table.
pub(crate) fn read(path: &Path, names: &[&str]) -> Result<Labels> {
    let file = File::open(path).with_context(|| format!("cannot open `{}`", path.display()))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)?
        .with_batch_size(1 << 20)
        .build()?;
    let mut labels = Labels {
        ids: Vec::new(),
        texts: Vec::new(),
        columns: vec![Vec::new(); names.len()],
    };
    for batch in reader {
        let batch = batch?;
        let column = |name: &str| {
            let found = batch.column_by_name(name).cloned();
            found.with_context(|| format!("`{}` has no column `{name}`", path.display()))
        };
        labels
            .ids
            .extend(column("prompt_id")?.as_primitive::<Int32Type>().values());
        let prompts = column("prompt")?;
        labels.texts.extend(
            prompts
                .as_string::<i32>()
                .iter()
                .map(|text| text.unwrap_or_default().to_owned()),
        );
        for (values, name) in labels.columns.iter_mut().zip(names) {
            let found = column(&format!("score:{name}"))?;
            ensure!(
                found.null_count() == 0,
                "`{name}` has prompts without a score in `{}`",
                path.display()
            );
            values.extend(found.as_primitive::<Float32Type>().values());
        }
    }
    Ok(labels)
}

/// Writes predictions as a scenario's scores, each label beside its prediction.
pub(crate) fn write(path: &Path, names: &[&str], labels: &Labels, predicted: &[Vec<f32>]) -> Result<()> {
    let mut columns: Vec<(String, ArrayRef)> =
        vec![("prompt_id".to_owned(), Arc::new(Int32Array::from(labels.ids.clone())))];
    for ((name, label), predicted) in names.iter().zip(&labels.columns).zip(predicted) {
        columns.push((format!("score:{name}"), Arc::new(Float32Array::from(predicted.clone()))));
        columns.push((format!("label:{name}"), Arc::new(Float32Array::from(label.clone()))));
    }
    let batch = RecordBatch::try_from_iter(columns)?;
    // One row group and the strongest compression: the file is read whole, and lives in a repository.
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(22)?))
        .set_max_row_group_row_count(Some(1_000_000))
        .build();
    let file = File::create(path).with_context(|| format!("cannot write `{}`", path.display()))?;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}
