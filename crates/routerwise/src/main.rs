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
mod stopping;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    allow_many_connections();
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

/// Raises the limit of open files as far as the system lets us: the usual 1 024 is less than the streams of one busy gateway, and every stream
/// is two connections there. A refusal is no reason not to run: what needs more says so when it comes to that.
fn allow_many_connections() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
