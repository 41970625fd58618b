//! The measurements that ship, for tests: small, and only where the licence allows it (both sets are Apache-2.0).

use std::path::Path;

use anyhow::{Context, Result};

use crate::held_out::Part;
use crate::table::Table;

/// Writes `iterations.csv` and `requests.csv` into a folder.
///
/// # Errors
/// When a table cannot be read or a file not written.
pub fn write(data: &Path, folder: &Path) -> Result<()> {
    write_file(&folder.join("iterations.csv"), &iterations(data)?)?;
    write_file(&folder.join("requests.csv"), &requests(data)?)
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write `{}`", path.display()))
}

/// One in eight of the composed iterations.
fn iterations(data: &Path) -> Result<String> {
    let file = Table::read(&data.join("fits/composed_iterations.parquet"))?;
    let (gpus, models) = (file.text("gpu")?, file.text("model")?);
    let columns = ["tp", "prefill_tokens", "decode_batch", "decode_ctx_each"];
    let mut text = "gpu,model,tp,prefill_tokens,decode_batch,decode_ctx_each,gpu_ms\n".to_owned();
    for row in 0..file.n_rows() {
        let mut cells = vec![gpus[row].clone(), models[row].clone()];
        for column in columns {
            cells.push(format!("{}", file.numbers(column)?[row]));
        }
        let key = cells.join(",");
        if Part::by_hash(&format!("extract {key}"), 8) == Part::HeldOut {
            text.push_str(&format!("{key},{:.4}\n", file.numbers("gpu_ms")?[row]));
        }
    }
    Ok(text)
}

/// The requests of the held-out experiment: vLLM 0.11, CodeLlama-34b, one H100, token budget 64.
fn requests(data: &Path) -> Result<String> {
    let file = Table::read(&data.join("blis_vllm/otel_requests.parquet"))?;
    let experiments = file.text("experiment")?;
    let arrivals = file.numbers("arrival_s")?;
    let mut rows: Vec<usize> = (0..file.n_rows())
        .filter(|&row| experiments[row] == "jan20-codellama-prefill")
        .collect();
    rows.sort_by(|&a, &b| arrivals[a].total_cmp(&arrivals[b]));
    let mut text = "arrival_s,input_tokens,output_tokens,ttft_s,e2e_s\n".to_owned();
    for row in rows {
        let number = |column: &str| -> Result<f64> { Ok(file.numbers(column)?[row]) };
        text.push_str(&format!(
            "{:.6},{},{},{:.6},{:.6}\n",
            arrivals[row],
            number("input_tokens")?,
            number("output_tokens")?,
            number("ttft_s")?,
            number("e2e_s")?
        ));
    }
    Ok(text)
}
