//! Parquet and CSV files as named columns of numbers or text.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// A table in memory. Missing numbers are NaN, missing text is empty.
#[derive(Debug, Default)]
pub struct Table {
    numbers: BTreeMap<String, Vec<f64>>,
    text: BTreeMap<String, Vec<String>>,
    n_rows: usize,
}

impl Table {
    /// Reads a Parquet or CSV file, by its extension.
    ///
    /// # Errors
    /// When the file cannot be read; the message names it.
    pub fn read(path: &Path) -> Result<Self> {
        let table = if path.extension().is_some_and(|extension| extension == "csv") {
            Self::read_csv(path)
        } else {
            Self::read_parquet(path)
        };
        table.with_context(|| format!("cannot read `{}`", path.display()))
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// One column of numbers.
    ///
    /// # Errors
    /// When there is no such column of numbers.
    pub fn numbers(&self, column: &str) -> Result<&[f64]> {
        let found = self.numbers.get(column).map(Vec::as_slice);
        found.with_context(|| format!("found no column of numbers `{column}`"))
    }

    /// One column of text.
    ///
    /// # Errors
    /// When there is no such column of text.
    pub fn text(&self, column: &str) -> Result<&[String]> {
        let found = self.text.get(column).map(Vec::as_slice);
        found.with_context(|| format!("found no column of text `{column}`"))
    }

    fn read_csv(path: &Path) -> Result<Self> {
        let mut reader = csv::Reader::from_path(path)?;
        let names: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
        let mut cells: Vec<Vec<String>> = vec![Vec::new(); names.len()];
        let mut table = Self::default();
        for record in reader.records() {
            for (column, cell) in cells.iter_mut().zip(record?.iter()) {
                column.push(cell.to_owned());
            }
            table.n_rows += 1;
        }
        for (name, column) in names.into_iter().zip(cells) {
            let as_number = |cell: &String| match cell.as_str() {
                "" => Some(f64::NAN),
                number => number.parse().ok(),
            };
            match column.iter().map(as_number).collect::<Option<Vec<f64>>>() {
                Some(numbers) => table.numbers.insert(name, numbers).map(drop),
                None => table.text.insert(name, column).map(drop),
            };
        }
        Ok(table)
    }

    fn read_parquet(path: &Path) -> Result<Self> {
        let mut table = Self::default();
        for batch in ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()? {
            let batch = batch?;
            for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
                match column(array) {
                    Some(Column::Numbers(more)) => table.numbers.entry(field.name().clone()).or_default().extend(more),
                    Some(Column::Text(more)) => table.text.entry(field.name().clone()).or_default().extend(more),
                    None => continue,
                }
            }
            table.n_rows += batch.num_rows();
        }
        let short = |len: usize| len != table.n_rows;
        if table.numbers.values().any(|c| short(c.len())) || table.text.values().any(|c| short(c.len())) {
            bail!("its row groups have different columns");
        }
        Ok(table)
    }
}

enum Column {
    Numbers(Vec<f64>),
    Text(Vec<String>),
}

/// Columns of other types (timestamps) are left out.
fn column(array: &ArrayRef) -> Option<Column> {
    if let Some(dictionary) = array.as_any_dictionary_opt() {
        let Some(Column::Text(words)) = column(dictionary.values()) else {
            return None;
        };
        let keys = dictionary.normalized_keys();
        let word = |(row, key): (usize, &usize)| {
            if array.is_null(row) {
                String::new()
            } else {
                words[*key].clone()
            }
        };
        return Some(Column::Text(keys.iter().enumerate().map(word).collect()));
    }
    let or_nan = |value: Option<f64>| value.unwrap_or(f64::NAN);
    if let Some(values) = array.as_primitive_opt::<Float64Type>() {
        return Some(Column::Numbers(values.iter().map(or_nan).collect()));
    }
    if let Some(values) = array.as_primitive_opt::<Float32Type>() {
        return Some(Column::Numbers(
            values.iter().map(|v| or_nan(v.map(f64::from))).collect(),
        ));
    }
    if let Some(values) = array.as_primitive_opt::<Int32Type>() {
        return Some(Column::Numbers(
            values.iter().map(|v| or_nan(v.map(f64::from))).collect(),
        ));
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts and sizes of the data sets stay below 2^53"
    )]
    if let Some(values) = array.as_primitive_opt::<Int64Type>() {
        return Some(Column::Numbers(
            values.iter().map(|v| or_nan(v.map(|v| v as f64))).collect(),
        ));
    }
    if let Some(values) = array.as_boolean_opt() {
        return Some(Column::Numbers(
            values
                .iter()
                .map(|v| or_nan(v.map(|v| f64::from(u8::from(v)))))
                .collect(),
        ));
    }
    let or_empty = |value: Option<&str>| value.unwrap_or_default().to_owned();
    if let Some(values) = array.as_string_opt::<i32>() {
        return Some(Column::Text(values.iter().map(or_empty).collect()));
    }
    if let Some(values) = array.as_string_opt::<i64>() {
        return Some(Column::Text(values.iter().map(or_empty).collect()));
    }
    let values = array.as_string_view_opt()?;
    Some(Column::Text(values.iter().map(or_empty).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_csv_column_is_numbers_when_every_cell_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("points.csv");
        std::fs::write(&path, "name,rate\na,1.5\nb,\n").unwrap();
        let table = Table::read(&path).unwrap();
        assert_eq!(table.text("name").unwrap(), ["a", "b"]);
        let rates = table.numbers("rate").unwrap();
        assert!((rates[0] - 1.5).abs() < 1e-12 && rates[1].is_nan());
        assert!(table.numbers("name").is_err());
    }
}
