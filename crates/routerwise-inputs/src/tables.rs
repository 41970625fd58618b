//! Tables that are written: the columns of a file that was read, with some replaced and some added.

use std::io;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::columns;
use crate::file::write_atomically;
use crate::problem::{Problem, Problems};

/// A table of named columns, all of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Columns in order.
    pub columns: Vec<(String, Values)>,
}

/// One column; a missing value is `None`.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Numbers.
    Numbers(Vec<Option<f64>>),
    /// Texts.
    Texts(Vec<Option<String>>),
}

impl Values {
    /// Scores, each there.
    #[must_use]
    pub fn scores(values: &[f32]) -> Self {
        // Six digits are more than a score is worth, and keep files small.
        let rounded = |value: &f32| Some((f64::from(*value) * 1e6).round() / 1e6);
        Self::Numbers(values.iter().map(rounded).collect())
    }
}

/// Reads a whole Parquet or CSV file.
///
/// # Errors
/// What is wrong with it.
pub fn read(path: &Path) -> Result<Table, Problems> {
    let read = columns::read(path, &|_| true).map_err(|wrong| Problems(vec![wrong.at(path)]))?;
    let table = Table {
        columns: read.into_values(),
    };
    if table.n_rows() == 0 {
        let problem = Problem::new(path, "holds no rows").help("add at least one row below the header");
        return Err(Problems(vec![problem]));
    }
    Ok(table)
}

impl Table {
    /// How many rows there are.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, values)| match values {
            Values::Numbers(values) => values.len(),
            Values::Texts(values) => values.len(),
        })
    }

    /// A column's texts, numbers written out.
    #[must_use]
    pub fn texts(&self, name: &str) -> Option<Vec<Option<String>>> {
        let (_, values) = self.columns.iter().find(|(known, _)| known == name)?;
        Some(match values {
            Values::Texts(texts) => texts.clone(),
            Values::Numbers(numbers) => numbers.iter().map(|number| number.map(|n| n.to_string())).collect(),
        })
    }

    /// The rows with these numbers, in that order.
    ///
    /// # Panics
    /// When there is no such row.
    #[must_use]
    pub fn rows(&self, rows: &[usize]) -> Self {
        let kept = |values: &Values| match values {
            Values::Numbers(values) => Values::Numbers(rows.iter().map(|row| values[*row]).collect()),
            Values::Texts(values) => Values::Texts(rows.iter().map(|row| values[*row].clone()).collect()),
        };
        Self {
            columns: self
                .columns
                .iter()
                .map(|(name, values)| (name.clone(), kept(values)))
                .collect(),
        }
    }

    /// Puts a column in the place of one of the same name, or at the end.
    pub fn put(&mut self, name: &str, values: Values) {
        match self.columns.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = values,
            None => self.columns.push((name.to_owned(), values)),
        }
    }

    /// Notes what predicted the scores.
    pub fn say_predicted_by(&mut self, what: &str) {
        let values = vec![Some(what.to_owned()); self.n_rows()];
        self.put(crate::labels::PREDICTED_BY, Values::Texts(values));
    }

    /// Gives a column another name, unless that is taken.
    pub fn rename(&mut self, from: &str, to: &str) {
        if self.columns.iter().all(|(known, _)| known != to)
            && let Some((name, _)) = self.columns.iter_mut().find(|(known, _)| known == from)
        {
            to.clone_into(name);
        }
    }

    /// Writes the table as Parquet or CSV, by the file's ending, whole or not at all.
    ///
    /// # Errors
    /// Whatever the disk says, or that the ending is neither.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let bytes = match path.extension().and_then(|ending| ending.to_str()) {
            Some("parquet") => self.parquet()?,
            Some("csv") => self.csv()?,
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "its name must end in `.parquet` or `.csv`",
                ));
            }
        };
        write_atomically(path, &bytes)
    }

    fn parquet(&self) -> io::Result<Vec<u8>> {
        let array = |(name, values): &(String, Values)| -> (String, ArrayRef) {
            let array: ArrayRef = match values {
                Values::Numbers(values) => Arc::new(Float64Array::from(values.clone())),
                Values::Texts(values) => Arc::new(StringArray::from(values.clone())),
            };
            (name.clone(), array)
        };
        let batch = RecordBatch::try_from_iter_with_nullable(
            self.columns.iter().map(array).map(|(name, array)| (name, array, true)),
        )
        .map_err(io::Error::other)?;
        let level = ZstdLevel::try_new(9).map_err(io::Error::other)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .build();
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).map_err(io::Error::other)?;
        writer.write(&batch).map_err(io::Error::other)?;
        writer.close().map_err(io::Error::other)?;
        Ok(bytes)
    }

    fn csv(&self) -> io::Result<Vec<u8>> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns.iter().map(|(name, _)| name))?;
        for row in 0..self.n_rows() {
            let cell = |(_, values): &(String, Values)| match values {
                Values::Numbers(values) => values[row].map_or(String::new(), |value| value.to_string()),
                Values::Texts(values) => values[row].clone().unwrap_or_default(),
            };
            writer.write_record(self.columns.iter().map(cell))?;
        }
        writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_was_written_is_read_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut table = Table::default();
        table.put("prompt", Values::Texts(vec![Some("a \"b\", c\nd".into()), None]));
        table.put("score:m", Values::Numbers(vec![Some(0.25), None]));
        table.rename("score:m", "label:m");
        table.put("score:m", Values::scores(&[0.1, 0.9]));
        let path = folder.path().join("t.parquet");
        table.write(&path).unwrap();
        assert_eq!(read(&path).unwrap(), table);
        let path = folder.path().join("t.csv");
        table.write(&path).unwrap();
        let texts = |table: &Table| {
            table
                .columns
                .iter()
                .map(|(name, _)| table.texts(name))
                .collect::<Vec<_>>()
        };
        assert_eq!(texts(&read(&path).unwrap()), texts(&table));
        assert!(table.write(&folder.path().join("t.txt")).is_err());
    }
}
