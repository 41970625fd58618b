//! RouterWise on the command line: parse, run, print the error once, exit code.

mod asking;
mod cli;
mod cmd;
mod drawing;
mod embedding;
mod failure;
mod learning;
mod objective;
mod plan_file;
mod predictor_file;
mod realised;
mod render;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let result = cli
        .command
        .run(&mut out)
        .and_then(|answer| out.flush().map_err(Into::into).map(|()| answer));
    match result {
        Ok(answer) => answer.exit_code(),
        Err(failure) => failure.report(),
    }
}
