//! Tables of columns, from Parquet or CSV; only the columns that are wanted are read.

use std::collections::BTreeMap;
use std::path::Path;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::file::{self, Wrong};
use crate::tables::Values;

/// A table: all its column names, and the values of those that were wanted.
#[derive(Debug)]
pub(crate) struct Columns {
    /// Names of all columns, wanted or not.
    pub(crate) names: Vec<String>,
    pub(crate) n_rows: usize,
    values: BTreeMap<String, Column>,
}

/// One column; a missing value is `None`.
#[derive(Debug)]
enum Column {
    Numbers(Vec<Option<f64>>),
    Texts(Vec<Option<String>>),
}

/// Reads the columns that `wanted` accepts, by the file's ending.
pub(crate) fn read(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Columns, Wrong> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("parquet") => parquet(path, wanted),
        Some("csv") => csv(path, wanted),
        _ => Err(Wrong::new(
            "has no ending that says what it holds",
            "name it `.parquet` or `.csv`, after its format",
        )),
    }
}

impl Columns {
    /// A column's numbers; `None` when there is no such column.
    pub(crate) fn numbers(&self, name: &str) -> Option<Result<Vec<Option<f64>>, Wrong>> {
        let texts = match self.values.get(name)? {
            Column::Numbers(numbers) => return Some(Ok(numbers.clone())),
            Column::Texts(texts) => texts,
        };
        let parsed = texts.iter().enumerate().map(|(row, text)| match text {
            None => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                Wrong::new(
                    format!("has `{text}` in column `{name}`, row {}", row + 1),
                    "this column holds numbers",
                )
            }),
        });
        Some(parsed.collect())
    }

    /// All columns that were wanted, in the order of the file.
    pub(crate) fn into_values(mut self) -> Vec<(String, Values)> {
        let names = std::mem::take(&mut self.names);
        let values = |name: String| {
            let values = match self.values.remove(&name)? {
                Column::Numbers(numbers) => Values::Numbers(numbers),
                Column::Texts(texts) => Values::Texts(texts),
            };
            Some((name, values))
        };
        names.into_iter().filter_map(values).collect()
    }

    /// A column's texts, numbers written out; `None` when there is no such column.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<Option<String>>> {
        Some(match self.values.get(name)? {
            Column::Texts(texts) => texts.clone(),
            Column::Numbers(numbers) => numbers
                .iter()
                .map(|number| number.map(|number| number.to_string()))
                .collect(),
        })
    }
}

fn csv(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Columns, Wrong> {
    let wrong = |error: csv::Error| Wrong::new(format!("is no valid CSV: {error}"), "check quotes and commas there");
    let mut reader = csv::Reader::from_reader(file::open(path)?);
    let names: Vec<String> = reader
        .headers()
        .map_err(wrong)?
        .iter()
        .map(|name| name.trim().to_owned())
        .collect();
    let kept: Vec<usize> = (0..names.len()).filter(|ix| wanted(&names[*ix])).collect();
    let mut columns: Vec<Vec<Option<String>>> = vec![Vec::new(); kept.len()];
    let mut n_rows = 0;
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        n_rows += 1;
        for (column, ix) in columns.iter_mut().zip(&kept) {
            let text = record.get(*ix).map(str::trim).filter(|text| !text.is_empty());
            column.push(text.map(str::to_owned));
        }
    }
    let mut values = BTreeMap::new();
    for (ix, column) in kept.iter().zip(columns) {
        if values.insert(names[*ix].clone(), Column::Texts(column)).is_some() {
            return Err(twice(&names[*ix]));
        }
    }
    Ok(Columns { names, n_rows, values })
}

fn twice(name: &str) -> Wrong {
    Wrong::new(
        format!("has two columns named `{name}`"),
        "remove or rename one of them",
    )
}

fn parquet(path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<Columns, Wrong> {
    let wrong = |error: &dyn std::fmt::Display| {
        Wrong::new(
            format!("is no complete Parquet file: {error}"),
            "fetch or write it again; a file that was cut off lacks its end",
        )
    };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file::open(path)?).map_err(|error| wrong(&error))?;
    let names: Vec<String> = builder
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let kept: Vec<usize> = (0..names.len()).filter(|ix| wanted(&names[*ix])).collect();
    if let Some(ix) = kept.iter().find(|ix| names[..**ix].contains(&names[**ix])) {
        return Err(twice(&names[*ix]));
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), kept.iter().copied());
    let batches = builder.with_projection(mask).build().map_err(|error| wrong(&error))?;
    let mut n_rows = 0;
    let mut values = BTreeMap::new();
    for batch in batches {
        let batch = batch.map_err(|error| wrong(&error))?;
        n_rows += batch.num_rows();
        for (ix, array) in kept.iter().zip(batch.columns()) {
            append(&mut values, &names[*ix], array)?;
        }
    }
    Ok(Columns { names, n_rows, values })
}

fn append(values: &mut BTreeMap<String, Column>, name: &str, array: &ArrayRef) -> Result<(), Wrong> {
    if let Some(numbers) = numbers_of(array) {
        match values.entry(name.to_owned()).or_insert(Column::Numbers(Vec::new())) {
            Column::Numbers(column) => column.extend(numbers),
            Column::Texts(_) => unreachable!("all batches of a file have one schema"),
        }
    } else if let Some(texts) = texts_of(array) {
        match values.entry(name.to_owned()).or_insert(Column::Texts(Vec::new())) {
            Column::Texts(column) => column.extend(texts),
            Column::Numbers(_) => unreachable!("all batches of a file have one schema"),
        }
    } else {
        return Err(Wrong::new(
            format!("has in column `{name}` values of type {}", array.data_type()),
            "store numbers or texts",
        ));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "ids and token counts stay below 2^53")]
fn numbers_of(array: &ArrayRef) -> Option<Vec<Option<f64>>> {
    fn of<T: ArrowPrimitiveType>(array: &ArrayRef, convert: impl Fn(T::Native) -> f64) -> Option<Vec<Option<f64>>> {
        let array = array.as_primitive_opt::<T>()?;
        Some(array.iter().map(|value| value.map(&convert)).collect())
    }
    of::<Float32Type>(array, f64::from)
        .or_else(|| of::<Float64Type>(array, |value| value))
        .or_else(|| of::<Int32Type>(array, f64::from))
        .or_else(|| of::<Int64Type>(array, |value| value as f64))
        .or_else(|| of::<Int16Type>(array, f64::from))
        .or_else(|| of::<Int8Type>(array, f64::from))
        .or_else(|| of::<UInt8Type>(array, f64::from))
        .or_else(|| of::<UInt16Type>(array, f64::from))
        .or_else(|| of::<UInt32Type>(array, f64::from))
        .or_else(|| of::<UInt64Type>(array, |value| value as f64))
        .or_else(|| {
            let array = array.as_boolean_opt()?;
            Some(
                array
                    .iter()
                    .map(|value| value.map(|value| f64::from(u8::from(value))))
                    .collect(),
            )
        })
}

fn texts_of(array: &ArrayRef) -> Option<Vec<Option<String>>> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    if let Some(array) = array.as_string_opt::<i32>() {
        return Some(array.iter().map(owned).collect());
    }
    if let Some(array) = array.as_string_opt::<i64>() {
        return Some(array.iter().map(owned).collect());
    }
    Some(array.as_string_view_opt()?.iter().map(owned).collect())
}
