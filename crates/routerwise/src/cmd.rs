//! One command per file: `Args` (clap) and `run(&Args, &mut dyn Write) -> Result<Answer, Failure>`.

pub(crate) mod bench;
pub(crate) mod check;
pub(crate) mod compare;
pub(crate) mod demo;
pub(crate) mod diff;
pub(crate) mod emulate;
pub(crate) mod evaluate;
pub(crate) mod explain;
pub(crate) mod frontier;
pub(crate) mod import;
pub(crate) mod label;
pub(crate) mod plan;
pub(crate) mod profile;
pub(crate) mod replay;
pub(crate) mod schema;
pub(crate) mod score;
pub(crate) mod serve;
pub(crate) mod simulate;
pub(crate) mod train;
pub(crate) mod verify;
