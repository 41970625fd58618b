//! Makes `scores.parquet` of `scenarios/demo` from a larger table of scores: keeps all prompts and only the columns of the
//! scenario's models.
//!
//! ```text
//! cargo run -p routerwise-inputs --example demo_scores -- <folder with mmlupro-cot/scores.parquet> scenarios/demo/scores.parquet
//! ```

use std::fs::File;
use std::path::PathBuf;

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

const MODELS: [&str; 5] = [
    "microsoft/Phi-3-mini-4k-instruct",
    "mistralai/Mathstral-7B-v0.1",
    "meta-llama/Llama-3.1-8B-Instruct",
    "mistralai/Mixtral-8x7B-Instruct-v0.1",
    "meta-llama/Llama-3.1-70B-Instruct",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(quality), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("usage: demo_scores <folder with mmlupro-cot/scores.parquet> <file to write>".into());
    };
    let source = File::open(quality.join("mmlupro-cot/scores.parquet"))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(source)?;
    let kept = |name: &str| {
        let of_model = |prefix| name.strip_prefix(prefix).is_some_and(|model| MODELS.contains(&model));
        ["prompt_id", "prompt", "prompt_tokens"].contains(&name) || of_model("score:") || of_model("output_tokens:")
    };
    let fields = reader.schema().fields().iter().enumerate();
    let columns: Vec<usize> = fields
        .filter(|(_, field)| kept(field.name()))
        .map(|(ix, _)| ix)
        .collect();
    let mask = ProjectionMask::roots(reader.parquet_schema(), columns);
    // One row group and the strongest compression: the file is read whole, and lives in a repository.
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(22)?))
        .set_max_row_group_row_count(Some(1_000_000))
        .build();
    let batches = reader.with_projection(mask).with_batch_size(1 << 20).build()?;
    let mut writer = None;
    for batch in batches {
        let batch = batch?;
        if writer.is_none() {
            let file = File::create(&target)?;
            writer = Some(ArrowWriter::try_new(file, batch.schema(), Some(properties.clone()))?);
        }
        if let Some(writer) = &mut writer {
            writer.write(&batch)?;
        }
    }
    writer.ok_or("the table of scores has no rows")?.close()?;
    Ok(())
}
